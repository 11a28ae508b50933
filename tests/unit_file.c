/*
 * fs/file, behaviour by behaviour: errors, the bound, order, fsync, leases,
 * appends, read-ahead, compaction.  The rest of the peer is file_world.h.
 */
#include "file_world.h"

#include <sys/stat.h>

static int up(void **state)
{
	(void)state;
	world_up(1);
	return 0;
}

static int down(void **state)
{
	(void)state;
	world_down();
	return 0;
}

/* A fresh set of files, as another mount would have it. */
static void again(uint64_t dirty_max, uint32_t flush_ms)
{
	files_free(world.fs);
	world_files(dirty_max, flush_ms);
}

static void check_content(uint64_t ino, uint64_t off, const void *p, size_t n)
{
	struct file_handle *h = do_open(ino, 0);
	uint8_t *out = malloc(n + 1);

	assert_int_equal(do_read(h, off, out, n), n);
	assert_memory_equal(out, p, n);
	free(out);
	file_close(h);
}

/* -------------------------------------------------- reading and writing */

static void test_write_read(void **state)
{
	struct file_handle *h = do_open(1, 0);
	char data[3 * SLOT], out[4 * SLOT];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = i * 7 + i / SLOT;
	assert_int_equal(do_write(h, 100, data, sizeof(data)), 0);
	/* at once, with a hole in front, cut at the end */
	assert_int_equal(do_read(h, 0, out, sizeof(out)), sizeof(data) + 100);
	for (int i = 0; i < 100; i++)
		assert_int_equal(out[i], 0);
	assert_memory_equal(out + 100, data, sizeof(data));
	assert_int_equal(do_read(h, sizeof(out), out, 10), 0);
	assert_int_equal(do_read(h, 0, out, 0), 0);
	assert_int_equal(do_flush(h, 0), 0);
	file_close(h);
	again(1 << 20, 50);
	check_content(1, 100, data, sizeof(data));
}

/* What is wholly in memory is read without asking anybody. */
static void test_read_own(void **state)
{
	struct file_handle *h = do_open(1, 0);
	char data[2 * SLOT] = "x", out[2 * SLOT];

	(void)state;
	world_hold(T_GETMAP, 1);
	assert_int_equal(do_write(h, 0, data, sizeof(data)), 0);
	assert_int_equal(do_write(h, 10, "hello", 5), 0);
	memcpy(data + 10, "hello", 5);
	assert_int_equal(do_read(h, 0, out, sizeof(out)), sizeof(data));
	assert_memory_equal(out, data, sizeof(data));
	assert_int_equal(world_get(&world.ran[T_GETMAP]), 0);
	world_hold(T_GETMAP, 0);
	file_close(h);
}

/* Many zeros are one static page, many times. */
static void test_holes(void **state)
{
	struct file_handle *h = do_open(1, 0);
	static uint8_t out[500 * SLOT];
	struct m_attr a;

	(void)state;
	world_truncate(1, sizeof(out), &a);
	files_attr(world.fs, &a);
	memset(out, 1, sizeof(out));
	assert_int_equal(do_write(h, 300 * SLOT, "end", 3), 0);
	assert_int_equal(do_read(h, 0, out, sizeof(out)), sizeof(out));
	assert_memory_equal(out + 300 * SLOT, "end", 3);
	memset(out + 300 * SLOT, 0, 3);
	for (size_t i = 0; i < sizeof(out); i++)
		assert_int_equal(out[i], 0);
	file_close(h);
}

/* Dirty data leaves by itself. */
static void test_flush_timer(void **state)
{
	struct file_handle *h = do_open(1, 0);

	(void)state;
	assert_int_equal(do_write(h, 5, "alone", 5), 0);
	world_until(&world.ran[T_COMMIT], 1);
	assert_int_equal(do_write(h, 50, "close", 5), 0);
	file_close(h);			/* without a flush, as mmap does */
	assert_true(files_is_open(world.fs, 1));
	world_until(&world.ran[T_COMMIT], 2);
	check_content(1, 5, "alone", 5);
	check_content(1, 50, "close", 5);
}

/* A stream is not committed slot by slot. */
static void test_few_commits(void **state)
{
	static char data[48 * SLOT];
	struct file_handle *h;

	(void)state;
	again(8 << 20, 10000);
	h = do_open(1, 0);
	for (int i = 0; i < 48; i++)
		assert_int_equal(do_write(h, i * SLOT, data, SLOT), 0);
	world_until(&world.ran[T_UPLOAD], 48);
	assert_int_equal(world_get(&world.ran[T_COMMIT]), 0);
	assert_int_equal(do_flush(h, 0), 0);
	assert_int_equal(world_get(&world.ran[T_COMMIT]), 1);
	file_close(h);
}

