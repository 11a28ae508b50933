/* unit_signals -- which signals let go who waits (signals.h). */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "signals.h"

#define BIT(sig) (UINT64_C(1) << ((sig) - 1))

static const char status[] =
	"Name:\tSigPnd:\tff\nUmask:\t0022\nGroups:\t0 \nSigQ:\t1/7800\n"
	"SigPnd:\t0000000000000100\nShdPnd:\t0000000000000002\n"
	"SigBlk:\tfffffffe7ffbfeff\nSigIgn:\t0000000001001000\n"
	"SigCgt:\t0000000180000002\nCapInh:\t0000000000000000\n";

static void test_parse(void **state)
{
	struct signals s;
	char cut[sizeof(status)];

	(void)state;
	assert_int_equal(signals_parse(&s, status), 0);
	assert_true(s.pending == BIT(SIGKILL));
	assert_true(s.shared == BIT(SIGINT));
	assert_true(s.blocked == UINT64_C(0xfffffffe7ffbfeff));
	assert_true(s.ignored == 0x1001000);
	assert_true(s.caught == 0x180000002);
	/* whatever is cut off, nothing is made up */
	for (size_t n = 0; n < strlen(status); n++) {
		snprintf(cut, sizeof(cut), "%.*s", (int)n, status);
		if (n <= (size_t)(strstr(status, "CapInh") - status - 1))
			assert_int_equal(signals_parse(&s, cut), -EINVAL);
	}
	assert_int_equal(signals_parse(&s, ""), -EINVAL);
}

static enum signals_wish wish(struct signals s)
{
	return signals_wish(&s);
}

static void test_what_kills(void **state)
{
	static const int kills[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE,
				     SIGALRM, SIGUSR1, SIGSEGV, SIGXCPU,
				     SIGPROF, SIGIO, SIGPWR, SIGSYS };

	(void)state;
	for (size_t i = 0; i < sizeof(kills) / sizeof(kills[0]); i++) {
		uint64_t b = BIT(kills[i]);

		assert_int_equal(wish((struct signals){ .pending = b }),
				 SIGNALS_KILL);
		assert_int_equal(wish((struct signals){ .shared = b }),
				 SIGNALS_KILL);
		assert_int_equal(wish((struct signals){ .shared = b,
							.blocked = b }),
				 SIGNALS_WAIT);
		assert_int_equal(wish((struct signals){ .shared = b,
							.ignored = b }),
				 SIGNALS_WAIT);
	}
	for (int sig = SIGRTMIN; sig <= SIGRTMAX; sig++)
		assert_int_equal(wish((struct signals){ .shared = BIT(sig) }),
				 SIGNALS_KILL);
	/* SIGKILL cannot be blocked, whatever is said */
	assert_int_equal(wish((struct signals){ .pending = BIT(SIGKILL),
						.blocked = ~UINT64_C(0) }),
			 SIGNALS_KILL);
	/* the other signals do not hide it */
	assert_int_equal(wish((struct signals){
				 .pending = BIT(SIGKILL) | BIT(SIGCHLD),
				 .caught = BIT(SIGCHLD) | BIT(SIGINT),
				 .shared = BIT(SIGINT) }),
			 SIGNALS_KILL);
}

static void test_what_stops(void **state)
{
	static const int stops[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };

	(void)state;
	for (size_t i = 0; i < sizeof(stops) / sizeof(stops[0]); i++) {
		uint64_t b = BIT(stops[i]);

		assert_int_equal(wish((struct signals){ .shared = b,
							.caught = b }),
				 SIGNALS_STOP);
		assert_int_equal(wish((struct signals){ .shared = b,
							.caught = b,
							.blocked = b }),
				 SIGNALS_WAIT);
	}
}

static void test_what_waits(void **state)
{
	static const int harmless[] = { SIGCHLD, SIGURG, SIGWINCH, SIGCONT,
					SIGTSTP, SIGSTOP, SIGTTIN, SIGTTOU };
	static const int caught[] = { SIGCHLD, SIGURG, SIGWINCH, SIGALRM,
				      SIGVTALRM, SIGPROF, SIGIO, SIGUSR1,
				      SIGUSR2, SIGPIPE, SIGTSTP };

	(void)state;
	assert_int_equal(wish((struct signals){ 0 }), SIGNALS_WAIT);
	for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		assert_int_equal(wish((struct signals){
					 .shared = BIT(harmless[i]) }),
				 SIGNALS_WAIT);
	for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
		assert_int_equal(wish((struct signals){
					 .pending = BIT(caught[i]),
					 .caught = BIT(caught[i]) }),
				 SIGNALS_WAIT);
}

static void test_due(void **state)
{
	(void)state;
	assert_false(signals_due(SIGNALS_KILL, SIGNALS_KILL_MS - 1));
	assert_true(signals_due(SIGNALS_KILL, SIGNALS_KILL_MS));
	assert_false(signals_due(SIGNALS_STOP, SIGNALS_STOP_MS - 1));
	assert_true(signals_due(SIGNALS_STOP, SIGNALS_STOP_MS));
	assert_false(signals_due(SIGNALS_HIDDEN, SIGNALS_STOP_MS - 1));
	assert_true(signals_due(SIGNALS_HIDDEN, SIGNALS_STOP_MS));
	assert_false(signals_due(SIGNALS_WAIT, UINT64_MAX));
}

/* A line of /proc/TID/stat of a thread with these flags and this code. */
static const char *stat_line(const char *name, unsigned flags, unsigned code)
{
	static char line[512];
	int n = snprintf(line, sizeof(line), "123 (%s) S 1 2 3 4 5 %u", name,
			 flags);

	for (int i = 10; i < 52; i++)
		n += snprintf(line + n, sizeof(line) - (size_t)n, " %d", i);
	snprintf(line + n, sizeof(line) - (size_t)n, " %u\n", code);
	return line;
}

static void test_killed(void **state)
{
	(void)state;
	assert_true(signals_killed(stat_line("cp", 0x400004, SIGKILL)));
	assert_true(signals_killed(stat_line("a b) S 1 (", 0x4, SIGINT)));
	assert_true(signals_killed(stat_line("cp", 0x4, SIGSEGV | 0x80)));
	/* exit(3): its close is waited for */
	assert_false(signals_killed(stat_line("cp", 0x4, 3 << 8)));
	assert_false(signals_killed(stat_line("cp", 0x4, 0)));
	/* not exiting: the code is of something else */
	assert_false(signals_killed(stat_line("cp", 0x400000, SIGKILL)));
	assert_false(signals_killed(""));
	assert_false(signals_killed("12 (cp) S 1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_what_kills),
		cmocka_unit_test(test_what_stops),
		cmocka_unit_test(test_what_waits),
		cmocka_unit_test(test_due),
		cmocka_unit_test(test_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
