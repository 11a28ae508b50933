/* unit_store -- chunks on the disk: verbs, capacity, accidents, threads. */
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "counters.h"
#include "store_do.h"

#define LIMIT_S 200

/* -------------------------------------------------------------- verbs */

static void test_put_get_delete(void **state)
{
	struct store *s = open_store(PLENTY);
	struct chunk_meta bad;

	(void)state;
	assert_int_equal(get(s, 1), -ENOENT);
	assert_int_equal(put(s, 1, COPY_REPLICA, 0), 0);
	assert_int_equal(put(s, 0x12345, COPY_CACHED, 0), 0);
	assert_int_equal(get(s, 1), 0);
	assert_int_equal(get(s, 0x12345), 0);
	assert_int_equal(store_has(s, 1), COPY_REPLICA);
	assert_int_equal(store_has(s, 0x12345), COPY_CACHED);
	assert_int_equal(store_has(s, 2), 0);
	assert_int_equal(stat_of(s).chunks, 2);
	assert_int_equal(stat_of(s).used, 2 * SIZE);
	assert_int_equal(stat_of(s).cached_bytes, SIZE);
	assert_int_equal(access(chunk_path(0x12345, "cached"), F_OK), 0);

	assert_int_equal(put(s, 1, COPY_REPLICA, 0), 0);
	bad = meta(1, LEN);
	bad.md5[3]++;
	assert_int_equal(store_put(s, &bad, root, COPY_REPLICA, 0), -EBADMSG);
	assert_int_equal(get(s, 1), 0);
	bad = meta(0, LEN);
	assert_int_equal(store_put(s, &bad, root, COPY_REPLICA, 0), -EINVAL);
	bad = meta(9, STORE_CHUNK_MAX + 1);
	assert_int_equal(store_put(s, &bad, root, COPY_REPLICA, 0), -EINVAL);
	bad = meta(9, 0);
	assert_int_equal(store_put(s, &bad, root, COPY_REPLICA, 0), -EINVAL);

	assert_int_equal(store_delete(s, 1), 0);
	assert_int_equal(store_delete(s, 1), -ENOENT);
	assert_int_equal(get(s, 1), -ENOENT);
	assert_int_equal(access(chunk_path(1, "chunk"), F_OK), -1);
	assert_int_equal(stat_of(s).used, SIZE);
	assert_int_equal(count_names(path_in("tmp")), 0);
	assert_int_equal(gone_count, 0);
	store_close(s);
	store_close(NULL);
}

static void test_read_a_part(void **state)
{
	struct store *s = open_store(PLENTY);
	uint8_t data[LEN], part[LEN];

	(void)state;
	payload(7, data, LEN);
	assert_int_equal(store_read(s, 7, 0, part, 1, 0), -ENOENT);
	put(s, 7, COPY_CACHED, 0);
	for (int now = 0; now < 2; now++) {
		memset(part, 0, LEN);
		assert_int_equal(store_read(s, 7, 0, part, LEN, now), 0);
		assert_memory_equal(part, data, LEN);
		assert_int_equal(store_read(s, 7, 3, part, 5, now), 0);
		assert_memory_equal(part, data + 3, 5);
		/* the trailer is none of it */
		assert_int_equal(store_read(s, 7, 1, part, LEN, now), -EINVAL);
		assert_int_equal(store_read(s, 7, LEN + 1, part, 0, now),
				 -EINVAL);
	}
	assert_int_equal(truncate(chunk_path(7, "cached"), LEN / 2), 0);
	assert_int_equal(store_read(s, 7, LEN / 2 - 1, part, 2, 0), -EBADMSG);
	store_close(s);
}

/* Is the first page of chunk 5 in the kernel's memory? */
static int is_resident(void)
{
	unsigned char page = 0;
	int fd = open(chunk_path(5, "chunk"), O_RDONLY);
	void *at = mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	assert_int_equal(mincore(at, 1, &page), 0);
	munmap(at, 1);
	close(fd);
	return page & 1;
}

/* What is read once does not fill the kernel's memory, if the disk can read
 * past it; what is read twice does. */
