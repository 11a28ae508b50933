/*
 * placement -- which peers are to keep a chunk.  Pure: time, state and
 * randomness are arguments.
 *
 * The writer itself first, when it lends room (its copy costs no network),
 * then live peers with room by two random choices weighted by free space, in
 * different zones where zones are set.  Never one peer twice.
 */
#ifndef PSPFS_PLACEMENT_H
#define PSPFS_PLACEMENT_H

#include <stddef.h>
#include <stdint.h>

struct candidate {
	uint32_t num;
	uint64_t free;		/* bytes */
	uint32_t queued;	/* work it is known to have; 0 if unknown */
	uint32_t zone;		/* 0: none set */
};

/* Choose up to @want of @n candidates that are not in @except, each with at
 * least @need bytes free; @writer 0: none.  @rng is advanced.  Returns how
 * many were written to @out (fewer when there are fewer). */
size_t placement_choose(const struct candidate *c, size_t n, uint32_t writer,
			uint64_t need, const uint32_t *except,
			size_t n_except, size_t want, uint64_t *rng,
			uint32_t *out);

#endif
