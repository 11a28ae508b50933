/*
 * pool -- a few threads for work that blocks (disk I/O).
 *
 * Threads: pool_run from any; @fn runs on a pool thread.
 */
#ifndef PSPFS_POOL_H
#define PSPFS_POOL_H

#include <sys/queue.h>

struct pool;

struct pool_work {
	void (*fn)(struct pool_work *w);
	STAILQ_ENTRY(pool_work) next;	/* the pool's */
};

int pool_new(struct pool **out, const char *name, int threads);
void pool_run(struct pool *p, struct pool_work *w);
/* Runs what is queued, then ends the threads. */
void pool_free(struct pool *p);

#endif
