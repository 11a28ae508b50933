/*
 * rpc_out.c -- frames to the wire.
 *
 * Frames are queued while callbacks run and written afterwards, all together:
 * what is shorter than a record shares one with its neighbours, what is longer
 * is encrypted straight from where it lies.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rpc_internal.h"

int rpc_frame_fill(struct rpc_frame *f, uint16_t type, uint16_t word,
		   struct wr *body, struct buf *bulk)
{
	size_t bulk_len = bulk ? bulk->len : 0;
	int err = body ? body->err : 0;

	if (!err && ((body && body->len > RPC_BODY_MAX) ||
		     bulk_len > RPC_BULK_MAX))
		err = -EMSGSIZE;
	f->body = NULL;
	f->body_len = 0;
	if (err && body)
		wr_fini(body);
	if (err)
		return err;
	if (body)
		f->body = wr_take(body, &f->body_len);
	f->bulk = bulk_len ? buf_ref(bulk) : NULL;
	f->bulk_len = bulk_len;
	f->off = 0;
	put_u32(f->header, f->body_len);
	put_u32(f->header + 4, bulk_len);
	put_u32(f->header + 8, 0);
	put_u16(f->header + 12, type);
	put_u16(f->header + 14, word);
	return 0;
}

size_t rpc_frame_size(const struct rpc_frame *f)
{
	return RPC_HEADER + f->body_len + f->bulk_len;
}

/* Its lengths stay: they are still accounted for. */
void rpc_frame_fini(struct rpc_frame *f)
{
	free(f->body);
	buf_unref(f->bulk);
	f->body = NULL;
	f->bulk = NULL;
}

/* What follows at f->off in one piece. */
static const uint8_t *frame_piece(const struct rpc_frame *f, size_t *len)
{
	size_t off = f->off;

	if (off < RPC_HEADER) {
		*len = RPC_HEADER - off;
		return f->header + off;
	}
	off -= RPC_HEADER;
	if (off < f->body_len) {
		*len = f->body_len - off;
		return f->body + off;
	}
	off -= f->body_len;
	*len = f->bulk_len - off;
	return f->bulk_len ? f->bulk->data + off : NULL;
}

/* @n bytes of the first frame are written. */
static void advance(struct rpc *c, size_t n)
{
	struct rpc_frame *f = STAILQ_FIRST(&c->out);

	f->off += n;
	if (f->off < rpc_frame_size(f))
		return;
	STAILQ_REMOVE_HEAD(&c->out, next);
	f->gone(c, f);
}

static int write_record(struct rpc *c)
{
	uint8_t stage[TLS_RECORD];
	const uint8_t *p;
	size_t len, used = 0;
	int err;

	while (!STAILQ_EMPTY(&c->out) && used < sizeof(stage)) {
		p = frame_piece(STAILQ_FIRST(&c->out), &len);
		if (!used && len >= sizeof(stage)) {
			err = tls_write(c->tls, p, sizeof(stage));
			advance(c, sizeof(stage));
			return err;
		}
		if (len > sizeof(stage) - used)
			len = sizeof(stage) - used;
		memcpy(stage + used, p, len);
		used += len;
		advance(c, len);
	}
	return tls_write(c->tls, stage, used);
}

void rpc_out_arm(struct rpc *c)
{
	if (c->out_armed)
		return;
	c->out_armed = 1;
	event_active(c->writable, EV_WRITE, 0);
}

void rpc_out_queue(struct rpc *c, struct rpc_frame *f, uint32_t number)
{
	put_u32(f->header + 8, number);
	STAILQ_INSERT_TAIL(&c->out, f, next);
	rpc_out_arm(c);
}

int rpc_out_flush(struct rpc *c)
{
	size_t done = 0, before, queued;
	int err;

	do {
		before = tls_unsent(c->tls);
		while (!STAILQ_EMPTY(&c->out) && tls_has_room(c->tls)) {
			err = write_record(c);
			if (err)
				return err;
		}
		queued = tls_unsent(c->tls);
		done += queued - before;
		err = tls_send(c->tls);
		if (tls_unsent(c->tls) < queued) {
			c->sent_bytes += queued - tls_unsent(c->tls);
			__atomic_store_n(&c->sent_ms, now_ms(),
					 __ATOMIC_RELAXED);
		}
		if (err && err != -EAGAIN)
			return err;
		if (!err && STAILQ_EMPTY(&c->out)) {
			c->out_armed = 0;
			return 0;
		}
	} while (!err && done < RPC_WRITE_BUDGET);
	/* The socket is full, or it is the others' turn. */
	c->out_armed = 1;
	return event_add(c->writable, NULL) ? -ENOMEM : 0;
}

void rpc_out_fini(struct rpc *c)
{
	struct rpc_frame *f;

	while ((f = STAILQ_FIRST(&c->out))) {
		STAILQ_REMOVE_HEAD(&c->out, next);
		f->gone(c, f);
	}
}
