/*
 * store_do -- a store in a directory of the test's own, chunks of known
 * bytes, and a disk whose syncs are counted and fail on demand.  Only one
 * source file of a program includes it.
 */
#ifndef PSPFS_STORE_DO_H
#define PSPFS_STORE_DO_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "md5.h"
#include "store.h"

#define LEN 4096
#define NOT_SMALL (STORE_SMALL + 1)
#define SIZE (LEN + STORE_TRAILER)
#define PLENTY (1ull << 30)
#define SWARM 0xabcdull

static char root[64];		/* of this test */
static char why[256];

static uint32_t chunk_len;	/* of put() and get() */

static atomic_int syncs, dir_syncs, fs_syncs, gone_count;
static atomic_int sync_fails, dir_sync_fails, fs_sync_fails;
static atomic_int fs_sync_held;	/* syncfs() does not return */
static _Atomic uint64_t gone_last;

int fdatasync(int fd)
{
	atomic_fetch_add(&syncs, 1);
	if (sync_fails) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
	atomic_fetch_add(&dir_syncs, 1);
	if (dir_sync_fails) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fsync, fd);
}

int syncfs(int fd)
{
	while (fs_sync_held)
		usleep(1000);
	atomic_fetch_add(&fs_syncs, 1);
	if (fs_sync_fails) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_syncfs, fd);
}

static inline void on_gone(void *arg, uint64_t chunk)
{
	(void)arg;
	atomic_fetch_add(&gone_count, 1);
	gone_last = chunk;
}

static const struct store_events events = { on_gone, NULL };

static inline char *path_in(const char *fmt, ...)
	__attribute__((format(printf, 1, 2)));

static inline int remove_one(const char *path, const struct stat *st,
			     int flag, struct FTW *f)
{
	(void)st;
	(void)flag;
	(void)f;
	return remove(path);
}

static inline int set_up(void **state)
{
	(void)state;
	snprintf(root, sizeof(root), "/tmp/unit_store.XXXXXX");
	syncs = dir_syncs = fs_syncs = gone_count = 0;
	sync_fails = dir_sync_fails = fs_sync_fails = fs_sync_held = 0;
	gone_last = 0;
	chunk_len = LEN;
	return mkdtemp(root) ? 0 : -1;
}

static inline int tear_down(void **state)
{
	(void)state;
	umount2(path_in("disk"), MNT_DETACH);	/* of a test that failed */
	return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline struct store *open_at(const char *dir, uint64_t capacity)
{
	struct store *s = NULL;
	int err = store_open(&s, dir, capacity, &events, why, sizeof(why));

	if (err)
		fail_msg("store_open: %s", why);
	return s;
}

static inline struct store *open_store(uint64_t capacity)
{
	return open_at(root, capacity);
}

static inline void payload(uint64_t id, uint8_t *out, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(id * 31 + i);
}

static inline struct chunk_meta meta(uint64_t id, uint32_t len)
{
	struct chunk_meta m = { .chunk = id, .ino = id + 1, .slot = 2,
				.pos = 3, .len = len };
	uint8_t *data = malloc(len + 1);

	assert_non_null(data);
	payload(id, data, len);
	md5_one(data, len, m.md5);
	free(data);
	return m;
}

static inline int put(struct store *s, uint64_t id, enum copy_kind kind,
		      int sync)
{
	struct chunk_meta m = meta(id, chunk_len);
	uint8_t *data = malloc(chunk_len);
	int err;

	assert_non_null(data);
	payload(id, data, chunk_len);
	err = store_put(s, &m, data, kind, sync);
	free(data);
	return err;
}

static inline int get(struct store *s, uint64_t id)
{
	struct chunk_meta m, want = meta(id, chunk_len);
	uint8_t md5[MD5_LEN];
	struct buf *b;
	int err = store_get(s, id, &m, &b);

	if (err)
		return err;
	md5_one(b->data, b->len, md5);
	if (b->len != chunk_len || b->cap < chunk_len + MD5_LEN ||
	    memcmp(md5, want.md5, MD5_LEN) ||
	    m.chunk != id || m.ino != want.ino || m.slot != want.slot ||
	    m.pos != want.pos || m.len != chunk_len ||
	    memcmp(m.md5, want.md5, MD5_LEN))
		err = 1;
	buf_unref(b);
	return err;
}

static inline struct store_stat stat_of(struct store *s)
{
	struct store_stat st;

	store_stat(s, &st);
	return st;
}

static inline char *path_in(const char *fmt, ...)
{
	static char path[256];
	size_t n = (size_t)snprintf(path, sizeof(path), "%s/", root);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path + n, sizeof(path) - n, fmt, ap);
	va_end(ap);
	return path;
}

static inline char *chunk_path(uint64_t id, const char *suffix)
{
	return path_in("chunks/%02x/%016" PRIx64 ".%s",
		       (unsigned)(id >> 8 & 255), id, suffix);
}

static inline void write_at(const char *path, long at, const char *bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, strlen(bytes), at), strlen(bytes));
	close(fd);
}

static inline int count_names(const char *path)
{
	struct dirent *d;
	DIR *dir = opendir(path);
	int n = 0;

	assert_non_null(dir);
	while ((d = readdir(dir)))
		n += d->d_name[0] != '.';
	closedir(dir);
	return n;
}

#endif
