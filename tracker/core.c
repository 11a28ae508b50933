/*
 * How an answer finds its way out.
 *
 * While a batch runs, all that is to go out is queued in core.out, in the
 * order in which it was decided.  At the batch's end, once it is committed:
 * what waits for nobody goes; an answer that waits for revocations moves to
 * core.withheld, and from there to core.ready when the last one is in.  What
 * is ready leaves with the end of the batch that made it so.
 *
 * The revocations go last: a client that gets one has by then every answer
 * that was decided before it, and forgets what those said.  All but those
 * that are withheld: so a revocation of what such an answer says is kept
 * back until that has left (leases.h), and so is a later answer to the same
 * session about the same inodes.
 */
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

/* Takes @body.  NULL: no memory, and the batch is lost. */
struct out *core_put(struct core *c, uint64_t conn, uint32_t number,
		     uint16_t type, uint16_t status, struct wr *body)
{
	struct out *o = calloc(1, sizeof(*o));

	if (!o) {
		wr_fini(body);
		core_poison(c, -ENOMEM);
		return NULL;
	}
	o->conn = conn;
	o->number = number;
	o->type = type;
	o->status = status;
	o->body = *body;
	*body = WR_INIT;
	o->order = ++c->order;
	waiter_init(&o->wait);
	TAILQ_INSERT_TAIL(&c->out, o, link);
	return o;
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

static void error_body(struct wr *w, const char *text)
{
	struct m_error e = { .text = str_of(text) };

	if (!m_error_encode(w, &e))
		return;
	wr_fini(w);
	*w = WR_INIT;
}

void core_fail(struct core *c, struct req *r, int err)
{
	struct wr w = WR_INIT;

	if (!r->number)
		return;
	error_body(&w, r->text);
	core_put(c, r->conn->conn, r->number, r->type | M_REPLY,
		 r->status ? r->status : status_of_errno(err), &w);
}

uint32_t core_ask(void *core, struct peer *p, uint16_t type, struct wr *body)
{
	struct core *c = core;
	struct out *o;

	if (!p->conn || !core_conn(c, p->conn)) {
		wr_fini(body);
		return 0;
	}
	if (!++c->number)
		++c->number;
	o = core_put(c, p->conn, c->number, type, 0, body);
	if (!o)
		return 0;
	o->request = 1;
	return o->number;
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
	{ M_statfs, NEED_SESSION, core_serve_statfs },
	{ M_getmap, NEED_SESSION, core_serve_getmap },
	{ M_grant, NEED_PEER, core_serve_grant },
	{ M_place, NEED_PEER, core_serve_place },
	{ M_locate, NEED_SESSION, core_serve_locate },
	{ M_inventory, NEED_PEER, core_serve_inventory },
	{ M_have, NEED_PEER, core_serve_have },
	{ M_bad_copy, NEED_SESSION, core_serve_bad_copy },
	{ M_stats, NEED_PEER, core_serve_stats },
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
	r.session = r.conn->session;
	r.number = number;
	r.type = type;
	r.body = body;
	r.len = len;
	if (c->err) {
		core_fail(c, &r, c->err);
	} else if (type == M_hello) {
		core_serve_hello(c, &r);
	} else {
		err = serve(c, &r, &w);
		if (err)
			core_fail(c, &r, err);
		else if (M_MUTATES(type))
			core_change(c, &r);
		else if (number)
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
	case M_copy:
		err = repair_answered(c->repair, number, status == ST_OK);
		break;
	}
	if (err)
		core_poison(c, err);
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
		snprintf(n->ip, sizeof(n->ip), "%s", ip);
		HASH_ADD(hh, c->conns, conn, sizeof(n->conn), n);
		if (TABLE_ADDED(n))
			return;
		free(n);
	}
	c->io.close(c->io.arg, conn, "no memory");
}

/* The session stays, without a connection; its peer is out of sight. */
static void detach(struct core *c, struct conn *n)
{
	struct session *s = n->session;

	n->session = NULL;
	if (!s)
		return;
	s->conn = 0;
	if (s->peer && s->peer->conn == n->conn) {
		swarm_leave(c->swarm, s->peer, c->now.ms);
		repair_poke(c->repair);
	}
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
	for (uint32_t i = 1; i <= c->swarm->n; i++)
		if (swarm_num(c->swarm, i))
			swarm_num(c->swarm, i)->heard_ms += gap_ms;
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
	c->in_batch = 1;
	c->sync = 0;
	c->err = db_begin(c->db);
}

static void out_lost(struct core *c, const struct out *o)
{
	if (o->request && o->number)
		core_answer(c, o->conn, o->number, o->type, ST_NOTCONN, NULL,
			    0);
}

static void out_send(struct core *c, struct out *o, uint64_t conn,
		     uint32_t number, struct wr *body)
{
	if (!core_conn(c, conn)) {
		out_lost(c, o);
		return;
	}
	if (o->request)
		c->io.send(c->io.arg, conn, number, o->type, body);
	else
		c->io.answer(c->io.arg, conn, number, o->type, o->status,
			     body);
}

static void emit(struct core *c, struct out *o)
{
	for (struct dup *d = o->dups; d; d = d->next) {
		struct wr copy = WR_INIT;

		wr_bytes(&copy, o->body.p, o->body.len);
		out_send(c, o, d->conn, d->number, &copy);
		wr_fini(&copy);
	}
	out_send(c, o, o->conn, o->number, &o->body);
	core_out_free(c, o);
}

