/*
 * unit_store_journal -- small chunks that were synced survive a power cut.
 *
 * The cut is played by taking away from the directory what the disk might not
 * have got; and, as root, by a file system of our own that is shut down
 * without writing what it still has in memory.
 */
#include <pthread.h>
#include <sys/ioctl.h>

#include "store_do.h"

#define LIMIT_S 200
#define HALF (8 << 20)
#define RECORD (4096 + 512)	/* of a chunk of LEN */

static long size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) ? -1 : (long)st.st_size;
}

static struct store *reopen(struct store *s)
{
	store_close(s);
	return open_store(PLENTY);
}

static void lose(uint64_t id)
{
	assert_int_equal(unlink(chunk_path(id, "chunk")), 0);
}

static void test_one_wait(void **state)
{
	struct store *s = open_store(PLENTY);
	uint64_t ids[200];
	int dirs = dir_syncs;

	(void)state;
	assert_int_equal(put(s, 1, COPY_REPLICA, 1), 0);
	assert_int_equal(syncs, 1);
	assert_int_equal(store_sync(s, (uint64_t[]){ 1 }, 1), 0);
	assert_int_equal(syncs, 1);
	for (uint64_t i = 0; i < 200; i++) {
		ids[i] = 0x300 + i;
		put(s, ids[i], COPY_REPLICA, 0);
	}
	assert_int_equal(store_sync(s, ids, 200), 0);
	assert_true(syncs <= 1 + 200 / 64 + 1);
	assert_int_equal(dir_syncs, dirs);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(get(s, ids[i]), 0);
	store_close(s);
}

static void test_power_cut(void **state)
{
	struct store *s = open_store(PLENTY);

	(void)state;
	for (uint64_t id = 1; id <= 6; id++)
		assert_int_equal(put(s, id, COPY_REPLICA, id != 6), 0);
	store_sync(s, (uint64_t[]){ 6 }, 1);
	store_close(s);
	lose(1);
	assert_int_equal(truncate(chunk_path(2, "chunk"), 0), 0);
	assert_int_equal(truncate(chunk_path(3, "chunk"), 100), 0);
	write_at(chunk_path(4, "chunk"), 50, "other bytes");
	lose(6);
	for (int i = 0; i < 3; i++) {
		s = open_store(PLENTY);
		for (uint64_t id = 1; id <= 6; id++)
			assert_int_equal(get(s, id), 0);
		assert_int_equal(stat_of(s).chunks, 6);
		assert_int_equal(stat_of(s).used, 6 * SIZE);
		assert_int_equal(stat_of(s).quarantined, 0);
		store_close(s);
	}
	/* once it was brought to the disk, the journal is empty */
	assert_int_equal(size_of(path_in("journal.0")), 0);
}

/* Who did not wait has no promise; what is not whole is not made. */
static void test_torn_end(void **state)
{
	struct store *s = open_store(PLENTY);

	(void)state;
	for (uint64_t id = 1; id <= 4; id++)
		assert_int_equal(put(s, id, COPY_REPLICA, 1), 0);
	store_close(s);
	for (uint64_t id = 1; id <= 4; id++)
		lose(id);
	/* a byte of the second's payload, and the fourth cut short */
	write_at(path_in("journal.0"), RECORD + 512, "X");
	assert_int_equal(truncate(path_in("journal.0"), 3 * RECORD + 700), 0);
	s = open_store(PLENTY);
	assert_int_equal(get(s, 1), 0);
	assert_int_equal(get(s, 2), -ENOENT);
	assert_int_equal(get(s, 3), 0);
	assert_int_equal(get(s, 4), -ENOENT);
	store_close(s);
}

/* What was there before the half was begun anew is not of it. */
static void test_old_records(void **state)
{
	struct store *s = open_store(PLENTY);
	char old[2 * RECORD];
	int fd;

	(void)state;
	put(s, 1, COPY_REPLICA, 1);
	put(s, 2, COPY_REPLICA, 1);
	fd = open(path_in("journal.0"), O_RDWR);
	assert_int_equal(pread(fd, old, sizeof(old), 0), sizeof(old));
	s = reopen(s);
	store_delete(s, 1);
	store_delete(s, 2);
	put(s, 3, COPY_REPLICA, 1);
	store_close(s);
	/* as if the old second still lay behind the new first */
	assert_int_equal(pwrite(fd, old + RECORD, RECORD, RECORD), RECORD);
	close(fd);
	lose(3);
	s = open_store(PLENTY);
	assert_int_equal(get(s, 3), 0);
	assert_int_equal(store_has(s, 2), 0);
	store_close(s);
}

