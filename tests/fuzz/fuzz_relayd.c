/*
 * fuzz_relayd -- what peers say to the relay, by datagram and by TCP.
 *
 * Input: steps, each: what u8, who u8, length u16, body.  Sockets, clock and
 * the core are pretend; the relay is real.  Every request ends once, and no
 * datagram is answered with more than it brought; what is delivered was wanted
 * there and is what the map says; nobody waits for ever.
 */
#include "relayd.h"

#include <errno.h>

#include "counters.h"
#include "fuzz.h"
#include "md5.h"
#include "relayd_internal.h"

enum { PEERS = 4, CHUNKS = 64, STEPS_MOST = 200, CACHE = 1000, TICK_MS = 12,
       PATIENCE_MS = 600000, QUEUE = 65536 };
enum what { WANT, SEEK_R, FOUND, GOOD, BAD, WANT_TCP, TICK, UP, DOWN, OTHER,
	    N_WHAT };

/* What the relay wants done, which is done when it has returned. */
struct todo {
	enum { RESOLVE, CHECK, DELIVERED } kind;
	uint64_t peer, chunk;
	int good;
};

static struct {
	struct relayd rd;
	uint64_t ms;
	struct todo todo[QUEUE];
	size_t head, tail;
	struct loop_work *posted;
	int ended;		/* how often the request under way was */
	uint8_t wanted[PEERS + 1][CHUNKS];	/* and not yet had */
} world;

/* ----------------------------------------------------- the map, pretended */

static uint32_t chunk_of(uint64_t id, uint8_t out[CHUNKS])
{
	memset(out, (int)id, CHUNKS);
	return id < CHUNKS && id % 8 ? 1 + (uint32_t)id % CHUNKS : 0;
}

static void md5_of(uint64_t id, uint8_t md5[MD5_LEN])
{
	uint8_t bytes[CHUNKS];
	uint32_t len = chunk_of(id, bytes);

	md5_one(bytes, len, md5);
}

/* --------------------------------------------------- what the relay wants */

static void later(int kind, uint64_t peer, uint64_t chunk, int good)
{
	MUST(world.tail - world.head < QUEUE);
	world.todo[world.tail++ % QUEUE] = (struct todo){ kind, peer, chunk, good };
}

static int io_resolve(void *arg, uint64_t chunk)
{
	(void)arg;
	later(RESOLVE, 0, chunk, 0);
	return 0;
}

static void io_seek(void *arg, uint64_t peer, const struct relay_seek *s)
{
	(void)arg;
	MUST(peer && peer <= PEERS && s->chunk);
}

static int io_check(void *arg, const struct lru_entry *e)
{
	uint8_t md5[MD5_LEN];

	(void)arg;
	MUST(e->buf->len == e->len + (size_t)MD5_LEN);
	md5_one(e->buf->data, e->len, md5);
	later(CHECK, 0, e->id, !memcmp(md5, e->md5, MD5_LEN));
	return 0;
}

static int io_deliver(void *arg, uint64_t peer, const struct lru_entry *e)
{
	uint8_t md5[MD5_LEN], bytes[CHUNKS];

	(void)arg;
	md5_of(e->id, md5);
	MUST(e->len == chunk_of(e->id, bytes));
	MUST(!memcmp(e->md5, md5, MD5_LEN));
	MUST(!memcmp(e->buf->data, bytes, e->len));
	MUST(world.wanted[peer][e->id]);
	world.wanted[peer][e->id] = 0;
	later(DELIVERED, peer, e->id, 0);
	return 0;
}

static void io_nowhere(void *arg, uint64_t peer, uint64_t chunk)
{
	(void)arg;
	MUST(peer && peer <= PEERS);
	if (chunk < CHUNKS)
		world.wanted[peer][chunk] = 0;
}

static const struct relay_io pretend_io = {
	.resolve = io_resolve, .seek = io_seek, .check = io_check,
	.deliver = io_deliver, .nowhere = io_nowhere,
};

static void resolved(uint64_t chunk)
{
	uint64_t holders[PEERS], n = 0;
	uint8_t md5[MD5_LEN], bytes[CHUNKS];

	for (uint64_t i = 1; i <= PEERS; i++)
		if (chunk >> i & 1)
			holders[n++] = i;
	md5_of(chunk, md5);
	relay_resolved(world.rd.relay, chunk, chunk_of(chunk, bytes), md5, holders,
		       (uint32_t)n, world.ms);
}

static void do_all(void)
{
	while (world.head != world.tail) {
		struct todo t = world.todo[world.head++ % QUEUE];

		if (t.kind == RESOLVE)
			resolved(t.chunk);
		else if (t.kind == CHECK)
			relay_checked(world.rd.relay, t.chunk, t.good, world.ms);
		else
			relay_delivered(world.rd.relay, t.peer, t.chunk, world.ms);
	}
}

/* ------------------------------------------------------ sockets, pretended */

