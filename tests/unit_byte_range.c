/* unit_byte_range -- ranges of a file as people write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "byte_range.h"

static void bytes(void **state)
{
	struct byte_range r;
	uint64_t first, end;

	(void)state;
	assert_int_equal(byte_range_parse("0-10M", &r), 0);
	assert_false(r.percent);
	assert_int_equal(byte_range_of(&r, 5, 512, &first, &end), 0);
	assert_int_equal(first, 0);
	assert_int_equal(end, 10 << 20);
	assert_int_equal(byte_range_parse("1.5K-1T", &r), 0);
	assert_int_equal(r.first, 1536);
	assert_int_equal(r.end, 1ull << 40);
	assert_false(byte_range_is_all(&r));
}

static void no_range(void **state)
{
	static const char *const bad[] = {
		"", "-", "5", "5-", "-5", "5-5", "6-5", "0--1", "0-10%",
		"10%-20", "a-b", "0-1X", "0-99999999999T", "20%-10%",
		"0%-101%", "0%-100.001%", "1.2345%-50%", "%-50%", ".%-50%",
		"1..2%-50%", "0 - 5-6", "+1%-5%", "0%-5%%", "0-1-2",
		"00000000000000000000000000000000000000000000000000001-2",
	};
	struct byte_range r = { .first = 77 };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (!byte_range_parse(bad[i], &r))
			fail_msg("'%s' is a range", bad[i]);
	assert_int_equal(r.first, 77);
}

static void percent(void **state)
{
	struct byte_range r;
	uint64_t first, end;

	(void)state;
	assert_int_equal(byte_range_parse("20%-40%", &r), 0);
	assert_true(r.percent);
	assert_int_equal(byte_range_of(&r, 1000, 1, &first, &end), 0);
	assert_int_equal(first, 200);
	assert_int_equal(end, 400);
	assert_int_equal(byte_range_of(&r, 1000, 64, &first, &end), 0);
	assert_int_equal(first, 192);
	assert_int_equal(end, 384);
	/* less than a chunk */
	assert_int_not_equal(byte_range_of(&r, 1000, 512, &first, &end), 0);
	assert_int_equal(byte_range_parse("0%-100%", &r), 0);
	assert_true(byte_range_is_all(&r));
	assert_int_equal(byte_range_of(&r, 1001, 512, &first, &end), 0);
	assert_int_equal(end, 1001);
	assert_int_not_equal(byte_range_of(&r, 0, 512, &first, &end), 0);
	assert_int_equal(byte_range_parse("12.5%-99.999%", &r), 0);
	assert_int_equal(byte_range_of(&r, UINT64_MAX, 1, &first, &end), 0);
	assert_int_equal(first >> 40, UINT64_MAX / 8 >> 40);
	assert_true(end < UINT64_MAX && end > UINT64_MAX / 100000 * 99998);
}

/* Those that touch leave nothing out, whatever the size. */
static void touching(void **state)
{
	char text[32];
	struct byte_range r;
	uint64_t first, end, last;

	(void)state;
	for (uint64_t size = 1; size < 40000; size += 37) {
		last = 0;
		for (int k = 0; k < 100; k += 5) {
			snprintf(text, sizeof(text), "%d%%-%d%%", k, k + 5);
			assert_int_equal(byte_range_parse(text, &r), 0);
			if (byte_range_of(&r, size, 1024, &first, &end))
				assert_int_equal(first, end);
			assert_int_equal(first, last);
			last = end;
		}
		assert_int_equal(last, size);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes),
		cmocka_unit_test(no_range),
		cmocka_unit_test(percent),
		cmocka_unit_test(touching),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
