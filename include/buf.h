/*
 * buf -- reference-counted blocks of bytes: chunks, frames, file data.
 *
 * A block is written by its only owner, then shared and never written again.
 * Data is aligned to 64 bytes.  Freed blocks of 64 KiB and more are kept for
 * reuse by size class, up to BUF_POOL_MAX bytes altogether; those in use are
 * counted.
 * Threads: any (the count is atomic).
 */
#ifndef PSPFS_BUF_H
#define PSPFS_BUF_H

#include <stddef.h>
#include <stdint.h>

#define BUF_POOL_MAX (16u << 20)

struct buf {
	uint8_t *data;
	size_t len;		/* bytes in use */
	size_t cap;		/* bytes there is room for */
	int refs;		/* atomic */
	struct buf *parent;	/* of a view: whose bytes these are */
};

/* A block with room for @cap bytes, len 0, one reference; NULL: no memory. */
struct buf *buf_new(size_t cap);
struct buf *buf_dup(const void *p, size_t n);
/* Bytes [off, off+len) of @b's room as a buf of their own, without copying;
 * holds a reference on @b.  Its cap is what is left of @b's.
 * NULL: no memory. */
struct buf *buf_view(struct buf *b, size_t off, size_t len);
struct buf *buf_ref(struct buf *b);
void buf_unref(struct buf *b);		/* NULL is fine */
/* Room of all blocks that somebody has. */
size_t buf_in_use(void);

#endif
