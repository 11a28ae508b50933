/* unit_spell -- it begins once, is counted, and is over once. */
#include "spell.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { THREADS = 4, TIMES = 20000 };

/* As if it had gone wrong long ago. */
static int over(struct spell *s, struct spell_end *e)
{
	s->last_ms = 0;
	return spell_over(s, e);
}

static void counted(void **state)
{
	struct spell s = { 0 };
	struct spell_end e = { 7, 7 };

	(void)state;
	assert_false(spell_over(&s, &e));
	assert_int_equal(e.n, 7);
	for (int round = 0; round < 2; round++) {
		assert_true(spell_bad(&s));
		assert_false(spell_bad(&s));
		assert_false(spell_bad(&s));
		assert_true(spell_is(&s));
		assert_false(spell_over(&s, &e));	/* just now it was */
		assert_true(over(&s, &e));
		assert_int_equal(e.n, 3);
		assert_true(e.s <= 1);
		assert_false(spell_is(&s));
		assert_false(spell_over(&s, &e));
	}
}

static void never_begins_anew_by_itself(void **state)
{
	struct spell s = { .n = UINT32_MAX - 1, .since_ms = 1 };
	struct spell_end e;

	(void)state;
	for (int i = 0; i < 5; i++)
		assert_false(spell_bad(&s));
	assert_true(over(&s, &e));
	assert_int_equal(e.n, UINT32_MAX);
	assert_true(e.s > 0);
}

static struct spell shared;
static _Atomic unsigned begun, ended, counts;

static void *in_it(void *arg)
{
	struct spell_end e;

	for (int i = 0; i < TIMES; i++) {
		begun += spell_bad(&shared) != 0;
		if (i % 100 == 99 && over(&shared, &e)) {
			ended++;
			counts += e.n;
		}
	}
	return arg;
}

static void by_several_threads(void **state)
{
	pthread_t t[THREADS];
	struct spell_end e;

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, in_it, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	if (over(&shared, &e)) {
		ended++;
		counts += e.n;
	}
	assert_int_equal(begun, ended);
	assert_int_equal(counts, THREADS * TIMES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counted),
		cmocka_unit_test(never_begins_anew_by_itself),
		cmocka_unit_test(by_several_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
