/*
 * rpc_calls.c -- our requests: numbers, window, deadlines, answers.
 *
 * A call waits (for up or the window), flies (its frame is queued or written)
 * and ends with its answer.  One whose deadline passes while it flies is told
 * so, and is kept in "late" until the answer does come: see the window in
 * rpc_internal.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "rpc_internal.h"
#include "status.h"

struct rpc_call {
	struct loop_work work;
	struct rpc_frame frame;
	struct rpc *conn;
	TAILQ_ENTRY(rpc_call) entry;
	struct rpc_call_list *list;	/* in which entry is */
	UT_hash_handle hh;
	uint32_t number;
	uint16_t type;
	int err;			/* it cannot be sent */
	int oneway;
	int written;			/* the whole frame */
	uint64_t deadline_ms;
	rpc_done done;
	void *arg;
};

static void list_move(struct rpc_call *k, struct rpc_call_list *to)
{
	if (k->list)
		TAILQ_REMOVE(k->list, k, entry);
	if (to)
		TAILQ_INSERT_TAIL(to, k, entry);
	k->list = to;
}

static void call_end(struct rpc_call *k, int err, const struct rpc_answer *a)
{
	rpc_done done = k->done;

	k->done = NULL;
	if (done)
		done(k->arg, err, a);
}

static void call_free(struct rpc_call *k)
{
	rpc_frame_fini(&k->frame);
	free(k);
}

/* ----------------------------------------------------------- deadlines */

static void arm(struct rpc *c, uint64_t at_ms, uint64_t now)
{
	uint64_t in = at_ms > now ? at_ms - now : 1;
	struct timeval tv = { in / 1000, in % 1000 * 1000 };

	if (c->calls.wake_ms && c->calls.wake_ms <= at_ms)
		return;
	c->calls.wake_ms = at_ms;
	if (event_add(c->calls.timer, &tv))
		c->calls.wake_ms = 0;	/* the next call tries again */
}

/* Moves what is over to @over; returns the earliest deadline of the rest. */
static uint64_t take_expired(struct rpc_call_list *from,
			     struct rpc_call_list *over, uint64_t now)
{
	struct rpc_call *k, *next;
	uint64_t first = UINT64_MAX;

	for (k = TAILQ_FIRST(from); k; k = next) {
		next = TAILQ_NEXT(k, entry);
		if (k->oneway)
			continue;
		if (k->deadline_ms <= now)
			list_move(k, over);
		else if (k->deadline_ms < first)
			first = k->deadline_ms;
	}
	return first;
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct rpc *c = arg;
	struct rpc_calls *s = &c->calls;
	struct rpc_call_list unsent = TAILQ_HEAD_INITIALIZER(unsent);
	struct rpc_call_list sent = TAILQ_HEAD_INITIALIZER(sent);
	struct rpc_call *k;
	uint64_t now = now_ms(), a, b;

	(void)fd;
	(void)what;
	s->wake_ms = 0;
	a = take_expired(&s->waiting, &unsent, now);
	b = take_expired(&s->flying, &sent, now);
	if (b < a)
		a = b;
	if (a != UINT64_MAX)
		arm(c, a, now);
	while ((k = TAILQ_FIRST(&sent))) {
		list_move(k, &s->late);
		call_end(k, -ETIMEDOUT, NULL);
	}
	while ((k = TAILQ_FIRST(&unsent))) {
		list_move(k, NULL);
		call_end(k, -ETIMEDOUT, NULL);
		call_free(k);
	}
}

/* ------------------------------------------------------------- sending */

static void call_gone(struct rpc *c, struct rpc_frame *f)
{
	struct rpc_call *k = container_of(f, struct rpc_call, frame);

	(void)c;
	rpc_frame_fini(f);
	k->written = 1;
	if (k->oneway)
		call_free(k);
}

static int choose_number(struct rpc *c, struct rpc_call *k)
{
	struct rpc_call *other;

	do {
		k->number = ++c->calls.last_number;
		HASH_FIND(hh, c->calls.by_number, &k->number,
			  sizeof(k->number), other);
	} while (!k->number || other);
	HASH_ADD(hh, c->calls.by_number, number, sizeof(k->number), k);
	return TABLE_ADDED(k) ? 0 : -ENOMEM;
}

static int window_open(const struct rpc_calls *s, size_t size)
{
	if (!s->window_n)
		return 1;
	return s->window_n < RPC_INBOUND_MAX &&
	       s->window_bytes < RPC_INBOUND_BYTES &&
	       size <= RPC_INBOUND_BYTES - s->window_bytes;
}

