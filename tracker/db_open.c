/*
 * db_open -- opening a database, and closing it.
 *
 * Whose file is it, and of which version?  Both are asked before anything is
 * written; then the settings, and the steps to our version of the schema.
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db_internal.h"
#include "db_schema.h"

enum { LOG_BYTES = 16 << 20 };	/* then it goes into the database itself */

/* What changes goes to the log by whole pages: small ones. */
static const char *const settings[] = {
	"PRAGMA page_size=2048",	/* of a new one */
	"PRAGMA journal_mode=WAL",
	"PRAGMA synchronous=NORMAL",
	"PRAGMA cache_size=-65536",		/* KiB */
	"PRAGMA temp_store=MEMORY",
	"PRAGMA journal_size_limit=67108864",
};

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
		return refuse(o, -sys, "%s: %s", strerror(sys), db_mend_of(rc));
	return refuse(o, db_errno_of(rc), "%s: %s", sqlite3_errmsg(o->db->h),
		      db_mend_of(rc));
}

/* The log says more. */
static int refuse_err(struct opening *o, int err)
{
	return refuse(o, err, "%s: %s", strerror(-err), err == -ENOSPC
		      ? db_mend_of(SQLITE_FULL) : db_mend_of(SQLITE_IOERR));
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
	return db_errno_of(rc) ? refuse_rc(o, rc) : 0;
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
	err = db_begin(o->db);
	if (err)
		return refuse_err(o, err);
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
	err = db_commit(o->db, 1);
	return err ? refuse_err(o, err) : 0;
}

static int limit_log(struct opening *o)
{
	int64_t page = 0;
	int err = ask(o, "PRAGMA page_size", &page);

	if (!err && page)
		sqlite3_wal_autocheckpoint(o->db->h, (int)(LOG_BYTES / page));
	return err;
}

static int set_up(struct opening *o)
{
	const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
			  SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
	int64_t version = 0;
	size_t i;
	int rc, err;

	rc = sqlite3_open_v2(o->db->path, &o->db->h, flags, db_wal_vfs());
	if (rc != SQLITE_OK)
		return refuse_rc(o, rc);
	/* before the first access: no shared memory file, no second user */
	err = do_sql(o, "PRAGMA locking_mode=EXCLUSIVE");
	if (!err)
		err = check_owner(o, &version);
	for (i = 0; !err && i < sizeof(settings) / sizeof(*settings); i++)
		err = do_sql(o, settings[i]);
	if (!err)
		err = limit_log(o);
	if (!err && (err = db_prep_control(o->db)))
		err = refuse_err(o, err);
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
	o.db->essential = 1;
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
