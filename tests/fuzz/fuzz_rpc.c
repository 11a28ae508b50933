/*
 * fuzz_rpc -- calls, requests and their limits, with any other end.
 *
 * Input: steps, each: what u8, how u8; of a frame also its header as it is on
 * the wire and its bytes.  TLS, events and clock are pretend.
 *
 * Each call of ours ends once, in time; an answer ends the call that it names.
 * No more than the window is out, no more than the limits is let in.  Each
 * request is answered once, when it was.
 */
#include <errno.h>

#include "container.h"
#include "rpc_internal.h"

#include "fuzz.h"

enum what { FRAME, ANSWER, CALL, SEND, FLUSH, REPLY, FAIL, LATER, N_WHAT };
enum { STEPS_MOST = 3000, CALLS_MOST = 3000, CALL_MS = 1000 };

/* Our end's other half: what it was asked, and has said. */
static struct {
	struct rpc c;
	uint64_t ms;
	const uint8_t *in;	/* of the frame that comes in */
	size_t in_left;
	uint8_t out[RPC_HEADER];	/* of the frame that goes out */
	size_t out_got, out_skip;
	uint32_t asked[CALLS_MOST];	/* numbers of calls that it has seen */
	size_t n_asked;
	struct rpc_req *reqs[RPC_INBOUND_MAX * 2];	/* not answered yet */
	size_t n_reqs;
	unsigned begun, ended, due, answered;	/* calls; answers */
	struct loop_work *posted;
} ours;

static void frame_goes_out(const uint8_t *h)
{
	uint32_t number = get_u32(h + 8);

	if (get_u16(h + 12) & RPC_ANSWER) {
		MUST(number && ++ours.answered <= ours.due);
	} else if (number) {
		MUST(ours.n_asked < CALLS_MOST);
		ours.asked[ours.n_asked++] = number;
	}
}

static int pretend_write(const uint8_t *p, size_t n)
{
	MUST(n <= TLS_RECORD);
	for (; n; p++, n--) {
		if (ours.out_skip) {
			ours.out_skip--;
			continue;
		}
		ours.out[ours.out_got++] = *p;
		if (ours.out_got < RPC_HEADER)
			continue;
		ours.out_got = 0;
		ours.out_skip = get_u32(ours.out) + (size_t)get_u32(ours.out + 4);
		frame_goes_out(ours.out);
	}
	return 0;
}

static ssize_t pretend_read(void *p, size_t n)
{
	if (!ours.in_left)
		return -EAGAIN;
	if (n > ours.in_left)
		n = ours.in_left;
	memcpy(p, ours.in, n);
	ours.in += n;
	ours.in_left -= n;
	return (ssize_t)n;
}

static int pretend_add(const struct event *e, const struct timeval *in)
{
	(void)e;
	MUST(!in || (in->tv_sec >= 0 && in->tv_usec >= 0));
	return 0;
}

static void pretend_post(struct loop_work *work)
{
	work->next = ours.posted;
	ours.posted = work;
}

static void run_posted(void)
{
	struct loop_work *work;

	while ((work = ours.posted)) {
		ours.posted = work->next;
		work->fn(work);
	}
}

#define now_ms() (ours.ms)
#define tls_read_begin(t) ((void)(t))
#define tls_read(t, p, n) pretend_read(p, n)
#define tls_write(t, p, n) pretend_write(p, n)
#define tls_unsent(t) ((size_t)0)
#define tls_has_room(t) 1
#define tls_send(t) 0
#define event_add(e, tv) pretend_add(e, tv)
#undef evtimer_new
#define event_del(e) ((void)(e))
#define event_free(e) ((void)(e))
#define event_active(e, what, n) ((void)(e))
#define evtimer_new(base, fn, arg) ((void)(fn), (struct event *)&ours)
#define loop_base(l) NULL
#define loop_inside(l) 1
#define loop_post(l, work) pretend_post(work)
#include "rpc_in.c"
#include "rpc_out.c"
#include "rpc_calls.c"
#define hand_over reqs_hand_over
#include "rpc_reqs.c"

