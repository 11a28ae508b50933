/*
 * upload_internal -- what the files of upload share.
 *
 *   upload.c       a job's course: MD5, id, targets, end
 *   upload_put.c   one copy of it: to the local store, or to a peer
 *   upload_sync.c  what was uploaded without sync, and making it durable
 *   upload_refused.c  who did not take chunks, and is not asked for a while
 */
#ifndef PSPFS_UPLOAD_INTERNAL_H
#define PSPFS_UPLOAD_INTERNAL_H

#include <pthread.h>

#include "gate.h"
#include "grants.h"
#include "parts.h"
#include "spell.h"
#include "table.h"
#include "upload.h"

#define UPLOAD_PUT_MS 30000	/* the deadline of a put */
#define UPLOAD_TARGETS_MAX 16	/* peers asked for one chunk, altogether */
#define UPLOAD_AVOID_MS 2000	/* who had no room is not asked: by then the
				 * tracker knows, too */
#define UPLOAD_UNSYNCED_MAX 65536	/* chunks known as not yet durable */
#define UPLOAD_UNSYNCED_BATCH 4096	/* made so in the background at once */

/* A chunk that was uploaded without sync. */
struct unsynced {
	uint64_t id;
	UT_hash_handle hh;	/* in the order of uploading */
	int failed;		/* in the background: told to who asks */
	uint32_t n;
	uint32_t nums[];
};

struct upload {
	const struct parts *parts;	/* fixed after start */
	struct grants *grants;
	struct gate gate;		/* jobs and syncs */

	pthread_mutex_t lock;
	/* guarded by lock */
	struct unsynced *unsynced;	/* uthash by id */
	int tidying;		/* a sync in the background is under way */
	struct refusal *refusals;	/* uthash by num */

	struct spell nowhere;	/* chunks that nobody took */
};

struct upload_work {			/* a job under way */
	struct upload *u;
	struct upload_job *job;
	struct hash_job hash;
	struct grants_wait wait;
	struct buf *wire;		/* payload and MD5 */

	/* guarded by upload.lock */
	unsigned out;		/* puts and questions not yet answered */
	uint32_t asked[UPLOAD_TARGETS_MAX];	/* given it, or tried to */
	uint32_t n_asked;
	unsigned places;		/* M_place asked so far */
	int full;			/* somebody had no room */
	int err;			/* the tracker's, or a peer's */
};

/* upload_put.c; the outcome comes through upload_put_done() */
void upload_put(struct upload_work *w, uint32_t num, int local);

/* upload.c */
void upload_put_done(struct upload_work *w, uint32_t num, int err);

/* upload_refused.c; each says when it begins, and when it is over */
void upload_refused(struct upload *u, uint32_t num, int err);
void upload_taken(struct upload *u, uint32_t num);
/* Has @num refused just now for want of room? */
int upload_avoids(struct upload *u, uint32_t num);
void upload_stored_nowhere(struct upload *u, const struct upload_job *j,
			   int err);
void upload_stored(struct upload *u);
void upload_refusals_free(struct upload *u);

/* upload_sync.c */
/* It is not durable yet: 0, or -ENOMEM, and no sync would ever ask for it. */
int upload_remember(struct upload *u, const struct upload_job *j);
void upload_forget_all(struct upload *u);

#endif
