/*
 * daemon -- see daemon.h.
 *
 * The pipe carries one byte, the exit code, and for a failure its text.  End
 * of file before any byte: the child died, and waitpid() says how.
 */
#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"

/*
 * What is large comes from the kernel and goes back to it.  Left to itself
 * malloc() takes ever larger blocks from its heaps once some were freed, a
 * heap for each thread, and keeps what lies between those in use.
 */
enum { LARGE = 64 << 10, HEAPS = 4 };

void daemon_init(struct daemon *d, const char *program)
{
	mallopt(M_MMAP_THRESHOLD, LARGE);
	mallopt(M_ARENA_MAX, HEAPS);
	d->program = program;
	d->to_parent = -1;
}

static size_t read_all(int fd, char *p, size_t n)
{
	size_t got = 0;

	while (got < n) {
		ssize_t r = read(fd, p + got, n - got);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			break;
		got += (size_t)r;
	}
	return got;
}

static void write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t w = write(fd, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return;
		p += w;
		n -= (size_t)w;
	}
}

static void parent(const char *program, int fd, pid_t child)
	__attribute__((noreturn));

static void parent(const char *program, int fd, pid_t child)
{
	char msg[1 + DAEMON_TEXT_MAX + 1];
	size_t n = read_all(fd, msg, sizeof(msg) - 1);
	int st = 0;

	if (n) {
		msg[n] = 0;
		if (n > 1)
			fprintf(stderr, "%s: %s\n", program, msg + 1);
		_exit((unsigned char)msg[0]);
	}
	while (waitpid(child, &st, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(st))
		fprintf(stderr, "%s: died at its start of signal %d (%s)\n",
			program, WTERMSIG(st), strsignal(WTERMSIG(st)));
	_exit(WIFEXITED(st) && WEXITSTATUS(st) ? WEXITSTATUS(st) : 2);
}

int daemon_fork(struct daemon *d)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid < 0) {
		int err = -errno;

		close(fds[0]);
		close(fds[1]);
		return err;
	}
	if (pid) {
		close(fds[1]);
		parent(d->program, fds[0], pid);
	}
	close(fds[0]);
	d->to_parent = fds[1];
	setsid();
	return 0;
}

static void silence(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return;
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
}

void daemon_ready(struct daemon *d)
{
	if (d->to_parent < 0)
		return;
	silence();
	write_all(d->to_parent, "", 1);
	close(d->to_parent);
	d->to_parent = -1;
}

int daemon_fail(struct daemon *d, int exit_code, const char *text)
{
	size_t n = strlen(text);
	char msg[1 + DAEMON_TEXT_MAX];

	if (d->to_parent < 0) {
		fprintf(stderr, "%s: %s\n", d->program, text);
		return exit_code;
	}
	if (n > DAEMON_TEXT_MAX)
		n = DAEMON_TEXT_MAX;
	msg[0] = (char)exit_code;
	memcpy(msg + 1, text, n);
	write_all(d->to_parent, msg, 1 + n);
	close(d->to_parent);
	d->to_parent = -1;
	return exit_code;
}

static void our_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
}

void daemon_block_signals(void)
{
	sigset_t set;

	our_signals(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

int daemon_wait_signal(void)
{
	sigset_t set;

	our_signals(&set);
	for (;;) {
		int sig, err;

		if (sigwait(&set, &sig))
			continue;
		if (sig != SIGHUP)
			return sig;
		err = log_reopen();
		if (err)
			log_error("cannot open the log anew: %s",
				  strerror(-err));
	}
}

int daemon_pidfile(const char *path)
{
	FILE *f = fopen(path, "we");

	if (!f)
		return -errno;
	fprintf(f, "%d\n", (int)getpid());
	return fclose(f) ? -errno : 0;
}