/* ------------------------------------------------------------- our own end */

static void on_done(void *arg, int err, const struct rpc_answer *a)
{
	uint8_t *times = arg;

	MUST(!(*times)++);
	MUST(!a || a->body);
	MUST(!err || err == -ETIMEDOUT || err == -ECONNRESET || a);
	ours.ended++;
}

static void on_request(struct rpc *c, struct rpc_req *q, void *arg)
{
	const struct rpc_load *load = &c->load[q->number != 0];

	(void)arg;
	MUST(load->n <= RPC_INBOUND_MAX);
	MUST(load->n == 1 || load->bytes <= RPC_INBOUND_BYTES);
	MUST(ours.n_reqs < sizeof(ours.reqs) / sizeof(ours.reqs[0]));
	ours.reqs[ours.n_reqs++] = q;
}

static void end_request(enum what what, unsigned how)
{
	struct wr body = WR_INIT;
	struct rpc_req *q;

	if (!ours.n_reqs)
		return;
	q = ours.reqs[how % ours.n_reqs];
	ours.reqs[how % ours.n_reqs] = ours.reqs[ours.n_reqs - 1];
	ours.n_reqs--;
	ours.due += q->number != 0;
	wr_u64(&body, how);
	if (what == REPLY)
		rpc_reply(q, &body, q->bulk);
	else
		rpc_fail(q, -EIO, "%u", how);
	wr_fini(&body);
}

static void call(unsigned how)
{
	static uint8_t times[CALLS_MOST];
	struct wr body = WR_INIT;

	if (ours.begun == CALLS_MOST)
		return;
	times[ours.begun] = 0;
	for (unsigned i = 0; i < how % 32; i++)
		wr_u64(&body, i);
	rpc_call(&ours.c, 1 + how % 4, 0, &body, NULL, CALL_MS, on_done,
		 &times[ours.begun++]);
}

static void send_one(void)
{
	struct wr body = WR_INIT;

	wr_u8(&body, 1);
	rpc_send(&ours.c, 4, &body);
}

static void later(unsigned how)
{
	ours.ms += how * 10;
	if (ours.c.calls.wake_ms && ours.c.calls.wake_ms <= ours.ms)
		on_deadline(-1, 0, &ours.c);
	MUST(!ours.c.calls.wake_ms || ours.c.calls.wake_ms > ours.ms);
}

/* A frame of the other end: any; or an answer to what it was asked. */
static int frame(struct rd *r, int answer, unsigned how)
{
	static uint8_t bytes[UINT16_MAX + RPC_HEADER];
	const uint8_t *h = rd_bytes(r, RPC_HEADER);
	size_t n;

	if (!h)
		return 0;
	memcpy(bytes, h, RPC_HEADER);
	n = (size_t)get_u32(h) + get_u32(h + 4);
	if (n > rd_left(r))
		n = rd_left(r);
	if (n > UINT16_MAX)
		n = UINT16_MAX;
	if (n)
		memcpy(bytes + RPC_HEADER, rd_bytes(r, n), n);
	if (answer && ours.n_asked) {
		put_u32(bytes + 8, ours.asked[how % ours.n_asked]);
		put_u16(bytes + 12, (get_u16(h + 12) & 3) + 1u + RPC_ANSWER);
	}
	ours.in = bytes;
	ours.in_left = RPC_HEADER + n;
	return rpc_in_read(&ours.c);
}

static void check(void)
{
	const struct rpc_calls *s = &ours.c.calls;
	const struct rpc_call *k;
	size_t n = 0, bytes = 0;

	TAILQ_FOREACH(k, &s->flying, entry) {
		n++;
		bytes += rpc_frame_size(&k->frame);
	}
	TAILQ_FOREACH(k, &s->late, entry) {
		n++;
		bytes += rpc_frame_size(&k->frame);
	}
	MUST(n == s->window_n && bytes == s->window_bytes);
	MUST(n == HASH_COUNT(s->by_number) && n <= RPC_INBOUND_MAX);
}

