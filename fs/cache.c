/* cache -- a hash table of buffers and a list of them in order of use. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "cache.h"
#include "table.h"

struct cached {
	uint64_t chunk;
	struct buf *buf;
	TAILQ_ENTRY(cached) lru;
	UT_hash_handle hh;
};

TAILQ_HEAD(cached_list, cached);

struct cache {
	size_t limit, total;		/* fixed after cache_new() */

	pthread_mutex_t lock;
	/* guarded by lock */
	struct cached *table;
	struct cached_list lru;		/* oldest first */
	size_t bytes;
};

int cache_new(struct cache **out, size_t limit_bytes, size_t total_bytes)
{
	struct cache *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->limit = limit_bytes;
	c->total = total_bytes > limit_bytes ? total_bytes : limit_bytes;
	pthread_mutex_init(&c->lock, NULL);
	TAILQ_INIT(&c->lru);
	*out = c;
	return 0;
}

static struct cached *find(struct cache *c, uint64_t chunk)
{
	struct cached *e;

	HASH_FIND(hh, c->table, &chunk, sizeof(chunk), e);
	return e;
}

/* Move it to @gone, to be let go once the lock is released. */
static void take_out(struct cache *c, struct cached *e,
		     struct cached_list *gone)
{
	HASH_DEL(c->table, e);
	TAILQ_REMOVE(&c->lru, e, lru);
	c->bytes -= e->buf->cap;
	TAILQ_INSERT_TAIL(gone, e, lru);
}

static void let_go(struct cached_list *gone)
{
	struct cached *e;

	while ((e = TAILQ_FIRST(gone))) {
		TAILQ_REMOVE(gone, e, lru);
		buf_unref(e->buf);
		free(e);
	}
}

void cache_free(struct cache *c)
{
	struct cached_list gone = TAILQ_HEAD_INITIALIZER(gone);
	struct cached *e;

	if (!c)
		return;
	while ((e = TAILQ_FIRST(&c->lru)))
		take_out(c, e, &gone);
	let_go(&gone);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

struct buf *cache_get(struct cache *c, uint64_t chunk)
{
	struct buf *b = NULL;
	struct cached *e;

	pthread_mutex_lock(&c->lock);
	e = find(c, chunk);
	if (e) {
		TAILQ_REMOVE(&c->lru, e, lru);
		TAILQ_INSERT_TAIL(&c->lru, e, lru);
		b = buf_ref(e->buf);
	}
	pthread_mutex_unlock(&c->lock);
	return b;
}

/* How much it may hold now. */
static size_t room(const struct cache *c)
{
	size_t all = buf_in_use(), others = all > c->bytes ? all - c->bytes : 0;
	size_t left = others < c->total ? c->total - others : 0;

	return left < c->limit ? left : c->limit;
}

static void shrink(struct cache *c, size_t most, struct cached_list *gone)
{
	while (c->bytes > most)
		take_out(c, TAILQ_FIRST(&c->lru), gone);
}

void cache_trim(struct cache *c)
{
	struct cached_list gone = TAILQ_HEAD_INITIALIZER(gone);

	if (buf_in_use() <= c->total)
		return;
	pthread_mutex_lock(&c->lock);
	shrink(c, room(c), &gone);
	pthread_mutex_unlock(&c->lock);
	let_go(&gone);
}

/* One that is there is replaced: the newer was verified later. */
void cache_put(struct cache *c, uint64_t chunk, struct buf *b)
{
	struct cached_list gone = TAILQ_HEAD_INITIALIZER(gone);
	struct cached *e, *old;

	if (b->cap > c->limit)
		return;
	e = calloc(1, sizeof(*e));
	if (!e)
		return;		/* a cache may forget */
	e->chunk = chunk;
	e->buf = buf_ref(b);
	pthread_mutex_lock(&c->lock);
	old = find(c, chunk);
	if (old)
		take_out(c, old, &gone);
	shrink(c, c->limit - b->cap, &gone);
	HASH_ADD(hh, c->table, chunk, sizeof(e->chunk), e);
	if (TABLE_ADDED(e)) {
		TAILQ_INSERT_TAIL(&c->lru, e, lru);
		c->bytes += b->cap;
	} else {
		TAILQ_INSERT_TAIL(&gone, e, lru);
	}
	shrink(c, room(c), &gone);
	pthread_mutex_unlock(&c->lock);
	let_go(&gone);
}

void cache_drop(struct cache *c, uint64_t chunk)
{
	struct cached_list gone = TAILQ_HEAD_INITIALIZER(gone);
	struct cached *e;

	pthread_mutex_lock(&c->lock);
	e = find(c, chunk);
	if (e)
		take_out(c, e, &gone);
	pthread_mutex_unlock(&c->lock);
	let_go(&gone);
}

size_t cache_bytes(struct cache *c)
{
	size_t n;

	pthread_mutex_lock(&c->lock);
	n = c->bytes;
	pthread_mutex_unlock(&c->lock);
	return n;
}