static void pretend_post(struct loop_work *work)
{
	MUST(!world.posted);
	world.posted = work;
}

/* Those taken up are some of those wanted. */
static void pretend_answer(const struct dgram *d, uint16_t type,
			   const void *body, size_t len)
{
	struct arena a = ARENA_INIT;
	struct m_want_r r;

	MUST(type == M_want_r && len <= d->len);
	MUST(!m_want_r_decode(&r, &a, body, len) && r.n_ids);
	arena_fini(&a);
}

/* Answered, or let go. */
static void pretend_end(const struct rpc_req *q)
{
	MUST(q->body);
	world.ended++;
}

static void pretend_reply(const struct rpc_req *q, struct wr *body)
{
	MUST(q->number && !body->err);
	wr_fini(body);
	pretend_end(q);
}

#define now_ms() (world.ms)
#define loop_post(l, work) ((void)(l), pretend_post(work))
#define dgram_answer(d, type, p, n) pretend_answer(d, type, p, n)
#define rpc_reply(q, body, bulk) pretend_reply(q, body)
#define rpc_fail(q, err, ...) ((void)(err), pretend_end(q))
#define rpc_req_free(q) pretend_end(q)
#define rpc_peer_addr(c) ((void)(c), &somebody)

static const struct addr somebody = { .ss = { .ss_family = AF_INET } };

#include "relayd.c"

/* ------------------------------------------------------------------- steps */

static void other_dgram(const struct dgram *d, void *arg)
{
	(void)arg;
	MUST(d->type != M_want && d->type != M_seek_r);
}

static struct rpc *line_of(uint64_t peer)
{
	return (struct rpc *)(uintptr_t)(peer * 16);
}

/* Whether it is taken up, or not, is the relay's. */
static void note_wants(uint64_t peer, const uint8_t *p, size_t n)
{
	struct arena a = ARENA_INIT;
	struct m_want m;

	if (!m_want_decode(&m, &a, p, n))
		for (uint32_t i = 0; i < m.n_ids; i++)
			if (m.ids[i] < CHUNKS)
				world.wanted[peer][m.ids[i]] = 1;
	arena_fini(&a);
}

static void datagram(uint64_t peer, uint16_t type, const uint8_t *p, size_t n)
{
	struct dgram d = { .session = peer, .type = type, .body = p,
			   .len = n };

	on_dgram(&d, &world.rd);
}

static void request(uint64_t peer, uint16_t type, uint32_t number,
		    const uint8_t *p, size_t n, struct buf *bulk)
{
	struct rconn k = { &world.rd, relayd_member(&world.rd, peer) };
	struct rpc_req q = { .type = type, .number = number,
			     .body = buf_dup(p, n), .bulk = bulk };

	MUST(q.body);
	world.ended = 0;
	on_request(line_of(peer), &q, &k);
	MUST(world.ended == 1);
	buf_unref(q.body);
	buf_unref(bulk);
}

/* A chunk as whoever has it would send it; or with one bit wrong. */
static void found(uint64_t peer, uint64_t id, int spoil)
{
	uint8_t bytes[CHUNKS];
	struct m_found f = { .chunk = id, .len = chunk_of(id, bytes) };
	struct buf *bulk = buf_new(f.len + MD5_LEN);
	struct wr body = WR_INIT;

	MUST(bulk);
	md5_of(id, f.md5);
	if (f.len)
		memcpy(bulk->data, bytes, f.len);
	memcpy(bulk->data + f.len, f.md5, MD5_LEN);
	bulk->len = f.len + MD5_LEN;
	if (spoil)
		bulk->data[(size_t)spoil % bulk->len] ^= 1;
	MUST(!m_found_encode(&body, &f));
	request(peer, M_found, 1, body.p, body.len, bulk);
	wr_fini(&body);
}

/* All of it as the input says. */
static void found_raw(uint64_t peer, const uint8_t *p, size_t n)
{
	size_t body = n < 52 ? n : 52;	/* a m_found */

	request(peer, M_found, 1, p, body,
		n > body ? buf_dup(p + body, n - body) : NULL);
}

static void come(uint64_t peer)
{
	struct member *m = member_make(&world.rd, peer);

	MUST(m);
	if (m->rpc)
		return;
	m->rpc = line_of(peer);
	set_session(&world.rd, m, peer);
	MUST(!relay_peer_up(world.rd.relay, peer));
}

static void go(uint64_t peer)
{
	struct member *m = relayd_member(&world.rd, peer);

	if (!m)
		return;
	m->rpc = NULL;
	relay_peer_down(world.rd.relay, peer, world.ms);
	set_session(&world.rd, m, 0);
	member_drop(&world.rd, m);
	memset(world.wanted[peer], 0, CHUNKS);
}

static void settle(void)
{
	struct loop_work *posted = world.posted;
	struct relay_stat st;

	do_all();
	world.posted = NULL;
	if (posted)
		posted->fn(posted);
	relay_stat(world.rd.relay, &st);
	MUST(st.cached <= st.limit);
}

