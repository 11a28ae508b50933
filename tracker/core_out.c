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
#include <stdlib.h>

#include "core_internal.h"
#include "counters.h"

/* ---------------------------------------------------------------- queueing */

/* Who waits there for an answer connects again, and asks again. */
static void no_answer(struct core *c, uint64_t conn)
{
	struct conn *n = core_conn(c, conn);

	if (n && !n->closing)
		core_close(c, n, "no memory to answer");
}

/* Takes @body.  NULL: no memory, and the batch is lost. */
struct out *core_put(struct core *c, uint64_t conn, uint32_t number,
		     uint16_t type, uint16_t status, struct wr *body)
{
	struct out *o = calloc(1, sizeof(*o));

	if (!o) {
		wr_fini(body);
		core_poison(c, -ENOMEM);
		no_answer(c, conn);
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

void core_error_body(struct wr *w, const char *text)
{
	struct m_error e = { .text = str_of(text) };

	if (!m_error_encode(w, &e))
		return;
	wr_fini(w);
	*w = WR_INIT;
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

void core_push(struct core *c, uint64_t conn, uint16_t type, struct wr *body)
{
	struct out *o = core_put(c, conn, 0, type, 0, body);

	if (o)
		o->request = 1;
}

/* ----------------------------------------------------------- letting it go */

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
		if (copy.err)
			no_answer(c, d->conn);
		else
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
void core_let_go(struct core *c)
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
void core_let_fail(struct core *c)
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
		core_error_body(&o->body, c->err == -ENOSPC
						  ? core_full_text
						  : "the tracker's database "
						    "failed");
		emit(c, o);
	}
}

/* --------------------------------------------------- peers and revocations */

void core_send_peers(struct core *c)
{
	struct m_peers m = { 0 };
	struct arena a = ARENA_INIT;
	struct wr w = WR_INIT, copy;
	struct conn *n, *next;
	int err;

	if (!c->swarm->changed && !c->wants_peers)
		return;
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
		if (copy.err)
			core_close(c, n, "no memory to tell the peers");
		else
			c->io.send(c->io.arg, n->conn, 0, M_peers, &copy);
		wr_fini(&copy);
	}
	wr_fini(&w);
	arena_fini(&a);
	if (!err)
		c->swarm->changed = c->wants_peers = 0;
}

void core_send_revokes(struct core *c)
{
	struct revoke *v;

	while ((v = leases_unsent(c->leases))) {
		struct session *s = (struct session *)
			((char *)v->holder - offsetof(struct session, holder));
		struct m_revoke m = { v->inos, v->n, v->also };
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
