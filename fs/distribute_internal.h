/*
 * distribute_internal -- what the files of distribute share.
 *
 *   distribute.c         the course of sending, on the caller's thread
 *   distribute_put.c     one piece: hash, put, put again
 *   distribute_verify.c  every piece read again at its peer
 */
#ifndef PSPFS_DISTRIBUTE_INTERNAL_H
#define PSPFS_DISTRIBUTE_INTERNAL_H

#include <pthread.h>
#include <sys/queue.h>

#include "distribute.h"

#define DIST_COMMIT 512		/* pieces of one commit */
#define DIST_GRANT 256		/* ids asked for at once */
#define DIST_TICK_MS 100
#define DIST_AGAIN_MS 200		/* before a peer is asked again */
#define DIST_WHY_MAX 512

struct piece {
	STAILQ_ENTRY(piece) next;	/* of ready or later */
	struct dist_part *part;
	struct hash_job hash;
	struct m_push push;
	uint64_t at;
	uint32_t len, num;
	unsigned tries;
	uint64_t due_ms, until_ms;	/* put again then; but not for ever */
	struct buf *data;	/* the payload, its MD5 behind it */
};

STAILQ_HEAD(pieces, piece);

struct distribute {
	struct dist_config cfg;		/* fixed */
	struct ask ask;

	/* the caller's thread only */
	uint64_t ids[DIST_GRANT];
	uint32_t id_at, n_ids;
	uint32_t turn;			/* the part whose turn it is */
	uint64_t version;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* guarded by lock */
	unsigned out;			/* pieces, or verifies, under way */
	uint64_t out_bytes;
	struct pieces ready;		/* stored, to be committed */
	uint32_t n_ready;
	struct pieces later;		/* not taken yet: to be put again */
	int err;			/* the first, and who and what */
	char why[DIST_WHY_MAX];
};

/* distribute.c */
/* The first failure is the one that is told.  Call with the lock held. */
void dist_fail(struct distribute *d, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Waits for a change, a little, with the lock held. */
void dist_wait(struct distribute *d);
/* How far each part is, for the one who waits. */
void dist_show(struct distribute *d, int verified);
int dist_result(struct distribute *d, char *why, size_t why_len);

/* distribute_put.c */
/* @p, filled in but for its MD5, is under way. */
void dist_put(struct piece *p);
/* Those that are due go out again; @all: or end, the member is shut. */
void dist_put_later(struct distribute *d, int all);

#endif