static void step(struct rd *r)
{
	enum what what = rd_u8(r) % N_WHAT;
	uint64_t peer = 1 + rd_u8(r) % PEERS;
	size_t n = rd_u16(r);
	const uint8_t *p;

	if (what == GOOD || what == BAD) {
		found(peer, n % CHUNKS, what == BAD ? 1 + (int)n / CHUNKS : 0);
	} else if (what == TICK) {
		world.ms += n;
		on_tick(&world.rd);
	} else if (what == UP) {
		come(peer);
	} else if (what == DOWN) {
		go(peer);
	} else {
		n = n < rd_left(r) ? n : rd_left(r);
		p = rd_bytes(r, n);
		if ((what == WANT || what == WANT_TCP) &&
		    relayd_member(&world.rd, peer))
			note_wants(peer, p, n);
		if (what == WANT)
			datagram(peer, M_want, p, n);
		else if (what == SEEK_R)
			datagram(peer, M_seek_r, p, n);
		else if (what == FOUND)
			found_raw(peer, p, n);
		else
			request(peer, what == OTHER ? M_found_r : M_want, 0, p,
				n, NULL);
	}
	settle();
}

static void begin_world(void)
{
	const struct relay_config cfg = { .cache_bytes = CACHE, .seed = 1 };

	fuzz_quiet();
	memset(&world, 0, sizeof(world));
	world.ms = 1000;
	world.rd.other = other_dgram;
	world.rd.flush.fn = on_flush;
	gate_init(&world.rd.gate);
	gate_init(&world.rd.probes);
	MUST(!gate_enter(&world.rd.gate));
	LIST_INIT(&world.rd.due);
	MUST(!relay_new(&world.rd.relay, &cfg, &pretend_io));
	for (uint64_t i = 1; i <= PEERS; i++)
		come(i);
}

/* Nobody says anything any more: everybody who waits is told. */
static void end_world(void)
{
	uint64_t until = world.ms + PATIENCE_MS;
	struct relay_stat st;

	for (relay_stat(world.rd.relay, &st); st.pending || st.flights;
	     relay_stat(world.rd.relay, &st)) {
		MUST(world.ms < until);
		world.ms += TICK_MS;
		on_tick(&world.rd);
		settle();
	}
	for (uint64_t i = 1; i <= PEERS; i++)
		go(i);
	MUST(!world.rd.members && !world.rd.sessions);
	relay_free(world.rd.relay);
	gate_leave(&world.rd.gate);
	gate_fini(&world.rd.gate);
	gate_fini(&world.rd.probes);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct rd r;

	rd_init(&r, p, n);
	begin_world();
	for (int i = 0; i < STEPS_MOST && rd_left(&r); i++)
		step(&r);
	end_world();
	return 0;
}

/* ---------------------------------------------------------------- seeds */

static void put(struct wr *out, enum what what, uint8_t peer, uint16_t n)
{
	wr_u8(out, what);
	wr_u8(out, (uint8_t)(peer - 1));
	wr_u16(out, n);
}

static void put_want(struct wr *out, enum what what, uint8_t peer,
		     uint64_t *ids, uint32_t n)
{
	struct m_want m = { .ids = ids, .n_ids = n };
	struct m_seek_r s = { .here = ids, .n_here = 1, .absent = ids,
			      .n_absent = n };
	struct wr body = WR_INIT;

	if (what == SEEK_R)
		MUST(!m_seek_r_encode(&body, &s));
	else
		MUST(!m_want_encode(&body, &m));
	put(out, what, peer, (uint16_t)body.len);
	wr_bytes(out, body.p, body.len);
	wr_fini(&body);
}

void fuzz_seeds(void)
{
	uint64_t ids[] = { 3, 5, 8, 63, 1000 };
	struct wr out = WR_INIT;

	put_want(&out, WANT, 1, ids, 5);
	put_want(&out, WANT_TCP, 2, ids, 2);
	put(&out, TICK, 1, 30);
	put_want(&out, SEEK_R, 3, ids, 1);
	put(&out, BAD, 3, 5 + 64 * 3);
	put(&out, GOOD, 3, 3);
	put(&out, GOOD, 3, 5);
	put_want(&out, WANT, 4, ids, 2);
	fuzz_seed_wr("wants", &out);
	put_want(&out, WANT, 1, ids, 4);
	put(&out, DOWN, 3, 0);
	put(&out, TICK, 1, 3000);
	put(&out, UP, 3, 0);
	put(&out, DOWN, 1, 0);
	put(&out, GOOD, 3, 3);
	fuzz_seed_wr("cut", &out);
	put(&out, FOUND, 1, 60);
	for (int i = 0; i < 60; i++)
		wr_u8(&out, (uint8_t)i);
	put(&out, OTHER, 1, 0);
	fuzz_seed_wr("raw", &out);
}
