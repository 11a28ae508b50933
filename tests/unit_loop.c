/*
 * unit_loop -- posts from many threads, timers, the end of a loop.
 */
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "container.h"
#include "loop.h"
#include "text.h"

enum { THREADS = 4, POSTS = 20000, WAIT_S = 30 };

static void must_wait(sem_t *s)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += WAIT_S;
	assert_int_equal(sem_timedwait(s, &ts), 0);
}

/* ---------------------------------------------------------------- posts */

struct post {
	struct loop_work work;
	struct poster *from;
	int number;
};

struct poster {
	struct loop *loop;
	struct post *posts;
	pthread_t thread;
	int expect;		/* the next number, on the loop */
	int wrong;
};

static void on_post(struct loop_work *w)
{
	struct post *p = (struct post *)w;

	p->from->wrong += p->number != p->from->expect++;
	p->from->wrong += !loop_inside(p->from->loop);
}

static void *post_many(void *arg)
{
	struct poster *me = arg;

	for (int i = 0; i < POSTS; i++) {
		me->posts[i] = (struct post){ .work.fn = on_post, .from = me,
					      .number = i };
		loop_post(me->loop, &me->posts[i].work);
	}
	return NULL;
}

static void posts_run_in_order_and_once(void **state)
{
	struct poster posters[THREADS];
	struct loop *l;

	(void)state;
	assert_int_equal(loop_new(&l, "a name longer than 15 bytes"), 0);
	assert_false(loop_inside(l));
	assert_non_null(loop_base(l));
	for (int i = 0; i < THREADS; i++) {
		posters[i] = (struct poster){ .loop = l };
		posters[i].posts = calloc(POSTS, sizeof(struct post));
		assert_non_null(posters[i].posts);
		assert_int_equal(pthread_create(&posters[i].thread, NULL,
						post_many, &posters[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(posters[i].thread, NULL);
	loop_free(l);		/* runs what is still posted */
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(posters[i].expect, POSTS);
		assert_int_equal(posters[i].wrong, 0);
		free(posters[i].posts);
	}
}

struct chain {
	struct loop *loop;
	int left;
	int runs;
};

static void next_link(void *arg)
{
	struct chain *c = arg;

	c->runs++;
	if (c->left-- > 0)
		loop_call(c->loop, next_link, c);
}

static void the_end_runs_what_posts_post(void **state)
{
	struct chain c = { .left = 100 };

	(void)state;
	assert_int_equal(loop_new(&c.loop, "chain"), 0);
	assert_int_equal(loop_call(c.loop, next_link, &c), 0);
	loop_free(c.loop);
	assert_int_equal(c.runs, 101);
	loop_free(NULL);
}

/* Two events that are there at once, each of which posts. */
enum { EVENTS = 2, ROUNDS = 50 };

struct two {
	struct loop *loop;
	struct event *events[EVENTS];
	struct loop_work work;
	sem_t over;
	int rounds, posted;	/* in this round */
	int early;		/* posts that ran before the second event */
};

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct two *t = arg;

	(void)fd;
	(void)what;
	if (!t->posted++)
		loop_post(t->loop, &t->work);
}

static void activate(struct two *t)
{
	for (int i = 0; i < EVENTS; i++)
		event_active(t->events[i], EV_TIMEOUT, 0);
}

static void on_round(struct loop_work *w)
{
	struct two *t = container_of(w, struct two, work);

	t->early += t->posted != EVENTS;
	t->posted = 0;
	if (++t->rounds == ROUNDS)
		sem_post(&t->over);
	else
		activate(t);
}

static void begin_two(void *arg)
{
	struct two *t = arg;

	for (int i = 0; i < EVENTS; i++) {
		t->events[i] = evtimer_new(loop_base(t->loop), on_event, t);
		assert_non_null(t->events[i]);
	}
	activate(t);
}

static void end_two(void *arg)
{
	struct two *t = arg;

	for (int i = 0; i < EVENTS; i++)
		event_free(t->events[i]);
}

static void what_an_event_posts_comes_after_all_events(void **state)
{
	struct two t = { .work.fn = on_round };

	(void)state;
	sem_init(&t.over, 0, 0);
	assert_int_equal(loop_new(&t.loop, "two"), 0);
	loop_run(t.loop, begin_two, &t);
	must_wait(&t.over);
	loop_run(t.loop, end_two, &t);
	loop_free(t.loop);
	assert_int_equal(t.rounds, ROUNDS);
	assert_int_equal(t.early, 0);
	sem_destroy(&t.over);
}

static void nested_run(void *arg)
{
	struct chain *c = arg;

	/* From inside it is a plain call: this would hang otherwise. */
	if (c->left-- > 0)
		loop_run(c->loop, nested_run, c);
	c->runs++;
}

static void run_waits(void **state)
{
	struct chain c = { .left = 2 };

	(void)state;
	assert_int_equal(loop_new(&c.loop, "run"), 0);
	loop_run(c.loop, nested_run, &c);
	assert_int_equal(c.runs, 3);
	loop_free(c.loop);
}

/* --------------------------------------------------------------- timers */

struct ticks {
	struct loop *loop;
	struct loop_timer *timer;
	uint64_t begun_ms, ended_ms;
	int n, last;
	sem_t over;
};

static void on_tick(void *arg)
{
	struct ticks *t = arg;

	if (++t->n < t->last)
		return;
	t->ended_ms = now_ms();
	loop_timer_free(t->timer);	/* from inside its own callback */
	sem_post(&t->over);
}

static void start_every(void *arg)
{
	struct ticks *t = arg;

	t->begun_ms = now_ms();
	if (loop_every(t->loop, &t->timer, 20, on_tick, t))
		abort();
}

static void start_after(void *arg)
{
	struct ticks *t = arg;

	t->begun_ms = now_ms();
	if (loop_after(t->loop, &t->timer, 60, on_tick, t))
		abort();
}

static void start_and_cancel(void *arg)
{
	struct ticks *t = arg;

	if (loop_after(t->loop, &t->timer, 10, on_tick, t))
		abort();
	loop_timer_free(t->timer);
	loop_timer_free(NULL);
}

static void timers(void **state)
{
	struct ticks every = { .last = 4 }, once = { .last = 1 };
	struct ticks never = { .last = 1 };

	(void)state;
	sem_init(&every.over, 0, 0);
	sem_init(&once.over, 0, 0);
	assert_int_equal(loop_new(&every.loop, "timers"), 0);
	once.loop = never.loop = every.loop;
	assert_int_equal(loop_call(every.loop, start_every, &every), 0);
	assert_int_equal(loop_call(every.loop, start_after, &once), 0);
	assert_int_equal(loop_call(every.loop, start_and_cancel, &never), 0);
	must_wait(&every.over);
	must_wait(&once.over);
	usleep(50 * 1000);
	loop_free(every.loop);
	assert_int_equal(every.n, 4);
	assert_in_range(every.ended_ms - every.begun_ms, 75, 5000);
	assert_int_equal(once.n, 1);
	assert_in_range(once.ended_ms - once.begun_ms, 55, 5000);
	assert_int_equal(never.n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(posts_run_in_order_and_once),
		cmocka_unit_test(the_end_runs_what_posts_post),
		cmocka_unit_test(what_an_event_posts_comes_after_all_events),
		cmocka_unit_test(run_waits),
		cmocka_unit_test(timers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
