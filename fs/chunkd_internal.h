/*
 * chunkd_internal -- what the files of chunkd share.
 *
 *   chunkd.c       connections, what comes in, limits
 *   chunkd_turn.c  whose get is served next
 *   chunkd_get.c   a get: shelf -> answer
 *   chunkd_verify.c  chunks read from the disk and hashed: shelf -> answer
 *   chunkd_put.c   a put: hasher -> pool -> answer; a sync: pool -> answer
 */
#ifndef PSPFS_CHUNKD_INTERNAL_H
#define PSPFS_CHUNKD_INTERNAL_H

#include <pthread.h>
#include <sys/queue.h>

#include "chunkd.h"
#include "gate.h"
#include "served.h"

#define CHUNKD_ASKED_MAX 16	/* of a get: beyond, they may be named again */

struct chunkd_op {		/* one request in work */
	struct chunkd_conn *conn;
	struct rpc_req *req;
	struct pool_work pool;
	struct hash_job hash;
	struct loop_work work;
	TAILQ_ENTRY(chunkd_op) wait;
	uint32_t num;		/* of a get: who asks; 0: unknown */
	struct buf *came;	/* likewise: what it waited for, or NULL */
	uint32_t asked[CHUNKD_ASKED_MAX];	/* likewise: these, already */
	uint32_t n_asked;
	uint32_t cost, cost_out;	/* likewise: bytes, as it counts */
	struct chunk_meta meta;
	int sync;		/* of a put */
	enum copy_kind kind;
	uint64_t *ids;		/* of a sync, of a verify */
	uint32_t n_ids;
	uint32_t next;		/* of a verify: guarded by chunkd.lock */
	unsigned out;		/* likewise, as are ids[0..n_bad) */
	uint32_t n_bad;
	int starting;
};

struct chunkd_conn {
	struct chunkd *cd;
	struct rpc *rpc;	/* our reference */
	LIST_ENTRY(chunkd_conn) all;	/* guarded by chunkd.lock */
	/* its loop only */
	uint32_t num;		/* of the peer; 0: none, or unknown */
	unsigned refs;		/* requests in work, and 1 while it is up */
	LIST_HEAD(, chunkd_coming) coming;
	/* guarded by chunkd.lock: its gets */
	unsigned working, awaiting;	/* a turn or a chunk: waiting, coming */
	uint64_t work_bytes, out_bytes;	/* in work; of these, read by now */
	uint64_t moved_ms;	/* when one began or ended */
	TAILQ_HEAD(, chunkd_op) waiting;	/* for their turn */
	TAILQ_ENTRY(chunkd_conn) turn;	/* in chunkd.ring while any wait */
};

struct chunkd {
	const struct parts *parts;	/* fixed after start */
	struct rpc_listener *listener;
	struct gate gate;		/* connections */
	struct served served;
	struct loop_timer *tick;
	int started;			/* atomic */

	pthread_mutex_t lock;
	/* guarded by lock */
	LIST_HEAD(, chunkd_conn) conns;
	TAILQ_HEAD(, chunkd_conn) ring;
	uint32_t usual_cost;	/* of a get; 0: not known */
	TAILQ_HEAD(, chunkd_op) verifies;	/* the first is at work */
};

/* chunkd.c */
/* The request was answered; frees @op.  Any thread. */
void chunkd_op_end(struct chunkd_op *op);
/* Likewise, with -errno @err. */
void chunkd_op_fail(struct chunkd_op *op, int err);

/* The connection is down: what is still @op's goes with it. */
void chunkd_op_drop(struct chunkd_op *op);

/* chunkd_turn.c */
/* A get that came: serves it, has it wait, or sends it elsewhere. */
void chunkd_turn_take(struct chunkd_op *op);
void chunkd_turn_out(struct chunkd_op *op, uint32_t len);	/* it is read */
void chunkd_turn_over(struct chunkd_op *op);	/* it is out of work */
/* So many more (fewer) wait for a chunk that is to come here. */
void chunkd_turn_await(struct chunkd_conn *k, int more);
/* Tells those who wait that they are not forgotten. */
void chunkd_turn_tell(struct chunkd *cd);
/* Those whose turn it may be by now. */
void chunkd_turns(struct chunkd *cd);
/* One that waits, taken out; NULL: none. */
struct chunkd_op *chunkd_turn_drop(struct chunkd_conn *k);

/* chunkd_get.c: on the connection's loop; it has begun */
void chunkd_get(struct chunkd_op *op);
void chunkd_get_busy(struct chunkd_op *op, uint32_t *others, uint32_t n);
/* The connection is down: forget those that wait for what is to come. */
void chunkd_get_down(struct chunkd_conn *k);

/* chunkd_verify.c */
void chunkd_verify(struct chunkd_op *op);

/* chunkd_put.c */
void chunkd_put(struct chunkd_op *op);
void chunkd_sync(struct chunkd_op *op);

#endif