static void test_get_twice(void **state)
{
	struct store *s = open_store(PLENTY);
	int cold;

	(void)state;
	chunk_len = NOT_SMALL + 5;	/* of no whole blocks */
	assert_int_equal(put(s, 5, COPY_REPLICA, 1), 0);
	store_cool(s, 5);
	cold = !is_resident();
	assert_int_equal(get(s, 5), 0);
	if (cold)		/* not so where memory is the disk */
		assert_int_equal(is_resident(), 0);
	assert_int_equal(get(s, 5), 0);
	assert_int_equal(is_resident(), 1);
	/* It is read as the last: it ends before it should. */
	assert_int_equal(put(s, 6, COPY_REPLICA, 1), 0);
	store_cool(s, 6);
	assert_int_equal(truncate(chunk_path(6, "chunk"), NOT_SMALL), 0);
	assert_int_equal(get(s, 6), -EBADMSG);
	store_close(s);
}

static void test_payload_is_plain(void **state)
{
	struct store *s = open_store(PLENTY);
	uint8_t data[LEN], file[SIZE + 1];
	int fd;

	(void)state;
	put(s, 7, COPY_REPLICA, 0);
	payload(7, data, LEN);
	fd = open(chunk_path(7, "chunk"), O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, file, sizeof(file)), SIZE);
	close(fd);
	assert_memory_equal(file, data, LEN);
	assert_memory_equal(file + LEN, "pspfsCHK", 8);
	store_close(s);
}

static void test_reopen(void **state)
{
	struct store *s = open_store(PLENTY);
	uint64_t peer = store_peer_id(s);

	(void)state;
	assert_true(peer != 0);
	assert_int_equal(store_swarm(s), 0);
	assert_int_equal(store_bind(s, SWARM), 0);
	for (uint64_t id = 1; id <= 600; id++)
		put(s, id, id % 3 ? COPY_REPLICA : COPY_CACHED, 0);
	store_close(s);
	write_at(path_in("tmp/left"), 0, "half a chunk");

	s = open_store(PLENTY);
	assert_int_equal(store_peer_id(s), peer);
	assert_int_equal(store_swarm(s), SWARM);
	assert_int_equal(stat_of(s).chunks, 600);
	assert_int_equal(stat_of(s).used, 600 * SIZE);
	assert_int_equal(stat_of(s).cached_bytes, 200 * SIZE);
	assert_int_equal(stat_of(s).quarantined, 0);
	assert_int_equal(count_names(path_in("tmp")), 0);
	for (uint64_t id = 1; id <= 600; id++) {
		assert_int_equal(get(s, id), 0);
		assert_int_equal(store_has(s, id),
				 id % 3 ? COPY_REPLICA : COPY_CACHED);
	}
	store_close(s);
}

static void test_set_kind(void **state)
{
	struct store *s = open_store(PLENTY);

	(void)state;
	assert_int_equal(store_set_kind(s, 1, COPY_CACHED), -ENOENT);
	put(s, 1, COPY_CACHED, 0);
	assert_int_equal(store_set_kind(s, 1, COPY_REPLICA), 0);
	assert_int_equal(store_set_kind(s, 1, COPY_REPLICA), 0);
	assert_int_equal(stat_of(s).cached_bytes, 0);
	assert_int_equal(get(s, 1), 0);
	store_close(s);
	s = open_store(PLENTY);
	assert_int_equal(store_has(s, 1), COPY_REPLICA);
	assert_int_equal(store_set_kind(s, 1, COPY_CACHED), 0);
	assert_int_equal(stat_of(s).cached_bytes, SIZE);
	/* A put as replica promotes; one as cached does not demote. */
	assert_int_equal(put(s, 1, COPY_REPLICA, 0), 0);
	assert_int_equal(store_has(s, 1), COPY_REPLICA);
	assert_int_equal(put(s, 1, COPY_CACHED, 0), 0);
	assert_int_equal(store_has(s, 1), COPY_REPLICA);
	assert_int_equal(stat_of(s).chunks, 1);
	store_close(s);
}

static void list_all(struct store *s, uint8_t *seen, size_t n, size_t max,
		     void (*between)(struct store *))
{
	struct m_held held[64];
	uint64_t cursor = 0;
	size_t k;

	while ((k = store_list(s, &cursor, held, max))) {
		assert_true(k <= max);
		for (size_t i = 0; i < k; i++) {
			assert_int_equal(held[i].kind, COPY_REPLICA);
			if (held[i].id < n)
				seen[held[i].id]++;
		}
		if (between)
			between(s);
	}
}

static void add_some(struct store *s)
{
	static uint64_t next = 10000;

	for (int i = 0; i < 100 && next < 13000; i++)
		put(s, next++, COPY_REPLICA, 0);
}

