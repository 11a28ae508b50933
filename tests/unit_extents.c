/*
 * The pure parts of fs/file: dirty ranges of a slot and layers painted over
 * each other, against an array of bytes.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ranges.h"
#include "spans.h"

enum { SLOT = 4096, ROUNDS = 300, WRITES = 60, LAYERS = 24 };

static unsigned seed;

static uint32_t below(uint32_t n)
{
	return (uint32_t)rand_r(&seed) % n;
}

/* ---------------------------------------------------------------- ranges */

static void write_one(struct ranges *r, uint32_t pos, const char *text)
{
	assert_int_equal(ranges_write(r, pos, text, strlen(text), 0), 0);
}

static void check_range(const struct ranges *r, uint32_t i, uint32_t pos,
			const char *text)
{
	assert_int_equal(r->v[i].pos, pos);
	assert_int_equal(r->v[i].len, strlen(text));
	assert_memory_equal(r->v[i].b->data, text, strlen(text));
}

static void test_ranges_merge(void **state)
{
	struct ranges r = { 0 };

	(void)state;
	write_one(&r, 10, "abcde");
	write_one(&r, 20, "xyz");
	assert_int_equal(r.n, 2);
	write_one(&r, 12, "CDEF");	/* longer */
	check_range(&r, 0, 10, "abCDEF");
	write_one(&r, 8, "12");		/* touches from below */
	check_range(&r, 0, 8, "12abCDEF");
	write_one(&r, 14, "------");	/* joins both */
	assert_int_equal(r.n, 1);
	check_range(&r, 0, 8, "12abCD------xyz");
	write_one(&r, 0, "0123456789012345678901234");	/* over all */
	assert_int_equal(r.n, 1);
	check_range(&r, 0, 0, "0123456789012345678901234");
	ranges_fini(&r);
}

static void test_ranges_full(void **state)
{
	struct ranges r = { 0 };

	(void)state;
	for (uint32_t i = 0; i < RANGES_MAX; i++)
		write_one(&r, 2 * i, "x");
	assert_int_equal(ranges_write(&r, 100, "y", 1, 0), -ENOSPC);
	assert_int_equal(r.n, RANGES_MAX);
	write_one(&r, 3, "y");		/* what touches still fits */
	assert_int_equal(r.n, RANGES_MAX - 1);
	check_range(&r, 1, 2, "xyx");
	ranges_fini(&r);
}

/* With room, a slot that is filled in sequence is never moved. */
static void test_ranges_room(void **state)
{
	static const uint8_t data[SLOT / 8];
	struct ranges r = { 0 };
	struct buf *b;

	(void)state;
	assert_int_equal(ranges_write(&r, 0, data, sizeof(data), SLOT), 0);
	b = r.v[0].b;
	for (uint32_t pos = sizeof(data); pos < SLOT; pos += sizeof(data))
		assert_int_equal(ranges_write(&r, pos, data, sizeof(data),
					      SLOT - pos), 0);
	assert_ptr_equal(r.v[0].b, b);
	assert_int_equal(r.v[0].len, SLOT);
	assert_true(b->cap >= SLOT + RANGES_TAIL);
	ranges_fini(&r);
}

static void check_ranges(const struct ranges *r, const uint8_t *data,
			 const uint8_t *dirty)
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < r->n; i++) {
		const struct range *v = &r->v[i];

		assert_true(v->len > 0);
		assert_true(!i || v->pos > at);	/* neither overlap nor touch */
		for (; at < v->pos; at++)
			assert_int_equal(dirty[at], 0);
		for (; at < v->pos + v->len; at++)
			assert_int_equal(dirty[at], 1);
		assert_memory_equal(v->b->data, data + v->pos, v->len);
		assert_true(v->b->cap >= v->len + RANGES_TAIL);
		assert_int_equal(v->b->len, v->len);
	}
	for (; at < SLOT; at++)
		assert_int_equal(dirty[at], 0);
}

static void test_ranges_random(void **state)
{
	uint8_t data[SLOT], dirty[SLOT], from[SLOT];

	(void)state;
	for (unsigned round = 1; round <= ROUNDS; round++) {
		struct ranges r = { 0 };
		uint32_t most;

		seed = round;
		most = 1 + below(below(2) ? SLOT : 200);
		memset(dirty, 0, sizeof(dirty));
		for (int i = 0; i < WRITES; i++) {
			uint32_t len = 1 + below(most);
			uint32_t pos = below(SLOT - len + 1);
			int err;

			memset(from, 1 + below(255), len);
			err = ranges_write(&r, pos, from, len,
					   below(2) ? SLOT - pos : 0);
			if (err == -ENOSPC) {
				assert_int_equal(r.n, RANGES_MAX);
			} else {
				assert_int_equal(err, 0);
				memcpy(data + pos, from, len);
				memset(dirty + pos, 1, len);
			}
			check_ranges(&r, data, dirty);
		}
		ranges_fini(&r);
	}
}

/* ----------------------------------------------------------------- spans */

static void check_spans(const struct spans *s, uint64_t off, uint64_t len,
			const int *owner, struct buf **bufs,
			const uint64_t *starts)
{
	uint64_t at = off;

	for (size_t i = 0; i < s->n; i++) {
		const struct span *v = &s->v[i];

		assert_int_equal(v->off, at);
		assert_true(v->len > 0);
		for (; at < v->off + v->len; at++) {
			int who = owner[at];

			assert_ptr_equal(v->b, who < 0 ? NULL : bufs[who]);
			if (who < 0)
				continue;
			assert_int_equal(v->at + (at - v->off),
					 at - starts[who]);
			assert_int_equal(v->hot, who & 1);
		}
	}
	assert_int_equal(at, off + len);
}

static void test_spans_random(void **state)
{
	uint64_t starts[LAYERS];
	struct buf *bufs[LAYERS];
	int owner[SLOT];

	(void)state;
	for (unsigned round = 1; round <= ROUNDS; round++) {
		struct spans s;
		uint64_t off, len;

		seed = round;
		off = below(SLOT - 1);
		len = 1 + below(SLOT - off);
		spans_init(&s, off, len);
		memset(owner, -1, sizeof(owner));
		for (int i = 0; i < LAYERS; i++) {
			uint64_t n = 1 + below(SLOT / 4);

			starts[i] = below(SLOT - n + 1);
			bufs[i] = buf_new(n);
			for (uint64_t k = 0; k < n; k++)
				owner[starts[i] + k] = i;
			spans_paint(&s, starts[i], n, bufs[i], i & 1);
			assert_int_equal(s.err, 0);
			check_spans(&s, off, len, owner, bufs, starts);
		}
		spans_fini(&s);
		for (int i = 0; i < LAYERS; i++)
			buf_unref(bufs[i]);
	}
}

static void test_spans_empty(void **state)
{
	struct buf *b = buf_new(8);
	struct spans s;

	(void)state;
	spans_init(&s, 100, 0);
	spans_paint(&s, 90, 20, b, 0);
	assert_int_equal(s.n, 0);
	spans_fini(&s);
	spans_init(&s, 100, 10);
	spans_paint(&s, 90, 10, b, 0);		/* ends where it begins */
	spans_paint(&s, 110, 10, b, 0);
	assert_int_equal(s.n, 1);
	assert_null(s.v[0].b);
	spans_fini(&s);
	buf_unref(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ranges_merge),
		cmocka_unit_test(test_ranges_full),
		cmocka_unit_test(test_ranges_room),
		cmocka_unit_test(test_ranges_random),
		cmocka_unit_test(test_spans_random),
		cmocka_unit_test(test_spans_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
