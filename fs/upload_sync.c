/*
 * upload_sync -- what was uploaded without sync, and making it durable.
 *
 * Happy path: the chunks asked for are grouped by who stores them, each
 * holder gets one request, and all of them answer.
 * Failure: a chunk that not one holder made durable fails the sync.  It is
 * forgotten all the same: what the disk has lost once is never retried into
 * success.  A failure in the background is kept for who asks later.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "log.h"
#include "upload_internal.h"

#define SYNC_MS 60000		/* the deadline of a holder's answer */

struct group {			/* what one holder is to sync */
	struct sync *sync;
	struct pool_work pool;
	uint32_t num;
	UT_hash_handle hh;
	uint64_t *ids;
	uint32_t *index;	/* of each in sync.ids */
	uint32_t n, cap;
	uint32_t at;		/* so many were sent */
};

struct sync {
	struct upload *u;
	void (*done)(void *arg, int err);	/* NULL: in the background */
	void *arg;
	uint64_t *ids;
	uint8_t *safe;		/* guarded by upload.lock: one holder has it */
	uint32_t n;
	int err;		/* known before it began */
	struct group *groups;	/* uthash by num; fixed after start */
	unsigned out;		/* guarded by upload.lock */
};

/* ----------------------------------------------------------- the table */

static void tidy(struct upload *u);

int upload_remember(struct upload *u, const struct upload_job *j)
{
	struct unsynced *e, *old;
	int many, kept;

	e = malloc(sizeof(*e) + j->n_stored * sizeof(*e->nums));
	if (!e)
		return -ENOMEM;
	e->id = j->chunk;
	e->failed = 0;
	e->n = j->n_stored;
	memcpy(e->nums, j->stored, e->n * sizeof(*e->nums));
	pthread_mutex_lock(&u->lock);
	HASH_REPLACE(hh, u->unsynced, id, sizeof(e->id), e, old);
	kept = TABLE_ADDED(e);
	many = HASH_COUNT(u->unsynced) > UPLOAD_UNSYNCED_MAX && !u->tidying;
	u->tidying |= many;
	pthread_mutex_unlock(&u->lock);
	free(old);
	if (!kept)
		free(e);
	if (many)
		tidy(u);
	return kept ? 0 : -ENOMEM;
}

void upload_forget_all(struct upload *u)
{
	struct unsynced *e, *next;

	HASH_ITER (hh, u->unsynced, e, next) {
		HASH_DEL(u->unsynced, e);
		free(e);
	}
}

/* Call with the lock held. */
static struct unsynced *find(struct upload *u, uint64_t id)
{
	struct unsynced *e;

	HASH_FIND(hh, u->unsynced, &id, sizeof(id), e);
	return e;
}

/* ------------------------------------------------------------- its groups */

static int group_add(struct sync *s, uint32_t num, uint64_t id, uint32_t index)
{
	struct group *g;

	HASH_FIND(hh, s->groups, &num, sizeof(num), g);
	if (!g) {
		g = calloc(1, sizeof(*g));
		if (!g)
			return -ENOMEM;
		g->sync = s;
		g->num = num;
		HASH_ADD(hh, s->groups, num, sizeof(g->num), g);
		if (!TABLE_ADDED(g)) {
			free(g);
			return -ENOMEM;
		}
	}
	if (g->n == g->cap) {
		uint32_t cap = g->cap ? 2 * g->cap : 16;
		uint64_t *ids = realloc(g->ids, cap * sizeof(*ids));
		uint32_t *idx;

		if (!ids)
			return -ENOMEM;
		g->ids = ids;
		idx = realloc(g->index, cap * sizeof(*idx));
		if (!idx)
			return -ENOMEM;
		g->index = idx;
		g->cap = cap;
	}
	g->ids[g->n] = id;
	g->index[g->n++] = index;
	return 0;
}

/* Call with the lock held. */
static int sync_add(struct sync *s, const struct unsynced *e)
{
	int err = 0;

	s->ids[s->n] = e->id;
	for (uint32_t i = 0; i < e->n && !err; i++)
		err = group_add(s, e->nums[i], e->id, s->n);
	s->n++;
	return err;
}

/* It failed in the background: told now, once. */
static int sync_add_lost(struct sync *s, const struct unsynced *e)
{
	s->ids[s->n++] = e->id;
	return -EIO;
}

static void sync_free(struct sync *s)
{
	struct group *g, *next;

	if (!s)
		return;
	HASH_ITER (hh, s->groups, g, next) {
		HASH_DEL(s->groups, g);
		free(g->ids);
		free(g->index);
		free(g);
	}
	free(s->ids);
	free(s->safe);
	free(s);
}

static struct sync *sync_new(struct upload *u, uint32_t max)
{
	struct sync *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->u = u;
	s->ids = calloc(max + 1, sizeof(*s->ids));
	s->safe = calloc(max + 1, 1);
	if (!s->ids || !s->safe) {
		sync_free(s);
		return NULL;
	}
	return s;
}

