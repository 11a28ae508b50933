/* sums_internal -- what the files of sums share. */
#ifndef PSPFS_SUMS_INTERNAL_H
#define PSPFS_SUMS_INTERNAL_H

#include <pthread.h>
#include <sys/queue.h>

#include "sums.h"
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

/* Of @n blocks, not yet filled in; NULL: no memory. */
struct chunk_sums *chunk_sums_new(uint64_t id, size_t n);
/* Takes @c. */
void chunk_sums_put(struct sums *s, struct chunk_sums *c);

#endif
