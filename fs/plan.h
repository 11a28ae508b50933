/*
 * plan -- which chunk of a file to fetch next (pure: what is known of the
 * holders, time and randomness are arguments).
 *
 * Chunks that are wanted are taken up in batches, the rarest first, chance
 * between equals: so that several who fetch the same file at once each have
 * something that the others lack.  Before a batch is begun, and now and then
 * while it lasts, it is looked up who holds its chunks; those that nobody
 * holds are put aside until all others are through.
 *
 * Threads: one.  Errors: 0 or -ENOMEM.
 */
#ifndef PSPFS_PLAN_H
#define PSPFS_PLAN_H

#include "track.h"

#define PLAN_BATCH 256
#define PLAN_NONE SIZE_MAX

struct plan_chunk {
	uint64_t id;
	uint32_t len;
	uint32_t first, n;	/* its pieces: plan.order[first ..] */
};

struct plan_item {		/* a chunk of the batch */
	uint32_t chunk;		/* index */
	uint32_t n_holders;
	uint32_t holders[MSG_HOLDERS_MAX];
};

struct plan {
	const struct track *track;
	struct plan_chunk *chunks;
	size_t n_chunks;
	uint32_t *order;	/* indices of pieces, by chunk */
	uint32_t *todo;		/* indices of chunks, the next one last */
	size_t n_todo;
	uint32_t *aside;	/* nobody holds these */
	size_t n_aside;
	struct plan_item *batch;	/* PLAN_BATCH, the next one last */
	size_t n_batch;
};

/* @have: for each piece 1, if it need not be fetched.  @track outlives it. */
int plan_init(struct plan *p, const struct track *track, const uint8_t *have,
	      uint64_t rng);
void plan_fini(struct plan *p);

/* Fills the batch from what is still to do, if it is empty.  Its holders are
 * then to be set: plan_known() for each, and plan_sort(). */
void plan_fill(struct plan *p);
/* Who holds the chunk of batch[i]; the holders are copied. */
void plan_known(struct plan *p, size_t i, const uint32_t *holders,
		uint32_t n);
/* The same, as the tracker file said it. */
void plan_known_from_track(struct plan *p, size_t i);
/* Rarest last; what nobody holds goes aside. */
void plan_sort(struct plan *p);
/* The next of the batch (valid until the next call), or NULL. */
const struct plan_item *plan_next(struct plan *p);
/* A chunk could not be had. */
void plan_aside(struct plan *p, uint32_t chunk);
/* Those aside are looked up again: they are to do once more. */
void plan_again(struct plan *p);
/* The piece that chunk @c is first seen in. */
const struct track_piece *plan_piece(const struct plan *p, uint32_t chunk,
				     uint32_t i);
/* The byte ranges that are not there (merged over nothing but each other);
 * malloc()ed.  -ENOMEM. */
int plan_missing(const struct plan *p, struct track_range **out, size_t *n);

#endif
