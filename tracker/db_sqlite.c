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
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "db.h"
#include "db_schema.h"
#include "log.h"

struct db_stmt {
	struct db *db;
	const char *sql;
	sqlite3_stmt *st;	/* NULL: could not be prepared, see err */
	int err;		/* of preparing or binding, sticky */
	UT_hash_handle hh;
};

struct db {
	sqlite3 *h;
	struct db_stmt *stmts;
	struct db_stmt no_memory;	/* what db_prep returns then */
	uint64_t rollbacks;
	int in_batch;
	int lost;		/* why SQLite rolled the batch back itself */
	int dead;		/* a sync failed: what is on disk is unknown */
	int64_t wal_end;	/* zeros were written up to here */
	char path[];
};

enum { WAL_GROWTH = 512 << 10 };

static const char *const settings[] = {
	"PRAGMA journal_mode=WAL",
	"PRAGMA synchronous=NORMAL",
	"PRAGMA cache_size=-65536",		/* KiB */
	"PRAGMA temp_store=MEMORY",
	"PRAGMA wal_autocheckpoint=4096",	/* pages: 16 MiB */
	"PRAGMA journal_size_limit=67108864",
};

static int errno_of(int rc)
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

static const char *mend_of(int rc)
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

/* Log what SQLite says about @rc, once, here; returns its -errno. */
static int failed(struct db *db, int rc, const char *doing)
{
	if (batch_lost(db))
		db->lost = errno_of(rc);
	log_error("database %s: %s: %s (%d): %s", db->path, doing,
		  sqlite3_errmsg(db->h), rc, mend_of(rc));
	return errno_of(rc);
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
	}
	rc = sqlite3_prepare_v3(db->h, sql, -1, SQLITE_PREPARE_PERSISTENT,
				&s->st, NULL);
	s->err = rc ? failed(db, rc, sql) : 0;
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
		err = s->db->lost ? s->db->lost : -EIO;
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

int db_begin(struct db *db)
{
	int err;

	assert(!db->in_batch);
	if (db->dead)
		return -EIO;
	err = db_run(db_prep(db, "BEGIN IMMEDIATE"));
	db->in_batch = !err;
	db->lost = 0;
	return err;
}

void db_rollback(struct db *db)
{
	if (!db->in_batch)
		return;
	if (!sqlite3_get_autocommit(db->h))
		db_run(db_prep(db, "ROLLBACK"));
	db->in_batch = 0;
	db->rollbacks++;
}

uint64_t db_rollbacks(const struct db *db)
{
	return db->rollbacks;
}

/*
 * A file that does not grow is synced faster, and does not make the file
 * system's journal write: the WAL grows by zeros, for many commits at once,
 * which SQLite takes for its end and writes over.  If the disk is full it
 * grows as it did.
 */
static void grow_wal(struct db *db, sqlite3_file *f)
{
	static const char zeros[WAL_GROWTH];
	sqlite3_int64 size;

	if (f->pMethods->xFileSize(f, &size) != SQLITE_OK ||
	    size <= db->wal_end)
		return;
	(void)f->pMethods->xWrite(f, zeros, sizeof(zeros), size);
	db->wal_end = size + (int64_t)sizeof(zeros);
}

static int sync_wal(struct db *db)
{
	sqlite3_file *f = NULL;
	int rc;

	rc = sqlite3_file_control(db->h, "main", SQLITE_FCNTL_JOURNAL_POINTER,
				  &f);
	if (rc == SQLITE_OK && f && f->pMethods) {
		grow_wal(db, f);
		rc = f->pMethods->xSync(f, SQLITE_SYNC_NORMAL |
						   SQLITE_SYNC_DATAONLY);
	}
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
	err = db_run(db_prep(db, "COMMIT"));
	if (err) {
		db_rollback(db);
		return err;
	}
	db->in_batch = 0;
	return sync ? sync_wal(db) : 0;
}

int db_op_begin(struct db *db)
{
	assert(db->in_batch);
	return db_run(db_prep(db, "SAVEPOINT op"));
}

int db_op_end(struct db *db, int keep)
{
	int err = 0;

	if (!keep)
		err = db_run(db_prep(db, "ROLLBACK TO op"));
	if (!err)
		err = db_run(db_prep(db, "RELEASE op"));
	return err;
}

/* --------------------------------------------------------------- opening */

struct opening {
	struct db *db;
	char *why;
	size_t why_len;
};

__attribute__((format(printf, 3, 4)))
static int refuse(struct opening *o, int err, const char *fmt, ...)
{
	va_list ap;
	int n;

	n = snprintf(o->why, o->why_len, "cannot use the database %s: ",
		     o->db->path);
	if (n < 0 || (size_t)n >= o->why_len)
		return err;
	va_start(ap, fmt);
	vsnprintf(o->why + n, o->why_len - n, fmt, ap);
	va_end(ap);
	return err;
}