/* ----------------------------------------------------------------- errors */

static void test_upload_error(void **state)
{
	struct file_handle *a = do_open(1, 0), *b = do_open(1, 0), *c;
	char out[8];

	(void)state;
	assert_int_equal(do_write(a, 0, "before", 6), 0);
	assert_int_equal(do_flush(a, 0), 0);
	world_set(&world.fail_upload, 1);
	assert_int_equal(do_write(a, 0, "failed", 6), 0);
	assert_int_equal(do_flush(a, 0), -ENOSPC);
	world_set(&world.fail_upload, 0);
	assert_int_equal(do_flush(a, 0), 0);		/* once */
	assert_int_equal(do_flush(a, 1), 0);
	c = do_open(1, 0);
	assert_int_equal(do_flush(b, 1), -ENOSPC);	/* once each */
	assert_int_equal(do_flush(b, 0), 0);
	assert_int_equal(do_flush(c, 0), 0);		/* opened later */
	assert_int_equal(do_read(a, 0, out, 8), 6);	/* dropped */
	assert_memory_equal(out, "before", 6);
	file_close(a);
	file_close(b);
	file_close(c);
}

static void test_commit_error(void **state)
{
	struct file_handle *h = do_open(1, 0);
	struct call c = CALL_INIT;
	char out[8];

	(void)state;
	world_set(&world.fail_commit, 1);
	assert_int_equal(do_write(h, 0, "failed", 6), 0);
	files_flush_ino(world.fs, 1, call_done, &c);
	assert_int_equal(call_wait(&c, 1), -ENOSPC);
	assert_int_equal(do_flush(h, 1), -ENOSPC);	/* its own fails, too */
	world_set(&world.fail_commit, 0);
	assert_int_equal(do_flush(h, 1), 0);
	assert_int_equal(do_read(h, 0, out, 8), 0);
	assert_int_equal(do_write(h, 0, "works", 5), 0);
	assert_int_equal(do_flush(h, 1), 0);
	file_close(h);
	check_content(1, 0, "works", 5);
}

/* In the background, long before anybody asks. */
static void test_late_error(void **state)
{
	struct file_handle *h = do_open(1, 0);

	(void)state;
	world_set(&world.fail_upload, 1);
	assert_int_equal(do_write(h, 0, "failed", 6), 0);
	world_until(&world.ran[T_UPLOAD], 1);
	world_set(&world.fail_upload, 0);
	while (files_drain(world.fs, LIMIT_S * 1000))
		;
	assert_int_equal(do_flush(h, 0), -ENOSPC);
	file_close(h);
}

static void test_read_error(void **state)
{
	struct file_handle *h = do_open(1, 0);
	char out[8];

	(void)state;
	assert_int_equal(do_write(h, 0, "data", 4), 0);
	assert_int_equal(do_flush(h, 0), 0);
	cache_drop(world.cache, 1);
	world_set(&world.fail_fetch, 1);
	assert_int_equal(do_read(h, 0, out, 8), -EIO);
	world_set(&world.fail_fetch, 0);
	assert_int_equal(do_read(h, 0, out, 8), 4);
	file_close(h);
}

/* -------------------------------------------------------------- the bound */

struct order {
	struct call call;
	int next, wrong;
};

struct ticket {
	struct order *o;
	int number;
};

static void in_order(void *arg, int err)
{
	struct ticket *t = arg;

	if (t->number != __atomic_fetch_add(&t->o->next, 1, __ATOMIC_SEQ_CST))
		t->o->wrong = 1;
	call_done(&t->o->call, err);
}

static void test_bound(void **state)
{
	enum { N = 40, ROOM = 4 };
	struct order o = { .call = CALL_INIT };
	struct ticket t[N];
	struct file_handle *h;
	static char data[SLOT];
	int n;

	(void)state;
	again((ROOM + 1) * 2 * SLOT, 50);
	h = do_open(1, 0);
	world_hold(T_UPLOAD, 1);
	for (int i = 0; i < N; i++) {
		t[i] = (struct ticket){ &o, i };
		file_write(h, i * SLOT, data, SLOT, 0, in_order, &t[i]);
	}
	n = call_count(&o.call);
	assert_in_range(n, ROOM, 2 * ROOM + 2);	/* taken, not answered */
	nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
	assert_int_equal(call_count(&o.call), n);
	world_hold(T_UPLOAD, 0);
	assert_int_equal(call_wait(&o.call, N), 0);
	assert_false(o.wrong);
	assert_int_equal(do_flush(h, 0), 0);
	file_close(h);
}

