/*
 * leases -- who may answer from memory, and who has what open.
 *
 * A holder (a session) has, for an inode, a read lease, or the inode open, or
 * both.  A change of an inode touches it: every other holder's lease ends
 * with a revocation, and what waits for the change (a waiter) is ready once
 * all of them are acknowledged, or their holders dropped.
 *
 * Happy path: leases_touch() gathers inodes into one revocation a holder;
 * leases_unsent() hands it out, leases_acked() ends it and says which of its
 * inodes are open there.  A lease granted between the two is a new one: it
 * outlives the acknowledgement.
 *
 * An answer that gave a lease, but is itself still waiting (ops->waiting),
 * must reach its holder before the revocation of that lease does.  Such a
 * revocation is one of its own, handed out only when the answer has left; so
 * each depends on older changes only, and no circle can arise.
 *
 * A holder knows an inode from when it was granted a lease, also after that
 * has ended: its kernel still has the owner that it saw, and may go by that
 * when it walks over a name that it may believe; and it has a directory where
 * it last saw it.  So a change of either is told to all that know the inode
 * (leases_touch() with @also).  After one of the owner they do not know it any
 * more: names are looked up again, which grants a lease.
 *
 * Failure: a holder that stays silent is dropped by the caller when its time
 * is over; leases_drop() ends all that it had and all that waits for it.
 * After a restart nobody knows who had leases: leases_assume() makes a holder
 * stand for a lease on everything until it is dropped.
 *
 * Knows no time, no frames, no sessions.  Threads: one.
 */
#ifndef PSPFS_LEASES_H
#define PSPFS_LEASES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define LEASES_MAX 200000	/* inodes that a holder knows; older: revoked */

struct leases;
struct wait;
LIST_HEAD(waits, wait);

/* Something that waits for revocations; embedded in what waits. */
struct waiter {
	unsigned n;		/* revocations that it waits for */
	struct waits waits;
};

/* A revocation: one message to one holder. */
struct revoke {
	TAILQ_ENTRY(revoke) link;	/* leases' unsent, or holder's sent */
	struct holder *holder;
	uint32_t number;		/* the caller's, set when sent */
	uint64_t *inos;
	uint32_t n, cap;
	uint64_t after;			/* answers older than this; 0: none */
	uint8_t also;			/* enum revoke_bits of msg.h */
	struct waits waits;
};
TAILQ_HEAD(revokes, revoke);

/* One session's leases; embedded in the session. */
struct holder {
	TAILQ_HEAD(holder_leases, lease) leases;	/* oldest grant first */
	size_t n_known;
	struct revoke *gather;		/* unsent, takes more inodes */
	struct revokes sent;
	struct revoke *assumed;		/* stands for a lease on everything */
	LIST_ENTRY(holder) assumed_link;
};

struct leases_ops {
	void (*ready)(struct waiter *w, void *arg);	/* w->n is 0 */
	/* Does an answer to @h wait that gives a lease on @ino and is older
	 * than @before? */
	int (*waiting)(const struct holder *h, uint64_t ino, uint64_t before,
		       void *arg);
	/* Nobody has a lease on @ino any more, nor has it open. */
	void (*idle)(uint64_t ino, void *arg);
	void *arg;
};

int leases_new(struct leases **out, const struct leases_ops *ops,
	       size_t most);
/* Every holder must have been dropped. */
void leases_free(struct leases *l);

void holder_init(struct holder *h);
int leases_assume(struct leases *l, struct holder *h);
unsigned leases_assumed(const struct leases *l);	/* holders assumed */

/* 0 or -ENOMEM: then the answer that grants it must not be given. */
int leases_grant(struct leases *l, struct holder *h, uint64_t ino);
/* @h has @ino open. */
int leases_open(struct leases *l, struct holder *h, uint64_t ino);
/* It has it open no more; @forget: nor needs it the read lease, nor does it
 * know it. */
void leases_release(struct leases *l, struct holder *h, uint64_t ino,
		    int forget);
/* Is there a lease on @ino, or is it open anywhere? */
int leases_held(const struct leases *l, uint64_t ino);

void waiter_init(struct waiter *w);
void waiter_fini(struct waiter *w);
/* @ino was changed by @by, at the moment @order (grows); @also, enum
 * revoke_bits, is told to all that know it; @w waits for all others. */
int leases_touch(struct leases *l, const struct holder *by, uint64_t ino,
		 uint8_t also, uint64_t order, struct waiter *w);
/* Revoke @h's own lease: what it was told of @ino may be old. */
int leases_end(struct leases *l, struct holder *h, uint64_t ino,
	       uint64_t order);
/* @w waits for all assumed holders but @by. */
int leases_wait_assumed(struct leases *l, const struct holder *by,
			struct waiter *w);

/* The next revocation that may be sent, now in its holder's list; or NULL. */
struct revoke *leases_unsent(struct leases *l);
/* Its answer: @open are those of its inodes that are open there. */
void leases_acked(struct leases *l, struct revoke *r, const uint64_t *open,
		  uint32_t n_open);
struct revoke *holder_revoke(const struct holder *h, uint32_t number);
/* All that @h had has ended. */
void leases_drop(struct leases *l, struct holder *h);

#endif
