/*
 * fs/file, behaviour by behaviour: writing, errors, the bound, fsync.  What
 * lies below is file_world.h.
 */
#include "file_do.h"

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

/* As FUSE's flush does whose caller was interrupted. */
static void heard_by_nobody(void *arg, int err)
{
	if (err)
		files_unheard(world.fs, 1, err);
	call_done(arg, err);
}

/* The handle goes while its flush is under way; the error is kept. */
static void test_flush_interrupted(void **state)
{
	struct call c = CALL_INIT;
	struct file_handle *h;

	(void)state;
	for (int others = 0; others < 2; others++) {
		struct file_handle *other = others ? do_open(1, 0) : NULL;

		h = do_open(1, 0);
		world_hold(T_UPLOAD, 1);
		world_set(&world.fail_upload, 1);
		assert_int_equal(do_write(h, 0, "failed", 6), 0);
		file_flush(h, others, heard_by_nobody, &c);
		file_close(h);
		world_hold(T_UPLOAD, 0);
		assert_int_equal(call_wait(&c, others + 1), -ENOSPC);
		world_set(&world.fail_upload, 0);
		if (other) {
			assert_int_equal(do_flush(other, 1), -ENOSPC);
			assert_int_equal(do_flush(other, 1), 0);
			file_close(other);
			continue;
		}
		/* nobody had it open: the next one hears it, once */
		h = do_open(1, 0);
		assert_int_equal(do_flush(h, 1), -ENOSPC);
		assert_int_equal(do_flush(h, 1), 0);
		file_close(h);
		h = do_open(1, 0);
		assert_int_equal(do_flush(h, 1), 0);
		file_close(h);
	}
}

/* The kernel tries again at once what failed after a long wait. */
static void test_read_late(void **state)
{
	struct file_handle *h = do_open(1, 0);
	struct timespec long_enough = { .tv_sec = 1, .tv_nsec = 200000000 };
	struct timespec later = { .tv_nsec = 500000000 };
	char data[2 * SLOT] = "data", out[2 * SLOT];
	struct call c = CALL_INIT;

	(void)state;
	assert_int_equal(do_write(h, 0, data, sizeof(data)), 0);
	assert_int_equal(do_flush(h, 0), 0);
	cache_drop(world.cache, 1);
	cache_drop(world.cache, 2);
	world_hold(T_FETCH, 1);
	world_set(&world.fail_fetch, 1);
	c.out = (uint8_t *)out;
	file_read(h, 0, SLOT, call_read, &c);
	nanosleep(&long_enough, NULL);
	world_hold(T_FETCH, 0);
	assert_int_equal(call_wait(&c, 1), -EIO);
	world_set(&world.fail_fetch, 0);
	assert_int_equal(do_read(h, 4, out, 8), -EIO);
	assert_int_equal(do_read(h, SLOT, out, 8), 8);	/* it did not fail */
	nanosleep(&later, NULL);
	assert_int_equal(do_read(h, 0, out, 4), 4);
	assert_memory_equal(out, "data", 4);
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
	assert_int_equal(world_get(&world.not_durable), 0);
	/* nothing new: the tracker's half alone */
	assert_int_equal(do_flush(h, 1), 0);
	assert_int_equal(world_get(&world.synced_commits), 2);
	assert_int_equal(world_get(&world.ran[T_SYNC]), 1);
	/* what only this fsync sealed was uploaded with sync */
	assert_int_equal(do_write(h, 0, "again", 5), 0);
	assert_int_equal(do_flush(h, 1), 0);
	assert_int_equal(world_get(&world.ran[T_SYNC]), 1);
	assert_int_equal(world_get(&world.not_durable), 0);
	file_close(h);
}

/* Small ranges that are sealed together are one chunk, as many as go in. */
static void test_parcels(void **state)
{
	enum { N = 60, LEN = 100, A_PARCEL = SLOT / LEN };
	struct file_handle *h = do_open(1, 0);
	char data[N][LEN];
	unsigned before;

	(void)state;
	/* the map is known, and is to follow */
	assert_int_equal(do_write(h, N * SLOT, "end", 3), 0);
	assert_int_equal(do_flush(h, 1), 0);
	check_content(1, N * SLOT, "end", 3);
	for (int i = 0; i < N; i++) {
		memset(data[i], 'a' + i % 26, LEN);
		assert_int_equal(do_write(h, i * SLOT + 7 * i, data[i], LEN),
				 0);
	}
	before = world_get(&world.ran[T_UPLOAD]);
	assert_int_equal(do_flush(h, 1), 0);
	assert_int_equal(world_get(&world.ran[T_UPLOAD]) - before,
			 (N + A_PARCEL - 1) / A_PARCEL);
	assert_int_equal(world_get(&world.not_durable), 0);
	for (int again = 0; again < 2; again++) {
		for (int i = 0; i < N; i++)
			check_content(1, i * SLOT + 7 * i, data[i], LEN);
		files_revoked(world.fs, (uint64_t[]){ 1 }, 1);
	}
	/* one large range between them goes by itself */
	before = world_get(&world.ran[T_UPLOAD]);
	assert_int_equal(do_write(h, 0, data[0], LEN), 0);
	assert_int_equal(do_write(h, SLOT, data, SLOT - 1), 0);
	assert_int_equal(do_write(h, 2 * SLOT, data[1], LEN), 0);
	assert_int_equal(do_flush(h, 0), 0);
	assert_in_range(world_get(&world.ran[T_UPLOAD]) - before, 2, 3);
	check_content(1, 0, data[0], LEN);
	check_content(1, SLOT, (char *)data, SLOT - 1);
	check_content(1, 2 * SLOT, data[1], LEN);
	file_close(h);
}

