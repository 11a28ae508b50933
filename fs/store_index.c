/*
 * store_index -- which chunks there are, who is changing them, what room
 * they take.  Nothing here touches the disk.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "store_impl.h"

static_assert(STORE_CHUNK_MAX < 1u << 25, "entry.len is too narrow");
static_assert(sizeof(struct entry) <= 88, "a million chunks outgrow 100 MB");

void index_init(struct store *s)
{
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->idle, NULL);
	TAILQ_INIT(&s->lru);
}

void index_fini(struct store *s)
{
	struct entry *e, *next;

	HASH_ITER(hh, s->index, e, next) {
		assert(!e->busy);
		HASH_DEL(s->index, e);
		free(e);
	}
	pthread_cond_destroy(&s->idle);
	pthread_mutex_destroy(&s->lock);
}

/* From here to the next bar: with the lock held. */

static struct entry *find(struct store *s, uint64_t id)
{
	struct entry *e;

	HASH_FIND(hh, s->index, &id, sizeof(id), e);
	return e;
}

static struct entry *add(struct store *s, uint64_t id, uint32_t len)
{
	struct entry *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->id = id;
	e->len = len;
	e->stamp = ++s->stamp;
	HASH_ADD(hh, s->index, id, sizeof(e->id), e);
	if (!TABLE_ADDED(e)) {
		free(e);
		return NULL;
	}
	s->used += store_size(len);
	return e;
}

/* Count a copy in or out as one of its kind. */
static void show(struct store *s, struct entry *e, enum copy_kind kind)
{
	e->kind = kind;
	e->ready = 1;
	s->chunks++;
	if (kind == COPY_CACHED) {
		TAILQ_INSERT_TAIL(&s->lru, e, lru);
		s->cached_bytes += store_size(e->len);
	}
}

static void hide(struct store *s, struct entry *e)
{
	if (!e->ready)
		return;
	e->ready = 0;
	s->chunks--;
	if (e->kind == COPY_CACHED) {
		TAILQ_REMOVE(&s->lru, e, lru);
		s->cached_bytes -= store_size(e->len);
	}
}

static void set_durable(struct entry *e)
{
	e->durable = 1;
	e->logged = e->len <= STORE_SMALL;
}

static void unclaim(struct store *s, struct entry *e)
{
	assert(e->busy);
	e->busy = 0;
	pthread_cond_broadcast(&s->idle);
}

static struct entry *claimed(struct store *s, uint64_t id)
{
	struct entry *e = find(s, id);

	assert(e && e->busy);
	return e;
}

static void snapshot(const struct entry *e, struct copy *c)
{
	c->id = e->id;
	c->len = e->len;
	c->stamp = e->stamp;
	c->kind = e->kind;
	c->durable = e->durable;
	c->logged = e->logged;
}

static void discard(struct store *s, struct entry *e)
{
	hide(s, e);
	unclaim(s, e);
	HASH_DEL(s->index, e);
	free(e);
}

/* ----------------------------------------------------- take the lock */

int index_load(struct store *s, const struct copy *c)
{
	struct entry *e;
	int err = 0;

	pthread_mutex_lock(&s->lock);
	if (find(s, c->id))
		err = -EEXIST;
	else if (!(e = add(s, c->id, c->len)))
		err = -ENOMEM;
	else
		show(s, e, c->kind);
	pthread_mutex_unlock(&s->lock);
	return err;
}

int index_use(struct store *s, uint64_t id, struct copy *c)
{
	struct entry *e;
	int err = -ENOENT;

	pthread_mutex_lock(&s->lock);
	e = find(s, id);
	if (e && e->ready) {
		if (e->kind == COPY_CACHED) {
			TAILQ_REMOVE(&s->lru, e, lru);
			TAILQ_INSERT_TAIL(&s->lru, e, lru);
		}
		snapshot(e, c);
		err = 0;
	}
	pthread_mutex_unlock(&s->lock);
	return err;
}

int index_claim(struct store *s, uint64_t id, struct copy *c)
{
	struct entry *e;

	pthread_mutex_lock(&s->lock);
	while ((e = find(s, id)) && e->busy)
		pthread_cond_wait(&s->idle, &s->lock);
	if (e) {
		e->busy = 1;
		snapshot(e, c);
	}
	pthread_mutex_unlock(&s->lock);
	return e ? 0 : -ENOENT;
}

int index_new(struct store *s, uint64_t id, uint32_t len)
{
	uint64_t size = store_size(len), kept;
	struct entry *e;
	int err = 0;

	pthread_mutex_lock(&s->lock);
	kept = s->used - s->cached_bytes;
	if (find(s, id))
		err = -EEXIST;
	else if (kept > s->capacity || size > s->capacity - kept)
		err = -ENOSPC;
	else if (s->used > s->capacity || size > s->capacity - s->used)
		err = -EAGAIN;
	else if (!(e = add(s, id, len)))
		err = -ENOMEM;
	else
		e->busy = 1;
	pthread_mutex_unlock(&s->lock);
	return err;
}