/* Why the connection broke, or 0. */
static int one_step(struct rd *r)
{
	enum what what = rd_u8(r) % N_WHAT;
	unsigned how = rd_u8(r);
	int err = 0;

	if (what == FRAME || what == ANSWER)
		err = frame(r, what == ANSWER, how);
	else if (what == CALL)
		call(how);
	else if (what == SEND)
		send_one();
	else if (what == FLUSH)
		err = rpc_out_flush(&ours.c);
	else if (what == REPLY || what == FAIL)
		end_request(what, how);
	else
		later(how);
	run_posted();
	return err;
}

/* As rpc_down() does it; then what was not answered is. */
static void end(void)
{
	ours.c.state = RPC_DOWN;
	ours.c.err = -ECONNRESET;
	rpc_in_fini(&ours.c);
	rpc_out_fini(&ours.c);
	rpc_calls_fini(&ours.c);
	call(1);		/* it ends at once */
	while (ours.n_reqs)
		end_request(REPLY, 0);
	run_posted();
	MUST(ours.begun == ours.ended && ours.c.refs == 1);
	for (int i = 0; i < 2; i++)
		MUST(!ours.c.load[i].n && !ours.c.load[i].bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const struct rpc_ops ops = { .request = on_request };
	struct rd r;
	int err = 0;

	memset(&ours, 0, sizeof(ours));
	ours.ms = 1000;
	ours.c = (struct rpc){ .refs = 1, .state = RPC_UP, .ops = &ops, .fd = -1 };
	STAILQ_INIT(&ours.c.out);
	MUST(!rpc_calls_init(&ours.c));
	rd_init(&r, p, n);
	for (int i = 0; i < STEPS_MOST && rd_left(&r) && !err; i++) {
		err = one_step(&r);
		check();
	}
	MUST(!err || err == -EPROTO);
	end();
	return 0;
}

/* ---------------------------------------------------------------- seeds */

static void put(struct wr *out, enum what what, uint8_t how)
{
	wr_u8(out, what);
	wr_u8(out, how);
}

static void put_frame(struct wr *out, enum what what, uint8_t how,
		      uint32_t body, uint32_t number, uint16_t type,
		      uint16_t word)
{
	put(out, what, how);
	wr_u32(out, body);
	wr_u32(out, 0);
	wr_u32(out, number);
	wr_u16(out, type);
	wr_u16(out, word);
	for (uint32_t i = 0; i < body; i++)
		wr_u8(out, 0);
}

void fuzz_seeds(void)
{
	struct wr out = WR_INIT;

	put(&out, CALL, 0);		/* a call and its answer */
	put(&out, FLUSH, 0);
	put_frame(&out, ANSWER, 0, 4, 0, 0, 0);
	put(&out, CALL, 1);		/* late, and a second time */
	put(&out, FLUSH, 0);
	put(&out, LATER, 200);
	put_frame(&out, ANSWER, 1, 4, 0, 1, 2);
	put_frame(&out, ANSWER, 1, 4, 0, 1, 0);
	fuzz_seed_wr("calls", &out);
	for (uint32_t i = 1; i < 4; i++)
		put_frame(&out, FRAME, 0, 2, i, 5, 0);
	put_frame(&out, FRAME, 0, 2, 0, 5, 0);
	put(&out, REPLY, 1);
	put(&out, FAIL, 0);
	put(&out, FLUSH, 0);
	put(&out, SEND, 0);
	put(&out, CALL, 3);
	put(&out, FLUSH, 0);
	put_frame(&out, FRAME, 0, 0, 9, 0x8001, 0);
	fuzz_seed_wr("requests", &out);
	put(&out, CALL, 0);		/* an answer before it was asked */
	put_frame(&out, FRAME, 0, 0, 1, 0x8001, 0);
	fuzz_seed_wr("early", &out);
	for (unsigned i = 0; i < RPC_INBOUND_MAX + 2; i++)
		put(&out, CALL, 0);
	put(&out, FLUSH, 0);
	put_frame(&out, ANSWER, 9, 0, 0, 0, 0);
	put(&out, LATER, 255);
	fuzz_seed_wr("window", &out);
}
