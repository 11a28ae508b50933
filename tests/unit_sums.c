/* unit_sums -- checksums of the blocks of checked chunks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sums.h"

enum { LEN = 3 * SUMS_BLOCK + 100, LAST = 3 * SUMS_BLOCK, BLOCKS = 4 };

static struct sums *s;
static uint8_t data[LEN];

static int setup(void **state)
{
	(void)state;
	for (size_t i = 0; i < LEN; i++)
		data[i] = (uint8_t)(i * 7 + i / SUMS_BLOCK);
	/* of two chunks, and not of three */
	return sums_new(&s, 2 * BLOCKS * sizeof(uint32_t));
}

static int teardown(void **state)
{
	(void)state;
	sums_free(s);
	return 0;
}

static void what_was_added_matches(void **state)
{
	(void)state;
	assert_false(sums_has(s, 1));
	assert_false(sums_match(s, 1, 0, data, LEN));
	sums_add(s, 1, data, LEN);
	assert_true(sums_has(s, 1));
	assert_true(sums_match(s, 1, 0, data, LEN));
	assert_true(sums_match(s, 1, SUMS_BLOCK, data + SUMS_BLOCK,
			       SUMS_BLOCK));
	assert_true(sums_match(s, 1, LAST, data + LAST, LEN - LAST));
}

static void what_differs_does_not(void **state)
{
	(void)state;
	sums_add(s, 1, data, LEN);
	data[SUMS_BLOCK + 5] ^= 1;
	assert_false(sums_match(s, 1, 0, data, LEN));
	assert_false(sums_match(s, 1, SUMS_BLOCK, data + SUMS_BLOCK,
				SUMS_BLOCK));
	assert_true(sums_match(s, 1, 0, data, SUMS_BLOCK));
	/* the right bytes, of another block; a last block that is cut; more
	 * than there is */
	assert_false(sums_match(s, 1, SUMS_BLOCK, data, SUMS_BLOCK));
	assert_false(sums_match(s, 1, LAST, data + LAST, LEN - LAST - 1));
	assert_false(sums_match(s, 1, 4 * SUMS_BLOCK, data, 1));
	assert_false(sums_match(s, 1, 9 * SUMS_BLOCK, data, 1));
}

static void the_least_recently_used_goes(void **state)
{
	(void)state;
	sums_add(s, 1, data, LEN);
	sums_add(s, 2, data, LEN);
	assert_true(sums_has(s, 1));
	sums_add(s, 3, data, LEN);
	assert_true(sums_has(s, 1));
	assert_false(sums_has(s, 2));
	assert_true(sums_has(s, 3));
	sums_add(s, 3, data, 10);	/* what came last counts */
	assert_true(sums_match(s, 3, 0, data, 10));
	assert_true(sums_has(s, 1));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_added_matches),
		TEST(what_differs_does_not),
		TEST(the_least_recently_used_goes),
	};

	return cmocka_run_group_tests_name("sums", tests, NULL, NULL);
}
