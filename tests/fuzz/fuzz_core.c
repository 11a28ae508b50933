/*
 * fuzz_core -- the whole tracker, given whatever frames members may send.
 *
 * Input: steps, each: what u8 (MORE: the batch goes on), which connection u8;
 * then, as what says: a message's type u16, flags u8, length u16 and body; or
 * milliseconds u16; or bytes for a column of the database, as a bad disk may
 * have them.  FIX writes over the body's beginning what nobody guesses: the
 * session, the number of the change; AGAIN: the number of the last one.
 *
 * Each request is answered once, with a body that decodes as what it should
 * be; what the tracker asks decodes, too.  In the end, also after restarts
 * over the same database, its tables agree with one another.  With a damaged
 * database nothing is promised but to stay alive.
 */
#include <errno.h>

#include "core.h"
#include "fuzz.h"
#include "status.h"
#include "../msg_kinds.h"
#include "../ns_fixture.h"

/* unit_faults_core.c has memory run out: not for what is here. */
#ifndef CORE_SPARE
#define CORE_SPARE(on) ((void)0)
#define CORE_SHORT 0
#define CORE_BEGIN ((void)0)
#define CORE_END ((void)0)
#endif

enum { LINES = 4, STEPS_MOST = 100, ASKS_MOST = 64, NUMBERS = 4096,
       LEASE_MS = 2000, QUIET_MS = 20000 };
enum what { REQUEST, ANSWER, BEAT, CUT, TICK, RESTART, WHERE, DAMAGE, N_WHAT,
	    MORE = 0x80 };
enum flags { FIX = 1, ONEWAY = 2, AGAIN = 4 };

static const char *const addrs[LINES] = { "10.0.0.1", "10.0.0.2", "10.0.0.3",
					  "10.0.0.4" };

/* A peer, or (the last) a client, and its connection. */
struct line {
	uint64_t conn, session, epoch, seq;
	int closed;
};

struct ask {
	uint64_t conn;
	uint32_t number;
	uint16_t type;
};

static struct {
	struct db *db;
	struct core *core;
	uint64_t ms, conns;
	int in_batch;
	struct line lines[LINES];
	uint32_t open[NUMBERS];	/* 1 + type of a request without answer */
	uint64_t asked_by[NUMBERS];	/* its connection */
	uint32_t numbers;
	struct ask asks[ASKS_MOST];
	size_t n_asks;
	int damaged;
} world;

static struct core_time now(void)
{
	return (struct core_time){
		.ms = world.ms, .wall_s = 1000000 + (int64_t)(world.ms / 1000),
	};
}

static struct line *line_of(uint64_t conn)
{
	for (int i = 0; i < LINES; i++)
		if (world.lines[i].conn == conn)
			return &world.lines[i];
	return NULL;
}

/* ------------------------------------------------------- what comes out */

static const struct kind *kind_of(uint16_t type)
{
	for (size_t i = 0; i < N_KINDS; i++)
		if (kinds[i].type == type)
			return &kinds[i];
	return NULL;
}

static void must_decode(uint16_t type, const struct wr *body)
{
	const struct kind *k = kind_of(type);
	struct arena a = ARENA_INIT;
	void *m;

	if (world.damaged)
		return;
	CORE_SPARE(1);
	MUST(k && !body->err);
	m = malloc(k->size);
	MUST(m && !k->decode(m, &a, body->p, body->len));
	arena_fini(&a);
	free(m);
	CORE_SPARE(0);
}

static void greeted(struct line *l, const struct wr *body)
{
	struct arena a = ARENA_INIT;
	struct m_hello_r r;

	CORE_SPARE(1);
	if (!m_hello_r_decode(&r, &a, body->p, body->len)) {
		if (!r.resumed)
			l->seq = 0;
		l->session = r.session;
		l->epoch = r.epoch;
	}
	arena_fini(&a);
	CORE_SPARE(0);
}

static void io_answer(void *arg, uint64_t conn, uint32_t number, uint16_t type,
		      uint16_t status, struct wr *body)
{
	struct line *l = line_of(conn);

	(void)arg;
	if (!number) {		/* of a one-way hello: server.c drops it */
		wr_fini(body);
		return;
	}
	MUST(number < NUMBERS && world.open[number]);
	MUST(world.asked_by[number] == conn);
	type = (uint16_t)(world.open[number] - 1);
	world.open[number] = 0;
	if (status && (body->len || !CORE_SHORT))
		must_decode(M_error, body);
	else if (!status && kind_of(type | M_REPLY))
		must_decode(type | M_REPLY, body);
	if (!status && type == M_hello && l)
		greeted(l, body);
	wr_fini(body);
}

