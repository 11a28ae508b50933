/* unit_source -- which holder is asked, and when another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "source.h"

static uint64_t rng;

static struct source good(uint32_t num, uint64_t outstanding)
{
	return (struct source){
		.num = num, .alive = 1, .outstanding = outstanding,
	};
}

static uint32_t chosen(const struct source *s, size_t n)
{
	int i;

	rng = 1;
	i = source_choose(s, n, &rng);
	return i < 0 ? 0 : s[i].num;
}

static void nobody(void **state)
{
	struct source s[2] = { good(1, 0), good(2, 0) };

	(void)state;
	assert_int_equal(chosen(s, 0), 0);
	s[0].tried = 1;
	s[1].alive = 0;
	assert_int_equal(chosen(s, 2), 0);
}

static void least_busy(void **state)
{
	struct source s[3] = { good(1, 900), good(2, 100), good(3, 500) };

	(void)state;
	assert_int_equal(chosen(s, 3), 2);
	s[1].tried = 1;
	assert_int_equal(chosen(s, 3), 3);
}

/* Each reason outweighs all that come after it. */
static void order_of_reasons(void **state)
{
	struct source s[8];

	(void)state;
	for (uint32_t i = 0; i < 8; i++)
		s[i] = good(i + 1, 0);
	s[0].bad = SOURCE_BAD_MAX;
	s[1].away = 1;
	s[1].outstanding = 1;
	s[2].mute = 1;
	s[2].failures = 1;
	s[3].relay = 1;
	s[4].busy = 1;
	s[5].failures = 1;
	s[6].bad = 1;
	s[7].outstanding = UINT64_MAX;
	for (uint32_t n = 8; n; n--)
		assert_int_equal(chosen(s, n), n == 3 ? 2 : n);
	s[1].asked = 1;
	assert_int_equal(chosen(s, 3), 3);
}

/* Who takes ten times as long gets a tenth of the requests. */
static void slow_ones_get_less(void **state)
{
	struct source s[3] = { good(1, 5 << 20), good(2, 1 << 20),
			       good(3, 3 << 20) };

	(void)state;
	s[0].usual_ms = 49;
	s[1].usual_ms = 499;
	s[2].usual_ms = 99;
	assert_int_equal(chosen(s, 3), 1);
	s[0].outstanding = 7 << 20;
	assert_int_equal(chosen(s, 3), 3);
	s[1].outstanding = 0;
	assert_int_equal(chosen(s, 3), 2);
}

static void chance_between_equals(void **state)
{
	struct source s[5] = { good(1, 7), good(2, 7), good(3, 7), good(4, 7),
			       good(5, 8) };
	int times[5] = { 0 };

	(void)state;
	rng = 12345;
	for (int i = 0; i < 4000; i++)
		times[source_choose(s, 5, &rng)]++;
	for (int i = 0; i < 4; i++)
		assert_in_range(times[i], 850, 1150);
	assert_int_equal(times[4], 0);
}

static void hedge_time(void **state)
{
	struct source s = good(1, 0);

	(void)state;
	assert_int_equal(source_hedge_ms(&s), 3 * SOURCE_USUAL_MS);
	s.usual_ms = 33;
	assert_int_equal(source_hedge_ms(&s), SOURCE_HEDGE_MIN_MS);
	s.usual_ms = 200;
	assert_int_equal(source_hedge_ms(&s), 600);
	s.usual_ms = UINT32_MAX;
	assert_int_equal(source_hedge_ms(&s), UINT32_MAX);
}

static void hedges_are_few(void **state)
{
	struct source_budget b = { 0, 0 };
	uint64_t made = 0;

	(void)state;
	for (int i = 0; i < 10000; i++) {
		b.requests++;
		made += source_may_hedge(&b) != 0;
	}
	assert_in_range(made, 10000 / 100 * SOURCE_HEDGE_PERCENT,
			10000 / 100 * SOURCE_HEDGE_PERCENT +
				SOURCE_HEDGE_BURST);
	b = (struct source_budget){ 1, 0 };
	assert_true(source_may_hedge(&b));
}

static void rounds_grow(void **state)
{
	uint32_t most = 0;

	(void)state;
	rng = 9;
	for (int i = 0; i < 100; i++) {
		assert_in_range(source_round_ms(1, &rng),
				SOURCE_ROUND_MIN_MS / 2, SOURCE_ROUND_MIN_MS);
		assert_in_range(source_round_ms(3, &rng),
				SOURCE_ROUND_MIN_MS * 2,
				SOURCE_ROUND_MIN_MS * 4);
		assert_in_range(source_round_ms(1000, &rng),
				SOURCE_ROUND_MAX_MS / 2, SOURCE_ROUND_MAX_MS);
	}
	for (int i = 0; i < 100; i++) {
		uint32_t ms = source_round_ms(9, &rng);

		most = ms > most ? ms : most;
	}
	assert_true(most > SOURCE_ROUND_MAX_MS * 3 / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody),
		cmocka_unit_test(least_busy),
		cmocka_unit_test(order_of_reasons),
		cmocka_unit_test(chance_between_equals),
		cmocka_unit_test(slow_ones_get_less),
		cmocka_unit_test(hedge_time),
		cmocka_unit_test(hedges_are_few),
		cmocka_unit_test(rounds_grow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
