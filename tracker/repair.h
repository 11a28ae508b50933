/*
 * repair -- walks all chunks, counts the endangered ones, copies them.
 *
 * A chunk wants as many replicas as its row says, or as are configured.  What
 * it lacks is copied from a live holder to another live peer: at once when it
 * was written while there were too few peers, or when a live peer has lost its
 * copy; but for a peer that is merely away only once it is gone for long.  A
 * cached copy is promoted before bytes are moved.
 *
 * Oldest danger first: a walk has two rounds.  In the first only chunks with
 * one live copy are copied; the second, for those with more, comes once there
 * is none of the first kind that is still to be copied.
 *
 * A round goes on a page at a tick; a new walk starts soon after something
 * changed (repair_poke), else after a while.
 *
 * Threads: one (inside the batch).
 */
#ifndef PSPFS_REPAIR_H
#define PSPFS_REPAIR_H

#include <stdint.h>

#include "garbage.h"
#include "ns.h"
#include "swarm.h"

#define REPAIR_PAGE 1024	/* chunks looked at in a tick */
#define REPAIR_FLIGHT 32	/* copies at once, altogether */
#define REPAIR_FLIGHT_PEER 4	/* and to one peer */
#define REPAIR_COUNT_NOW 32768	/* up to so many chunks are counted at once */

struct repair_counts {
	uint64_t under, missing;
};

struct repair;

struct repair_env {
	struct ns *ns;
	struct swarm *swarm;
	struct garbage *garbage;
	uint8_t copies;
	uint32_t gone_ms;
	uint64_t *rng;
	peer_send_fn send;
	void *arg;
};

int repair_new(struct repair **out, const struct repair_env *env);
void repair_free(struct repair *r);
void repair_poke(struct repair *r);
/* 0 or -errno of the database. */
int repair_tick(struct repair *r, uint64_t now_ms);
/* The answer to a copy. */
int repair_answered(struct repair *r, uint32_t number, int ok);
/* As of now if there are few chunks, else of the last complete walk. */
int repair_count(struct repair *r, struct repair_counts *out);

#endif
