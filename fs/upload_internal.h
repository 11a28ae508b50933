/*
 * upload_internal -- what the files of upload share.
 *
 *   upload.c       a job's course: MD5, id, targets, end
 *   upload_put.c   one copy of it: to the local store, or to a peer
 *   upload_sync.c  what was uploaded without sync, and making it durable
 *   upload_refused.c  who did not take chunks, and is not asked for a while
 *   upload_mute.c  puts at peers that say nothing
 */
#ifndef PSPFS_UPLOAD_INTERNAL_H
#define PSPFS_UPLOAD_INTERNAL_H

#include <pthread.h>
#include <sys/queue.h>

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
/* From a peer that owes an answer no sign of life came for so long (peers.h:
 * bytes, progress of TCP, a handshake): another is asked for in its place.  A
 * disk that stalls, for however long, is no such silence, since none of those
 * waits for it; a machine that has not let the peer's door run for two seconds
 * may be taken for mute, which costs a copy too many.  It is four tries to
 * shake hands, and less than what people take for hanging. */
#define UPLOAD_MUTE_MS 2000
#define UPLOAD_TICK_MS 100
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
	TAILQ_HEAD(, upload_copy) copies;	/* at peers, not yet answered */
	int ticking;		/* the timer is there, or will be */

	/* on the loop bulk[0] only */
	struct loop_timer *timer;	/* while there are copies out */
	uint64_t ticked_ms;

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
	unsigned mute;		/* of them puts that are not waited for, if
				 * there are enough copies without */
	uint32_t need;		/* copies that are wanted */
	int settled;		/* the job is done, and no more ours: it did
				 * without those that are still out */
	uint32_t spare[UPLOAD_TARGETS_MAX];	/* passed over, being mute */
	uint32_t n_spare;
	unsigned newly;		/* mute, and nobody asked for in their place */
	SLIST_ENTRY(upload_work) next;	/* of those */
	uint32_t asked[UPLOAD_TARGETS_MAX];	/* given it, or tried to */
	uint32_t n_asked;
	unsigned places;		/* M_place asked so far */
	int full;			/* somebody had no room */
	int err;			/* the tracker's, or a peer's */
};

struct upload_copy {			/* one put of it */
	struct upload_work *work;
	struct pool_work pool;
	uint32_t num, len;
	unsigned tries;
	/* guarded by upload.lock */
	TAILQ_ENTRY(upload_copy) entry;
	uint64_t since_ms;	/* it is at a peer; 0: it is not */
	int mute;
};

/* upload_put.c; the outcome comes through upload_put_done() */
void upload_put(struct upload_work *w, uint32_t num, int local);

/* upload.c */
void upload_put_done(struct upload_work *w, uint32_t num, int err);
/* Asks for another peer in place of each that is newly mute; lets @w go. */
void upload_replace(struct upload_work *w);

/* upload_mute.c */
/* It goes to a peer (again).  0: it is not wanted any more, and its job is
 * not to be touched. */
int upload_watch(struct upload_copy *p);
void upload_unwatch(struct upload_copy *p);
void upload_mute_stop(struct upload *u);	/* waits for the loop */

/* upload_refused.c; each says when it begins, and when it is over */
void upload_refused(struct upload *u, uint32_t num, int err);
void upload_taken(struct upload *u, uint32_t num);
/* @n puts to it have become mute. */
void upload_silent(struct upload *u, uint32_t num, uint32_t n);
/* Has @num refused just now for want of room? */
int upload_avoids(struct upload *u, uint32_t num);
/* Has it been given chunks, and says nothing? */
int upload_is_mute(struct upload *u, uint32_t num);
/* So many more of its puts are mute.  With the lock held. */
void upload_count_mute(struct upload *u, uint32_t num, int by);
void upload_stored_nowhere(struct upload *u, const struct upload_job *j,
			   int err);
void upload_stored(struct upload *u);
void upload_refusals_free(struct upload *u);

/* upload_sync.c */
/* It is not durable yet: 0, or -ENOMEM, and no sync would ever ask for it. */
int upload_remember(struct upload *u, const struct upload_job *j);
void upload_forget_all(struct upload *u);

#endif
