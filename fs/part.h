/*
 * part -- DEST.part: a file that is being downloaded, piece by piece.
 *
 * Has its final size from the start, and room on the disk where that can be
 * had; gets its final name only when all of it is there, checked and synced.
 * Locked (flock) while it is open, so that one process at a time writes it.
 *
 * Threads: one.
 * Errors:  0 or -errno, with a sentence of cause and mend in part.why.
 */
#ifndef PSPFS_PART_H
#define PSPFS_PART_H

#include <limits.h>

#include "track.h"

#define PART_SUFFIX ".part"
#define PART_CHECK_MAX (16u << 20)	/* bytes read and hashed at once */

struct part {
	const struct track *track;
	const char *dest;	/* the final name */
	char path[PATH_MAX];
	int fd;			/* -1: not open */
	int resumed;		/* it was there */
	char why[512];
};

/* Called now and then; not 0: stop, with -ECANCELED. */
typedef int (*part_step)(void *arg, uint64_t done, uint64_t total);

/* @track and @dest outlive it. */
int part_open(struct part *p, const struct track *track, const char *dest);
void part_close(struct part *p);

/* Which pieces are there already?  @have (as many as pieces) is set to 1 for
 * those whose bytes have their MD5; one that shows only a part of its chunk
 * cannot be told and counts as absent. */
int part_check(struct part *p, uint8_t *have, part_step step, void *arg);
/* @chunk: the bytes of the whole chunk that the piece is of. */
int part_write(struct part *p, const struct track_piece *piece,
	       const uint8_t *chunk);
/* The whole: its MD5, where it is known (-EBADMSG). */
int part_verify(struct part *p, part_step step, void *arg);
/* Sync it and give it its name; @force: also if that is taken. */
int part_finish(struct part *p, int force);

#endif
