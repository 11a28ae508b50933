/*
 * sums -- what the blocks of chunks were when the chunk's MD5 was right.
 *
 * A chunk's MD5 vouches for all of it or nothing: to check 4 KiB of it 512 KiB
 * would have to be read.  So who has just checked a chunk notes a checksum of
 * each of its blocks (XXH3, 32 bits), and a later read of a few blocks from
 * the local store compares with those; or of all, for a peer that will check
 * the MD5 itself.
 * The disk may have spoilt a block meanwhile: then it does not match, and the
 * chunk is read as a whole.
 *
 * Bounded: the least recently used chunks' sums go first.
 * Threads: any.
 */
#ifndef PSPFS_SUMS_H
#define PSPFS_SUMS_H

#include <stddef.h>
#include <stdint.h>

#define SUMS_BLOCK 4096
#define SUMS_WORTH (64u << 10)	/* a smaller chunk's MD5 costs little */

struct sums;

/* At most @bytes of sums. */
int sums_new(struct sums **out, size_t bytes);
void sums_free(struct sums *s);		/* NULL is fine */
/* What those of a chunk of @len bytes take: about 4 for a block. */
size_t sums_bytes(size_t len);
/* To and from the directory @dir, when nobody else uses them; see
 * sums_file.c.  What fails leaves fewer sums. */
void sums_save(const struct sums *s, int dir);
void sums_load(struct sums *s, int dir);

/* All of a chunk, checked.  Without memory nothing is noted. */
void sums_add(struct sums *s, uint64_t chunk, const void *data, size_t len);
int sums_has(struct sums *s, uint64_t chunk);
/* @len bytes of it from @at on: whole blocks, but for the chunk's last.
 * 1: as they were; 0: not, or the chunk is not known. */
int sums_match(struct sums *s, uint64_t chunk, size_t at, const void *data,
	       size_t len);
/* 1: @len bytes are all of it, as it was. */
int sums_match_all(struct sums *s, uint64_t chunk, const void *data,
		   size_t len);

#endif
