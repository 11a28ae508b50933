/*
 * leases_internal -- what leases.c and leases_revoke.c share: see leases.h.
 */
#ifndef PSPFS_LEASES_INTERNAL_H
#define PSPFS_LEASES_INTERNAL_H

#include "leases.h"

/* That a waiter waits for a revocation. */
struct wait {
	LIST_ENTRY(wait) of_revoke;
	LIST_ENTRY(wait) of_waiter;
	struct waiter *waiter;
};

struct leases {
	struct leases_ops ops;
	size_t most;
	struct inode *inodes;
	struct revokes unsent;
	LIST_HEAD(holder_list, holder) assumed;
	unsigned n_assumed;
};

/* ------------------------------------------------------- leases_revoke.c */

/* In no list yet, with room for a few inodes: one that is queued is never
 * empty.  NULL without memory. */
struct revoke *revoke_new(struct holder *h);
int revoke_add(struct revoke *r, uint64_t ino);
/* @w waits for @r, once however often this is said. */
int revoke_wait(struct revoke *r, struct waiter *w);
/* Nobody waits for it any more: it is freed, and who waited for it alone is
 * ready.  It is in no list. */
void revoke_end(struct leases *l, struct revoke *r);

#endif
