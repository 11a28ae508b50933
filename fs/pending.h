/*
 * pending -- requests that the kernel waits for, and letting go who waits.
 *
 * Happy path: pending_seen() looks at each request as it is read,
 * pending_answered() at each answer.  A request whose waiter was interrupted
 * is watched: every PENDING_TICK_MS its thread's signals are looked at (the
 * kernel tells of the first only), until it is answered or they say that it
 * is to be let go (signals.h): then it is answered here, with EINTR.
 *
 * The real answer comes later and finds that the kernel knows the request no
 * more: fuse_reply_*() returns -ENOENT then, and who opened something takes
 * it back.  What the request did stays done.
 *
 * Two kinds are special.  An append whose answer waits for room has been
 * taken: it is answered as done, lest the program say it twice.  A process
 * that was killed closes its files, of which no signal tells any more: so a
 * close is watched from the start.
 *
 * While its handler runs a request is not let go: it has pointers to what
 * the kernel would then have us free.  What outlives the handler must hold
 * references of its own.
 *
 * Locks (SETLK, SETLKW) are not seen to here: an answer is a lock granted.
 *
 * Cost:    an uncontended lock and a few stores a request and an answer.
 * Bounded: as many as the kernel has sent and are not answered.
 * Threads: any; "interrupts" is made here, and sleeps unless it watches.
 */
#ifndef PSPFS_PENDING_H
#define PSPFS_PENDING_H

#include <stddef.h>
#include <stdint.h>

enum {
	PENDING_TICK_MS = 100,
	PENDING_CLOSE_MS = 100,	/* a close that takes longer is looked at */
	PENDING_EARLY_MS = 1000,	/* see struct request */
};

struct pending;

/* Answer @unique: with -errno @err or, of a write, that @written bytes were
 * taken.  Not to call back. */
typedef void (*pending_answer)(void *arg, uint64_t unique, int err,
			       uint32_t written);

/* @proc: "/proc", but for tests. */
int pending_new(struct pending **out, const char *proc, pending_answer answer,
		void *arg);
/* Nobody may use it any more; @answer is called no more.  NULL is fine. */
void pending_free(struct pending *p);

/* @n bytes of a request, as they came from the kernel; this thread is about
 * to handle it. */
void pending_seen(struct pending *p, const void *req, size_t n);
void pending_answered(struct pending *p, uint64_t unique);
/* This thread's handler has returned. */
void pending_handled(struct pending *p);
/* Requests that are neither answered nor let go. */
size_t pending_count(struct pending *p);

#endif
