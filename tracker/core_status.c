#include "core_internal.h"
#include "counters.h"

/* A chunk is stored so often: on every live peer, if that is what is asked. */
static uint64_t times(const struct core *c)
{
	unsigned want = swarm_want(c->swarm, c->cfg.copies);

	return want ? want : 1;
}

uint64_t core_room(struct core *c)
{
	struct room room = swarm_room(c->swarm);

	return room.capacity > room.used ?
	       (room.capacity - room.used) / times(c) : 0;
}

int core_serve_statfs(struct core *c, struct req *r, struct wr *w)
{
	struct room room = swarm_room(c->swarm);
	struct ns_count count;
	struct m_statfs_r out;
	struct m_statfs m;
	int err;

	err = m_statfs_decode(&m, &r->arena, r->body, r->len);
	if (err)
		return err;
	ns_count(c->ns, &count);
	out = (struct m_statfs_r){
		.total = room.capacity / times(c),
		.free = core_room(c),
		.files = count.files,
		.copies = c->cfg.copies,
		.files_max = c->cfg.files_max,
	};
	return m_statfs_r_encode(w, &out);
}

static int own_counters(struct req *r, struct m_status_r *out)
{
	out->counters = arena_alloc(&r->arena,
				    CNT_MAX * sizeof(*out->counters));
	if (!out->counters)
		return -1;
	for (unsigned i = 1; i < CNT_MAX; i++)
		if (counter_json(i))
			out->counters[out->n_counters++] = (struct m_counter){
				.which = (uint16_t)i,
				.value = counter_get(i),
			};
	return 0;
}

int core_serve_status(struct core *c, struct req *r, struct wr *w)
{
	struct room room = swarm_room(c->swarm);
	struct repair_counts danger;
	struct ns_count count;
	struct m_status_r out;
	uint64_t metadata;
	int err;

	err = repair_count(c->repair, &danger);
	if (!err)
		err = db_size(c->db, &metadata);
	if (err)
		return err;
	ns_count(c->ns, &count);
	out = (struct m_status_r){
		.swarm = c->swarm_id,
		.copies = c->cfg.copies,
		.slot_size = c->cfg.slot_size,
		.uptime_ms = c->now.ms - c->start_ms,
		.files = count.files,
		.chunks = count.chunks,
		.bytes = count.bytes,
		.capacity = room.capacity,
		.used = room.used,
		.under_replicated = danger.under,
		.missing = danger.missing,
		.garbage = count.garbage,
		.metadata = metadata,
	};
	if (c->io.cache)
		c->io.cache(c->io.arg, &out.cached, &out.cache);
	err = swarm_list(c->swarm, &r->arena, 1, c->now.ms, &out.peers,
			 &out.n_peers);
	if (!err)
		err = own_counters(r, &out);
	return err ? err : m_status_r_encode(w, &out);
}