static void test_list(void **state)
{
	struct store *s = open_store(PLENTY);
	uint8_t seen[501] = { 0 };

	(void)state;
	list_all(s, seen, 501, 64, NULL);
	for (uint64_t id = 1; id <= 500; id++)
		put(s, id, COPY_REPLICA, 0);
	list_all(s, seen, 501, 64, NULL);
	list_all(s, seen, 501, 1, NULL);
	list_all(s, seen, 501, 3, NULL);
	assert_int_equal(seen[0], 0);
	for (int id = 1; id <= 500; id++)
		assert_int_equal(seen[id], 3);
	/* The table doubles several times meanwhile. */
	list_all(s, seen, 501, 64, add_some);
	for (int id = 1; id <= 500; id++)
		assert_true(seen[id] >= 4);
	store_close(s);
}

/* ----------------------------------------------------------- capacity */

static void test_evicts_least_used(void **state)
{
	struct store *s = open_store(4 * SIZE);
	uint64_t evicted = counter_get(CNT_EVICTED);

	(void)state;
	put(s, 1, COPY_REPLICA, 0);
	put(s, 2, COPY_CACHED, 0);
	put(s, 3, COPY_CACHED, 0);
	put(s, 4, COPY_CACHED, 0);
	assert_int_equal(get(s, 2), 0);
	assert_int_equal(put(s, 5, COPY_REPLICA, 0), 0);
	assert_int_equal(store_has(s, 3), 0);
	assert_int_equal(gone_last, 3);
	assert_int_equal(put(s, 6, COPY_CACHED, 0), 0);
	assert_int_equal(store_has(s, 4), 0);
	assert_int_equal(store_has(s, 2), COPY_CACHED);
	assert_int_equal(access(chunk_path(4, "cached"), F_OK), -1);
	assert_int_equal(gone_count, 2);
	assert_int_equal(counter_get(CNT_EVICTED), evicted + 2);
	assert_int_equal(stat_of(s).used, 4 * SIZE);
	assert_int_equal(get(s, 6), 0);
	store_close(s);
}

static void test_full(void **state)
{
	struct store *s = open_store(3 * SIZE + 1);
	struct chunk_meta big = meta(9, 3 * SIZE);
	uint8_t *data = calloc(1, big.len);

	(void)state;
	assert_non_null(data);
	assert_int_equal(store_put(s, &big, data, COPY_CACHED, 0), -ENOSPC);
	put(s, 1, COPY_REPLICA, 0);
	put(s, 2, COPY_REPLICA, 0);
	put(s, 3, COPY_CACHED, 0);
	/* What cannot fit evicts nothing. */
	big.len = LEN + 2;
	assert_int_equal(store_put(s, &big, data, COPY_CACHED, 0), -ENOSPC);
	assert_int_equal(store_has(s, 3), COPY_CACHED);
	assert_int_equal(put(s, 4, COPY_REPLICA, 0), 0);
	assert_int_equal(put(s, 5, COPY_CACHED, 0), -ENOSPC);
	assert_int_equal(put(s, 1, COPY_REPLICA, 0), 0);
	assert_int_equal(stat_of(s).chunks, 3);
	assert_int_equal(stat_of(s).used, 3 * SIZE);
	store_delete(s, 1);
	assert_int_equal(put(s, 5, COPY_CACHED, 0), 0);
	store_close(s);

	/* Opened with less than it holds: it serves, and takes nothing. */
	s = open_store(SIZE);
	assert_int_equal(get(s, 2), 0);
	assert_int_equal(put(s, 6, COPY_REPLICA, 0), -ENOSPC);
	store_close(s);
	free(data);
}

static void test_default_capacity(void **state)
{
	struct store *s = open_store(0);

	(void)state;
	assert_true(stat_of(s).capacity > SIZE);
	store_close(s);
}

