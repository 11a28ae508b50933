/* ask -- see ask.h. */
#include "ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

void ask_done(void *wait, int err, const struct rpc_answer *a)
{
	struct ask_wait *w = wait;

	pthread_mutex_lock(&w->lock);
	w->err = err;
	if (a && a->body)
		w->body = buf_ref(a->body);
	w->over = 1;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
}

static void error_words(const struct buf *body, char *why, size_t why_len)
{
	struct arena a = ARENA_INIT;
	struct m_error e;

	if (body && !m_error_decode(&e, &a, body->data, body->len))
		snprintf(why, why_len, "%.*s", (int)e.text.len, e.text.p);
	arena_fini(&a);
}

int ask_result(struct ask_wait *w, struct buf **out, char *why,
	       size_t why_len)
{
	pthread_mutex_lock(&w->lock);
	while (!w->over)	/* the call's own deadline bounds this */
		pthread_cond_wait(&w->wake, &w->lock);
	pthread_mutex_unlock(&w->lock);
	if (!w->err) {
		*out = w->body;
		return 0;
	}
	if (why_len)
		error_words(w->body, why, why_len);
	buf_unref(w->body);
	return w->err;
}

static int call_link(const struct ask *a, uint16_t type, struct wr *body,
		     struct buf **out, char *why, size_t why_len)
{
	struct ask_wait w = ASK_WAIT_INIT;

	if (why_len)
		why[0] = 0;
	link_call_for(a->arg, type, body, a->timeout_ms, ask_done, &w);
	return ask_result(&w, out, why, why_len);
}

struct ask ask_link(struct link *l)
{
	return (struct ask){ .call = call_link, .arg = l };
}

/* ------------------------------------------------- one that can be stopped */

/* Freed by whoever comes last: the asker or the answer. */
struct pending {
	struct ask_stop *stop;
	int left;		/* by the asker */
	int over, err;
	struct buf *body;
};

void ask_stop_init(struct ask_stop *s)
{
	pthread_condattr_t monotonic;

	*s = (struct ask_stop){ .link = NULL };
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&s->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

void ask_stop_fini(struct ask_stop *s)
{
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
}

void ask_stop(struct ask_stop *s)
{
	pthread_mutex_lock(&s->lock);
	s->stopped = 1;
	pthread_cond_broadcast(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

static void pending_done(void *arg, int err, const struct rpc_answer *a)
{
	struct pending *p = arg;
	struct ask_stop *s = p->stop;
	int left;

	pthread_mutex_lock(&s->lock);
	left = p->left;
	p->over = 1;
	p->err = err;
	if (!left && a && a->body)
		p->body = buf_ref(a->body);
	pthread_cond_broadcast(&s->wake);
	pthread_mutex_unlock(&s->lock);
	if (left)
		free(p);
}

/* With the lock; the step is called without. */
static void wait_step(struct ask_stop *s)
{
	struct timespec until;
	int stop;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += ASK_STEP_MS * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_cond_timedwait(&s->wake, &s->lock, &until);
	pthread_mutex_unlock(&s->lock);
	stop = s->step(s->arg);
	pthread_mutex_lock(&s->lock);
	s->stopped |= stop != 0;
}

/* 0: it is over; else it is left alone. */
static int pending_wait(struct pending *p, struct ask_stop *s)
{
	int over;

	pthread_mutex_lock(&s->lock);
	while (!p->over && !s->stopped)
		if (s->step)
			wait_step(s);
		else
			pthread_cond_wait(&s->wake, &s->lock);
	over = p->over;
	p->left = !over;
	pthread_mutex_unlock(&s->lock);
	return over ? 0 : -ECANCELED;
}

static int call_until(const struct ask *a, uint16_t type, struct wr *body,
		      struct buf **out, char *why, size_t why_len)
{
	struct ask_stop *s = a->arg;
	struct pending *p = calloc(1, sizeof(*p));
	int err;

	if (why_len)
		why[0] = 0;
	if (!p) {
		wr_fini(body);
		return -ENOMEM;
	}
	p->stop = s;
	link_call_for(s->link, type, body, a->timeout_ms, pending_done, p);
	err = pending_wait(p, s);
	if (err)
		return err;
	err = p->err;
	if (err && why_len)
		error_words(p->body, why, why_len);
	if (err)
		buf_unref(p->body);
	else
		*out = p->body;
	free(p);
	return err;
}

struct ask ask_link_until(struct ask_stop *s)
{
	return (struct ask){ .call = call_until, .arg = s };
}
