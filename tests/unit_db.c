/* unit_db -- tracker/db.h over SQLite: batches, durability, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "db.h"
#include "db_schema.h"

static char dir[64], path[80], why[512];

/* SQLite's own calls arrive here: a program's symbol comes before libc's. */
static int syncs, sync_fails;
int fdatasync(int fd)
{
	syncs++;
	if (sync_fails) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

enum { FOR_NOTHING = 1, TO_GROW };
static int writes, no_room;
ssize_t pwrite64(int fd, const void *p, size_t n, off_t off);
ssize_t pwrite64(int fd, const void *p, size_t n, off_t off)
{
	struct stat st;

	writes++;
	if (no_room == FOR_NOTHING ||
	    (no_room == TO_GROW && !fstat(fd, &st) &&
	     off + (off_t)n > st.st_size)) {
		errno = ENOSPC;
		return -1;
	}
	return syscall(SYS_pwrite64, fd, p, n, off);
}

static int up(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/unit_db.XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/db", dir);
	syncs = sync_fails = writes = no_room = 0;
	return 0;
}

static int down(void **state)
{
	static const char *const ends[] = { "", "-wal", "-shm", "-journal" };
	char name[96];
	size_t i;

	(void)state;
	for (i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "%s%s", path, ends[i]);
		unlink(name);
	}
	return rmdir(dir);
}

static struct db *must_open(void)
{
	struct db *db = NULL;

	if (db_open(&db, path, why, sizeof(why)))
		fail_msg("%s", why);
	return db;
}

static int put(struct db *db, const char *key, uint64_t v)
{
	struct db_stmt *s = db_prep(db, "REPLACE INTO meta VALUES(?1,?2)");

	db_bind_blob(s, 1, key, strlen(key));
	db_bind_u64(s, 2, v);
	return db_run(s);
}

static uint64_t get(struct db *db, const char *key)
{
	struct db_stmt *s;
	uint64_t v = 0;

	s = db_prep(db, "SELECT value FROM meta WHERE key=?1");
	db_bind_blob(s, 1, key, strlen(key));
	if (db_step(s) == 1) {
		v = db_u64(s, 0);
		db_reset(s);
	}
	return v;
}

static int put_big(struct db *db, uint64_t ino, char c)
{
	static char big[400000];
	struct db_stmt *s = db_prep(db, "REPLACE INTO symlinks VALUES(?1,?2)");

	memset(big, c, sizeof(big));
	db_bind_u64(s, 1, ino);
	db_bind_blob(s, 2, big, sizeof(big));
	return db_run(s);
}

static int has_big(struct db *db, uint64_t ino, char c)
{
	struct db_stmt *s = db_prep(db, "SELECT target FROM symlinks "
					"WHERE ino=?1");
	const char *p;
	size_t n = 0;
	int all = 0;

	db_bind_u64(s, 1, ino);
	if (db_step(s) == 1) {
		p = db_blob(s, 0, &n);
		for (all = n > 0; all && n; n--)
			all = p[n - 1] == c;
		db_reset(s);
	}
	return all;
}