static void test_gone_stays_gone(void **state)
{
	struct store *s = open_store(5 * SIZE);

	(void)state;
	for (uint64_t id = 1; id <= 5; id++)
		assert_int_equal(put(s, id, COPY_REPLICA, 1), 0);
	assert_int_equal(store_delete(s, 1), 0);
	assert_int_equal(store_quarantine(s, 2, "for the test"), 0);
	assert_int_equal(store_set_kind(s, 3, COPY_CACHED), 0);
	assert_int_equal(store_set_kind(s, 4, COPY_CACHED), 0);
	assert_int_equal(store_sync(s, (uint64_t[]){ 4 }, 1), 0);
	assert_int_equal(put(s, 4, COPY_REPLICA, 1), 0);
	/* evicts 3 */
	assert_int_equal(put(s, 6, COPY_REPLICA, 1), 0);
	assert_int_equal(put(s, 7, COPY_REPLICA, 1), 0);
	store_close(s);
	lose(4);
	s = open_store(PLENTY);
	assert_int_equal(store_has(s, 1), 0);
	assert_int_equal(store_has(s, 2), 0);
	assert_int_equal(store_has(s, 3), 0);
	assert_int_equal(store_has(s, 4), COPY_REPLICA);
	for (uint64_t id = 4; id <= 7; id++)
		assert_int_equal(get(s, id), 0);
	assert_int_equal(stat_of(s).chunks, 4);
	assert_int_equal(stat_of(s).quarantined, 1);
	store_close(s);
}

static void test_deleted_and_put_again(void **state)
{
	struct store *s = open_store(PLENTY);

	(void)state;
	assert_int_equal(put(s, 1, COPY_REPLICA, 1), 0);
	assert_int_equal(store_delete(s, 1), 0);
	assert_int_equal(put(s, 1, COPY_REPLICA, 1), 0);
	store_close(s);
	lose(1);
	s = open_store(PLENTY);
	assert_int_equal(get(s, 1), 0);
	store_close(s);
}

/* -------------------------------------------------------------- its halves */

enum { MANY = 5 * HALF / 2 / RECORD };

static void wait_for(const atomic_int *v, int least)
{
	for (int i = 0; i < 10000 && *v < least; i++)
		usleep(1000);
	assert_true(*v >= least);
}

static void test_takes_turns(void **state)
{
	struct store *s = open_store(PLENTY);
	int dirs = dir_syncs;

	(void)state;
	for (uint64_t id = 1; id <= MANY; id++) {
		assert_int_equal(put(s, id, COPY_REPLICA, 1), 0);
		if (id % 1000 == 0)
			usleep(100000);
	}
	wait_for(&fs_syncs, 2);
	assert_true(dir_syncs - dirs < MANY / 10);
	assert_true(size_of(path_in("journal.0")) <= HALF);
	assert_true(size_of(path_in("journal.1")) <= HALF);
	/* of the half before: its record is older than that it was deleted */
	assert_int_equal(store_delete(s, 2000), 0);
	store_close(s);
	/* what is of the last half's generation is in the journal only */
	for (uint64_t id = MANY - 500; id <= MANY; id++)
		lose(id);
	s = open_store(PLENTY);
	for (uint64_t id = 1; id <= MANY; id++)
		assert_int_equal(get(s, id), id == 2000 ? -ENOENT : 0);
	store_close(s);
}

static void test_both_are_full(void **state)
{
	struct store *s = open_store(PLENTY);
	int before;

	(void)state;
	fs_sync_held = 1;
	for (uint64_t id = 1; id <= MANY; id++)
		assert_int_equal(put(s, id, COPY_REPLICA, 1), 0);
	/* one by one, then: each its directory, too */
	before = dir_syncs;
	assert_int_equal(put(s, MANY + 1, COPY_REPLICA, 1), 0);
	assert_true(dir_syncs > before);
	/* what is deleted now is told all the same */
	for (uint64_t id = 1; id <= 100; id++)
		assert_int_equal(store_delete(s, id), 0);
	fs_sync_held = 0;
	wait_for(&fs_syncs, 1);
	for (uint64_t id = MANY + 2; fs_syncs < 2 && id < 4 * MANY; id++)
		assert_int_equal(put(s, id, COPY_REPLICA, 1), 0);
	assert_true(fs_syncs >= 2);
	s = reopen(s);
	for (uint64_t id = 1; id <= 100; id++)
		assert_int_equal(store_has(s, id), 0);
	assert_int_equal(get(s, 101), 0);
	store_close(s);
}

static void *put_some(void *arg)
{
	struct store *s = arg;
	static atomic_uint next;
	uint64_t from = 1000 * (1 + atomic_fetch_add(&next, 1));

	for (uint64_t id = from; id < from + 300; id++)
		if (put(s, id, COPY_REPLICA, 1))
			return s;
	return NULL;
}

static void test_threads_share(void **state)
{
	struct store *s = open_store(PLENTY);
	pthread_t t[4];
	void *bad;

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, put_some, s), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &bad);
		assert_null(bad);
	}
	assert_true(syncs < 1200);
	store_close(s);
	for (uint64_t i = 1000; i < 5000; i += 1000)
		for (uint64_t id = i; id < i + 300; id++)
			lose(id);
	s = open_store(PLENTY);
	assert_int_equal(stat_of(s).chunks, 1200);
	store_close(s);
}