/* The disk is smaller than the capacity. */
static void test_disk_full(void **state)
{
	enum { BIG = 256 << 10, DISK = 4 << 20 };
	uint8_t *data = calloc(1, BIG);
	struct chunk_meta m;
	struct store *s;
	uint64_t id;
	char mnt[96];
	int err = 0;

	(void)state;
	snprintf(mnt, sizeof(mnt), "%s/disk", root);
	assert_int_equal(mkdir(mnt, 0700), 0);
	if (mount("tmpfs", mnt, "tmpfs", 0, "size=4m")) {
		print_message("no right to mount a tmpfs: skipped\n");
		free(data);
		skip();
	}
	s = open_at(mnt, PLENTY);
	for (id = 1; id <= 2 * DISK / BIG && !err; id++) {
		m = meta(id, BIG);
		err = store_put(s, &m, data, COPY_CACHED, 0);
	}
	assert_int_equal(err, 0);
	assert_true(gone_count > 0);
	for (; id <= 100 && !err; id++) {
		m = meta(id, BIG);
		err = store_put(s, &m, data, COPY_REPLICA, 1);
	}
	assert_int_equal(err, -ENOSPC);
	assert_int_equal(stat_of(s).cached_bytes, 0);
	assert_int_equal(stat_of(s).used,
			 stat_of(s).chunks * (BIG + STORE_TRAILER));
	assert_true(stat_of(s).chunks >= DISK / BIG - 2);
	strcat(mnt, "/tmp");
	assert_int_equal(count_names(mnt), 0);
	*strrchr(mnt, '/') = 0;
	store_close(s);
	assert_int_equal(umount(mnt), 0);
	free(data);
}

/* ---------------------------------------------------------- accidents */

static void test_corrupt_trailer(void **state)
{
	struct store *s = open_store(PLENTY);
	uint64_t before = counter_get(CNT_QUARANTINED);

	(void)state;
	/* magic, version, chunk, length, MD5, crc */
	static const int at[] = { 0, 11, 31, 55, 56, 75 };
	for (size_t i = 0; i < sizeof(at) / sizeof(*at); i++) {
		put(s, i + 1, COPY_REPLICA, 0);
		write_at(chunk_path(i + 1, "chunk"), LEN + at[i], "\x7f");
		assert_int_equal(get(s, i + 1), -EBADMSG);
	}
	assert_int_equal(store_quarantine(s, 1, "for the test"), 0);
	assert_int_equal(gone_last, 1);
	assert_int_equal(counter_get(CNT_QUARANTINED), before + 1);
	assert_int_equal(get(s, 1), -ENOENT);
	assert_int_equal(put(s, 1, COPY_REPLICA, 0), 0);
	assert_int_equal(get(s, 1), 0);
	/* A put over a bad copy replaces it. */
	assert_int_equal(put(s, 2, COPY_REPLICA, 0), 0);
	assert_int_equal(get(s, 2), 0);
	assert_int_equal(stat_of(s).quarantined, 2);
	assert_int_equal(count_names(path_in("quarantine")), 2);
	store_close(s);
}

static void test_corrupt_payload(void **state)
{
	struct store *s = open_store(PLENTY);
	struct chunk_meta m, want = meta(1, LEN);
	struct buf *b;

	(void)state;
	put(s, 1, COPY_REPLICA, 0);
	write_at(chunk_path(1, "chunk"), 100, "corrupt");
	/* The MD5 is the caller's to compare. */
	assert_int_equal(store_get(s, 1, &m, &b), 0);
	assert_memory_equal(m.md5, want.md5, MD5_LEN);
	assert_memory_equal(b->data + 100, "corrupt", 7);
	buf_unref(b);
	store_close(s);
}

static void test_file_changed(void **state)
{
	struct store *s = open_store(PLENTY);

	(void)state;
	for (uint64_t id = 1; id <= 4; id++)
		put(s, id, COPY_CACHED, 0);
	assert_int_equal(truncate(chunk_path(1, "cached"), LEN), 0);
	assert_int_equal(get(s, 1), -EBADMSG);
	assert_int_equal(truncate(chunk_path(2, "cached"), 0), 0);
	assert_int_equal(get(s, 2), -EBADMSG);
	/* Removed behind our back. */
	assert_int_equal(unlink(chunk_path(3, "cached")), 0);
	assert_int_equal(get(s, 3), -ENOENT);
	assert_int_equal(store_has(s, 3), 0);
	assert_int_equal(gone_last, 3);
	assert_int_equal(unlink(chunk_path(4, "cached")), 0);
	assert_int_equal(put(s, 4, COPY_REPLICA, 0), 0);
	assert_int_equal(get(s, 4), 0);
	assert_int_equal(stat_of(s).used, 3 * SIZE);
	store_close(s);
}