void rpc_calls_pump(struct rpc *c)
{
	struct rpc_calls *s = &c->calls;
	struct rpc_call *k;
	size_t size;

	while (c->state == RPC_UP && (k = TAILQ_FIRST(&s->waiting))) {
		if (k->oneway) {
			list_move(k, NULL);
			rpc_out_queue(c, &k->frame, 0);
			continue;
		}
		size = rpc_frame_size(&k->frame);
		if (!window_open(s, size))
			return;
		if (choose_number(c, k)) {
			list_move(k, NULL);
			call_end(k, -ENOMEM, NULL);
			call_free(k);
			continue;
		}
		s->window_n++;
		s->window_bytes += size;
		list_move(k, &s->flying);
		rpc_out_queue(c, &k->frame, k->number);
	}
}

static void submit(struct rpc *c, struct rpc_call *k)
{
	if (!k->err && c->state == RPC_DOWN)
		k->err = c->err;
	if (k->err) {
		call_end(k, k->err, NULL);
		call_free(k);
		return;
	}
	list_move(k, &c->calls.waiting);
	if (!k->oneway)
		arm(c, k->deadline_ms, now_ms());
	rpc_calls_pump(c);	/* it may be over, and freed, behind this */
}

static void on_submit(struct loop_work *w)
{
	struct rpc_call *k = container_of(w, struct rpc_call, work);
	struct rpc *c = k->conn;

	submit(c, k);
	rpc_unref(c);
}

/* A failure, too, is told from the loop and never from inside rpc_call().
 * Without its timer a connection has not begun: its start is posted, and the
 * call is posted behind it. */
static void hand_over(struct rpc_call *k)
{
	struct rpc *c = k->conn;

	if (loop_inside(c->loop) && c->calls.timer && !k->err &&
	    c->state != RPC_DOWN) {
		submit(c, k);
		return;
	}
	rpc_ref(c);
	k->work.fn = on_submit;
	loop_post(c->loop, &k->work);
}

static struct rpc_call *call_new(struct rpc *c, uint16_t type, uint16_t flags,
				 struct wr *body, struct buf *bulk)
{
	struct rpc_call *k = calloc(1, sizeof(*k));

	if (!k) {
		if (body)
			wr_fini(body);
		return NULL;
	}
	k->conn = c;
	k->type = type;
	k->err = rpc_frame_fill(&k->frame, type, flags, body, bulk);
	k->frame.gone = call_gone;
	return k;
}

void rpc_call(struct rpc *c, uint16_t type, uint16_t flags, struct wr *body,
	      struct buf *bulk, uint32_t timeout_ms, rpc_done done, void *arg)
{
	struct rpc_call *k = call_new(c, type, flags, body, bulk);

	if (!k) {
		done(arg, -ENOMEM, NULL);
		return;
	}
	k->deadline_ms = now_ms() + timeout_ms;
	k->done = done;
	k->arg = arg;
	hand_over(k);
}

void rpc_send(struct rpc *c, uint16_t type, struct wr *body)
{
	struct rpc_call *k = call_new(c, type, 0, body, NULL);

	if (!k)
		return;
	k->oneway = 1;
	hand_over(k);
}

/* ------------------------------------------------------------- answers */

struct rpc_call *rpc_calls_find(struct rpc *c, uint32_t number, uint16_t type)
{
	struct rpc_call *k;

	HASH_FIND(hh, c->calls.by_number, &number, sizeof(number), k);
	if (!k || !k->written || type != (k->type | RPC_ANSWER))
		return NULL;
	return k;
}

void rpc_calls_answer(struct rpc *c, struct rpc_call *k,
		      const struct rpc_answer *a)
{
	struct rpc_calls *s = &c->calls;

	HASH_DEL(s->by_number, k);
	list_move(k, NULL);
	s->window_n--;
	s->window_bytes -= rpc_frame_size(&k->frame);
	call_end(k, status_to_errno(a->status), a);
	call_free(k);
	rpc_calls_pump(c);
}

/* ---------------------------------------------------------- both ends */

int rpc_calls_init(struct rpc *c)
{
	struct rpc_calls *s = &c->calls;

	TAILQ_INIT(&s->waiting);
	TAILQ_INIT(&s->flying);
	TAILQ_INIT(&s->late);
	s->timer = evtimer_new(loop_base(c->loop), on_deadline, c);
	return s->timer ? 0 : -ENOMEM;
}

static void end_list(struct rpc *c, struct rpc_call_list *list)
{
	struct rpc_call *k;

	while ((k = TAILQ_FIRST(list))) {
		list_move(k, NULL);
		call_end(k, c->err, NULL);
		call_free(k);
	}
}

void rpc_calls_fini(struct rpc *c)
{
	struct rpc_calls *s = &c->calls;

	HASH_CLEAR(hh, s->by_number);
	end_list(c, &s->late);
	end_list(c, &s->flying);
	end_list(c, &s->waiting);
	if (s->timer)
		event_free(s->timer);
	s->timer = NULL;
}
