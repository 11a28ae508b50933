/*
 * chunkd_get -- a chunk for another peer, from the shelf.
 *
 * What is not here but on its way here is waited for: who was told to ask us
 * may come before it does.  Two who wait for one another would do so for
 * ever: therefore not longer than CHUNKD_COMING_MS.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chunkd_internal.h"
#include "container.h"
#include "counters.h"
#include "fetch.h"
#include "shelf.h"

struct chunkd_coming {
	LIST_ENTRY(chunkd_coming) entry;	/* of its connection */
	struct chunkd *cd;
	struct chunkd_op *op;	/* NULL: it waits no longer */
	struct loop *loop;
	struct loop_work work;
	struct loop_timer *timer;
	int err;
	struct buf *buf;
};

/* ----------------------------------------------------------- answering */

static void end(struct chunkd_op *op, int err)
{
	chunkd_turn_over(op);
	chunkd_op_fail(op, err);
}

static void on_sent(void *arg)
{
	chunkd_turn_over(arg);
	chunkd_op_end(arg);
}

static void on_read(void *arg, int err, const struct chunk_meta *m,
		    struct buf *b)
{
	struct chunkd_op *op = arg;
	struct m_get_r r = {
		.chunk = m->chunk, .ino = m->ino, .slot = m->slot,
		.pos = m->pos, .len = m->len,
	};
	struct wr w = WR_INIT;
	struct buf *wire;

	if (err) {
		end(op, err);
		return;
	}
	wire = buf_view(b, 0, b->len + MD5_LEN);
	if (!wire) {
		end(op, -ENOMEM);
		return;
	}
	memcpy(r.md5, m->md5, MD5_LEN);
	m_get_r_encode(&w, &r);	/* a failure shows in w.err */
	counter_add(CNT_CHUNKS_SENT, 1);
	counter_add(CNT_BYTES_SENT, b->len);
	served_add(&op->conn->cd->served, m->chunk, op->num);
	chunkd_turn_out(op, m->len);
	rpc_reply_then(op->req, &w, wire, on_sent, op);
	buf_unref(wire);
}

void chunkd_get_busy(struct chunkd_op *op, uint32_t *others, uint32_t n)
{
	struct m_get_r r = {
		.chunk = op->meta.chunk, .busy = others, .n_busy = n,
	};
	struct wr w = WR_INIT;

	m_get_r_encode(&w, &r);	/* a failure shows in w.err */
	rpc_reply(op->req, &w, NULL);
	chunkd_op_end(op);
}

/* ----------------------------------------------- what is on its way here */

/* It waits no longer. */
static struct chunkd_op *leave(struct chunkd_coming *c)
{
	struct chunkd_op *op = c->op;

	LIST_REMOVE(c, entry);
	chunkd_turn_await(op->conn, -1);
	c->op = NULL;
	if (c->timer)
		loop_timer_free(c->timer);
	c->timer = NULL;
	return op;
}

static void on_late(void *arg)
{
	chunkd_op_fail(leave(arg), -EBUSY);
}

static void on_came_home(struct loop_work *w)
{
	struct chunkd_coming *c = container_of(w, struct chunkd_coming, work);
	struct chunkd *cd = c->cd;
	struct chunkd_op *op = c->op ? leave(c) : NULL;

	if (op && c->err) {
		chunkd_op_fail(op, c->err);
	} else if (op) {
		op->came = buf_ref(c->buf);
		chunkd_turn_take(op);
	}
	buf_unref(c->buf);
	free(c);
	gate_leave(&cd->gate);
}

static void on_came(void *arg, int err, struct buf *b)
{
	struct chunkd_coming *c = arg;

	c->err = err;
	if (!err)
		c->buf = buf_ref(b);
	loop_post(c->loop, &c->work);
}

/* Is it on its way here?  Then @op waits for it. */
static int wait_for(struct chunkd_op *op)
{
	struct chunkd_conn *k = op->conn;
	struct chunkd_coming *c = calloc(1, sizeof(*c));

	if (!c)
		return 0;
	c->cd = k->cd;
	c->op = op;
	c->loop = rpc_loop(k->rpc);
	c->work.fn = on_came_home;
	gate_enter_more(&k->cd->gate);
	if (loop_after(c->loop, &c->timer, CHUNKD_COMING_MS, on_late, c) ||
	    fetch_join(k->cd->parts->fetch, op->meta.chunk, on_came, c)) {
		if (c->timer)
			loop_timer_free(c->timer);
		free(c);
		gate_leave(&k->cd->gate);
		return 0;
	}
	LIST_INSERT_HEAD(&k->coming, c, entry);
	chunkd_turn_await(k, 1);
	chunkd_turn_over(op);
	return 1;
}

void chunkd_get_down(struct chunkd_conn *k)
{
	while (!LIST_EMPTY(&k->coming))
		chunkd_op_drop(leave(LIST_FIRST(&k->coming)));
}

void chunkd_get(struct chunkd_op *op)
{
	const struct parts *parts = op->conn->cd->parts;
	struct chunk_meta m = { .chunk = op->meta.chunk };

	if (op->came) {		/* the rule of the cache: its MD5 is behind it */
		m.len = (uint32_t)op->came->len;
		memcpy(m.md5, op->came->data + m.len, MD5_LEN);
		on_read(op, 0, &m, op->came);
		return;
	}
	if (!store_has(parts->store, op->meta.chunk) && wait_for(op))
		return;
	shelf_read(parts, op->meta.chunk, SHELF_SERVE, on_read, op);
}
