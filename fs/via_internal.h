/*
 * via_internal -- what the files of via share.
 *
 *   via.c       the connection, what comes in
 *   via_want.c  what this peer wants
 *   via_give.c  what the tracker seeks here
 *
 * All of it runs on the home loop, but for the entry points of via.h.
 */
#ifndef PSPFS_VIA_INTERNAL_H
#define PSPFS_VIA_INTERNAL_H

#include <sys/queue.h>

#include "gate.h"
#include "table.h"
#include "via.h"

#define VIA_BACKOFF_MIN_MS 100
#define VIA_BACKOFF_MAX_MS 5000
#define VIA_FOUND_MS 20000	/* for the tracker to take a chunk */
#define VIA_UDP_DEAD 3		/* went by TCP so often in a row: UDP is dead */
#define VIA_UDP_PROBE 16	/* then every so many-th goes by UDP first */

/* A chunk that is wanted: queued, or flying. */
struct want {
	uint64_t chunk;
	UT_hash_handle hh;
	TAILQ_ENTRY(want) link;		/* of via.queue or via.flying */
	struct loop_work work;
	struct via *via;
	uint32_t len;
	int flying;
	int sent;			/* not in this turn's datagram */
	int acked;			/* the tracker is at it */
	uint32_t try;
	uint64_t next_ms, deadline_ms;
	via_done done;
	void *arg;
};
TAILQ_HEAD(want_list, want);

/* A chunk that is sought and is here. */
struct give {
	uint64_t chunk;
	UT_hash_handle hh;
	TAILQ_ENTRY(give) link;		/* of via.sought, while it waits */
	struct loop_work work;
	struct via *via;
	int err;
	struct chunk_meta meta;
	struct buf *buf;
};

struct via {
	/* fixed after start */
	const struct parts *parts;
	struct loop *home;
	struct rpc_self self;
	struct addr from;		/* our address, any port */
	struct gate gate;		/* wants, gives, posts, the connection */

	/* home loop only */
	struct addr tracker;		/* len 0: not known yet */
	struct rpc *rpc;		/* our reference; NULL: none */
	int up, closing;
	unsigned failures;
	struct loop_timer *retry;
	struct want *wants;		/* by chunk */
	struct want_list queue, flying;
	uint32_t n_flying;
	uint64_t flying_bytes;
	struct loop_timer *timer;	/* of wants */
	struct loop_work flush;
	int flushing;
	unsigned by_tcp;		/* in a row, UDP having failed */
	unsigned probe;
	uint64_t rng;
	struct give *gives;		/* by chunk */
	TAILQ_HEAD(, give) sought;
	unsigned n_sought, n_giving;

	int is_up;			/* atomic: via.up, for others */
};

/* via_want.c */
void via_want_acked(struct via *v, const uint64_t *ids, uint32_t n);
/* Someone's chunk has come: 1 if it was wanted. */
int via_want_met(struct via *v, const struct m_deliver *m, struct buf *bulk);
void via_want_nowhere(struct via *v, const uint64_t *ids, uint32_t n);
/* The connection is up: ask for all, from the first try on. */
void via_want_all(struct via *v);
void via_want_end(struct via *v, int err);

/* via_give.c */
/* @q: it came on the connection, and is answered there; NULL: by datagram. */
void via_give(struct via *v, const struct m_seek *s, struct rpc_req *q);
void via_give_end(struct via *v);

#endif