static void exec_raw(const char *sql)
{
	sqlite3 *h;

	assert_int_equal(sqlite3_open(path, &h), SQLITE_OK);
	assert_int_equal(sqlite3_exec(h, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(h);
}

/* ------------------------------------------------------------ statements */

static void values_come_back(void **state)
{
	static const char sql[] = "SELECT ?1,?2,?3,?4,?5";
	struct db *db;
	struct db_stmt *s;
	const void *p;
	size_t n;

	(void)state;
	assert_int_equal(db_open(&db, ":memory:", why, sizeof(why)), 0);
	s = db_prep(db, sql);
	db_bind_u64(s, 1, UINT64_MAX - 1);
	db_bind_i64(s, 2, INT64_MIN);
	db_bind_blob(s, 3, "a\0b", 3);
	db_bind_blob(s, 4, NULL, 0);
	db_bind_null(s, 5);
	assert_int_equal(db_step(s), 1);
	assert_true(db_u64(s, 0) == UINT64_MAX - 1);
	assert_true(db_i64(s, 1) == INT64_MIN);
	p = db_blob(s, 2, &n);
	assert_int_equal(n, 3);
	assert_memory_equal(p, "a\0b", 3);
	db_blob(s, 3, &n);
	assert_int_equal(n, 0);
	assert_false(db_is_null(s, 3));
	assert_true(db_is_null(s, 4));
	assert_int_equal(db_step(s), 0);
	assert_ptr_equal(db_prep(db, sql), s);
	db_close(db);
}

static void bad_sql_is_an_error(void **state)
{
	struct db *db;
	struct db_stmt *s;

	(void)state;
	assert_int_equal(db_open(&db, ":memory:", why, sizeof(why)), 0);
	s = db_prep(db, "SELECT nothing FROM nowhere WHERE x=?1");
	db_bind_u64(s, 1, 1);
	db_bind_blob(s, 2, "x", 1);
	assert_int_equal(db_step(s), -EIO);
	assert_int_equal(db_run(s), -EIO);
	s = db_prep(db, "SELECT 1");
	db_bind_u64(s, 5, 1);		/* there is no such parameter */
	assert_int_equal(db_run(s), -EIO);
	assert_int_equal(db_run(db_prep(db, "SELECT 1")), 0);
	db_close(db);
}

/* As of now, also within a batch, and wherever the bytes lie. */
static void size_counts_pages(void **state)
{
	struct db *db = must_open();
	uint64_t empty, full;
	char key[16];

	(void)state;
	assert_int_equal(db_size(db, &empty), 0);
	assert_true(empty > 0);
	assert_int_equal(db_begin(db), 0);
	for (unsigned i = 0; i < 10000; i++) {
		snprintf(key, sizeof(key), "key %u", i);
		assert_int_equal(put(db, key, i), 0);
	}
	assert_int_equal(db_size(db, &full), 0);
	assert_in_range(full - empty, 10000 * 8, 10000 * 64);
	db_rollback(db);
	assert_int_equal(db_size(db, &full), 0);
	assert_int_equal(full, empty);
	db_close(db);
}

/* ---------------------------------------------------------- transactions */

static void batches_and_operations(void **state)
{
	struct db *db = must_open();
	uint64_t was = db_rollbacks(db);

	(void)state;
	assert_int_equal(db_begin(db), 0);
	assert_int_equal(put(db, "kept", 1), 0);
	assert_int_equal(db_changes(db), 1);
	assert_int_equal(db_op_begin(db), 0);
	assert_int_equal(put(db, "undone", 1), 0);
	assert_int_equal(db_op_end(db, 0), 0);
	assert_int_equal(db_op_begin(db), 0);
	assert_int_equal(put(db, "done", 1), 0);
	assert_int_equal(db_op_end(db, 1), 0);
	assert_int_equal(db_commit(db, 0), 0);
	assert_int_equal(db_rollbacks(db), was);
	db_rollback(db);			/* no batch: nothing */
	assert_int_equal(db_rollbacks(db), was);

	assert_int_equal(db_begin(db), 0);
	assert_int_equal(put(db, "lost", 1), 0);
	db_rollback(db);
	assert_int_equal(db_rollbacks(db), was + 1);
	db_close(db);

	db = must_open();
	assert_int_equal(get(db, "kept"), 1);
	assert_int_equal(get(db, "done"), 1);
	assert_int_equal(get(db, "undone"), 0);
	assert_int_equal(get(db, "lost"), 0);
	db_close(db);
}

/* The WAL is synced by sync=1 alone, and an empty batch can be synced too. */
static void sync_waits_for_the_disk(void **state)
{
	struct db *db = must_open();
	int i;

	(void)state;
	assert_int_equal(db_begin(db), 0);	/* starts a new WAL */
	assert_int_equal(put(db, "first", 1), 0);
	assert_int_equal(db_commit(db, 1), 0);
	syncs = 0;
	for (i = 0; i < 50; i++) {
		assert_int_equal(db_begin(db), 0);
		assert_int_equal(put(db, "a", i), 0);
		assert_int_equal(db_commit(db, 0), 0);
	}
	assert_int_equal(syncs, 0);
	assert_int_equal(db_begin(db), 0);
	assert_int_equal(put(db, "b", 1), 0);
	assert_int_equal(db_commit(db, 1), 0);
	assert_int_equal(syncs, 1);
	assert_int_equal(db_begin(db), 0);
	assert_int_equal(db_commit(db, 1), 0);
	assert_int_equal(syncs, 2);
	db_close(db);
}

static void a_failed_sync_is_final(void **state)
{
	struct db *db = must_open();

	(void)state;
	assert_int_equal(db_begin(db), 0);
	assert_int_equal(put(db, "a", 1), 0);
	sync_fails = 1;
	assert_int_equal(db_commit(db, 1), -EIO);
	sync_fails = 0;
	assert_int_equal(db_begin(db), -EIO);
	db_close(db);
}

static void write_and_die(int open)
{
	struct db *db;

	alarm(20);
	db = must_open();
	if (db_begin(db) || put(db, "committed", 5) || db_commit(db, 0))
		_exit(1);
	/* long, and written to the log before the commit, some of it twice */
	if (db_run(db_prep(db, "PRAGMA cache_size=10")) || db_begin(db) ||
	    put_big(db, 1, 'a') || put_big(db, 2, 'b') ||
	    put_big(db, 1, 'c') || put(db, "spilled", 6) || db_commit(db, 0))
		_exit(2);
	if (open && (db_begin(db) || put(db, "open", 5) ||
		     put_big(db, 2, 'x')))
		_exit(3);
	raise(SIGKILL);
}

static void commits_survive_kill_9(void **state)
{
	struct db *db;
	int status;
	pid_t pid;

	(void)state;
	for (int open = 0; open < 2; open++) {
		pid = fork();
		assert_true(pid >= 0);
		if (!pid)
			write_and_die(open);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		db = must_open();
		assert_int_equal(get(db, "committed"), 5);
		assert_int_equal(get(db, "spilled"), 6);
		assert_true(has_big(db, 1, 'c') && has_big(db, 2, 'b'));
		assert_int_equal(get(db, "open"), 0);
		db_close(db);
	}
}

static void a_batch_is_one_write(void **state)
{
	struct db *db = must_open();

	(void)state;
	assert_int_equal(db_begin(db), 0);
	assert_int_equal(put(db, "first", 1), 0);	/* the log's header */
	assert_int_equal(db_commit(db, 0), 0);
	assert_int_equal(db_begin(db), 0);
	assert_int_equal(put(db, "a", 1), 0);
	assert_int_equal(put_big(db, 1, 'a'), 0);
	db_rollback(db);
	assert_int_equal(db_begin(db), 0);
	assert_int_equal(put(db, "b", 2), 0);
	assert_int_equal(db_run(db_prep(db, "INSERT INTO symlinks "
					    "VALUES(7,x'61')")), 0);
	writes = 0;
	assert_int_equal(db_commit(db, 0), 0);
	assert_int_equal(writes, 1);
	db_close(db);
	db = must_open();
	assert_int_equal(get(db, "a"), 0);
	assert_int_equal(get(db, "b"), 2);
	db_close(db);
}

static void a_full_disk_undoes_the_batch(void **state)
{
	struct db *db = must_open();

	(void)state;
	assert_int_equal(db_begin(db), 0);
	assert_int_equal(put(db, "kept", 1), 0);
	assert_int_equal(db_commit(db, 0), 0);
	for (int big = 0; big < 2; big++) {
		assert_int_equal(db_begin(db), 0);
		assert_int_equal(put(db, "undone", 1), 0);
		assert_int_equal(big ? put_big(db, 1, 'a') : 0, 0);
		no_room = FOR_NOTHING;
		assert_int_equal(db_commit(db, 0), -ENOSPC);
		no_room = 0;
		assert_int_equal(get(db, "undone"), 0);
		assert_int_equal(db_begin(db), 0);
		assert_int_equal(put(db, "next", 2 + (uint64_t)big), 0);
		assert_int_equal(db_commit(db, 0), 0);
	}
	db_close(db);
	db = must_open();
	assert_int_equal(get(db, "kept"), 1);
	assert_int_equal(get(db, "undone"), 0);
	assert_int_equal(get(db, "next"), 3);
	db_close(db);
}

/* Each batch that begins has room; once there is none, only changes fail. */
static void a_full_disk_fails_changes_alone(void **state)
{
	struct db *db = must_open();
	uint64_t n = 1;

	(void)state;
	db_essential(db, 0);
	assert_int_equal(db_begin(db), 0);
	assert_int_equal(put(db, "kept", 1), 0);
	assert_int_equal(put(db, "n", 0), 0);
	assert_int_equal(db_commit(db, 1), 0);
	for (int round = 0; round < 2; round++) {
		for (no_room = TO_GROW; n < 1000; n++) {
			assert_int_equal(db_begin(db), 0);
			if (db_full(db))
				break;
			assert_int_equal(put(db, "n", n), 0);
			assert_int_equal(put_big(db, n, 'b'), 0);
			assert_int_equal(db_commit(db, 0), 0);
		}
		assert_true(n < 1000);
		assert_int_equal(put(db, "n", 5000), -ENOSPC);
		assert_int_equal(db_op_begin(db), 0);
		assert_int_equal(put(db, "n", 5000), -ENOSPC);
		assert_int_equal(db_op_end(db, 0), 0);
		assert_int_equal(get(db, "n"), n - 1);
		assert_int_equal(db_commit(db, 1), 0);
		db_essential(db, 1);	/* has the room that was kept */
		assert_int_equal(db_begin(db), 0);
		assert_false(db_full(db));
		assert_int_equal(put(db, "essential", n), 0);
		assert_int_equal(db_commit(db, 1), 0);
		db_essential(db, 0);
		no_room = 0;
		assert_int_equal(db_begin(db), 0);
		assert_false(db_full(db));
		assert_int_equal(put(db, "n", n++), 0);
		assert_int_equal(db_commit(db, 0), 0);
	}
	db_close(db);
	db = must_open();
	assert_int_equal(get(db, "kept"), 1);
	assert_int_equal(get(db, "n"), n - 1);
	assert_int_equal(get(db, "essential"), n - 1);
	db_close(db);
}

/* The first operation of a batch needs no savepoint, which nobody notices. */
static void the_first_operation_is_undone_alone(void **state)
{
	struct db *db = must_open();
	uint64_t was = db_rollbacks(db);

	(void)state;
	assert_int_equal(db_begin(db), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(db_op_begin(db), 0);
		assert_int_equal(put(db, "undone", 1), 0);
		assert_int_equal(get(db, "undone"), 1);
		assert_int_equal(db_op_end(db, 0), 0);
		assert_int_equal(get(db, "undone"), 0);
	}
	assert_int_equal(db_op_begin(db), 0);
	assert_int_equal(put(db, "done", 1), 0);
	assert_int_equal(db_op_end(db, 1), 0);
	assert_int_equal(db_op_begin(db), 0);
	assert_int_equal(put(db, "undone", 1), 0);
	assert_int_equal(db_op_end(db, 0), 0);
	assert_int_equal(db_commit(db, 0), 0);
	assert_int_equal(db_rollbacks(db), was);
	assert_int_equal(get(db, "done"), 1);
	assert_int_equal(get(db, "undone"), 0);
	db_close(db);
}

static void a_full_disk_undoes_the_operation(void **state)
{
	struct db *db = must_open();
	static char big[200000];
	struct db_stmt *s;
	int err;

	(void)state;
	memset(big, 'x', sizeof(big));
	assert_int_equal(db_begin(db), 0);
	assert_int_equal(put(db, "kept", 1), 0);
	assert_int_equal(db_run(db_prep(db, "PRAGMA max_page_count=40")), 0);
	assert_int_equal(db_op_begin(db), 0);
	assert_int_equal(put(db, "undone", 1), 0);
	s = db_prep(db, "INSERT INTO symlinks VALUES(1,?1)");
	db_bind_blob(s, 1, big, sizeof(big));
	assert_int_equal(db_run(s), -ENOSPC);
	err = db_op_end(db, 0);
	/* either the operation alone is undone, or the batch is lost and
	 * says so: it is never kept by half */
	if (err) {
		assert_int_equal(put(db, "late", 1), -ENOSPC);
		assert_int_equal(db_commit(db, 0), -ENOSPC);
	} else {
		assert_int_equal(db_commit(db, 0), 0);
	}
	assert_int_equal(get(db, "kept"), !err);
	assert_int_equal(get(db, "undone"), 0);
	assert_int_equal(get(db, "late"), 0);
	db_close(db);
}

/* What SQLite rolls back on its own is not written on bit by bit. */
static void a_lost_batch_takes_nothing_more(void **state)
{
	struct db *db = must_open();

	(void)state;
	assert_int_equal(db_begin(db), 0);
	assert_int_equal(put(db, "a", 1), 0);
	assert_int_equal(db_run(db_prep(db, "ROLLBACK ")), 0);
	assert_int_equal(put(db, "b", 1), -EIO);
	assert_int_equal(db_op_begin(db), -EIO);
	assert_int_equal(db_commit(db, 0), -EIO);
	assert_int_equal(db_rollbacks(db), 1);
	assert_int_equal(db_begin(db), 0);
	assert_int_equal(put(db, "c", 1), 0);
	assert_int_equal(db_commit(db, 0), 0);
	assert_int_equal(get(db, "b"), 0);
	assert_int_equal(get(db, "c"), 1);
	db_close(db);
}

/* -------------------------------------------------------------- refusals */

static void must_refuse(int err, const char *because)
{
	struct db *db = NULL;

	why[0] = 0;
	assert_int_equal(db_open(&db, path, why, sizeof(why)), err);
	assert_null(db);
	if (!strstr(why, because) || !strstr(why, path))
		fail_msg("«%s» does not say «%s»", why, because);
}

static void foreign_files_are_refused(void **state)
{
	char text[8192];
	int fd;

	(void)state;
	exec_raw("CREATE TABLE t(x); INSERT INTO t VALUES(1)");
	must_refuse(-EINVAL, "another program");
	exec_raw("DROP TABLE t; PRAGMA application_id=77");
	must_refuse(-EINVAL, "another program");
	unlink(path);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	memset(text, 'x', sizeof(text));
	assert_int_equal(write(fd, text, sizeof(text)), sizeof(text));
	close(fd);
	must_refuse(-EIO, "not a database");
}

static void a_newer_schema_is_refused(void **state)
{
	char sql[64];

	(void)state;
	db_close(must_open());
	snprintf(sql, sizeof(sql), "PRAGMA user_version=%d",
		 db_schema_version + 1);
	exec_raw(sql);
	must_refuse(-EINVAL, "install a newer pspfs");
}

static void a_damaged_file_is_refused(void **state)
{
	char junk[4096 - 100];
	int fd;

	(void)state;
	db_close(must_open());
	memset(junk, 0xee, sizeof(junk));
	fd = open(path, O_WRONLY);
	/* the first page after the file's header: the list of tables */
	assert_int_equal(pwrite(fd, junk, sizeof(junk), 100), sizeof(junk));
	close(fd);
	must_refuse(-EIO, "restore a backup");
}

static void a_second_user_is_refused(void **state)
{
	struct db *db = must_open();

	(void)state;
	must_refuse(-EBUSY, "another process has it open");
	db_close(db);
	db_close(must_open());
}

static void a_missing_directory_is_named(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "%s/no/db", dir);
	must_refuse(-ENOENT, "check that its directory exists");
	snprintf(path, sizeof(path), "%s/db", dir);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(values_come_back),
		TEST(bad_sql_is_an_error),
		TEST(size_counts_pages),
		TEST(batches_and_operations),
		TEST(sync_waits_for_the_disk),
		TEST(a_failed_sync_is_final),
		TEST(commits_survive_kill_9),
		TEST(a_batch_is_one_write),
		TEST(a_full_disk_undoes_the_batch),
		TEST(a_full_disk_fails_changes_alone),
		TEST(the_first_operation_is_undone_alone),
		TEST(a_full_disk_undoes_the_operation),
		TEST(a_lost_batch_takes_nothing_more),
		TEST(foreign_files_are_refused),
		TEST(a_newer_schema_is_refused),
		TEST(a_damaged_file_is_refused),
		TEST(a_second_user_is_refused),
		TEST(a_missing_directory_is_named),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
