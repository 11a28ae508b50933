/*
 * loop.c -- an event loop on a thread of its own.
 *
 * Posts form a stack that any thread pushes to with compare-and-swap; the
 * loop takes all of it at once and turns it round.  Whoever pushes onto an
 * empty stack writes to the eventfd; that is watched edge-triggered, so that
 * it never needs to be read.  An event of the loop itself spares the eventfd:
 * what it posts runs when all events of this round have had their turn.
 */
#include "loop.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "container.h"

#define LOOP_NAME_MAX 16	/* of pthread_setname_np(), with the NUL */

struct loop {
	struct event_base *base;
	struct event *wake;
	int efd;
	pthread_t thread;
	char name[LOOP_NAME_MAX];
	struct loop_work stop;
	struct loop_work *posted;	/* atomic: newest first */
	int running;		/* the loop's: posted work, no event */
};

struct loop_timer {
	struct event *ev;
	void (*fn)(void *arg);
	void *arg;
};

static _Thread_local struct loop *current;

/* Runs what is posted now; what that posts in turn comes in the next round,
 * after the sockets had theirs.  Returns how many there were. */
static int run_posted(struct loop *l)
{
	struct loop_work *w, *next, *first = NULL;
	int n = 0;

	w = __atomic_exchange_n(&l->posted, NULL, __ATOMIC_ACQUIRE);
	for (; w; w = next) {
		next = w->next;
		w->next = first;
		first = w;
	}
	for (w = first; w; w = next, n++) {
		next = w->next;
		w->fn(w);
	}
	return n;
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct loop *l = arg;

	(void)fd;
	(void)what;
	l->running = 1;
	run_posted(l);
	l->running = 0;
}

static void *loop_main(void *arg)
{
	struct loop *l = arg;

	current = l;
	pthread_setname_np(pthread_self(), l->name);
	event_base_loop(l->base, EVLOOP_NO_EXIT_ON_EMPTY);
	while (run_posted(l))
		;
	return NULL;
}

static void on_stop(struct loop_work *w)
{
	(void)w;
	event_base_loopbreak(current->base);
}

static int open_base(struct loop *l)
{
	struct event_config *cfg = event_config_new();

	if (!cfg)
		return -ENOMEM;
	/* The base is never touched by two threads: posts go through efd. */
	event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
	event_config_require_features(cfg, EV_FEATURE_ET);
	l->base = event_base_new_with_config(cfg);
	event_config_free(cfg);
	if (!l->base)
		return -ENOMEM;
	l->efd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (l->efd < 0)
		return -errno;
	l->wake = event_new(l->base, l->efd, EV_READ | EV_ET | EV_PERSIST,
			    on_wake, l);
	if (!l->wake || event_add(l->wake, NULL))
		return -ENOMEM;
	return 0;
}

/* Signals are for the main thread. */
static int start_thread(struct loop *l)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = -pthread_create(&l->thread, NULL, loop_main, l);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return err;
}

static void close_base(struct loop *l)
{
	if (l->wake)
		event_free(l->wake);
	if (l->efd >= 0)
		close(l->efd);
	if (l->base)
		event_base_free(l->base);
	free(l);
}

int loop_new(struct loop **out, const char *name)
{
	struct loop *l = calloc(1, sizeof(*l));
	int err;

	if (!l)
		return -ENOMEM;
	l->efd = -1;
	snprintf(l->name, sizeof(l->name), "%s", name);
	err = open_base(l);
	if (!err)
		err = start_thread(l);
	if (err) {
		close_base(l);
		return err;
	}
	*out = l;
	return 0;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	assert(!loop_inside(l));
	l->stop.fn = on_stop;
	loop_post(l, &l->stop);
	pthread_join(l->thread, NULL);
	close_base(l);
}

int loop_inside(const struct loop *l)
{
	return current == l;
}

struct event_base *loop_base(struct loop *l)
{
	return l->base;
}

void loop_post(struct loop *l, struct loop_work *w)
{
	struct loop_work *head = __atomic_load_n(&l->posted, __ATOMIC_RELAXED);
	uint64_t one = 1;
	/* @l may be gone once another thread's post can be seen */
	int efd = l->efd, inside = loop_inside(l) && !l->running;

	do
		w->next = head;
	while (!__atomic_compare_exchange_n(&l->posted, &head, w, 1,
					    __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED));
	if (head)
		return;
	if (inside)
		event_active(l->wake, EV_READ, 0);
	/* The eventfd's count cannot come near its limit. */
	else if (write(efd, &one, sizeof(one)) < 0)
		assert(errno == EAGAIN);
}

struct loop_call {
	struct loop_work work;
	void (*fn)(void *arg);
	void *arg;
};

static void on_call(struct loop_work *w)
{
	struct loop_call *c = container_of(w, struct loop_call, work);

	c->fn(c->arg);
	free(c);
}

int loop_call(struct loop *l, void (*fn)(void *arg), void *arg)
{
	struct loop_call *c = malloc(sizeof(*c));

	if (!c)
		return -ENOMEM;
	*c = (struct loop_call){ .work.fn = on_call, .fn = fn, .arg = arg };
	loop_post(l, &c->work);
	return 0;
}

struct loop_errand {
	struct loop_work work;
	void (*fn)(void *arg);
	void *arg;
	sem_t over;
};

static void on_errand(struct loop_work *w)
{
	struct loop_errand *e = container_of(w, struct loop_errand, work);

	e->fn(e->arg);
	sem_post(&e->over);
}

void loop_run(struct loop *l, void (*fn)(void *arg), void *arg)
{
	struct loop_errand e = { .work.fn = on_errand, .fn = fn, .arg = arg };

	if (loop_inside(l)) {
		fn(arg);
		return;
	}
	sem_init(&e.over, 0, 0);
	loop_post(l, &e.work);
	while (sem_wait(&e.over) < 0)
		assert(errno == EINTR);
	sem_destroy(&e.over);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct loop_timer *t = arg;

	(void)fd;
	(void)what;
	t->fn(t->arg);		/* may free @t */
}

static int timer_new(struct loop *l, struct loop_timer **out, short flags,
		     uint32_t ms, void (*fn)(void *arg), void *arg)
{
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };
	struct loop_timer *t = malloc(sizeof(*t));

	if (!t)
		return -ENOMEM;
	*t = (struct loop_timer){ .fn = fn, .arg = arg };
	t->ev = event_new(l->base, -1, flags, on_timer, t);
	if (!t->ev || event_add(t->ev, &tv)) {
		loop_timer_free(t);
		return -ENOMEM;
	}
	*out = t;
	return 0;
}

int loop_every(struct loop *l, struct loop_timer **out, uint32_t ms,
	       void (*fn)(void *arg), void *arg)
{
	return timer_new(l, out, EV_PERSIST, ms, fn, arg);
}

int loop_after(struct loop *l, struct loop_timer **out, uint32_t ms,
	       void (*fn)(void *arg), void *arg)
{
	return timer_new(l, out, 0, ms, fn, arg);
}

void loop_timer_free(struct loop_timer *t)
{
	if (!t)
		return;
	if (t->ev)
		event_free(t->ev);
	free(t);
}
