/*
 * ranges -- the dirty ranges of one slot, a buffer each.  Pure.
 *
 * Ranges are sorted, and neither overlap nor touch.  Each has a buffer of
 * its own that starts with the range's first byte and has RANGES_TAIL bytes
 * to spare, so that it can leave as a chunk without being copied.
 *
 * Memory:  the set owns its buffers.
 * Threads: one at a time.
 */
#ifndef PSPFS_RANGES_H
#define PSPFS_RANGES_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"

#define RANGES_MAX 16
#define RANGES_TAIL 16	/* room behind the bytes, for an MD5 */

struct range {
	uint32_t pos, len;
	struct buf *b;		/* b->data[0] is the byte at pos */
};

struct ranges {
	uint32_t n;
	struct range v[RANGES_MAX];
};

/* Put @len bytes at @pos, over what is there.  @room: how many bytes from
 * @pos on are likely to be filled (allocated at once); 0: unknown.
 * 0; -ENOSPC: one range too many, take them and try again; -ENOMEM.  After
 * an error nothing has changed. */
int ranges_write(struct ranges *r, uint32_t pos, const void *p, uint32_t len,
		 uint32_t room);
/* What the buffers take, bytes. */
size_t ranges_bytes(const struct ranges *r);
void ranges_fini(struct ranges *r);

#endif