static void io_send(void *arg, uint64_t conn, uint32_t number, uint16_t type,
		    struct wr *body)
{
	(void)arg;
	must_decode(type, body);
	wr_fini(body);
	if (number && world.n_asks < ASKS_MOST)
		world.asks[world.n_asks++] =
			(struct ask){ conn, number, type };
}

static void io_close(void *arg, uint64_t conn, const char *why)
{
	struct line *l = line_of(conn);

	(void)arg;
	MUST(why);
	if (l)
		l->closed = 1;
}

/* ------------------------------------------------------------ connections */

static void come(struct line *l)
{
	int no = (int)(l - world.lines);

	l->conn = ++world.conns;
	l->closed = 0;
	core_up(world.core, l->conn, no == LINES - 1 ? ROLE_CLIENT : ROLE_PEER,
		0x100 + (uint64_t)no, addrs[no]);
}

/* Nobody hears answers on it any more. */
static void go(struct line *l)
{
	for (uint32_t i = 0; i < NUMBERS; i++)
		if (world.asked_by[i] == l->conn)
			world.open[i] = 0;
	core_down(world.core, l->conn);
}

static void batch_begin(void)
{
	if (!world.in_batch)
		core_begin(world.core, now());
	world.in_batch = 1;
}

static void batch_commit(void)
{
	int err = core_end(world.core);

	MUST(!err || world.damaged || CORE_SHORT);
	world.in_batch = 0;
}

static void batch_end(void)
{
	if (world.in_batch)
		batch_commit();
	for (int i = 0; i < LINES; i++)
		if (world.lines[i].closed) {
			batch_begin();
			go(&world.lines[i]);
			batch_commit();
			come(&world.lines[i]);
		}
}

/* With a damaged database it may say no. */
static void start(void)
{
	const struct core_config cfg = {
		.copies = 2, .slot_size = FIX_SLOT, .lease_ms = LEASE_MS,
		.heartbeat_ms = 400, .garbage_ms = 1000, .gone_ms = 3000,
		.seed = 1,
	};
	const struct core_io io = { .answer = io_answer, .send = io_send,
				    .close = io_close };
	char why[512];
	int err = core_new(&world.core, world.db, &cfg, &io, now(), why,
			   sizeof(why));

	if (err && CORE_SHORT) {
		CORE_SPARE(1);
		err = core_new(&world.core, world.db, &cfg, &io, now(), why,
			       sizeof(why));
		CORE_SPARE(0);
	}
	MUST(!err || world.damaged);
	if (err)
		world.core = NULL;
	for (int i = 0; !err && i < LINES; i++)
		come(&world.lines[i]);
}

static void stop(void)
{
	batch_end();
	core_free(world.core);
	memset(world.open, 0, sizeof(world.open));
	world.n_asks = 0;
}

/* ------------------------------------------------------------------ steps */

/* What is at @at of @n bytes becomes @v. */
static void write_u64(uint8_t *p, size_t n, size_t at, uint64_t v)
{
	if (at + 8 <= n)
		put_u64(p + at, v);
}

static void fix(struct line *l, uint16_t type, unsigned flags, uint8_t *p,
		size_t n)
{
	if (M_MUTATES(type)) {
		l->seq += !(flags & AGAIN);
		write_u64(p, n, 0, l->seq);
		write_u64(p, n, 8, l->seq);
	} else if (type == M_hello) {
		if (n > 13)
			put_u32(p, MSG_PROTOCOL);
		write_u64(p, n, 5, 0);		/* of any swarm */
		write_u64(p, n, 13, l->session);
	} else if (type == M_heartbeat || type == M_bye) {
		write_u64(p, n, 0, l->session);
		if (type == M_heartbeat)
			write_u64(p, n, 8, l->epoch);
	}
}

/* The body's bytes, as they are freed right after use. */
static uint8_t *take_body(struct rd *r, size_t *n)
{
	uint8_t *p;

	*n = rd_u16(r);
	if (*n > rd_left(r))
		*n = rd_left(r);
	CORE_SPARE(1);
	p = malloc(*n ? *n : 1);
	CORE_SPARE(0);
	MUST(p);
	if (*n)
		memcpy(p, rd_bytes(r, *n), *n);
	return p;
}

static void request(struct line *l, struct rd *r)
{
	uint16_t type = rd_u16(r);
	unsigned flags = rd_u8(r);
	uint32_t number = 0;
	size_t n;
	uint8_t *p = take_body(r, &n);

	if (flags & FIX)
		fix(l, type, flags, p, n);
	if (!(flags & ONEWAY)) {
		number = ++world.numbers;
		world.open[number] = 1u + type;
		world.asked_by[number] = l->conn;
	}
	if (!l->closed)
		core_request(world.core, l->conn, number, type, p, n);
	else
		world.open[number] = 0;
	free(p);
}

