/*
 * A file database is in WAL mode with synchronous=NORMAL: a commit writes to
 * the WAL and does not wait for the disk.  A commit that has to wait syncs
 * the WAL file itself afterwards: frames are valid only in an unbroken row
 * from the start of the file, so what was committed before is then durable
 * too.  (PRAGMA synchronous cannot change inside a transaction, and only at
 * its end is it known whether somebody in the batch asked for an fsync.)
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "db_internal.h"
#include "log.h"

/* Kept free in the log: more than most batches are. */
enum { WAL_ROOM = 1 << 20 };

int db_errno_of(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_READONLY:
	case SQLITE_PERM:
		return -EROFS;
	case SQLITE_NOMEM:
		return -ENOMEM;
	}
	return rc == SQLITE_IOERR_NOMEM ? -ENOMEM : -EIO;
}

const char *db_mend_of(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return "it is damaged: restore a backup, or rescue what can "
		       "be read with sqlite3's .recover";
	case SQLITE_FULL:
		return "free some space on its disk";
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return "another process has it open: end that one first";
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_CANTOPEN:
		return "check that its directory exists and may be written";
	case SQLITE_ERROR:
	case SQLITE_CONSTRAINT:
	case SQLITE_MISUSE:
	case SQLITE_RANGE:
		return "this is a mistake in psptrackerd: please report it";
	}
	return "check its disk";
}

/* Some errors (a full disk is one) make SQLite roll back the transaction on
 * its own.  What ran after that would be committed, each bit alone. */
static int batch_lost(const struct db *db)
{
	return db->in_batch && sqlite3_get_autocommit(db->h);
}

static int lost(const struct db *db)
{
	return db->lost ? db->lost : -EIO;
}

static void say_full(struct db *db)
{
	if (spell_bad(&db->no_room))
		log_error("database %s: its disk is full: changes are refused, "
			  "reads go on: free some space on it", db->path);
}

/* Log what SQLite says about @rc, once, here; returns its -errno. */
static int failed(struct db *db, int rc, const char *doing)
{
	if (batch_lost(db))
		db->lost = db_errno_of(rc);
	if ((rc & 0xff) == SQLITE_FULL)
		say_full(db);
	else
		log_error("database %s: %s: %s (%d): %s", db->path, doing,
			  sqlite3_errmsg(db->h), rc, db_mend_of(rc));
	return db_errno_of(rc);
}

/* ------------------------------------------------------------ statements */

struct db_stmt *db_prep(struct db *db, const char *sql)
{
	struct db_stmt *s;
	int rc;

	HASH_FIND_PTR(db->stmts, &sql, s);
	if (s && s->st) {
		/* one walk at a time: a second would end the first */
		assert(!sqlite3_stmt_busy(s->st));
		s->err = 0;
		return s;
	}
	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s)
			return &db->no_memory;
		s->db = db;
		s->sql = sql;
		HASH_ADD_PTR(db->stmts, sql, s);
		if (!TABLE_ADDED(s)) {
			free(s);
			return &db->no_memory;
		}
	}
	rc = sqlite3_prepare_v3(db->h, sql, -1, SQLITE_PREPARE_PERSISTENT,
				&s->st, NULL);
	s->err = rc ? failed(db, rc, sql) : 0;
	s->changes = !rc && !sqlite3_stmt_readonly(s->st);
	return s;
}

static void bound(struct db_stmt *s, int rc)
{
	if (rc != SQLITE_OK && !s->err)
		s->err = failed(s->db, rc, s->sql);
}

void db_bind_i64(struct db_stmt *s, int at, int64_t v)
{
	if (s->st)
		bound(s, sqlite3_bind_int64(s->st, at, v));
}

void db_bind_u64(struct db_stmt *s, int at, uint64_t v)
{
	db_bind_i64(s, at, (int64_t)v);
}

void db_bind_blob(struct db_stmt *s, int at, const void *p, size_t n)
{
	/* SQLite takes a null pointer for NULL, not for no bytes */
	if (s->st)
		bound(s, sqlite3_bind_blob64(s->st, at, n ? p : "", n,
					     SQLITE_STATIC));
}

void db_bind_null(struct db_stmt *s, int at)
{
	if (s->st)
		bound(s, sqlite3_bind_null(s->st, at));
}

int db_step(struct db_stmt *s)
{
	int rc, err = s->err;

	if (!err && batch_lost(s->db))
		err = lost(s->db);
	if (!err && db_full(s->db) && s->db->in_batch && s->changes)
		err = -ENOSPC;
	if (err) {
		db_reset(s);
		return err;
	}
	rc = sqlite3_step(s->st);
	if (rc == SQLITE_ROW)
		return 1;
	if (rc != SQLITE_DONE)
		err = failed(s->db, rc, s->sql);
	db_reset(s);
	return err;
}

int db_run(struct db_stmt *s)
{
	int got;

	do
		got = db_step(s);
	while (got == 1);
	return got;
}

void db_reset(struct db_stmt *s)
{
	if (s->st)
		sqlite3_reset(s->st);	/* repeats step's error: known */
}

int64_t db_i64(struct db_stmt *s, int col)
{
	return sqlite3_column_int64(s->st, col);
}

uint64_t db_u64(struct db_stmt *s, int col)
{
	return (uint64_t)db_i64(s, col);
}

const void *db_blob(struct db_stmt *s, int col, size_t *n)
{
	const void *p = sqlite3_column_blob(s->st, col);

	*n = p ? (size_t)sqlite3_column_bytes(s->st, col) : 0;
	return p;
}

