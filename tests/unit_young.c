/* unit_young -- small memories of chunks: what came lately, who was served. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "served.h"
#include "young.h"

static struct young y;
static struct served s;

static int setup(void **state)
{
	(void)state;
	young_init(&y, 1000);
	served_init(&s);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	young_fini(&y);
	served_fini(&s);
	return 0;
}

static void young_for_a_while(void **state)
{
	uint64_t t = 1000;

	(void)state;
	young_add(&y, 1, t);
	young_add(&y, 1, t);
	assert_true(young_has(&y, 1, t));
	assert_false(young_has(&y, 2, t));
	t += YOUNG_MS - 1;
	young_add(&y, 2, t);
	t += YOUNG_MS - 1;
	assert_true(young_has(&y, 1, t));
	assert_true(young_has(&y, 2, t));
	t += 1 + YOUNG_MS;
	assert_false(young_has(&y, 1, t));
}

static void all_grow_old(void **state)
{
	(void)state;
	young_add(&y, 1, 1000);
	young_add(&y, 2, 1000 + YOUNG_MS);
	assert_false(young_has(&y, 1, 1000 + 10 * YOUNG_MS));
	assert_false(young_has(&y, 2, 1000 + 10 * YOUNG_MS));
}

static void too_many_are_all_young(void **state)
{
	(void)state;
	for (uint64_t i = 1; i <= YOUNG_MAX; i++)
		young_add(&y, i, 1000);
	assert_false(young_has(&y, YOUNG_MAX + 2, 1000));
	young_add(&y, YOUNG_MAX + 1, 1000);
	assert_true(young_has(&y, YOUNG_MAX + 2, 1000));
	assert_true(young_has(&y, YOUNG_MAX + 2, 1000 + YOUNG_MS));
	assert_false(young_has(&y, YOUNG_MAX + 2, 1000 + 2 * YOUNG_MS));
}

static void remembers_the_last_served(void **state)
{
	uint32_t out[SERVED_EACH];

	(void)state;
	assert_int_equal(served_get(&s, 5, 0, out), 0);
	served_add(&s, 5, 0);
	assert_int_equal(served_get(&s, 5, 0, out), 0);
	for (uint32_t n = 1; n <= SERVED_EACH + 1; n++)
		served_add(&s, 5, n);
	served_add(&s, 5, 3);
	assert_int_equal(served_get(&s, 5, 0, out), SERVED_EACH);
	assert_int_equal(out[0], 3);
	assert_int_equal(out[1], SERVED_EACH + 1);
	for (int i = 0; i < SERVED_EACH; i++)
		assert_int_not_equal(out[i], 1);
	assert_int_equal(served_get(&s, 5, 3, out), SERVED_EACH - 1);
	/* The same slot, another chunk. */
	assert_int_equal(served_get(&s, 5 + SERVED_SLOTS, 0, out), 0);
	served_add(&s, 5 + SERVED_SLOTS, 9);
	assert_int_equal(served_get(&s, 5, 0, out), 0);
	assert_int_equal(served_get(&s, 5 + SERVED_SLOTS, 0, out), 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(young_for_a_while), T(all_grow_old),
		T(too_many_are_all_young), T(remembers_the_last_served),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
