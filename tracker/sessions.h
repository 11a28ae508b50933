/*
 * sessions -- who talks to the tracker, and the answers kept for each.
 *
 * A session outlives its connections: a change that was applied is answered
 * the same again, however often it is asked for.  The answer is recorded in
 * the change's own transaction, so that this holds across a restart too.
 *
 * A request to change carries its number (seq) and the lowest number whose
 * answer the session still lacks (ack).  Answers below it are deleted, in
 * ranges of at least SESSIONS_KEEP.
 *
 * Live: its lease runs.  Else it lapsed: it may resume, with its answers.
 * Light: of a role that only reads; it is in no database.
 *
 * Threads: one.  Errors: 0 or -errno of the database.
 */
#ifndef PSPFS_SESSIONS_H
#define PSPFS_SESSIONS_H

#include <stddef.h>
#include <stdint.h>

#include "codec.h"
#include "db.h"
#include "leases.h"
#include "table.h"

#define SESSIONS_KEEP 32

struct session {
	uint64_t id;
	uint64_t owner;		/* the peer's id */
	uint64_t epoch;		/* grows with each hello */
	uint8_t light, live;
	uint8_t guest;		/* its peer is one (not kept in its row) */
	uint64_t conn;		/* 0: none */
	uint64_t heard_ms;	/* the last hello or heartbeat */
	struct peer *peer;	/* NULL of a light one */
	uint8_t locked;		/* its locks changed in this batch */
	struct holder holder;
	uint64_t removes_in;	/* the directory of the last removal, */
	unsigned removes_late;	/* and how many there waited for others */

	/* the table's own */
	uint64_t ack;		/* answers below it are not needed */
	uint64_t highest;	/* seq recorded */
	uint64_t deleted;	/* answers below it are deleted */
	uint8_t in_batch;	/* row, answers or ack changed: in t->changed */
	LIST_ENTRY(session) changed;
	UT_hash_handle hh;
};

struct sessions;

/* Makes the tables and reads the sessions in a batch of its own; those found
 * live may hold anything. */
int sessions_open(struct sessions **out, struct db *db);
void sessions_close(struct sessions *t);

struct session *sessions_find(const struct sessions *t, uint64_t id);
/* NULL, then the first; the next of @s; any of them may be ended. */
struct session *sessions_next(const struct sessions *t,
			      const struct session *s);
/* In memory only; NULL: no memory. */
struct session *sessions_add(struct sessions *t, uint64_t id, uint64_t owner,
			     int light);
/* Inside the batch: write its row as it is now. */
int sessions_save(struct sessions *t, struct session *s);
/* Inside the batch: delete row and answers.  In memory it is the caller's
 * to free, with sessions_free(), once its leases are dropped. */
int sessions_erase(struct sessions *t, struct session *s);
void sessions_free(struct sessions *t, struct session *s);

struct reply {
	uint16_t type, status;
	const uint8_t *body;
	size_t len;
};

/* What is to be done with request @seq. */
enum seq_state {
	SEQ_NEW,
	SEQ_KNOWN,		/* *@out is its answer, in @a */
	SEQ_STALE,		/* acknowledged before: a stray duplicate */
};
/* enum seq_state or -errno. */
int sessions_check(struct sessions *t, struct session *s, uint64_t seq,
		   uint64_t ack, struct arena *a, struct reply *out);
/* In place of the one that it has, if it has one. */
int sessions_record(struct sessions *t, struct session *s, uint64_t seq,
		    const struct reply *r);

/* At the batch's end, before it is committed: delete what was acknowledged. */
int sessions_flush(struct sessions *t);
/* The batch was committed, or rolled back. */
void sessions_committed(struct sessions *t);
void sessions_rolled_back(struct sessions *t);

#endif
