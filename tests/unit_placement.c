#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "placement.h"

#define GIB (1ull << 30)

static void distinct_and_never_the_excepted(void **state)
{
	struct candidate c[10];
	const uint32_t except[] = { 3, 7 };
	uint32_t out[10];
	uint64_t rng = 1;

	(void)state;
	for (uint32_t i = 0; i < 10; i++)
		c[i] = (struct candidate){ .num = i + 1, .free = GIB };
	for (int round = 0; round < 1000; round++) {
		size_t n = placement_choose(c, 10, 0, 1, except, 2, 10, &rng,
					    out);

		assert_int_equal(n, 8);
		for (size_t i = 0; i < n; i++) {
			assert_true(out[i] != 3 && out[i] != 7);
			for (size_t k = 0; k < i; k++)
				assert_int_not_equal(out[i], out[k]);
		}
	}
}

static void writer_first_if_it_has_room(void **state)
{
	struct candidate c[3] = { { .num = 1, .free = GIB },
				  { .num = 2, .free = GIB },
				  { .num = 3, .free = 10 } };
	const uint32_t two = 2;
	uint32_t out[2];
	uint64_t rng = 2;

	(void)state;
	assert_int_equal(placement_choose(c, 3, 2, 100, NULL, 0, 2, &rng, out),
			 2);
	assert_int_equal(out[0], 2);
	assert_int_equal(out[1], 1);
	placement_choose(c, 3, 3, 100, NULL, 0, 1, &rng, out);
	assert_int_not_equal(out[0], 3);
	placement_choose(c, 3, 2, 100, &two, 1, 1, &rng, out);
	assert_int_equal(out[0], 1);
}

static void no_room_nobody(void **state)
{
	struct candidate c[2] = { { .num = 1, .free = 99 },
				  { .num = 2, .free = 100 } };
	uint32_t out[2];
	uint64_t rng = 3;

	(void)state;
	assert_int_equal(placement_choose(c, 2, 1, 100, NULL, 0, 2, &rng, out),
			 1);
	assert_int_equal(out[0], 2);
	assert_int_equal(placement_choose(c, 2, 1, 101, NULL, 0, 2, &rng, out),
			 0);
	assert_int_equal(placement_choose(NULL, 0, 1, 1, NULL, 0, 2, &rng,
					  out), 0);
}

static void zones_differ_while_they_can(void **state)
{
	struct candidate c[4] = { { .num = 1, .free = GIB, .zone = 1 },
				  { .num = 2, .free = GIB, .zone = 1 },
				  { .num = 3, .free = GIB, .zone = 1 },
				  { .num = 4, .free = GIB, .zone = 2 } };
	uint32_t out[3];
	uint64_t rng = 4;

	(void)state;
	for (int round = 0; round < 200; round++) {
		placement_choose(c, 4, 1, 1, NULL, 0, 3, &rng, out);
		assert_int_equal(out[0], 1);
		assert_int_equal(out[1], 4);
		assert_true(out[2] == 2 || out[2] == 3);
	}
}

/* A peer with three times the room gets more, a busy one less. */
static void room_and_queues_weigh(void **state)
{
	struct candidate c[3] = { { .num = 1, .free = 3 * GIB },
				  { .num = 2, .free = GIB },
				  { .num = 3, .free = GIB, .queued = 9 } };
	unsigned got[4] = { 0 };
	uint32_t out;
	uint64_t rng = 5;

	(void)state;
	for (int round = 0; round < 3000; round++) {
		placement_choose(c, 3, 0, 1, NULL, 0, 1, &rng, &out);
		got[out]++;
	}
	assert_true(got[1] > got[2]);
	assert_true(got[2] > got[3]);
	assert_true(got[3] > 0);
}

/* Weights of petabytes do not overflow their sum. */
static void huge(void **state)
{
	struct candidate c[200];
	uint32_t out;
	uint64_t rng = 6;

	(void)state;
	for (uint32_t i = 0; i < 200; i++)
		c[i] = (struct candidate){ .num = i + 1, .free = UINT64_MAX };
	assert_int_equal(placement_choose(c, 200, 0, UINT64_MAX, NULL, 0, 1,
					  &rng, &out), 1);
	assert_in_range(out, 1, 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(distinct_and_never_the_excepted),
		cmocka_unit_test(writer_first_if_it_has_room),
		cmocka_unit_test(no_room_nobody),
		cmocka_unit_test(zones_differ_while_they_can),
		cmocka_unit_test(room_and_queues_weigh),
		cmocka_unit_test(huge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
