/* unit_text -- sizes, addresses, clocks, hexadecimal. */
#include "text.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static void size_parse_accepts(void **state)
{
	static const struct {
		const char *s;
		uint64_t v;
	} good[] = {
		{ "0", 0 },
		{ "4096", 4096 },
		{ "512B", 512 },
		{ "64K", 64 << 10 },
		{ "64k", 64 << 10 },
		{ "64KB", 64 << 10 },
		{ "64KiB", 64 << 10 },
		{ "64kib", 64 << 10 },
		{ "1.5G", 3ull << 29 },
		{ "2T", 2ull << 40 },
		{ "0.5K", 512 },
		{ "1.0009765625M", (1 << 20) + 1024 },
		{ "0.0000000000000000000000001E", 0 },
		{ "15.999E", 18445591152204944769ull },
		{ "18446744073709551615", UINT64_MAX },
	};
	uint64_t v;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		v = ~good[i].v;
		assert_int_equal(size_parse(good[i].s, &v), 0);
		assert_true(v == good[i].v);
	}
}

static void size_parse_refuses(void **state)
{
	static const char *const bad[] = {
		"",    "K",   "-1",   "+1",   " 1",  "1 ",  "1.5", "1.",
		"1.K", ".5K", "1KK",  "1iB",  "1Ki", "1X",  "0x10", "1e3",
		"1,5K", "1B B",
	};
	static const char *const large[] = {
		"18446744073709551616", "16E", "17592186044416M",
		"99999999999999999999999999",
	};
	uint64_t v = 7;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(size_parse(bad[i], &v), -EINVAL);
	for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++)
		assert_int_equal(size_parse(large[i], &v), -ERANGE);
	assert_int_equal(v, 7);
}

static void size_text_rounds_down(void **state)
{
	static const struct {
		uint64_t v;
		const char *s;
	} cases[] = {
		{ 0, "0 B" },
		{ 1023, "1023 B" },
		{ 1024, "1 KiB" },
		{ 1536, "1.5 KiB" },
		{ 512 << 10, "512 KiB" },
		{ (1 << 20) - 1, "1023.9 KiB" },
		{ 3ull << 29, "1.5 GiB" },
		{ 5ull << 40, "5 TiB" },
		{ UINT64_MAX, "15.9 EiB" },
	};
	char out[16];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(size_text(cases[i].v, out), cases[i].s);
}

static void check_addr(const char *s, int family, const char *text)
{
	char out[ADDR_TEXT_MAX];
	struct addr a, again;

	assert_int_equal(addr_parse(s, 3456, &a), 0);
	assert_int_equal(a.ss.ss_family, family);
	assert_string_equal(addr_text(&a, out), text);
	assert_int_equal(addr_parse(out, 1, &again), 0);
	assert_true(addr_eq(&a, &again));
}

static void addr_parse_accepts(void **state)
{
	(void)state;
	check_addr("127.0.0.1", AF_INET, "127.0.0.1:3456");
	check_addr("127.0.0.1:80", AF_INET, "127.0.0.1:80");
	check_addr("127.0.0.1:0", AF_INET, "127.0.0.1:0");
	check_addr("[::1]", AF_INET6, "[::1]:3456");
	check_addr("[::1]:65535", AF_INET6, "[::1]:65535");
	check_addr("::1", AF_INET6, "[::1]:3456");
	check_addr("fe80:0::00ff", AF_INET6, "[fe80::ff]:3456");
}

static void addr_parse_resolves(void **state)
{
	char out[ADDR_TEXT_MAX];
	struct addr a;

	(void)state;
	assert_int_equal(addr_parse("localhost:99", 1, &a), 0);
	assert_int_equal(addr_port(&a), 99);
	addr_ip(&a, out);
	assert_true(!strcmp(out, "127.0.0.1") || !strcmp(out, "::1"));
}

