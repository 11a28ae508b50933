/*
 * swarm -- the peers: their numbers, their state, what they hold.
 *
 * A peer's number goes with its id, durably and for ever; all else is in
 * memory and comes with its hello, its heartbeats and its inventory.  A peer
 * is live while its control connection is up and it is heard: SUSPECT is
 * still live, GONE is not, and hides its copies.
 *
 * A guest (hello.guest) is there only while it is live, with a number that
 * nobody else gets while the tracker runs.  It may be a source and is listed;
 * nothing is placed on it, and it counts for no copies and no room.
 *
 * Threads: one.  Errors: 0 or -errno.
 */
#ifndef PSPFS_SWARM_H
#define PSPFS_SWARM_H

#include <stddef.h>
#include <stdint.h>

#include "codec.h"
#include "db.h"
#include "locations.h"
#include "msg.h"
#include "placement.h"
#include "table.h"

struct peer {
	uint32_t num;
	uint64_t id;
	char addr[MSG_ADDR_MAX + 1];
	uint16_t port;
	uint8_t state;		/* enum peer_state */
	uint8_t mounted;
	uint8_t told;		/* its inventory is complete */
	uint8_t saved;		/* its row is as it is here */
	uint8_t guest;
	uint64_t conn;		/* 0: not connected */
	uint64_t capacity, used, chunks;
	uint64_t heard_ms;
	uint64_t gone_ms;	/* since when, if GONE */
	uint32_t queued;	/* chunks placed since its last heartbeat */
	struct m_counter *counters;
	uint32_t n_counters;
	UT_hash_handle hh, hh_guest;
};

struct swarm {
	struct db *db;
	struct peer *peers;		/* by id: members and guests */
	struct peer **by_num;		/* [num - 1]: members */
	uint32_t n, cap;
	uint32_t n_live;		/* members */
	struct peer *guests;		/* by number */
	uint32_t next_guest;
	struct locations *locations;
	int changed;			/* the live list, since last cleared */
	struct candidate *candidates;	/* [cap], swarm_place()'s */
};

/* Makes the table and reads it in a batch of its own. */
int swarm_open(struct swarm **out, struct db *db, uint64_t now_ms);
void swarm_close(struct swarm *s);

struct peer *swarm_find(const struct swarm *s, uint64_t id);
struct peer *swarm_num(const struct swarm *s, uint32_t num);	/* or NULL */
/* The live peer at this address, but @id; or NULL. */
struct peer *swarm_at(const struct swarm *s, struct str addr, uint16_t port,
		      uint64_t id);

/* Inside the batch: the peer of @m is here, a new one gets its number.
 * -EEXIST: the id of a member comes as a guest, or the other way round. */
int swarm_join(struct swarm *s, struct peer **out, uint64_t id,
	       uint64_t conn, const struct m_hello *m, struct str addr,
	       uint64_t now_ms);
/* A guest is forgotten, @p freed. */
void swarm_leave(struct swarm *s, struct peer *p, uint64_t now_ms);
void swarm_heard(struct swarm *s, struct peer *p,
		 const struct m_heartbeat *m, uint64_t now_ms);
/* Those silent for @suspect_ms are suspected. */
void swarm_tick(struct swarm *s, uint64_t now_ms, uint64_t suspect_ms);
/* Nobody was listened to for @gap_ms. */
void swarm_stalled(struct swarm *s, uint64_t gap_ms);
/* The batch was rolled back: numbers given in it are written again. */
void swarm_rolled_back(struct swarm *s);
int swarm_count(struct peer *p, const struct m_stats *m);

static inline int peer_live(const struct peer *p)
{
	return p->state != PEER_GONE;
}

/* Live copies of a chunk. */
struct copies {
	unsigned all, replicas;
};
struct copies swarm_copies(const struct swarm *s, uint64_t chunk);
/* Sets c->holders, in @a, to the live ones. */
int swarm_holders(const struct swarm *s, struct arena *a, struct m_chunk *c);
/* Does @p hold it?  1 cached, 2 replica, 0 no. */
int swarm_holds(const struct swarm *s, const struct peer *p, uint64_t chunk);

/* How many copies a chunk is to have: @copies, 255: one on every peer. */
unsigned swarm_want(const struct swarm *s, uint8_t copies);
/* Choose up to @want live peers for a chunk; returns how many. */
size_t swarm_place(struct swarm *s, uint32_t writer, uint64_t need,
		   const uint32_t *except, size_t n_except, size_t want,
		   uint64_t *rng, uint32_t *out);

/* The list as sent to peers: live ones, without counters; or all, with. */
int swarm_list(const struct swarm *s, struct arena *a, int all,
	       uint64_t now_ms, struct m_peer **out, uint32_t *n);

struct room {
	uint64_t capacity, used;	/* of the live peers */
};
struct room swarm_room(const struct swarm *s);

#endif
