/*
 * chunkd_internal -- what the files of chunkd share.
 *
 *   chunkd.c       connections, what comes in, limits
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

struct chunkd_op {		/* one request in work */
	struct chunkd_conn *conn;
	struct rpc_req *req;
	struct pool_work pool;
	struct hash_job hash;
	struct loop_work work;
	TAILQ_ENTRY(chunkd_op) wait;
	int is_get;
	uint32_t num;		/* of a get: who asks; 0: unknown */
	size_t answer;		/* of a get: bytes that wait for the wire */
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
	unsigned gets;		/* in work, or answered and not written */
	size_t unread;		/* atomic: bytes of those answered */
	TAILQ_HEAD(, chunkd_op) waiting;	/* gets beyond the limit */
};

struct chunkd {
	const struct parts *parts;	/* fixed after start */
	struct rpc_listener *listener;
	struct gate gate;		/* connections */
	struct served served;
	int started;			/* atomic */

	pthread_mutex_t lock;
	/* guarded by lock */
	LIST_HEAD(, chunkd_conn) conns;
	TAILQ_HEAD(, chunkd_op) verifies;	/* the first is at work */
};

/* chunkd.c */
/* The request was answered; frees @op.  Any thread. */
void chunkd_op_end(struct chunkd_op *op);
/* Likewise, with -errno @err. */
void chunkd_op_fail(struct chunkd_op *op, int err);

/* chunkd_get.c */
void chunkd_get(struct chunkd_op *op);

/* chunkd_verify.c */
void chunkd_verify(struct chunkd_op *op);

/* chunkd_put.c */
void chunkd_put(struct chunkd_op *op);
void chunkd_sync(struct chunkd_op *op);

#endif
