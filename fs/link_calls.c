/*
 * link_calls -- requests to the tracker, until they have an answer.
 *
 * A call is freed in one of three places: when its answer comes, when its
 * deadline passes while it is on a connection (rpc tells), or when it passes
 * while there is none (link_calls_tick).  A connection that breaks leaves it
 * in the list, to be sent again, in the same order, after the next hello.
 */
#include <errno.h>
#include <stdlib.h>

#include "container.h"
#include "counters.h"
#include "link_internal.h"
#include "log.h"
#include "status.h"

static void call_end(struct link_call *c, int err, const struct rpc_answer *a)
{
	struct link *l = c->link;

	TAILQ_REMOVE(&l->calls, c, entry);
	if (c->seq)
		TAILQ_REMOVE(&l->changes, c, change);
	c->done(c->arg, err, a);
	free(c->body);
	free(c);
}

/* Did the connection fail, rather than the request? */
static int is_for_resending(const struct link_call *c, int err)
{
	if (err == -ENOMEM || err == -EMSGSIZE)
		return 0;
	return now_ms() < c->deadline_ms;
}

static void on_answer(void *arg, int err, const struct rpc_answer *a)
{
	struct link_call *c = arg;
	struct link *l = c->link;

	c->sent = 0;
	if (a && a->status == ST_SESSION && !c->seq) {
		link_session_ended(l);
		return;
	}
	if (a) {
		call_end(c, err, a);
	} else if (!is_for_resending(c, err)) {
		l->unsettled |= c->seq && err == -ETIMEDOUT;
		call_end(c, err == -ETIMEDOUT ? -EIO : err, NULL);
	}
	if (a && a->status == ST_SESSION)
		link_session_ended(l);
}

/* The oldest change without an answer is what the tracker must remember. */
static void stamp(struct link *l, struct link_call *c)
{
	if (!c->seq) {
		c->seq = ++l->last_seq;
		TAILQ_INSERT_TAIL(&l->changes, c, change);
	}
	put_u64(c->body, c->seq);
	put_u64(c->body + 8, TAILQ_FIRST(&l->changes)->seq);
}

static void send_call(struct link *l, struct link_call *c)
{
	uint64_t now = now_ms();
	struct wr w = WR_INIT;

	if (M_MUTATES(c->type))
		stamp(l, c);
	wr_bytes(&w, c->body, c->len);
	c->sent = 1;
	rpc_call(l->rpc, c->type, 0, &w, NULL,
		 c->deadline_ms > now ? (uint32_t)(c->deadline_ms - now) : 1,
		 on_answer, c);
}

void link_calls_send_all(struct link *l)
{
	struct link_call *c, *next;

	for (c = TAILQ_FIRST(&l->calls); c; c = next) {
		next = TAILQ_NEXT(c, entry);
		if (c->sent)
			continue;
		if (c->seq)
			counter_add(CNT_RETRIES, 1);
		send_call(l, c);
	}
}

void link_calls_session_new(struct link *l)
{
	struct link_call *c;

	while ((c = TAILQ_FIRST(&l->changes))) {
		log_warn("%s (change %llu) had no answer when the session "
			 "ended: it fails", msg_name(c->type),
			 (unsigned long long)c->seq);
		call_end(c, -ESTALE, NULL);
	}
}

/* What was written under a lock that somebody else may have had since. */
void link_calls_fence(struct link *l, uint64_t ino)
{
	struct link_call *c, *next;

	for (c = TAILQ_FIRST(&l->calls); c; c = next) {
		next = TAILQ_NEXT(c, entry);
		if (c->type == M_commit && !c->sent && c->len >= 24 &&
		    get_u64(c->body + 16) == ino)
			call_end(c, -EIO, NULL);
	}
}

void link_calls_tick(struct link *l, uint64_t now)
{
	struct link_call *c, *next;

	if (l->state == LINK_UP)
		return;
	for (c = TAILQ_FIRST(&l->calls); c; c = next) {
		next = TAILQ_NEXT(c, entry);
		if (!c->sent && c->deadline_ms <= now)
			call_end(c, -EIO, NULL);
	}
}

void link_calls_end(struct link *l, int err)
{
	struct link_call *c;

	while ((c = TAILQ_FIRST(&l->calls)))
		call_end(c, err, NULL);
}

/* ------------------------------------------------------------- link.h */

static void on_posted(struct loop_work *w)
{
	struct link_call *c = container_of(w, struct link_call, work);
	struct link *l = c->link;

	TAILQ_INSERT_TAIL(&l->calls, c, entry);
	if (l->state == LINK_CLOSED)
		call_end(c, -ECANCELED, NULL);
	else if (l->state == LINK_UP)
		send_call(l, c);
}

void link_call(struct link *l, uint16_t type, struct wr *body, rpc_done done,
	       void *arg)
{
	link_call_for(l, type, body, 0, done, arg);
}

void link_call_for(struct link *l, uint16_t type, struct wr *body,
		   uint32_t timeout_ms, rpc_done done, void *arg)
{
	struct link_call *c = calloc(1, sizeof(*c));
	int err = body->err;

	if (!c || err) {
		wr_fini(body);
		free(c);
		done(arg, err ? err : -ENOMEM, NULL);
		return;
	}
	c->link = l;
	c->type = type;
	c->body = wr_take(body, &c->len);
	c->deadline_ms = now_ms() +
			 (timeout_ms ? timeout_ms : l->cfg.timeout_ms);
	c->done = done;
	c->arg = arg;
	c->work.fn = on_posted;
	counter_add(CNT_RPCS, 1);
	loop_post(l->loop, &c->work);
}

struct one_way {
	struct loop_work work;
	struct link *link;
	uint16_t type;
	int dgram;
	struct wr body;
};

static void on_one_way(struct loop_work *w)
{
	struct one_way *o = container_of(w, struct one_way, work);
	struct link *l = o->link;

	if (l->state == LINK_UP && o->dgram)
		dgram_send(l->dgram, l->session, o->type, o->body.p,
			   o->body.len);
	else if (l->state == LINK_UP)
		rpc_send(l->rpc, o->type, &o->body);
	wr_fini(&o->body);
	free(o);
}

static void send_one_way(struct link *l, uint16_t type, struct wr *body,
			 int dgram)
{
	struct one_way *o = body->err ? NULL : calloc(1, sizeof(*o));

	if (!o) {
		wr_fini(body);
		return;
	}
	o->link = l;
	o->type = type;
	o->dgram = dgram;
	o->body = *body;
	wr_init(body);
	o->work.fn = on_one_way;
	loop_post(l->loop, &o->work);
}

void link_send(struct link *l, uint16_t type, struct wr *body)
{
	send_one_way(l, type, body, 0);
}

void link_dgram(struct link *l, uint16_t type, struct wr *body)
{
	send_one_way(l, type, body, 1);
}
