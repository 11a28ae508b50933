/*
 * unit_faults_store -- every allocation and every call to the disk that a
 * verb of the store makes fails once: nothing that was acknowledged is lost,
 * and the store goes on.
 */
#include "faults.h"
#include "store_do.h"

#define FULL_HALF 60		/* of the largest small chunks: more than one */

enum { NEW = 0x900, SMALL = 0x101, SYNCED, KEPT, CACHED, LARGE, LAST };

static struct store *s;
static uint8_t bytes[NOT_SMALL];
static uint64_t capacity;

static uint32_t len_of(uint64_t id)
{
	return id == LARGE || id == NEW + 1 ? NOT_SMALL : LEN;
}

static int put_one(uint64_t id, enum copy_kind kind, int sync)
{
	chunk_len = len_of(id);
	return put(s, id, kind, sync);
}

static int get_one(uint64_t id)
{
	chunk_len = len_of(id);
	return get(s, id);
}

static void empty_root(void)
{
	nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	assert_int_equal(mkdir(root, 0700), 0);
	gone_count = 0;
	gone_last = 0;
}

/* A store with a chunk of each sort. */
static void begin(void)
{
	empty_root();
	s = open_store(capacity);
	assert_int_equal(store_bind(s, SWARM), 0);
	assert_int_equal(put_one(SMALL, COPY_REPLICA, 0), 0);
	assert_int_equal(put_one(SYNCED, COPY_REPLICA, 1), 0);
	assert_int_equal(put_one(KEPT, COPY_REPLICA, 1), 0);
	assert_int_equal(put_one(CACHED, COPY_CACHED, 0), 0);
	assert_int_equal(put_one(LARGE, COPY_REPLICA, 0), 0);
}

/* All are whole but @but, of which the caller knows; a cached copy may have
 * gone for a disk without room, and that is told. */
static void all_whole(uint64_t but)
{
	for (uint64_t id = SMALL; id < LAST; id++) {
		int err = id == but ? 0 : get_one(id);

		if (err == -ENOENT && id == CACHED && gone_last == CACHED)
			continue;
		assert_int_equal(err, 0);
	}
}

/* It still works; and once more when it is opened again. */
static void still_works(uint64_t but)
{
	struct store_stat before, after;

	all_whole(but);
	assert_int_equal(put_one(0x777, COPY_REPLICA, 0), 0);
	assert_int_equal(get_one(0x777), 0);
	before = stat_of(s);
	store_close(s);
	s = open_store(capacity);
	after = stat_of(s);
	assert_true(after.used >= before.used);
	assert_int_equal(count_names(path_in("tmp")), 0);
	all_whole(but);
	assert_int_equal(get_one(0x777), 0);
	assert_int_equal(put_one(0x778, COPY_REPLICA, 1), 0);
	assert_int_equal(get_one(0x778), 0);
}

static void end(void)
{
	store_close(s);
	s = NULL;
}

/* ------------------------------------------------------------------ verbs */

struct put_case {
	uint64_t id;
	enum copy_kind kind;
	int sync;
};

static void put_round(void *arg)
{
	const struct put_case *c = arg;
	struct chunk_meta m = meta(c->id, len_of(c->id));
	int err;

	begin();
	payload(c->id, bytes, m.len);
	faults_on();
	err = store_put(s, &m, bytes, c->kind, c->sync);
	if (!faults_off())
		assert_int_equal(err, 0);
	assert_int_equal(get_one(c->id), err && c->id >= NEW ? -ENOENT : 0);
	still_works(0);
	if (!err)
		assert_int_equal(get_one(c->id), 0);
	end();
}

