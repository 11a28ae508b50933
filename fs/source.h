/*
 * source -- from which holder to fetch a chunk, and when to ask another.
 * Pure: load, time and randomness are arguments.
 *
 * Of those not yet tried, nor being asked: the ones that can be reached before
 * those that said that they are busy, these before the relay, that before those
 * that are mute or in backoff, the ones that never gave a bad copy before those
 * that did, then the fewest failures in this fetch, then the least outstanding
 * bytes times the usual time of an answer; chance decides between equals, so
 * that a crowd does not fall on one.
 */
#ifndef PSPFS_SOURCE_H
#define PSPFS_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#define SOURCE_BAD_MAX 3	/* bad digests: asked when all others failed */
#define SOURCE_HEDGE_MIN_MS 100
#define SOURCE_HEDGE_PERCENT 5	/* extra requests, at most */
#define SOURCE_HEDGE_BURST 4	/* but so many are always allowed */
#define SOURCE_USUAL_MS 500	/* of one that is not known yet */
#define SOURCE_ROUND_MIN_MS 50
#define SOURCE_ROUND_MAX_MS 1000

struct source {
	uint32_t num;
	uint64_t outstanding;	/* bytes */
	uint32_t usual_ms;	/* 0: not known */
	uint8_t alive;
	uint8_t away;		/* a call would fail at once */
	uint8_t mute;		/* it does not answer */
	uint8_t asked;		/* an answer is waited for */
	uint8_t busy;		/* it said so, in this fetch */
	uint8_t relay;		/* through the tracker */
	uint8_t tried;		/* in this round */
	uint8_t failures;	/* in this fetch */
	uint8_t bad;		/* bad digests it gave, ever */
};

/* The index of the one to ask; -1: none is left. */
int source_choose(const struct source *s, size_t n, uint64_t *rng);

/* How long to wait before a second source is asked. */
uint32_t source_hedge_ms(const struct source *s);

/* Requests and extra requests so far. */
struct source_budget {
	uint64_t requests, hedges;
};

/* May another hedge be made?  Counts it if so. */
int source_may_hedge(struct source_budget *b);

/* How long to wait before round @round (1 is the first that waits). */
uint32_t source_round_ms(unsigned round, uint64_t *rng);

#endif
