/*
 * fuzz_chunkd -- what other peers ask of the chunk server.
 *
 * Input: requests, each: what u8, flags u8, lengths of body and bulk u16, both.
 * Connection, store, hasher and pool are pretend.  Every request ends once;
 * stored is only what its three MD5s agree on; at most CHUNKD_GETS_MAX gets
 * are in work.
 */
#include <errno.h>
#include <inttypes.h>

#include "chunkd_internal.h"
#include "container.h"
#include "counters.h"
#include "fuzz.h"
#include "md5.h"

enum what { PUT, GET, SYNC, VERIFY, MENDED, GOT, OTHER, N_WHAT };
enum flags { SPOIL = 1, DISK_FULL = 2, ONEWAY = 4 };
enum { STEPS_MOST = 300 };

static struct {
	struct chunkd cd;
	struct chunkd_conn *conn;
	struct chunkd_op *gets[CHUNKD_GETS_MAX];	/* in work */
	size_t n_gets;
	struct loop_work *posted;	/* newest first */
	unsigned asked, ended;
	int full;
} world;

/* ----------------------------------------------------------- what is below */

static void pretend_hash(struct hash_job *j)
{
	md5_one(j->job.data, j->job.len, j->job.md5);
	j->done(j);
}

static int pretend_put(const struct chunk_meta *m, const void *data,
		       const struct buf *bulk, enum copy_kind kind)
{
	uint8_t md5[MD5_LEN];

	MUST(m->chunk && m->len && m->len <= STORE_CHUNK_MAX);
	MUST(data == bulk->data && bulk->len == (size_t)m->len + MD5_LEN);
	MUST(kind == COPY_REPLICA || kind == COPY_CACHED);
	md5_one(data, m->len, md5);
	MUST(!memcmp(md5, m->md5, MD5_LEN));
	MUST(!memcmp(md5, bulk->data + m->len, MD5_LEN));
	return world.full ? -ENOSPC : 0;
}

static int pretend_sync(const uint64_t *ids, size_t n)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)	/* they can be read */
		sum += ids[i];
	return sum % 5 == 1 ? -EIO : 0;
}

static void pretend_get(struct chunkd_op *op)
{
	MUST(world.n_gets < CHUNKD_GETS_MAX);
	world.gets[world.n_gets++] = op;
}

static void pretend_post(struct loop_work *w)
{
	w->next = world.posted;
	world.posted = w;
}

/* What was posted runs, and what that posts. */
static void settle(void)
{
	struct loop_work *w;

	while ((w = world.posted)) {
		world.posted = w->next;
		w->fn(w);
	}
}

/* Answered, or let go. */
static void pretend_end(struct rpc_req *q)
{
	MUST(q->body);
	world.ended++;
	buf_unref(q->body);
	buf_unref(q->bulk);
	free(q);
}

static void pretend_reply(struct rpc_req *q, struct wr *body)
{
	MUST(!body->err);
	wr_fini(body);
	pretend_end(q);
}

#define hasher_submit(h, j) ((void)(h), pretend_hash(j))
#define pool_run(p, w) ((void)(p), (w)->fn(w))
#define loop_post(l, w) ((void)(l), pretend_post(w))
#define store_put(s, m, data, kind, sync)                                     \
	((void)(s), (void)(sync), pretend_put(m, data, op->req->bulk, kind))
