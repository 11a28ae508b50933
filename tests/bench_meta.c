/*
 * bench_meta -- requests a second through the tracker's core, as its metadata
 * thread runs them: decoded, done, recorded, committed to a database in a
 * file, answered.  No sockets, one core.
 *
 *   bench_meta [DIR]       where the database is, /tmp
 *
 * One by one: a transaction each.  In batches: BATCH requests a transaction,
 * as when many clients ask at a time.
 */
#include "core.h"

#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

enum { BATCH = 64, FILES = 20000, CONN = 1 };

static struct db *db;
static struct core *core;
static uint64_t seq, ino_of[FILES], ids[FILES];
static uint32_t n_ids;
static uint16_t asked;
static unsigned failed;

static struct core_time now(void)
{
	double t = bench_now();

	return (struct core_time){ .ms = (uint64_t)(t * 1000),
				   .wall_s = 1700000000 + (int64_t)t,
				   .wall_ns = (uint32_t)(seq % 1000000000) };
}

/* --------------------------------------------------------------- answers */

static void created(uint32_t file, const struct wr *body)
{
	struct arena a = ARENA_INIT;
	struct m_mknod_r r;

	bench_must(!m_mknod_r_decode(&r, &a, body->p, body->len), "mknod");
	ino_of[file] = r.attr.ino;
	arena_fini(&a);
}

static void granted(const struct wr *body)
{
	struct arena a = ARENA_INIT;
	struct m_grant_r r;

	bench_must(!m_grant_r_decode(&r, &a, body->p, body->len), "grant");
	for (uint32_t i = 0; i < r.n_chunks && n_ids < FILES; i++)
		ids[n_ids++] = r.chunks[i].id;
	arena_fini(&a);
}

static void io_answer(void *arg, uint64_t conn, uint32_t number, uint16_t type,
		      uint16_t status, struct wr *body)
{
	(void)arg;
	(void)conn;
	(void)type;
	failed += status != 0;
	if (!status && asked == M_mknod)	/* its number: the file's, and 1 */
		created(number - 1, body);
	if (!status && asked == M_grant)
		granted(body);
	wr_fini(body);
}

static void io_send(void *arg, uint64_t conn, uint32_t number, uint16_t type,
		    struct wr *body)
{
	(void)arg;
	(void)conn;
	(void)number;
	(void)type;
	wr_fini(body);
}

static void io_close(void *arg, uint64_t conn, const char *why)
{
	(void)arg;
	(void)conn;
	fprintf(stderr, "bench: closed: %s\n", why);
	exit(1);
}

/* --------------------------------------------------------------- requests */

static struct str name_of(uint32_t i, char buf[32])
{
	snprintf(buf, 32, "file-%08u", i);
	return (struct str){ buf, (uint32_t)strlen(buf) };
}

static int make(struct wr *w, uint32_t i)
{
	char buf[32];
	struct m_mknod m = { .seq = ++seq, .ack = seq, .parent = 1,
			     .name = name_of(i, buf), .excl = 1,
			     .mode = S_IFREG | 0644 };

	return m_mknod_encode(w, &m);
}

static int look_up(struct wr *w, uint32_t i)
{
	char buf[32];
	struct m_lookup m = { .parent = 1,
			      .name = name_of(i * 7919u % FILES, buf) };

	return m_lookup_encode(w, &m);
}

static int commit(struct wr *w, uint32_t i)
{
	uint32_t stored[] = { 1 };
	struct m_push p = { .len = 4096, .chunk = ids[i], .chunk_len = 4096,
			    .stored = stored, .n_stored = 1 };
	struct m_commit m = { .seq = ++seq, .ack = seq, .ino = ino_of[i],
			      .pushes = &p, .n_pushes = 1 };

	return m_commit_encode(w, &m);
}

static int get_map(struct wr *w, uint32_t i)
{
	struct m_getmap m = { .ino = ino_of[i], .count = 1 };

	return m_getmap_encode(w, &m);
}

