/*
 * parts_plan -- a file in as many parts as there are peers (pure).
 *
 * The parts are disjoint, follow one another and together are the file; they
 * differ by at most a slot.  With fewer slots than parts they differ by at
 * most a byte, and a slot has pieces of several of them; with fewer bytes than
 * parts some are empty.
 */
#ifndef PSPFS_PARTS_PLAN_H
#define PSPFS_PARTS_PLAN_H

#include <stdint.h>

struct part_range {
	uint64_t from, end;	/* bytes [from, end) */
};

/* Part @i of @n of a file of @size bytes in slots of @slot bytes. */
struct part_range parts_plan(uint64_t size, uint32_t slot, uint32_t n,
			     uint32_t i);
/* From @at on, inside @r: how many bytes lie in the same slot. */
uint32_t parts_piece(const struct part_range *r, uint32_t slot, uint64_t at);
/* How many such pieces a part has. */
uint64_t parts_pieces(const struct part_range *r, uint32_t slot);

#endif
