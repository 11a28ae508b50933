/* unit_codec -- writer, reader, arena; and the statuses of answers. */
#include "codec.h"
#include "counters.h"
#include "status.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void writes_big_endian(void **state)
{
	static const uint8_t expect[] = { 1, 2, 3, 4,  5,  6,  7,  8,
					  9, 10, 11, 12, 13, 14, 15, 'x', 'y' };
	struct wr w = WR_INIT;
	uint8_t *p;
	size_t n;

	(void)state;
	wr_u8(&w, 1);
	wr_u16(&w, 0);
	wr_u32(&w, 0x04050607);
	wr_u64(&w, 0x08090a0b0c0d0e0f);
	wr_bytes(&w, "xy", 2);
	wr_bytes(&w, NULL, 0);
	wr_patch_u16(&w, 1, 0x0203);
	assert_int_equal(w.err, 0);
	p = wr_take(&w, &n);
	assert_int_equal(n, sizeof(expect));
	assert_memory_equal(p, expect, n);
	free(p);
	assert_null(w.p);
	assert_int_equal(w.len, 0);
	wr_fini(&w);
}

static void reads_what_was_written(void **state)
{
	struct wr w = WR_INIT;
	struct rd r;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		wr_u8(&w, (uint8_t)i);
		wr_u16(&w, (uint16_t)(i * 77));
		wr_u32(&w, i * 0x01234567u);
		wr_u64(&w, i * 0x0123456789abcdefull);
		wr_bytes(&w, &i, sizeof(i));
	}
	rd_init(&r, w.p, w.len);
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(rd_u8(&r), (uint8_t)i);
		assert_int_equal(rd_u16(&r), (uint16_t)(i * 77));
		assert_int_equal(rd_u32(&r), i * 0x01234567u);
		assert_true(rd_u64(&r) == i * 0x0123456789abcdefull);
		assert_memory_equal(rd_bytes(&r, sizeof(i)), &i, sizeof(i));
	}
	assert_int_equal(rd_left(&r), 0);
	assert_int_equal(r.bad, 0);
	wr_fini(&w);
}

static void reader_fails_stickily(void **state)
{
	static const uint8_t bytes[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	struct rd r;

	(void)state;
	rd_init(&r, bytes, sizeof(bytes));
	assert_int_equal(rd_u8(&r), 1);
	assert_true(rd_u64(&r) == 0);
	assert_int_equal(r.bad, -EBADMSG);
	assert_int_equal(rd_left(&r), 0);
	assert_int_equal(rd_u8(&r), 0);
	assert_int_equal(rd_u16(&r), 0);
	assert_int_equal(rd_u32(&r), 0);
	assert_null(rd_bytes(&r, 0));

	rd_init(&r, bytes, sizeof(bytes));
	assert_null(rd_bytes(&r, SIZE_MAX));
	assert_int_equal(r.bad, -EBADMSG);

	rd_init(&r, NULL, 0);
	assert_int_equal(rd_left(&r), 0);
	assert_int_equal(rd_u8(&r), 0);
	assert_int_equal(r.bad, -EBADMSG);
}

static void writer_fails_stickily(void **state)
{
	struct wr w = WR_INIT;
	uint8_t *block = calloc(1, WR_MAX);
	size_t n = 1;

	(void)state;
	assert_non_null(block);
	wr_bytes(&w, block, WR_MAX);
	assert_int_equal(w.err, 0);
	assert_int_equal(w.len, WR_MAX);
	wr_u8(&w, 0);
	assert_int_equal(w.err, -EMSGSIZE);
	assert_int_equal(w.len, WR_MAX);
	wr_patch_u16(&w, 0, 0xffff);
	assert_int_equal(w.p[0], 0);
	assert_null(wr_take(&w, &n));
	assert_int_equal(n, 0);
	assert_int_equal(w.err, 0);

	wr_u8(&w, 1);
	wr_bytes(&w, block, SIZE_MAX);
	assert_int_equal(w.err, -EMSGSIZE);
	wr_bytes(&w, block, 1);
	assert_int_equal(w.len, 1);
	wr_fini(&w);
	free(block);
}

static void arena_gives_zeroed_aligned_memory(void **state)
{
	struct arena a = ARENA_INIT;
	uint8_t *p[300];
	size_t sum = 0;

	(void)state;
	for (size_t i = 0; i < 300; i++) {
		size_t n = i * i + 1;

		p[i] = arena_alloc(&a, n);
		assert_non_null(p[i]);
		assert_int_equal((uintptr_t)p[i] % 16, 0);
		for (size_t j = 0; j < n; j++)
			assert_int_equal(p[i][j], 0);
		memset(p[i], (int)i, n);
		sum += n;
	}
	for (size_t i = 0; i < 300; i++) {
		assert_int_equal(p[i][0], (uint8_t)i);
		assert_int_equal(p[i][i * i], (uint8_t)i);
	}
	assert_true(a.total >= sum && a.total < sum + 300 * 16);
	assert_null(arena_alloc(&a, SIZE_MAX));
	assert_null(arena_alloc(&a, SIZE_MAX - 20));
	arena_fini(&a);
	assert_int_equal(a.total, 0);
	arena_fini(&a);
}

static void statuses_map_both_ways(void **state)
{
	(void)state;
	for (uint16_t st = ST_OK; st < ST_SESSION; st++) {
		assert_true(status_to_errno(st) <= 0);
		assert_int_equal(status_of_errno(status_to_errno(st)), st);
		assert_int_equal(status_of_errno(-status_to_errno(st)), st);
	}
	assert_int_equal(status_to_errno(ST_NOENT), -ENOENT);
	assert_int_equal(status_to_errno(ST_OVERFLOW), -EOVERFLOW);
	assert_int_equal(status_to_errno(ST_SESSION), -ESTALE);
	assert_int_equal(status_of_errno(-ESTALE), ST_STALE);
	assert_int_equal(status_to_errno(ST_SESSION + 1), -EIO);
	assert_int_equal(status_to_errno(0xffff), -EIO);
	assert_int_equal(status_of_errno(-ENOTTY), ST_IO);
}

static void counters_count_and_have_names(void **state)
{
	(void)state;
	assert_true(counter_get(CNT_COPIED) == 0);
	counter_add(CNT_COPIED, 3);
	counter_add(CNT_COPIED, 1ull << 40);
	assert_true(counter_get(CNT_COPIED) == (1ull << 40) + 3);
	assert_true(counter_get(CNT_DELETED) == 0);
	assert_string_equal(counter_json(CNT_COPIED), "chunks_copied");
	assert_string_equal(counter_text(CNT_COPIED), "chunks copied by repair");
	assert_null(counter_json(0));
	assert_null(counter_json(CNT_MAX));
	assert_null(counter_text(~0u));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_big_endian),
		cmocka_unit_test(reads_what_was_written),
		cmocka_unit_test(reader_fails_stickily),
		cmocka_unit_test(writer_fails_stickily),
		cmocka_unit_test(arena_gives_zeroed_aligned_memory),
		cmocka_unit_test(statuses_map_both_ways),
		cmocka_unit_test(counters_count_and_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
