#include <errno.h>
#include <string.h>

#include "core_internal.h"
#include "counters.h"
#include "text.h"

/* ---------------------------------------------------------- ids, placement */

/* Inside the batch, which is synced: an id must never be given twice, not
 * even when the power fails. */
int core_reserve_ids(struct core *c)
{
	uint64_t first;
	int err = ns_reserve_ids(c->ns, CORE_GRANT_STEP, &first);

	if (err)
		return err;
	c->sync = 1;
	c->ids_next = first;
	c->ids_end = first + CORE_GRANT_STEP;
	return 0;
}

static int grant_one(struct core *c, struct req *r, struct m_placed *out)
{
	uint32_t targets[MSG_HOLDERS_MAX];
	size_t n;
	int err;

	if (c->ids_next == c->ids_end) {
		err = core_reserve_ids(c);
		if (err)
			return err;
	}
	n = swarm_place(c->swarm, r->session->peer->num, 1,
			c->cfg.slot_size, NULL, 0, swarm_want(c->swarm, c->cfg.copies), &c->rng,
			targets);
	if (!n)
		return core_refuse(r, ST_NOSPC,
				   "no live peer has room for another chunk: "
				   "add a peer, raise capacity= or delete "
				   "files");
	out->targets = arena_alloc(&r->arena, n * sizeof(*targets));
	if (!out->targets)
		return -ENOMEM;
	memcpy(out->targets, targets, n * sizeof(*targets));
	out->n_targets = (uint32_t)n;
	out->id = c->ids_next++;
	return 0;
}

int core_serve_grant(struct core *c, struct req *r, struct wr *w)
{
	struct m_grant m;
	struct m_grant_r out = { 0 };
	int err;

	err = m_grant_decode(&m, &r->arena, r->body, r->len);
	if (err)
		return err;
	if (m.count > MSG_GRANT_MAX)
		m.count = MSG_GRANT_MAX;
	out.chunks = arena_alloc(&r->arena,
				 (m.count + 1) * sizeof(*out.chunks));
	if (!out.chunks)
		return -ENOMEM;
	while (out.n_chunks < m.count) {
		err = grant_one(c, r, &out.chunks[out.n_chunks]);
		if (err)
			return err;
		out.n_chunks++;
	}
	return m_grant_r_encode(w, &out);
}

int core_serve_place(struct core *c, struct req *r, struct wr *w)
{
	uint32_t targets[MSG_HOLDERS_MAX];
	struct m_place m;
	struct m_place_r out;
	int err;

	err = m_place_decode(&m, &r->arena, r->body, r->len);
	if (err)
		return err;
	out.targets = targets;
	out.n_targets = (uint32_t)swarm_place(c->swarm, 0, 1, m.len, m.except,
					      m.n_except, m.count, &c->rng,
					      targets);
	if (!out.n_targets && m.count)
		return core_refuse(r, ST_NOSPC,
				   "no other live peer has room for a chunk");
	return m_place_r_encode(w, &out);
}

/* ----------------------------------------------------------- who holds what */

int core_serve_locate(struct core *c, struct req *r, struct wr *w)
{
	struct m_locate m;
	struct m_locate_r out = { 0 };
	int err;

	err = m_locate_decode(&m, &r->arena, r->body, r->len);
	if (err)
		return err;
	out.chunks = arena_alloc(&r->arena,
				 (m.n_ids + 1) * sizeof(*out.chunks));
	if (!out.chunks)
		return -ENOMEM;
	for (uint32_t i = 0; i < m.n_ids; i++) {
		struct m_chunk *at = &out.chunks[out.n_chunks];

		err = ns_chunk(c->ns, m.ids[i], at);
		if (err == -ENOENT)
			continue;
		if (!err)
			err = swarm_holders(c->swarm, &r->arena, at);
		if (err)
			return err;
		out.n_chunks++;
	}
	counter_add(CNT_LOOKUPS, out.n_chunks);
	return m_locate_r_encode(w, &out);
}

void core_where(struct core *c, struct core_where *w)
{
	struct m_chunk chunk;
	size_t n, first;

	w->len = 0;
	w->n_holders = 0;
	if (c->err || ns_chunk(c->ns, w->chunk, &chunk))
		return;
	w->len = chunk.len;
	memcpy(w->md5, chunk.md5, MD5_LEN);
	n = locations_count(c->swarm->locations, w->chunk);
	first = n ? random_u64() % n : 0;
	for (size_t i = 0; i < n && w->n_holders < CORE_WHERE_MAX; i++) {
		struct location at = locations_at(c->swarm->locations,
						  w->chunk, (first + i) % n);
		const struct peer *p = swarm_num(c->swarm, at.peer);

		if (p && peer_live(p))
			w->holders[w->n_holders++] = p->id;
	}
}

