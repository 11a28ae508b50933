/*
 * relayd_internal -- what the files of relayd share.
 *
 *   relayd.c     life, connections, what comes in
 *   relayd_io.c  what the relay wants done (struct relay_io)
 */
#ifndef PSPFS_RELAYD_INTERNAL_H
#define PSPFS_RELAYD_INTERNAL_H

#include <sys/queue.h>

#include "hasher.h"
#include "relayd.h"
#include "table.h"

#define RELAYD_SEEK_MS 5000	/* for an answer to a seek by TCP */
#define RELAYD_RESOLVE_MAX 512	/* ids of one job for the core */

/* Seeks for one peer that go in one datagram. */
struct seek_batch {
	uint32_t try;
	int directed, by_tcp;
	uint32_t n;
	uint64_t ids[MSG_WANT_MAX];
};

/* A peer with a relay connection, or a session, or both. */
struct member {
	uint64_t peer, session;
	struct relayd *rd;
	struct rpc *rpc;		/* our reference; NULL: none */
	struct seek_batch batch;
	LIST_ENTRY(member) due;		/* while the batch is not empty */
	UT_hash_handle hh, by_session;
};

/* A relay connection; its member once it is up. */
struct rconn {
	struct relayd *rd;
	struct member *member;
};

/* Ids on their way to the core and back. */
struct resolve {
	struct meta_job job;
	struct loop_work work;
	struct relayd *rd;
	uint32_t n;
	struct core_where v[RELAYD_RESOLVE_MAX];
};

struct relayd {
	/* fixed after open */
	struct loop *loop;
	struct hasher *hasher;
	struct meta *meta;
	struct rpc_self self;
	dgram_fn other;
	void *other_arg;
	struct gate gate;	/* connections, deliveries, checks, resolves */
	struct gate probes;

	/* relay loop only */
	struct relay *relay;
	struct member *members, *sessions;	/* by peer; by session */
	LIST_HEAD(, member) due;		/* with seeks to send */
	struct resolve *resolve;		/* being filled; or NULL */
	struct loop_timer *timer;
	struct loop_work flush;
	int flushing;				/* it is posted */
	int closing;

	struct dgram_sock *dgram;	/* atomic */
	uint64_t cached;		/* atomic */
	uint64_t cache_bytes;		/* its limit; fixed */
};

/* relayd.c */
struct member *relayd_member(const struct relayd *rd, uint64_t peer);
/* An answer to a seek, by whichever way. */
void relayd_seek_r(struct relayd *rd, uint64_t peer, const void *body,
		   size_t len);
/* What was gathered leaves at the end of this turn of the loop. */
void relayd_flush_soon(struct relayd *rd);

/* relayd_io.c */
extern const struct relay_io relayd_io;	/* arg is to be set */
void relayd_flush(struct relayd *rd);

#endif
