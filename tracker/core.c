#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core_internal.h"
#include "counters.h"
#include "log.h"
#include "text.h"

/* --------------------------------------------------------------- the frame */

struct conn *core_conn(const struct core *c, uint64_t conn)
{
	struct conn *n;

	HASH_FIND(hh, c->conns, &conn, sizeof(conn), n);
	return n && !n->closing ? n : NULL;
}

struct ns_now core_ns_now(const struct core *c)
{
	return (struct ns_now){ c->now.wall_s, c->now.wall_ns };
}

void core_poison(struct core *c, int err)
{
	if (!c->err)
		c->err = err;
}

void core_upkeep_failed(int err, const char *what)
{
	if (err)
		log_warn("%s failed (%s): it is tried again", what,
			 strerror(-err));
}

int core_refuse(struct req *r, uint16_t status, const char *fmt, ...)
{
	va_list ap;

	r->status = status;
	va_start(ap, fmt);
	vsnprintf(r->text, sizeof(r->text), fmt, ap);
	va_end(ap);
	return -EPERM;	/* any: r->status says it */
}

const char core_full_text[] = "the tracker's disk is full: free some space "
			      "where its database is";

int core_no_room(struct core *c, struct req *r)
{
	(void)spell_bad(&c->refused);	/* the database has said so */
	return core_refuse(r, ST_NOSPC, "%s", core_full_text);
}

static void note_bad(const struct req *r)
{
	counter_add(CNT_REQUESTS_BAD, 1);
	log_rarely(LOG_WARN, "refused a request of %s: type %#x is not known, "
		   "or not in that form: is the same version installed there?",
		   r->conn->ip, r->type);
}

void core_fail(struct core *c, struct req *r, int err)
{
	struct wr w = WR_INIT;

	if (err == -EBADMSG || err == -ENOSYS || r->status == ST_NOSYS)
		note_bad(r);
	if (!r->number)
		return;
	core_error_body(&w, r->text);
	core_put(c, r->conn->conn, r->number, r->type | M_REPLY,
		 r->status ? r->status : status_of_errno(err), &w);
}

/* --------------------------------------------------------------- requests */

enum need { NEED_SESSION, NEED_PEER };

static const struct service {
	uint16_t type;
	enum need need;
	serve_fn serve;
} services[] = {
	{ M_heartbeat, NEED_SESSION, core_serve_heartbeat },
	{ M_bye, NEED_SESSION, core_serve_bye },
	{ M_release, NEED_PEER, core_serve_release },
	{ M_lookup, NEED_SESSION, core_serve_lookup },
	{ M_getattr, NEED_SESSION, core_serve_getattr },
	{ M_readdir, NEED_SESSION, core_serve_readdir },
	{ M_readlink, NEED_SESSION, core_serve_readlink },
	{ M_getxattr, NEED_SESSION, core_serve_getxattr },
	{ M_listxattr, NEED_SESSION, core_serve_listxattr },
	{ M_accessed, NEED_PEER, core_serve_accessed },
	{ M_statfs, NEED_SESSION, core_serve_statfs },
	{ M_getmap, NEED_SESSION, core_serve_getmap },
	{ M_seekmap, NEED_SESSION, core_serve_seekmap },
	{ M_digest, NEED_SESSION, core_serve_digest },
	{ M_lock, NEED_PEER, core_serve_lock },
	{ M_digested, NEED_PEER, core_serve_digested },
	{ M_grant, NEED_PEER, core_serve_grant },
	{ M_place, NEED_PEER, core_serve_place },
	{ M_locate, NEED_SESSION, core_serve_locate },
	{ M_inventory, NEED_PEER, core_serve_inventory },
	{ M_have, NEED_PEER, core_serve_have },
	{ M_bad_copy, NEED_SESSION, core_serve_bad_copy },
	{ M_stats, NEED_PEER, core_serve_stats },
	{ M_progress, NEED_PEER, core_serve_progress },
	{ M_replicate, NEED_SESSION, core_serve_replicate },
	{ M_job, NEED_SESSION, core_serve_job },
	{ M_status, NEED_SESSION, core_serve_status },
};

static const struct service *service_of(uint16_t type)
{
	for (size_t i = 0; i < sizeof(services) / sizeof(*services); i++)
		if (services[i].type == type)
			return &services[i];
	return NULL;
}

static int serve(struct core *c, struct req *r, struct wr *w)
{
	const struct service *v = service_of(r->type);

	if (!r->session || !r->session->live)
		return core_refuse(r, ST_SESSION,
				   "the session has ended: say hello again");
	if (!v && !M_MUTATES(r->type))
		return core_refuse(r, ST_NOSYS,
				   "this tracker does not know request %#x: "
				   "install the same version of pspfs",
				   r->type);
	if (r->session->light && (!v || v->need == NEED_PEER))
		return core_refuse(r, ST_PERM, "only peers may do this");
	return v ? v->serve(c, r, w) : 0;
}