static void test_put(void **state)
{
	static const struct put_case cases[] = {
		{ NEW, COPY_REPLICA, 0 }, { NEW, COPY_REPLICA, 1 },
		{ NEW, COPY_CACHED, 0 }, { NEW + 1, COPY_REPLICA, 0 },
		{ NEW + 1, COPY_REPLICA, 1 },
		/* they are there */
		{ SMALL, COPY_REPLICA, 1 }, { CACHED, COPY_REPLICA, 1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		faults_each(FAULTS_FILE, put_round, (void *)&cases[i]);
}

/* No room but that of a cached copy. */
static void evict_round(void *arg)
{
	struct chunk_meta m = meta(NEW, LEN);
	int err;

	(void)arg;
	capacity = 5 * SIZE + NOT_SMALL + 3 * STORE_TRAILER;
	begin();
	payload(NEW, bytes, LEN);
	assert_int_equal(put_one(NEW + 2, COPY_CACHED, 0), 0);
	faults_on();
	err = store_put(s, &m, bytes, COPY_REPLICA, 0);
	if (!faults_off())
		assert_int_equal(err, 0);
	assert_int_equal(get_one(NEW), err ? -ENOENT : 0);
	assert_true(stat_of(s).used <= capacity);
	for (uint64_t id = SMALL; id < LAST; id++)
		if (id != CACHED)
			assert_int_equal(get_one(id), 0);
	end();
	s = open_store(capacity);
	for (uint64_t id = SMALL; id < LAST; id++)
		if (id != CACHED)
			assert_int_equal(get_one(id), 0);
	assert_int_equal(get_one(NEW), err ? -ENOENT : 0);
	end();
	capacity = PLENTY;
}

static void test_evict(void **state)
{
	(void)state;
	faults_each(FAULTS_FILE, evict_round, NULL);
}

static void get_round(void *arg)
{
	uint64_t id = *(uint64_t *)arg;
	struct chunk_meta m, want = meta(id, len_of(id));
	struct buf *b = NULL;
	int err;

	begin();
	payload(id, bytes, len_of(id));
	faults_on();
	err = store_get(s, id, &m, &b);
	if (!faults_off())
		assert_int_equal(err, 0);
	if (!err) {
		assert_int_equal(b->len, want.len);
		assert_memory_equal(b->data, bytes, want.len);
		assert_memory_equal(m.md5, want.md5, MD5_LEN);
	} else {
		/* none of these says that the chunk is bad */
		assert_int_not_equal(err, -EBADMSG);
		assert_int_not_equal(err, -ENOENT);
	}
	buf_unref(b);
	still_works(0);
	end();
}

static void read_round(void *arg)
{
	uint64_t id = *(uint64_t *)arg;
	uint8_t part[1000];
	int err;

	begin();
	payload(id, bytes, len_of(id));
	faults_on();
	err = store_read(s, id, 100, part, sizeof(part), 0);
	if (!faults_off())
		assert_int_equal(err, 0);
	if (!err)
		assert_memory_equal(part, bytes + 100, sizeof(part));
	still_works(0);
	end();
}

static void test_get(void **state)
{
	static uint64_t ids[] = { SMALL, CACHED, LARGE };

	(void)state;
	for (int i = 0; i < 3; i++) {
		faults_each(FAULTS_FILE, get_round, &ids[i]);
		faults_each(FAULTS_FILE, read_round, &ids[i]);
	}
}

static void sync_round(void *arg)
{
	static const uint64_t ids[] = { SMALL, LARGE, CACHED };
	int err;

	(void)arg;
	begin();
	faults_on();
	err = store_sync(s, ids, 3);
	if (!faults_off())
		assert_int_equal(err, 0);
	/* What could not be synced may be gone, but that is told. */
	if (gone_count)
		assert_int_not_equal(err, 0);
	else
		still_works(0);
	end();
}

static void test_sync(void **state)
{
	(void)state;
	faults_each(FAULTS_FILE, sync_round, NULL);
}

static void delete_round(void *arg)
{
	uint64_t id = *(uint64_t *)arg;
	int err;

	begin();
	faults_on();
	err = store_delete(s, id);
	if (!faults_off())
		assert_int_equal(err, 0);
	assert_int_equal(get_one(id), err ? 0 : -ENOENT);
	still_works(id);
	if (err)
		assert_int_equal(store_delete(s, id), 0);
	end();
}

static void kind_round(void *arg)
{
	uint64_t id = *(uint64_t *)arg;
	enum copy_kind was = id == CACHED ? COPY_CACHED : COPY_REPLICA;
	enum copy_kind to = was == COPY_CACHED ? COPY_REPLICA : COPY_CACHED;
	int err, faulty;

	begin();
	faults_on();
	err = store_set_kind(s, id, to);
	faulty = faults_off();
	if (!faulty)
		assert_int_equal(err, 0);
	assert_int_equal(store_has(s, id), err ? was : to);
	still_works(0);
	/* it is not durable: the journal may not have heard of it */
	if (!faulty)
		assert_int_equal(store_has(s, id), to);
	end();
}

static void quarantine_round(void *arg)
{
	uint64_t id = *(uint64_t *)arg;
	struct store_stat st;
	int err;

	begin();
	faults_on();
	err = store_quarantine(s, id, "the test says so");
	if (!faults_off())
		assert_int_equal(err, 0);
	/* never served again, and still counted */
	assert_int_equal(get_one(id), -ENOENT);
	st = stat_of(s);
	assert_int_equal(st.quarantined, 1);
	assert_int_equal(st.used, 4 * SIZE + NOT_SMALL + STORE_TRAILER);
	still_works(id);
	end();
}

static void test_change(void **state)
{
	static uint64_t ids[] = { SMALL, SYNCED, CACHED };

	(void)state;
	for (int i = 0; i < 3; i++) {
		faults_each(FAULTS_FILE, delete_round, &ids[i]);
		faults_each(FAULTS_FILE, kind_round, &ids[i]);
		faults_each(FAULTS_FILE, quarantine_round, &ids[i]);
	}
}

/* ---------------------------------------------------------------- opening */

static void open_once(int must)
{
	int err;

	s = NULL;
	why[0] = 0;
	faults_on();
	err = store_open(&s, root, capacity, &events, why, sizeof(why));
	if (!faults_off() || must)
		assert_int_equal(err, 0);
	if (err) {
		assert_null(s);
		assert_true(strlen(why) > 20);
	}
	store_close(s);
	s = open_store(capacity);
}

/* A directory of its own is made into a store. */
static void make_round(void *arg)
{
	(void)arg;
	empty_root();
	open_once(0);
	assert_int_equal(put_one(NEW, COPY_REPLICA, 1), 0);
	end();
	s = open_store(capacity);
	assert_int_equal(get_one(NEW), 0);
	end();
}

static void bind_round(void *arg)
{
	int err;

	(void)arg;
	empty_root();
	s = open_store(capacity);
	faults_on();
	err = store_bind(s, SWARM);
	if (!faults_off())
		assert_int_equal(err, 0);
	assert_true(store_swarm(s) == (err ? 0 : SWARM));
	assert_int_equal(store_bind(s, SWARM), 0);
	assert_int_equal(put_one(NEW, COPY_REPLICA, 1), 0);
	end();
	s = open_store(capacity);
	assert_true(store_swarm(s) == SWARM);
	assert_int_equal(get_one(NEW), 0);
	end();
}

/* After a power cut: what the journal has is made again; things to tidy. */
static void reopen_round(void *arg)
{
	(void)arg;
	begin();
	end();
	assert_int_equal(unlink(chunk_path(SYNCED, "chunk")), 0);
	assert_int_equal(truncate(chunk_path(KEPT, "chunk"), 17), 0);
	write_at(path_in("tmp/left"), 0, "half a chunk");
	write_at(path_in("chunks/01/strange"), 0, "no chunk");
	open_once(0);
	all_whole(0);
	assert_true(stat_of(s).quarantined >= 1);
	assert_int_equal(count_names(path_in("tmp")), 0);
	still_works(0);
	end();
}

static void test_open(void **state)
{
	(void)state;
	faults_each(FAULTS_FILE, make_round, NULL);
	faults_each(FAULTS_FILE, bind_round, NULL);
	faults_each(FAULTS_FILE, reopen_round, NULL);
}

/* Both halves of the journal are in use, and the newer one says otherwise of
 * some chunks than the older. */
static void two_halves(void)
{
	begin();
	assert_int_equal(put_one(NEW, COPY_CACHED, 1), 0);
	chunk_len = STORE_SMALL;
	for (uint64_t id = 0x2000; id < 0x2000 + FULL_HALF; id++)
		assert_int_equal(put(s, id, COPY_REPLICA, 1), 0);
	assert_int_equal(store_set_kind(s, NEW, COPY_REPLICA), 0);
	end();
}

static void halves_round(void *arg)
{
	(void)arg;
	two_halves();
	open_once(0);
	assert_int_equal(get_one(NEW), 0);
	assert_int_equal(store_has(s, NEW), COPY_REPLICA);
	still_works(0);
	end();
}

static void test_halves(void **state)
{
	(void)state;
	faults_each(FAULT_BIT(FAULT_SPACE), halves_round, NULL);
}

static int root_up(void **state)
{
	(void)state;
	snprintf(root, sizeof(root), "%s/unit_faults_store.XXXXXX",
		 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	capacity = PLENTY;
	return mkdtemp(root) ? 0 : -1;
}

static int root_down(void **state)
{
	faults_told(state);
	nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, root_up, root_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_put),	   TEST(test_evict), TEST(test_get),
		TEST(test_sync),   TEST(test_change), TEST(test_open),
		TEST(test_halves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
