#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "leases.h"
#include "msg.h"

#define MOST 64

static struct leases *l;
static struct holder a, b, c;
static struct waiter w;
static unsigned n_ready;
static uint64_t last_idle;
/* An answer that waits: to whom, about what, how old. */
static const struct holder *waiting_holder;
static uint64_t waiting_ino, waiting_order;

static void ready(struct waiter *x, void *arg)
{
	(void)arg;
	assert_ptr_equal(x, &w);
	n_ready++;
}

static int waiting(const struct holder *h, uint64_t ino, uint64_t before,
		   void *arg)
{
	(void)arg;
	return h == waiting_holder && ino == waiting_ino &&
	       waiting_order < before;
}

static void idle(uint64_t ino, void *arg)
{
	(void)arg;
	last_idle = ino;
}

static int setup(void **state)
{
	const struct leases_ops ops = { ready, waiting, idle, NULL };

	(void)state;
	n_ready = 0;
	last_idle = 0;
	waiting_holder = NULL;
	holder_init(&a);
	holder_init(&b);
	holder_init(&c);
	waiter_init(&w);
	return leases_new(&l, &ops, MOST);
}

static int teardown(void **state)
{
	(void)state;
	leases_drop(l, &a);
	leases_drop(l, &b);
	leases_drop(l, &c);
	waiter_fini(&w);
	leases_free(l);
	return 0;
}

static void grant(struct holder *h, uint64_t ino)
{
	assert_int_equal(leases_grant(l, h, ino), 0);
}

static void touch(const struct holder *by, uint64_t ino, uint64_t order)
{
	assert_int_equal(leases_touch(l, by, ino, 0, order, &w), 0);
}

static struct revoke *sent(const struct holder *to)
{
	struct revoke *r = leases_unsent(l);

	assert_non_null(r);
	assert_ptr_equal(r->holder, to);
	return r;
}

static void others_wait_not_oneself(void **state)
{
	struct revoke *r;

	(void)state;
	grant(&a, 5);
	touch(&a, 5, 1);
	assert_int_equal(w.n, 0);
	grant(&b, 5);
	grant(&b, 6);
	touch(&a, 5, 2);
	touch(&a, 6, 2);
	assert_int_equal(w.n, 1);	/* one message to b for both */
	r = sent(&b);
	assert_int_equal(r->n, 2);
	assert_null(leases_unsent(l));
	leases_acked(l, r, NULL, 0);
	assert_int_equal(n_ready, 1);
	assert_int_equal(w.n, 0);
	touch(&a, 5, 3);
	assert_int_equal(w.n, 0);
}

static void a_second_change_waits_for_the_same_revocation(void **state)
{
	struct revoke *r;

	(void)state;
	grant(&b, 5);
	touch(&a, 5, 1);
	r = sent(&b);
	waiter_fini(&w);
	touch(&a, 5, 2);
	assert_int_equal(w.n, 1);
	assert_null(leases_unsent(l));
	leases_acked(l, r, NULL, 0);
	assert_int_equal(n_ready, 1);
}

static void a_lease_granted_since_outlives_the_acknowledgement(void **state)
{
	struct revoke *r;

	(void)state;
	grant(&b, 5);
	touch(&a, 5, 1);
	r = sent(&b);
	grant(&b, 5);
	leases_acked(l, r, NULL, 0);
	assert_int_equal(n_ready, 1);
	touch(&a, 5, 2);
	assert_int_equal(w.n, 1);
	assert_ptr_equal(sent(&b)->holder, &b);
}

/* Order of sends: answer, then revocation; also within one batch. */
static void granted_and_touched_twice_in_a_batch(void **state)
{
	struct revoke *r;

	(void)state;
	grant(&b, 5);
	touch(&a, 5, 1);
	grant(&b, 5);
	touch(&a, 5, 2);
	assert_int_equal(w.n, 1);
	r = sent(&b);
	assert_int_equal(r->n, 1);
	leases_acked(l, r, NULL, 0);
	assert_int_equal(n_ready, 1);
	assert_int_equal(last_idle, 5);
}