static void addr_parse_refuses(void **state)
{
	static const char *const bad[] = {
		"", ":80", "[]", "[::1", "[::1]80", "[::1]:", "127.0.0.1:",
		"127.0.0.1:x", "127.0.0.1:8 ", "127.0.0.1:-1", "[127.0.0.x]",
		"1::2::3", "host:1:2",
	};
	char name[400];
	struct addr a;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(addr_parse(bad[i], 1, &a), -EINVAL);
	assert_int_equal(addr_parse("127.0.0.1:65536", 1, &a), -ERANGE);
	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	assert_int_equal(addr_parse(name, 1, &a), -EINVAL);
}

static void addr_from_ip_is_strict(void **state)
{
	char out[ADDR_TEXT_MAX];
	struct addr a, b;

	(void)state;
	assert_int_equal(addr_from_ip("10.1.2.3xyz", 8, 7, &a), 0);
	assert_string_equal(addr_ip(&a, out), "10.1.2.3");
	assert_int_equal(addr_port(&a), 7);
	assert_int_equal(addr_from_ip("10.1.2.3", 8, 8, &b), 0);
	assert_false(addr_eq(&a, &b));
	assert_int_equal(addr_from_ip("10.1.2.4", 8, 7, &b), 0);
	assert_false(addr_eq(&a, &b));
	assert_int_equal(addr_from_ip("::10.1.2.3", 10, 7, &b), 0);
	assert_false(addr_eq(&a, &b));
	assert_int_equal(addr_from_ip("", 0, 7, &a), -EINVAL);
	assert_int_equal(addr_from_ip("localhost", 9, 7, &a), -EINVAL);
	assert_int_equal(addr_from_ip("10.1.2.3\0x", 10, 7, &a), -EINVAL);
	assert_int_equal(addr_from_ip("10.1.2.3:80", 11, 7, &a), -EINVAL);
}

static void clocks_go_forward(void **state)
{
	const struct timespec pause = { 0, 2000000 };
	uint64_t ms = now_ms(), us = now_us();
	uint32_t nsec;
	int64_t sec;

	(void)state;
	nanosleep(&pause, NULL);
	assert_true(now_us() - us >= 2000 && now_us() - us < 5000000);
	assert_true(now_ms() - ms >= 1 && now_ms() - ms < 5000);
	wall_time(&sec, &nsec);
	assert_true(sec - time(NULL) <= 1 && time(NULL) - sec <= 1);
	assert_true(nsec < 1000000000);
}

static void random_is_not_constant(void **state)
{
	(void)state;
	assert_true(random_u64() != random_u64());
}

static void later_is_later(void **state)
{
	static const struct {
		int64_t s;
		uint32_t ns;
		int64_t than_s;
		uint32_t than_ns;
		int64_t want_s;
		uint32_t want_ns;
	} cases[] = {
		{ 5, 7, 5, 6, 5, 7 },
		{ 6, 0, 5, 999999999, 6, 0 },
		{ 5, 7, 5, 7, 5, 8 },
		{ 4, 9, 5, 7, 5, 8 },
		{ 5, 0, 5, 999999999, 6, 0 },
		{ -9, 0, -8, 999999999, -7, 0 },
		{ 0, 0, INT64_MAX, 1, INT64_MAX, 2 },
		{ 0, 0, INT64_MAX, 999999999, INT64_MAX, 999999999 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int64_t s = cases[i].s;
		uint32_t ns = cases[i].ns;

		time_later(&s, &ns, cases[i].than_s, cases[i].than_ns);
		assert_true(s == cases[i].want_s && ns == cases[i].want_ns);
	}
}

static void hex_is_lower_case(void **state)
{
	static const uint8_t bytes[] = { 0x00, 0x0f, 0xa5, 0xff };
	char out[9];

	(void)state;
	hex_text(bytes, sizeof(bytes), out);
	assert_string_equal(out, "000fa5ff");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(size_parse_accepts),
		cmocka_unit_test(size_parse_refuses),
		cmocka_unit_test(size_text_rounds_down),
		cmocka_unit_test(addr_parse_accepts),
		cmocka_unit_test(addr_parse_resolves),
		cmocka_unit_test(addr_parse_refuses),
		cmocka_unit_test(addr_from_ip_is_strict),
		cmocka_unit_test(clocks_go_forward),
		cmocka_unit_test(later_is_later),
		cmocka_unit_test(random_is_not_constant),
		cmocka_unit_test(hex_is_lower_case),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
