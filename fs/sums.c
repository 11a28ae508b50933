#include "sums.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <xxhash.h>

#include "table.h"

struct chunk_sums {
	uint64_t id;
	TAILQ_ENTRY(chunk_sums) lru;
	UT_hash_handle hh;
	size_t n;
	uint32_t sum[];
};

TAILQ_HEAD(sums_lru, chunk_sums);

struct sums {
	size_t most;		/* fixed */
	pthread_mutex_t lock;
	/* guarded by lock */
	struct chunk_sums *table;
	struct sums_lru lru;	/* first: the last used */
	size_t bytes;
};

int sums_new(struct sums **out, size_t bytes)
{
	struct sums *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->most = bytes;
	pthread_mutex_init(&s->lock, NULL);
	TAILQ_INIT(&s->lru);
	*out = s;
	return 0;
}

static size_t bytes_of(const struct chunk_sums *c)
{
	return c->n * sizeof(c->sum[0]);
}

static void drop(struct sums *s, struct chunk_sums *c)
{
	HASH_DEL(s->table, c);
	TAILQ_REMOVE(&s->lru, c, lru);
	s->bytes -= bytes_of(c);
	free(c);
}

void sums_free(struct sums *s)
{
	if (!s)
		return;
	while (!TAILQ_EMPTY(&s->lru))
		drop(s, TAILQ_FIRST(&s->lru));
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static size_t blocks_in(size_t len)
{
	return (len + SUMS_BLOCK - 1) / SUMS_BLOCK;
}

/* Of block @k of @data. */
static uint32_t sum_of(const uint8_t *data, size_t len, size_t k)
{
	size_t at = k * SUMS_BLOCK, n = len - at;

	return (uint32_t)XXH3_64bits(data + at, n < SUMS_BLOCK ? n
							       : SUMS_BLOCK);
}

static struct chunk_sums *find(struct sums *s, uint64_t chunk)
{
	struct chunk_sums *c;

	HASH_FIND(hh, s->table, &chunk, sizeof(chunk), c);
	if (c && c != TAILQ_FIRST(&s->lru)) {
		TAILQ_REMOVE(&s->lru, c, lru);
		TAILQ_INSERT_HEAD(&s->lru, c, lru);
	}
	return c;
}

/* Locked.  Takes @c. */
static void put(struct sums *s, struct chunk_sums *c)
{
	struct chunk_sums *old = find(s, c->id);

	if (old)
		drop(s, old);
	HASH_ADD(hh, s->table, id, sizeof(c->id), c);
	if (!TABLE_ADDED(c)) {
		free(c);
		return;
	}
	TAILQ_INSERT_HEAD(&s->lru, c, lru);
	s->bytes += bytes_of(c);
	while (s->bytes > s->most)
		drop(s, TAILQ_LAST(&s->lru, sums_lru));
}

void sums_add(struct sums *s, uint64_t chunk, const void *data, size_t len)
{
	size_t n = blocks_in(len);
	struct chunk_sums *c = malloc(sizeof(*c) + n * sizeof(c->sum[0]));

	if (!c)
		return;
	c->id = chunk;
	c->n = n;
	for (size_t k = 0; k < n; k++)
		c->sum[k] = sum_of(data, len, k);
	pthread_mutex_lock(&s->lock);
	put(s, c);
	pthread_mutex_unlock(&s->lock);
}

int sums_has(struct sums *s, uint64_t chunk)
{
	int has;

	pthread_mutex_lock(&s->lock);
	has = find(s, chunk) != NULL;
	pthread_mutex_unlock(&s->lock);
	return has;
}

int sums_match(struct sums *s, uint64_t chunk, size_t at, const void *data,
	       size_t len)
{
	size_t first = at / SUMS_BLOCK, n = blocks_in(len);
	const struct chunk_sums *c;
	int same;

	assert(at % SUMS_BLOCK == 0);
	pthread_mutex_lock(&s->lock);
	c = find(s, chunk);
	same = c && first <= c->n && n <= c->n - first;
	for (size_t k = 0; same && k < n; k++)
		same = sum_of(data, len, k) == c->sum[first + k];
	pthread_mutex_unlock(&s->lock);
	return same;
}