#define store_sync(s, ids, n) ((void)(s), pretend_sync(ids, n))
#define sums_add(s, chunk, data, len) ((void)(s), (void)(chunk))
#define link_have(l, chunk, kind) ((void)(l), (void)(kind))
#define peers_number(p, id) ((void)(p), (uint32_t)(id))
#define rpc_loop(c) ((struct loop *)NULL)
#define rpc_peer_id(c) 3
#define rpc_peer_addr(c) ((void)(c), &somebody)
#define rpc_reply(q, body, bulk) pretend_reply(q, body)
#define rpc_fail(q, err, ...) ((void)(err), pretend_end(q))
#define rpc_req_free(q) pretend_end(q)
#define rpc_unref(c) ((void)(c))
#define cache_trim(c) ((void)(c))
#define rpc_sent_ms(c) ((void)(c), now_ms())
#define rpc_send(c, type, w) ((void)(c), (void)(type), wr_fini(w))
#define chunkd_get(op) pretend_get(op)
#define chunkd_get_busy(op, ask, n) pretend_busy(op, ask, n)
#define chunkd_get_down(k) ((void)(k))
#define chunkd_verify(op) chunkd_op_fail(op, -ENOENT)

static const struct addr somebody = { .ss = { .ss_family = AF_INET } };

static void pretend_busy(struct chunkd_op *op, const uint32_t *ask, uint32_t n)
{
	MUST(n && n <= SERVED_EACH);
	for (uint32_t i = 0; i < n; i++)
		MUST(ask[i] && ask[i] != op->num);
	pretend_end(op->req);
	chunkd_op_end(op);
}

#include "chunkd.c"
#include "chunkd_put.c"
#include "chunkd_turn.c"

/* ------------------------------------------------------------------- steps */

/* A put whose body fits its bulk, of which the payload comes from the input. */
static void mend(struct rpc_req *q, unsigned flags)
{
	uint32_t len = (uint32_t)q->bulk->len;
	struct m_put m = { .chunk = 1, .len = len,
			   .kind = COPY_REPLICA + (flags >> 7) };
	struct buf *whole = buf_new(len + MD5_LEN);
	struct wr body = WR_INIT;

	MUST(whole);
	memcpy(whole->data, q->bulk->data, len);
	md5_one(whole->data, len, m.md5);
	memcpy(whole->data + len, m.md5, MD5_LEN);
	whole->len = len + MD5_LEN;
	if (flags & SPOIL)
		whole->data[flags % whole->len] ^= 1;
	MUST(!m_put_encode(&body, &m));
	buf_unref(q->bulk);
	buf_unref(q->body);
	q->bulk = whole;
	q->body = buf_dup(body.p, body.len);
	wr_fini(&body);
}

static struct buf *take(struct rd *r, size_t n)
{
	struct buf *b;

	if (n > rd_left(r))
		n = rd_left(r);
	b = buf_dup(rd_bytes(r, n), n);
	MUST(b);
	return b;
}

static void request(struct rd *r, enum what what, unsigned flags)
{
	static const uint16_t types[N_WHAT] = {
		[PUT] = M_put, [GET] = M_get, [SYNC] = M_sync,
		[VERIFY] = M_verify, [MENDED] = M_put, [OTHER] = M_put_r,
	};
	struct rpc_req *q = calloc(1, sizeof(*q));
	size_t body = rd_u16(r), bulk = rd_u16(r);

	MUST(q);
	q->type = types[what];
	q->number = !(flags & ONEWAY);
	q->body = take(r, body);
	if (bulk || what == MENDED)
		q->bulk = take(r, bulk);
	if (what == MENDED)
		mend(q, flags);
	world.full = flags & DISK_FULL;
	world.asked++;
	on_request(NULL, q, world.conn);
	settle();
}

/* The get that is in work longest was answered. */
static void got(void)
{
	struct chunkd_op *op = world.gets[0];

	if (!world.n_gets)
		return;
	world.n_gets--;
	memmove(world.gets, world.gets + 1, world.n_gets * sizeof(op));
	served_add(&world.cd.served, op->meta.chunk, op->num + 1);
	chunkd_turn_out(op, (uint32_t)op->meta.chunk % CHUNKD_OUT_MAX);
	pretend_end(op->req);
	chunkd_turn_over(op);
	chunkd_op_end(op);
	settle();
}

