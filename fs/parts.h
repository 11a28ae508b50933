/*
 * parts -- what the modules of a peer work with.
 *
 * Made by peer.c; fixed once the peer has started, except that @link comes
 * last.  Nobody here owns anything.
 */
#ifndef PSPFS_PARTS_H
#define PSPFS_PARTS_H

#include "cache.h"
#include "hasher.h"
#include "link.h"
#include "peers.h"
#include "pool.h"
#include "store.h"
#include "sums.h"

#define PARTS_BULK_LOOPS 2

struct fetch;
struct via;

struct parts {
	struct loop *control;	/* the tracker */
	struct loop *bulk[PARTS_BULK_LOOPS];	/* other peers */
	struct pool *pool;	/* disk I/O */
	struct hasher *hasher;
	struct store *store;
	struct cache *cache;
	struct sums *sums;	/* of chunks in the store */
	struct peers *peers;
	struct via *via;
	struct fetch *fetch;
	struct link *link;
	uint32_t timeout_ms;	/* how long a reader waits for a good copy */
	uint8_t how;		/* enum way: how chunks travel to this peer */
};

#endif