/* Small dirty ranges of many files are sealed when memory is short, though
 * no timer and nobody asks for it. */
static void test_bound_unsealed(void **state)
{
	struct file_handle *h[WORLD_FILES];
	struct call c = CALL_INIT;
	int n = 0;

	(void)state;
	again(64 << 10, 100000);
	for (int i = 0; i < WORLD_FILES; i++)
		h[i] = do_open(i + 1, 0);
	for (int k = 0; k < 40; k++)
		for (int i = 0; i < WORLD_FILES; i++, n++)
			file_write(h[i], k * SLOT, "tiny", 4, 0, call_done,
				   &c);
	assert_int_equal(call_wait(&c, n), 0);
	assert_int_equal(files_drain(world.fs, LIMIT_S * 1000), 0);
	for (int i = 0; i < WORLD_FILES; i++) {
		check_content(i + 1, 39 * SLOT, "tiny", 4);
		file_close(h[i]);
	}
}

/* ------------------------------------------------------------------ fsync */

static void test_fsync(void **state)
{
	struct file_handle *h = do_open(1, 0);

	(void)state;
	/* committed without sync, then closed: the next fsync is for it */
	assert_int_equal(do_write(h, 0, "early", 5), 0);
	assert_int_equal(do_flush(h, 0), 0);
	file_close(h);
	h = do_open(1, 0);
	assert_int_equal(do_write(h, SLOT, "late", 4), 0);
	assert_int_equal(do_flush(h, 1), 0);
	assert_int_equal(world_get(&world.synced_commits), 1);
	assert_int_equal(world_get(&world.ran[T_SYNC]), 1);
	assert_false(world.not_durable);
	/* nothing new: the tracker's half alone */
	assert_int_equal(do_flush(h, 1), 0);
	assert_int_equal(world_get(&world.synced_commits), 2);
	assert_int_equal(world_get(&world.ran[T_SYNC]), 1);
	/* what only this fsync sealed was uploaded with sync */
	assert_int_equal(do_write(h, 0, "again", 5), 0);
	assert_int_equal(do_flush(h, 1), 0);
	assert_int_equal(world_get(&world.ran[T_SYNC]), 1);
	assert_false(world.not_durable);
	file_close(h);
}

/* One that comes while chunks are being synced waits for them, too. */
static void test_fsyncs_meet(void **state)
{
	struct file_handle *h = do_open(1, 0);
	struct call one = CALL_INIT, two = CALL_INIT;

	(void)state;
	assert_int_equal(do_write(h, 0, "early", 5), 0);
	assert_int_equal(do_flush(h, 0), 0);
	world_hold(T_SYNC, 1);
	file_flush(h, 1, call_done, &one);
	file_flush(h, 1, call_done, &two);
	nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
	assert_int_equal(call_count(&one) + call_count(&two), 0);
	world_hold(T_SYNC, 0);
	assert_int_equal(call_wait(&one, 1), 0);
	assert_int_equal(call_wait(&two, 1), 0);
	assert_false(world.not_durable);
	file_close(h);
}

/* ----------------------------------------------------------------- leases */

static void test_revoked(void **state)
{
	struct file_handle *h = do_open(2, 0);
	uint64_t inos[] = { 1, 2, 3 };
	char out[8];

	(void)state;
	world_remote(2, 0, "old", 3);
	assert_int_equal(do_read(h, 0, out, 8), 3);
	world_remote(2, 1, "new", 3);
	assert_int_equal(do_read(h, 0, out, 8), 4);
	assert_memory_equal(out, "onew", 4);
	assert_int_equal(files_revoked(world.fs, inos, 3), 1);
	assert_int_equal(inos[0], 2);
	assert_int_equal(world_get(&world.released), 0);
	file_close(h);				/* it was told open */
	assert_int_equal(world_get(&world.released), 1u << 2);
	h = do_open(1, 0);
	file_close(h);				/* nobody knows of it */
	assert_int_equal(world_get(&world.released), 1u << 2);
}

/* The answer to a getmap that was asked for before the revocation is for
 * those who waited, not for who comes later. */
