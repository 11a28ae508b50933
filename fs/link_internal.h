/*
 * link_internal -- what the files of link share.
 *
 *   link.c        the connection's life: connect, hello, break, come back
 *   link_wait.c   start, the outcome for the one who waits, stop
 *   link_calls.c  requests: sequence numbers, deadlines, sending again
 *   link_beat.c   heartbeats, the lease
 *   link_batch.c  have, gone, release, counters: gathered and sent in turn
 *   link_held.c   the inventory after each hello
 *   link_push.c   what the tracker asks of us
 *
 * Threads: all of it runs on the control loop, but for the entry points of
 *          link.h and what stands below "guarded by lock".
 */
#ifndef PSPFS_LINK_INTERNAL_H
#define PSPFS_LINK_INTERNAL_H

#include <pthread.h>
#include <sys/queue.h>

#include "dgram.h"
#include "link.h"
#include "pool.h"
#include "table.h"
#include "young.h"

#define LINK_BACKOFF_MIN_MS 50
#define LINK_BACKOFF_MAX_MS 2000
#define LINK_HELLO_MS 5000	/* how long hello may take */
#define LINK_BYE_MS 1000	/* it goes all the same */
#define LINK_TICK_GUEST_MS 20
#define LINK_TICK_MS 50		/* releases, deadlines of unsent calls */
#define LINK_HAVE_MS 200
#define LINK_HAVE_GUEST_MS 20	/* others fetch the same at this moment */
#define LINK_HAVE_BATCH 1000
#define LINK_STATS_MS 2000
#define LINK_HELD_PART 8192	/* chunks of a part of the inventory */
#define LINK_HELD_MS 30000	/* how long the answer to one may take */
#define LINK_BEATS 16		/* heartbeats whose sending is remembered */
#define LINK_DGRAMS_LOST 2	/* unanswered so many: ask by TCP as well */
#define LINK_LEASE_MARGIN_MS 500
#define LINK_REFUSED_ROUNDS 3	/* then link_wait() gives up */
#define LINK_WHY_MAX 512

enum link_state {
	LINK_APART,		/* waiting to try again */
	LINK_CONNECTING,
	LINK_HELLO,		/* the handshake is done */
	LINK_UP,		/* registered */
	LINK_CLOSING,		/* bye is on its way */
	LINK_CLOSED,
};

struct link_call {
	TAILQ_ENTRY(link_call) entry;
	TAILQ_ENTRY(link_call) change;	/* if it has a seq */
	struct loop_work work;
	struct link *link;
	uint16_t type;
	uint8_t *body;
	size_t len;
	uint64_t seq;		/* of a change that was sent; 0: never was */
	uint64_t deadline_ms;
	int sent;		/* on this connection; its answer is to come */
	rpc_done done;
	void *arg;
};

TAILQ_HEAD(link_calls, link_call);

struct link_change {		/* what became of a chunk since last told */
	uint64_t chunk;
	uint8_t kind;		/* enum copy_kind; 0: gone */
	UT_hash_handle hh;
};

struct link {
	/* fixed after start */
	struct link_config cfg;
	struct link_ops ops;
	void *arg;
	struct loop *loop;
	struct pool *revoker;		/* one thread: in order */

	/* control loop only */
	enum link_state state;
	struct rpc *rpc;
	struct loop_work start_work, close_work;
	struct loop_timer *retry, *tick, *beat_timer;
	int tracker;			/* which of cfg.trackers */
	unsigned failures;		/* in a row */
	uint64_t hello_ms;		/* when hello was sent */
	uint64_t session, epoch, swarm;
	uint32_t lease_ms, heartbeat_ms;
	struct link_calls calls;	/* all, in the order they came */
	struct link_calls changes;	/* those with a seq, in its order */
	uint64_t last_seq;
	struct dgram_sock *dgram;
	uint64_t beat, beat_sent_ms[LINK_BEATS];
	unsigned dgrams_lost;
	uint64_t heard_ms;		/* the last answered heartbeat came */
	int unsettled;			/* a change that may have been made */
	uint64_t have_due_ms, stats_due_ms;
	uint64_t held_cursor;
	int holding;			/* the inventory is under way */
	int held_anew;			/* and is to be told once more */
	int held_first, held_last;	/* the part that was sent last */

	pthread_mutex_t lock;
	pthread_cond_t changed;		/* of what link_wait() waits for */
	/* guarded by lock */
	struct link_info info;
	int registered;			/* at least once */
	int closed;
	int up;				/* registered now */
	int given_up;			/* no lease is ours until it is again */
	uint64_t leased_until_ms;	/* with the margin taken off */
	uint64_t term;			/* counts the leases that ended */
	unsigned refused_rounds;
	int last_err, fatal;
	char why[LINK_WHY_MAX];
	struct link_change *have;	/* uthash by chunk */
	int telling;			/* have is gathered */
	int untold;			/* no memory: something is missing in it */
	struct young young;
	uint64_t *released;
	uint32_t n_released, cap_released;
};

/* link.c */
void link_connect(struct link *l);
/* Break the connection; down follows and a new one is tried. */
void link_break(struct link *l, const char *why);
/* The tracker has ended the session. */
void link_session_ended(struct link *l);
void link_begin(struct loop_work *w);
void link_end(struct loop_work *w);

/* link_wait.c */
void link_note(struct link *l, int err, int fatal, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void link_note_up(struct link *l);
void link_note_down(struct link *l);

/* link_calls.c */
void link_calls_send_all(struct link *l);	/* after hello */
void link_calls_session_new(struct link *l);
/* Commits to @ino, whose locks are lost, fail. */
void link_calls_fence(struct link *l, uint64_t ino);
void link_calls_tick(struct link *l, uint64_t now);
void link_calls_end(struct link *l, int err);

/* link_beat.c */
int link_beat_start(struct link *l, struct rpc *c);
void link_beat_stop(struct link *l);
/* The lease was renewed; it has another term if it had ended. */
void link_lease_until(struct link *l, uint64_t until_ms);
/* All are void until it is registered again. */
void link_lease_give_up(struct link *l);
void link_beat_dgram(const struct dgram *d, void *arg);

/* link_batch.c */
void link_batch_tick(struct link *l, uint64_t now);
void link_batch_begin(struct link *l);	/* from now on have is gathered */
void link_batch_lost(struct link *l);
void link_batch_forget_releases(struct link *l);
void link_batch_fini(struct link *l);
/* Leaves out what came lately; returns how many remain. */
uint32_t link_batch_old(struct link *l, uint64_t *chunks, uint32_t n);

/* link_held.c */
void link_held_start(struct link *l);

/* link_push.c */
void link_push(struct rpc *c, struct rpc_req *req, void *arg);

#endif