static int refuse_rc(struct opening *o, int rc)
{
	int sys = sqlite3_system_errno(o->db->h);

	if ((rc & 0xff) == SQLITE_CANTOPEN && sys)
		return refuse(o, -sys, "%s: %s", strerror(sys), mend_of(rc));
	return refuse(o, errno_of(rc), "%s: %s", sqlite3_errmsg(o->db->h),
		      mend_of(rc));
}

/* One number from one query. */
static int ask(struct opening *o, const char *sql, int64_t *out)
{
	sqlite3_stmt *st;
	int rc;

	rc = sqlite3_prepare_v2(o->db->h, sql, -1, &st, NULL);
	if (rc == SQLITE_OK) {
		rc = sqlite3_step(st);
		if (rc == SQLITE_ROW)
			*out = sqlite3_column_int64(st, 0);
		sqlite3_finalize(st);
	}
	return errno_of(rc) ? refuse_rc(o, rc) : 0;
}

static int do_sql(struct opening *o, const char *sql)
{
	int rc = sqlite3_exec(o->db->h, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : refuse_rc(o, rc);
}

/* Whose file is it?  Before anything is written to it. */
static int check_owner(struct opening *o, int64_t *version)
{
	int64_t app = 0, tables = 0;
	int err;

	err = ask(o, "SELECT count(*) FROM sqlite_schema", &tables);
	if (!err)
		err = ask(o, "PRAGMA application_id", &app);
	if (!err)
		err = ask(o, "PRAGMA user_version", version);
	if (err)
		return err;
	if (app != DB_APPLICATION_ID && (app || tables || *version))
		return refuse(o, -EINVAL, "it belongs to another program: "
			      "name another directory with --data");
	if (*version < 0 || *version > db_schema_version)
		return refuse(o, -EINVAL, "its schema is version %lld, this "
			      "program knows only up to %d: install a newer "
			      "pspfs, or name another directory with --data",
			      (long long)*version, db_schema_version);
	return 0;
}

static int upgrade(struct opening *o, int64_t version)
{
	char sql[96];
	int err;

	if (version == db_schema_version)
		return 0;
	if (db_begin(o->db))
		return refuse_rc(o, sqlite3_extended_errcode(o->db->h));
	snprintf(sql, sizeof(sql),
		 "PRAGMA application_id=%d; PRAGMA user_version=%d",
		 DB_APPLICATION_ID, db_schema_version);
	err = do_sql(o, sql);
	for (; !err && version < db_schema_version; version++)
		err = do_sql(o, db_schema_steps[version]);
	if (err) {
		db_rollback(o->db);
		return err;
	}
	if (db_commit(o->db, 1))
		return refuse_rc(o, sqlite3_extended_errcode(o->db->h));
	return 0;
}

static int set_up(struct opening *o)
{
	const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
			  SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
	int64_t version = 0;
	size_t i;
	int rc, err;

	rc = sqlite3_open_v2(o->db->path, &o->db->h, flags, NULL);
	if (rc != SQLITE_OK)
		return refuse_rc(o, rc);
	/* before the first access: no shared memory file, no second user */
	err = do_sql(o, "PRAGMA locking_mode=EXCLUSIVE");
	if (!err)
		err = check_owner(o, &version);
	for (i = 0; !err && i < sizeof(settings) / sizeof(*settings); i++)
		err = do_sql(o, settings[i]);
	return err ? err : upgrade(o, version);
}

int db_open(struct db **out, const char *path, char *why, size_t why_len)
{
	struct opening o = { .why = why, .why_len = why_len };
	size_t n = strlen(path) + 1;
	int err;

	if (why_len)
		why[0] = 0;
	o.db = calloc(1, sizeof(*o.db) + n);
	if (!o.db) {
		snprintf(why, why_len, "out of memory");
		return -ENOMEM;
	}
	memcpy(o.db->path, path, n);
	o.db->no_memory = (struct db_stmt){ .db = o.db, .err = -ENOMEM };
	err = set_up(&o);
	if (err) {
		db_close(o.db);
		return err;
	}
	*out = o.db;
	return 0;
}

void db_close(struct db *db)
{
	struct db_stmt *s, *next;
	int rc;

	if (!db)
		return;
	db_rollback(db);
	HASH_ITER(hh, db->stmts, s, next) {
		HASH_DEL(db->stmts, s);
		sqlite3_finalize(s->st);
		free(s);
	}
	rc = sqlite3_close(db->h);
	assert(rc == SQLITE_OK);
	free(db);
}
