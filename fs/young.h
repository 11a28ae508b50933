/*
 * young -- which chunks came here lately.
 *
 * A chunk that was just stored may not be known to the tracker yet (its
 * commit is under way): it must not be taken for one that nobody knows.
 * Two generations of YOUNG_MS each, so that a chunk counts as young for at
 * least one and at most two of them.  A generation that overflows calls
 * everything young.
 *
 * Threads: one at a time.  Time is an argument.
 */
#ifndef PSPFS_YOUNG_H
#define PSPFS_YOUNG_H

#include <stdint.h>

#define YOUNG_MS (10 * 60 * 1000)
#define YOUNG_MAX 262144	/* chunks of a generation */

struct young_chunk;

struct young {
	struct young_chunk *set[2];	/* uthash; [0] the newer */
	uint64_t since_ms;		/* when [0] began */
	int overflow[2];
};

void young_init(struct young *y, uint64_t now_ms);
void young_fini(struct young *y);
void young_add(struct young *y, uint64_t chunk, uint64_t now_ms);
int young_has(struct young *y, uint64_t chunk, uint64_t now_ms);

#endif
