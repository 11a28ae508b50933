/*
 * link -- this peer's session with the tracker.
 *
 * Keeps one control connection up (connect, TLS, hello, inventory,
 * heartbeats by datagram, by TCP when two went unanswered), comes back with
 * jittered backoff when it breaks (50 ms .. 2 s), resumes the session, and
 * sends again what had no answer: reads because they are idempotent, changes
 * (M_MUTATES) with the same seq, which the tracker answers exactly once.  A
 * change that had no answer in time may have been made: once the tracker
 * answers again the session is resumed, so that both agree on what is open.
 *
 * Leases: what an answer granted may be used while link_leased() says so
 * (counted from when the last answered heartbeat was *sent*).  A connection
 * that breaks ends no lease: the tracker waits for it to end, and if it starts
 * anew it takes us to have a lease on everything, for as long.  But from the
 * next hello on, and when the tracker has ended the session, all are void:
 * ops->lost is called before that hello goes out.
 *
 * Threads: link_call, link_leased: any.  Callbacks run on the control loop
 *          and must not block; but revoked, on a thread of its own, may wait
 *          for the kernel (which may wait for an answer of ours).
 * Errors:  done gets 0, the tracker's -errno, or -EIO when it could not be
 *          reached within the timeout, -ECANCELED at link_stop().
 */
#ifndef PSPFS_LINK_H
#define PSPFS_LINK_H

#include "msg.h"
#include "rpc.h"

#define LINK_TRACKERS_MAX 8

struct link;

struct link_ops {
	/* All leases are void; then list the inodes open here (malloc()ed,
	 * the link frees) for the resume.  @fresh: the session is new, its
	 * open files unknown to the tracker. */
	void (*lost)(void *arg, uint64_t **open, uint32_t *n_open);
	/* These inodes changed elsewhere: forget them; say which are open
	 * here by compacting @inos in place; returns how many.  @also: enum
	 * revoke_bits. */
	uint32_t (*revoked)(void *arg, uint64_t *inos, uint32_t n,
			    uint8_t also);
	/* A link_release() is about to be sent: is the inode open again?
	 * Then it is not sent, and counts as told to be open. */
	int (*still_open)(void *arg, uint64_t ino);
	/* The locks held here, for the resume (malloc()ed, the link frees).
	 * These three may be NULL: no files are locked here. */
	void (*locks)(void *arg, struct m_byte_lock **v, uint32_t *n);
	/* Registered again, and nothing is sent yet: the locks of the inodes
	 * @lost are lost, and what waited for a lock has to ask anew. */
	void (*locks_back)(void *arg, const uint64_t *lost, uint32_t n);
	/* A lock that was waited for is decided. */
	void (*locked)(void *arg, const struct m_locked *m);
	/* Registered at @tracker. */
	void (*up)(void *arg, const struct addr *tracker);
	/* A datagram that is not the link's own (want_r, seek). */
	void (*dgram)(void *arg, uint16_t type, const void *body, size_t len);
	/* The list of live peers, whole, in order of number. */
	void (*peers)(void *arg, const struct m_peer *p, uint32_t n);
	/* Delete these chunks. */
	void (*drop)(void *arg, const uint64_t *chunks, uint32_t n);
	/* Fetch and keep; takes @req, and answers it. */
	void (*copy)(void *arg, const struct m_copy *m, struct rpc_req *req);
	/* Hash this file; likewise.  NULL: refused. */
	void (*sum)(void *arg, const struct m_sum *m, struct rpc_req *req);
	/* Begin to complete a file; 0 or -errno is the answer.  May be NULL:
	 * this peer keeps nothing. */
	int (*complete)(void *arg, const struct m_complete *m);
	/* For heartbeats and stats. */
	void (*space)(void *arg, uint64_t *capacity, uint64_t *used,
		      uint64_t *chunks);
	/* The next part of the store's list (see store_list), at most @max. */
	size_t (*held)(void *arg, uint64_t *cursor, struct m_held *out,
		       size_t max);
	/* The tracker does not know these. */
	void (*unknown)(void *arg, const uint64_t *chunks, uint32_t n);
};

struct link_config {
	struct addr trackers[LINK_TRACKERS_MAX];	/* tried in turn */
	int n_trackers;
	struct rpc_self self;
	const char *key_file;	/* named in errors; outlives the link */
	struct addr addr;	/* this peer's, as others reach it */
	uint64_t swarm;		/* the store's; 0 new */
	int mounted;
	int guest;		/* here for one download or upload */
	uint32_t timeout_ms;	/* how long a call waits for the tracker */
};

struct link_info {		/* what hello_r said */
	uint64_t swarm, session;
	uint32_t num;
	uint8_t copies;
	uint32_t slot_size;
};

/* Starts connecting; link_wait() for the outcome of the first hello. */
int link_start(struct link **out, struct loop *loop,
	       const struct link_config *cfg, const struct link_ops *ops,
	       void *arg);
/* Wait until registered, at most @ms.  0; -ECONNREFUSED, -ETIMEDOUT no
 * tracker; -EACCES the key does not fit; -EXDEV store of another swarm;
 * -EEXIST, -EADDRINUSE somebody has this store or address; @why gets a
 * sentence with cause and mend. */
int link_wait(struct link *l, uint32_t ms, char *why, size_t why_len);
/* Says bye (waits at most 1 s), closes; every call, also a later one, ends
 * with -ECANCELED.  Not on the loop. */
void link_close(struct link *l);
/* link_close(), then frees: nobody may use it any more.  NULL is fine. */
void link_stop(struct link *l);

void link_info(struct link *l, struct link_info *out);
int link_is_up(struct link *l);		/* registered, and connected */
int link_leased(struct link *l);	/* may what is leased be used now? */
/* Until when (see now_ms()) if nothing comes between; 0: it may not. */
uint64_t link_leased_until(struct link *l);
/* The same number for as long as the lease does not end; 0: it has ended.
 * So what was true under another term may not be true any more. */
uint64_t link_term(struct link *l);

/* Takes @body.  For M_MUTATES types its first 16 bytes (seq, ack) are
 * filled in here. */
void link_call(struct link *l, uint16_t type, struct wr *body, rpc_done done,
	       void *arg);
/* The same, with another timeout than the link's; 0: that. */
void link_call_for(struct link *l, uint16_t type, struct wr *body,
		   uint32_t timeout_ms, rpc_done done, void *arg);
void link_send(struct link *l, uint16_t type, struct wr *body);
/* By datagram; may be lost.  Takes @body. */
void link_dgram(struct link *l, uint16_t type, struct wr *body);

/* What the store gained and lost: told to the tracker in batches. */
void link_have(struct link *l, uint64_t chunk, enum copy_kind kind);
void link_gone(struct link *l, uint64_t chunk);
/* All that the store holds is told once more, if we are registered. */
void link_held_anew(struct link *l);
/* Inodes no longer open here, batched. */
void link_release(struct link *l, uint64_t ino);

#endif
