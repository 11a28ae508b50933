/*
 * byte_range -- a range of a file as people write it.  Pure.
 *
 * "0-10M": bytes, with K M G T, the end not in it; "20%-40%": parts of the
 * file, of up to three decimals.
 * Errors: 0 or -EINVAL.
 */
#ifndef PSPFS_BYTE_RANGE_H
#define PSPFS_BYTE_RANGE_H

#include <stdint.h>

#define BYTE_RANGE_ALL 100000	/* thousandths of a percent */

struct byte_range {
	int percent;		/* then these are thousandths of a percent */
	uint64_t first, end;
};

int byte_range_parse(const char *s, struct byte_range *out);
/* All of it? */
int byte_range_is_all(const struct byte_range *r);
/* In bytes, of a file of @size.  @step: percentages go down to a multiple of
 * it (but 100% to the end), so that ranges that touch still touch; 1: to a
 * byte.  -EINVAL: nothing is left. */
int byte_range_of(const struct byte_range *r, uint64_t size, uint32_t step,
		  uint64_t *first, uint64_t *end);

#endif