/* One chunk's file under another's name, or from another swarm. */
static void test_misplaced(void **state)
{
	struct store *s = open_store(PLENTY);
	char from[256];

	(void)state;
	store_bind(s, SWARM);
	put(s, 1, COPY_REPLICA, 0);
	put(s, 2, COPY_REPLICA, 0);
	strcpy(from, chunk_path(1, "chunk"));
	assert_int_equal(rename(from, chunk_path(2, "chunk")), 0);
	assert_int_equal(get(s, 2), -EBADMSG);
	put(s, 3, COPY_REPLICA, 0);
	store_close(s);
	write_at(path_in("swarm"), 0,
		 "pspfs store 1\nswarm 00000000000000ff");
	s = open_store(PLENTY);
	assert_int_equal(get(s, 3), -EBADMSG);
	store_close(s);
}

static void test_odd_files(void **state)
{
	struct store *s = open_store(PLENTY);

	(void)state;
	for (uint64_t id = 1; id <= 5; id++)
		put(s, id, COPY_REPLICA, 0);
	put(s, 0x101, COPY_REPLICA, 0);
	store_close(s);
	assert_int_equal(truncate(chunk_path(1, "chunk"), STORE_TRAILER), 0);
	assert_int_equal(truncate(chunk_path(2, "chunk"),
				  STORE_CHUNK_MAX + STORE_TRAILER + 1), 0);
	write_at(path_in("chunks/00/README"), 0, "hello");
	write_at(path_in("chunks/00/00000000000000AA.chunk"), 0, "upper");
	write_at(path_in("chunks/00/0000000000000101.chunk"), 200, "where");
	write_at(path_in("chunks/00/0000000000000003.cached"), 200, "twice");
	write_at(path_in("chunks/file"), 0, "file");
	assert_int_equal(mkdir(path_in("chunks/zz"), 0700), 0);
	s = open_store(PLENTY);
	assert_int_equal(stat_of(s).quarantined, 8);
	assert_int_equal(stat_of(s).chunks, 4);
	assert_int_equal(count_names(path_in("quarantine")), 8);
	assert_int_equal(get(s, 4), 0);
	assert_int_equal(get(s, 0x101), 0);
	assert_true(stat_of(s).used > STORE_CHUNK_MAX);
	store_close(s);
	s = open_store(PLENTY);
	assert_int_equal(stat_of(s).quarantined, 8);
	assert_true(stat_of(s).used > STORE_CHUNK_MAX);
	store_close(s);
}

/* ------------------------------- durability: of chunks that are not small */

static void test_sync_flags(void **state)
{
	struct store *s = open_store(PLENTY);
	uint64_t ids[] = { 1, 2, 3, 77 };
	int dirs;

	(void)state;
	chunk_len = NOT_SMALL;
	assert_int_equal(put(s, 1, COPY_REPLICA, 0), 0);
	assert_int_equal(syncs, 0);
	dirs = dir_syncs;
	assert_int_equal(put(s, 2, COPY_REPLICA, 1), 0);
	assert_int_equal(syncs, 1);
	assert_int_equal(dir_syncs, dirs + 2);	/* 00 and chunks */
	assert_int_equal(put(s, 3, COPY_REPLICA, 1), 0);
	assert_int_equal(syncs, 2);
	assert_int_equal(dir_syncs, dirs + 3);
	/* Of these only 1 needs it, and only once. */
	assert_int_equal(store_sync(s, ids, 4), 0);
	assert_int_equal(syncs, 3);
	assert_int_equal(dir_syncs, dirs + 4);
	assert_int_equal(store_sync(s, ids, 4), 0);
	assert_int_equal(syncs, 3);
	assert_int_equal(dir_syncs, dirs + 4);
	/* A put of what is there makes it durable, too. */
	put(s, 4, COPY_REPLICA, 0);
	assert_int_equal(put(s, 4, COPY_REPLICA, 1), 0);
	assert_int_equal(syncs, 4);
	/* A new name is to be synced again. */
	store_set_kind(s, 1, COPY_CACHED);
	assert_int_equal(store_sync(s, ids, 1), 0);
	assert_int_equal(syncs, 5);
	store_close(s);
	/* Nobody knows what the last process left in the page cache. */
	s = open_store(PLENTY);
	assert_int_equal(store_sync(s, ids, 4), 0);
	assert_int_equal(syncs, 8);
	store_close(s);
}