static void test_revoked_meanwhile(void **state)
{
	struct file_handle *h = do_open(1, 0);
	struct call c = CALL_INIT;
	char one[8], two[8];

	(void)state;
	world_remote(1, 0, "old", 3);
	world.delay_us = 200000;
	c.out = (uint8_t *)one;
	file_read(h, 0, 8, call_read, &c);
	world_until(&world.ran[T_GETMAP], 1);
	world_remote(1, 0, "new", 3);
	assert_int_equal(do_read(h, 0, two, 8), 3);
	assert_memory_equal(two, "new", 3);
	assert_int_equal(call_wait(&c, 1), 0);
	assert_int_equal(c.len, 3);
	file_close(h);
}

static void test_unleased(void **state)
{
	struct file_handle *h = do_open(1, 0);
	char out[8];

	(void)state;
	world_remote(1, 0, "data", 4);
	assert_int_equal(do_read(h, 0, out, 8), 4);
	assert_int_equal(do_read(h, 0, out, 8), 4);
	assert_int_equal(world_get(&world.ran[T_GETMAP]), 1);
	world_set((unsigned *)&world.unleased, 1);
	assert_int_equal(do_read(h, 0, out, 8), 4);
	assert_int_equal(do_read(h, 0, out, 8), 4);
	assert_int_equal(world_get(&world.ran[T_GETMAP]), 3);
	file_close(h);
}

/* Our own commits keep the map. */
static void test_map_follows(void **state)
{
	struct file_handle *h = do_open(1, 0);
	char data[10 * SLOT], out[10 * SLOT];

	(void)state;
	memset(data, 'a', sizeof(data));
	assert_int_equal(do_read(h, 0, out, 1), 0);
	assert_int_equal(world_get(&world.ran[T_GETMAP]), 1);
	for (int i = 0; i < 5; i++) {
		data[i * 1000] = 'b';
		assert_int_equal(do_write(h, i * 10, data + i * 10,
					  sizeof(data) - i * 10), 0);
		assert_int_equal(do_flush(h, 0), 0);
	}
	assert_int_equal(do_read(h, 0, out, sizeof(out)), sizeof(out));
	assert_memory_equal(out, data, sizeof(out));
	assert_int_equal(world_get(&world.ran[T_GETMAP]), 1);
	file_close(h);
}

static void test_overlay(void **state)
{
	struct m_attr a = world.files[0].attr, b;
	struct file_handle *h = do_open(1, 0);
	struct call c = CALL_INIT;
	int64_t now;
	uint32_t ns;

	(void)state;
	a.mode = S_IFREG | 06755;
	wall_time(&now, &ns);
	file_write(h, 1000, "x", 1, 1, call_done, &c);
	assert_int_equal(call_wait(&c, 1), 0);
	b = a;
	files_overlay(world.fs, &b);
	assert_int_equal(b.size, 1001);
	assert_in_range(b.mtime_s, now, now + 10);
	assert_int_equal(b.mode, S_IFREG | 0755);
	assert_int_equal(do_flush(h, 0), 0);
	b = a;			/* a look that was answered before the commit */
	files_overlay(world.fs, &b);
	assert_int_equal(b.size, 1001);
	file_close(h);
}

/* ---------------------------------------------------------------- appends */

static void test_append(void **state)
{
	struct file_handle *h = do_open(1, 1), *w = do_open(1, 0);
	char out[32];

	(void)state;
	assert_int_equal(do_write(h, 0, "one ", 4), 0);
	assert_int_equal(do_write(h, 0, "two ", 4), 0);
	assert_int_equal(do_read(w, 0, out, 32), 8);
	assert_memory_equal(out, "one two ", 8);
	world_remote(1, UINT64_MAX, "far ", 4);	/* another one was first */
	assert_int_equal(do_flush(h, 0), 0);
	assert_int_equal(do_read(w, 0, out, 32), 12);
	assert_memory_equal(out, "far one two ", 12);
	/* plain and appended bytes keep their order */
	assert_int_equal(do_write(h, 0, "abc", 3), 0);
	assert_int_equal(do_write(w, 13, "X", 1), 0);
	assert_int_equal(do_write(h, 0, "d", 1), 0);
	assert_int_equal(do_read(w, 0, out, 32), 16);
	assert_memory_equal(out, "far one two aXcd", 16);
	assert_int_equal(do_flush(w, 0), 0);
	assert_int_equal(do_read(w, 0, out, 32), 16);
	assert_memory_equal(out, "far one two aXcd", 16);
	file_close(h);
	file_close(w);
}

