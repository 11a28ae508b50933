/*
 * aborter -- see aborter.h.
 *
 * The file is opened while the connection is there and never by its number
 * afterwards, when that may be another one's.  A file system of our own
 * (fsmount(2), mounted nowhere) has it where none is in /sys.
 */
#include "aborter.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONNECTIONS "/sys/fs/fuse/connections"

struct aborter {
	pid_t pid;
};

/* A descriptor of fusectl's root, or -errno. */
static int fusectl(void)
{
	int fs = fsopen("fusectl", FSOPEN_CLOEXEC), dir = -1, err = 0;

	if (fs < 0)
		return -errno;
	if (!fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		dir = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	if (dir < 0)
		err = -errno;
	close(fs);
	return err ? err : dir;
}

static int open_abort(unsigned minor)
{
	char name[sizeof(CONNECTIONS) + 32];
	int fd, dir;

	snprintf(name, sizeof(name), CONNECTIONS "/%u/abort", minor);
	fd = open(name, O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	dir = fusectl();
	if (dir < 0)
		return dir;
	snprintf(name, sizeof(name), "%u/abort", minor);
	fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	close(dir);
	return fd;
}

/*
 * A session of its own: what is sent to the daemon's group is not for it.  A
 * signal that nobody sends by accident says that the parent's thread ended.
 * Only @fd stays open: neither the kernel's session nor a lock on the store,
 * a port or a terminal lives on in here.
 */
static void child(int fd, pid_t parent)
{
	sigset_t end;
	int sig = SIGRTMIN + 1;

	setsid();
	if (dup2(fd, 0) < 0 || close_range(1, ~0u, 0) || chdir("/"))
		_exit(1);
	sigemptyset(&end);
	sigaddset(&end, sig);
	if (prctl(PR_SET_PDEATHSIG, sig))
		_exit(1);
	while (getppid() == parent && sigwaitinfo(&end, NULL) != sig)
		;
	_exit(write(0, "1", 1) != 1);
}

int aborter_new(struct aborter **out, unsigned minor)
{
	struct aborter *a = calloc(1, sizeof(*a));
	int fd = open_abort(minor), err = 0;
	pid_t self = getpid();
	sigset_t all, before;

	if (!a || fd < 0) {
		err = fd < 0 ? fd : -ENOMEM;
		goto out;
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	a->pid = fork();
	if (!a->pid)
		child(fd, self);
	err = a->pid < 0 ? -errno : 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
out:
	if (fd >= 0)
		close(fd);
	if (err)
		free(a);
	else
		*out = a;
	return err;
}

void aborter_free(struct aborter *a)
{
	if (!a)
		return;
	kill(a->pid, SIGKILL);
	waitpid(a->pid, NULL, 0);
	free(a);
}