int db_is_null(struct db_stmt *s, int col)
{
	return sqlite3_column_type(s->st, col) == SQLITE_NULL;
}

int db_changes(struct db *db)
{
	return sqlite3_changes(db->h);
}

/* Its pages; not the WAL, whose size says nothing. */
int db_size(struct db *db, uint64_t *bytes)
{
	struct db_stmt *s = db_prep(db, "SELECT page_count*page_size FROM "
					"pragma_page_count,pragma_page_size");
	int got = db_step(s);

	if (got < 0)
		return got;
	*bytes = got ? db_u64(s, 0) : 0;
	db_reset(s);
	return 0;
}

/* ---------------------------------------------------------- transactions */

static const char sql_begin[] = "BEGIN IMMEDIATE", sql_commit[] = "COMMIT",
		  sql_rollback[] = "ROLLBACK", sql_op[] = "SAVEPOINT op",
		  sql_op_undo[] = "ROLLBACK TO op", sql_op_end[] = "RELEASE op";

/* Ahead, so that no memory is needed to go back. */
int db_prep_control(struct db *db)
{
	static const char *const all[] = {
		sql_begin, sql_commit, sql_rollback,
		sql_op, sql_op_undo, sql_op_end,
	};
	int err = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(*all) && !err; i++)
		err = db_prep(db, all[i])->err;
	return err;
}

static int roll_back(struct db *db)
{
	return db_run(db_prep(db, sql_rollback));
}

/* The log, or NULL. */
static sqlite3_file *wal(struct db *db)
{
	sqlite3_file *f = NULL;

	sqlite3_file_control(db->h, "main", SQLITE_FCNTL_JOURNAL_POINTER, &f);
	return f && f->pMethods ? f : NULL;
}

/* Is there room for a batch, whatever it does? */
static void keep_room(struct db *db)
{
	sqlite3_file *f = wal(db);
	struct spell_end e;

	db->full = f && db_wal_reserve(f, WAL_ROOM) != SQLITE_OK;
	if (db->full)
		say_full(db);
	else if (spell_over(&db->no_room, &e))
		log_info("database %s: there is room again, after %llu s",
			 db->path, e.s);
}

int db_full(const struct db *db)
{
	return db->full && !db->essential;
}

void db_essential(struct db *db, int yes)
{
	db->essential = yes;
}

static int begin(struct db *db)
{
	db->begun_at = sqlite3_total_changes64(db->h);
	return db_run(db_prep(db, sql_begin));
}

int db_begin(struct db *db)
{
	int err;

	assert(!db->in_batch);
	if (db->dead)
		return -EIO;
	/* without memory there was no going back: now, or not yet */
	err = sqlite3_get_autocommit(db->h) ? 0 : roll_back(db);
	if (!err)
		err = begin(db);
	if (!err)
		keep_room(db);
	db->in_batch = !err;
	db->lost = db->op = db->spoilt = 0;
	return err;
}

void db_rollback(struct db *db)
{
	if (!db->in_batch)
		return;
	if (!sqlite3_get_autocommit(db->h))
		roll_back(db);	/* if it fails db_begin() tries again */
	db->in_batch = 0;
	db->rollbacks++;
}

uint64_t db_rollbacks(const struct db *db)
{
	return db->rollbacks;
}

/* What was committed is the kernel's, or, with @sync, on the disk. */
static int write_wal(struct db *db, int sync)
{
	sqlite3_file *f = wal(db);
	int rc = SQLITE_OK;

	if (f)
		rc = db_wal_flush(f);
	if (rc == SQLITE_OK && sync && f)
		rc = f->pMethods->xSync(f, SQLITE_SYNC_NORMAL |
						   SQLITE_SYNC_DATAONLY);
	if (rc == SQLITE_OK)
		return 0;
	/* the kernel has dropped the pages that it could not write: a later
	 * sync that succeeds would prove nothing */
	db->dead = 1;
	log_error("database %s: the disk did not take it (%d): nothing more "
		  "is written; check the disk, then restart", db->path, rc);
	return -EIO;
}

int db_commit(struct db *db, int sync)
{
	int err;

	assert(db->in_batch);
	err = db->spoilt;
	if (!err)
		err = db_run(db_prep(db, sql_commit));
	if (err) {
		db_rollback(db);
		return err;
	}
	db->in_batch = 0;
	return write_wal(db, sync);
}

/*
 * SQLite copies what changes under a savepoint.  Where nothing has changed
 * before, the transaction itself serves as one: it is begun again.
 */
int db_op_begin(struct db *db)
{
	int err;

	assert(db->in_batch && !db->op);
	if (batch_lost(db))
		return lost(db);
	db->op_first = sqlite3_total_changes64(db->h) == db->begun_at;
	err = db->op_first ? 0 : db_run(db_prep(db, sql_op));
	db->op = !err;
	return err;
}

static int begin_again(struct db *db)
{
	int err;

	if (batch_lost(db))
		return lost(db);
	db->in_batch = 0;	/* for a moment there is no transaction */
	err = roll_back(db);
	if (!err)
		err = begin(db);
	db->in_batch = 1;
	db->lost = err;		/* without one the batch is lost */
	return err;
}

int db_op_end(struct db *db, int keep)
{
	int err = 0;

	db->op = 0;
	if (db->op_first && !keep)
		err = begin_again(db);
	if (!db->op_first && !keep)
		err = db_run(db_prep(db, sql_op_undo));
	if (!db->op_first && !err)
		err = db_run(db_prep(db, sql_op_end));
	if (err)
		db->spoilt = err;
	return err;
}
