/*
 * meta -- the metadata thread: it alone runs the core, in batches.
 *
 * Jobs run in the order in which they were posted, up to META_BATCH of them
 * between a core_begin() and its core_end(), which commits them all.  While
 * one batch is committed the next gathers: the busier, the larger.  Time
 * passes for the core (core_tick) every META_TICK_MS, also without jobs.
 *
 * Threads: meta_post() from any; jobs run on the metadata thread.
 */
#ifndef PSPFS_META_H
#define PSPFS_META_H

#include <sys/queue.h>

#include "core.h"

#define META_BATCH 512
#define META_TICK_MS 100

struct meta;

struct meta_job {
	STAILQ_ENTRY(meta_job) link;	/* meta's */
	/* Takes the job. */
	void (*run)(struct meta_job *j, struct core *c);
};

int meta_start(struct meta **out, struct core *core);
void meta_post(struct meta *m, struct meta_job *j);
/* Runs what is queued, ends the thread.  Nobody may be posting any more. */
void meta_stop(struct meta *m);

struct core_time meta_now(void);

#endif
