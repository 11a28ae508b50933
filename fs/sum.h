/*
 * sum -- the MD5 of a whole file, when the tracker wants it (M_sum).
 *
 * The file's map is asked for, its chunks are fetched in order, a few ahead,
 * from wherever they are nearest, and hashed; holes are zeros.  Nothing of it
 * is kept.  The answer names the version that was read: a map is of one
 * version, and chunks do not change.
 *
 * Threads: sum_ask() from any, it does not block; the work is done by a
 *          thread of its own, one file at a time.
 * Errors:  the request is answered -EBUSY when SUM_QUEUE_MAX wait already,
 *          -ECANCELED at the end, -ETIMEDOUT after SUM_MS, else as layout and
 *          fetch say.
 * Memory:  at most SUM_AHEAD chunks, and SUM_AHEAD_BYTES but for the one that
 *          is hashed.
 */
#ifndef PSPFS_SUM_H
#define PSPFS_SUM_H

#include "fetch.h"
#include "parts.h"
#include "rpc.h"

#define SUM_AHEAD 16
#define SUM_AHEAD_BYTES (8u << 20)
#define SUM_QUEUE_MAX 16
#define SUM_MS 600000		/* nobody waits for longer */

struct sum;

int sum_new(struct sum **out, const struct parts *p, struct fetch *f);
/* What is under way ends soon, what comes is refused.  NULL is fine. */
void sum_shut(struct sum *s);
/* Waits for that: shut fetch, close the link before. */
void sum_free(struct sum *s);
/* Takes @req, answers it. */
void sum_ask(struct sum *s, const struct m_sum *m, struct rpc_req *req);

#endif