static void begin_world(void)
{
	fuzz_quiet();
	memset(&world, 0, sizeof(world));
	world.cd.started = 1;
	world.cd.parts = calloc(1, sizeof(*world.cd.parts));
	MUST(world.cd.parts);
	gate_init(&world.cd.gate);
	served_init(&world.cd.served);
	pthread_mutex_init(&world.cd.lock, NULL);
	LIST_INIT(&world.cd.conns);
	TAILQ_INIT(&world.cd.ring);
	MUST(!gate_enter(&world.cd.gate));
	world.conn = calloc(1, sizeof(*world.conn));
	MUST(world.conn);
	*world.conn = (struct chunkd_conn){ .cd = &world.cd, .refs = 1 };
	TAILQ_INIT(&world.conn->waiting);
	LIST_INSERT_HEAD(&world.cd.conns, world.conn, all);
}

/* Half of the gets are answered, then the connection breaks. */
static void end_world(void)
{
	for (size_t n = world.n_gets / 2; n; n--)
		got();
	on_down(NULL, -ECONNRESET, world.conn);
	settle();
	while (world.n_gets)
		got();
	MUST(world.ended == world.asked && LIST_EMPTY(&world.cd.conns));
	gate_fini(&world.cd.gate);	/* waits for the connection's end */
	served_fini(&world.cd.served);
	pthread_mutex_destroy(&world.cd.lock);
	free((void *)world.cd.parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct rd r;

	begin_world();
	rd_init(&r, p, n);
	for (int i = 0; i < STEPS_MOST && rd_left(&r); i++) {
		enum what what = rd_u8(&r) % N_WHAT;
		unsigned flags = rd_u8(&r);

		if (what == GOT)
			got();
		else
			request(&r, what, flags);
	}
	end_world();
	return 0;
}

/* ---------------------------------------------------------------- seeds */

static void put(struct wr *w, enum what what, unsigned flags,
		const struct wr *body, const char *bulk)
{
	wr_u8(w, what);
	wr_u8(w, (uint8_t)flags);
	wr_u16(w, body ? (uint16_t)body->len : 0);
	wr_u16(w, (uint16_t)strlen(bulk));
	if (body)
		wr_bytes(w, body->p, body->len);
	wr_bytes(w, bulk, strlen(bulk));
}

static void put_gets(struct wr *w, int n)
{
	struct m_get m = { .chunk = 5 };
	struct wr body = WR_INIT;

	MUST(!m_get_encode(&body, &m));
	for (int i = 0; i < n; i++)
		put(w, GET, 0, &body, "");
	wr_fini(&body);
}

void fuzz_seeds(void)
{
	uint64_t ids[] = { 1, 2, 3 };
	struct m_put p = { .chunk = 9, .len = 7, .kind = COPY_REPLICA };
	struct m_sync s = { .chunks = ids, .n_chunks = 3 };
	struct wr w = WR_INIT, body = WR_INIT;

	put(&w, MENDED, 0, NULL, "payload");
	put(&w, MENDED, DISK_FULL, NULL, "payload");
	put(&w, MENDED, SPOIL, NULL, "payload");
	put(&w, MENDED, SPOIL | 8, NULL, "payload");
	put(&w, MENDED, 0, NULL, "");
	MUST(!m_put_encode(&body, &p));
	put(&w, PUT, 0, &body, "payload and no MD5 here");
	put(&w, PUT, ONEWAY, &body, "");
	wr_fini(&body);
	fuzz_seed_wr("puts", &w);
	put_gets(&w, CHUNKD_GETS_MAX + 3);
	wr_u8(&w, GOT);
	wr_u8(&w, 0);
	put_gets(&w, 2);
	fuzz_seed_wr("gets", &w);
	body = WR_INIT;
	MUST(!m_sync_encode(&body, &s));
	put(&w, SYNC, 0, &body, "");
	put(&w, VERIFY, 0, &body, "");
	put(&w, OTHER, 0, &body, "");
	wr_fini(&body);
	fuzz_seed_wr("syncs", &w);
}