/* 1: it is a chunk, or a write in flight may make it one; 0: it is none. */
static int known(struct core *c, uint64_t id)
{
	struct m_chunk chunk;
	int err = ns_chunk(c->ns, id, &chunk);

	if (err != -ENOENT)
		return err ? err : 1;
	return id >= c->ids_known && id < c->ids_end &&
	       !garbage_untold(c->garbage, id);
}

static int add_copy(struct core *c, struct peer *p, const struct m_held *h)
{
	int is = known(c, h->id);

	if (is <= 0)
		return is;
	is = locations_add(c->swarm->locations, h->id, p->num,
			   h->kind == COPY_REPLICA);
	return is ? is : 1;
}

int core_serve_inventory(struct core *c, struct req *r, struct wr *w)
{
	struct peer *p = r->session->peer;
	struct m_inventory m;
	struct m_inventory_r out = { 0 };
	int err;

	err = m_inventory_decode(&m, &r->arena, r->body, r->len);
	if (err)
		return err;
	out.unknown = arena_alloc(&r->arena,
				  (m.n_chunks + 1) * sizeof(*out.unknown));
	if (!out.unknown)
		return -ENOMEM;
	if (m.first) {
		locations_forget_peer(c->swarm->locations, p->num);
		p->told = 0;
	}
	for (uint32_t i = 0; i < m.n_chunks; i++) {
		int is = add_copy(c, p, &m.chunks[i]);

		if (is < 0)
			return is;
		if (!is)
			out.unknown[out.n_unknown++] = m.chunks[i].id;
	}
	if (m.last) {
		p->told = 1;
		repair_poke(c->repair);
	}
	return m_inventory_r_encode(w, &out);
}

int core_serve_have(struct core *c, struct req *r, struct wr *w)
{
	struct peer *p = r->session->peer;
	struct m_have_r out = { 0 };
	struct m_have m;
	int err;

	err = m_have_decode(&m, &r->arena, r->body, r->len);
	for (uint32_t i = 0; !err && i < m.n_added; i++) {
		err = add_copy(c, p, &m.added[i]);
		if (err > 0)
			err = 0;
	}
	if (err)
		return err;
	for (uint32_t i = 0; i < m.n_gone; i++)
		locations_remove(c->swarm->locations, m.gone[i], p->num);
	if (m.n_gone)
		repair_poke(c->repair);
	return m_have_r_encode(w, &out);
}

/* A pushed chunk: the peers that confirmed it keep it. */
int core_stored(struct core *c, const struct m_push *p)
{
	int err = 0;

	if (!p->chunk)
		return 0;
	for (uint32_t i = 0; !err && i < p->n_stored; i++) {
		const struct peer *at = swarm_num(c->swarm, p->stored[i]);

		if (at && !at->guest)
			err = locations_add(c->swarm->locations, p->chunk,
					    at->num, 1);
	}
	if (p->n_stored < swarm_want(c->swarm, p->copies ? p->copies
							 : c->cfg.copies))
		repair_poke(c->repair);
	return err;
}

/* What came corrupt may have been damaged on its way: on another's word the
 * last live copy is not given up. */
static int is_to_go(const struct core *c, const struct req *r,
		    const struct m_bad_copy *m)
{
	const struct peer *from = r->session->peer;

	return (from && from->num == m->peer) ||
	       swarm_copies(c->swarm, m->chunk).all > 1;
}

int core_serve_bad_copy(struct core *c, struct req *r, struct wr *w)
{
	struct m_bad_copy_r out = { 0 };
	struct m_bad_copy m;
	int err;

	err = m_bad_copy_decode(&m, &r->arena, r->body, r->len);
	if (err)
		return err;
	if (m.corrupt) {
		counter_add(CNT_CORRUPT, 1);
		if (is_to_go(c, r, &m))
			locations_remove(c->swarm->locations, m.chunk, m.peer);
		repair_poke(c->repair);
	}
	return m_bad_copy_r_encode(w, &out);
}

int core_serve_stats(struct core *c, struct req *r, struct wr *w)
{
	struct m_stats m;
	int err;

	(void)c;
	(void)w;
	err = m_stats_decode(&m, &r->arena, r->body, r->len);
	return err ? err : swarm_count(r->session->peer, &m);
}
