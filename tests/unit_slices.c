/*
 * unit_slices -- stacks resolved, against an oracle that paints bytes.
 *
 * The seed is printed; PSPFS_SEED=N repeats a run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "slices.h"

#define SLOT 300
#define DEEPEST 40
#define ROUNDS 20000
#define LIMIT_S 120

static unsigned seed;

static unsigned below(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static void expect(const struct m_slice *stack, size_t n, uint32_t pos,
		   uint32_t len, const struct piece *want, size_t n_want)
{
	struct piece *p;
	size_t k;

	assert_int_equal(slices_resolve(stack, n, pos, len, &p, &k), 0);
	assert_int_equal(k, n_want);
	for (size_t i = 0; i < k; i++) {
		assert_int_equal(p[i].pos, want[i].pos);
		assert_int_equal(p[i].len, want[i].len);
		assert_int_equal(p[i].chunk, want[i].chunk);
		assert_int_equal(p[i].off, want[i].off);
		assert_int_equal(p[i].from, want[i].from);
	}
	free(p);
}

static void test_empty(void **state)
{
	struct piece hole = { 5, 10, 0, 0, UINT32_MAX };

	(void)state;
	expect(NULL, 0, 5, 10, &hole, 1);
	expect(NULL, 0, 5, 0, NULL, 0);
}

static void test_one_whole(void **state)
{
	struct m_slice s = { .pos = 0, .len = 4096, .chunk = 7 };
	struct piece all = { 0, 4096, 7, 0, 0 };
	struct piece mid = { 100, 50, 7, 100, 0 };

	(void)state;
	expect(&s, 1, 0, 4096, &all, 1);
	expect(&s, 1, 100, 50, &mid, 1);
}

static void test_newest_wins(void **state)
{
	struct m_slice s[] = {
		{ .pos = 0, .len = 100, .chunk = 1, .off = 1000 },
		{ .pos = 40, .len = 20, .chunk = 2, .off = 5 },
		{ .pos = 50, .len = 5, .chunk = 0 },
	};
	struct piece want[] = {
		{ 0, 40, 1, 1000, 0 }, { 40, 10, 2, 5, 1 },
		{ 50, 5, 0, 0, 2 },    { 55, 5, 2, 20, 1 },
		{ 60, 40, 1, 1060, 0 }, { 100, 20, 0, 0, UINT32_MAX },
	};

	(void)state;
	expect(s, 3, 0, 120, want, 6);
}

static void test_bounds(void **state)
{
	struct m_slice top = { .pos = UINT32_MAX - 4, .len = 4, .chunk = 1 };
	struct m_slice past = { .pos = UINT32_MAX - 4, .len = 5, .chunk = 1 };
	struct m_slice off = { .len = 5, .chunk = 1, .off = UINT32_MAX - 4 };
	struct piece want = { UINT32_MAX - 4, 4, 1, 0, 0 };
	struct piece *p;
	size_t n;

	(void)state;
	expect(&top, 1, UINT32_MAX - 4, 4, &want, 1);
	assert_int_equal(slices_end(&top, 1), UINT32_MAX);
	assert_int_equal(slices_resolve(&past, 1, 0, 1, &p, &n), -EBADMSG);
	assert_int_equal(slices_resolve(&off, 1, 0, 1, &p, &n), -EBADMSG);
	assert_int_equal(slices_resolve(&top, 1, 2, UINT32_MAX - 1, &p, &n),
			 -EBADMSG);
}

/* 65536 nested slices: the worst case for anything quadratic. */
static void test_deepest(void **state)
{
	size_t n = MSG_SLICES_MAX, k;
	struct m_slice *s = calloc(n, sizeof(*s));
	clock_t start = clock();
	struct piece *p;

	(void)state;
	assert_non_null(s);
	for (size_t i = 0; i < n; i++) {
		s[i].pos = i;
		s[i].len = 2 * (n - i);
		s[i].chunk = i + 1;
	}
	assert_int_equal(slices_resolve(s, n, 0, 2 * n, &p, &k), 0);
	assert_true(clock() - start < 5 * CLOCKS_PER_SEC);
	assert_int_equal(k, 2 * n - 1);
	free(p);
	assert_int_equal(slices_resolve(s, n + 1, 0, 1, &p, &k), -EBADMSG);
	free(s);
}

/* What each byte of the slot is. */
struct byte {
	uint64_t chunk;
	uint32_t off, from;
};

