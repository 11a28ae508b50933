/* file_drain -- waits until what is uncommitted is committed; see file.h. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "file_internal.h"
#include "log.h"
#include "text.h"

enum { LOGGED_MAX = 20 };	/* files named one by one */

/* Shared by files_drain() and the flushes that it waits for. */
struct drain {
	pthread_mutex_t lock;
	pthread_cond_t done;
	size_t left;		/* flushes */
	size_t refs;		/* theirs and files_drain()'s */
	int err;		/* the first */
};

static void drain_put(struct drain *d, size_t flushes)
{
	int last;

	pthread_mutex_lock(&d->lock);
	d->left -= flushes;
	last = --d->refs == 0;
	pthread_cond_signal(&d->done);
	pthread_mutex_unlock(&d->lock);
	if (!last)
		return;
	pthread_cond_destroy(&d->done);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

static void drained(void *arg, int err)
{
	struct drain *d = arg;

	pthread_mutex_lock(&d->lock);
	if (!d->err)
		d->err = err;
	pthread_mutex_unlock(&d->lock);
	drain_put(d, 1);
}

static int drain_wait(struct drain *d, uint32_t ms)
{
	struct timespec t;
	int err = 0;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += ms % 1000 * 1000000L;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	pthread_mutex_lock(&d->lock);
	while (d->left && !err)
		err = pthread_cond_timedwait(&d->done, &d->lock, &t);
	if (d->err)
		err = d->err;
	else
		err = d->left ? -ETIMEDOUT : 0;
	pthread_mutex_unlock(&d->lock);
	return err;
}

static struct drain *drain_new(size_t n)
{
	struct drain *d = calloc(1, sizeof(*d));
	pthread_condattr_t attr;

	if (!d)
		return NULL;
	pthread_mutex_init(&d->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&d->done, &attr);
	pthread_condattr_destroy(&attr);
	d->left = n;
	d->refs = n + 1;
	return d;
}

static uint64_t unsaved_bytes(struct file *f)
{
	const struct extent *e;
	struct slot *s, *next;
	uint64_t n = 0;

	pthread_mutex_lock(&f->lock);
	TAILQ_FOREACH(e, &f->extents, all)
		n += e->len;
	HASH_ITER(hh, f->slots, s, next)
		for (uint32_t i = 0; i < s->dirty.n; i++)
			n += s->dirty.v[i].len;
	n += f->append.n ? f->append.v[0].len : 0;
	pthread_mutex_unlock(&f->lock);
	return n;
}

/* The time is up: what is lost, by name as far as it is known here. */
static void log_unsaved(struct files *fs)
{
	char text[16];
	uint64_t bytes, all = 0;
	struct file **v;
	size_t n, files = 0;

	v = files_list(fs, 1, UINT64_MAX, &n);
	for (size_t i = 0; i < n; i++) {
		bytes = unsaved_bytes(v[i]);
		all += bytes;
		if (bytes && files++ < LOGGED_MAX)
			log_error("inode %llu: %s were not saved",
				  (unsigned long long)v[i]->ino,
				  size_text(bytes, text));
		file_put(v[i]);
	}
	free(v);
	if (files)
		log_error("in all %zu file%s with %s not saved: the tracker "
			  "or the peers did not answer in time", files,
			  files == 1 ? "" : "s", size_text(all, text));
}

int files_drain(struct files *fs, uint32_t ms)
{
	struct drain *d;
	struct file **v;
	size_t n;
	int err;

	v = files_list(fs, 1, UINT64_MAX, &n);
	d = v ? drain_new(n) : NULL;
	for (size_t i = 0; i < n; i++) {
		if (d)
			file_wait(v[i], NULL, 0, drained, d);
		file_put(v[i]);
	}
	free(v);
	if (!d)
		return -ENOMEM;
	err = drain_wait(d, ms);
	if (err == -ETIMEDOUT)
		log_unsaved(fs);
	drain_put(d, 0);
	return err;
}
