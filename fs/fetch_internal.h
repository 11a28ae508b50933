/*
 * fetch_internal -- what the files of fetch share.
 *
 *   fetch.c         the table of flights, who waits for them, their end
 *   fetch_try.c     a flight's course: rounds of sources, hedges, deadline
 *   fetch_source.c  one attempt: the local store, or a peer
 *   fetch_part.c    parts of a chunk that was checked before
 *   fetch_keep.c    what came from a peer goes into the local store
 *
 * A flight is one chunk being fetched.  It has a home, one of the bulk loops,
 * and what becomes of it is decided there and nowhere else; attempts do their
 * work on the pool, the hasher and the peers' loops, and come home with what
 * they got.  A flight ends when it has its bytes or gave up; it is freed when
 * the last of its attempts has come home too.
 */
#ifndef PSPFS_FETCH_INTERNAL_H
#define PSPFS_FETCH_INTERNAL_H

#include <pthread.h>
#include <sys/queue.h>

#include "fetch.h"
#include "gate.h"
#include "parts.h"
#include "pool.h"
#include "source.h"
#include "table.h"

#define FETCH_GET_MS 10000	/* the deadline of one request to a peer */
#define FETCH_LOOK_MS 100	/* between looks at who was asked */
#define FETCH_RELAY UINT32_MAX	/* as the number of a source: the tracker */
#define FETCH_KEEP_BYTES (16u << 20)	/* of cached copies being written */
#define FETCH_NOTED_MAX 256	/* further ones */
#define FETCH_KEEP_NICE 10

struct fetch_waiter {
	STAILQ_ENTRY(fetch_waiter) next;
	fetch_done done;
	void *arg;
};

STAILQ_HEAD(fetch_waiters, fetch_waiter);

struct fetch {
	const struct parts *parts;	/* fixed after start */
	struct pool *keeper;		/* one thread; fixed after start */
	struct gate gate;		/* flights, copies being kept, parts */

	pthread_mutex_t lock;
	/* guarded by lock */
	struct flight *flights;		/* uthash by id */
	struct source_budget budget;
	uint64_t keeping;	/* bytes that wait for the keeper */
	unsigned noted;		/* chunks of which only the ids do */
};

struct flight {
	/* guarded by fetch.lock */
	UT_hash_handle hh;
	struct fetch_waiters waiters;

	/* fixed after start */
	uint64_t id;
	struct fetch *fetch;
	struct loop *home;
	struct loop_work work;
	struct fetch_want want;		/* without its holders */
	enum way how;

	/* home loop only */
	struct source src[MSG_HOLDERS_MAX];
	unsigned n_src;
	int ended;
	unsigned out;			/* attempts and look-ups not yet home */
	unsigned round;
	uint64_t deadline_ms, rng;
	struct loop_timer *timer;	/* of a look at it, or of the next round */
	uint64_t hedge_ms;	/* when a second source is asked */
	uint8_t spoilt;		/* kind of the local copy found corrupt */
};

struct attempt {
	struct flight *flight;
	uint32_t num;	/* the peer; 0: the local store; FETCH_RELAY */
	struct hash_job hash;
	struct pool_work pool;
	struct loop_work work;
	int err;
	int corrupt;		/* the bytes were not what they should be */
	struct buf *buf;		/* the payload, its MD5 behind it */
	uint32_t busy[MSG_HOLDERS_MAX];	/* ask these instead */
	uint32_t n_busy;
};

/* fetch.c */
/* Answers all who wait.  @buf NULL with @err. */
void flight_end(struct flight *f, int err, struct buf *buf);
void flight_free_if_idle(struct flight *f);
int flight_is_waited_for(struct flight *f);	/* or just read ahead */

/* fetch_try.c: on the flight's home loop */
void flight_start(struct loop_work *w);
void flight_result(struct attempt *a);	/* takes @a */
void flight_sources(struct flight *f, const uint32_t *holders, uint32_t n);

/* fetch_source.c; the attempt comes home through flight_result() */
int attempt_local(struct flight *f);
int attempt_peer(struct flight *f, const struct source *s);
int attempt_relay(struct flight *f);
void attempt_free(struct attempt *a);
/* Tell the tracker of a corrupt copy at peer @num. */
void fetch_report_bad(struct fetch *ft, uint64_t chunk, uint32_t num);

/* fetch_keep.c */
int fetch_keep_start(struct fetch *ft);	/* 0 or -errno */
void fetch_keep(struct flight *f, struct buf *buf);

#endif
