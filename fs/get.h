/*
 * get -- the chunks of a file from all who hold them, into a part.
 *
 * Happy path: a batch of chunks is looked up at the tracker (plan), the
 * rarest are fetched first, some at once; what comes is verified (fetch),
 * written, and offered to others by the peer that we are.
 * How many at once: from GET_WINDOW_MIN to GET_WINDOW_MAX, more while they
 * come quickly, fewer when they take long.  Then the way is full anyway, and
 * who decides late can take from those who have it by then.
 * Failure: a chunk that cannot be had is put aside until all others are
 * through, and looked up again until nothing has come for timeout_ms; then
 * the missing ranges are told (-ENODATA).
 * Without a tracker the holders are those of the tracker file.
 *
 * Threads: one calls get_run(), which blocks; the peer's own do the work.
 */
#ifndef PSPFS_GET_H
#define PSPFS_GET_H

#include "part.h"
#include "peer.h"
#include "plan.h"

#define GET_WINDOW_MIN 4		/* chunks at once */
#define GET_WINDOW_MAX 32
#define GET_QUICK_MS 100		/* of one chunk: one more, if all of a
					   window were so */
#define GET_SLOW_MS 250			/* fewer */
#define GET_WINDOW_BYTES (32u << 20)	/* and their bytes; one always may */
#define GET_LOOKUP_MS 40	/* who holds the batch is looked up so often,
				   and 1 ms for each chunk in it */
#define GET_AGAIN_MS 500	/* and what nobody holds */
#define GET_FLIGHT_MS 2000	/* one chunk's tries, before it is put aside */
#define GET_STEP_MS 100

struct get_source {
	uint32_t num;		/* the peer */
	char at[ADDR_TEXT_MAX];
	uint64_t bytes;
};

struct get_result {
	uint64_t fetched, resumed;	/* bytes of the file */
	struct get_source *sources;
	size_t n_sources;
	int unlike;		/* the tracker has other MD5s than the track */
	struct track_range *missing;
	size_t n_missing;
};

/* @step as for part; the sources so far are in @out.  After a failure the
 * peer may have been halted.  0; -ENODATA with
 * out->missing; -ECANCELED by @step; -errno of the part, which says why. */
int get_run(struct get_result *out, struct peer *peer, struct part *part,
	    const uint8_t *have, uint32_t timeout_ms, part_step step,
	    void *arg);
void get_result_fini(struct get_result *r);

#endif
