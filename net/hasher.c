/* hasher -- see hasher.h. */
#include "hasher.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "counters.h"
#include "text.h"

enum { REST = 6 };	/* times what the last batch took */

struct hasher {
	pthread_t thread;	/* fixed after start */
	pthread_mutex_t lock;
	pthread_cond_t wake;	/* on CLOCK_MONOTONIC */
	/* guarded by lock */
	STAILQ_HEAD(hash_queue, hash_job) queue;
	size_t queued;
	uint64_t due_us;	/* the earliest of those queued */
	uint64_t rest_us;	/* until then others gather, though one is urgent */
	int ending;
};

/* Microseconds until what is queued is to be run; called with the lock. */
static uint64_t time_left(const struct hasher *h)
{
	uint64_t now;

	if (h->queued >= MD5_BATCH || h->ending)
		return 0;
	now = now_us();
	return now < h->due_us ? h->due_us - now : 0;
}

/* When the earliest of those that are left is due; called with the lock. */
static void find_due(struct hasher *h)
{
	const struct hash_job *j;

	h->due_us = UINT64_MAX;
	STAILQ_FOREACH(j, &h->queue, next)
		if (j->due_us < h->due_us)
			h->due_us = j->due_us;
}

static void wait_us(struct hasher *h, uint64_t us)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += (long)us * 1000;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&h->wake, &h->lock, &t);
}

/* Takes up to a batch off the queue; 0 when all is done and it shall end. */
static size_t next_batch(struct hasher *h, struct hash_job *out[MD5_BATCH])
{
	uint64_t left;
	size_t n = 0;

	pthread_mutex_lock(&h->lock);
	for (;;) {
		if (!STAILQ_EMPTY(&h->queue)) {
			left = time_left(h);
			if (!left)
				break;
			wait_us(h, left);
		} else if (h->ending) {
			break;
		} else {
			pthread_cond_wait(&h->wake, &h->lock);
		}
	}
	while (n < MD5_BATCH && !STAILQ_EMPTY(&h->queue)) {
		out[n] = STAILQ_FIRST(&h->queue);
		STAILQ_REMOVE_HEAD(&h->queue, next);
		n++;
	}
	h->queued -= n;
	find_due(h);
	pthread_mutex_unlock(&h->lock);
	return n;
}

/* A batch takes as long as its longest job, however many there are.  Those
 * who come one at a time have nothing to gather for. */
static void rest(struct hasher *h, size_t n, uint64_t took_us)
{
	uint64_t us = took_us * REST;

	if (us > HASHER_WAIT_US)
		us = HASHER_WAIT_US;
	pthread_mutex_lock(&h->lock);
	h->rest_us = n > 1 && n < MD5_BATCH ? now_us() + us : 0;
	pthread_mutex_unlock(&h->lock);
}

/* When what somebody waits for is due; called with the lock. */
static uint64_t soon(const struct hasher *h)
{
	uint64_t now = now_us();

	return now < h->rest_us ? h->rest_us : now;
}

/* Returns how long it took, in microseconds. */
static uint64_t run_batch(struct hash_job *jobs[], size_t n)
{
	struct md5_job batch[MD5_BATCH];
	uint64_t bytes = 0, took, began = now_us();

	for (size_t i = 0; i < n; i++) {
		batch[i] = jobs[i]->job;
		bytes += batch[i].len;
	}
	md5_many(batch, n);
	counter_add(CNT_MD5_BYTES, bytes);
	took = now_us() - began;
	counter_add(CNT_MD5_US, took);
	for (size_t i = 0; i < n; i++) {
		memcpy(jobs[i]->job.md5, batch[i].md5, sizeof(batch[i].md5));
		jobs[i]->done(jobs[i]);
	}
	return took;
}

static void *hasher_thread(void *arg)
{
	struct hash_job *jobs[MD5_BATCH];
	struct hasher *h = arg;
	size_t n;

	pthread_setname_np(pthread_self(), "hasher");
	while ((n = next_batch(h, jobs)))
		rest(h, n, run_batch(jobs, n));
	return NULL;
}

int hasher_new(struct hasher **out)
{
	struct hasher *h = calloc(1, sizeof(*h));
	pthread_condattr_t attr;
	int err;

	if (!h)
		return -ENOMEM;
	pthread_mutex_init(&h->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&h->wake, &attr);
	pthread_condattr_destroy(&attr);
	STAILQ_INIT(&h->queue);
	h->due_us = UINT64_MAX;
	err = pthread_create(&h->thread, NULL, hasher_thread, h);
	if (err) {
		pthread_cond_destroy(&h->wake);
		pthread_mutex_destroy(&h->lock);
		free(h);
		return -err;
	}
	*out = h;
	return 0;
}

void hasher_submit(struct hasher *h, struct hash_job *j)
{
	if (j->urgent && j->job.len <= HASHER_INLINE) {
		(void)run_batch(&j, 1);
		return;
	}
	pthread_mutex_lock(&h->lock);
	j->due_us = j->urgent ? soon(h)
			      : now_us() + (j->patient ? HASHER_PATIENT_US
						       : HASHER_WAIT_US);
	STAILQ_INSERT_TAIL(&h->queue, j, next);
	h->queued++;
	/* The thread needs waking for what is due sooner than the rest, and for
	 * what ends a wait. */
	if (j->due_us < h->due_us || h->queued == MD5_BATCH)
		pthread_cond_signal(&h->wake);
	if (j->due_us < h->due_us)
		h->due_us = j->due_us;
	pthread_mutex_unlock(&h->lock);
}

void hasher_hurry(struct hasher *h)
{
	pthread_mutex_lock(&h->lock);
	if (h->queued && soon(h) < h->due_us) {
		h->due_us = soon(h);
		pthread_cond_signal(&h->wake);
	}
	pthread_mutex_unlock(&h->lock);
}

void hasher_free(struct hasher *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	h->ending = 1;
	pthread_cond_signal(&h->wake);
	pthread_mutex_unlock(&h->lock);
	pthread_join(h->thread, NULL);
	pthread_cond_destroy(&h->wake);
	pthread_mutex_destroy(&h->lock);
	free(h);
}
