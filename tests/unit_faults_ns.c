/*
 * unit_faults_ns -- every allocation, SQLite's too, and every call to the
 * disk that an operation of the namespace makes fails once: it is done or it
 * is not, the batch goes on or is rolled back, and what was committed is
 * there when the database is opened again.
 */
#include "db_internal.h"
#include "faults_sqlite.h"
#define FIX_IDS 1000
#include "ns_fixture.h"

enum { DIR_INO = 2, FILE_INO, OTHER_INO };

#define FAULTS (FAULTS_FILE | FAULT_BIT(FAULT_LIBRARY))

static struct fix f;
static int others;	/* have changed something in the batch before */

/* ------------------------------------------------------------- the state */

/* All rows of all tables, as a number. */
static uint64_t state_of(struct db *db)
{
	static const char *const tables[] = {
		"SELECT * FROM meta ORDER BY 1",
		"SELECT * FROM inodes ORDER BY 1",
		"SELECT * FROM dentries ORDER BY 1, 2",
		"SELECT * FROM symlinks ORDER BY 1",
		"SELECT * FROM xattrs ORDER BY 1, 2",
		"SELECT * FROM orphans ORDER BY 1",
		"SELECT * FROM slots ORDER BY 1, 2",
		"SELECT * FROM chunks ORDER BY 1",
		"SELECT * FROM garbage ORDER BY 1",
		"SELECT * FROM digests ORDER BY 1",
	};
	uint64_t h = 14695981039346656037u;

	for (size_t t = 0; t < sizeof(tables) / sizeof(*tables); t++) {
		struct db_stmt *s = db_prep(db, tables[t]);

		while (db_step(s) == 1)
			for (int c = 0; c < sqlite3_column_count(s->st); c++) {
				size_t n;
				const uint8_t *p = db_blob(s, c, &n);

				for (size_t i = 0; i < n; i++)
					h = (h ^ p[i]) * 1099511628211u;
				h = (h ^ 0x100) * 1099511628211u;
			}
		h = (h ^ 0x200) * 1099511628211u;
	}
	return h;
}

/* Also when there is no cleaner end. */
static void wipe(void)
{
	char path[128];

	unlink(f.path);
	snprintf(path, sizeof(path), "%s-wal", f.path);
	unlink(path);
	snprintf(path, sizeof(path), "%s-journal", f.path);
	unlink(path);
}

/* A directory, a file of two chunks with an xattr, another with garbage. */
static void begin(void)
{
	struct m_push p[2];
	struct m_setxattr x = { .ino = FILE_INO, .name = STR_LIT("user.a"),
				.value = STR_LIT("value") };
	struct m_attr out;

	wipe();
	f.tick = 0;
	fix_open(&f);
	assert_int_equal(ns_reserve_ids(f.ns, FIX_IDS, &f.next_id), 0);
	assert_int_equal(fix_dir(&f, NS_ROOT, "dir"), DIR_INO);
	assert_int_equal(fix_file(&f, DIR_INO, "file"), FILE_INO);
	assert_int_equal(fix_file(&f, DIR_INO, "other"), OTHER_INO);
	p[0] = fix_push(&f, 0, 0, 64);
	p[1] = fix_push(&f, 1, 0, 30);
	assert_int_equal(fix_commit(&f, FILE_INO, p, 2, NULL), 0);
	p[0] = fix_push(&f, 0, 0, 10);
	assert_int_equal(fix_commit(&f, OTHER_INO, p, 1, NULL), 0);
	assert_int_equal(fix_truncate(&f, OTHER_INO, 0), 0);
	assert_int_equal(ns_setxattr(f.ns, &x, fix_now(&f), &out, fix_t(&f)),
			 0);
	assert_int_equal(db_commit(f.db, 1), 0);
}

/* --------------------------------------------------------- the operations */

static int op_create(void)
{
	int64_t ino = fix_mknod(&f, DIR_INO, "new", S_IFREG | 0644);

	return ino < 0 ? (int)ino : 0;
}

static int op_mkdir(void)
{
	int64_t ino = fix_mknod(&f, DIR_INO, "sub", S_IFDIR | 0755);

	return ino < 0 ? (int)ino : 0;
}

static int op_symlink(void)
{
	int64_t ino = fix_mknod(&f, DIR_INO, "link", S_IFLNK | 0777);

	return ino < 0 ? (int)ino : 0;
}

static int op_commit(void)
{
	struct m_push p[] = { fix_push(&f, 0, 10, 20), fix_push(&f, 2, 0, 64) };

	return fix_commit(&f, FILE_INO, p, 2, NULL);
}

static int op_rename(void)
{
	return fix_rename(&f, DIR_INO, "file", NS_ROOT, "moved", 0, NULL);
}

