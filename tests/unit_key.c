/* unit_key -- the key file's checks and making; derivation. */
#include "key.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define DIGITS "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1EfF"

static char dir[64], sub[80], path[96];

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/unit_key.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(sub, sizeof(sub), "%s/sub", dir);
	snprintf(path, sizeof(path), "%s/swarm.key", sub);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	rmdir(sub);
	return rmdir(dir);
}

static void write_key(const char *text, mode_t mode)
{
	FILE *f;

	mkdir(sub, 0755);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(path, mode), 0);
}

static void missing(void **state)
{
	struct key k;
	char text[300];

	(void)state;
	assert_int_equal(key_load(&k, path), -ENOENT);
	key_error(-ENOENT, path, text, sizeof(text));
	assert_non_null(strstr(text, "cannot use key /tmp/unit_key."));
	assert_non_null(strstr(text, "no such file"));
}

static void good(void **state)
{
	struct key k;

	(void)state;
	write_key(DIGITS "\n", 0600);
	assert_int_equal(key_load(&k, path), 0);
	for (int i = 0; i < 31; i++)
		assert_int_equal(k.secret[i], i < 30 ? i : 0x1e);
	assert_int_equal(k.secret[31], 0xff);
	write_key(DIGITS, 0400);
	assert_int_equal(key_load(&k, path), 0);
}

static void readable_by_others(void **state)
{
	static const mode_t modes[] = { 0640, 0604, 0620, 0602, 0610, 0644 };
	struct key k;
	char text[300];
	int made;

	(void)state;
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		write_key(DIGITS "\n", modes[i]);
		assert_int_equal(key_load(&k, path), -EACCES);
		assert_int_equal(key_load_or_make(&k, path, &made), -EACCES);
		assert_int_equal(made, 0);
		unlink(path);
	}
	write_key(DIGITS "\n", 0644);
	key_error(-EACCES, path, text, sizeof(text));
	assert_non_null(strstr(text, "others may read it: chmod 600"));
}

static void wrong_contents(void **state)
{
	static const char *const bad[] = {
		"",
		"\n",
		"0011",
		DIGITS "0",
		DIGITS "\n\n",
		DIGITS "00\n",
		"g" DIGITS,
		"\n" DIGITS,
		"zz0102030405060708090a0b0c0d0e0f"
		"101112131415161718191a1b1c1d1e1f\n",
	};
	struct key k;
	char text[300];

	(void)state;
	memset(&k, 0x55, sizeof(k));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		write_key(bad[i], 0600);
		assert_int_equal(key_load(&k, path), -EINVAL);
	}
	for (int i = 0; i < KEY_LEN; i++)
		assert_int_equal(k.secret[i], 0x55);
	key_error(-EINVAL, path, text, sizeof(text));
	assert_non_null(strstr(text, "64 hexadecimal digits"));
	assert_int_equal(key_load(&k, sub), -EINVAL);	/* a directory */
}

static void made_with_its_directory(void **state)
{
	struct key first, again;
	mode_t mask = umask(022);
	struct stat st;
	int made = 0;

	(void)state;
	assert_int_equal(key_load_or_make(&first, path, &made), 0);
	umask(mask);
	assert_int_equal(made, 1);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, 65);
	assert_int_equal(st.st_nlink, 1);	/* nothing else is left */
	assert_int_equal(stat(sub, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(key_load(&again, path), 0);
	assert_memory_equal(&first, &again, sizeof(first));
	assert_int_equal(key_load_or_make(&again, path, &made), 0);
	assert_int_equal(made, 0);
	assert_memory_equal(&first, &again, sizeof(first));

	unlink(path);
	assert_int_equal(key_load_or_make(&again, path, &made), 0);
	assert_memory_not_equal(&first, &again, sizeof(first));
}

static void not_made_where_it_cannot_be(void **state)
{
	struct key k;
	char deep[160];
	int made;

	(void)state;
	snprintf(deep, sizeof(deep), "%s/no/such/dir/key", dir);
	assert_int_equal(key_load_or_make(&k, deep, &made), -ENOENT);
	assert_int_equal(made, 0);
}

/* HKDF-SHA256 as computed from RFC 5869 with an HMAC, for info "a". */
static void derived(void **state)
{
	static const uint8_t expect[16] = {
		0x8b, 0x48, 0xf9, 0x58, 0x7b, 0x0e, 0xd1, 0xdb,
		0x2f, 0x48, 0xa9, 0xb6, 0xd2, 0x0e, 0xad, 0x12,
	};
	static uint8_t big[255 * 32 + 1];
	uint8_t a[64], b[64];
	struct key k;

	(void)state;
	for (int i = 0; i < KEY_LEN; i++)
		k.secret[i] = (uint8_t)i;
	assert_int_equal(key_derive(&k, "a", 1, a, 64), 0);
	assert_memory_equal(a, expect, sizeof(expect));
	assert_int_equal(key_derive(&k, "a", 1, b, 32), 0);
	assert_memory_equal(a, b, 32);
	assert_int_equal(key_derive(&k, "b", 1, b, 64), 0);
	assert_memory_not_equal(a, b, 64);
	k.secret[0] ^= 1;
	assert_int_equal(key_derive(&k, "a", 1, b, 64), 0);
	assert_memory_not_equal(a, b, 64);
	assert_int_equal(key_derive(&k, "", 0, b, 64), 0);
	assert_int_equal(key_derive(&k, "a", 1, big, 255 * 32), 0);
	assert_int_equal(key_derive(&k, "a", 1, big, 255 * 32 + 1), -EINVAL);
	assert_int_equal(key_derive(&k, "a", 1, big, 0), -EINVAL);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(missing),
		TEST(good),
		TEST(readable_by_others),
		TEST(wrong_contents),
		TEST(made_with_its_directory),
		TEST(not_made_where_it_cannot_be),
		TEST(derived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
