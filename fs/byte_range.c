/* byte_range -- see byte_range.h. */
#include "byte_range.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "text.h"

#define WORD_MAX 32

/* "12.5" to 12500. */
static int parse_percent(const char *s, uint64_t *out)
{
	uint64_t n = 0;
	int decimals = -1;

	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	for (; *s; s++) {
		if (*s == '.' && decimals < 0) {
			decimals = 0;
			continue;
		}
		if (!isdigit((unsigned char)*s) || decimals == 3)
			return -EINVAL;
		n = n * 10 + (uint64_t)(*s - '0');
		decimals += decimals >= 0;
		if (n > BYTE_RANGE_ALL)
			return -EINVAL;
	}
	for (decimals = decimals < 0 ? 0 : decimals; decimals < 3; decimals++)
		n *= 10;
	*out = n;
	return n > BYTE_RANGE_ALL ? -EINVAL : 0;
}

/* One end, of @n bytes. */
static int parse_end(const char *s, size_t n, int *percent, uint64_t *out)
{
	char word[WORD_MAX];

	if (!n || n >= sizeof(word))
		return -EINVAL;
	memcpy(word, s, n);
	word[n] = 0;
	*percent = word[n - 1] == '%';
	if (!*percent)
		return size_parse(word, out) ? -EINVAL : 0;
	word[n - 1] = 0;
	return parse_percent(word, out);
}

int byte_range_parse(const char *s, struct byte_range *out)
{
	const char *dash = strchr(s, '-');
	struct byte_range r;
	int also = 0, err;

	if (!dash)
		return -EINVAL;
	err = parse_end(s, (size_t)(dash - s), &r.percent, &r.first);
	if (!err)
		err = parse_end(dash + 1, strlen(dash + 1), &also, &r.end);
	if (err || r.percent != also || r.first >= r.end)
		return -EINVAL;
	*out = r;
	return 0;
}

int byte_range_is_all(const struct byte_range *r)
{
	return r->percent && !r->first && r->end == BYTE_RANGE_ALL;
}

static uint64_t part_of(uint64_t size, uint64_t thousandths, uint32_t step)
{
	uint64_t at;

	if (thousandths == BYTE_RANGE_ALL)
		return size;
	/* without overflow */
	at = size / BYTE_RANGE_ALL * thousandths +
	     size % BYTE_RANGE_ALL * thousandths / BYTE_RANGE_ALL;
	return at / step * step;
}

int byte_range_of(const struct byte_range *r, uint64_t size, uint32_t step,
		  uint64_t *first, uint64_t *end)
{
	*first = r->percent ? part_of(size, r->first, step) : r->first;
	*end = r->percent ? part_of(size, r->end, step) : r->end;
	return *first < *end ? 0 : -EINVAL;
}
