#include "meta.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "container.h"
#include "text.h"

STAILQ_HEAD(meta_jobs, meta_job);

struct meta {
	struct core *core;
	struct loop *loop;
	struct loop_timer *timer;	/* metadata thread only */

	pthread_mutex_t lock;
	/* guarded by lock */
	struct meta_jobs jobs;
	int posted;			/* work is on its way to the loop */
	struct loop_work work;
};

struct core_time meta_now(void)
{
	struct core_time t = { .ms = now_ms() };

	wall_time(&t.wall_s, &t.wall_ns);
	return t;
}

struct loop *meta_loop(struct meta *m)
{
	return m->loop;
}

void meta_post(struct meta *m, struct meta_job *j)
{
	int first;

	pthread_mutex_lock(&m->lock);
	STAILQ_INSERT_TAIL(&m->jobs, j, link);
	first = !m->posted;
	m->posted = 1;
	pthread_mutex_unlock(&m->lock);
	if (first)
		loop_post(m->loop, &m->work);
}

/* Up to a batch of jobs, in @out; is there more? */
static int take(struct meta *m, struct meta_jobs *out)
{
	struct meta_job *j;
	int i;

	STAILQ_INIT(out);
	pthread_mutex_lock(&m->lock);
	for (i = 0; i < META_BATCH && (j = STAILQ_FIRST(&m->jobs)); i++) {
		STAILQ_REMOVE_HEAD(&m->jobs, link);
		STAILQ_INSERT_TAIL(out, j, link);
	}
	m->posted = !STAILQ_EMPTY(&m->jobs);
	i = m->posted;
	pthread_mutex_unlock(&m->lock);
	return i;
}

static void run_batch(struct loop_work *w)
{
	struct meta *m = container_of(w, struct meta, work);
	struct meta_jobs jobs;
	struct meta_job *j;
	int more = take(m, &jobs);

	core_begin(m->core, meta_now());
	while ((j = STAILQ_FIRST(&jobs))) {
		STAILQ_REMOVE_HEAD(&jobs, link);
		j->run(j, m->core);
	}
	core_end(m->core);
	if (more)
		loop_post(m->loop, &m->work);
}

static void tick(void *arg)
{
	struct meta *m = arg;

	core_begin(m->core, meta_now());
	core_tick(m->core);
	core_end(m->core);
}

static void begin(void *arg)
{
	struct meta *m = arg;

	if (loop_every(m->loop, &m->timer, META_TICK_MS, tick, m))
		m->timer = NULL;
}

static void end(void *arg)
{
	struct meta *m = arg;

	if (m->timer)
		loop_timer_free(m->timer);
}

int meta_start(struct meta **out, struct core *core)
{
	struct meta *m = calloc(1, sizeof(*m));
	int err;

	if (!m)
		return -ENOMEM;
	m->core = core;
	m->work.fn = run_batch;
	STAILQ_INIT(&m->jobs);
	pthread_mutex_init(&m->lock, NULL);
	err = loop_new(&m->loop, "metadata");
	if (!err)
		loop_run(m->loop, begin, m);
	if (!err && !m->timer)
		err = -ENOMEM;
	if (err) {
		loop_free(m->loop);
		pthread_mutex_destroy(&m->lock);
		free(m);
		return err;
	}
	*out = m;
	return 0;
}

void meta_stop(struct meta *m)
{
	if (!m)
		return;
	loop_run(m->loop, end, m);
	loop_free(m->loop);
	pthread_mutex_destroy(&m->lock);
	free(m);
}