static int unlink_it(struct wr *w, uint32_t i)
{
	char buf[32];
	struct m_unlink m = { .seq = ++seq, .ack = seq, .parent = 1,
			      .name = name_of(i, buf) };

	return m_unlink_encode(w, &m);
}

static const struct {
	const char *name;
	uint16_t type;
	int (*encode)(struct wr *w, uint32_t i);
} ops[] = {
	{ "create", M_mknod, make },
	{ "lookup", M_lookup, look_up },
	{ "commit of a chunk", M_commit, commit },
	{ "getmap", M_getmap, get_map },
	{ "unlink", M_unlink, unlink_it },
};

static void request(uint32_t number, uint16_t type, struct wr *w)
{
	asked = type;
	core_request(core, CONN, number, type, w->p, w->len);
	wr_fini(w);
}

/* Files first .. first + n - 1. */
static void row(size_t op, uint32_t first, uint32_t n, uint32_t batch)
{
	double began = bench_now();
	char what[80];

	for (uint32_t i = first; i < first + n; i++) {
		struct wr w = WR_INIT;

		if ((i - first) % batch == 0)
			core_begin(core, now());
		bench_must(!ops[op].encode(&w, i), "encode");
		request(i + 1, ops[op].type, &w);
		if ((i - first) % batch == batch - 1 || i == first + n - 1)
			bench_must(!core_end(core), "core_end");
	}
	snprintf(what, sizeof(what), "meta: %s, %s", ops[op].name,
		 batch == 1 ? "one by one" : "in batches of 64");
	bench_row(what, n / (bench_now() - began), "/s", 0, NULL);
	bench_must(!failed, ops[op].name);
}

static void alone(uint16_t type, struct wr *w)
{
	core_begin(core, now());
	request(1, type, w);
	bench_must(!core_end(core) && !failed, "hello or grant");
}

static void greet(void)
{
	struct m_hello m = { .protocol = MSG_PROTOCOL, .role = ROLE_PEER,
			     .addr = STR_LIT("127.0.0.1"), .port = 3457,
			     .capacity = 1ull << 40 };
	struct wr w = WR_INIT;

	core_begin(core, now());
	core_up(core, CONN, ROLE_PEER, 7, "127.0.0.1");
	bench_must(!core_end(core), "core_up");
	bench_must(!m_hello_encode(&w, &m), "encode");
	alone(M_hello, &w);
	while (n_ids < FILES) {
		struct m_grant g = { .count = MSG_GRANT_MAX };

		bench_must(!m_grant_encode(&w, &g), "encode");
		alone(M_grant, &w);
	}
}

int main(int argc, char **argv)
{
	const struct core_config cfg = {
		.copies = 1, .slot_size = 512 << 10, .lease_ms = 10000,
		.heartbeat_ms = 2000, .garbage_ms = 60000, .gone_ms = 60000,
		.seed = 1,
	};
	const struct core_io io = { .answer = io_answer, .send = io_send,
				    .close = io_close };
	char dir[256], path[300], why[512] = "";

	snprintf(dir, sizeof(dir), "%s/bench_meta.XXXXXX",
		 argc > 1 ? argv[1] : "/tmp");
	bench_must(mkdtemp(dir) != NULL, "mkdtemp");
	snprintf(path, sizeof(path), "%s/db", dir);
	if (db_open(&db, path, why, sizeof(why)) ||
	    core_new(&core, db, &cfg, &io, now(), why, sizeof(why))) {
		fprintf(stderr, "bench: %s\n", why);
		return 1;
	}
	greet();
	for (size_t i = 0; i < sizeof(ops) / sizeof(*ops); i++) {
		row(i, 0, FILES / 4, 1);
		row(i, FILES / 4, FILES / 4 * 3, BATCH);
	}
	core_free(core);
	db_close(db);
	unlink(path);
	rmdir(dir);
	return 0;
}
