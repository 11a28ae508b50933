/*
 * unit_refresher -- the process that stats: late, stopped, killed, ended; and
 * what it must not hold on to.  That the kernel learns by it is shown on real
 * mounts (e2e/test_check_mounts.py).
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "refresher.h"
#include "text.h"

enum { LIMIT_S = 60, LONG_MS = 20000, SHORT_MS = 50, INO = 2 };

static struct refresher *r;

static int setup(void **state)
{
	(void)state;
	return refresher_new(&r, "/nonexistent/mount");
}

static int teardown(void **state)
{
	(void)state;
	refresher_free(r);
	return 0;
}

static int learn(uint64_t ms)
{
	return refresher_attrs(r, INO, 1, now_ms() + ms);
}

static void its_error_comes_back(void **state)
{
	(void)state;
	assert_int_equal(learn(LONG_MS), -ENOENT);
	assert_int_equal(refresher_place(r, INO, now_ms() + LONG_MS), -ENOENT);
	assert_int_equal(learn(LONG_MS), -ENOENT);
}

/* Who is late is not waited for twice, and is taken for nobody else. */
static void a_late_one_is_left_alone(void **state)
{
	uint64_t before;
	int err;

	(void)state;
	assert_int_equal(learn(LONG_MS), -ENOENT);
	kill(refresher_pid(r), SIGSTOP);
	assert_int_equal(learn(SHORT_MS), -ETIMEDOUT);
	before = now_ms();
	assert_int_equal(learn(LONG_MS), -EBUSY);
	assert_true(now_ms() - before < LONG_MS / 2);
	kill(refresher_pid(r), SIGCONT);
	do
		err = learn(LONG_MS);
	while (err == -EBUSY && now_ms() - before < LONG_MS);
	assert_int_equal(err, -ENOENT);
	assert_int_equal(learn(LONG_MS), -ENOENT);
}

static void a_dead_one_is_not_asked_again(void **state)
{
	(void)state;
	kill(refresher_pid(r), SIGKILL);
	assert_int_equal(learn(LONG_MS), -EPIPE);
	assert_int_equal(learn(LONG_MS), -EPERM);
}

static void signals_do_not_end_it(void **state)
{
	(void)state;
	kill(refresher_pid(r), SIGTERM);
	kill(refresher_pid(r), SIGINT);
	assert_int_equal(learn(LONG_MS), -ENOENT);
}

/* Nobody who waits for the end of a descriptor of ours waits for it too. */
static void it_keeps_no_descriptor(void **state)
{
	struct refresher *other;
	int fds[2];
	char c;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(refresher_new(&other, "/"), 0);
	close(fds[1]);
	assert_int_equal(read(fds[0], &c, 1), 0);
	close(fds[0]);
	refresher_free(other);
}

static void it_ends_with_us(void **state)
{
	struct refresher *other;
	pid_t pid;

	(void)state;
	assert_int_equal(refresher_new(&other, "/"), 0);
	pid = refresher_pid(other);
	assert_int_equal(kill(pid, 0), 0);
	refresher_free(other);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(errno, ESRCH);
	refresher_free(NULL);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(its_error_comes_back),
		EACH(a_late_one_is_left_alone),
		EACH(a_dead_one_is_not_asked_again),
		EACH(signals_do_not_end_it),
		cmocka_unit_test(it_keeps_no_descriptor),
		cmocka_unit_test(it_ends_with_us),
	};

	alarm(LIMIT_S);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
