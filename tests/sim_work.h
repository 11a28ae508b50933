/*
 * sim_work -- what a client of the simulation does all day: it appends records
 * to logs, compacts them, gives files to owners, makes and removes names, keeps
 * some of them open; and what it concludes from the answers.
 */
#ifndef PSPFS_SIM_WORK_H
#define PSPFS_SIM_WORK_H

#include <errno.h>

#include "sim_client.h"

/* No client may believe what is old (sim_tracker.c). */
void check_beliefs(void);

/* ----------------------------------------------------------------- changes */

static inline uint64_t take_id(struct client *c)
{
	return c->n_pool ? c->pool[--c->n_pool] : 0;
}

static inline void store(struct client *c, struct m_push *p,
			 uint32_t stored[COPIES], const uint8_t *data,
			 uint32_t len)
{
	struct content *x = content_new(p->chunk, len);

	memcpy(x->data, data, len);
	p->len = p->chunk_len = len;
	p->md5[0] = (uint8_t)p->chunk;
	p->stored = stored;
	stored[p->n_stored++] = c->num;
	hold(c, p->chunk);
	for (int i = 0; i < CLIENTS && p->n_stored < COPIES; i++) {
		struct client *at = &clients[rnd(MEMBERS)];

		if (at == c || !at->up || chance(10))
			continue;
		stored[p->n_stored++] = at->num;
		hold(at, p->chunk);
	}
}

static inline void append(struct client *c)
{
	uint32_t stored[COPIES];
	struct m_push p = { .append = 1, .chunk = take_id(c) };
	struct m_commit m = { .pushes = &p, .n_pushes = 1 };
	uint8_t data[RECORD];
	struct op *o;

	if (!p.chunk)
		return;
	o = op_new(c, M_commit);
	o->log = (int)rnd(LOGS);
	records = realloc(records, (n_records + 1) * sizeof(*records));
	assert(records);
	records[n_records++] = (struct record){ o->log, world.ms, 0, 0, 0 };
	o->record = n_records;
	put_u64(data, n_records);
	store(c, &p, stored, data, RECORD);
	m.seq = o->seq;
	m.ino = logs[o->log];
	m.sync = chance(10);
	assert(!m_commit_encode(&o->body, &m));
	op_send(c, o);
}

static inline void set_owner(struct client *c)
{
	static uint32_t last_owner;
	int i = (int)rnd(FILES);
	struct m_setattr m = { .ino = cells[i].ino, .set = SET_UID,
			       .uid = ++last_owner };
	struct op *o = op_new(c, M_setattr);

	o->cell = i;
	m.seq = o->seq;
	assert(!m_setattr_encode(&o->body, &m));
	op_send(c, o);
}

static inline void make(struct client *c, struct str name, int cell)
{
	struct m_mknod m = { .parent = NS_ROOT, .name = name,
			     .mode = 0100644, .excl = 1 };
	struct op *o = op_new(c, M_mknod);

	o->cell = cell;
	o->unique = cell < 0;
	m.seq = o->seq;
	assert(!m_mknod_encode(&o->body, &m));
	op_send(c, o);
}

static inline void remove_name(struct client *c, struct str name, int cell)
{
	struct m_unlink m = { .parent = NS_ROOT, .name = name };
	struct op *o = op_new(c, M_unlink);

	o->cell = cell;
	o->unique = cell < 0;
	m.seq = o->seq;
	assert(!m_unlink_encode(&o->body, &m));
	op_send(c, o);
}

/* A name that nobody else uses: made once, it can be removed once. */
static inline void unique(struct client *c)
{
	const struct op *o;
	char name[32];

	TAILQ_FOREACH(o, &c->ops, link)
		if (o->unique)
			return;
	snprintf(name, sizeof(name), "u%d-%u", c->no, c->unique / 2);
	if (c->unique++ % 2)
		remove_name(c, str_of(name), -1);
	else
		make(c, str_of(name), -1);
}

static inline void rename_name(struct client *c)
{
	const char *name = cells[FILES + rnd(NAMES)].name;

	if (chance(50))
		make(c, str_of(name), FILES + (name[1] - '0'));
	else
		remove_name(c, str_of(name), FILES + (name[1] - '0'));
}

