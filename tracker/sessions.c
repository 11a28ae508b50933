#include "sessions.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct sessions {
	struct db *db;
	struct session *all;
	LIST_HEAD(session_list, session) changed;	/* in this batch */
};

static const char *const tables[] = {
	"CREATE TABLE IF NOT EXISTS sessions("
	"  id INTEGER PRIMARY KEY,"
	"  owner INTEGER NOT NULL,"
	"  epoch INTEGER NOT NULL,"
	"  ack INTEGER NOT NULL,"
	"  live INTEGER NOT NULL"
	") STRICT",
	"CREATE TABLE IF NOT EXISTS replies("
	"  session INTEGER NOT NULL,"
	"  seq INTEGER NOT NULL,"
	"  type INTEGER NOT NULL,"
	"  status INTEGER NOT NULL,"
	"  body BLOB NOT NULL,"
	"  PRIMARY KEY(session, seq)"
	") STRICT, WITHOUT ROWID",
};

/* --------------------------------------------------------------- in memory */

struct session *sessions_find(const struct sessions *t, uint64_t id)
{
	struct session *s;

	HASH_FIND(hh, t->all, &id, sizeof(id), s);
	return s;
}

struct session *sessions_next(const struct sessions *t,
			      const struct session *s)
{
	return s ? s->hh.next : t->all;
}

struct session *sessions_add(struct sessions *t, uint64_t id, uint64_t owner,
			     int light)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->id = id;
	s->owner = owner;
	s->light = !!light;
	holder_init(&s->holder);
	HASH_ADD(hh, t->all, id, sizeof(s->id), s);
	if (TABLE_ADDED(s))
		return s;
	free(s);
	return NULL;
}

static void mark(struct sessions *t, struct session *s)
{
	if (s->in_batch)
		return;
	s->in_batch = 1;
	LIST_INSERT_HEAD(&t->changed, s, changed);
}

static void unmark(struct session *s)
{
	if (s->in_batch)
		LIST_REMOVE(s, changed);
	s->in_batch = 0;
}

void sessions_free(struct sessions *t, struct session *s)
{
	unmark(s);
	HASH_DELETE(hh, t->all, s);
	free(s);
}

/* ------------------------------------------------------------------ opening */

static int load_highest(struct sessions *t, struct session *s)
{
	struct db_stmt *q = db_prep(t->db,
				    "SELECT coalesce(max(seq), 0) FROM replies"
				    " WHERE session = ?");
	int got;

	db_bind_u64(q, 1, s->id);
	got = db_step(q);
	if (got == 1) {
		s->highest = db_u64(q, 0);
		db_reset(q);
		return 0;
	}
	return got ? got : -EIO;
}

static int load(struct sessions *t)
{
	struct db_stmt *q = db_prep(t->db, "SELECT id, owner, epoch, ack, live"
					   " FROM sessions");
	struct session *s;
	int got;

	while ((got = db_step(q)) == 1) {
		s = sessions_add(t, db_u64(q, 0), db_u64(q, 1), 0);
		if (!s) {
			db_reset(q);
			return -ENOMEM;
		}
		s->epoch = db_u64(q, 2);
		s->ack = db_u64(q, 3);
		s->live = !!db_u64(q, 4);
		s->deleted = s->ack;
	}
	for (s = t->all; !got && s; s = s->hh.next)
		got = load_highest(t, s);
	return got;
}

int sessions_open(struct sessions **out, struct db *db)
{
	struct sessions *t = calloc(1, sizeof(*t));
	int err;

	if (!t)
		return -ENOMEM;
	t->db = db;
	err = db_begin(db);
	if (err)
		goto out_close;
	for (size_t i = 0; !err && i < sizeof(tables) / sizeof(*tables); i++)
		err = db_run(db_prep(db, tables[i]));
	if (!err)
		err = load(t);
	if (!err)
		err = db_commit(db, 0);
	else
		db_rollback(db);
	if (err)
		goto out_close;
	*out = t;
	return 0;

out_close:
	sessions_close(t);
	return err;
}

void sessions_close(struct sessions *t)
{
	struct session *s, *next;

	if (!t)
		return;
	HASH_ITER (hh, t->all, s, next)
		sessions_free(t, s);
	free(t);
}

/* -------------------------------------------------------------------- rows */