static void test_sync_many_share(void **state)
{
	struct store *s = open_store(PLENTY);
	uint64_t ids[200];
	int dirs;

	(void)state;
	chunk_len = NOT_SMALL;
	for (int i = 0; i < 200; i++) {
		ids[i] = 0x300 + (uint64_t)i;
		put(s, ids[i], COPY_REPLICA, 0);
	}
	dirs = dir_syncs;
	assert_int_equal(store_sync(s, ids, 200), 0);
	assert_int_equal(syncs, 200);
	assert_true(dir_syncs - dirs <= 200 / 64 + 2);
	store_close(s);
}

static void test_sync_fails(void **state)
{
	struct store *s = open_store(PLENTY);
	uint64_t ids[] = { 1 };

	(void)state;
	chunk_len = NOT_SMALL;
	put(s, 1, COPY_REPLICA, 0);
	sync_fails = 1;
	/* Its bytes may be lost: it goes, and does not come back. */
	assert_int_equal(store_sync(s, ids, 1), -EIO);
	assert_int_equal(store_has(s, 1), 0);
	assert_int_equal(gone_last, 1);
	assert_int_equal(put(s, 2, COPY_REPLICA, 1), -EIO);
	assert_int_equal(store_has(s, 2), 0);
	sync_fails = 0;
	assert_int_equal(store_sync(s, ids, 1), 0);
	assert_int_equal(put(s, 2, COPY_REPLICA, 1), 0);
	dir_sync_fails = 1;
	assert_int_equal(put(s, 3, COPY_REPLICA, 1), -EIO);
	assert_int_equal(store_has(s, 3), 0);
	dir_sync_fails = 0;
	assert_int_equal(put(s, 3, COPY_REPLICA, 1), -EIO);
	assert_int_equal(put(s, 0x103, COPY_REPLICA, 1), 0);
	assert_int_equal(stat_of(s).used, 2 * (NOT_SMALL + STORE_TRAILER));
	assert_int_equal(count_names(path_in("tmp")), 0);
	store_close(s);
}

/* ------------------------------------------------------------ opening */

static void refused(const char *dir, int err, const char *sentence)
{
	struct store *s;

	why[0] = 0;
	assert_int_equal(store_open(&s, dir, PLENTY, NULL, why, sizeof(why)),
			 err);
	if (!strstr(why, sentence))
		fail_msg("\"%s\" lacks \"%s\"", why, sentence);
	assert_non_null(strstr(why, dir));
}

static void test_makes_directories(void **state)
{
	char dir[128];

	(void)state;
	snprintf(dir, sizeof(dir), "%s/a/b/store", root);
	store_close(open_at(dir, PLENTY));
	store_close(open_at(dir, PLENTY));
}

static void test_busy(void **state)
{
	struct store *s = open_store(PLENTY);

	(void)state;
	refused(root, -EBUSY, "in use by another process");
	store_close(s);
	store_close(open_store(PLENTY));
}

static void test_foreign(void **state)
{
	char file[256];

	(void)state;
	write_at(path_in("thesis.txt"), 0, "do not touch");
	refused(root, -EINVAL, "is not empty and not a pspfs store");
	assert_int_equal(count_names(root), 1);
	strcpy(file, path_in("thesis.txt"));
	refused(file, -ENOTDIR, "is not a directory");
	unlink(file);
	write_at(path_in("lock"), 0, "x");	/* an interrupted creation */
	store_close(open_store(PLENTY));
	write_at(path_in("swarm"), 0, "pspfs store 2");
	refused(root, -EINVAL, "newer version");
}

