#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core_internal.h"
#include "text.h"

static void answer_ready(struct waiter *w, void *core)
{
	struct core *c = core;
	struct out *o = (struct out *)((char *)w - offsetof(struct out, wait));

	if (!o->held)
		return;		/* of this batch: it goes with it */
	TAILQ_REMOVE(&c->withheld, o, link);
	core_ready(c, o);
}

/* A named random number, made at the first start. */
static int identity(struct core *c, const char *key, uint64_t *out)
{
	int err = ns_meta_get(c->ns, key, out);

	if (err != -ENOENT)
		return err;
	do
		*out = random_u64() & INT64_MAX;
	while (!*out);
	return ns_meta_set(c->ns, key, *out);
}

/* What has to be on the disk before anything is answered. */
static int begin_life(struct core *c)
{
	uint64_t epoch = 0;
	int err = db_begin(c->db);

	if (err)
		return err;
	err = identity(c, "swarm", &c->swarm_id);
	if (!err)
		err = identity(c, "tracker", &c->id);
	if (!err)
		err = ns_meta_get(c->ns, "epoch", &epoch);
	if (!err || err == -ENOENT)
		err = ns_meta_set(c->ns, "epoch", epoch + 1);
	if (!err)
		err = core_reserve_ids(c);
	if (err) {
		db_rollback(c->db);
		return err;
	}
	/* what was granted in the last few lives may still be in flight */
	c->ids_known = c->ids_next > CORE_FLIGHT ? c->ids_next - CORE_FLIGHT
						 : 0;
	return db_commit(c->db, 1);
}

static int assume_leases(struct core *c)
{
	struct session *s;
	int err = 0;

	for (s = sessions_next(c->sessions, NULL); !err && s;
	     s = sessions_next(c->sessions, s)) {
		s->heard_ms = c->now.ms;
		s->peer = swarm_find(c->swarm, s->owner);
		if (s->live)
			err = leases_assume(c->leases, &s->holder);
		if (s->live && !err)
			err = locks_expect(c->locks, s->id);
	}
	locks_grace(c->locks, 1);
	return err;
}

static int open_parts(struct core *c)
{
	const struct leases_ops ops = { answer_ready, core_waiting,
					core_orphan_idle, c };
	const struct ns_config nc = { c->cfg.slot_size, c->cfg.copies,
				      c->cfg.files_max };
	struct repair_env env = { .copies = c->cfg.copies,
				  .gone_ms = c->cfg.gone_ms, .rng = &c->rng,
				  .send = core_ask, .arg = c };
	/* none that an earlier life of this tracker gave, of which peers may
	 * still tell; small enough for JSON, whose numbers are signed */
	struct jobs_env jobs = { .first = random_u64() >> 2 | 1,
				 .send = core_ask, .arg = c };
	int err;

	err = ns_open(&c->ns, c->db, &nc, core_ns_now(c));
	if (!err)
		err = sessions_open(&c->sessions, c->db);
	if (!err)
		err = swarm_open(&c->swarm, c->db, c->now.ms);
	if (!err)
		err = leases_new(&c->leases, &ops, LEASES_MAX);
	if (!err)
		err = garbage_new(&c->garbage, c->cfg.garbage_ms, c->now);
	if (!err)
		err = core_locks_new(c);
	if (!err)
		err = core_digests_new(c);
	if (err)
		return err;
	jobs.swarm = c->swarm;
	err = jobs_new(&c->jobs, &jobs);
	if (err)
		return err;
	env.ns = c->ns;
	env.swarm = c->swarm;
	env.garbage = c->garbage;
	return repair_new(&c->repair, &env);
}

int core_new(struct core **out, struct db *db, const struct core_config *cfg,
	     const struct core_io *io, struct core_time now, char *why,
	     size_t why_len)
{
	struct core *c = calloc(1, sizeof(*c));
	int err = -ENOMEM;

	if (!c)
		goto out_why;
	c->cfg = *cfg;
	c->io = *io;
	c->db = db;
	c->now = now;
	c->start_ms = now.ms;
	c->rng = cfg->seed;
	TAILQ_INIT(&c->out);
	TAILQ_INIT(&c->withheld);
	TAILQ_INIT(&c->ready);
	TAILQ_INIT(&c->late);
	err = open_parts(c);
	if (!err)
		err = begin_life(c);
	if (!err)
		err = assume_leases(c);
	if (!err)
		err = core_orphans_load(c);
	if (err)
		goto out_free;
	db_essential(db, 0);
	*out = c;
	return 0;

out_free:
	core_free(c);
out_why:
	if (err == -ENOSPC)
		snprintf(why, why_len, "cannot start: the disk of the database "
				       "is full: free some space on it, then "
				       "start again");
	else
		snprintf(why, why_len,
			 "cannot start from the database: %s: see the log for "
			 "what it said", strerror(-err));
	return err;
}

static void free_outs(struct core *c, struct outs *q)
{
	struct out *o;

	while ((o = TAILQ_FIRST(q))) {
		TAILQ_REMOVE(q, o, link);
		core_out_free(c, o);
	}
}

void core_free(struct core *c)
{
	struct conn *n, *next;
	struct session *s;

	if (!c)
		return;
	free_outs(c, &c->out);
	free_outs(c, &c->withheld);
	free_outs(c, &c->ready);
	HASH_ITER (hh, c->conns, n, next) {
		HASH_DELETE(hh, c->conns, n);
		free(n);
	}
	for (s = c->sessions ? sessions_next(c->sessions, NULL) : NULL; s;
	     s = sessions_next(c->sessions, s))
		if (c->leases)
			leases_drop(c->leases, &s->holder);
	locks_free(c->locks);
	leases_free(c->leases);
	sessions_close(c->sessions);
	repair_free(c->repair);
	jobs_free(c->jobs);
	garbage_free(c->garbage);
	core_digests_free(c);
	swarm_close(c->swarm);
	ns_close(c->ns);
	core_orphans_fini(c);
	free(c->bereft);
	free(c);
}

uint64_t core_swarm(const struct core *c)
{
	return c->swarm_id;
}

uint64_t core_id(const struct core *c)
{
	return c->id;
}

uint64_t core_session(const struct core *c, uint64_t conn)
{
	const struct conn *n = core_conn(c, conn);

	return n && n->session ? n->session->id : 0;
}
