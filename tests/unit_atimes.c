/* unit_atimes -- which reads are noted; what is shown and told of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <time.h>
#include <unistd.h>

#include "atimes.h"

enum { DAY_S = 86400, WAIT_MS = 10000 };

static _Atomic uint32_t sent, told;	/* inodes, in all messages */

/* In place of the link's. */
void link_send(struct link *l, uint16_t type, struct wr *body)
{
	struct arena a = ARENA_INIT;
	struct m_accessed m;

	(void)l;
	assert_int_equal(type, M_accessed);
	assert_int_equal(m_accessed_decode(&m, &a, body->p, body->len), 0);
	assert_true(m.n_inos > 0);
	sent += m.n_inos;
	arena_fini(&a);
	wr_fini(body);
}

static void was_told(void *arg, const struct m_access *v, uint32_t n)
{
	(void)arg;
	assert_true(v[0].ino > 0);
	told += n;
}

static struct m_attr attr(int64_t a, int64_t m, int64_t c)
{
	return (struct m_attr){ .ino = 7, .atime_s = a, .mtime_s = m,
				.ctime_s = c };
}

static void as_relatime_says(void **state)
{
	struct m_attr before = attr(10, 20, 5), changed = attr(10, 5, 20);
	struct m_attr same = attr(10, 10, 5), fine = attr(10, 5, 5);
	struct m_attr future = attr(99 * DAY_S, 5, 5);

	(void)state;
	assert_true(atimes_due(&before, 30));
	assert_true(atimes_due(&changed, 30));
	assert_true(atimes_due(&same, 30));
	assert_false(atimes_due(&fine, 30));
	assert_false(atimes_due(&fine, DAY_S + 9));
	assert_true(atimes_due(&fine, DAY_S + 10));
	assert_false(atimes_due(&future, 30));
	assert_true(atimes_due(&before, INT64_MIN));
	assert_false(atimes_due(&fine, INT64_MIN));
	fine.atime_s = INT64_MIN;
	fine.mtime_s = fine.ctime_s = INT64_MIN;
	assert_true(atimes_due(&fine, INT64_MIN));
}

static void noted_shown_and_told(void **state)
{
	struct m_attr a = attr(10, 20, 20), seen = a, later;
	struct timespec now;
	struct atimes *t;
	struct loop *loop;

	(void)state;
	sent = told = 0;
	assert_int_equal(loop_new(&loop, "test"), 0);
	assert_int_equal(atimes_new(&t, NULL, loop, was_told, NULL), 0);
	atimes_note(t, &a);
	atimes_note(t, &a);
	clock_gettime(CLOCK_REALTIME, &now);
	atimes_overlay(t, &seen);
	assert_true(seen.atime_s >= now.tv_sec - 5);
	/* a change since has the last word */
	later = attr(10, 20, now.tv_sec + 100);
	atimes_overlay(t, &later);
	assert_int_equal(later.atime_s, 10);
	/* a clock that is behind the tracker's: after the change even so */
	a = attr(10, 20, now.tv_sec + 100);
	a.ctime_ns = 999999999;
	atimes_note(t, &a);
	atimes_overlay(t, &a);
	assert_true(a.atime_s == now.tv_sec + 101 && !a.atime_ns);
	for (int ms = 0; !sent && ms < WAIT_MS; ms += 20)
		usleep(20000);
	assert_true(sent == 1 && told == 1);
	a = attr(10, 20, 20);
	atimes_overlay(t, &a);
	assert_int_equal(a.atime_s, 10);	/* the tracker's word now */
	a.ino = 8;
	atimes_note(t, &a);
	atimes_free(t);
	assert_true(sent == 2 && told == 2);
	loop_free(loop);
}

static void never_more_than_so_many(void **state)
{
	struct m_attr a = attr(10, 20, 20);
	struct atimes *t;
	struct loop *loop;

	(void)state;
	sent = told = 0;
	assert_int_equal(loop_new(&loop, "test"), 0);
	assert_int_equal(atimes_new(&t, NULL, loop, was_told, NULL), 0);
	for (a.ino = 1; a.ino <= 3 * ATIMES_MOST; a.ino++)
		atimes_note(t, &a);
	assert_true(sent >= 2 * ATIMES_MOST);
	atimes_free(t);
	/* the one that found no room goes unnoted: it is noted when read again */
	assert_true(sent >= 3 * ATIMES_MOST - 3 && sent <= 3 * ATIMES_MOST);
	loop_free(loop);
	/* where nothing is to be noted there is none */
	atimes_note(NULL, &a);
	atimes_overlay(NULL, &a);
	atimes_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_relatime_says),
		cmocka_unit_test(noted_shown_and_told),
		cmocka_unit_test(never_more_than_so_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
