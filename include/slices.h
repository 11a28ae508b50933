/*
 * slices -- a slot's stack of slices, resolved.  Pure.
 *
 * A stack is a list of {pos, len, chunk, off}, newest last; where slices
 * overlap the newest wins; chunk 0 and what no slice covers are zeros.
 * Memory:  callers own all arrays; outputs are malloc()ed, free() them.
 */
#ifndef PSPFS_SLICES_H
#define PSPFS_SLICES_H

#include <stddef.h>
#include <stdint.h>

#include "msg.h"

/* A resolved piece: bytes [pos, pos+len) come from chunk at off (0: zeros). */
struct piece {
	uint32_t pos, len;
	uint64_t chunk;
	uint32_t off;
	uint32_t from;		/* index in the stack; UINT32_MAX: a hole */
};

/* Disjoint pieces in order that cover exactly [pos, pos+len).
 * 0, -ENOMEM, or -EBADMSG when a slice (or the range) reaches past
 * UINT32_MAX or there are more than MSG_SLICES_MAX. */
int slices_resolve(const struct m_slice *stack, size_t n, uint32_t pos,
		   uint32_t len, struct piece **out, size_t *n_out);
/* What is seen in [pos, pos+len) of the stack, as a stack of its own without
 * zeros that begins at @to where @stack's begins at @pos: disjoint slices, in
 * order.  What none of them covers was a hole.  Errors as above, and -EBADMSG
 * when @to + @len passes UINT32_MAX. */
int slices_take(const struct m_slice *stack, size_t n, uint32_t pos,
		uint32_t len, uint32_t to, struct m_slice **out,
		size_t *n_out);
/* The end of the highest byte that a slice covers. */
uint32_t slices_end(const struct m_slice *stack, size_t n);
/* Is this stack worth compacting?  (more than SLICES_DEEP) */
#define SLICES_DEEP 8
int slices_deep(size_t n);

#endif