static int op_replace(void)
{
	return fix_rename(&f, DIR_INO, "other", DIR_INO, "file", 0, NULL);
}

static int op_unlink(void)
{
	return fix_unlink(&f, DIR_INO, "file", 0);
}

static int op_link(void)
{
	return fix_link(&f, FILE_INO, NS_ROOT, "second");
}

static int op_truncate(void)
{
	return fix_truncate(&f, FILE_INO, 70);
}

static int op_xattr(void)
{
	struct m_setxattr m = { .ino = FILE_INO, .name = STR_LIT("user.b"),
				.value = STR_LIT("more") };
	struct m_attr out;

	return ns_setxattr(f.ns, &m, fix_now(&f), &out, fix_t(&f));
}

static int op_clone(void)
{
	struct m_clone m = { .ino = OTHER_INO, .from = FILE_INO, .len = 94 };
	struct m_clone_r out;

	return ns_clone(f.ns, &f.a, &m, fix_now(&f), &out, fix_t(&f));
}

static int op_punch(void)
{
	struct m_allocate m = { .ino = FILE_INO, .off = 10, .len = 60,
				.mode = ALLOCATE_PUNCH |
					ALLOCATE_KEEP_SIZE };
	struct m_allocate_r out;

	return ns_allocate(f.ns, &m, fix_now(&f), &out, fix_t(&f));
}

static int op_ids(void)
{
	uint64_t first;

	return ns_reserve_ids(f.ns, 1000, &first);
}

static int op_drop(void)
{
	struct ns_now late = { 2000000, 0 };
	uint64_t ids[8];
	int n = ns_garbage_due(f.ns, late, (struct ns_now){ INT64_MAX, 0 }, ids, 8);

	return n <= 0 ? n : ns_garbage_drop(f.ns, ids, n);
}

static int op_read(void)
{
	struct m_readdir_r dir;
	struct m_getmap_r map;
	struct m_attr attr;
	struct str value;
	int err;

	err = ns_lookup(f.ns, DIR_INO, fix_str("file"), &attr);
	if (!err)
		err = ns_readdir(f.ns, &f.a, DIR_INO, 0, 100, &dir);
	if (!err)
		err = ns_getmap(f.ns, &f.a, FILE_INO, 0, 8, &map);
	if (!err)
		err = ns_getxattr(f.ns, &f.a, FILE_INO, STR_LIT("user.a"),
				  &value);
	if (err)
		return err;
	assert_int_equal(attr.ino, FILE_INO);
	assert_int_equal(dir.n_entries, 2);
	assert_int_equal(map.n_slots, 2);
	assert_int_equal(map.n_chunks, 2);
	assert_int_equal(value.len, 5);
	return 0;
}

struct op {
	const char *name;
	int (*run)(void);
	uint64_t done, undone;	/* the state after the batch, with it or not */
};

/* As the core makes one: what an operation could not do is undone alone, and
 * what others did in the batch is committed. */
static int batch(const struct op *op, int sync)
{
	int err = db_begin(f.db), end;

	if (err)
		return err;
	if (others) {
		int64_t ino = fix_mknod(&f, NS_ROOT, "others", S_IFIFO | 0644);

		if (ino < 0) {
			db_rollback(f.db);
			return (int)ino;
		}
	}
	err = op->run();
	end = db_commit(f.db, sync);
	return end ? end : err;
}

static void reopen(void)
{
	ns_close(f.ns);
	db_close(f.db);
	fix_open(&f);
}

static void round_of(struct op *op, int sync)
{
	uint64_t before, now;
	int err, faulty, next;

	begin();
	before = state_of(f.db);
	faults_on();
	err = batch(op, sync);
	faulty = faults_off();
	if (!faulty)
		assert_int_equal(err, 0);
	/* the next batch, unless the disk is not trusted any more */
	next = db_begin(f.db);
	if (!next) {
		now = state_of(f.db);
		if (!err)
			assert_true(now == op->done);
		else
			assert_true(now == before ||
				    (others && now == op->undone));
		fix_check(&f);
		assert_true(fix_file(&f, NS_ROOT, "after") > 0);
		fix_check(&f);
		db_rollback(f.db);
		assert_true(state_of(f.db) == now);
	} else {
		assert_true(faulty && err == -EIO && next == -EIO);
	}
	reopen();
	fix_check(&f);
	now = state_of(f.db);
	if (!err)
		assert_true(now == op->done);
	else
		assert_true(now == before || now == op->done ||
			    (others && now == op->undone));
	assert_true(fix_file(&f, NS_ROOT, "after") > 0);
	fix_check(&f);
	fix_close(&f);
	arena_fini(&f.a);
	f.a = ARENA_INIT;
}