int index_victim(struct store *s, struct copy *c)
{
	struct entry *e;
	int err = 0;

	pthread_mutex_lock(&s->lock);
	TAILQ_FOREACH(e, &s->lru, lru)
		if (!e->busy)
			break;
	if (e) {
		e->busy = 1;
		s->evicting++;
		snapshot(e, c);
	} else if (s->evicting) {
		pthread_cond_wait(&s->idle, &s->lock);
		err = -EAGAIN;
	} else {
		err = -ENOSPC;
	}
	pthread_mutex_unlock(&s->lock);
	return err;
}

void index_victim_done(struct store *s)
{
	pthread_mutex_lock(&s->lock);
	s->evicting--;
	pthread_cond_broadcast(&s->idle);
	pthread_mutex_unlock(&s->lock);
}

void index_release(struct store *s, uint64_t id)
{
	pthread_mutex_lock(&s->lock);
	unclaim(s, claimed(s, id));
	pthread_mutex_unlock(&s->lock);
}

void index_logged(struct store *s, uint64_t id)
{
	struct entry *e;

	pthread_mutex_lock(&s->lock);
	e = claimed(s, id);
	e->logged = 1;
	unclaim(s, e);
	pthread_mutex_unlock(&s->lock);
}

void index_ready(struct store *s, uint64_t id, enum copy_kind kind,
		 int durable)
{
	struct entry *e;

	pthread_mutex_lock(&s->lock);
	e = claimed(s, id);
	if (e->kind != kind)
		e->durable = e->logged = 0;	/* it has a new name */
	hide(s, e);
	show(s, e, kind);
	if (durable)
		set_durable(e);
	unclaim(s, e);
	pthread_mutex_unlock(&s->lock);
}

void index_forget(struct store *s, uint64_t id)
{
	struct entry *e;

	pthread_mutex_lock(&s->lock);
	e = claimed(s, id);
	s->used -= store_size(e->len);
	discard(s, e);
	pthread_mutex_unlock(&s->lock);
}

void index_banish(struct store *s, uint64_t id)
{
	pthread_mutex_lock(&s->lock);
	discard(s, claimed(s, id));
	s->quarantined++;
	pthread_mutex_unlock(&s->lock);
}

void index_add_quarantined(struct store *s, uint64_t bytes)
{
	pthread_mutex_lock(&s->lock);
	s->quarantined++;
	s->used += bytes;
	pthread_mutex_unlock(&s->lock);
}

void index_set_durable(struct store *s, const struct copy *c)
{
	struct entry *e;

	pthread_mutex_lock(&s->lock);
	e = find(s, c->id);
	if (e && e->stamp == c->stamp && e->kind == c->kind)
		set_durable(e);
	pthread_mutex_unlock(&s->lock);
}

int store_has(struct store *s, uint64_t chunk)
{
	struct entry *e;
	int kind;

	if (health_refuses(s))
		return 0;
	pthread_mutex_lock(&s->lock);
	e = find(s, chunk);
	kind = e && e->ready ? (int)e->kind : 0;
	pthread_mutex_unlock(&s->lock);
	return kind;
}

void store_stat(struct store *s, struct store_stat *st)
{
	pthread_mutex_lock(&s->lock);
	st->capacity = health_capacity(s, s->capacity, s->used,
				       s->cached_bytes);
	st->used = s->used;
	st->chunks = s->chunks;
	st->cached_bytes = s->cached_bytes;
	st->quarantined = s->quarantined;
	pthread_mutex_unlock(&s->lock);
}

/*
 * Position: bucket << 16 | entries of it already told.  A call ends between
 * buckets whenever it can: the table only ever doubles, which moves an entry
 * to a higher bucket or none, so what stays in the store is not missed.
 */
size_t store_list(struct store *s, uint64_t *cursor, struct m_held *out,
		  size_t max)
{
	uint64_t b = *cursor >> 16, skip = *cursor & 0xffff;
	size_t n = 0;

	if (health_refuses(s))
		return 0;
	pthread_mutex_lock(&s->lock);
	for (; s->index && b < s->index->hh.tbl->num_buckets; b++) {
		UT_hash_bucket *bucket = &s->index->hh.tbl->buckets[b];
		UT_hash_handle *h = bucket->hh_head;
		size_t i = 0;

		if (n && bucket->count > max - n)
			break;
		for (; h && n < max; h = h->hh_next, i++) {
			struct entry *e = ELMT_FROM_HH(s->index->hh.tbl, h);

			if (i < skip || !e->ready)
				continue;
			out[n].id = e->id;
			out[n++].kind = e->kind;
		}
		skip = h ? i : 0;
		if (skip)
			break;
	}
	pthread_mutex_unlock(&s->lock);
	*cursor = b << 16 | skip;
	return n;
}
