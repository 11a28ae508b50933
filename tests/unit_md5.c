/* unit_md5 -- every engine against OpenSSL's MD5. */
#include "md5.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "rng.h"

enum { MOST = 33, LARGE = 3 << 20 };

static const enum md5_engine engines[] = { MD5_AUTO, MD5_SCALAR, MD5_AVX2,
					   MD5_AVX512 };
static uint64_t seed = 0x9e3779b97f4a7c15;

static uint64_t rnd(void)
{
	return rng_next(&seed);
}

/* @n random bytes in an allocation of just their size. */
static uint8_t *random_bytes(size_t n)
{
	uint8_t *p = malloc(n ? n : 1);

	assert_non_null(p);
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)rnd();
	return p;
}

static void check(const struct md5_job *jobs, size_t n)
{
	uint8_t expect[16];

	for (size_t i = 0; i < n; i++) {
		assert_int_equal(EVP_Digest(jobs[i].data, jobs[i].len, expect,
					    NULL, EVP_md5(), NULL), 1);
		assert_memory_equal(jobs[i].md5, expect, 16);
	}
}

/* Runs @jobs with each engine that this CPU has. */
static void check_all(struct md5_job *jobs, size_t n)
{
	for (size_t e = 0; e < sizeof(engines) / sizeof(engines[0]); e++) {
		int err;

		for (size_t i = 0; i < n; i++)
			memset(jobs[i].md5, 0xee, 16);
		err = md5_many_with(engines[e], jobs, n);
		if (err) {
			assert_int_equal(err, -ENOTSUP);
			assert_true(engines[e] > MD5_SCALAR);
			continue;
		}
		check(jobs, n);
	}
}

static void rfc1321_suite(void **state)
{
	static const uint8_t abc[16] = { 0x90, 0x01, 0x50, 0x98, 0x3c, 0xd2,
					 0x4f, 0xb0, 0xd6, 0x96, 0x3f, 0x7d,
					 0x28, 0xe1, 0x7f, 0x72 };
	struct md5_job jobs[16];
	uint8_t out[16];

	(void)state;
	md5_one("abc", 3, out);
	assert_memory_equal(out, abc, 16);
	for (int i = 0; i < 16; i++)
		jobs[i] = (struct md5_job){ .data = "abc", .len = 3 };
	md5_many(jobs, 16);
	for (int i = 0; i < 16; i++)
		assert_memory_equal(jobs[i].md5, abc, 16);
	md5_many(NULL, 0);
}

static void every_short_length(void **state)
{
	struct md5_job jobs[16];

	(void)state;
	for (size_t len = 0; len <= 200; len++) {
		for (int i = 0; i < 16; i++)
			jobs[i] = (struct md5_job){ .data = random_bytes(len),
						    .len = len };
		check_all(jobs, 16);
		for (int i = 0; i < 16; i++)
			free((void *)jobs[i].data);
	}
}

/* Mixed lengths, so that lanes end at different times. */
static void every_batch_size(void **state)
{
	static const size_t limits[] = { 10, 70, 300, 5000 };
	struct md5_job jobs[MOST];

	(void)state;
	for (size_t n = 1; n <= MOST; n++)
		for (int k = 0; k < 4; k++) {
			for (size_t i = 0; i < n; i++) {
				size_t len = rnd() % limits[k];

				jobs[i] = (struct md5_job){
					.data = random_bytes(len),
					.len = len,
				};
			}
			check_all(jobs, n);
			for (size_t i = 0; i < n; i++)
				free((void *)jobs[i].data);
		}
}

/* One that outlasts the others by far goes its own way. */
static void one_long_among_short(void **state)
{
	struct md5_job jobs[16];

	(void)state;
	for (size_t i = 0; i < 16; i++) {
		size_t len = i == 5 ? 100000 : 100;

		jobs[i] = (struct md5_job){ .data = random_bytes(len),
					    .len = len };
	}
	check_all(jobs, 16);
	for (int i = 0; i < 16; i++)
		free((void *)jobs[i].data);
}

static void large_and_unaligned(void **state)
{
	uint8_t *block = random_bytes(LARGE);
	struct md5_job jobs[17];

	(void)state;
	for (size_t i = 0; i < 17; i++)
		jobs[i] = (struct md5_job){
			.data = block + i * 4099,
			.len = LARGE - 17 * 4099 - i * 63,
		};
	check_all(jobs, 17);
	free(block);
}

static void unknown_cpu_is_refused_not_run(void **state)
{
	struct md5_job job = { .data = "", .len = 0 };
	int avx2 = __builtin_cpu_supports("avx2") != 0;
	int avx512 = __builtin_cpu_supports("avx512f") != 0;

	(void)state;
	assert_int_equal(md5_many_with(MD5_AVX2, &job, 1),
			 avx2 ? 0 : -ENOTSUP);
	assert_int_equal(md5_many_with(MD5_AVX512, &job, 1),
			 avx512 ? 0 : -ENOTSUP);
	assert_string_equal(md5_engine_name(), avx512 ? "avx512"
					     : avx2   ? "avx2"
						      : "openssl");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rfc1321_suite),
		cmocka_unit_test(every_short_length),
		cmocka_unit_test(every_batch_size),
		cmocka_unit_test(one_long_among_short),
		cmocka_unit_test(large_and_unaligned),
		cmocka_unit_test(unknown_cpu_is_refused_not_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
