/*
 * garbage -- chunks that no map names, deleted in two phases.
 *
 * First: a chunk that lost its last reference waits in the database for the
 * grace period, so that readers with an older map still find it.  Second:
 * its row is removed, that is synced to the disk, and only then do the peers
 * that hold it hear of it: a power cut can never bring back a row whose
 * bytes are deleted.
 *
 * The grace is by the wall clock, which may jump: after a jump, and at the
 * start, nothing is dropped for one full grace by the monotonic clock.
 *
 * A peer that could not be told will name the chunk in its next inventory;
 * ids too young to be told from writes in flight are remembered until then.
 *
 * Threads: one.
 */
#ifndef PSPFS_GARBAGE_H
#define PSPFS_GARBAGE_H

#include <stddef.h>
#include <stdint.h>

#include "core.h"
#include "ns.h"
#include "swarm.h"

#define GARBAGE_BATCH 1024	/* chunks dropped in one transaction */
#define GARBAGE_UNTOLD_MAX 65536

struct garbage;

/* How a request gets to a peer: returns its number, 0 if it cannot. */
typedef uint32_t (*peer_send_fn)(void *arg, struct peer *p, uint16_t type,
				 struct wr *body);

int garbage_new(struct garbage **out, uint32_t grace_ms,
		struct core_time now);
void garbage_free(struct garbage *g);

/* Inside the batch: how many chunks were dropped (then the batch is to be
 * synced, and garbage_tell() to follow), or -errno. */
int garbage_collect(struct garbage *g, struct ns *ns, struct core_time now);
/* After the commit: tell the holders, forget their copies. */
void garbage_tell(struct garbage *g, struct swarm *s, peer_send_fn send,
		  void *arg);
/* The commit failed. */
void garbage_rolled_back(struct garbage *g);
/* One chunk that is known to be none, at one peer. */
void garbage_tell_one(struct garbage *g, uint64_t chunk, struct peer *p,
		      peer_send_fn send, void *arg);
/* The answer to a drop. */
void garbage_answered(struct garbage *g, uint32_t number, int ok);
/* Was @chunk dropped without some holder hearing of it? */
int garbage_untold(const struct garbage *g, uint64_t chunk);

#endif
