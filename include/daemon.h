/*
 * daemon -- going to the background once ready, with a parent that tells.
 *
 * Happy path: daemon_init(); daemon_fork() before any thread is started; the
 * child gets ready and calls daemon_ready(); only then does the parent exit
 * with 0, so that `psptrackerd && mount.pspfs DIR` works.
 * Failure: daemon_fail() hands text and exit code to the parent, which
 * prints "program: text" and exits with that code; so it does when the child
 * dies without a word.  Without daemon_fork() (--foreground) ready and fail
 * work as well: fail prints by itself.
 *
 * The child keeps stderr until daemon_ready(), and the working directory for
 * good, so that relative paths go on meaning what the user meant.
 * Threads: one, the main thread; daemon_wait_signal(): any one.
 */
#ifndef PSPFS_DAEMON_H
#define PSPFS_DAEMON_H

#define DAEMON_TEXT_MAX 2048	/* bytes of daemon_fail()'s text */

struct daemon {
	const char *program;	/* for the parent's message */
	int to_parent;		/* -1: no parent waits */
};

void daemon_init(struct daemon *d, const char *program);
/* In the child: 0 (in a session of its own).  The parent does not return.
 * -errno when there can be no child. */
int daemon_fork(struct daemon *d);
/* Lets the parent go; stdin, stdout and stderr become /dev/null. */
void daemon_ready(struct daemon *d);
/* Tells why it cannot be; returns @exit_code, for main to return. */
int daemon_fail(struct daemon *d, int exit_code, const char *text);

/* What ends a daemon, and SIGHUP, are blocked in this thread and in those it
 * starts from now on; SIGPIPE is ignored. */
void daemon_block_signals(void);
/* Wait for SIGTERM or SIGINT and return it; SIGHUP opens the log anew. */
int daemon_wait_signal(void);

/* Write this process's number to @path.  0 or -errno. */
int daemon_pidfile(const char *path);

#endif
