/*
 * peer_internal -- what the files of peer share.
 *
 *   peer.c        start and stop
 *   peer_push.c   what the tracker wants of this peer: drop, copy, list
 *   peer_share.c  what commands on this machine want: share
 */
#ifndef PSPFS_PEER_INTERNAL_H
#define PSPFS_PEER_INTERNAL_H

#include "chunkd.h"
#include "complete.h"
#include "gate.h"
#include "local.h"
#include "parts.h"
#include "peer.h"
#include "sum.h"

#define PEER_POOL_THREADS 4
#define PEER_SUMS (8u << 20)	/* bytes: of 6 GiB of chunks */
#define PEER_LOCAL_MS 2000	/* for commands under way to undo their work */

struct peer {
	struct parts parts;
	struct rpc_self self;
	struct chunkd *chunkd;
	struct fetch *fetch;
	struct upload *upload;
	struct sum *sum;
	struct local *local;		/* NULL: it cannot be made */
	struct complete *complete;	/* atomic: comes after the link */
	struct peer_folder folder;	/* zero: there is none */
	struct gate gate;		/* drops, copies and looks */
	struct pool_work look;		/* how is the store's disk? */
	int looking;			/* atomic: it is under way */
	int halted;
	int apart;			/* it started without a tracker */
};

extern const struct link_ops peer_link_ops;

/* peer_share.c */
void peer_local_start(struct peer *p, const char *store_dir);

#endif
