/* unit_opts -- options, and what is said about wrong ones. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "opts.h"

static struct opts o;
static struct peer_config cfg;
static char why[512];

static int setup(void **state)
{
	(void)state;
	opts_init(&o);
	memset(why, 0, sizeof(why));
	return 0;
}

static void good(const char *item)
{
	if (opts_set(&o, item, why, sizeof(why)))
		fail_msg("%s: %s", item, why);
}

/* Refused with @err, saying all of @text. */
static void bad(const char *item, int err, const char *text)
{
	assert_int_equal(opts_set(&o, item, why, sizeof(why)), err);
	if (!strstr(why, text))
		fail_msg("%s gave \"%s\", not \"%s\"", item, why, text);
}

static void finish(void)
{
	if (opts_finish(&o, &cfg, why, sizeof(why)))
		fail_msg("%s", why);
}

static void defaults(void **state)
{
	char text[ADDR_TEXT_MAX];

	(void)state;
	finish();
	assert_int_equal(cfg.n_trackers, 1);
	assert_string_equal(addr_text(&cfg.trackers[0], text),
			    "127.0.0.1:3456");
	assert_string_equal(addr_text(&cfg.addr, text), "127.0.0.1:3457");
	assert_string_equal(cfg.store_dir, "/var/lib/pspfs/peer");
	assert_string_equal(cfg.key_file, "/etc/pspfs/swarm.key");
	assert_int_equal(cfg.capacity, 0);
	assert_int_equal(cfg.memory, 96 << 20);
	assert_int_equal(cfg.timeout_ms, 30000);
}

static void all_given(void **state)
{
	char text[ADDR_TEXT_MAX];

	(void)state;
	good("tracker=127.0.0.2,127.0.0.3:99");
	good("tracker=[::1]:98");
	good("addr=127.0.0.11");
	good("port=4000");
	good("store=/s/x");
	good("key=/k");
	good("capacity=20G");
	good("memory=64M");
	good("timeout=5");
	finish();
	assert_int_equal(cfg.n_trackers, 3);
	assert_string_equal(addr_text(&cfg.trackers[0], text),
			    "127.0.0.2:3456");
	assert_string_equal(addr_text(&cfg.trackers[1], text), "127.0.0.3:99");
	assert_string_equal(addr_text(&cfg.trackers[2], text), "[::1]:98");
	assert_string_equal(addr_text(&cfg.addr, text), "127.0.0.11:4000");
	assert_string_equal(cfg.store_dir, "/s/x");
	assert_string_equal(cfg.key_file, "/k");
	assert_true(cfg.capacity == 20ull << 30);
	assert_int_equal(cfg.memory, 48 << 20);
	assert_int_equal(cfg.timeout_ms, 5000);
}

static void a_store_for_each_address(void **state)
{
	(void)state;
	good("addr=127.0.0.12");
	finish();
	assert_string_equal(cfg.store_dir, "/var/lib/pspfs/peer-127.0.0.12");
}

static void wrong_values(void **state)
{
	char longest[PATH_MAX + 16] = "store=";

	(void)state;
	bad("capacity=10Q", -EINVAL, "capacity=10Q is not a size: give a "
	    "number with K, M, G or T, such as 20G");
	bad("capacity=1K", -EINVAL, "too small");
	bad("memory=-1", -EINVAL, "memory=-1 is not a size");
	bad("memory=1M", -EINVAL, "at least 4");
	bad("port=0", -EINVAL, "from 1 to 65535");
	bad("port=65536", -EINVAL, "port=65536 is not a port");
	bad("port=12x", -EINVAL, "port=12x");
	bad("port= 12", -EINVAL, "is not a port");
	bad("timeout=9999999999999999999999", -EINVAL, "time in seconds");
	bad("timeout=-5", -EINVAL, "timeout=-5");
	bad("addr=localhost", -EINVAL, "addr=localhost is not an IP address");
	bad("addr=300.1.1.1", -EINVAL, "127.0.0.11");
	memset(longest + 6, 'x', PATH_MAX);
	bad(longest, -EINVAL, "shorter");
	longest[6 + PATH_MAX - 1] = 0;
	good(longest);
}

static void no_value(void **state)
{
	(void)state;
	bad("capacity=", -EINVAL, "capacity needs a value: write "
	    "capacity=VALUE");
	bad("store", -EINVAL, "store needs a value");
	bad("tracker=", -EINVAL, "tracker needs a value");
	bad("tracker=a,,b", -EINVAL, "empty");
	bad("tracker=a,", -EINVAL, "empty");
}

static void unknown_keys(void **state)
{
	(void)state;
	bad("x", -ENOENT, "unknown option 'x': the options are tracker, ");
	bad("x=1", -ENOENT, "unknown option 'x'");
	bad("", -ENOENT, "unknown option ''");
	bad("=1", -ENOENT, "unknown option ''");
	bad("Port=1", -ENOENT, "unknown option 'Port'");
	bad("a-very-long-key-that-is-longer-than-any-of-ours=1", -ENOENT,
	    "unknown option 'a-very-long-key-that-is-longer-than-any-of-ours'");
}

static void too_many_trackers(void **state)
{
	(void)state;
	for (int i = 0; i < LINK_TRACKERS_MAX; i++)
		good("tracker=127.0.0.1");
	bad("tracker=127.0.0.1", -EINVAL, "at most 8");
}

static void sources(void **state)
{
	(void)state;
	assert_int_equal(opts_source(&o, "a:1,b,[::1]:2:/some/dir", why,
				     sizeof(why)), 0);
	assert_int_equal(o.n_trackers, 3);
	assert_string_equal(o.tracker[0], "a:1");
	assert_string_equal(o.tracker[1], "b");
	assert_string_equal(o.tracker[2], "[::1]:2");
	assert_string_equal(o.subdir, "/some/dir");
	opts_init(&o);
	assert_int_equal(opts_source(&o, "host", why, sizeof(why)), 0);
	assert_string_equal(o.tracker[0], "host");
	assert_string_equal(o.subdir, "");
	opts_init(&o);
	assert_int_equal(opts_source(&o, ":/x", why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "HOST"));
}

static void no_such_host(void **state)
{
	(void)state;
	good("tracker=no.such.host.invalid");
	assert_int_not_equal(opts_finish(&o, &cfg, why, sizeof(why)), 0);
	assert_non_null(strstr(why, "no.such.host.invalid"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(defaults, setup),
		cmocka_unit_test_setup(all_given, setup),
		cmocka_unit_test_setup(a_store_for_each_address, setup),
		cmocka_unit_test_setup(wrong_values, setup),
		cmocka_unit_test_setup(no_value, setup),
		cmocka_unit_test_setup(unknown_keys, setup),
		cmocka_unit_test_setup(too_many_trackers, setup),
		cmocka_unit_test_setup(sources, setup),
		cmocka_unit_test_setup(no_such_host, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