void core_request(struct core *c, uint64_t conn, uint32_t number,
		  uint16_t type, const void *body, size_t len)
{
	struct req r = { .conn = core_conn(c, conn) };
	struct wr w = WR_INIT;
	int err;

	if (!r.conn)
		return;
	counter_add(CNT_RPCS, 1);
	c->served++;
	r.session = r.conn->session;
	r.number = number;
	r.type = type;
	r.body = body;
	r.len = len;
	if (c->err) {
		core_fail(c, &r, c->err);
	} else if (type == M_hello) {
		db_essential(c->db, 1);	/* who comes back may read at least */
		core_serve_hello(c, &r);
		db_essential(c->db, 0);
	} else {
		err = serve(c, &r, &w);
		if (err)
			core_fail(c, &r, err);
		else if (M_MUTATES(type))
			core_change(c, &r);
		else if (number && !r.later)
			core_put(c, conn, number, type | M_REPLY, ST_OK, &w);
	}
	wr_fini(&w);
	arena_fini(&r.arena);
}

static void revoke_answered(struct core *c, struct conn *n, uint32_t number,
			    uint16_t status, const void *body, size_t len)
{
	struct arena a = ARENA_INIT;
	struct m_revoke_r m;
	struct revoke *v;

	v = n && n->session ? holder_revoke(&n->session->holder, number)
			    : NULL;
	if (!v)
		return;
	if (!status && !m_revoke_r_decode(&m, &a, body, len))
		leases_acked(c->leases, v, m.open, m.n_open);
	else
		/* its leases end by themselves, when it is no longer heard */
		core_close(c, n, "it does not answer a revocation");
	arena_fini(&a);
}

void core_answer(struct core *c, uint64_t conn, uint32_t number,
		 uint16_t type, uint16_t status, const void *body, size_t len)
{
	int err = 0;

	switch (type & ~M_REPLY) {
	case M_revoke:
		revoke_answered(c, core_conn(c, conn), number, status, body,
				len);
		break;
	case M_drop:
		garbage_answered(c->garbage, number, status == ST_OK);
		break;
	case M_complete:
		jobs_answered(c->jobs, number, status, c->now.ms);
		break;
	case M_copy:
		err = repair_answered(c->repair, number, status == ST_OK);
		break;
	case M_sum:
		err = core_digest_answered(c, number, status, body, len);
		break;
	}
	core_upkeep_failed(err, "noting what a peer did");
}

/* ------------------------------------------------------------- connections */

void core_up(struct core *c, uint64_t conn, uint8_t role, uint64_t id,
	     const char *ip)
{
	struct conn *n = calloc(1, sizeof(*n));

	if (n) {
		n->conn = conn;
		n->role = role;
		n->id = id;
		n->alone_ms = c->now.ms;
		snprintf(n->ip, sizeof(n->ip), "%s", ip);
		HASH_ADD(hh, c->conns, conn, sizeof(n->conn), n);
		if (TABLE_ADDED(n))
			return;
		free(n);
	}
	c->io.close(c->io.arg, conn, "no memory");
}

void core_peer_leaves(struct core *c, struct session *s, const struct conn *n)
{
	if (!s->peer || s->peer->conn != n->conn)
		return;
	swarm_leave(c->swarm, s->peer, c->now.ms);
	repair_poke(c->repair);
	if (!s->guest)
		return;
	s->peer = NULL;
	/* It answers nothing from memory: nobody need wait for it. */
	leases_drop(c->leases, &s->holder);
}

/* The session stays, without a connection; its peer is out of sight. */
static void detach(struct core *c, struct conn *n)
{
	struct session *s = n->session;

	n->session = NULL;
	n->alone_ms = c->now.ms;
	if (!s)
		return;
	s->conn = 0;
	core_peer_leaves(c, s, n);
	if (s->light)
		sessions_free(c->sessions, s);
}

void core_close(struct core *c, struct conn *n, const char *why)
{
	log_info("connection of %s %016llx at %s closed: %s",
		 n->role == ROLE_PEER ? "peer" : "client",
		 (unsigned long long)n->id, n->ip, why);
	detach(c, n);
	n->closing = 1;
	c->io.close(c->io.arg, n->conn, why);
}

void core_down(struct core *c, uint64_t conn)
{
	struct conn *n;

	HASH_FIND(hh, c->conns, &conn, sizeof(conn), n);
	if (!n)
		return;
	detach(c, n);
	HASH_DELETE(hh, c->conns, n);
	free(n);
}

