/* gate -- see gate.h. */
#include "gate.h"

#include <assert.h>
#include <errno.h>

void gate_init(struct gate *g)
{
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->empty, NULL);
	g->inside = 0;
	g->shut = 0;
}

int gate_enter(struct gate *g)
{
	int err = 0;

	pthread_mutex_lock(&g->lock);
	if (g->shut)
		err = -ECANCELED;
	else
		g->inside++;
	pthread_mutex_unlock(&g->lock);
	return err;
}

void gate_enter_more(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	assert(g->inside);
	g->inside++;
	pthread_mutex_unlock(&g->lock);
}

void gate_leave(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	assert(g->inside);
	if (!--g->inside)
		pthread_cond_broadcast(&g->empty);
	pthread_mutex_unlock(&g->lock);
}

void gate_shut(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	g->shut = 1;
	pthread_mutex_unlock(&g->lock);
}

int gate_is_shut(struct gate *g)
{
	int shut;

	pthread_mutex_lock(&g->lock);
	shut = g->shut;
	pthread_mutex_unlock(&g->lock);
	return shut;
}

void gate_wait(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	g->shut = 1;
	while (g->inside)
		pthread_cond_wait(&g->empty, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

void gate_fini(struct gate *g)
{
	gate_wait(g);
	pthread_cond_destroy(&g->empty);
	pthread_mutex_destroy(&g->lock);
}