static void without_sync(void *arg)
{
	round_of(arg, 0);
}

static void with_sync(void *arg)
{
	round_of(arg, 1);
}

static int op_nothing(void)
{
	return 0;
}

static struct op ops[] = {
	{ .name = "create", .run = op_create },
	{ .name = "mkdir", .run = op_mkdir },
	{ .name = "symlink", .run = op_symlink },
	{ .name = "commit", .run = op_commit },
	{ .name = "rename", .run = op_rename },
	{ .name = "replace", .run = op_replace },
	{ .name = "unlink", .run = op_unlink },
	{ .name = "link", .run = op_link },
	{ .name = "truncate", .run = op_truncate },
	{ .name = "xattr", .run = op_xattr },
	{ .name = "clone", .run = op_clone },
	{ .name = "punch", .run = op_punch },
	{ .name = "ids", .run = op_ids },
	{ .name = "drop", .run = op_drop },
	{ .name = "read", .run = op_read },
};

/* What a batch leads to without a fault. */
static uint64_t after(const struct op *op)
{
	uint64_t now;

	begin();
	assert_int_equal(batch(op, 0), 0);
	now = state_of(f.db);
	ns_close(f.ns);
	db_close(f.db);
	return now;
}

static void test_operations(void **state)
{
	static const struct op nothing = { .run = op_nothing };

	(void)state;
	for (others = 0; others < 2; others++)
		for (size_t i = 0; i < sizeof(ops) / sizeof(*ops); i++) {
			ops[i].done = after(&ops[i]);
			ops[i].undone = after(&nothing);
			printf("%s: ", ops[i].name);
			faults_each(FAULTS, (int)i % 2 == others
				    ? with_sync : without_sync, &ops[i]);
		}
	others = 0;
}

/* ---------------------------------------------------------------- opening */

static int is_wal(void)
{
	struct db_stmt *s = db_prep(f.db, "PRAGMA journal_mode");
	size_t n = 0;
	const void *mode;
	int is;

	assert_int_equal(db_step(s), 1);
	mode = db_blob(s, 0, &n);
	is = n == 3 && !memcmp(mode, "wal", 3);
	db_reset(s);
	return is;
}

/* Opened: it has all that a database has. */
static void open_round(void *arg)
{
	char why[512] = "";
	uint64_t before = 0;
	int err;

	wipe();
	if (arg) {		/* it is there */
		begin();
		before = state_of(f.db);
		ns_close(f.ns);
		db_close(f.db);
	}
	f.db = NULL;
	faults_on();
	err = db_open(&f.db, f.path, why, sizeof(why));
	if (!faults_off())
		assert_int_equal(err, 0);
	if (!err) {
		assert_true(is_wal());
		assert_true(fix_number(&f, "SELECT count(*) FROM "
					   "sqlite_schema") > 10);
	} else {
		assert_null(f.db);
		assert_true(strlen(why) > 20 || err == -ENOMEM);
	}
	db_close(f.db);
	fix_open(&f);
	fix_check(&f);
	if (arg)
		assert_true(state_of(f.db) == before);
	assert_true(fix_file(&f, NS_ROOT, "after") > 0);
	fix_check(&f);
	fix_close(&f);
}

static void ns_open_round(void *arg)
{
	struct ns_config cfg = { .slot_size = FIX_SLOT };
	char why[512];
	int err;

	(void)arg;
	wipe();
	assert_int_equal(db_open(&f.db, f.path, why, sizeof(why)), 0);
	faults_on();
	err = ns_open(&f.ns, f.db, &cfg, fix_now(&f));
	if (!faults_off())
		assert_int_equal(err, 0);
	if (!err)
		ns_close(f.ns);
	db_close(f.db);
	fix_open(&f);
	fix_check(&f);
	assert_true(fix_file(&f, NS_ROOT, "after") > 0);
	fix_check(&f);
	fix_close(&f);
}

static void test_open(void **state)
{
	(void)state;
	faults_each(FAULTS, open_round, NULL);
	faults_each(FAULTS, open_round, &f);
	faults_each(FAULTS, ns_open_round, NULL);
}

static int up(void **state)
{
	(void)state;
	snprintf(f.dir, sizeof(f.dir), "%s/unit_faults_ns.XXXXXX",
		 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	if (!mkdtemp(f.dir))
		return -1;
	snprintf(f.path, sizeof(f.path), "%s/db", f.dir);
	return 0;
}

static int down(void **state)
{
	faults_told(state);
	wipe();
	rmdir(f.dir);
	return 0;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_operations), TEST(test_open),
	};

	faults_sqlite();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
