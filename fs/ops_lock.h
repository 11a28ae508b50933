/*
 * ops_lock -- what ops_lock.c (FUSE's and the link's part), ops_lock_call.c (a
 * request for a lock under way) and ops_lock_release.c share.
 *
 * Threads: FUSE's workers begin calls; answers and what the tracker decides
 * come on the control loop; interruptions on any worker.
 * Locks:   waits.order, waits.lock, held's own.  Under order, what is held and
 *          what the tracker is told change in one order; link_call() may run
 *          under it, which may end a call at once (no memory): recursive.
 *          Under the others no function of link, files or libfuse runs.
 */
#ifndef PSPFS_OPS_LOCK_H
#define PSPFS_OPS_LOCK_H

#include "ops_call.h"

/* A lock asked for or released.  It lives until it is answered to the kernel
 * and nothing of it is under way. */
struct lock_call {
	TAILQ_ENTRY(lock_call) link;	/* of active, while it is */
	struct call *c;
	struct m_byte_lock k;		/* these are fixed */
	enum lk_op op;
	uint64_t ticket, handle;
	int closed;		/* a release of all that was locked by handle */
	int flush_err;
	/* guarded by waits.lock */
	int refs;
	int active;		/* asked, not decided */
	int waiting;		/* the tracker said that it is in line */
	int crossed;		/* its owner gave up what it asks for, since */
	int interrupted;
	int replied;
	int circles;		/* answers that it would close one */
};

struct lock_waits {
	pthread_mutex_t order, lock;
	/* guarded by lock */
	TAILQ_HEAD(, lock_call) active;
	uint64_t ticket;	/* the last that was given */
};

/* NULL: @req was answered. */
struct lock_call *lock_new(fuse_req_t req, const struct m_byte_lock *k,
			   enum lk_op op, uint64_t handle);
void lock_put(struct lock_call *lc);
/* Answer the kernel, unless it was answered; and let go. */
void lock_end(struct lock_call *lc, int err);
/* fuse_interrupt_func_t; @arg: the lock_call. */
void lock_interrupted(fuse_req_t req, void *arg);
void lock_ask(struct lock_call *lc);
/* A request to the tracker; and an answer that nobody waits for. */
void lock_tell(struct ops *o, enum lk_op op, uint64_t ticket,
	       const struct m_byte_lock *k, uint32_t timeout_ms,
	       rpc_done done, void *arg);
void lock_unheard(void *arg, int err, const struct rpc_answer *ra);
/* file_done's, with the lock_call: then it is released, or asked for after
 * what it had was given up. */
void lock_release_flushed(void *arg, int err);
void lock_downgrade_flushed(void *arg, int err);
/* The tracker decided. */
void lock_decided(struct lock_call *lc, enum lk_state state);
/* @k was granted, or may have been, and nobody wants it. */
void lock_give_back(struct ops *o, const struct m_byte_lock *k);
/* Those in line ask again: the tracker has forgotten them. */
void lock_ask_again(struct ops *o);
/* The one in line with @ticket, no more in line; or NULL. */
struct lock_call *lock_take(struct ops *o, uint64_t ticket);
/* No locks any more: who is in line is sent away. */
void lock_stop(struct ops *o);

#endif