/* ------------------------------------------------------------------- batch */

/* We were stopped: others spoke, but nobody listened. */
static void forgive(struct core *c, uint64_t gap_ms)
{
	struct session *s;

	for (s = sessions_next(c->sessions, NULL); s;
	     s = sessions_next(c->sessions, s))
		s->heard_ms += gap_ms;
	swarm_stalled(c->swarm, gap_ms);
}

void core_begin(struct core *c, struct core_time now)
{
	uint64_t gap = now.ms - c->now.ms;

	if (gap > CORE_STALL_MS) {
		log_info("no batch for %llu ms: leases are longer by that",
			 (unsigned long long)gap);
		forgive(c, gap);
	}
	c->now = now;
	c->served = 0;
	c->sync = 0;
	c->err = db_begin(c->db);
}

/* In memory it is as if the batch had never been. */
static void undo(struct core *c)
{
	struct conn *n, *next;

	sessions_rolled_back(c->sessions);
	swarm_rolled_back(c->swarm);
	garbage_rolled_back(c->garbage);
	jobs_rolled_back(c->jobs);
	core_locks_rolled_back(c);
	c->n_bereft = 0;
	c->ids_next = c->ids_end;	/* perhaps they were never reserved */
	HASH_ITER (hh, c->conns, n, next) {
		struct session *s = n->session;

		if (!n->greeted || !s)
			continue;
		detach(c, n);
		if (s->light)
			continue;
		leases_drop(c->leases, &s->holder);
		/* one that was to be resumed has files open all the same */
		s->live = s->epoch > 1 &&
			  !leases_assume(c->leases, &s->holder);
	}
	if (core_orphans_load(c))
		log_error("orphans cannot be listed: they are deleted after "
			  "the next restart");
}

static void apply_bereft(struct core *c)
{
	for (size_t i = 0; i < c->n_bereft; i++) {
		const struct bereft *b = &c->bereft[i];
		struct session *s = sessions_find(c->sessions, b->session);

		if (s && s->live && leases_open(c->leases, &s->holder, b->ino))
			log_warn("inode %llu may go while it is open: no "
				 "memory", (unsigned long long)b->ino);
		core_orphan_add(c, b->ino);
	}
	c->n_bereft = 0;
}

static void settle(struct core *c)
{
	struct out *o;

	TAILQ_FOREACH(o, &c->ready, link)
		if (o->again)
			core_refresh(c, o);
	TAILQ_FOREACH(o, &c->out, link)
		if (o->again && !o->wait.n)
			core_refresh(c, o);
	if (!c->err && !db_full(c->db))
		core_poison(c, sessions_flush(c->sessions));
}

int core_end(struct core *c)
{
	struct conn *n, *next;
	int err;

	core_locks_settle(c);
	if (!c->err)
		settle(c);
	if (c->err)
		db_rollback(c->db);
	else
		core_poison(c, db_commit(c->db, c->sync));
	counter_add(CNT_BATCHES, !!c->served);
	err = c->err;
	if (!err) {
		sessions_committed(c->sessions);
		jobs_committed(c->jobs);
		apply_bereft(c);
		garbage_tell(c->garbage, c->swarm, core_ask, c);
		core_let_go(c);
	} else {
		if (err != -ENOSPC)	/* the database has said so */
			log_error("a batch was not committed: %s",
				  strerror(-err));
		core_let_fail(c);
		undo(c);
	}
	core_send_peers(c);
	core_send_revokes(c);
	HASH_ITER (hh, c->conns, n, next) {
		n->greeted = 0;
		if (n->session)
			n->session->locked = 0;
	}
	c->err = 0;
	return err;
}

/* -------------------------------------------------------------------- time */

void core_tick(struct core *c)
{
	struct spell_end e;
	int err;

	if (c->err)
		return;
	db_essential(c->db, 1);
	core_sessions_tick(c);
	db_essential(c->db, 0);
	core_probe_tick(c);
	swarm_tick(c->swarm, c->now.ms, 3ull * c->cfg.heartbeat_ms);
	if (db_full(c->db))
		return;
	if (spell_over(&c->refused, &e))
		log_info("changes are taken again: %u were refused, in %llu s",
			 e.n, e.s);
	core_orphans_reap(c);
	err = garbage_collect(c->garbage, c->ns, c->now);
	if (err > 0)
		c->sync = 1;
	if (err >= 0)
		err = repair_tick(c->repair, c->now.ms);
	core_upkeep_failed(err < 0 ? err : 0, "deleting or copying chunks");
	core_upkeep_failed(core_digests_tick(c), "asking for a file's MD5");
	core_upkeep_failed(core_jobs_tick(c), "replicating files");
}