/* ------------------------------------------------------------------- reads */

static inline void look(struct client *c)
{
	int i = (int)rnd(CELLS);
	struct m_lookup l = { NS_ROOT, str_of(cells[i].name) };
	struct m_getattr g = { cells[i].ino };
	struct op *o = op_new(c, i < FILES ? M_getattr : M_lookup);

	o->cell = i;
	assert(!(i < FILES ? m_getattr_encode(&o->body, &g)
			   : m_lookup_encode(&o->body, &l)));
	op_send(c, o);
}

/* What is open stays, whatever becomes of its name. */
static inline void look_open(struct client *c)
{
	struct m_getattr m = { c->opens[rnd(OPENS)].ino };
	struct op *o;

	if (!m.ino)
		return;
	o = op_new(c, M_getattr);
	o->ino = m.ino;
	assert(!m_getattr_encode(&o->body, &m));
	op_send(c, o);
}

static inline void open_close(struct client *c)
{
	const struct belief *b = &c->belief[FILES + rnd(NAMES)];
	struct open_file *f = &c->opens[rnd(OPENS)];

	if (f->ino) {
		if (f->reported)
			release(c, f->ino);
		*f = (struct open_file){ 0 };
		return;
	}
	for (int i = 0; i < OPENS; i++)
		if (c->opens[i].ino == b->value)
			return;
	if (b->valid && b->attr && b->value && world.ms < c->lease_end)
		*f = (struct open_file){ b->value, 0, 1 };
}

static inline void ask_grant(struct client *c)
{
	struct m_grant m = { 16 };
	struct op *o;

	if (c->asked_grant || c->n_pool > 8)
		return;
	o = op_new(c, M_grant);
	c->asked_grant = 1;
	assert(!m_grant_encode(&o->body, &m));
	op_send(c, o);
}

static inline void read_map(struct client *c)
{
	struct op *o = op_new(c, M_getmap);
	struct m_getmap m = { .first = rnd(2 + n_records / 32), .count = 1 };

	o->log = (int)rnd(LOGS);
	m.ino = logs[o->log];
	assert(!m_getmap_encode(&o->body, &m));
	op_send(c, o);
}

/* A slot as its slices make it; how long it is. */
static inline uint32_t merge(const struct m_slot *s, uint8_t out[SLOT])
{
	uint32_t len = 0;

	memset(out, 0, SLOT);
	for (uint32_t i = 0; i < s->n_slices; i++) {
		const struct m_slice *x = &s->slices[i];
		const struct content *from = content_of(x->chunk);

		CHECK(from && x->off + x->len <= from->len &&
		      x->pos + x->len <= SLOT, "a slice of no chunk");
		memcpy(out + x->pos, from->data + x->off, x->len);
		if (x->pos + x->len > len)
			len = x->pos + x->len;
	}
	return len;
}

static inline void compact(struct client *c, const struct op *read,
		    const struct m_slot *s)
{
	uint32_t stored[COPIES], len;
	struct m_compact m = { .ino = logs[read->log], .expect = s->version };
	uint8_t data[SLOT];
	struct op *o;

	if (s->n_slices < 2 || !(m.push.chunk = take_id(c)))
		return;
	len = merge(s, data);
	m.push.slot = s->index;
	store(c, &m.push, stored, data, len);
	o = op_new(c, M_compact);
	m.seq = o->seq;
	assert(!m_compact_encode(&o->body, &m));
	op_send(c, o);
}

/* ----------------------------------------------------------------- answers */

static inline void believe(struct client *c, const struct op *o, uint64_t value)
{
	/* sent again: others may have changed it since it was done */
	c->belief[o->cell] = (struct belief){ !o->resent, 1, value };
}

static inline void acked(struct op *o, int ok)
{
	if (o->cell < 0 || !ok)
		return;
	if (o->index > cells[o->cell].acked)
		cells[o->cell].acked = o->index;
}

static inline void unlinked(struct client *c, const struct m_unlink_r *m)
{
	if (m->nlink)
		return;
	for (int i = 0; i < OPENS; i++)
		if (c->opens[i].ino == m->ino) {
			c->opens[i].reported = 1;
			return;
		}
	release(c, m->ino);
}

