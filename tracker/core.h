/*
 * core -- the tracker as a machine without clock, socket or thread.
 *
 * Frames and time go in, frames come out through struct core_io: the daemon
 * joins it to real connections, the simulation to a seeded, lossy network.
 * It owns the namespace (ns), the sessions with their exactly-once replies,
 * the leases, the peers with their chunk locations, placement and garbage.
 *
 * Happy path: core_begin(); core_request() for each frame that waits;
 * core_end() commits the batch and lets the answers go.  An answer to a
 * change leaves only when (a) its transaction is committed - and on the disk
 * where it holds an fsync - and (b) every other session that held a lease on
 * what was touched has acknowledged the revocation, or its lease has ended.
 *
 * What a client has to do for its part: answer M_revoke once it has dropped
 * what it cached of these inodes, without waiting for anything; drop all that
 * it cached before it says hello again; and cache nothing from the answer to
 * a change that it sent more than once (what that says may be old).
 *
 * Failure: when the commit fails, every answer of the batch becomes that
 * error and nothing of the batch has happened.  While the database's disk is
 * full changes are refused one by one (db.h), and who reads is answered.
 *
 * Threads: one (the metadata thread).
 */
#ifndef PSPFS_CORE_H
#define PSPFS_CORE_H

#include <stddef.h>
#include <stdint.h>

#include "codec.h"
#include "db.h"
#include "msg.h"

/* Copied or, for at most a few tests, shortened. */
struct core_config {
	uint8_t copies;		/* replicas of each chunk */
	uint32_t slot_size;	/* of new files */
	uint32_t lease_ms;	/* 10000 */
	uint32_t heartbeat_ms;	/* 2000 */
	uint32_t garbage_ms;	/* grace before a chunk is dropped: 60000 */
	uint32_t gone_ms;	/* silent so long: repaired around: 60000 */
	uint64_t files_max;	/* inodes that there may be; 0: any number */
	uint64_t seed;		/* of placement's randomness */
};

struct core_time {
	uint64_t ms;		/* monotonic (CLOCK_BOOTTIME) */
	int64_t wall_s;
	uint32_t wall_ns;
};

struct core_io {
	/* Try whether others can connect to @peer at @ip and @port; the outcome
	 * comes through core_probed().  NULL: nobody tries. */
	void (*probe)(void *arg, uint64_t peer, const char *ip, uint16_t port);
	/* What the relay's cache holds and may hold; NULL: there is none. */
	void (*cache)(void *arg, uint64_t *bytes, uint64_t *limit);
	/* Answer request @number on @conn; takes @body's bytes. */
	void (*answer)(void *arg, uint64_t conn, uint32_t number,
		       uint16_t type, uint16_t status, struct wr *body);
	/* A request or one-way of the tracker's own to @conn.  @number 0:
	 * one-way.  Its answer comes back through core_answer(). */
	void (*send)(void *arg, uint64_t conn, uint32_t number,
		     uint16_t type, struct wr *body);
	/* Close @conn (a session was taken over, or broke the rules). */
	void (*close)(void *arg, uint64_t conn, const char *why);
	void *arg;
};

struct core;

int core_new(struct core **out, struct db *db, const struct core_config *cfg,
	     const struct core_io *io, struct core_time now, char *why,
	     size_t why_len);
void core_free(struct core *c);

/* A connection passed its handshake as @role with @id (from TLS), coming
 * from @ip; @conn is the caller's name for it, never reused. */
void core_up(struct core *c, uint64_t conn, uint8_t role, uint64_t id,
	     const char *ip);
void core_down(struct core *c, uint64_t conn);

void core_begin(struct core *c, struct core_time now);
void core_request(struct core *c, uint64_t conn, uint32_t number,
		  uint16_t type, const void *body, size_t len);
/* The answer to core_io.send: @status as on the wire, or ST_NOTCONN. */
void core_answer(struct core *c, uint64_t conn, uint32_t number,
		 uint16_t type, uint16_t status, const void *body,
		 size_t len);
/* A heartbeat that came as a datagram (already authenticated as @session).
 * Writes the answer's body; 0 or -ENOENT (no such session: no answer). */
int core_heartbeat(struct core *c, uint64_t session, const void *body,
		   size_t len, struct wr *answer);
/* @reach: enum peer_reach. */
void core_probed(struct core *c, uint64_t peer, uint8_t reach);

/* What the map says of a chunk, and which live peers hold it (some, if they
 * are many).  Of an unknown one @len is 0. */
#define CORE_WHERE_MAX 8
struct core_where {
	uint64_t chunk;		/* in */
	uint32_t len;
	uint8_t md5[MD5_LEN];
	uint64_t holders[CORE_WHERE_MAX];	/* peers' ids */
	uint32_t n_holders;
};
void core_where(struct core *c, struct core_where *w);

/* Time passes: leases end, peers become suspect and gone, garbage is
 * dropped.  Call every 100 ms or so, inside a batch. */
void core_tick(struct core *c);
int core_end(struct core *c);

uint64_t core_swarm(const struct core *c);
/* The tracker's own id, for TLS. */
uint64_t core_id(const struct core *c);
/* The session on @conn (0: none yet), for joining its datagrams. */
uint64_t core_session(const struct core *c, uint64_t conn);

#endif
