/*
 * unit_daemon -- what the one who starts a daemon gets to see.
 *
 * Each case runs in a child, whose stderr and exit code are looked at; the
 * daemon itself is the child's child.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon.h"
#include "log.h"

#define LIMIT_S 20

static char out[4096];		/* stderr of the last run */

static int run(void (*body)(struct daemon *d))
{
	size_t n = 0;
	ssize_t r;
	int fds[2], st;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct daemon d;

		alarm(LIMIT_S);
		dup2(fds[1], 2);
		close(fds[0]);
		close(fds[1]);
		daemon_init(&d, "prog");
		body(&d);
		_exit(99);
	}
	close(fds[1]);
	/* Ends when the daemon has let go of stderr, too. */
	while ((r = read(fds[0], out + n, sizeof(out) - 1 - n)) > 0)
		n += (size_t)r;
	out[n] = 0;
	close(fds[0]);
	assert_int_equal(waitpid(pid, &st, 0), pid);
	return WIFEXITED(st) ? WEXITSTATUS(st) : -WTERMSIG(st);
}

static void go_ready(struct daemon *d)
{
	if (daemon_fork(d))
		_exit(98);
	usleep(50000);
	daemon_ready(d);
	usleep(50000);		/* the parent does not wait for our end */
	_exit(7);
}

static void go_fail(struct daemon *d)
{
	if (daemon_fork(d))
		_exit(98);
	_exit(daemon_fail(d, 32, "no such thing: get one"));
}

static void go_fail_foreground(struct daemon *d)
{
	_exit(daemon_fail(d, 1, "no such thing"));
}

static void go_fail_long(struct daemon *d)
{
	char text[DAEMON_TEXT_MAX * 2];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = 0;
	if (daemon_fork(d))
		_exit(98);
	_exit(daemon_fail(d, 3, text));
}

static void go_die(struct daemon *d)
{
	if (daemon_fork(d))
		_exit(98);
	signal(SIGTERM, SIG_DFL);
	raise(SIGTERM);
}

static void go_exit(struct daemon *d)
{
	if (daemon_fork(d))
		_exit(98);
	_exit(5);
}

/* SIGHUP and SIGTERM have come already, SIGPIPE does not kill: the log was
 * opened anew before the end was told. */
static void go_wait(struct daemon *d)
{
	char path[] = "/tmp/pspfs-unit-daemon-XXXXXX";
	int fd = mkstemp(path), sig;

	(void)d;
	if (fd < 0 || log_open(path) || unlink(path))
		_exit(98);
	daemon_block_signals();
	raise(SIGPIPE);
	raise(SIGHUP);
	raise(SIGTERM);
	sig = daemon_wait_signal();
	_exit(access(path, F_OK) || unlink(path) ? 97 : sig);
}

static void becomes_ready(void **state)
{
	(void)state;
	assert_int_equal(run(go_ready), 0);
	assert_string_equal(out, "");
}

static void tells_why_not(void **state)
{
	(void)state;
	assert_int_equal(run(go_fail), 32);
	assert_string_equal(out, "prog: no such thing: get one\n");
	assert_int_equal(run(go_fail_foreground), 1);
	assert_string_equal(out, "prog: no such thing\n");
	assert_int_equal(run(go_fail_long), 3);
	assert_int_equal(strlen(out), strlen("prog: \n") + DAEMON_TEXT_MAX);
}

static void dies_without_a_word(void **state)
{
	(void)state;
	assert_int_equal(run(go_die), 2);
	assert_non_null(strstr(out, "signal 15"));
	assert_int_equal(run(go_exit), 5);
	assert_string_equal(out, "");
}

static void waits_for_its_end(void **state)
{
	(void)state;
	assert_int_equal(run(go_wait), SIGTERM);
	assert_string_equal(out, "");
}

static void pid_file(void **state)
{
	char path[] = "/tmp/pspfs-unit-daemon-XXXXXX";
	int fd = mkstemp(path), pid = 0;
	FILE *f;

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(daemon_pidfile(path), 0);
	f = fopen(path, "r");
	assert_int_equal(fscanf(f, "%d", &pid), 1);
	fclose(f);
	assert_int_equal(pid, getpid());
	unlink(path);
	assert_int_equal(daemon_pidfile("/nowhere/pid"), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(becomes_ready),
		cmocka_unit_test(tells_why_not),
		cmocka_unit_test(dies_without_a_word),
		cmocka_unit_test(waits_for_its_end),
		cmocka_unit_test(pid_file),
	};

	alarm(LIMIT_S * 4);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
