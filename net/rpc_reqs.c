/*
 * rpc_reqs.c -- requests of the other end: limits, replies.
 *
 * A request counts against the limits, by its own bytes until it is answered,
 * then by its answer's until that has been written, so that somebody who asks
 * but does not read cannot fill our memory; a one-way one until it is freed.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "msg.h"
#include "rpc_internal.h"
#include "status.h"

struct req {
	struct rpc_req pub;
	struct rpc_frame frame;		/* the answer */
	struct loop_work work;
	size_t size;			/* as it counts in rpc.load */
	void (*gone)(void *arg);	/* or NULL */
	void *arg;
};

static size_t size_of(const struct rpc_in *in)
{
	return (size_t)RPC_HEADER + in->body_len + in->bulk_len;
}

/* One whose other end does not read its answers leaves most to the others. */
static size_t most_of(const struct rpc_budget *b)
{
	return b ? b->most / RPC_BUDGET_SHARE : RPC_INBOUND_BYTES;
}

static int budget_has(const struct rpc_budget *b, size_t size)
{
	return !b || __atomic_load_n(&b->bytes, __ATOMIC_RELAXED) + size <=
			     b->most;
}

/* @r counts for so many bytes more (or less). */
static void count(struct rpc *c, struct req *r, ssize_t by)
{
	struct rpc_budget *b = c->ops->budget;

	r->size += by;
	c->load[r->pub.number != 0].bytes += by;
	if (b)
		__atomic_add_fetch(&b->bytes, by, __ATOMIC_RELAXED);
}

/* It is looked at again as each request of this connection ends, so nobody has
 * to be woken by another one; and with none under way there is room. */
int rpc_reqs_room(const struct rpc *c, const struct rpc_in *in)
{
	const struct rpc_load *load = &c->load[in->number != 0];

	size_t most = most_of(c->ops->budget), size = size_of(in);

	if (!load->n)
		return 1;
	return load->n < RPC_INBOUND_MAX && load->bytes < most &&
	       size <= most - load->bytes && budget_has(c->ops->budget, size);
}

static void req_gone(struct rpc *c, struct rpc_frame *f)
{
	struct req *r = container_of(f, struct req, frame);
	struct rpc_load *load = &c->load[r->pub.number != 0];

	load->n--;
	count(c, r, -(ssize_t)r->size);
	rpc_frame_fini(f);
	if (r->gone)
		r->gone(r->arg);
	free(r);
	rpc_in_resume(c);
	rpc_unref(c);
}

/* Takes body and bulk from @in. */
int rpc_reqs_deliver(struct rpc *c, struct rpc_in *in)
{
	struct rpc_load *load = &c->load[in->number != 0];
	struct req *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->pub = (struct rpc_req){
		.conn = rpc_ref(c),
		.type = in->type,
		.flags = in->word,
		.number = in->number,
		.body = in->body,
		.bulk = in->bulk,
	};
	r->frame.gone = req_gone;
	load->n++;
	count(c, r, (ssize_t)size_of(in));
	in->body = in->bulk = NULL;
	if (c->ops->request)
		c->ops->request(c, &r->pub, c->arg);
	else
		rpc_fail(&r->pub, -ENOSYS, "nobody answers here");
	return 0;
}

/* ------------------------------------------------------------- replies */

static void finish(struct rpc *c, struct req *r)
{
	if (c->state == RPC_DOWN || !r->pub.number) {
		req_gone(c, &r->frame);
		return;
	}
	/* what came with it is gone; now the answer's bytes count */
	count(c, r, (ssize_t)rpc_frame_size(&r->frame) - (ssize_t)r->size);
	rpc_out_queue(c, &r->frame, r->pub.number);
}

static void on_finish(struct loop_work *w)
{
	struct req *r = container_of(w, struct req, work);

	finish(r->pub.conn, r);
}

/* r->frame is filled: to the connection's loop with it. */
static void hand_over(struct req *r)
{
	struct rpc *c = r->pub.conn;

	buf_unref(r->pub.body);
	buf_unref(r->pub.bulk);
	r->pub.body = r->pub.bulk = NULL;
	if (loop_inside(c->loop)) {
		finish(c, r);
		return;
	}
	r->work.fn = on_finish;
	loop_post(c->loop, &r->work);
}

void rpc_reply(struct rpc_req *req, struct wr *body, struct buf *bulk)
{
	struct req *r = container_of(req, struct req, pub);
	int err = rpc_frame_fill(&r->frame, req->type | RPC_ANSWER, ST_OK, body,
				 bulk);

	if (err)
		rpc_fail(req, err, "the answer cannot be sent");
	else
		hand_over(r);
}

void rpc_reply_then(struct rpc_req *req, struct wr *body, struct buf *bulk,
		    void (*gone)(void *arg), void *arg)
{
	struct req *r = container_of(req, struct req, pub);

	r->gone = gone;
	r->arg = arg;
	rpc_reply(req, body, bulk);
}

void rpc_reply_status(struct rpc_req *req, uint16_t status, struct wr *body)
{
	struct req *r = container_of(req, struct req, pub);
	int err = rpc_frame_fill(&r->frame, req->type | RPC_ANSWER, status,
				 body, NULL);

	if (err)
		rpc_fail(req, err, "the answer cannot be sent");
	else
		hand_over(r);
}

void rpc_fail(struct rpc_req *req, int err, const char *fmt, ...)
{
	struct req *r = container_of(req, struct req, pub);
	uint16_t type = req->type | RPC_ANSWER;
	uint16_t status = err ? status_of_errno(err) : ST_IO;
	char text[MSG_TEXT_MAX];
	struct wr w = WR_INIT;
	struct m_error m;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	m.text = str_of(text);
	m_error_encode(&w, &m);		/* a failure shows in w.err */
	if (rpc_frame_fill(&r->frame, type, status, &w, NULL))
		rpc_frame_fill(&r->frame, type, status, NULL, NULL);
	hand_over(r);
}

void rpc_req_free(struct rpc_req *req)
{
	if (req->number)
		rpc_fail(req, -ECANCELED, "dropped");
	else
		hand_over(container_of(req, struct req, pub));
}
