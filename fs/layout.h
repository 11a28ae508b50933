/*
 * layout -- the whole of a file: attributes, slots, chunks and their holders,
 * gathered from the tracker at one version.
 *
 * Threads: as ask.  Blocks.
 * Errors:  0 or -errno; -E2BIG more than LAYOUT_SLOTS_MAX slots with data; -EAGAIN the
 *          file changed again and again while it was read; -EBADMSG slots out
 *          of order, or a piece that is not inside its chunk.
 * Memory:  layout_fini() frees all; a zeroed one is fine too.
 */
#ifndef PSPFS_LAYOUT_H
#define PSPFS_LAYOUT_H

#include "ask.h"

#define LAYOUT_ROOT 1		/* the inode of the swarm's top */
#define LAYOUT_SLOTS_MAX 4194304	/* 2 TiB at 512 KiB */

/* A piece of the file: bytes [at, at + len) are bytes [off, off + len) of a
 * chunk.  What no piece covers is a hole and reads as zeros. */
struct layout_piece {
	uint64_t at;
	uint32_t len, off;
	const struct m_chunk *chunk;
	uint64_t slot;
};

struct layout {
	struct m_attr attr;
	struct m_slot *slots;		/* those with slices, in order */
	struct m_chunk *chunks;		/* each once, by id */
	size_t n_slots, n_chunks;
	struct layout_piece *pieces;	/* what is seen, in order */
	size_t n_pieces;
	struct arena arena;
};

int layout_load(struct layout *l, const struct ask *ask, uint64_t ino);
void layout_fini(struct layout *l);
const struct m_chunk *layout_chunk(const struct layout *l, uint64_t id);

/* Walk @path ("a/b", "/a/b") from the top. */
int layout_find(const struct ask *ask, const char *path, struct m_attr *out);

#endif
