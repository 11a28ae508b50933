/*
 * via -- the relay connection, and what comes in on it.
 *
 * Happy path: via_tracker() -> connect -> on_up: whatever is wanted is asked
 * for.  When it breaks it is made anew with growing, jittered pauses, for as
 * long as this peer lives.
 */
#include "via.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "log.h"
#include "rng.h"
#include "via_internal.h"

static const struct rpc_ops rpc_ops;

/* ------------------------------------------------------------ connecting */

static void retry(struct via *v);

static void connect_now(struct via *v)
{
	int err;

	gate_enter_more(&v->gate);
	err = rpc_connect(&v->rpc, v->home, &v->self, &v->tracker, &v->from,
			  ROLE_RELAY, 0, &rpc_ops, v);
	if (!err)
		return;
	v->rpc = NULL;
	gate_leave(&v->gate);
	retry(v);
}

static void on_retry(void *arg)
{
	struct via *v = arg;

	loop_timer_free(v->retry);
	v->retry = NULL;
	connect_now(v);
}

static void retry(struct via *v)
{
	uint32_t ms = VIA_BACKOFF_MAX_MS;

	if (v->closing || v->retry)
		return;
	if (v->failures < 6)
		ms = VIA_BACKOFF_MIN_MS << v->failures;
	if (ms > VIA_BACKOFF_MAX_MS)
		ms = VIA_BACKOFF_MAX_MS;
	v->failures++;
	ms = ms / 2 + (uint32_t)(rng_next(&v->rng) % (ms / 2 + 1));
	if (loop_after(v->home, &v->retry, ms, on_retry, v))
		log_error("no memory for a timer: no chunks through the "
			  "tracker until it comes back");
}

static void set_up(struct via *v, int up)
{
	v->up = up;
	__atomic_store_n(&v->is_up, up, __ATOMIC_RELAXED);
}

static void on_up(struct rpc *c, void *arg)
{
	struct via *v = arg;

	(void)c;
	v->failures = 0;
	set_up(v, 1);
	via_want_all(v);
}

static void on_down(struct rpc *c, int err, void *arg)
{
	struct via *v = arg;

	if (v->up && err != -ECANCELED)
		log_info("the relay connection to the tracker ended (%s): "
			 "connecting anew", strerror(-err));
	set_up(v, 0);
	v->rpc = NULL;
	rpc_unref(c);
	retry(v);
	gate_leave(&v->gate);
}

struct tracker_note {
	struct loop_work work;
	struct via *via;
	struct addr tracker;
};

static void on_tracker(struct loop_work *w)
{
	struct tracker_note *n = container_of(w, struct tracker_note, work);
	struct via *v = n->via;
	int same = v->tracker.len && addr_eq(&v->tracker, &n->tracker);

	v->tracker = n->tracker;
	v->failures = 0;
	if (v->closing || (v->rpc && same)) {
		/* there already, or on the way */
	} else if (v->rpc) {
		rpc_close(v->rpc);	/* on_down() connects anew */
	} else {
		if (v->retry)
			loop_timer_free(v->retry);
		v->retry = NULL;
		connect_now(v);
	}
	free(n);
	gate_leave(&v->gate);
}

void via_tracker(struct via *v, const struct addr *tracker)
{
	struct tracker_note *n;

	if (gate_enter(&v->gate))
		return;
	n = malloc(sizeof(*n));
	if (!n) {
		gate_leave(&v->gate);
		return;
	}
	*n = (struct tracker_note){ { .fn = on_tracker }, v, *tracker };
	loop_post(v->home, &n->work);
}

int via_is_up(struct via *v)
{
	return __atomic_load_n(&v->is_up, __ATOMIC_RELAXED);
}

/* -------------------------------------------------------------- requests */

static int on_deliver(struct via *v, struct rpc_req *q, struct arena *a)
{
	struct m_deliver m;
	struct m_deliver_r r;
	struct wr w = WR_INIT;
	int err = m_deliver_decode(&m, a, q->body->data, q->body->len);

	if (err)
		return err;
	if (!q->bulk || !q->number)
		return -EINVAL;
	r.taken = (uint8_t)via_want_met(v, &m, q->bulk);
	m_deliver_r_encode(&w, &r);	/* a failure shows in w.err */
	rpc_reply(q, &w, NULL);
	return 0;
}