/* ---------------------------------------------------------------- the end */

static void sync_finish(struct sync *s)
{
	struct upload *u = s->u;
	int err = s->err;

	pthread_mutex_lock(&u->lock);
	for (uint32_t i = 0; i < s->n; i++) {
		struct unsynced *e = find(u, s->ids[i]);

		if (!s->safe[i])
			err = err ? err : -EIO;
		if (!e)
			continue;
		if (!s->safe[i] && !s->done) {
			e->failed = 1;
			continue;
		}
		HASH_DEL(u->unsynced, e);
		free(e);
	}
	if (!s->done)
		u->tidying = 0;
	pthread_mutex_unlock(&u->lock);
	if (err && err != -ECANCELED)
		log_error("%" PRIu32 " chunks could not all be made durable: "
			  "%s", s->n, strerror(-err));
	if (s->done)
		s->done(s->arg, err);
	sync_free(s);
	gate_leave(&u->gate);
}

static void group_done(struct group *g, int err)
{
	struct sync *s = g->sync;
	struct upload *u = s->u;
	char name[ADDR_TEXT_MAX];
	unsigned left;

	if (err && err != -ECANCELED)
		log_warn("%s did not sync %" PRIu32 " chunks: %s",
			 peers_name(u->parts->peers, g->num, name), g->n,
			 strerror(-err));
	pthread_mutex_lock(&u->lock);
	for (uint32_t i = 0; i < g->n && !err; i++)
		s->safe[g->index[i]] = 1;
	left = --s->out;
	pthread_mutex_unlock(&u->lock);
	if (!left)
		sync_finish(s);
}

/* ------------------------------------------------------------ its course */

static void sync_here(struct pool_work *w)
{
	struct group *g = container_of(w, struct group, pool);

	group_done(g, store_sync(g->sync->u->parts->store, g->ids, g->n));
}

static void send_part(struct group *g);

static void on_sync(void *arg, int err, const struct rpc_answer *a)
{
	struct group *g = arg;

	(void)a;
	if (!err && g->at < g->n)
		send_part(g);
	else
		group_done(g, err);
}

/* As many as a message may name. */
static void send_part(struct group *g)
{
	uint32_t left = g->n - g->at;
	struct m_sync m = {
		.chunks = g->ids + g->at,
		.n_chunks = left < MSG_HAVE_MAX ? left : MSG_HAVE_MAX,
	};
	struct wr w = WR_INIT;

	g->at += m.n_chunks;
	m_sync_encode(&w, &m);	/* a failure shows in w.err */
	peers_call(g->sync->u->parts->peers, g->num, M_sync, 0, &w, NULL, 0,
		   SYNC_MS, on_sync, g);
}

static void group_start(struct group *g, uint32_t our_num)
{
	if (g->num == our_num) {
		g->pool.fn = sync_here;
		pool_run(g->sync->u->parts->pool, &g->pool);
	} else {
		send_part(g);
	}
}

/* Takes @s, and the caller's place in the gate. */
static void sync_start(struct sync *s)
{
	struct group *g, *next;
	struct link_info us;

	link_info(s->u->parts->link, &us);
	s->out = HASH_COUNT(s->groups);
	if (!s->out) {
		sync_finish(s);
		return;
	}
	/* The last one to answer frees them all. */
	for (g = s->groups; g; g = next) {
		next = g->hh.next;
		group_start(g, us.num);
	}
}

static void tidy(struct upload *u)
{
	struct sync *s = NULL;
	struct unsynced *e;

	if (!gate_enter(&u->gate)) {
		s = sync_new(u, UPLOAD_UNSYNCED_BATCH);
		if (!s)
			gate_leave(&u->gate);
	}
	pthread_mutex_lock(&u->lock);
	if (!s)
		u->tidying = 0;
	for (e = u->unsynced; s && e && s->n < UPLOAD_UNSYNCED_BATCH;
	     e = e->hh.next)
		if (!e->failed && !s->err)
			s->err = sync_add(s, e);
	pthread_mutex_unlock(&u->lock);
	if (s)
		sync_start(s);
}

void upload_sync(struct upload *u, const uint64_t *ids, uint32_t n,
		 void (*done)(void *arg, int err), void *arg)
{
	struct sync *s;
	int err = gate_enter(&u->gate);

	if (err) {
		done(arg, err);
		return;
	}
	s = sync_new(u, n);
	if (!s) {
		gate_leave(&u->gate);
		done(arg, -ENOMEM);
		return;
	}
	s->done = done;
	s->arg = arg;
	pthread_mutex_lock(&u->lock);
	for (uint32_t i = 0; i < n; i++) {
		struct unsynced *e = find(u, ids[i]);

		if (e)
			err = e->failed ? sync_add_lost(s, e) : sync_add(s, e);
		if (err)
			s->err = err;
	}
	pthread_mutex_unlock(&u->lock);
	sync_start(s);
}
