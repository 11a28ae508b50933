/*
 * link_wait -- starting, waiting for the first hello, stopping.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "link_internal.h"
#include "log.h"

/* --------------------------------------------- told by the control loop */

void link_note(struct link *l, int err, int fatal, const char *fmt, ...)
{
	va_list ap;

	pthread_mutex_lock(&l->lock);
	va_start(ap, fmt);
	vsnprintf(l->why, sizeof(l->why), fmt, ap);
	va_end(ap);
	l->last_err = err;
	if (fatal)
		l->fatal = err;
	if (err == -ECONNREFUSED)
		l->refused_rounds++;
	if (l->registered)
		log_debug("%s", l->why);
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

void link_note_up(struct link *l)
{
	pthread_mutex_lock(&l->lock);
	l->registered = 1;
	l->up = 1;
	l->given_up = 0;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

void link_note_down(struct link *l)
{
	pthread_mutex_lock(&l->lock);
	l->up = 0;
	pthread_mutex_unlock(&l->lock);
}

/* ------------------------------------------------------------- link.h */

int link_start(struct link **out, struct loop *loop,
	       const struct link_config *cfg, const struct link_ops *ops,
	       void *arg)
{
	pthread_condattr_t monotonic;
	struct link *l;
	int err;

	if (cfg->n_trackers < 1 || cfg->n_trackers > LINK_TRACKERS_MAX)
		return -EINVAL;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	err = pool_new(&l->revoker, "revoke", 1);
	if (err) {
		free(l);
		return err;
	}
	l->cfg = *cfg;
	l->ops = *ops;
	l->arg = arg;
	l->loop = loop;
	l->swarm = cfg->swarm;
	l->state = LINK_APART;
	TAILQ_INIT(&l->calls);
	TAILQ_INIT(&l->changes);
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&l->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	young_init(&l->young, now_ms());
	*out = l;
	l->start_work.fn = link_begin;
	loop_post(loop, &l->start_work);
	return 0;
}

static struct timespec in_ms(uint32_t ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

/* Whether waiting on makes no sense: call with the lock held. */
static int decided(const struct link *l)
{
	return l->registered || l->fatal || l->closed ||
	       l->refused_rounds >=
		       LINK_REFUSED_ROUNDS * (unsigned)l->cfg.n_trackers;
}

int link_wait(struct link *l, uint32_t ms, char *why, size_t why_len)
{
	struct timespec until = in_ms(ms);
	int err = 0;

	pthread_mutex_lock(&l->lock);
	while (!err && !decided(l))
		err = pthread_cond_timedwait(&l->changed, &l->lock, &until);
	if (l->registered) {
		err = 0;
	} else {
		err = l->fatal	    ? l->fatal
		      : l->last_err ? l->last_err
				    : -ETIMEDOUT;
		snprintf(why, why_len, "%s",
			 l->why[0] ? l->why
				   : "no tracker answers: is psptrackerd "
				     "running, and the network up?");
	}
	pthread_mutex_unlock(&l->lock);
	return err;
}

void link_close(struct link *l)
{
	pthread_mutex_lock(&l->lock);
	if (!l->close_work.fn) {
		l->close_work.fn = link_end;
		loop_post(l->loop, &l->close_work);
	}
	while (!l->closed)
		pthread_cond_wait(&l->changed, &l->lock);
	pthread_mutex_unlock(&l->lock);
	/* What it still answers goes to the loop, which ends before us. */
	pool_free(l->revoker);
	l->revoker = NULL;
}

void link_stop(struct link *l)
{
	if (!l)
		return;
	link_close(l);
	link_batch_fini(l);
	young_fini(&l->young);
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void link_info(struct link *l, struct link_info *out)
{
	pthread_mutex_lock(&l->lock);
	*out = l->info;
	pthread_mutex_unlock(&l->lock);
}

uint64_t link_term(struct link *l)
{
	uint64_t now = now_ms(), term;

	pthread_mutex_lock(&l->lock);
	term = now < l->leased_until_ms ? l->term : 0;
	pthread_mutex_unlock(&l->lock);
	return term;
}

uint64_t link_leased_until(struct link *l)
{
	uint64_t until;

	pthread_mutex_lock(&l->lock);
	until = l->given_up ? 0 : l->leased_until_ms;
	pthread_mutex_unlock(&l->lock);
	return until;
}

int link_is_up(struct link *l)
{
	int up;

	pthread_mutex_lock(&l->lock);
	up = l->up;
	pthread_mutex_unlock(&l->lock);
	return up;
}

int link_leased(struct link *l)
{
	return now_ms() < link_leased_until(l);
}