/* ---------------------------------------------------------------- failures */

static void test_flush_fails(void **state)
{
	struct store *s = open_store(PLENTY);
	int dirs;

	(void)state;
	assert_int_equal(put(s, 1, COPY_REPLICA, 1), 0);
	sync_fails = 1;
	assert_int_equal(put(s, 2, COPY_REPLICA, 1), -EIO);
	sync_fails = 0;
	/* each for itself, from now on */
	dirs = dir_syncs;
	assert_int_equal(put(s, 3, COPY_REPLICA, 1), 0);
	assert_true(dir_syncs > dirs);
	store_close(s);
	lose(1);
	s = open_store(PLENTY);
	assert_int_equal(get(s, 1), 0);
	assert_int_equal(get(s, 3), 0);
	dirs = dir_syncs;
	assert_int_equal(put(s, 4, COPY_REPLICA, 1), 0);
	assert_int_equal(dir_syncs, dirs);
	store_close(s);
}

static void test_emptying_fails(void **state)
{
	struct store *s = open_store(PLENTY);

	(void)state;
	fs_sync_fails = 1;
	for (uint64_t id = 1; id <= MANY; id++)
		assert_int_equal(put(s, id, COPY_REPLICA, 1), 0);
	assert_int_equal(fs_syncs, 1);
	store_close(s);
	lose(1);
	assert_int_equal(store_open(&s, root, PLENTY, NULL, why, sizeof(why)),
			 -EIO);
	assert_non_null(strstr(why, "cannot be used"));
	fs_sync_fails = 0;
	s = open_store(PLENTY);
	assert_int_equal(get(s, 1), 0);
	assert_int_equal(get(s, MANY), 0);
	store_close(s);
}

/* A disk that is full, but for a few chunks: there is no room to grow. */
static void test_no_room_for_it(void **state)
{
	struct store *s;
	uint64_t id = 1;

	(void)state;
	assert_int_equal(mkdir(path_in("disk"), 0700), 0);
	if (mount("none", path_in("disk"), "tmpfs", 0, "size=1M"))
		skip();
	s = open_at(path_in("disk"), PLENTY);
	while (!put(s, id, COPY_REPLICA, 1))
		id++;
	assert_int_equal(put(s, id, COPY_REPLICA, 1), -ENOSPC);
	for (uint64_t i = 1; i < id; i++)
		assert_int_equal(get(s, i), 0);
	store_close(s);
	s = open_at(path_in("disk"), PLENTY);
	assert_int_equal(stat_of(s).chunks, id - 1);
	store_close(s);
	umount(path_in("disk"));
}

/* ---------------------------------------------------------- a real power cut */

#define SHUTDOWN _IOR('X', 125, uint32_t)	/* of ext4 */
#define NO_LOG_FLUSH 2u

static int run(const char *what, const char *args)
{
	char cmd[512];

	snprintf(cmd, sizeof(cmd), "cd %s && %s %s 2>/dev/null", root, what,
		 args);
	return system(cmd);
}

static void test_file_system_goes_down(void **state)
{
	uint32_t how = NO_LOG_FLUSH;
	struct store *s;
	int fd;

	(void)state;
	if (geteuid() || run("truncate -s 64M", "image") ||
	    run("mkfs.ext4 -q", "image") || mkdir(path_in("disk"), 0700) ||
	    run("mount -o loop", "image disk"))
		skip();
	s = open_at(path_in("disk"), PLENTY);
	sync();
	for (uint64_t id = 1; id <= 300; id++)
		assert_int_equal(put(s, id, COPY_REPLICA, id <= 200), 0);
	fd = open(path_in("disk"), O_RDONLY);
	assert_int_equal(ioctl(fd, SHUTDOWN, &how), 0);
	close(fd);
	store_close(s);
	assert_int_equal(umount(path_in("disk")), 0);
	assert_int_equal(run("mount -o loop", "image disk"), 0);
	/* it was one: nothing but what was synced is left */
	assert_int_equal(access(path_in("disk/chunks/00/%016x.chunk", 300),
				F_OK), -1);
	s = open_at(path_in("disk"), PLENTY);
	for (uint64_t id = 1; id <= 200; id++)
		assert_int_equal(get(s, id), 0);
	store_close(s);
	assert_int_equal(umount(path_in("disk")), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_one_wait),	T(test_power_cut),
		T(test_torn_end),	T(test_old_records),
		T(test_gone_stays_gone), T(test_deleted_and_put_again),
		T(test_takes_turns),	T(test_both_are_full),
		T(test_threads_share),	T(test_flush_fails),
		T(test_emptying_fails),	T(test_no_room_for_it),
		T(test_file_system_goes_down),
	};

	alarm(LIMIT_S);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