/* ------------------------------------------- read-ahead, map pages, compacting */

static void test_readahead(void **state)
{
	struct file_handle *h = do_open(1, 0);
	static char data[32 * SLOT], out[SLOT];

	(void)state;
	assert_int_equal(do_write(h, 0, data, sizeof(data)), 0);
	assert_int_equal(do_flush(h, 0), 0);
	file_close(h);
	h = do_open(1, 0);
	for (int i = 0; i < 8; i++)
		assert_int_equal(do_read(h, i * SLOT, out, SLOT), SLOT);
	assert_in_range(world_get(&world.ahead), 8, 11);	/* each once */
	file_close(h);
}

static void test_small_pages(void **state)
{
	struct file_handle *h = do_open(1, 0);
	static char data[300 * SLOT], out[300 * SLOT];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i += 512)
		data[i] = i / 512;
	assert_int_equal(do_write(h, 0, data, sizeof(data)), 0);
	assert_int_equal(do_flush(h, 0), 0);
	file_close(h);
	world.getmap_most = 64;
	h = do_open(1, 0);
	assert_int_equal(do_read(h, 0, out, sizeof(out)), sizeof(out));
	assert_memory_equal(out, data, sizeof(out));
	file_close(h);
	world.getmap_most = 1;		/* not even a small one */
	h = do_open(1, 0);
	assert_int_equal(do_read(h, 0, out, sizeof(out)), -E2BIG);
	file_close(h);
}

static void wait_compactions(uint64_t n)
{
	uint64_t end = now_ms() + LIMIT_S * 1000;

	while (counter_get(CNT_COMPACTIONS) < n) {
		assert_true(now_ms() < end);
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
}

static void test_compact_deep(void **state)
{
	uint64_t before = counter_get(CNT_COMPACTIONS);
	struct file_handle *h = do_open(1, 0);
	char data[2000];

	(void)state;
	memset(data, 0, sizeof(data));
	for (int i = 0; i < 20; i++) {
		memset(data + i * 90, 'a' + i, 150);
		assert_int_equal(do_write(h, i * 90, data + i * 90, 150), 0);
		assert_int_equal(do_flush(h, 0), 0);
	}
	wait_compactions(before + 1);
	file_close(h);
	again(1 << 20, 50);
	check_content(1, 0, data, 19 * 90 + 150);
	assert_true(world.files[0].slots[0].n < 20);
}

static void test_compact_close(void **state)
{
	uint64_t before = counter_get(CNT_COMPACTIONS);
	struct file_handle *h = do_open(1, 0);

	(void)state;
	assert_int_equal(do_write(h, 10, "one", 3), 0);
	assert_int_equal(do_flush(h, 0), 0);
	assert_int_equal(do_write(h, 20, "two", 3), 0);
	assert_int_equal(do_flush(h, 0), 0);
	file_close(h);
	wait_compactions(before + 1);
	assert_int_equal(world.files[0].slots[0].n, 1);
	assert_true(world.chunks[world.n_chunks - 1].durable);
	check_content(1, 10, "one\0\0\0\0\0\0\0two", 13);
}

static void test_drain(void **state)
{
	struct file_handle *h = do_open(1, 0);

	(void)state;
	world_hold(T_UPLOAD, 1);
	assert_int_equal(do_write(h, 0, "x", 1), 0);
	assert_int_equal(files_drain(world.fs, 20), -ETIMEDOUT);
	world_hold(T_UPLOAD, 0);
	assert_int_equal(files_drain(world.fs, LIMIT_S * 1000), 0);
	assert_int_equal(world_get(&world.ran[T_COMMIT]), 1);
	/* h is left open: the kernel went */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_write_read), TEST(test_read_own), TEST(test_holes),
		TEST(test_flush_timer), TEST(test_few_commits),
		TEST(test_upload_error), TEST(test_commit_error),
		TEST(test_late_error), TEST(test_read_error),
		TEST(test_bound), TEST(test_bound_unsealed),
		TEST(test_fsync), TEST(test_fsyncs_meet),
		TEST(test_revoked), TEST(test_revoked_meanwhile),
		TEST(test_unleased), TEST(test_map_follows),
		TEST(test_overlay), TEST(test_append),
		TEST(test_readahead), TEST(test_small_pages),
		TEST(test_compact_deep), TEST(test_compact_close),
		TEST(test_drain),
	};

	log_init("unit_file", LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