static size_t random_stack(struct m_slice *stack, struct byte *bytes,
			   uint32_t *end)
{
	size_t n = below(DEEPEST);

	*end = 0;
	for (size_t i = 0; i < SLOT; i++)
		bytes[i] = (struct byte){ 0, 0, UINT32_MAX };
	for (size_t i = 0; i < n; i++) {
		struct m_slice *s = &stack[i];

		s->pos = below(SLOT);
		s->len = below(SLOT - s->pos + 1);
		if (below(2))
			s->len = s->len ? below(s->len) % 8 : 0;
		s->chunk = below(4) ? 1 + below(5) : 0;
		s->off = below(1000);
		for (uint32_t b = 0; b < s->len; b++)
			bytes[s->pos + b] = (struct byte){
				s->chunk, s->chunk ? s->off + b : 0, i
			};
		if (s->len && s->pos + s->len > *end)
			*end = s->pos + s->len;
	}
	return n;
}

static void check_against(const struct byte *bytes, uint32_t pos, uint32_t len,
			  const struct piece *p, size_t k)
{
	uint32_t at = pos;

	for (size_t i = 0; i < k; i++) {
		assert_int_equal(p[i].pos, at);
		assert_true(p[i].len > 0);
		if (i)
			assert_true(p[i].from != p[i - 1].from);
		for (uint32_t b = 0; b < p[i].len; b++, at++) {
			const struct byte *y = &bytes[at];

			assert_true(at < pos + len);
			assert_int_equal(p[i].from, y->from);
			assert_int_equal(p[i].chunk, y->chunk);
			assert_int_equal(p[i].chunk ? p[i].off + b : p[i].off,
					 y->off);
		}
	}
	assert_int_equal(at, pos + len);
}

static void test_oracle(void **state)
{
	struct m_slice stack[DEEPEST];
	struct byte bytes[SLOT];

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		uint32_t end, pos = below(SLOT), len = below(SLOT - pos + 1);
		size_t n = random_stack(stack, bytes, &end), k;
		struct piece *p;

		assert_int_equal(slices_end(stack, n), end);
		assert_int_equal(slices_resolve(stack, n, pos, len, &p, &k), 0);
		check_against(bytes, pos, len, p, k);
		free(p);
	}
}

static void test_take_shows_the_same(void **state)
{
	struct m_slice stack[DEEPEST], *v;
	struct byte bytes[SLOT];

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		uint32_t end, pos = below(SLOT), len = below(SLOT - pos + 1);
		uint32_t to = below(3) ? pos : below(1000), at = to;
		size_t n = random_stack(stack, bytes, &end), k;

		assert_int_equal(slices_take(stack, n, pos, len, to, &v, &k),
				 0);
		for (size_t i = 0; i < k; i++) {
			assert_true(v[i].len && v[i].chunk && v[i].pos >= at);
			for (; at < v[i].pos; at++)
				assert_false(bytes[at - to + pos].chunk);
			for (; at < v[i].pos + v[i].len; at++) {
				const struct byte *y = &bytes[at - to + pos];

				assert_int_equal(y->chunk, v[i].chunk);
				assert_int_equal(y->off, v[i].off +
							 (at - v[i].pos));
			}
		}
		for (; at < to + len; at++)
			assert_false(bytes[at - to + pos].chunk);
		free(v);
	}
}

/* Slices that go on in slot and chunk are one; those that do not are not. */
static void test_take_joins(void **state)
{
	const struct m_slice stack[] = {
		{ 0, 10, 7, 100 }, { 10, 10, 7, 110 }, { 20, 10, 7, 121 },
		{ 30, 10, 8, 131 },
	};
	struct m_slice *v;
	size_t n;

	(void)state;
	assert_int_equal(slices_take(stack, 4, 5, 30, 1000, &v, &n), 0);
	assert_int_equal(n, 3);
	assert_int_equal(v[0].pos, 1000);
	assert_int_equal(v[0].len, 15);
	assert_int_equal(v[0].off, 105);
	assert_int_equal(v[1].pos, 1015);
	assert_int_equal(v[2].chunk, 8);
	assert_int_equal(v[2].len, 5);
	free(v);
	assert_int_equal(slices_take(stack, 4, 5, 30, UINT32_MAX - 29, &v,
				     &n), -EBADMSG);
}

static void test_deep(void **state)
{
	(void)state;
	assert_false(slices_deep(0));
	assert_false(slices_deep(SLICES_DEEP));
	assert_true(slices_deep(SLICES_DEEP + 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_one_whole),
		cmocka_unit_test(test_newest_wins),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_deepest),
		cmocka_unit_test(test_oracle),
		cmocka_unit_test(test_take_shows_the_same),
		cmocka_unit_test(test_take_joins),
		cmocka_unit_test(test_deep),
	};
	const char *given = getenv("PSPFS_SEED");

	alarm(LIMIT_S);
	seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
	print_message("seed %u\n", seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
