/*
 * fuzz_rpc_in -- frames from the wire, in whatever pieces they come.
 *
 * Input: how many calls of ours wait for answers u8, how large the pieces are
 * u8; then the wire's bytes.  TLS and what comes above rpc_in.c are pretend.
 * Delivered is, byte for byte, what the frames say, until one breaks a limit
 * or answers what nobody asked; a request over the limits waits.
 */
#include <errno.h>

#include "rpc_internal.h"

#include "fuzz.h"

struct wire {
	const uint8_t *p;	/* what is still to be read */
	size_t left, piece, round;
	const uint8_t *frame;	/* where the next frame begins */
	unsigned asked;		/* calls 1 to @asked wait */
	unsigned frames;
	int parks;
};

static struct wire wire;

static ssize_t wire_read(void *p, size_t n)
{
	MUST(n);
	if (!wire.left || !wire.round)
		return -EAGAIN;
	if (n > wire.left)
		n = wire.left;
	if (n > wire.piece)
		n = wire.piece;
	if (n > wire.round)
		n = wire.round;
	memcpy(p, wire.p, n);
	wire.p += n;
	wire.left -= n;
	wire.round -= n;
	return (ssize_t)n;
}

/* The frame that is delivered is the next on the wire. */
static void check_frame(const struct rpc_in *in)
{
	const uint8_t *h = wire.frame;
	uint32_t body = get_u32(h), bulk = get_u32(h + 4);

	MUST((size_t)(wire.p - h) == (size_t)RPC_HEADER + body + bulk);
	MUST(in->number == get_u32(h + 8) && in->type == get_u16(h + 12) &&
	     in->word == get_u16(h + 14));
	MUST(in->body->len == body && in->body->len <= in->body->cap);
	MUST(!body || !memcmp(in->body->data, h + RPC_HEADER, body));
	MUST(!in->bulk == !bulk);
	MUST(!bulk || (in->bulk->len == bulk &&
		       !memcmp(in->bulk->data, h + RPC_HEADER + body, bulk)));
	wire.frame = wire.p;
	wire.frames++;
}

static int pretend_add(const struct event *e, const struct timeval *in)
{
	MUST(!e && (!in || (!in->tv_usec &&
			    in->tv_sec <= RPC_SLOW_MS / 1000)));
	return 0;
}

static struct rpc_call *pretend_find(uint32_t number)
{
	return number && number <= wire.asked
		       ? (struct rpc_call *)&wire : NULL;
}

static void pretend_answer(const struct rpc_answer *a)
{
	const uint8_t *h = wire.frame;
	struct rpc_in in = { .number = get_u32(h + 8),
			     .type = get_u16(h + 12), .word = a->status,
			     .body = a->body, .bulk = a->bulk };

	MUST(in.type & RPC_ANSWER);
	check_frame(&in);
}

/* As rpc_reqs_deliver() counts; nothing is ever answered. */
static int pretend_deliver(struct rpc *c, struct rpc_in *in)
{
	struct rpc_load *load = &c->load[in->number != 0];

	MUST(rpc_reqs_room(c, in));
	check_frame(in);
	load->n++;
	load->bytes += (size_t)RPC_HEADER + in->body_len + in->bulk_len;
	return 0;
}

#define tls_read_begin(t) ((void)(t))
#define tls_read(t, p, n) wire_read(p, n)
#define event_add(e, tv) pretend_add(e, tv)
#define event_del(e) ((void)(e), (void)wire.parks++)
#define rpc_calls_find(c, number, type) ((void)(type), pretend_find(number))
#define rpc_calls_answer(c, call, a) pretend_answer(a)
#define rpc_reqs_deliver(c, in) pretend_deliver(c, in)
#include "rpc_in.c"

/* Why the connection ended or stopped, as the frame that did it says. */
static void check_end(const struct rpc *c, int err)
{
	const uint8_t *h = wire.frame;
	size_t got = (size_t)(wire.p - h);
	int answer;

	MUST(c->in.got == got);
	if (!err && !c->in.parked)
		return;
	MUST(got == RPC_HEADER);
	answer = get_u16(h + 12) & RPC_ANSWER;
	if (c->in.parked)
		MUST(!answer && !rpc_reqs_room(c, &c->in));
	else
		MUST(err == -EPROTO && (get_u32(h) > RPC_BODY_MAX ||
					get_u32(h + 4) > RPC_BULK_MAX ||
					(answer && !pretend_find(get_u32(h + 8)))));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const struct rpc_ops ops;
	struct rpc c = { .state = RPC_UP, .ops = &ops };
	struct rd r;
	int err = 0;

	rd_init(&r, p, n);
	wire = (struct wire){ .asked = rd_u8(&r), .piece = rd_u8(&r) + 1u };
	wire.p = wire.frame = fuzz_rest(&r, &wire.left);
	if (!wire.p)
		return 0;
	while (!err && !c.in.parked) {
		size_t left = wire.left;

		wire.round = 4 * wire.piece;
		err = rpc_in_read(&c);
		if (wire.left == left)
			break;
	}
	check_end(&c, err);
	MUST(wire.parks == c.in.parked);
	if (c.in.parked) {	/* one is done with: there is room again */
		c.load[c.in.number != 0] = (struct rpc_load){ .n = 0 };
		rpc_in_resume(&c);
		MUST(!c.in.parked);
	}
	rpc_in_fini(&c);
	MUST(!c.in.body && !c.in.bulk);
	return 0;
}

static void frame(struct wr *w, uint32_t body, uint32_t bulk, uint32_t number,
		  uint16_t type, uint16_t word)
{
	wr_u32(w, body);
	wr_u32(w, bulk);
	wr_u32(w, number);
	wr_u16(w, type);
	wr_u16(w, word);
	for (uint32_t i = 0; i < body + bulk && i < 100; i++)
		wr_u8(w, (uint8_t)i);
}

static void begin(struct wr *w, uint8_t asked, uint8_t piece)
{
	wr_u8(w, asked);
	wr_u8(w, piece);
}

void fuzz_seeds(void)
{
	struct wr w = WR_INIT;

	begin(&w, 2, 6);
	frame(&w, 3, 2, 1, 0x0101, 0);
	frame(&w, 0, 0, 0, 0x0004, RPC_MORE);
	frame(&w, 8, 0, 2, 0x8101, 0);
	frame(&w, 0, 20, 9, 0x0501, 0);
	fuzz_seed_wr("frames", &w);
	begin(&w, 0, 255);
	frame(&w, 0, 0, 1, 0x8101, 0);
	fuzz_seed_wr("unasked", &w);
	begin(&w, 0, 0);
	frame(&w, RPC_BODY_MAX, RPC_BULK_MAX, 1, 1, 0);
	fuzz_seed_wr("largest", &w);
	begin(&w, 0, 0);
	frame(&w, RPC_BODY_MAX + 1, 0, 1, 1, 0);
	fuzz_seed_wr("body", &w);
	begin(&w, 0, 0);
	frame(&w, 0, RPC_BULK_MAX + 1, 1, 1, 0);
	fuzz_seed_wr("bulk", &w);
	begin(&w, 0, 15);
	for (uint32_t i = 0; i <= RPC_INBOUND_MAX; i++)
		frame(&w, 0, 0, 1 + i, 1, 0);
	fuzz_seed_wr("many", &w);
}
