/* unit_parts_plan -- a file in n parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "parts_plan.h"

enum { K = 1024 };

/* Disjoint, exhaustive, in order; pieces that lie in one slot each. */
static void check(uint64_t size, uint32_t slot, uint32_t n)
{
	uint64_t slots = (size + slot - 1) / slot, at = 0;
	uint64_t least = UINT64_MAX, most = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct part_range r = parts_plan(size, slot, n, i);
		uint64_t len = r.end - r.from, pieces = 0;

		assert_int_equal(r.from, at);
		assert_true(r.end >= r.from);
		if (slots >= n && i + 1 < n)
			assert_int_equal(r.end % slot, 0);
		if (size >= n)
			assert_true(len);
		if (slots >= n)
			len = (len + slot - 1) / slot;
		least = len < least ? len : least;
		most = len > most ? len : most;
		while (at < r.end) {
			uint32_t piece = parts_piece(&r, slot, at);

			assert_true(piece && piece <= slot);
			assert_int_equal(at / slot, (at + piece - 1) / slot);
			at += piece;
			pieces++;
		}
		assert_int_equal(at, r.end);
		assert_int_equal(parts_pieces(&r, slot), pieces);
	}
	assert_int_equal(at, size);
	assert_true(most - least <= 1);
}

static void every_small_file(void **state)
{
	(void)state;
	for (uint64_t size = 0; size < 70; size++)
		for (uint32_t n = 1; n < 12; n++)
			check(size, 8, n);
}

static void around_whole_slots(void **state)
{
	(void)state;
	for (uint32_t n = 1; n <= 50; n++)
		for (uint64_t slots = 1; slots < 120; slots += 7)
			for (int64_t by = -1; by <= 1; by++)
				check(slots * K + (uint64_t)by, K, n);
}

static void as_large_as_they_come(void **state)
{
	uint64_t size = INT64_MAX;
	struct part_range last = { 0, 0 }, r;

	(void)state;
	for (uint32_t i = 0; i < 16384; i++) {
		r = parts_plan(size, K, 16384, i);
		assert_int_equal(r.from, last.end);
		assert_true(r.end - r.from >= size / 16384 - K &&
			    r.end - r.from <= size / 16384 + K);
		last = r;
	}
	assert_int_equal(last.end, size);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_small_file),
		cmocka_unit_test(around_whole_slots),
		cmocka_unit_test(as_large_as_they_come),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
