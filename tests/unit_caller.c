/* Capabilities, groups and maps of ids, as /proc shows them. */
#include <errno.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/capability.h>

#include "caller.h"

static void test_caps(void **state)
{
	uint64_t caps = 7;

	(void)state;
	assert_int_equal(caller_parse_caps("CapPrm:\t3\n"
					   "CapEff:\t0000000000000008\n",
					   &caps),
			 0);
	assert_int_equal(caps, 1 << CAP_FOWNER);
	assert_int_equal(caller_parse_caps("CapPrm:\t3\n", &caps),
			 -EINVAL);
	assert_int_equal(caller_parse_caps("CapEff:\tx\n", &caps), -EINVAL);
}

static void test_groups(void **state)
{
	(void)state;
	assert_true(caller_parse_groups("Groups:\t1001 42 4294967294 \n", 1001));
	assert_true(caller_parse_groups("Groups:\t1001 42 4294967294 \n", 42));
	assert_true(caller_parse_groups("Groups:\t1001 42 4294967294 \n",
					4294967294u));
	assert_false(caller_parse_groups("Groups:\t1001 42 \n", 100));
	assert_false(caller_parse_groups("Groups:\t \n", 0));
	assert_false(caller_parse_groups("Groups:", 0));
	assert_false(caller_parse_groups("NStgid:\t42\n", 42));
}

static void test_maps(void **state)
{
	static const char all[] = "         0          0 4294967295\n";
	static const char some[] = "0 1001 1\n1 100000 65536\n";

	(void)state;
	assert_true(caller_mapped(all, 0));
	assert_true(caller_mapped(all, 4294967294u));
	assert_false(caller_mapped(all, 4294967295u));
	assert_false(caller_mapped(some, 0));
	assert_true(caller_mapped(some, 1001));
	assert_false(caller_mapped(some, 1002));
	assert_true(caller_mapped(some, 165535));
	assert_false(caller_mapped(some, 165536));
	assert_false(caller_mapped("", 0));
	assert_false(caller_mapped("rubbish", 0));
}

/* A process that has given its capabilities up. */
static void test_processes(void **state)
{
	enum { N_GROUPS = 5000 };	/* more than a page of text */
	gid_t groups[N_GROUPS];
	int go[2], status;
	char c = 0;
	pid_t pid;

	(void)state;
	assert_true(caller_capable(0, CAP_FOWNER, 0, 0));
	if (geteuid())
		skip();
	assert_true(caller_capable(getpid(), CAP_FOWNER, 0, 0));
	for (int i = 0; i < N_GROUPS; i++)
		groups[i] = 2000 + (gid_t)i;
	assert_int_equal(pipe(go), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		close(go[1]);
		if (setgroups(N_GROUPS, groups) || setgid(1001) ||
		    setuid(1001))
			_exit(1);
		_exit(read(go[0], &c, 1) != 0);
	}
	close(go[0]);
	for (int i = 0; i < 5000; i++) {
		if (!caller_capable(pid, CAP_FOWNER, 0, 0))
			break;
		usleep(1000);
	}
	assert_false(caller_capable(pid, CAP_FOWNER, 0, 0));
	assert_false(caller_capable(pid, CAP_CHOWN, 1001, 1001));
	assert_true(caller_in_group(pid, 2000));
	assert_true(caller_in_group(pid, 2000 + N_GROUPS - 1));
	assert_false(caller_in_group(pid, 1999));
	assert_false(caller_in_group(0, 2000));
	close(go[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_caps),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_maps),
		cmocka_unit_test(test_processes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