static inline void changed(struct client *c, struct op *o,
			   const struct frame *f, struct arena *a)
{
	int err = status_to_errno(f->status);
	union {
		struct m_setattr_r setattr;
		struct m_mknod_r mknod;
		struct m_unlink_r unlink;
		struct m_commit_r commit;
		struct m_compact_r compact;
	} m;

	CHECK(f->status != ST_STALE, "an unanswered change is called stale");
	acked(o, !err);
	switch (o->type) {
	case M_setattr:
		CHECK(!err && !m_setattr_r_decode(&m.setattr, a, f->body.p,
						  f->body.len), "setattr");
		believe(c, o, m.setattr.attr.uid);
		break;
	case M_mknod:
		CHECK(!err || (err == -EEXIST && !o->unique),
		      "mknod applied twice? %d", err);
		CHECK(err || !m_mknod_r_decode(&m.mknod, a, f->body.p,
					       f->body.len), "mknod");
		if (!err && !o->unique)
			believe(c, o, m.mknod.attr.ino);
		break;
	case M_unlink:
		CHECK(!err || (err == -ENOENT && !o->unique),
		      "unlink applied twice? %d", err);
		CHECK(err || !m_unlink_r_decode(&m.unlink, a, f->body.p,
						f->body.len), "unlink");
		if (!err && !o->unique)
			believe(c, o, 0);
		if (!err)
			unlinked(c, &m.unlink);
		break;
	case M_commit:
		CHECK(!err && !m_commit_r_decode(&m.commit, a, f->body.p,
						 f->body.len), "commit %d",
		      err);
		records[o->record - 1].acked_ms = world.ms;
		records[o->record - 1].at = m.commit.placed[0];
		break;
	case M_compact:
		CHECK(!err && !m_compact_r_decode(&m.compact, a, f->body.p,
						  f->body.len), "compact %d",
		      err);
		break;
	}
}

static inline void granted(struct client *c, const struct frame *f,
			   struct arena *a)
{
	struct m_grant_r m;

	c->asked_grant = 0;
	if (f->status)
		return;
	CHECK(!m_grant_r_decode(&m, a, f->body.p, f->body.len), "grant");
	for (uint32_t i = 0; i < m.n_chunks; i++) {
		const struct m_placed *p = &m.chunks[i];

		CHECK(p->n_targets && p->n_targets <= COPIES, "%u copies",
		      p->n_targets);
		for (uint32_t k = 0; k + 1 < p->n_targets; k++)
			CHECK(p->targets[k] != p->targets[k + 1],
			      "one peer twice");
		c->pool[c->n_pool++] = p->id;
	}
}

/* What the tracker does not know, no map may name, nor any write in flight. */
static inline void listed(struct client *c, const struct frame *f,
			  struct arena *a)
{
	struct m_inventory_r m;
	struct m_chunk known;

	if (f->status)
		return;
	CHECK(!m_inventory_r_decode(&m, a, f->body.p, f->body.len), "have");
	for (uint32_t i = 0; i < m.n_unknown; i++) {
		CHECK(!world.core || ns_chunk(world.core->ns, m.unknown[i],
					      &known) == -ENOENT,
		      "chunk %llu is called unknown",
		      (unsigned long long)m.unknown[i]);
		let_go_of(c, m.unknown[i]);
	}
}

static inline void looked(struct client *c, struct op *o, const struct frame *f,
		   struct arena *a)
{
	int err = status_to_errno(f->status);
	struct m_getattr_r g;
	struct m_lookup_r l;
	struct m_getmap_r m;

	if (o->type == M_lookup) {
		CHECK(err == -ENOENT || !m_lookup_r_decode(&l, a, f->body.p,
							   f->body.len),
		      "lookup");
		believe(c, o, err ? 0 : l.attr.ino);
	} else if (o->type == M_getmap) {
		CHECK(!m_getmap_r_decode(&m, a, f->body.p, f->body.len),
		      "getmap");
		if (m.n_slots)
			compact(c, o, &m.slots[0]);
	} else if (o->cell >= 0) {
		CHECK(!m_getattr_r_decode(&g, a, f->body.p, f->body.len),
		      "getattr");
		believe(c, o, g.attr.uid);
	} else {
		for (int i = 0; i < OPENS; i++)
			CHECK(c->opens[i].ino != o->ino || !c->opens[i].safe ||
			      world.ms >= c->lease_end || !err,
			      "client %d: what it has open is gone", c->no);
	}
}

