/*
 * fs/file, behaviour by behaviour: leases and the map, what is shown before
 * it is committed, appends, read-ahead, compaction, slots that
 * are full.
 */
#include "file_do.h"

#include <sys/stat.h>

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
	assert_int_equal(inos[1] + inos[2], 1 + 3);	/* none is lost */
	assert_int_equal(world_get(&world.released), 0);
	file_close(h);				/* it was told open */
	assert_int_equal(world_get(&world.released), 1u << 2);
	h = do_open(1, 0);
	file_close(h);				/* nobody knows of it */
	assert_int_equal(world_get(&world.released), 1u << 2);
}

/* A directory has no content, but is open like any file. */
static void test_directory(void **state)
{
	const struct m_attr dir = { .ino = 9, .mode = S_IFDIR | 0755,
				    .nlink = 2 };
	struct file_handle *h, *again;
	uint64_t ino = 9, *open;
	uint32_t n;

	(void)state;
	assert_int_equal(file_open(world.fs, &dir, 0, &h), 0);
	assert_true(files_has_handles(world.fs, 9));
	assert_false(files_has_pages(world.fs, 9));
	assert_int_equal(file_open(world.fs, &dir, 0, &again), 0);
	file_close(again);			/* nobody knows of it yet */
	assert_int_equal(files_revoked(world.fs, &ino, 1), 1);
	files_lost(world.fs, &open, &n);
	assert_int_equal(n, 1);
	assert_int_equal(open[0], 9);
	free(open);
	assert_int_equal(world_get(&world.released), 0);
	file_close(h);
	assert_int_equal(world_get(&world.released), 1u << 9);
	assert_false(files_is_open(world.fs, 9));
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
	world_set(&world.delay_us, 100000);
	c.out = (uint8_t *)one;
	file_read(h, 0, 8, call_read, &c);
	world_until(&world.ran[T_GETMAP], 1);
	world_remote(1, 0, "new", 3);
	assert_int_equal(call_wait(&c, 1), 0);
	assert_int_equal(c.len, 3);
	assert_int_equal(do_read(h, 0, two, 8), 3);
	assert_memory_equal(two, "new", 3);
	file_close(h);
}

/* Nor is one for anybody that our own commit overtook. */
static void test_outrun(void **state)
{
	struct call c = CALL_INIT;
	struct file_handle *h;
	char one[8], two[8];

	(void)state;
	world_remote(1, 0, "old", 3);
	h = do_open(1, 0);
	world_set(&world.delay_us, 200000);
	c.out = (uint8_t *)one;
	file_read(h, 0, 8, call_read, &c);
	world_until(&world.ran[T_GETMAP], 1);
	world_set(&world.delay_us, 0);
	assert_int_equal(do_write(h, 2, "new", 3), 0);
	assert_int_equal(do_flush(h, 0), 0);
	assert_int_equal(call_wait(&c, 1), 0);
	/* it began before the write: either will do */
	assert_true(c.len == 3 || c.len == 5);
	assert_int_equal(do_read(h, 0, two, 8), 5);
	assert_memory_equal(two, "olnew", 5);
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
	world_set(&world.unleased, 1);
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

/* What is not yet committed moves behind what was placed elsewhere. */
static void test_append_shifts(void **state)
{
	struct call c = CALL_INIT;
	struct file_handle *h;
	char out[32];

	(void)state;
	again(1 << 20, 100000);
	h = do_open(1, 1);
	world_hold(T_COMMIT, 1);
	assert_int_equal(do_write(h, 0, "one ", 4), 0);
	file_flush(h, 0, call_done, &c);
	assert_int_equal(do_write(h, 0, "two ", 4), 0);
	world_remote(1, UINT64_MAX, "far ", 4);
	world_hold(T_COMMIT, 0);
	assert_int_equal(call_wait(&c, 1), 0);
	assert_int_equal(do_read(h, 0, out, 32), 12);
	assert_memory_equal(out, "far one two ", 12);
	file_close(h);
}

/* ------------------------------------- read-ahead, map pages, compacting */

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
	world_set(&world.getmap_most, 64);
	h = do_open(1, 0);
	assert_int_equal(do_read(h, 0, out, sizeof(out)), sizeof(out));
	assert_memory_equal(out, data, sizeof(out));
	file_close(h);
	again(1 << 20, 50);
	world_set(&world.getmap_most, 1);	/* not even a small one */
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
		if (i == WORLD_DEEP)
			wait_compactions(before + 1);
	}
	file_close(h);
	again(1 << 20, 50);
	check_content(1, 0, data, 19 * 90 + 150);
	assert_true(world_depth(1, 0) < 20);
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
	assert_int_equal(world_depth(1, 0), 1);
	check_content(1, 10, "one\0\0\0\0\0\0\0two", 13);
	h = do_open(1, 0);	/* what replaces may not be less durable */
	assert_int_equal(do_flush(h, 1), 0);
	assert_int_equal(world_get(&world.not_durable), 0);
	file_close(h);
}

