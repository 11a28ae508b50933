/*
 * bench_ns -- how many namespace operations a second on a file database.
 *
 *   bench_ns [FILES [DIR]]      default 20000 files, database in /tmp
 *   bench_ns --fill FILES DB    so many files into psptrackerd's database DB;
 *                               prints the first of their chunks' ids
 *
 * Batches of BATCH operations, each a transaction without waiting for the
 * disk, as psptrackerd commits them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"
#include "ns.h"

enum { BATCH = 64, SLOT = 1 << 20, PER_DIR = 1000 };

static struct db *db;
static struct ns *ns;
static struct arena arena;
static uint64_t files;
static uint64_t *dirs, *inos;
static uint64_t first_id;

static void must(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "bench_ns: %s: %s\n", what, strerror(-err));
	exit(1);
}

static struct ns_now now(void)
{
	static uint32_t tick;

	return (struct ns_now){ 1700000000 + tick / 1000, tick++ % 1000 };
}

static struct str name_of(uint64_t i, char buf[32])
{
	snprintf(buf, 32, "file-%08llu", (unsigned long long)i);
	return (struct str){ buf, (uint32_t)strlen(buf) };
}

static void make(uint64_t i)
{
	struct ns_touched t = { .n = 0 };
	struct m_mknod_r out;
	struct m_mknod m = { .parent = dirs[i / PER_DIR], .excl = 1,
			     .mode = S_IFREG | 0644 };
	char buf[32];

	m.name = name_of(i, buf);
	must(ns_mknod(ns, &m, now(), &out, &t), "mknod");
	inos[i] = out.attr.ino;
}

static void commit(uint64_t i)
{
	uint32_t stored[] = { 1, 2 };
	struct m_push p = { .len = 4096, .chunk = first_id + i,
			    .chunk_len = 4096, .stored = stored,
			    .n_stored = 2 };
	struct m_commit m = { .ino = inos[i], .pushes = &p, .n_pushes = 1 };
	struct ns_touched t = { .n = 0 };
	struct m_commit_r out;

	must(ns_commit(ns, &arena, &m, now(), &out, &t), "commit");
}

static void make_and_commit(uint64_t i)
{
	make(i);
	commit(i);
}

static uint64_t scattered(uint64_t i)
{
	return i * 7919 % files;
}

static void look_up(uint64_t i)
{
	uint64_t at = scattered(i);
	struct m_attr out;
	char buf[32];

	must(ns_lookup(ns, dirs[at / PER_DIR], name_of(at, buf), &out),
	     "lookup");
}

static void get_attr(uint64_t i)
{
	struct m_attr out;

	must(ns_getattr(ns, inos[scattered(i)], &out), "getattr");
}

static void get_map(uint64_t i)
{
	struct m_getmap_r out;

	must(ns_getmap(ns, &arena, inos[scattered(i)], 0, 8, &out), "getmap");
}

static void read_dir(uint64_t i)
{
	struct m_readdir_r out;

	if (i % PER_DIR)
		return;
	must(ns_readdir(ns, &arena, dirs[i / PER_DIR], 0, PER_DIR, &out),
	     "readdir");
}

static void unlink_and_reap(uint64_t i)
{
	struct m_unlink m = { .parent = dirs[i / PER_DIR] };
	struct ns_touched t = { .n = 0 };
	struct m_unlink_r out;
	char buf[32];

	m.name = name_of(i, buf);
	must(ns_unlink(ns, &m, now(), &out, &t), "unlink");
	must(ns_reap(ns, out.ino, now()), "reap");
}

static void run(const char *what, void (*op)(uint64_t i))
{
	double start = bench_now(), took;
	char row[64];
	uint64_t i;

	for (i = 0; i < files; i++) {
		if (i % BATCH == 0)
			must(db_begin(db), "begin");
		op(i);
		if (i % BATCH == BATCH - 1 || i == files - 1) {
			must(db_commit(db, 0), "commit");
			arena_fini(&arena);
			arena = ARENA_INIT;
		}
	}
	took = bench_now() - start;
	snprintf(row, sizeof(row), "ns: %s", what);
	bench_row(row, (double)files / took, "/s", 0, NULL);
}

static void make_dirs(void)
{
	struct m_mknod m = { .parent = NS_ROOT, .mode = S_IFDIR | 0755 };
	struct m_mknod_r out;
	uint64_t i;
	char buf[32];

	must(db_begin(db), "begin");
	must(ns_reserve_ids(ns, 2 * files, &first_id), "ids");
	for (i = 0; i <= files / PER_DIR; i++) {
		struct ns_touched t = { .n = 0 };

		m.name = name_of(i, buf);
		must(ns_mknod(ns, &m, now(), &out, &t), "mkdir");
		dirs[i] = out.attr.ino;
	}
	must(db_commit(db, 1), "commit");
}

static int open_all(const char *path)
{
	struct ns_config cfg = { .slot_size = SLOT };
	char why[1024];

	dirs = calloc(files / PER_DIR + 1, sizeof(*dirs));
	inos = calloc(files + 1, sizeof(*inos));
	if (!files || !dirs || !inos) {
		fprintf(stderr, "bench_ns: %llu files?\n",
			(unsigned long long)files);
		return -1;
	}
	if (db_open(&db, path, why, sizeof(why))) {
		fprintf(stderr, "bench_ns: %s\n", why);
		return -1;
	}
	must(ns_open(&ns, db, &cfg, now()), "ns_open");
	make_dirs();
	return 0;
}

static void close_all(void)
{
	ns_close(ns);
	db_close(db);
	free(dirs);
	free(inos);
}

static int fill(const char *n, const char *path)
{
	files = strtoull(n, NULL, 10);
	if (open_all(path))
		return 1;
	run("mknod + commit", make_and_commit);
	printf("%llu\n", (unsigned long long)first_id);
	close_all();
	return 0;
}

int main(int argc, char **argv)
{
	char dir[4096], path[4200];

	if (argc == 4 && !strcmp(argv[1], "--fill"))
		return fill(argv[2], argv[3]);
	files = argc > 1 ? strtoull(argv[1], NULL, 10) : 20000;
	snprintf(dir, sizeof(dir), "%s/bench_ns.XXXXXX",
		 argc > 2 ? argv[2] : "/tmp");
	if (!mkdtemp(dir)) {
		perror("bench_ns");
		return 1;
	}
	snprintf(path, sizeof(path), "%s/db", dir);
	if (open_all(path))
		return 1;
	run("mknod + commit", make_and_commit);
	run("lookup", look_up);
	run("getattr", get_attr);
	run("getmap", get_map);
	run("readdir (entries)", read_dir);
	run("unlink + reap", unlink_and_reap);
	first_id += files;
	run("mknod", make);
	run("commit", commit);
	close_all();
	unlink(path);
	rmdir(dir);
	return 0;
}
