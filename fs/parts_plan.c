/* parts_plan -- see parts_plan.h. */
#include "parts_plan.h"

/* total * i / n, without overflow: i <= n. */
static uint64_t share(uint64_t total, uint32_t n, uint32_t i)
{
	return total / n * i + total % n * i / n;
}

static uint64_t boundary(uint64_t size, uint32_t slot, uint32_t n, uint32_t i)
{
	uint64_t slots = size / slot + (size % slot != 0);

	if (i == n)
		return size;
	return slots < n ? share(size, n, i) : share(slots, n, i) * slot;
}

struct part_range parts_plan(uint64_t size, uint32_t slot, uint32_t n,
			     uint32_t i)
{
	return (struct part_range){ boundary(size, slot, n, i),
				    boundary(size, slot, n, i + 1) };
}

uint32_t parts_piece(const struct part_range *r, uint32_t slot, uint64_t at)
{
	uint64_t left = r->end - at, room = slot - at % slot;

	return (uint32_t)(left < room ? left : room);
}

uint64_t parts_pieces(const struct part_range *r, uint32_t slot)
{
	if (r->from == r->end)
		return 0;
	return (r->end - 1) / slot - r->from / slot + 1;
}