static void answer(struct rd *r)
{
	unsigned flags = rd_u8(r);
	uint16_t status = rd_u8(r) % 4;
	size_t n;
	uint8_t *p = take_body(r, &n);
	struct ask k;

	if (world.n_asks) {
		size_t i = flags % world.n_asks--;

		k = world.asks[i];
		world.asks[i] = world.asks[world.n_asks];
		core_answer(world.core, k.conn, k.number, k.type | M_REPLY,
			    status, p, n);
	}
	free(p);
}

static void beat(struct line *l, struct rd *r)
{
	struct wr w = WR_INIT;
	size_t n;
	uint8_t *p = take_body(r, &n);

	fix(l, M_heartbeat, 0, p, n);
	if (!core_heartbeat(world.core, l->session, p, n, &w))
		must_decode(M_heartbeat_r, &w);
	wr_fini(&w);
	free(p);
}

static void where(uint64_t chunk)
{
	struct core_where v = { .chunk = chunk };

	core_where(world.core, &v);
	MUST(v.n_holders <= CORE_WHERE_MAX);
}

static const char *const columns[] = {
	"UPDATE slots SET slices=?1", "UPDATE chunks SET peers=?1",
	"UPDATE chunks SET md5=?1", "UPDATE digests SET md5=?1",
	"UPDATE xattrs SET value=?1", "UPDATE symlinks SET target=?1",
	"UPDATE replies SET body=?1", "UPDATE dentries SET name=?1",
};

#define COLUMNS (sizeof(columns) / sizeof(*columns))

static void damage(struct rd *r)
{
	const char *sql = columns[rd_u8(r) % COLUMNS];
	size_t n;
	uint8_t *p = take_body(r, &n);
	struct db_stmt *s = db_prep(world.db, sql);

	world.damaged = 1;
	db_bind_blob(s, 1, p, n);
	db_run(s);	/* an error is one more that the batch meets */
	free(p);
}

static void step(struct rd *r)
{
	unsigned what = rd_u8(r);
	struct line *l = &world.lines[rd_u8(r) % LINES];

	batch_begin();
	switch ((what & ~(unsigned)MORE) % N_WHAT) {
	case REQUEST:
		request(l, r);
		break;
	case ANSWER:
		answer(r);
		break;
	case BEAT:
		beat(l, r);
		break;
	case CUT:
		l->closed = 1;
		break;
	case TICK:
		world.ms += rd_u16(r);
		batch_end();
		batch_begin();
		core_tick(world.core);
		break;
	case RESTART:
		stop();
		start();
		break;
	case DAMAGE:
		damage(r);
		break;
	case WHERE:
		where(rd_u16(r));
		core_probed(world.core, 0x100 + rd_u8(r) % LINES,
			    rd_u8(r) % 3);
		break;
	}
	if (!(what & MORE) && world.core)
		batch_end();
}

/* ---------------------------------------------------------------- the end */

/* Nobody says anything any more: their leases end, all are answered. */
static void silence(void)
{
	batch_end();
	for (uint64_t until = world.ms + QUIET_MS; world.ms < until;) {
		world.ms += QUIET_MS / 40;
		batch_begin();
		core_tick(world.core);
		batch_commit();
	}
	for (uint32_t i = 1; i <= world.numbers; i++)
		MUST(!world.open[i] || world.open[i] == 1 + M_digest ||
		     world.damaged ||
		     line_of(world.asked_by[i])->closed);
}

static uint64_t count(const char *sql)
{
	struct db_stmt *s = db_prep(world.db, sql);
	uint64_t n;

	MUST(db_step(s) == 1);
	n = db_u64(s, 0);
	db_reset(s);
	return n;
}

static void check_tables(void)
{
	for (size_t i = 0; i < sizeof(fix_rules) / sizeof(*fix_rules); i++)
		if (count(fix_rules[i]))
			fuzz_fail(__FILE__, __LINE__, fix_rules[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char why[512];
	struct rd r;

	fuzz_quiet();
	memset(&world, 0, sizeof(world));
	world.ms = 1000;
	MUST(!db_open(&world.db, ":memory:", why, sizeof(why)));
	start();
	rd_init(&r, p, n);
	CORE_BEGIN;
	for (int i = 0; i < STEPS_MOST && rd_left(&r) && world.core; i++)
		step(&r);
	CORE_END;
	if (world.core) {
		silence();
		stop();
	}
	if (!world.damaged)
		check_tables();
	db_close(world.db);
	return 0;
}

#include "core_seeds.h"