/* All that is in it is lost, and said once. */
static void test_parcel_fails(void **state)
{
	struct file_handle *h = do_open(1, 0);

	(void)state;
	world_set(&world.fail_upload, 1);
	for (int i = 0; i < 10; i++)
		assert_int_equal(do_write(h, i * SLOT, "lost", 4), 0);
	assert_int_equal(do_flush(h, 1), -ENOSPC);
	world_set(&world.fail_upload, 0);
	assert_int_equal(do_flush(h, 1), 0);
	assert_int_equal(do_write(h, 3 * SLOT, "kept", 4), 0);
	assert_int_equal(do_write(h, 4 * SLOT, "this", 4), 0);
	assert_int_equal(do_flush(h, 1), 0);
	check_content(1, 3 * SLOT, "kept", 4);
	check_content(1, 4 * SLOT, "this", 4);
	check_content(1, 2 * SLOT, "\0\0\0\0", 4);
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
	assert_int_equal(world_get(&world.not_durable), 0);
	file_close(h);
}

/* ---------------------------------------------- a lease that has ended */

/* Another mount gives the file new content. */
static void change(uint64_t ino)
{
	pthread_mutex_lock(&world.lock);
	world_file(ino)->attr.version++;
	pthread_mutex_unlock(&world.lock);
}

static void test_fenced(void **state)
{
	static const uint64_t later[] = { 0, 3 };	/* none now, another */
	struct file_handle *h = do_open(1, 0);

	(void)state;
	world_hold(T_UPLOAD, 1);
	for (size_t i = 0; i < 2; i++) {
		set_term(2);
		assert_int_equal(do_write(h, 0, "stale", 5), 0);
		set_term(later[i]);
		change(1);
		world_hold(T_UPLOAD, 0);
		assert_int_equal(do_flush(h, 0), -EIO);
		/* told once; what is written from now on counts */
		set_term(4);
		assert_int_equal(do_write(h, 0, "newer", 5), 0);
		assert_int_equal(do_flush(h, 0), 0);
		check_content(1, 0, "newer", 5);
		file_close(h);
		h = do_open(1, 0);
		world_hold(T_UPLOAD, 1);
	}
	world_hold(T_UPLOAD, 0);
	file_close(h);
}

/* The lease has ended, but nobody wrote; or it is for the end of the file;
 * or others wrote while the lease held. */
static void test_not_fenced(void **state)
{
	struct file_handle *h = do_open(1, 0), *log = do_open(2, 1);

	(void)state;
	assert_int_equal(do_write(h, 0, "one", 3), 0);
	set_term(0);
	assert_int_equal(do_flush(h, 0), 0);
	set_term(2);
	/* the first was committed without a lease; so the second again asks */
	assert_int_equal(do_write(h, 3, "two", 3), 0);
	assert_int_equal(do_flush(h, 0), 0);
	assert_int_equal(do_write(h, 6, "three", 5), 0);
	change(1);
	assert_int_equal(do_flush(h, 0), 0);
	file_close(h);
	assert_int_equal(do_write(log, 0, "line", 4), 0);
	set_term(3);
	change(2);
	assert_int_equal(do_flush(log, 0), 0);
	file_close(log);
	again(1 << 20, 50);
	check_content(1, 0, "onetwothree", 11);
	check_content(2, 0, "line", 4);
}

/* -------------------------------------------------------------------- end */

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_write_read), TEST(test_read_own), TEST(test_holes),
		TEST(test_flush_timer), TEST(test_few_commits),
		TEST(test_upload_error), TEST(test_commit_error),
		TEST(test_late_error), TEST(test_read_error),
		TEST(test_flush_interrupted), TEST(test_read_late),
		TEST(test_bound), TEST(test_bound_unsealed),
		TEST(test_fsync), TEST(test_parcels), TEST(test_parcel_fails),
		TEST(test_fsyncs_meet),
		TEST(test_fenced), TEST(test_not_fenced), TEST(test_drain),
	};

	log_init("unit_file", LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
