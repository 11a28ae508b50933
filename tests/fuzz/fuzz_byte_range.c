/*
 * fuzz_byte_range -- ranges of a file as people write them.
 *
 * Input: the file's size u64, step u32, then the text.  A range that is read
 * is in order and in the file; so is what it is in bytes.
 */
#include <errno.h>

#include "byte_range.h"
#include "fuzz.h"

static void check_bytes(const struct byte_range *r, uint64_t size,
			uint32_t step)
{
	uint64_t first, end;

	if (byte_range_of(r, size, step, &first, &end))
		return;
	MUST(first < end);
	if (!r->percent) {
		MUST(first == r->first && end == r->end);
		return;
	}
	MUST(end <= size && first % step == 0);
	MUST(end % step == 0 || (r->end == BYTE_RANGE_ALL && end == size));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct byte_range r;
	uint64_t size;
	uint32_t step;
	struct rd rd;
	char *s;
	int err;

	rd_init(&rd, p, n);
	size = rd_u64(&rd);
	step = rd_u32(&rd);
	p = fuzz_rest(&rd, &n);
	s = fuzz_string(p, n);
	err = byte_range_parse(s, &r);
	MUST(!err || err == -EINVAL);
	if (!err) {
		MUST(r.first < r.end);
		MUST(!r.percent || r.end <= BYTE_RANGE_ALL);
		MUST(byte_range_is_all(&r) == (r.percent && !r.first &&
					       r.end == BYTE_RANGE_ALL));
		check_bytes(&r, size, step ? step : 1);
	}
	free(s);
	return 0;
}

static void seed(const char *name, uint64_t size, uint32_t step,
		 const char *text)
{
	struct wr w = WR_INIT;

	wr_u64(&w, size);
	wr_u32(&w, step);
	wr_bytes(&w, text, strlen(text));
	fuzz_seed_wr(name, &w);
}

void fuzz_seeds(void)
{
	seed("bytes", 20 << 20, 1, "0-10M");
	seed("percent", 1000003, 4096, "20%-40.125%");
	seed("all", UINT64_MAX, 1 << 20, "0%-100%");
	seed("mixed", 100, 1, "5-40%");
	seed("order", 100, 1, "40%-20%");
	seed("long", 100, 1, "0.0000%-99999999999999999999999999999999999%");
}