static void what_is_open_stays(void **state)
{
	const uint64_t open[] = { 5, 77 };
	struct revoke *r;

	(void)state;
	grant(&b, 5);
	grant(&b, 6);
	touch(NULL, 5, 1);
	touch(NULL, 6, 1);
	r = sent(&b);
	leases_acked(l, r, open, 2);
	assert_true(leases_held(l, 5));
	assert_false(leases_held(l, 6));
	assert_false(leases_held(l, 77));	/* it was not asked about */
	assert_int_equal(last_idle, 6);
	leases_release(l, &b, 5, 0);
	assert_false(leases_held(l, 5));
	assert_int_equal(last_idle, 5);
}

static void released_but_still_leased(void **state)
{
	(void)state;
	grant(&b, 5);
	assert_int_equal(leases_open(l, &b, 5), 0);
	leases_release(l, &b, 5, 0);
	touch(&a, 5, 1);
	assert_int_equal(w.n, 1);
	grant(&c, 6);
	assert_int_equal(leases_open(l, &c, 6), 0);
	leases_release(l, &c, 6, 1);
	assert_false(leases_held(l, 6));
}

static void dropped_holders_are_not_waited_for(void **state)
{
	(void)state;
	grant(&b, 5);
	grant(&c, 5);
	touch(&a, 5, 1);
	assert_int_equal(w.n, 2);
	leases_drop(l, &b);		/* not sent yet */
	assert_int_equal(w.n, 1);
	sent(&c);
	leases_drop(l, &c);
	assert_int_equal(n_ready, 1);
	assert_false(leases_held(l, 5));
}

static void assumed_holders_have_everything(void **state)
{
	(void)state;
	assert_int_equal(leases_assume(l, &a), 0);
	assert_int_equal(leases_assume(l, &b), 0);
	assert_int_equal(leases_assumed(l), 2);
	assert_int_equal(leases_wait_assumed(l, &a, &w), 0);
	assert_int_equal(w.n, 1);
	assert_null(leases_unsent(l));
	leases_drop(l, &a);
	assert_int_equal(n_ready, 0);
	leases_drop(l, &b);
	assert_int_equal(n_ready, 1);
	assert_int_equal(leases_assumed(l), 0);
}

static void behind_an_answer_that_waits(void **state)
{
	struct revoke *r;

	(void)state;
	waiting_holder = &b;
	waiting_ino = 5;
	waiting_order = 7;
	grant(&b, 5);
	grant(&b, 6);
	touch(&a, 5, 8);
	touch(&a, 6, 8);
	assert_int_equal(w.n, 2);	/* not in one message */
	r = sent(&b);
	assert_int_equal(r->inos[0], 6);
	leases_acked(l, r, NULL, 0);
	assert_null(leases_unsent(l));
	waiting_order = 9;		/* that one has left, a newer waits */
	r = sent(&b);
	assert_int_equal(r->inos[0], 5);
	leases_acked(l, r, NULL, 0);
	assert_int_equal(n_ready, 1);
}

static void one_s_own_can_be_ended(void **state)
{
	(void)state;
	grant(&b, 5);
	assert_int_equal(leases_end(l, &b, 5, 1), 0);
	assert_int_equal(leases_end(l, &b, 6, 1), 0);
	assert_int_equal(sent(&b)->n, 1);
	assert_null(leases_unsent(l));
}

static void the_oldest_go_when_there_are_too_many(void **state)
{
	struct revoke *r;

	(void)state;
	for (uint64_t ino = 1; ino <= MOST; ino++)
		grant(&b, ino);
	assert_null(leases_unsent(l));
	grant(&b, 1);			/* used again: no longer the oldest */
	grant(&b, MOST + 1);
	r = sent(&b);
	assert_int_equal(r->n, MOST / 16 + 1);
	assert_int_equal(r->inos[0], 2);
	for (uint32_t i = 0; i < r->n; i++)
		assert_int_not_equal(r->inos[i], 1);
	touch(&a, 2, 1);		/* not acknowledged: still waited for */
	assert_int_equal(w.n, 1);
	leases_acked(l, r, NULL, 0);
	assert_int_equal(n_ready, 1);
	assert_false(leases_held(l, 2));
	assert_true(leases_held(l, 1));
}

static void give_away(uint64_t ino, uint64_t order)
{
	assert_int_equal(leases_touch(l, &a, ino,
				      REVOKE_NAMES | REVOKE_OWNER, order, &w), 0);
}

