/* unit_held -- what a mount knows of the locks of its processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>

#include "held.h"

enum { INO = 7, P = 100, Q = 200 };	/* an inode, two owners */

static struct held *h;

static int setup(void **state)
{
	(void)state;
	return held_new(&h);
}

static int teardown(void **state)
{
	(void)state;
	held_free(h);
	return 0;
}

static struct m_byte_lock lock(uint64_t owner, enum lk_kind kind,
			       uint64_t start, uint64_t end)
{
	return (struct m_byte_lock){ .ino = INO, .space = LK_FCNTL,
				     .kind = (uint8_t)kind, .owner = owner,
				     .pid = 1, .start = start, .end = end };
}

static void hold(uint64_t owner, enum lk_kind kind, uint64_t start,
		 uint64_t end, uint64_t handle)
{
	struct m_byte_lock k = lock(owner, kind, start, end);

	assert_int_equal(held_set(h, &k, handle), 0);
}

static enum lk_kind strongest(uint64_t owner)
{
	struct m_byte_lock k = lock(owner, LK_READ, 0, LOCKSET_END);
	struct held_state s;

	held_look(h, &k, &s);
	return s.strongest;
}

static uint32_t listed(void)
{
	struct m_byte_lock *v;
	uint32_t n;

	assert_int_equal(held_list(h, &v, &n), 0);
	free(v);
	return n;
}

static void a_look_says_kind_cover_and_loss(void **state)
{
	struct m_byte_lock k = lock(P, LK_READ, 0, 9);
	struct held_state s;

	(void)state;
	hold(P, LK_WRITE, 0, 4, 1);
	held_look(h, &k, &s);
	assert_int_equal(s.strongest, LK_WRITE);
	assert_false(s.covered);
	hold(P, LK_READ, 5, 9, 1);
	held_look(h, &k, &s);
	assert_true(s.covered);
	assert_false(s.lost);
	assert_int_equal(strongest(Q), LK_NONE);
	held_lose(h, INO);
	held_look(h, &k, &s);
	assert_true(s.lost);
	assert_int_equal(listed(), 0);
	assert_false(held_is_sound(h, INO));
}

static void pieces_tell_all_of_a_range(void **state)
{
	struct m_byte_lock k = lock(P, LK_NONE, 0, 30), *v;
	int n;

	(void)state;
	hold(P, LK_WRITE, 10, 19, 1);
	n = held_pieces(h, &k, &v);
	assert_int_equal(n, 3);
	assert_int_equal(v[0].kind, LK_NONE);
	assert_int_equal(v[0].end, 9);
	assert_int_equal(v[1].kind, LK_WRITE);
	assert_int_equal(v[2].start, 20);
	assert_int_equal(v[2].end, 30);
	free(v);
}

static uint32_t dropped(uint64_t handle, struct m_byte_lock **v)
{
	uint32_t n;

	assert_int_equal(held_drop_handle(h, INO, handle, v, &n), 0);
	return n;
}

static void a_close_takes_what_its_handle_locked(void **state)
{
	struct m_byte_lock *v;

	(void)state;
	hold(P, LK_WRITE, 0, 9, 1);
	hold(P, LK_READ, 50, 59, 1);
	hold(Q, LK_WRITE, 10, 19, 2);
	assert_false(held_by_handle(h, INO, 3));
	assert_true(held_by_handle(h, INO, 1));
	assert_int_equal(dropped(1, &v), 1);
	assert_int_equal(v[0].owner, P);
	assert_int_equal(v[0].kind, LK_NONE);
	assert_int_equal(v[0].start, 0);
	assert_int_equal(v[0].end, LOCKSET_END);
	free(v);
	assert_false(held_by_handle(h, INO, 1));
	assert_int_equal(strongest(P), LK_NONE);
	assert_int_equal(strongest(Q), LK_WRITE);
	assert_int_equal(listed(), 1);
	assert_int_equal(dropped(1, &v), 0);
	free(v);
}

