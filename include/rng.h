/*
 * rng -- random numbers for decisions and simulations, not for secrets.
 *
 * splitmix64: G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom
 * number generators" (2014).  The state is a number, any one is a good seed,
 * and the same seed gives the same numbers.
 *
 * Threads: one at a time for each state.
 */
#ifndef PSPFS_RNG_H
#define PSPFS_RNG_H

#include <stdint.h>

static inline uint64_t rng_next(uint64_t *rng)
{
	uint64_t z = *rng += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

#endif
