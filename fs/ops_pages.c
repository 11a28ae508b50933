/*
 * ops_pages -- pages of open files that the kernel is to forget.
 *
 * A read(2) asks for the attributes first and so notices that content has
 * changed; a load from a mapping asks nobody.  So when the lease of an open
 * file ends its pages are taken away: the next load reads anew.
 *
 * That waits for reads of these pages that are under way, and for dirty ones
 * to be written: it is done by a thread of its own, for which a revocation
 * waits a little, but not for ever: then mappings follow after it.  (The
 * little matters: while pages are taken away the kernel throws away answers
 * about attributes, and a process that asks for the size gets the old one.)
 * Due inodes are a set, no longer than the list of open files.
 */
#include <stdlib.h>
#include <time.h>

#include "kernel.h"
#include "log.h"
#include "ops_call.h"

enum { WAIT_MS = 500 };

struct stale {
	UT_hash_handle hh;
	uint64_t ino;
};

/* The next one due; 0: none, and the thread's work is over. */
static uint64_t take(struct ops *o)
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
		o->forgetting = 0;
		pthread_cond_broadcast(&o->forgot);
	}
	pthread_mutex_unlock(&o->lock);
	return ino;
}

static void forget(struct pool_work *w)
{
	struct ops *o = container_of(w, struct ops, forget);
	uint64_t ino;

	while ((ino = take(o))) {
		struct files *files = ops_files_use(o);

		if (!files)
			continue;
		if (files_has_handles(files, ino))
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

void ops_pages_gone(struct ops *o, const uint64_t *inos, uint32_t n)
{
	uint32_t missed = 0;
	int start;

	pthread_mutex_lock(&o->lock);
	for (uint32_t i = 0; i < n; i++)
		missed += !add(o, inos[i]);
	start = o->stale && !o->forgetting;
	o->forgetting |= start;
	pthread_mutex_unlock(&o->lock);
	if (missed)
		log_error("no memory: mappings of %u files may show what was "
			  "there before another mount changed it", missed);
	if (start)
		pool_run(o->pages, &o->forget);
}

void ops_pages_wait(struct ops *o)
{
	struct timespec end;
	int err = 0;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_nsec += WAIT_MS * 1000000L;
	if (end.tv_nsec >= 1000000000) {
		end.tv_sec++;
		end.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&o->lock);
	while (o->forgetting && !err)
		err = pthread_cond_timedwait(&o->forgot, &o->lock, &end);
	pthread_mutex_unlock(&o->lock);
}

int ops_pages_init(struct ops *o)
{
	pthread_cond_init(&o->forgot, NULL);
	o->forget.fn = forget;
	return pool_new(&o->pages, "pages", 1);
}

void ops_pages_fini(struct ops *o)
{
	if (o->pages)
		pool_free(o->pages);
	pthread_cond_destroy(&o->forgot);
}
