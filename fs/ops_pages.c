/*
 * ops_pages -- pages of open files that the kernel is to forget.
 *
 * A read(2) asks for the attributes first and so notices that content has
 * changed; a load from a mapping asks nobody.  So when the lease of an open
 * file ends its pages are taken away: the next load reads anew.
 *
 * That waits for reads of these pages that are under way, and for dirty ones
 * to be written, which may wait for the tracker: it is done by threads of its
 * own, for which a revocation waits, but not for ever.  (A circle of that is
 * rare: it takes two mounts that each read what both of them are changing.  A
 * thread that only comes late on a busy machine is not: so it is a second.)
 *
 * It waits at all because the kernel then also throws away the answer to any
 * question for attributes that is under way, and goes by the old size.  That
 * is the first thing it does: what is asked once the revocation is
 * acknowledged, and the change returned, is asked after it.
 *
 * Due inodes are a set, no longer than the list of open files.  Directories
 * have no pages.
 */
#include <stdlib.h>
#include <time.h>

#include "kernel.h"
#include "log.h"
#include "ops_call.h"

struct stale {
	UT_hash_handle hh;
	uint64_t ino;
};

/* The next one due; 0: none, and this thread's work is over.  The one before
 * it is done. */
static uint64_t take(struct ops *o, struct forget *me)
{
	struct stale *s;
	uint64_t ino = 0;

	pthread_mutex_lock(&o->lock);
	s = o->stale;
	if (s) {
		ino = s->ino;
		HASH_DEL(o->stale, s);
		free(s);
	} else {
		me->busy = 0;
		o->forgetting--;
		pthread_cond_broadcast(&o->forgotten);
	}
	pthread_mutex_unlock(&o->lock);
	return ino;
}

static void forget(struct pool_work *w)
{
	struct forget *me = container_of(w, struct forget, work);
	struct ops *o = me->ops;
	uint64_t ino;

	while ((ino = take(o, me))) {
		struct files *files = ops_files_use(o);

		if (!files)
			continue;
		if (files_has_pages(files, ino))
			kernel_pages_gone(ops_fuse_ino(o, ino));
		ops_files_done(o);
	}
}

/* Is it due now?  o->lock is held. */
static int add(struct ops *o, uint64_t ino)
{
	struct stale *s;

	HASH_FIND(hh, o->stale, &ino, sizeof(ino), s);
	if (s)
		return 1;
	s = calloc(1, sizeof(*s));
	if (!s)
		return 0;
	s->ino = ino;
	HASH_ADD(hh, o->stale, ino, sizeof(s->ino), s);
	if (TABLE_ADDED(s))
		return 1;
	free(s);
	return 0;
}

/* A thread for what is due; NULL: all are busy.  o->lock is held. */
static struct forget *idle(struct ops *o)
{
	for (int i = 0; o->stale && i < OPS_FORGETTERS; i++) {
		struct forget *g = &o->forgetters[i];

		if (g->busy)
			continue;
		g->busy = 1;
		o->forgetting++;
		return g;
	}
	return NULL;
}

int ops_pages_gone(struct ops *o, struct files *files, const uint64_t *inos,
		   uint32_t n)
{
	uint32_t missed = 0, due = 0;
	struct forget *g;

	for (uint32_t i = 0; i < n; i++) {
		if (!files_has_pages(files, inos[i]))
			continue;
		due++;
		pthread_mutex_lock(&o->lock);
		missed += !add(o, inos[i]);
		pthread_mutex_unlock(&o->lock);
	}
	if (!due)
		return 0;
	pthread_mutex_lock(&o->lock);
	g = idle(o);
	pthread_mutex_unlock(&o->lock);
	if (missed)
		log_error("no memory: mappings of %u files may show what was "
			  "there before another mount changed it", missed);
	if (g)
		pool_run(o->pages, &g->work);
	return 1;
}

void ops_pages_wait(struct ops *o)
{
	struct timespec end;
	int err = 0;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += OPS_FORGET_MS * 1000000L;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	pthread_mutex_lock(&o->lock);
	while ((o->stale || o->forgetting) && !err)
		err = pthread_cond_timedwait(&o->forgotten, &o->lock, &end);
	pthread_mutex_unlock(&o->lock);
}

int ops_pages_init(struct ops *o)
{
	pthread_condattr_t monotonic;

	for (int i = 0; i < OPS_FORGETTERS; i++)
		o->forgetters[i] = (struct forget){ .work.fn = forget,
						    .ops = o };
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&o->forgotten, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return pool_new(&o->pages, "pages", OPS_FORGETTERS);
}

void ops_pages_fini(struct ops *o)
{
	if (!o->pages)
		return;
	pool_free(o->pages);
	pthread_cond_destroy(&o->forgotten);
}
