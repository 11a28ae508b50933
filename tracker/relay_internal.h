/*
 * relay_internal -- what relay.c (wants, peers, deliveries) and relay_seek.c
 * (a flight's course) share.
 */
#ifndef PSPFS_RELAY_INTERNAL_H
#define PSPFS_RELAY_INTERNAL_H

#include <sys/queue.h>

#include "relay.h"
#include "table.h"

/* A chunk that a peer wants: it waits in its flight, or it is being sent; or
 * it was, a moment ago. */
struct wanted {
	struct {
		uint64_t peer, chunk;
	} key;
	UT_hash_handle hh;
	TAILQ_ENTRY(wanted) wait;	/* of flight.waiting, or relay.met */
	LIST_ENTRY(wanted) of_peer;
	struct rpeer *peer;
	struct flight *flight;		/* NULL: it is being sent ... */
	struct lru_entry *entry;	/* ... this, pinned; NULL: it was */
	uint64_t met_ms;
};

struct rpeer {
	uint64_t id;
	UT_hash_handle hh;
	LIST_HEAD(, wanted) wants;
	uint32_t n_wants;
};

enum flight_state {
	FLIGHT_RESOLVING,	/* its map entry is being looked up */
	FLIGHT_QUEUED,		/* for room in the cache */
	FLIGHT_DIRECTED,	/* one holder was asked */
	FLIGHT_BROADCAST,	/* everybody was */
	FLIGHT_CHECKING,	/* it came */
	FLIGHT_DONE,		/* its room is a cached chunk's now */
};

struct flight {
	uint64_t chunk;
	UT_hash_handle hh;
	enum flight_state state;
	TAILQ_HEAD(, wanted) waiting;
	TAILQ_ENTRY(flight) link;	/* of relay.queued or .seeking */
	uint32_t len;
	uint8_t md5[MD5_LEN];
	uint64_t holders[RELAY_HOLDERS_MAX];
	uint32_t n_holders;
	uint64_t asked;			/* directed: whom */
	uint32_t try;			/* sent so far, in this state */
	uint64_t next_ms;		/* then something has to be done */
	struct lru_entry come;		/* while it is checked */
};

struct relay {
	struct relay_config cfg;
	struct relay_io io;
	struct lru *lru;
	uint64_t rng;
	uint64_t evicted;		/* told to the counter */
	struct rpeer *peers;
	struct wanted *wanted;
	struct flight *flights;
	TAILQ_HEAD(flights, flight) queued, seeking;
	TAILQ_HEAD(, wanted) met;	/* in order of met_ms */
	uint32_t n_met;
	uint32_t n_seeking;
};

/* relay.c */
struct rpeer *relay_peer(const struct relay *r, uint64_t id);
/* Does @peer wait for it? */
int relay_waits(const struct relay *r, uint64_t peer, uint64_t chunk);
/* It is in the cache: all who wait get it; ends the flight. */
void relay_serve(struct relay *r, struct flight *f, struct lru_entry *e);
/* It cannot be had: all who wait are told; ends the flight. */
void relay_give_up(struct relay *r, struct flight *f);

/* Those that were met a while ago are forgotten. */
void relay_forget_met(struct relay *r, uint64_t now_ms);

/* relay_seek.c */
struct flight *relay_flight(const struct relay *r, uint64_t chunk);
/* Those that wait for room, as far as there is some. */
void relay_start_queued(struct relay *r, uint64_t now_ms);
/* Out of lists, table and memory; its room is given back if @reserved. */
void relay_flight_end(struct relay *r, struct flight *f);

#endif