/* Nobody is waited for any more: in the order in which they were decided. */
void core_ready(struct core *c, struct out *o)
{
	struct out *p;

	TAILQ_FOREACH(p, &c->ready, link)
		if (p->order > o->order)
			break;
	if (p)
		TAILQ_INSERT_BEFORE(p, o, link);
	else
		TAILQ_INSERT_TAIL(&c->ready, o, link);
}

/* All that goes out after a batch that was committed. */
static void let_go(struct core *c)
{
	struct out *o, *next;

	while ((o = TAILQ_FIRST(&c->out))) {
		TAILQ_REMOVE(&c->out, o, link);
		o->held = o->late;
		if (o->wait.n)
			TAILQ_INSERT_TAIL(&c->withheld, o, link);
		else if (o->late)
			core_ready(c, o);
		else
			emit(c, o);
	}
	for (o = TAILQ_FIRST(&c->ready); o; o = next) {
		next = TAILQ_NEXT(o, link);
		if (core_behind(c, o))
			continue;
		TAILQ_REMOVE(&c->ready, o, link);
		emit(c, o);
	}
}

/* Every answer of a batch that failed is that failure, and nothing is asked
 * of anybody for a reason that may have been undone. */
static void let_fail(struct core *c)
{
	struct out *o;

	while ((o = TAILQ_FIRST(&c->out))) {
		TAILQ_REMOVE(&c->out, o, link);
		if (o->request) {
			out_lost(c, o);
			core_out_free(c, o);
			continue;
		}
		waiter_fini(&o->wait);
		wr_fini(&o->body);
		o->body = WR_INIT;
		o->status = status_of_errno(c->err);
		error_body(&o->body, "the tracker's database failed");
		emit(c, o);
	}
}

static void send_peers(struct core *c)
{
	struct m_peers m = { 0 };
	struct arena a = ARENA_INIT;
	struct wr w = WR_INIT, copy;
	struct conn *n, *next;
	int err;

	err = swarm_list(c->swarm, &a, 0, c->now.ms, &m.peers, &m.n_peers);
	if (!err)
		err = m_peers_encode(&w, &m);
	HASH_ITER (hh, c->conns, n, next) {
		if (err || n->closing || !n->session || n->session->light)
			continue;
		if (!n->wants_peers && !c->swarm->changed)
			continue;
		n->wants_peers = 0;
		copy = WR_INIT;
		wr_bytes(&copy, w.p, w.len);
		c->io.send(c->io.arg, n->conn, 0, M_peers, &copy);
		wr_fini(&copy);
	}
	wr_fini(&w);
	arena_fini(&a);
	if (!err)
		c->swarm->changed = 0;
}

static void send_revokes(struct core *c)
{
	struct revoke *v;

	while ((v = leases_unsent(c->leases))) {
		struct session *s = (struct session *)
			((char *)v->holder - offsetof(struct session, holder));
		struct m_revoke m = { v->inos, v->n };
		struct wr w = WR_INIT;

		if (!++c->number)
			++c->number;
		v->number = c->number;
		counter_add(CNT_REVOKES, 1);
		if (!s->conn || !core_conn(c, s->conn))
			continue;	/* until it resumes, or its time ends */
		if (m_revoke_encode(&w, &m))
			core_close(c, core_conn(c, s->conn), "no memory");
		else
			c->io.send(c->io.arg, s->conn, v->number, M_revoke,
				   &w);
		wr_fini(&w);
	}
}

/* In memory it is as if the batch had never been. */
static void undo(struct core *c)
{
	struct conn *n, *next;

	sessions_rolled_back(c->sessions);
	swarm_rolled_back(c->swarm);
	garbage_rolled_back(c->garbage);
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
		s->live = 0;
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
	if (!c->err)
		core_poison(c, sessions_flush(c->sessions));
}

int core_end(struct core *c)
{
	struct conn *n, *next;
	int err;

	if (!c->err)
		settle(c);
	if (c->err)
		db_rollback(c->db);
	else
		core_poison(c, db_commit(c->db, c->sync));
	counter_add(CNT_BATCHES, 1);
	err = c->err;
	c->in_batch = 0;
	if (!err) {
		sessions_committed(c->sessions);
		apply_bereft(c);
		garbage_tell(c->garbage, c->swarm, core_ask, c);
		let_go(c);
	} else {
		log_error("a batch was not committed: %s", strerror(-err));
		let_fail(c);
		undo(c);
	}
	send_peers(c);
	send_revokes(c);
	HASH_ITER (hh, c->conns, n, next)
		n->greeted = 0;
	c->err = 0;
	return err;
}

/* -------------------------------------------------------------------- time */

void core_tick(struct core *c)
{
	int err;

	if (c->err)
		return;
	core_sessions_tick(c);
	swarm_tick(c->swarm, c->now.ms, 3ull * c->cfg.heartbeat_ms);
	core_orphans_reap(c);
	err = garbage_collect(c->garbage, c->ns, c->now);
	if (err > 0)
		c->sync = 1;
	if (err >= 0)
		err = repair_tick(c->repair, c->now.ms);
	if (err < 0)
		core_poison(c, err);
}