/* Other mounts' pieces, as many as a slot takes, of which this one saw
 * nothing.  @data is what is in the slot then. */
static void fill_slot(char *data, uint64_t slot)
{
	unsigned most = MSG_SLICES_MAX - 1, i;

	world_set(&world.stack_most, most);
	while ((i = world_depth(1, slot)) < most) {
		data[i] = (char)(i % 251);
		world_remote(1, slot * SLOT + i, &data[i], 1);
	}
}

static void test_full_slot(void **state)
{
	struct file_handle *h = do_open(1, 0);
	static char data[3 * SLOT];

	(void)state;
	memset(data, 0, sizeof(data));
	for (int sync = 0; sync < 2; sync++) {
		fill_slot(data, 0);
		fill_slot(data + 2 * SLOT, 2);
		for (int i = 0; i < 3; i++) {
			memcpy(data + i * SLOT + 100, sync ? "two" : "one", 3);
			assert_int_equal(do_write(h, i * SLOT + 100,
						  data + i * SLOT + 100, 3),
					 0);
		}
		assert_int_equal(do_flush(h, sync), 0);
		assert_int_equal(world_get(&world.refused), sync + 1);
		assert_true(world_depth(1, 0) < 8);
	}
	assert_int_equal(world_get(&world.not_durable), 0);
	file_close(h);
	again(1 << 20, 50);
	check_content(1, 0, data, 2 * SLOT + 2047);
}

/* The slot that an append goes to is where the others' appends ended. */
static void test_full_append(void **state)
{
	struct file_handle *h = do_open(1, 1);
	static char data[SLOT];

	(void)state;
	memset(data, 0, sizeof(data));
	world_hold(T_COMMIT, 1);
	assert_int_equal(do_write(h, 0, "log", 3), 0);
	world_remote(1, SLOT - 1, "", 1);
	fill_slot(data, 1);
	world_hold(T_COMMIT, 0);
	assert_int_equal(do_flush(h, 1), 0);
	assert_int_equal(world_get(&world.refused), 2);
	file_close(h);
	again(1 << 20, 50);
	check_content(1, SLOT, data, 2047);
	check_content(1, SLOT + 2047, "log", 3);
}

/* All is tried, but it stays full: an error, and no wait without an end. */
static void test_full_for_ever(void **state)
{
	struct file_handle *h = do_open(1, 0);
	char data[SLOT];

	(void)state;
	fill_slot(data, 0);
	world_set(&world.fail_fetch, 1);
	assert_int_equal(do_write(h, 10, "lost", 4), 0);
	assert_int_equal(do_flush(h, 1), -EBUSY);
	world_set(&world.fail_fetch, 0);
	assert_int_equal(do_write(h, 10, "kept", 4), 0);
	assert_int_equal(do_flush(h, 1), 0);
	file_close(h);
	check_content(1, 10, "kept", 4);
}

/* The lease ended while there was no room: what others wrote is newer. */
static void test_full_fenced(void **state)
{
	struct file_handle *h = do_open(1, 0);
	char data[SLOT];
	struct call c = CALL_INIT;

	(void)state;
	fill_slot(data, 0);
	world_hold(T_FETCH, 1);
	assert_int_equal(do_write(h, 3000, "stale", 5), 0);
	file_flush(h, 0, call_done, &c);
	world_until(&world.refused, 1);
	set_term(2);
	world_remote(1, 3000, "newer", 5);
	world_hold(T_FETCH, 0);
	assert_int_equal(call_wait(&c, 1), -EIO);
	file_close(h);
	check_content(1, 3000, "newer", 5);
}

/* Closed, and the mount goes, while there is no room. */
static void test_full_at_the_end(void **state)
{
	struct file_handle *h = do_open(1, 0);
	char data[SLOT];

	(void)state;
	fill_slot(data, 0);
	assert_int_equal(do_write(h, 10, "last", 4), 0);
	file_close(h);
	again(1 << 20, 50);
	assert_int_equal(world_get(&world.refused), 1);
	check_content(1, 10, "last", 4);
	h = do_open(1, 0);
	fill_slot(data, 0);
	assert_int_equal(do_write(h, 20, "drain", 5), 0);
	file_close(h);
	assert_int_equal(files_drain(world.fs, LIMIT_S * 1000), 0);
	check_content(1, 20, "drain", 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_revoked), TEST(test_directory),
		TEST(test_revoked_meanwhile),
		TEST(test_outrun), TEST(test_unleased),
		TEST(test_map_follows), TEST(test_overlay),
		TEST(test_append), TEST(test_append_shifts),
		TEST(test_readahead), TEST(test_small_pages),
		TEST(test_compact_deep), TEST(test_compact_close),
		TEST(test_full_slot), TEST(test_full_append),
		TEST(test_full_for_ever), TEST(test_full_fenced),
		TEST(test_full_at_the_end),
	};

	log_init("unit_file_map", LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
