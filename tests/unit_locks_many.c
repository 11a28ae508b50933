/* unit_locks_many -- many locks and many who wait cost no more than they must:
 * while the tracker searches, everybody stands still. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <time.h>

#include "locks.h"

static struct locks *l;
static unsigned n_decided;

static void decided(void *arg, uint64_t session, uint64_t ticket,
		    const struct m_byte_lock *k, enum lk_state state)
{
	(void)arg;
	(void)session;
	(void)ticket;
	(void)k;
	assert_int_equal(state, LK_GRANTED);
	n_decided++;
}

static int setup(void **state)
{
	const struct locks_ops ops = { decided, NULL };

	(void)state;
	n_decided = 0;
	return locks_new(&l, &ops);
}

static int teardown(void **state)
{
	(void)state;
	locks_free(l);
	return 0;
}

static struct m_byte_lock lk(uint64_t ino, uint8_t kind, uint64_t owner,
			     uint64_t start_at, uint64_t end)
{
	return (struct m_byte_lock){ ino, LK_FCNTL, kind, owner, 101, start_at,
				     end, 0 };
}

static uint64_t cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* All other sessions stand still while one's end is worked off. */
static void many_wait_for_many(void **state)
{
	enum { MANY = 3000 };
	struct m_byte_lock k;
	uint64_t began;

	(void)state;
	for (uint64_t i = 1; i <= MANY; i++) {
		k = lk(1, LK_READ, i, 0, LOCKSET_END);
		assert_int_equal(locks_ask(l, 1, i, &k, 0), LK_GRANTED);
	}
	for (uint64_t i = 1; i <= MANY; i++) {
		k = lk(1, LK_WRITE, i, i, i);
		assert_int_equal(locks_ask(l, 2, i, &k, 1), LK_WAITS);
	}
	began = cpu_ms();
	for (uint64_t i = 1; i <= MANY / 100; i++) {
		k = lk(1, LK_NONE, i, 0, LOCKSET_END);
		assert_int_equal(locks_ask(l, 1, 0, &k, 0), LK_GRANTED);
	}
	locks_drop(l, 1);
	assert_true(cpu_ms() - began < 2000);
	assert_int_equal(n_decided, MANY);
}

/* Each of @n owners has a byte, and all but the first wait for the next's: what
 * becomes of the first? */
static enum lk_state close_a_circle(uint64_t ino, uint64_t n)
{
	struct m_byte_lock k;

	for (uint64_t i = 0; i < n; i++) {
		k = lk(ino, LK_WRITE, i, i, i);
		assert_int_equal(locks_ask(l, 1, 0, &k, 0), LK_GRANTED);
	}
	for (uint64_t i = n - 1; i; i--) {
		k = lk(ino, LK_WRITE, i, (i + 1) % n, (i + 1) % n);
		assert_int_equal(locks_ask(l, 1, i, &k, 1), LK_WAITS);
	}
	k = lk(ino, LK_WRITE, 0, 1, 1);
	return locks_ask(l, 1, n, &k, 1);
}

static void a_circle_of_many_is_found(void **state)
{
	(void)state;
	assert_int_equal(close_a_circle(1, 500), LK_DEADLOCK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(many_wait_for_many, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_circle_of_many_is_found,
						setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
