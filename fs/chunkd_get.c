/*
 * chunkd_get -- a chunk for another peer, from the shelf.
 */
#include <errno.h>
#include <string.h>

#include "chunkd_internal.h"
#include "counters.h"
#include "shelf.h"

static void on_sent(void *arg)
{
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
		chunkd_op_fail(op, err);
		return;
	}
	wire = buf_view(b, 0, b->len + MD5_LEN);
	if (!wire) {
		chunkd_op_fail(op, -ENOMEM);
		return;
	}
	memcpy(r.md5, m->md5, MD5_LEN);
	m_get_r_encode(&w, &r);	/* a failure shows in w.err */
	counter_add(CNT_CHUNKS_SENT, 1);
	counter_add(CNT_BYTES_SENT, b->len);
	served_add(&op->conn->cd->served, m->chunk, op->num);
	/* Until it is written it counts: who does not read gets no more. */
	op->answer = b->len;
	__atomic_fetch_add(&op->conn->unread, op->answer, __ATOMIC_RELAXED);
	rpc_reply_then(op->req, &w, wire, on_sent, op);
	buf_unref(wire);
}

void chunkd_get(struct chunkd_op *op)
{
	shelf_read(op->conn->cd->parts, op->meta.chunk, SHELF_SERVE, on_read,
		   op);
}
