/*
 * db -- the tracker's database: a small face over SQLite.
 *
 * The namespace is written against this header alone, so that another engine
 * can come behind it.  Statements are prepared once and kept.
 *
 * Threads: one (the metadata thread).
 * Errors:  0 or -errno (-ENOSPC disk full, -EIO, -EBUSY, -EROFS, -ENOMEM);
 *          each is logged once with the engine's own words.
 */
#ifndef PSPFS_DB_H
#define PSPFS_DB_H

#include <stddef.h>
#include <stdint.h>

struct db;
struct db_stmt;

/* Open or create @path (":memory:" for tests) and bring its schema
 * (db_schema.h) up to date.  @why gets a sentence with cause and mend on
 * failure. */
int db_open(struct db **out, const char *path, char *why, size_t why_len);
void db_close(struct db *db);

/* One transaction a batch.  db_commit(sync=1) returns only once it and all
 * before it is on the disk; without, it survives the death of the process.
 * On an error the batch is rolled back; db_rollback() without a batch does
 * nothing.  When the disk is full SQLite gives up a whole batch at once:
 * everything else in it, and its commit, then fail with that error; the
 * commit also fails if an operation could not be undone.  Once
 * the disk refused to sync, every later batch gives -EIO. */
int db_begin(struct db *db);
/*
 * A full disk fails changes, not those who read in the same batch: room for a
 * batch is kept ahead, in the log.  While the disk has none to keep (db_begin()
 * looks each time) whatever would change something gives -ENOSPC by itself,
 * and the batch can be committed all the same.
 */
int db_full(const struct db *db);
/* What follows may use the room that is kept, or may not.  At first it may. */
void db_essential(struct db *db, int yes);
int db_commit(struct db *db, int sync);
void db_rollback(struct db *db);
/* Grows with every batch that was rolled back: what was learnt in memory
 * from the database has to be read again. */
uint64_t db_rollbacks(const struct db *db);
/* Inside a batch: one operation that can be undone alone. */
int db_op_begin(struct db *db);
int db_op_end(struct db *db, int keep);

/* A prepared statement, made on first use and cached by its text's address;
 * it must not be in the middle of its rows (db_reset() ends that).  Never
 * NULL: if it cannot be made, db_step() says why. */
struct db_stmt *db_prep(struct db *db, const char *sql);
void db_bind_u64(struct db_stmt *s, int at, uint64_t v);	/* at from 1 */
void db_bind_i64(struct db_stmt *s, int at, int64_t v);
void db_bind_blob(struct db_stmt *s, int at, const void *p, size_t n);
void db_bind_null(struct db_stmt *s, int at);
/* 1: a row; 0: done (and reset); -errno (and reset).  The bound bytes must
 * live until then. */
int db_step(struct db_stmt *s);
/* Run to the end: 0 or -errno. */
int db_run(struct db_stmt *s);
void db_reset(struct db_stmt *s);
uint64_t db_u64(struct db_stmt *s, int col);	/* col from 0 */
int64_t db_i64(struct db_stmt *s, int col);
/* Valid until the next step or reset. */
const void *db_blob(struct db_stmt *s, int col, size_t *n);
int db_is_null(struct db_stmt *s, int col);
/* Rows changed by the last db_run. */
int db_changes(struct db *db);
/* How large the database is.  0 or -errno. */
int db_size(struct db *db, uint64_t *bytes);

#endif
