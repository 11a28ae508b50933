/*
 * loop -- an event loop on a thread of its own (libevent inside).
 *
 * Threads: loop_post() from any thread; all else on the loop's own thread
 *          unless said.  Callbacks run on the loop's thread, one at a time,
 *          posts in the order they came.
 * Cost:    a post is one compare-and-swap; the first after a quiet moment
 *          also writes to an eventfd.
 */
#ifndef PSPFS_LOOP_H
#define PSPFS_LOOP_H

#include <stdint.h>

struct loop;
struct loop_timer;
struct event_base;

int loop_new(struct loop **out, const char *name);	/* any thread */
/* Ends the thread after what is posted so far (and what those post in turn)
 * has run.  Not from inside; what lives on the loop must be closed before,
 * and no thread may still be posting. */
void loop_free(struct loop *l);

struct loop_work {
	void (*fn)(struct loop_work *w);
	struct loop_work *next;	/* the loop's */
};

/* Run w->fn soon.  @w belongs to the loop until fn is called.  Never fails. */
void loop_post(struct loop *l, struct loop_work *w);
/* The same with a small allocation; -ENOMEM. */
int loop_call(struct loop *l, void (*fn)(void *arg), void *arg);
/* Run @fn there and wait for it; from inside it is a plain call.  Any thread
 * but one that the loop waits for. */
void loop_run(struct loop *l, void (*fn)(void *arg), void *arg);
int loop_inside(const struct loop *l);		/* is this its thread? */

/* Calls @fn every @ms until loop_timer_free(). */
int loop_every(struct loop *l, struct loop_timer **out, uint32_t ms,
	       void (*fn)(void *arg), void *arg);
/* Calls @fn once, @ms from now; free it then or earlier. */
int loop_after(struct loop *l, struct loop_timer **out, uint32_t ms,
	       void (*fn)(void *arg), void *arg);
void loop_timer_free(struct loop_timer *t);

struct event_base *loop_base(struct loop *l);

#endif
