/*
 * db_internal -- what the files of the database share; nobody else includes it.
 *
 *   db_sqlite.c  statements, transactions, errors
 *   db_open.c    opening: whose file is it, which version has it
 */
#ifndef PSPFS_DB_INTERNAL_H
#define PSPFS_DB_INTERNAL_H

#include <sqlite3.h>

#include "db.h"
#include "spell.h"
#include "table.h"

struct db_stmt {
	struct db *db;
	const char *sql;
	sqlite3_stmt *st;	/* NULL: could not be prepared, see err */
	int err;		/* of preparing or binding, sticky */
	int changes;		/* something, perhaps */
	UT_hash_handle hh;
};

struct db {
	sqlite3 *h;
	struct db_stmt *stmts;
	struct db_stmt no_memory;	/* what db_prep returns then */
	uint64_t rollbacks;
	int in_batch;
	int op;			/* one is under way, ... */
	int op_first;		/* ... and nothing had changed before it */
	int64_t begun_at;	/* sqlite3_total_changes64() as the batch began */
	int lost;		/* why SQLite rolled the batch back itself */
	int spoilt;		/* an operation could not be undone: why */
	int dead;		/* a sync failed: what is on disk is unknown */
	int full;		/* there is no room to keep for a batch */
	int essential;		/* this may be done all the same */
	struct spell no_room;	/* said once */
	char path[];
};

/* db_wal.c: the sqlite3_vfs that gathers what goes to the log; and what it has
 * gathered is to go out: SQLITE_OK, or why not. */
const char *db_wal_vfs(void);
int db_wal_flush(sqlite3_file *f);
/* Let the file be so much longer than what SQLite has written to it. */
int db_wal_reserve(sqlite3_file *f, int bytes);

/* db_sqlite.c: the statements of transactions; 0 or -errno. */
int db_prep_control(struct db *db);

/* Of SQLite's result codes: -errno, or 0; what to do about it. */
int db_errno_of(int rc);
const char *db_mend_of(int rc);

#endif