int sessions_save(struct sessions *t, struct session *s)
{
	struct db_stmt *q;

	if (s->light)
		return 0;
	q = db_prep(t->db, "INSERT OR REPLACE INTO sessions"
			   "(id, owner, epoch, ack, live)"
			   " VALUES (?, ?, ?, ?, ?)");
	db_bind_u64(q, 1, s->id);
	db_bind_u64(q, 2, s->owner);
	db_bind_u64(q, 3, s->epoch);
	db_bind_u64(q, 4, s->ack);
	db_bind_u64(q, 5, s->live);
	mark(t, s);
	return db_run(q);
}

static int delete_replies(struct sessions *t, const struct session *s,
			  uint64_t below)
{
	struct db_stmt *q = db_prep(t->db, "DELETE FROM replies"
					   " WHERE session = ? AND seq < ?");

	db_bind_u64(q, 1, s->id);
	db_bind_u64(q, 2, below);
	return db_run(q);
}

int sessions_erase(struct sessions *t, struct session *s)
{
	struct db_stmt *q;
	int err;

	if (s->light)
		return 0;
	q = db_prep(t->db, "DELETE FROM sessions WHERE id = ?");
	db_bind_u64(q, 1, s->id);
	err = db_run(q);
	return err ? err : delete_replies(t, s, INT64_MAX);
}

/* ----------------------------------------------------------------- replies */

static int reply_load(struct sessions *t, const struct session *s,
		      uint64_t seq, struct arena *a, struct reply *out)
{
	struct db_stmt *q = db_prep(t->db, "SELECT type, status, body"
					   " FROM replies"
					   " WHERE session = ? AND seq = ?");
	const void *body;
	uint8_t *copy;
	int got;

	db_bind_u64(q, 1, s->id);
	db_bind_u64(q, 2, seq);
	got = db_step(q);
	if (got <= 0)
		return got ? got : SEQ_NEW;
	body = db_blob(q, 2, &out->len);
	copy = arena_alloc(a, out->len ? out->len : 1);
	if (copy) {
		if (out->len)
			memcpy(copy, body, out->len);
		out->type = (uint16_t)db_u64(q, 0);
		out->status = (uint16_t)db_u64(q, 1);
		out->body = copy;
	}
	db_reset(q);
	return copy ? SEQ_KNOWN : -ENOMEM;
}

int sessions_check(struct sessions *t, struct session *s, uint64_t seq,
		   uint64_t ack, struct arena *a, struct reply *out)
{
	/* never more than it can have been given: nothing new gets lost */
	if (ack > s->ack && ack <= INT64_MAX) {
		s->ack = ack;
		mark(t, s);
	}
	if (!seq || seq < s->ack || seq > INT64_MAX)
		return SEQ_STALE;
	if (seq > s->highest)
		return SEQ_NEW;
	return reply_load(t, s, seq, a, out);
}

int sessions_record(struct sessions *t, struct session *s, uint64_t seq,
		    const struct reply *r)
{
	struct db_stmt *q = db_prep(t->db, "INSERT OR REPLACE INTO replies"
					   "(session, seq, type, status, body)"
					   " VALUES (?, ?, ?, ?, ?)");

	db_bind_u64(q, 1, s->id);
	db_bind_u64(q, 2, seq);
	db_bind_u64(q, 3, r->type);
	db_bind_u64(q, 4, r->status);
	db_bind_blob(q, 5, r->body, r->len);
	if (seq > s->highest)
		s->highest = seq;
	mark(t, s);
	return db_run(q);
}

/* ------------------------------------------------------------ batch's end */

int sessions_flush(struct sessions *t)
{
	struct session *s;
	int err = 0;

	LIST_FOREACH(s, &t->changed, changed) {
		if (s->light || s->ack < s->deleted + SESSIONS_KEEP)
			continue;
		/* the row as well: without it a restart would take a stray
		 * duplicate of what is deleted here for something new */
		err = sessions_save(t, s);
		if (!err)
			err = delete_replies(t, s, s->ack);
		if (err)
			break;
		s->deleted = s->ack;
	}
	return err;
}

void sessions_committed(struct sessions *t)
{
	struct session *s;

	while ((s = LIST_FIRST(&t->changed)))
		unmark(s);
}

void sessions_rolled_back(struct sessions *t)
{
	struct session *s;

	while ((s = LIST_FIRST(&t->changed))) {
		unmark(s);
		s->deleted = 0;
		/* if it cannot be known, look for every answer */
		if (load_highest(t, s))
			s->highest = INT64_MAX;
	}
}
