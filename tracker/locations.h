/*
 * locations -- which peer holds a copy of which chunk.
 *
 * Chunk ids are given in sequence, so the table is one of pages of
 * LOCATIONS_PAGE neighbouring ids: 16 bytes a chunk, up to three copies in
 * place.  A million chunks with two copies take about 17 MB.
 *
 * Knows nothing of which peer is alive: the caller filters.
 * Threads: one.
 */
#ifndef PSPFS_LOCATIONS_H
#define PSPFS_LOCATIONS_H

#include <stddef.h>
#include <stdint.h>

#define LOCATIONS_PAGE 64
#define LOCATIONS_PEER_MAX 0x7fffffffu	/* highest number of a peer */

struct locations;

int locations_new(struct locations **out);
void locations_free(struct locations *l);

/* @peer holds @chunk; @replica: it is to keep it.  Says the last word on the
 * kind of a copy that is known already.  0 or -ENOMEM. */
int locations_add(struct locations *l, uint64_t chunk, uint32_t peer,
		  int replica);
void locations_remove(struct locations *l, uint64_t chunk, uint32_t peer);
/* All copies of @chunk. */
void locations_forget(struct locations *l, uint64_t chunk);
/* All copies at @peer (walks the whole table). */
void locations_forget_peer(struct locations *l, uint32_t peer);

struct location {
	uint32_t peer;
	int replica;
};

/* How many copies @chunk has; copy @i < that, in no order. */
size_t locations_count(const struct locations *l, uint64_t chunk);
struct location locations_at(const struct locations *l, uint64_t chunk,
			     size_t i);
/* Bytes that the table takes. */
size_t locations_bytes(const struct locations *l);

#endif
