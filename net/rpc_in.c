/*
 * rpc_in.c -- frames from the wire, straight into their bufs.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "rpc_internal.h"

static size_t frame_size(const struct rpc_in *in)
{
	return (size_t)RPC_HEADER + in->body_len + in->bulk_len;
}

static void park(struct rpc *c)
{
	c->in.parked = 1;
	event_del(c->readable);
}

void rpc_in_resume(struct rpc *c)
{
	static const struct timeval at_once = { 0, 0 };

	if (!c->in.parked || c->state != RPC_UP || !rpc_reqs_room(c, &c->in))
		return;
	c->in.parked = 0;
	event_add(c->readable, NULL);
	event_add(c->again, &at_once);
}

/* The header is there: find out whose it is and make room.  Called again for
 * a request that was parked. */
static int admit(struct rpc *c)
{
	struct rpc_in *in = &c->in;

	in->body_len = get_u32(in->header);
	in->bulk_len = get_u32(in->header + 4);
	in->number = get_u32(in->header + 8);
	in->type = get_u16(in->header + 12);
	in->word = get_u16(in->header + 14);
	if (in->body_len > RPC_BODY_MAX || in->bulk_len > RPC_BULK_MAX)
		return -EPROTO;
	if (in->type & RPC_ANSWER) {
		in->call = rpc_calls_find(c, in->number, in->type);
		if (!in->call)
			return -EPROTO;
	} else if (!rpc_reqs_room(c, in)) {
		park(c);
		return 0;
	}
	in->body = buf_new(in->body_len);
	if (in->bulk_len)
		in->bulk = buf_new(in->bulk_len);
	if (!in->body || (in->bulk_len && !in->bulk))
		return -ENOMEM;
	return 0;
}

/* Where the next bytes go, and how many belong there. */
static uint8_t *next_piece(struct rpc_in *in, size_t *len)
{
	size_t off = in->got;

	if (off < RPC_HEADER) {
		*len = RPC_HEADER - off;
		return in->header + off;
	}
	off -= RPC_HEADER;
	if (off < in->body_len) {
		*len = in->body_len - off;
		return in->body->data + off;
	}
	off -= in->body_len;
	*len = in->bulk_len - off;
	return in->bulk->data + off;
}

static int deliver(struct rpc *c)
{
	struct rpc_in *in = &c->in;
	struct rpc_in whole = *in;
	struct rpc_answer a = { .status = in->word };
	int err;

	memset(in, 0, sizeof(*in));
	in->timed = whole.timed;	/* the timer finds another frame */
	whole.body->len = whole.body_len;
	if (whole.bulk)
		whole.bulk->len = whole.bulk_len;
	if (whole.call) {
		a.body = whole.body;
		a.bulk = whole.bulk;
		rpc_calls_answer(c, whole.call, &a);
		err = 0;
	} else {
		err = rpc_reqs_deliver(c, &whole);
	}
	buf_unref(whole.body);
	buf_unref(whole.bulk);
	return err;
}

/* One step: a piece is read, or a frame delivered.  Bytes, or -errno. */
static ssize_t step(struct rpc *c, int *frames)
{
	struct rpc_in *in = &c->in;
	uint8_t *to;
	ssize_t n;
	size_t len;
	int err;

	if (in->got >= RPC_HEADER && !in->body) {
		err = admit(c);
		if (err || in->parked)
			return err ? err : -EAGAIN;
	}
	if (in->got >= RPC_HEADER && in->got == frame_size(in)) {
		++*frames;
		return deliver(c);
	}
	to = next_piece(in, &len);
	n = tls_read(c->tls, to, len);
	if (n > 0)
		in->got += n;
	return n;
}

/* In the middle of a large frame a packet is not worth waking up for.  What
 * is still to come to the socket is at least the rest, less the one record
 * of which OpenSSL may have a part. */
static void set_low(struct rpc *c)
{
	const struct rpc_in *in = &c->in;
	size_t rest = in->body ? frame_size(in) - in->got : 0;
	int low = rest >= RPC_READ_LOW + TLS_RECORD ? RPC_READ_LOW : 1;

	if (low == 1 && !c->low)
		return;
	if (low != c->low && !setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &low,
					 sizeof(low)))
		c->low = low;
}

/* A frame has begun: it is looked at again in RPC_SLOW_MS. */
static int watch(struct rpc *c)
{
	static const struct timeval slow = { RPC_SLOW_MS / 1000, 0 };
	struct rpc_in *in = &c->in;

	if (!in->got || in->timed)
		return 0;
	in->timed = 1;
	in->seen = in->got;
	return event_add(c->setup, &slow) ? -ENOMEM : 0;
}

int rpc_in_read(struct rpc *c)
{
	static const struct timeval at_once = { 0, 0 };
	size_t bytes = 0;
	int frames = 0;
	ssize_t n;

	if (c->in.parked)
		return 0;
	tls_read_begin(c->tls);
	__atomic_store_n(&c->heard_ms, now_ms(), __ATOMIC_RELAXED);
	while (bytes < RPC_READ_BUDGET && frames < RPC_FRAME_BUDGET) {
		/* A callback may have closed us: it wants no more of it. */
		if (__atomic_load_n(&c->closing, __ATOMIC_RELAXED))
			return 0;
		n = step(c, &frames);
		if (n == -EAGAIN && !c->in.parked)
			set_low(c);
		if (n == -EAGAIN)
			return watch(c);
		if (n < 0)
			return n == -EAGAIN ? 0 : n;
		bytes += n;
	}
	/* OpenSSL may hold bytes that the socket no longer tells of. */
	return event_add(c->again, &at_once) ? -ENOMEM : 0;
}

int rpc_in_slow(struct rpc *c)
{
	struct rpc_in *in = &c->in;
	int err = rpc_in_read(c);	/* what has come counts */

	if (err)
		return err;
	in->timed = 0;
	/* it waits for us, or it is another frame, or it came on well */
	if (in->parked || !in->seen || in->got - in->seen >= RPC_SLOW_BYTES)
		return watch(c);
	return -EPROTO;
}

void rpc_in_fini(struct rpc *c)
{
	buf_unref(c->in.body);
	buf_unref(c->in.bulk);
	c->in.body = c->in.bulk = NULL;
}
