/* unit_sums -- checksums of the blocks of checked chunks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "sums.h"

enum { LEN = 3 * SUMS_BLOCK + 100, LAST = 3 * SUMS_BLOCK };

static struct sums *s;
static uint8_t data[LEN];

static int setup(void **state)
{
	(void)state;
	for (size_t i = 0; i < LEN; i++)
		data[i] = (uint8_t)(i * 7 + i / SUMS_BLOCK);
	/* of two chunks, and not of three */
	return sums_new(&s, 2 * sums_bytes(LEN));
}

static int teardown(void **state)
{
	(void)state;
	sums_free(s);
	return 0;
}

static void what_was_added_matches(void **state)
{
	(void)state;
	assert_false(sums_has(s, 1));
	assert_false(sums_match(s, 1, 0, data, LEN));
	sums_add(s, 1, data, LEN);
	assert_true(sums_has(s, 1));
	assert_true(sums_match(s, 1, 0, data, LEN));
	assert_true(sums_match(s, 1, SUMS_BLOCK, data + SUMS_BLOCK,
			       SUMS_BLOCK));
	assert_true(sums_match(s, 1, LAST, data + LAST, LEN - LAST));
}

static void what_differs_does_not(void **state)
{
	(void)state;
	sums_add(s, 1, data, LEN);
	data[SUMS_BLOCK + 5] ^= 1;
	assert_false(sums_match(s, 1, 0, data, LEN));
	assert_false(sums_match(s, 1, SUMS_BLOCK, data + SUMS_BLOCK,
				SUMS_BLOCK));
	assert_true(sums_match(s, 1, 0, data, SUMS_BLOCK));
	/* the right bytes, of another block; a last block that is cut; more
	 * than there is */
	assert_false(sums_match(s, 1, SUMS_BLOCK, data, SUMS_BLOCK));
	assert_false(sums_match(s, 1, LAST, data + LAST, LEN - LAST - 1));
	assert_false(sums_match(s, 1, 4 * SUMS_BLOCK, data, 1));
	assert_false(sums_match(s, 1, 9 * SUMS_BLOCK, data, 1));
}

static void the_least_recently_used_goes(void **state)
{
	(void)state;
	sums_add(s, 1, data, LEN);
	sums_add(s, 2, data, LEN);
	assert_true(sums_has(s, 1));
	sums_add(s, 3, data, LEN);
	assert_true(sums_has(s, 1));
	assert_false(sums_has(s, 2));
	assert_true(sums_has(s, 3));
	sums_add(s, 3, data, 10);	/* what came last counts */
	assert_true(sums_match(s, 3, 0, data, 10));
	assert_true(sums_has(s, 1));
}

static void all_of_it(void **state)
{
	(void)state;
	assert_false(sums_match_all(s, 1, data, LEN));
	sums_add(s, 1, data, LEN);
	assert_true(sums_match_all(s, 1, data, LEN));
	assert_false(sums_match_all(s, 1, data, LAST));
	data[LEN - 1] ^= 1;
	assert_false(sums_match_all(s, 1, data, LEN));
}

/* ------------------------------------------------------------ its file */

static char dir[64];

/* A new one, from what the old one saved. */
static void restart(void)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY);

	assert_true(fd >= 0);
	sums_save(s, fd);
	sums_free(s);
	assert_int_equal(sums_new(&s, 2 * sums_bytes(LEN)), 0);
	sums_load(s, fd);
	close(fd);
}

static void load(void)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY);

	sums_load(s, fd);
	close(fd);
}

static int setup_dir(void **state)
{
	strcpy(dir, "/tmp/unit_sums.XXXXXX");
	return mkdtemp(dir) ? setup(state) : -1;
}

static int teardown_dir(void **state)
{
	char path[80];

	snprintf(path, sizeof(path), "%s/sums", dir);
	unlink(path);
	rmdir(dir);
	return teardown(state);
}

static void they_outlive_a_restart(void **state)
{
	(void)state;
	restart();		/* none: no file, and nothing is wrong */
	sums_add(s, 1, data, LEN);
	sums_add(s, 2, data, 10);
	assert_true(sums_has(s, 1));	/* 2 was used less recently */
	restart();
	assert_true(sums_match_all(s, 1, data, LEN));
	assert_true(sums_match_all(s, 2, data, 10));
	assert_false(sums_has(s, 3));
	restart();
	assert_true(sums_has(s, 1));
	sums_add(s, 3, data, LEN);
	assert_false(sums_has(s, 2));
}

/* Every byte of the file counts, and it is read but once. */
static void a_damaged_file_is_none(void **state)
{
	char path[80];
	struct stat st;
	uint8_t byte;
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s/sums", dir);
	sums_add(s, 1, data, LEN);
	fd = open(dir, O_RDONLY | O_DIRECTORY);
	sums_save(s, fd);
	assert_int_equal(stat(path, &st), 0);
	for (off_t at = 0; at <= st.st_size; at++) {
		int file;

		sums_save(s, fd);
		file = open(path, O_RDWR);
		if (at < st.st_size) {
			assert_int_equal(pread(file, &byte, 1, at), 1);
			byte ^= 0x10;
			assert_int_equal(pwrite(file, &byte, 1, at), 1);
		} else {
			assert_int_equal(ftruncate(file, at - 1), 0);
		}
		close(file);
		sums_free(s);
		assert_int_equal(sums_new(&s, 2 * sums_bytes(LEN)), 0);
		load();
		assert_false(sums_has(s, 1));
		assert_int_equal(access(path, F_OK), -1);
		sums_add(s, 1, data, LEN);
	}
	close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_added_matches),
		TEST(what_differs_does_not),
		TEST(the_least_recently_used_goes),
		TEST(all_of_it),
		cmocka_unit_test_setup_teardown(they_outlive_a_restart,
						setup_dir, teardown_dir),
		cmocka_unit_test_setup_teardown(a_damaged_file_is_none,
						setup_dir, teardown_dir),
	};

	return cmocka_run_group_tests_name("sums", tests, NULL, NULL);
}
