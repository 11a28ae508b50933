/*
 * relay -- chunks through the tracker, decided: who waits for what, who is
 * asked, what is cached.  No clock, socket or thread: relayd drives it, and
 * so does the simulation.
 *
 * Happy path: relay_want() -> a hit is delivered at once.  A miss makes a
 * flight: io.resolve -> relay_resolved() -> room in the cache -> io.seek to
 * one holder -> relay_found() -> io.check -> relay_checked() -> into the
 * cache -> io.deliver to all who wait -> relay_delivered().
 * Failures: a seek that nobody answers is sent again, RELAY_TRIES times with
 * growing pauses, then by TCP; a holder that has not got it, or stays silent,
 * is followed by a broadcast; after that io.nowhere.  A chunk that is not
 * what the map says is dropped and others are asked.
 *
 * All bytes are in the cache (lru.h): room is taken before a chunk is asked
 * for, and what is being delivered is pinned.  A flight for which there is no
 * room waits its turn.
 *
 * Limits: RELAY_PENDING_MAX wants of one peer, RELAY_FLIGHTS_MAX flights,
 * RELAY_SEEKING_MAX of them under way; beyond, a want is not taken up (and
 * will be sent again).
 * Threads: one.  Counters: RELAY_*.
 */
#ifndef PSPFS_RELAY_H
#define PSPFS_RELAY_H

#include "lru.h"

#define RELAY_PENDING_MAX 4096
#define RELAY_FLIGHTS_MAX 65536
#define RELAY_SEEKING_MAX 1024
#define RELAY_HOLDERS_MAX 8	/* of a chunk, remembered to be asked */
#define RELAY_TRIES 5		/* datagrams, before TCP */
#define RELAY_TRY_MS 25		/* pause after the first; then doubled */
#define RELAY_STRAY_MS 300	/* a want so soon after its delivery is one
				   that was overtaken */
#define RELAY_ANSWER_MS 2000	/* for the bytes, once somebody said yes */

struct relay;

struct relay_seek {
	uint64_t chunk;
	uint32_t try;		/* 0, 1, ... */
	int directed, by_tcp;
};

/* Called from inside the functions below; may not call them back.  On an
 * error (no memory) nothing follows. */
struct relay_io {
	/* Find out what the map says of it; relay_resolved() follows. */
	int (*resolve)(void *arg, uint64_t chunk);
	void (*seek)(void *arg, uint64_t peer, const struct relay_seek *s);
	/* Is the MD5 of the payload e->md5?  relay_checked() follows. */
	int (*check)(void *arg, const struct lru_entry *e);
	/* relay_delivered() follows; @e is valid until then. */
	int (*deliver)(void *arg, uint64_t peer, const struct lru_entry *e);
	void (*nowhere)(void *arg, uint64_t peer, uint64_t chunk);
	void *arg;
};

struct relay_config {
	uint64_t cache_bytes;
	int broadcast;		/* 1: always, without asking one first */
	uint64_t seed;
};

int relay_new(struct relay **out, const struct relay_config *cfg,
	      const struct relay_io *io);
void relay_free(struct relay *r);

/* A peer has its connection, or lost it (its deliveries have ended). */
int relay_peer_up(struct relay *r, uint64_t peer);
void relay_peer_down(struct relay *r, uint64_t peer, uint64_t now_ms);

/* Keeps in @ids those that were taken up (or had been); how many. */
uint32_t relay_want(struct relay *r, uint64_t peer, uint64_t *ids,
		    uint32_t n, uint64_t now_ms);
/* What is known of a chunk; @len 0: there is no such chunk. */
void relay_resolved(struct relay *r, uint64_t chunk, uint32_t len,
		    const uint8_t md5[MD5_LEN], const uint64_t *holders,
		    uint32_t n_holders, uint64_t now_ms);
/* An answer to a seek. */
void relay_here(struct relay *r, uint64_t peer, uint64_t chunk,
		uint64_t now_ms);
void relay_absent(struct relay *r, uint64_t peer, uint64_t chunk,
		  uint64_t now_ms);
/* 1: taken (a reference to e->buf too); 0: nobody needs it. */
int relay_found(struct relay *r, uint64_t peer, const struct lru_entry *e,
		uint64_t now_ms);
void relay_checked(struct relay *r, uint64_t chunk, int good,
		   uint64_t now_ms);
void relay_delivered(struct relay *r, uint64_t peer, uint64_t chunk,
		     uint64_t now_ms);
/* Time passes: call every RELAY_TRY_MS / 2 or so. */
void relay_tick(struct relay *r, uint64_t now_ms);

struct relay_stat {
	uint64_t cached, limit;		/* bytes */
	uint32_t flights, pending;	/* chunks sought; wants not yet met */
};
void relay_stat(const struct relay *r, struct relay_stat *out);

#endif
