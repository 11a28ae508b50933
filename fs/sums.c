#include "sums.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "sums_internal.h"

enum { SUMS_AT_ONCE = 128 };	/* blocks: the lock is not held meanwhile */

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

static size_t blocks_in(size_t len)
{
	return (len + SUMS_BLOCK - 1) / SUMS_BLOCK;
}

static size_t bytes_of(size_t blocks)
{
	return sizeof(struct chunk_sums) + blocks * sizeof(uint32_t);
}

size_t sums_bytes(size_t len)
{
	return bytes_of(blocks_in(len));
}

static void drop(struct sums *s, struct chunk_sums *c)
{
	HASH_DEL(s->table, c);
	TAILQ_REMOVE(&s->lru, c, lru);
	s->bytes -= bytes_of(c->n);
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
	s->bytes += bytes_of(c->n);
	while (s->bytes > s->most)
		drop(s, TAILQ_LAST(&s->lru, sums_lru));
}

void chunk_sums_put(struct sums *s, struct chunk_sums *c)
{
	pthread_mutex_lock(&s->lock);
	put(s, c);
	pthread_mutex_unlock(&s->lock);
}

struct chunk_sums *chunk_sums_new(uint64_t id, size_t n)
{
	struct chunk_sums *c = malloc(bytes_of(n));

	if (!c)
		return NULL;
	c->id = id;
	c->n = n;
	return c;
}

void sums_add(struct sums *s, uint64_t chunk, const void *data, size_t len)
{
	struct chunk_sums *c = chunk_sums_new(chunk, blocks_in(len));

	if (!c)
		return;
	for (size_t k = 0; k < c->n; k++)
		c->sum[k] = sum_of(data, len, k);
	chunk_sums_put(s, c);
}

int sums_has(struct sums *s, uint64_t chunk)
{
	int has;

	pthread_mutex_lock(&s->lock);
	has = find(s, chunk) != NULL;
	pthread_mutex_unlock(&s->lock);
	return has;
}

/* Of blocks [first, first+n) of a chunk that has @all, or more if @all is 0. */
static int match(struct sums *s, uint64_t chunk, size_t first,
		 const uint32_t *sum, size_t n, size_t all)
{
	const struct chunk_sums *c;
	int same;

	pthread_mutex_lock(&s->lock);
	c = find(s, chunk);
	same = c && first <= c->n && n <= c->n - first &&
	       (!all || all == c->n) &&
	       !memcmp(c->sum + first, sum, n * sizeof(*sum));
	pthread_mutex_unlock(&s->lock);
	return same;
}

static int match_some(struct sums *s, uint64_t chunk, size_t at,
		      const uint8_t *data, size_t len, size_t all)
{
	size_t n = blocks_in(len), some;
	uint32_t sum[SUMS_AT_ONCE];
	int same = 1;

	for (size_t k = 0; same && k < n; k += some) {
		some = n - k < SUMS_AT_ONCE ? n - k : SUMS_AT_ONCE;
		for (size_t i = 0; i < some; i++)
			sum[i] = sum_of(data, len, k + i);
		same = match(s, chunk, at / SUMS_BLOCK + k, sum, some, all);
	}
	return same;
}

int sums_match(struct sums *s, uint64_t chunk, size_t at, const void *data,
	       size_t len)
{
	assert(at % SUMS_BLOCK == 0);
	return match_some(s, chunk, at, data, len, 0);
}

int sums_match_all(struct sums *s, uint64_t chunk, const void *data,
		   size_t len)
{
	return sums_has(s, chunk) &&
	       match_some(s, chunk, 0, data, len, blocks_in(len));
}