static void an_owner_is_told_to_all_that_know_it(void **state)
{
	struct revoke *r;

	(void)state;
	grant(&b, 5);
	touch(&a, 5, 1);
	r = sent(&b);
	assert_int_equal(r->also, 0);
	leases_acked(l, r, NULL, 0);
	assert_false(leases_held(l, 5));	/* an orphan may go */
	assert_int_equal(last_idle, 5);
	touch(&a, 5, 2);
	assert_int_equal(w.n, 0);
	give_away(5, 3);
	assert_int_equal(w.n, 1);
	r = sent(&b);
	assert_int_equal(r->also, REVOKE_NAMES | REVOKE_OWNER);
	leases_acked(l, r, NULL, 0);
	give_away(5, 4);
	assert_int_equal(w.n, 0);	/* it does not know it any more */
	assert_null(leases_unsent(l));
}

static void a_place_is_told_to_all_that_know_it(void **state)
{
	struct revoke *r;

	(void)state;
	grant(&b, 5);
	touch(&a, 5, 1);
	leases_acked(l, sent(&b), NULL, 0);
	for (int i = 0; i < 2; i++) {	/* it still knows it after that */
		assert_int_equal(leases_touch(l, &a, 5, REVOKE_MOVED, 2, &w),
				 0);
		assert_int_equal(w.n, 1);
		r = sent(&b);
		assert_int_equal(r->also, REVOKE_MOVED);
		leases_acked(l, r, NULL, 0);
	}
}

static void an_owner_that_changed_behind_another_change(void **state)
{
	struct revoke *first, *second;

	(void)state;
	grant(&b, 5);
	touch(&a, 5, 1);
	first = sent(&b);
	give_away(5, 2);		/* the first is on its way */
	second = sent(&b);
	assert_int_equal(first->also, 0);
	assert_int_equal(second->also, REVOKE_NAMES | REVOKE_OWNER);
	leases_acked(l, first, NULL, 0);
	assert_int_equal(n_ready, 0);
	leases_acked(l, second, NULL, 0);
	assert_int_equal(n_ready, 1);
	grant(&b, 6);
	touch(&a, 6, 3);
	give_away(6, 4);		/* both in one message */
	first = sent(&b);
	assert_int_equal(first->n, 1);
	assert_int_equal(first->also, REVOKE_NAMES | REVOKE_OWNER);
	assert_null(leases_unsent(l));
}

static void an_owner_is_told_where_it_is_open(void **state)
{
	const uint64_t open[] = { 5 };
	struct revoke *r;

	(void)state;
	assert_int_equal(leases_open(l, &b, 5), 0);
	give_away(5, 1);
	r = sent(&b);
	leases_acked(l, r, open, 1);
	give_away(5, 2);
	assert_int_equal(sent(&b)->n, 1);
}

static void what_is_known_is_bounded(void **state)
{
	struct revoke *r;

	(void)state;
	for (uint64_t ino = 1; ino <= MOST; ino++) {
		grant(&b, ino);
		touch(&a, ino, ino);
	}
	leases_acked(l, sent(&b), NULL, 0);
	grant(&b, MOST + 1);
	r = sent(&b);
	assert_int_equal(r->n, MOST / 16 + 1);
	assert_int_equal(r->also, REVOKE_NAMES);
	leases_acked(l, r, NULL, 0);
	assert_int_equal(b.n_known, MOST - MOST / 16);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(others_wait_not_oneself),
		TEST(a_second_change_waits_for_the_same_revocation),
		TEST(a_lease_granted_since_outlives_the_acknowledgement),
		TEST(granted_and_touched_twice_in_a_batch),
		TEST(an_owner_is_told_to_all_that_know_it),
		TEST(a_place_is_told_to_all_that_know_it),
		TEST(an_owner_that_changed_behind_another_change),
		TEST(an_owner_is_told_where_it_is_open),
		TEST(what_is_known_is_bounded),
		TEST(what_is_open_stays), TEST(released_but_still_leased),
		TEST(dropped_holders_are_not_waited_for),
		TEST(assumed_holders_have_everything),
		TEST(behind_an_answer_that_waits),
		TEST(one_s_own_can_be_ended),
		TEST(the_oldest_go_when_there_are_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
