/*
 * store_ahead -- the disk begins with what was written, before anybody asks.
 *
 * Who copies a large file in and then calls fsync would otherwise write to
 * memory first, while the disk idles, and to the disk afterwards.  A thread of
 * its own tells the kernel to begin, since that waits where the disk is busy;
 * then there is no need for it, and what does not fit the queue is left to
 * the kernel.  No promise is made here: a sync finds out itself.
 */
#include <fcntl.h>
#include <unistd.h>

#include "store_impl.h"

static void *run(void *arg)
{
	struct ahead *a = arg;
	int fd;

	pthread_setname_np(pthread_self(), "ahead");
	pthread_mutex_lock(&a->lock);
	while (!a->stop || a->n) {
		if (!a->n) {
			pthread_cond_wait(&a->changed, &a->lock);
			continue;
		}
		fd = a->fds[a->first];
		a->first = (a->first + 1) % AHEAD_FDS;
		a->n--;
		pthread_mutex_unlock(&a->lock);
		(void)!sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
		close(fd);
		pthread_mutex_lock(&a->lock);
	}
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

void ahead_init(struct store *s)
{
	struct ahead *a = &s->ahead;

	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->changed, NULL);
	a->runs = !pthread_create(&a->thread, NULL, run, a);
}

void ahead_fini(struct store *s)
{
	struct ahead *a = &s->ahead;

	pthread_mutex_lock(&a->lock);
	a->stop = 1;
	pthread_cond_signal(&a->changed);
	pthread_mutex_unlock(&a->lock);
	if (a->runs)
		pthread_join(a->thread, NULL);
	pthread_mutex_destroy(&a->lock);
	pthread_cond_destroy(&a->changed);
}

void ahead_begin(struct store *s, int fd)
{
	struct ahead *a = &s->ahead;
	int copy = -1;

	pthread_mutex_lock(&a->lock);
	if (a->runs && a->n < AHEAD_FDS)
		copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy >= 0) {
		a->fds[(a->first + a->n++) % AHEAD_FDS] = copy;
		pthread_cond_signal(&a->changed);
	}
	pthread_mutex_unlock(&a->lock);
}
