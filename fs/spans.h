/*
 * spans -- layers of memory painted over a range of a file.  Pure.
 *
 * Starts as one bare span (what the committed map says) and is painted from
 * the oldest layer to the newest; what is painted last is on top.
 *
 * Memory: spans point to the buffers painted without holding references.
 * Errors: sticky in s->err (-ENOMEM).
 */
#ifndef PSPFS_SPANS_H
#define PSPFS_SPANS_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"

struct span {
	uint64_t off, len;	/* in the file, bytes */
	struct buf *b;		/* NULL: bare */
	size_t at;		/* where in b->data it starts */
	int hot;		/* its bytes may still change */
};

enum { SPANS_FEW = 16 };

struct spans {
	struct span *v;		/* disjoint, in order, without gaps */
	size_t n, cap;
	int err;
	struct span few[SPANS_FEW];
};

void spans_init(struct spans *s, uint64_t off, uint64_t len);
void spans_fini(struct spans *s);
/* Bytes [off, off+len) are b->data[0, len); what lies outside is cut. */
void spans_paint(struct spans *s, uint64_t off, uint64_t len, struct buf *b,
		 int hot);

#endif