/* The batch failed: as if nothing had been asked.  But an error that stays
 * the same was recorded as the answer to this number. */
static inline void failed(struct client *c, struct op *o)
{
	if (o->type == M_hello || o->type == M_inventory) {
		lose(c, 50);
		return;
	}
	if (o->type == M_grant)
		c->asked_grant = 0;
	if (!o->seq) {
		op_free(c, o);
		return;
	}
	if (++o->failed == 5) {
		o->failed = 0;
		o->seq = ++c->seq;
		put_u64(o->body.p, o->seq);
	}
	o->resent = 1;
	op_send(c, o);
}

static inline void answered(struct client *c, const struct frame *f)
{
	struct arena a = ARENA_INIT;
	struct op *o;

	TAILQ_FOREACH(o, &c->ops, link)
		if (o->number == f->number && o->conn == f->conn)
			break;
	if (!o)
		return;
	if (f->status == ST_SESSION) {
		lose(c, 0);
		return;
	}
	if (f->status == ST_IO || f->status == ST_NOSPC) {
		failed(c, o);
		return;
	}
	if (o->type == M_hello)
		welcome(c, f);
	else if (o->seq)
		changed(c, o, f, &a);
	else if (o->type == M_grant)
		granted(c, f, &a);
	else if (o->type == M_inventory)
		listed(c, f, &a);
	else
		looked(c, o, f, &a);
	arena_fini(&a);
	/* lose() has freed it if it was a hello that failed */
	TAILQ_FOREACH(o, &c->ops, link)
		if (o->number == f->number && o->conn == f->conn)
			break;
	if (o)
		op_free(c, o);
	check_beliefs();
}

/* ---------------------------------------------------- the tracker's wishes */

static inline void revoked(struct client *c, const struct frame *f,
			   struct arena *a, struct wr *w)
{
	struct m_revoke m;
	struct m_revoke_r r = { 0 };
	uint64_t open[OPENS];

	CHECK(!m_revoke_decode(&m, a, f->body.p, f->body.len), "revoke");
	r.open = open;
	for (uint32_t i = 0; i < m.n_inos; i++) {
		for (int k = 0; k < CELLS; k++) {
			struct belief *b = &c->belief[k];

			if (m.inos[i] == (k < FILES ? cells[k].ino : NS_ROOT))
				b->valid = 0;
			if (k >= FILES && b->value == m.inos[i])
				b->attr = 0;
		}
		for (int k = 0; k < OPENS; k++) {
			if (c->opens[k].ino != m.inos[i])
				continue;
			c->opens[k].reported = 1;
			open[r.n_open++] = m.inos[i];
		}
	}
	assert(!m_revoke_r_encode(w, &r));
}

static inline void asked(struct client *c, const struct frame *f)
{
	struct arena a = ARENA_INIT;
	struct m_peers p;
	struct m_copy copy;
	struct m_drop drop;
	struct wr w = WR_INIT;
	uint16_t status = ST_OK;

	if (f->type == M_revoke) {
		revoked(c, f, &a, &w);
	} else if (f->type == M_peers) {
		CHECK(c->up, "peers before hello");
		CHECK(!m_peers_decode(&p, &a, f->body.p, f->body.len), "peers");
	} else if (f->type == M_copy) {
		CHECK(!m_copy_decode(&copy, &a, f->body.p, f->body.len),
		      "copy");
		CHECK(copy.chunk.n_holders, "a copy from nobody");
		CHECK(!is_guest(c), "a guest is to keep a chunk");
		if (world.healed || chance(70))
			hold(c, copy.chunk.id);
		else
			status = ST_IO;
	} else if (f->type == M_drop) {
		CHECK(!m_drop_decode(&drop, &a, f->body.p, f->body.len),
		      "drop");
		for (uint32_t i = 0; i < drop.n_chunks; i++)
			let_go_of(c, drop.chunks[i]);
	}
	if (f->number)
		line_send(TO_TRACKER_ANSWER, f->conn, f->number, f->type,
			  status, &w);
	arena_fini(&a);
}

#endif
