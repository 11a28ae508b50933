/*
 * meta -- the metadata thread: it alone runs the core, in batches.
 *
 * It is an event loop that owns the control connections too: a request is
 * read, run, committed and answered without changing threads.  What the
 * sockets brought in one turn is a batch, up to META_BATCH jobs between a
 * core_begin() and its core_end(), which commits them all: the busier, the
 * larger.  Time passes for the core (core_tick) every META_TICK_MS.
 *
 * Threads: meta_post() from any; jobs run on the metadata thread, in the
 *          order in which they were posted.
 */
#ifndef PSPFS_META_H
#define PSPFS_META_H

#include <sys/queue.h>

#include "core.h"
#include "loop.h"

#define META_BATCH 512
#define META_TICK_MS 100

struct meta;

struct meta_job {
	STAILQ_ENTRY(meta_job) link;	/* meta's */
	/* Takes the job. */
	void (*run)(struct meta_job *j, struct core *c);
};

int meta_start(struct meta **out, struct core *core);
struct loop *meta_loop(struct meta *m);
void meta_post(struct meta *m, struct meta_job *j);
/* Runs what is queued, ends the thread.  Nobody may be posting any more. */
void meta_stop(struct meta *m);

struct core_time meta_now(void);

#endif