static int on_seek(struct via *v, struct rpc_req *q, struct arena *a)
{
	struct m_seek m;
	int err = m_seek_decode(&m, a, q->body->data, q->body->len);

	if (err)
		return err;
	via_give(v, &m, q);
	return 0;
}

static int on_nowhere(struct via *v, struct rpc_req *q, struct arena *a)
{
	struct m_nowhere m;
	int err = m_nowhere_decode(&m, a, q->body->data, q->body->len);

	if (err)
		return err;
	via_want_nowhere(v, m.ids, m.n_ids);
	rpc_req_free(q);
	return 0;
}

static void on_request(struct rpc *c, struct rpc_req *q, void *arg)
{
	struct via *v = arg;
	struct arena a = ARENA_INIT;
	int err = -EOPNOTSUPP;

	(void)c;
	switch (q->type) {
	case M_deliver:
		err = on_deliver(v, q, &a);
		break;
	case M_seek:
		err = on_seek(v, q, &a);
		break;
	case M_nowhere:
		err = on_nowhere(v, q, &a);
		break;
	}
	if (err)
		rpc_fail(q, err, "this is not for the relay connection");
	arena_fini(&a);
}

static const struct rpc_ops rpc_ops = {
	.up = on_up,
	.request = on_request,
	.down = on_down,
};

/* ------------------------------------------------------------- datagrams */

struct dgram_note {
	struct loop_work work;
	struct via *via;
	uint16_t type;
	size_t len;
	uint8_t body[];
};

static void on_dgram(struct loop_work *w)
{
	struct dgram_note *n = container_of(w, struct dgram_note, work);
	struct via *v = n->via;
	struct arena a = ARENA_INIT;
	struct m_want_r want;
	struct m_seek seek;

	if (n->type == M_want_r && !m_want_r_decode(&want, &a, n->body, n->len))
		via_want_acked(v, want.ids, want.n_ids);
	else if (n->type == M_seek && !m_seek_decode(&seek, &a, n->body, n->len))
		via_give(v, &seek, NULL);
	arena_fini(&a);
	free(n);
	gate_leave(&v->gate);
}

void via_dgram(struct via *v, uint16_t type, const void *body, size_t len)
{
	struct dgram_note *n;

	if (gate_enter(&v->gate))
		return;
	n = malloc(sizeof(*n) + len);
	if (!n) {
		gate_leave(&v->gate);
		return;		/* as if it had been lost */
	}
	n->work.fn = on_dgram;
	n->via = v;
	n->type = type;
	n->len = len;
	memcpy(n->body, body, len);
	loop_post(v->home, &n->work);
}

/* --------------------------------------------------------- opening, ends */

int via_new(struct via **out, const struct parts *p,
	    const struct rpc_self *self, const struct addr *our_addr)
{
	struct via *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	v->parts = p;
	v->home = p->bulk[0];
	v->self = *self;
	v->from = *our_addr;
	addr_set_port(&v->from, 0);
	v->rng = random_u64();
	gate_init(&v->gate);
	gate_enter(&v->gate);	/* until end() */
	TAILQ_INIT(&v->queue);
	TAILQ_INIT(&v->flying);
	TAILQ_INIT(&v->sought);
	*out = v;
	return 0;
}

static void end(void *arg)
{
	struct via *v = arg;

	v->closing = 1;
	if (v->retry)
		loop_timer_free(v->retry);
	v->retry = NULL;
	via_want_end(v, -ECANCELED);
	via_give_end(v);
	if (v->rpc)
		rpc_close(v->rpc);
	gate_leave(&v->gate);
}

void via_close(struct via *v)
{
	gate_shut(&v->gate);
	loop_run(v->home, end, v);
	gate_wait(&v->gate);
}

void via_free(struct via *v)
{
	if (!v)
		return;
	gate_fini(&v->gate);
	explicit_bzero(&v->self.key, sizeof(v->self.key));
	free(v);
}
