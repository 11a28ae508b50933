/*
 * peer_internal -- what the files of peer share.
 *
 *   peer.c       start and stop
 *   peer_push.c  what the tracker wants of this peer: drop, copy, list
 */
#ifndef PSPFS_PEER_INTERNAL_H
#define PSPFS_PEER_INTERNAL_H

#include "chunkd.h"
#include "gate.h"
#include "parts.h"
#include "peer.h"

#define PEER_POOL_THREADS 4

struct peer {
	struct parts parts;
	struct rpc_self self;
	struct chunkd *chunkd;
	struct fetch *fetch;
	struct upload *upload;
	struct peer_folder folder;	/* zero: there is none */
	struct gate gate;		/* drops and copies */
	int halted;
	int apart;			/* it started without a tracker */
};

extern const struct link_ops peer_link_ops;

#endif
