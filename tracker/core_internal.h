/*
 * core_internal -- what the files of the core share.
 *
 *   core.c         requests, connections, batches, time
 *   core_out.c     what goes out, and when
 *   core_open.c    its making and its end
 *   core_orphans.c inodes without a name, deleted when nobody has them open
 *   core_hello.c   sessions: hello, bye, heartbeat, release, their end
 *   core_ns.c      requests that read the namespace
 *   core_change.c  requests that change it: applied once
 *   core_late.c    their answers: withheld, in order, given again
 *   core_lock.c    locks: asked for, resumed, decided later
 *   core_chunk.c   ids, placement, who holds what
 *   core_digest.c  MD5s of whole files: told, or asked of a peer
 *   core_job.c     replicate: numbers of copies, jobs
 *   core_status.c  statfs, status
 */
#ifndef PSPFS_CORE_INTERNAL_H
#define PSPFS_CORE_INTERNAL_H

#include <sys/queue.h>

#include "core.h"
#include "garbage.h"
#include "jobs.h"
#include "leases.h"
#include "locks.h"
#include "ns.h"
#include "repair.h"
#include "sessions.h"
#include "spell.h"
#include "status.h"
#include "swarm.h"
#include "table.h"

#define CORE_ATTRS_MAX 3	/* attributes in an answer to a change */
#define CORE_GRANT_STEP 65536	/* ids reserved at once */
#define CORE_FLIGHT (16 * CORE_GRANT_STEP)
#define CORE_SESSION_MS 3600000	/* a lapsed session is kept so long */
#define CORE_REAP_BATCH 64	/* orphans deleted in a tick */
#define CORE_PROBE_MS 30000	/* between two tries to connect to a peer */
#define CORE_HELLO_MS 10000	/* a connection may be without a session */
#define CORE_STALL_MS 1000	/* no batch for so long: we did not listen */

struct conn {
	uint64_t conn;
	uint8_t role;
	uint64_t id;
	char ip[MSG_ADDR_MAX + 1];
	struct session *session;	/* NULL before hello */
	uint8_t greeted;		/* its hello is in this batch */
	uint8_t wants_peers;
	uint8_t closing;		/* told to close */
	uint64_t alone_ms;		/* since when it has no session */
	UT_hash_handle hh;
};

/* One more who asked for the same answer. */
struct dup {
	struct dup *next;
	uint64_t conn;
	uint32_t number;
};

/* A frame that waits to go out. */
struct out {
	TAILQ_ENTRY(out) link;	/* of core.out, .withheld or .ready */
	uint64_t conn;
	uint32_t number;
	uint16_t type, status;
	uint8_t request;	/* ours; else an answer */
	struct wr body;
	/* the answer to a change: */
	uint64_t session, seq;
	uint64_t order;
	struct waiter wait;
	TAILQ_ENTRY(out) late_link;
	uint8_t late;		/* it waits or waited: in core.late */
	uint8_t held;		/* in core.withheld or .ready */
	uint8_t again;		/* made anew just before it leaves */
	unsigned n_inos;
	uint64_t inos[CORE_ATTRS_MAX];	/* it gives leases on */
	struct dup *dups;
};
TAILQ_HEAD(outs, out);

struct orphan {
	uint64_t ino;
	UT_hash_handle hh;
};

/* What the batch will have done once it is committed. */
struct bereft {
	uint64_t ino, session;
};

struct core {
	struct core_config cfg;
	struct core_io io;
	struct db *db;
	struct ns *ns;
	struct sessions *sessions;
	struct leases *leases;
	struct locks *locks;
	struct swarm *swarm;
	struct garbage *garbage;
	struct repair *repair;
	struct digests *digests;
	struct jobs *jobs;

	struct core_time now;
	uint64_t start_ms;
	uint64_t swarm_id, id;
	uint64_t rng;
	struct conn *conns;
	uint32_t number;		/* of our last request */

	uint64_t ids_next, ids_end;	/* granted from here */
	uint64_t ids_known;		/* lower ones are no writes in flight */

	struct orphan *orphans;
	uint64_t *idle;			/* orphans that nobody holds */
	size_t n_idle, cap_idle;
	int swept;			/* each idle orphan is in that list */

	struct spell refused;		/* changes, for want of room */

	/* the batch */
	int err, sync;
	unsigned served;		/* requests */
	int wants_peers;		/* some connection does */
	struct outs out;		/* of this batch, in order */
	struct outs withheld;		/* committed, they wait */
	struct outs ready;		/* committed, they go with this batch */
	struct outs late;		/* any of these that waits or waited */
	uint64_t order;			/* of what was put last */
	struct bereft *bereft;
	size_t n_bereft, cap_bereft;
};

/* A request being served. */
struct req {
	struct conn *conn;
	struct session *session;
	uint32_t number;
	uint16_t type;
	const void *body;
	size_t len;
	struct arena arena;
	uint16_t status;		/* if it fails: instead of errno's */
	uint8_t later;			/* served, but answered some other time */
	char text[256];			/* for people */
};

/* Serve: 0 with the answer's body in @w, or -errno. */
typedef int (*serve_fn)(struct core *c, struct req *r, struct wr *w);

