#include "meta.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "text.h"

STAILQ_HEAD(jobs, meta_job);

struct meta {
	struct core *core;
	pthread_t thread;
	uint64_t ticked_ms;	/* metadata thread only */

	pthread_mutex_t lock;
	pthread_cond_t work;
	/* guarded by lock */
	struct jobs jobs;
	int waiting, stop;
};

struct core_time meta_now(void)
{
	struct core_time t = { .ms = now_ms() };

	wall_time(&t.wall_s, &t.wall_ns);
	return t;
}

void meta_post(struct meta *m, struct meta_job *j)
{
	pthread_mutex_lock(&m->lock);
	STAILQ_INSERT_TAIL(&m->jobs, j, link);
	if (m->waiting)
		pthread_cond_signal(&m->work);
	pthread_mutex_unlock(&m->lock);
}

static void wait_for_work(struct meta *m)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += META_TICK_MS * 1000000l;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	m->waiting = 1;
	pthread_cond_timedwait(&m->work, &m->lock, &until);
	m->waiting = 0;
}

/* Up to a batch of jobs, in @out; 0: there are none, and it is to end. */
static int take(struct meta *m, struct jobs *out)
{
	struct meta_job *j;
	int go;

	STAILQ_INIT(out);
	pthread_mutex_lock(&m->lock);
	if (STAILQ_EMPTY(&m->jobs) && !m->stop)
		wait_for_work(m);
	go = !STAILQ_EMPTY(&m->jobs) || !m->stop;
	for (int i = 0; i < META_BATCH; i++) {
		j = STAILQ_FIRST(&m->jobs);
		if (!j)
			break;
		STAILQ_REMOVE_HEAD(&m->jobs, link);
		STAILQ_INSERT_TAIL(out, j, link);
	}
	pthread_mutex_unlock(&m->lock);
	return go;
}

static void run_batch(struct meta *m, struct jobs *jobs)
{
	struct core_time now = meta_now();
	struct meta_job *j;

	core_begin(m->core, now);
	while ((j = STAILQ_FIRST(jobs))) {
		STAILQ_REMOVE_HEAD(jobs, link);
		j->run(j, m->core);
	}
	if (now.ms - m->ticked_ms >= META_TICK_MS) {
		m->ticked_ms = now.ms;
		core_tick(m->core);
	}
	core_end(m->core);
}

static void *run(void *arg)
{
	struct meta *m = arg;
	struct jobs jobs;

	pthread_setname_np(pthread_self(), "metadata");
	while (take(m, &jobs))
		run_batch(m, &jobs);
	return NULL;
}

int meta_start(struct meta **out, struct core *core)
{
	struct meta *m = calloc(1, sizeof(*m));
	pthread_condattr_t attr;
	int err;

	if (!m)
		return -ENOMEM;
	m->core = core;
	STAILQ_INIT(&m->jobs);
	pthread_mutex_init(&m->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&m->work, &attr);
	pthread_condattr_destroy(&attr);
	err = pthread_create(&m->thread, NULL, run, m);
	if (err) {
		pthread_cond_destroy(&m->work);
		pthread_mutex_destroy(&m->lock);
		free(m);
		return -err;
	}
	*out = m;
	return 0;
}

void meta_stop(struct meta *m)
{
	if (!m)
		return;
	pthread_mutex_lock(&m->lock);
	m->stop = 1;
	pthread_cond_signal(&m->work);
	pthread_mutex_unlock(&m->lock);
	pthread_join(m->thread, NULL);
	pthread_cond_destroy(&m->work);
	pthread_mutex_destroy(&m->lock);
	free(m);
}