static void test_no_permission(void **state)
{
	char dir[128];
	pid_t pid;
	int status;

	(void)state;
	snprintf(dir, sizeof(dir), "%s/closed", root);
	assert_int_equal(mkdir(dir, 0500), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct store *s;

		if (!getuid() && (chmod(root, 0755) || setuid(65534)))
			_exit(2);
		_exit(store_open(&s, dir, PLENTY, NULL, why, sizeof(why)) !=
			      -EACCES || !strstr(why, "no permission"));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_bind(void **state)
{
	struct store *s = open_store(PLENTY);

	(void)state;
	assert_int_equal(store_bind(s, 0), -EINVAL);
	assert_int_equal(store_bind(s, SWARM), 0);
	assert_int_equal(store_bind(s, SWARM), 0);
	assert_int_equal(store_bind(s, SWARM + 1), -EXDEV);
	assert_int_equal(store_swarm(s), SWARM);
	store_close(s);
	s = open_store(PLENTY);
	assert_int_equal(store_bind(s, SWARM + 1), -EXDEV);
	assert_int_equal(store_bind(s, SWARM), 0);
	store_close(s);
}

static void test_trailer(void **state)
{
	static const uint8_t crc[] = { 0x03, 0xf5, 0x8f, 0x10 };
	struct chunk_meta m = meta(42, 1000), back = { 0 };
	uint8_t t[STORE_TRAILER];
	enum copy_kind kind;
	uint64_t swarm;

	(void)state;
	memset(m.md5, 42, MD5_LEN);
	store_trailer_write(t, SWARM, COPY_CACHED, &m);
	assert_int_equal(store_trailer_read(t, &swarm, &kind, &back), 0);
	assert_int_equal(swarm, SWARM);
	assert_int_equal(kind, COPY_CACHED);
	assert_memory_equal(&m, &back, sizeof(m));
	/* As zlib.crc32() of Python has it. */
	assert_memory_equal(t + 72, crc, sizeof(crc));
	for (int bit = 0; bit < 76 * 8; bit++) {
		t[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(store_trailer_read(t, &swarm, &kind, &back),
				 -EBADMSG);
		t[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (int i = 76; i < STORE_TRAILER; i++)
		assert_int_equal(t[i], 0);
}

/* ------------------------------------------------------------ threads */

#define THREADS 8
#define STEPS 400
#define IDS 48

struct hammer {
	struct store *s;
	unsigned seed;
	int bad;
};

static void step(struct hammer *h)
{
	uint64_t id = 1 + (unsigned)rand_r(&h->seed) % IDS * 37;
	int err;

	switch (rand_r(&h->seed) % 8) {
	case 0:
	case 1:
		err = put(h->s, id, COPY_CACHED, 0);
		break;
	case 2:
		err = put(h->s, id, COPY_REPLICA, 1);
		break;
	case 3:
		err = store_delete(h->s, id);
		break;
	case 4:
		err = store_set_kind(h->s, id, rand_r(&h->seed) % 4 ?
				     COPY_CACHED : COPY_REPLICA);
		break;
	case 5:
		err = store_sync(h->s, &id, 1);
		break;
	case 6:
		err = rand_r(&h->seed) % 20 ? 0 :
			store_quarantine(h->s, id, "for the test");
		break;
	default:
		err = get(h->s, id);
	}
	if (err && err != -ENOENT && err != -ENOSPC)
		h->bad = err;
}

static void *hammer(void *arg)
{
	struct hammer *h = arg;

	for (int i = 0; i < STEPS && !h->bad; i++)
		step(h);
	return NULL;
}

static void test_threads(void **state)
{
	struct store *s = open_store(30 * SIZE);
	struct hammer h[THREADS];
	pthread_t t[THREADS];
	struct store_stat st;
	uint64_t used;

	(void)state;
	for (int i = 0; i < THREADS; i++) {
		h[i] = (struct hammer){ s, (unsigned)i + 1, 0 };
		assert_int_equal(pthread_create(&t[i], NULL, hammer, &h[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(t[i], NULL);
		assert_int_equal(h[i].bad, 0);
	}
	/* The index agrees with the disk. */
	st = stat_of(s);
	used = (st.chunks + st.quarantined) * SIZE;
	assert_int_equal(st.used, used);
	assert_true(st.used <= st.capacity);
	assert_int_equal(count_names(path_in("tmp")), 0);
	store_close(s);
	s = open_store(30 * SIZE);
	assert_int_equal(stat_of(s).used, used);
	assert_int_equal(stat_of(s).chunks, st.chunks);
	assert_int_equal(stat_of(s).quarantined, st.quarantined);
	assert_int_equal(stat_of(s).cached_bytes, st.cached_bytes);
	store_close(s);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_put_get_delete), T(test_read_a_part),
		T(test_get_twice),
		T(test_payload_is_plain),
		T(test_reopen),		T(test_set_kind),
		T(test_list),		T(test_evicts_least_used),
		T(test_full),		T(test_default_capacity),
		T(test_disk_full),	T(test_corrupt_trailer),
		T(test_corrupt_payload), T(test_file_changed),
		T(test_misplaced),	T(test_odd_files),
		T(test_sync_flags),	T(test_sync_many_share),
		T(test_sync_fails),	T(test_makes_directories),
		T(test_busy),		T(test_foreign),
		T(test_no_permission),	T(test_bind),
		T(test_trailer),	T(test_threads),
	};

	alarm(LIMIT_S);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