/* core.c */
struct conn *core_conn(const struct core *c, uint64_t conn);
void core_close(struct core *c, struct conn *n, const char *why);
/* The peer of @s, if it is here by @n, is gone; a guest for good. */
void core_peer_leaves(struct core *c, struct session *s, const struct conn *n);
void core_fail(struct core *c, struct req *r, int err);
int core_refuse(struct req *r, uint16_t status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* A change is refused: the database's disk is full. */
int core_no_room(struct core *c, struct req *r);
extern const char core_full_text[];
/* The batch cannot be committed: @err. */
void core_poison(struct core *c, int err);
/* Work of our own failed and changed nothing: no reason to fail others. */
void core_upkeep_failed(int err, const char *what);
struct ns_now core_ns_now(const struct core *c);

/* core_out.c */
struct out *core_put(struct core *c, uint64_t conn, uint32_t number,
		     uint16_t type, uint16_t status, struct wr *body);
void core_error_body(struct wr *w, const char *text);
/* A request of ours to @p: its number, or 0; takes @body. */
uint32_t core_ask(void *core, struct peer *p, uint16_t type,
		  struct wr *body);
/* A one-way of ours, once the batch is committed; takes @body. */
void core_push(struct core *c, uint64_t conn, uint16_t type, struct wr *body);
/* Nobody is waited for any more. */
void core_ready(struct core *c, struct out *o);
/* After the batch's end: all goes, or fails; then the rest. */
void core_let_go(struct core *c);
void core_let_fail(struct core *c);
void core_send_peers(struct core *c);
void core_send_revokes(struct core *c);

/* core_orphans.c */
int core_orphans_load(struct core *c);
void core_orphan_add(struct core *c, uint64_t ino);
/* It has a name now; if the batch fails all are loaded again. */
void core_orphan_named(struct core *c, uint64_t ino);
int core_is_orphan(const struct core *c, uint64_t ino);
/* leases' idle. */
void core_orphan_idle(uint64_t ino, void *core);
void core_orphans_reap(struct core *c);
void core_orphans_fini(struct core *c);

/* core_hello.c */
void core_serve_hello(struct core *c, struct req *r);
int core_serve_bye(struct core *c, struct req *r, struct wr *w);
int core_serve_heartbeat(struct core *c, struct req *r, struct wr *w);
int core_serve_release(struct core *c, struct req *r, struct wr *w);
/* Its lease is over: all it held has ended, it may resume. */
void core_lapse(struct core *c, struct session *s);
void core_end_session(struct core *c, struct session *s);
void core_sessions_tick(struct core *c);
/* Those that could not be connected to are tried again now and then. */
void core_probe_tick(struct core *c);

/* core_ns.c */
int core_serve_lookup(struct core *c, struct req *r, struct wr *w);
int core_serve_getattr(struct core *c, struct req *r, struct wr *w);
int core_serve_readdir(struct core *c, struct req *r, struct wr *w);
int core_serve_readlink(struct core *c, struct req *r, struct wr *w);
int core_serve_getxattr(struct core *c, struct req *r, struct wr *w);
int core_serve_listxattr(struct core *c, struct req *r, struct wr *w);
int core_serve_accessed(struct core *c, struct req *r, struct wr *w);
int core_serve_getmap(struct core *c, struct req *r, struct wr *w);
int core_serve_seekmap(struct core *c, struct req *r, struct wr *w);
int core_lease(struct core *c, struct session *s, uint64_t ino);

/* core_change.c */
void core_change(struct core *c, struct req *r);

/* core_late.c */
/* Before the commit: an answer given again tells the attributes as they are
 * now. */
void core_refresh(struct core *c, struct out *o);
/* Has an older answer about the same inodes, to the same session, not left? */
int core_behind(const struct core *c, const struct out *o);
/* leases' waiting. */
int core_waiting(const struct holder *h, uint64_t ino, uint64_t before,
		 void *core);
void core_out_free(struct core *c, struct out *o);

/* core_lock.c */
int core_locks_new(struct core *c);
int core_serve_lock(struct core *c, struct req *r, struct wr *w);
/* @o says what was asked for: now it says what is in the way of that. */
int core_lock_again(struct core *c, struct out *o, struct arena *a);
/* @s says hello: what it lists, it has; or its inodes are in *@lost. */
int core_locks_resume(struct core *c, const struct session *s,
		      const struct m_hello *m, struct arena *a,
		      struct m_hello_r *out);
/* Before the commit: has every session of before a restart come back? */
void core_locks_settle(struct core *c);
/* The batch failed: who asked in it, or was to be told, says hello again. */
void core_locks_rolled_back(struct core *c);

/* core_chunk.c */
int core_serve_grant(struct core *c, struct req *r, struct wr *w);
int core_serve_place(struct core *c, struct req *r, struct wr *w);
int core_serve_locate(struct core *c, struct req *r, struct wr *w);
int core_serve_inventory(struct core *c, struct req *r, struct wr *w);
int core_serve_have(struct core *c, struct req *r, struct wr *w);
int core_serve_bad_copy(struct core *c, struct req *r, struct wr *w);
int core_serve_stats(struct core *c, struct req *r, struct wr *w);
int core_stored(struct core *c, const struct m_push *p);
int core_reserve_ids(struct core *c);

/* core_digest.c */
int core_digests_new(struct core *c);
void core_digests_free(struct core *c);
int core_serve_digest(struct core *c, struct req *r, struct wr *w);
int core_serve_digested(struct core *c, struct req *r, struct wr *w);
/* The answer to M_sum. */
int core_digest_answered(struct core *c, uint32_t number, uint16_t status,
			 const void *body, size_t len);
/* Ask whom is to be asked, in a batch. */
int core_digests_tick(struct core *c);
/* core_job.c */
int core_serve_replicate(struct core *c, struct req *r, struct wr *w);
int core_serve_job(struct core *c, struct req *r, struct wr *w);
int core_serve_progress(struct core *c, struct req *r, struct wr *w);
int core_jobs_tick(struct core *c);

/* core_status.c */
int core_serve_statfs(struct core *c, struct req *r, struct wr *w);
uint64_t core_room(struct core *c);	/* bytes of file that still fit */
int core_serve_status(struct core *c, struct req *r, struct wr *w);

#endif
