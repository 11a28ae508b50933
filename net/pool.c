/* pool -- see pool.h. */
#include "pool.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct pool {
	/* fixed after start */
	char name[16];		/* as the kernel limits thread names */
	int n_threads;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* guarded by lock */
	STAILQ_HEAD(pool_queue, pool_work) queue;
	int ending;
	/* fixed after start */
	pthread_t threads[];
};

static struct pool_work *next_work(struct pool *p)
{
	struct pool_work *w;

	pthread_mutex_lock(&p->lock);
	while (STAILQ_EMPTY(&p->queue) && !p->ending)
		pthread_cond_wait(&p->wake, &p->lock);
	w = STAILQ_FIRST(&p->queue);
	if (w)
		STAILQ_REMOVE_HEAD(&p->queue, next);
	pthread_mutex_unlock(&p->lock);
	return w;
}

static void *pool_thread(void *arg)
{
	struct pool *p = arg;
	struct pool_work *w;

	pthread_setname_np(pthread_self(), p->name);
	while ((w = next_work(p)))
		w->fn(w);
	return NULL;
}

int pool_new(struct pool **out, const char *name, int threads)
{
	struct pool *p;
	int err;

	assert(threads > 0);
	p = calloc(1, sizeof(*p) + (size_t)threads * sizeof(p->threads[0]));
	if (!p)
		return -ENOMEM;
	snprintf(p->name, sizeof(p->name), "%s", name);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	STAILQ_INIT(&p->queue);
	for (; p->n_threads < threads; p->n_threads++) {
		err = pthread_create(&p->threads[p->n_threads], NULL,
				     pool_thread, p);
		if (err) {
			pool_free(p);
			return -err;
		}
	}
	*out = p;
	return 0;
}

void pool_run(struct pool *p, struct pool_work *w)
{
	pthread_mutex_lock(&p->lock);
	STAILQ_INSERT_TAIL(&p->queue, w, next);
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->ending = 1;
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
	for (int i = 0; i < p->n_threads; i++)
		pthread_join(p->threads[i], NULL);
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	free(p);
}
