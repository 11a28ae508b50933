/*
 * peers_internal -- what the files of peers share.
 *
 *   peers.c       the directory
 *   peers_conn.c  connections, and calls over them
 *   peers_probe.c  does it live?
 */
#ifndef PSPFS_PEERS_INTERNAL_H
#define PSPFS_PEERS_INTERNAL_H

#include <pthread.h>

#include "gate.h"
#include "peers.h"
#include "table.h"

#define PEERS_LOOPS_MAX 8

struct member;

struct conn {
	struct member *member;
	struct rpc *rpc;	/* guarded by lock; our reference */
	uint64_t outstanding;	/* guarded by lock */
	int up;			/* guarded by lock */
	int loop;
};

struct member {
	uint32_t num;
	UT_hash_handle hh;
	struct peers *peers;
	/* guarded by lock */
	uint64_t id;
	struct addr addr;
	int alive;
	int out_of_reach;	/* as the tracker says */
	uint64_t try_ms;	/* when that is tried next */
	unsigned refs;		/* connections and calls */
	int seen;		/* in the list that is being read */
	struct conn conn[PEERS_LOOPS_MAX];
	struct conn probe;	/* made only to see that it can be */
	uint64_t probed_ms, alive_ms;	/* when that began; when it last was */
	uint32_t usual_ms;
	unsigned asked;		/* calls out that ask for bytes */
	uint64_t asked_ms;	/* when that became more than none */
	uint8_t bad;
	unsigned failures;	/* of connecting, in a row */
	uint64_t away_until_ms;
	int away_err;
};

struct peers {
	/* fixed after start */
	struct loop *loops[PEERS_LOOPS_MAX];
	int n_loops;
	struct rpc_self self;
	struct addr from;	/* our address, any port */
	struct gate gate;	/* calls and connections */

	pthread_mutex_t lock;
	struct member *members;	/* guarded by lock; uthash by number */
};

/* peers.c; both with the lock held.  @m may be gone after a put. */
struct member *peers_find(struct peers *ps, uint32_t num);
void peers_member_put(struct member *m);

#endif