/* The owner is an open file's address, used again before the close came. */
static void what_was_locked_again_stays(void **state)
{
	struct m_byte_lock *v, pieces = lock(P, LK_READ, 0, 19);

	(void)state;
	hold(P, LK_WRITE, 0, 9, 1);
	hold(P, LK_WRITE, 4, 13, 2);
	assert_int_equal(held_pieces(h, &pieces, &v), 2);
	assert_int_equal(v[0].kind, LK_WRITE);
	assert_int_equal(v[0].end, 13);
	free(v);
	assert_int_equal(dropped(1, &v), 1);
	assert_int_equal(v[0].start, 0);
	assert_int_equal(v[0].end, 3);
	free(v);
	assert_int_equal(listed(), 1);
	assert_int_equal(strongest(P), LK_WRITE);
	assert_int_equal(dropped(2, &v), 1);
	assert_int_equal(v[0].end, LOCKSET_END);
	free(v);
	assert_int_equal(listed(), 0);
}

/* Nor is what was lost told to the tracker. */
static void a_release_is_of_all_handles(void **state)
{
	struct m_byte_lock *v;

	(void)state;
	hold(P, LK_WRITE, 0, 9, 1);
	hold(P, LK_READ, 20, 29, 2);
	hold(P, LK_NONE, 5, 24, 3);
	assert_int_equal(listed(), 2);
	held_lose(h, INO);
	assert_int_equal(dropped(1, &v), 0);
	free(v);
	assert_false(held_is_sound(h, INO));
	hold(P, LK_NONE, 0, LOCKSET_END, 3);
	assert_true(held_is_sound(h, INO));
}

static void again_is_only_the_same(void **state)
{
	struct m_byte_lock weaker = lock(P, LK_READ, 0, 9),
			   longer = lock(P, LK_WRITE, 0, 10),
			   other = lock(Q, LK_WRITE, 0, 9),
			   same = lock(P, LK_WRITE, 0, 9);

	(void)state;
	hold(P, LK_WRITE, 0, 9, 1);
	assert_false(held_again(h, &weaker, 2));
	assert_false(held_again(h, &longer, 2));
	assert_false(held_again(h, &other, 2));
	assert_false(held_again(h, &weaker, 1));
	assert_false(held_again(h, &longer, 1));
	assert_false(held_again(h, &other, 1));
	assert_false(held_again(h, &same, 2));
	assert_true(held_again(h, &same, 1));
	held_lose(h, INO);
	assert_false(held_again(h, &same, 1));
}

static void there_is_a_most(void **state)
{
	struct m_byte_lock one = lock(P, LK_WRITE, 2ULL * MSG_LOCKS_MAX,
				      2ULL * MSG_LOCKS_MAX);
	uint32_t n = 0;

	(void)state;
	while (n < MSG_LOCKS_MAX + 1) {
		struct m_byte_lock k = lock(P + n % 64, LK_WRITE, 2ULL * n,
					    2ULL * n);

		if (held_set(h, &k, 1))
			break;
		n++;
	}
	assert_int_equal(n, MSG_LOCKS_MAX);
	assert_int_equal(held_set(h, &one, 1), -ENOLCK);
	assert_int_equal(listed(), MSG_LOCKS_MAX);
}

static void shared_memory_is_known_by_its_name(void **state)
{
	(void)state;
	held_named(h, "db-shm", INO);
	held_named(h, "-shm", INO + 1);
	held_named(h, "shm", INO + 2);
	assert_true(held_is_alone(h, INO));
	assert_false(held_is_alone(h, INO + 1));
	assert_false(held_is_alone(h, INO + 2));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_look_says_kind_cover_and_loss),
		TEST(pieces_tell_all_of_a_range),
		TEST(a_close_takes_what_its_handle_locked),
		TEST(what_was_locked_again_stays),
		TEST(a_release_is_of_all_handles),
		TEST(again_is_only_the_same),
		TEST(there_is_a_most),
		TEST(shared_memory_is_known_by_its_name),
	};

	return cmocka_run_group_tests_name("held", tests, NULL, NULL);
}
