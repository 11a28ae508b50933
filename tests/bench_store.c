/*
 * bench_store -- the store's verbs, beside writing the same bytes to a plain
 * file and renaming it, in the same directory.
 *
 *   bench_store [DIR]      a directory on the disk in question, /tmp
 *
 * One thread.  Store and plain files take turns, a round each, so that a busy
 * machine is so for both; the best round counts.
 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

enum { LARGE = 512 << 10, SMALL = 16 << 10, ROUNDS = 5 };

static char dir[256];
static int plain_fd;
static struct store *store;
static uint8_t *data;

struct job {
	uint32_t len;
	int sync;
	uint64_t first;		/* id of the round's first chunk */
};

static void put(const struct job *j, uint64_t id)
{
	struct chunk_meta m = { .chunk = id, .ino = 1, .len = j->len };

	/* the MD5 comes with a chunk: its time is not the store's */
	bench_must(!store_put(store, &m, data, COPY_REPLICA, j->sync), "put");
}

static void get(const struct job *j, uint64_t id)
{
	struct chunk_meta m;
	struct buf *b;

	bench_must(!store_get(store, id, &m, &b) && b->len == j->len, "get");
	buf_unref(b);
}

static void drop(const struct job *j, uint64_t id)
{
	(void)j;
	bench_must(!store_delete(store, id), "delete");
}

static char *plain_name(uint64_t id)
{
	static char name[32];

	snprintf(name, sizeof(name), "%llu", (unsigned long long)id);
	return name;
}

/* As the store does: another name first, then its own. */
static void write_plain(const struct job *j, uint64_t id)
{
	int fd = openat(plain_fd, "new", O_WRONLY | O_CREAT | O_EXCL, 0600);

	bench_must(fd >= 0 && write(fd, data, j->len) == (ssize_t)j->len,
		   "write");
	if (j->sync)
		bench_must(!fdatasync(fd), "fdatasync");
	close(fd);
	bench_must(!renameat(plain_fd, "new", plain_fd, plain_name(id)),
		   "rename");
	if (j->sync)
		bench_must(!fsync(plain_fd), "fsync");
}

/* Into memory of its own, as the store's callers get it. */
static void read_plain(const struct job *j, uint64_t id)
{
	int fd = openat(plain_fd, plain_name(id), O_RDONLY);
	struct buf *b = buf_new(j->len);

	bench_must(fd >= 0 && b && read(fd, b->data, j->len) ==
		   (ssize_t)j->len, "read");
	buf_unref(b);
	close(fd);
}

static void drop_plain(const struct job *j, uint64_t id)
{
	(void)j;
	bench_must(!unlinkat(plain_fd, plain_name(id), 0), "unlink");
}

typedef void (*each_fn)(const struct job *j, uint64_t id);

/* @n of them; keeps the best rate in *@best. */
static void time_round(const struct job *j, unsigned n, each_fn fn,
		       double *best)
{
	double began = bench_now(), rate;

	for (unsigned i = 0; i < n; i++)
		fn(j, j->first + i);
	rate = n / (bench_now() - began);
	if (rate > *best)
		*best = rate;
}

static const struct {
	const char *name, *of;
	each_fn ours, plain;
} verbs[] = {
	{ "put", "write+rename's", put, write_plain },
	{ "get", "open+read's", get, read_plain },
	{ "delete", "unlink's", drop, drop_plain },
};

static void rows(uint32_t len, int sync, unsigned n)
{
	struct job j = { .len = len, .sync = sync, .first = 1 };
	double best[3][2] = { { 0 } };
	char what[80], of[80];

	for (int r = 0; r < ROUNDS; r++, j.first += n)
		for (int v = 0; v < 3; v++) {
			time_round(&j, n, verbs[v].ours, &best[v][0]);
			time_round(&j, n, verbs[v].plain, &best[v][1]);
		}
	for (int v = 0; v < (sync ? 1 : 3); v++) {
		double mb = len == LARGE && v < 2 ? len / 1e6 : 1;

		snprintf(what, sizeof(what), "store: %s%s, %u KiB",
			 sync ? "durable " : "", verbs[v].name, len >> 10);
		snprintf(of, sizeof(of), "%s%s", sync ? "synced " : "",
			 verbs[v].of);
		bench_row(what, best[v][0] * mb, mb == 1 ? "chunks/s" : "MB/s",
			  best[v][1] * mb, of);
	}
}

static int remove_one(const char *path, const struct stat *st, int flag,
		      struct FTW *f)
{
	(void)st;
	(void)flag;
	(void)f;
	return remove(path);
}

int main(int argc, char **argv)
{
	char path[300], why[512];

	snprintf(dir, sizeof(dir), "%s/bench_store.XXXXXX",
		 argc > 1 ? argv[1] : "/tmp");
	bench_must(mkdtemp(dir) != NULL, "mkdtemp");
	snprintf(path, sizeof(path), "%s/plain", dir);
	bench_must(!mkdir(path, 0700), "mkdir");
	plain_fd = open(path, O_RDONLY | O_DIRECTORY);
	snprintf(path, sizeof(path), "%s/store", dir);
	if (store_open(&store, path, 64ull << 30, NULL, why, sizeof(why))) {
		fprintf(stderr, "bench: %s\n", why);
		return 1;
	}
	data = malloc(LARGE);
	bench_must(data != NULL, "malloc");
	memset(data, 7, LARGE);
	rows(LARGE, 0, 200);
	rows(SMALL, 0, 2000);
	rows(LARGE, 1, 40);
	rows(SMALL, 1, 200);
	free(data);
	store_close(store);
	close(plain_fd);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}
