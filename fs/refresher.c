/*
 * refresher -- see refresher.h.
 *
 * Happy path: a packet {number, inode} to the process, one {number, error}
 * back.  Failure: a packet that comes too late is told by its number.
 */
#include "refresher.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "text.h"

enum {
	ROUNDS = 3,		/* a call of this mount's may come between */
	ROOT = 1,		/* which has generation 0 */
	GENERATION = 1,		/* of all our other inodes: see ops_entry() */
	HANDLE_TYPE = 0x81,	/* fuse's, of three words */
	HANDLE_WORDS = 3,
	END_MS = 1000, STEP_MS = 5,
};

enum what { ATTRIBUTES, AND_PAGES, PLACE };

struct ask {
	uint64_t number, ino;
	enum what what;
};

struct got {
	uint64_t number;
	int64_t err;
};

struct refresher {
	int fd;
	pid_t pid;
	/* the caller's thread only */
	uint64_t number, back;	/* of the last one asked, and come back */
	int never;
};

/* ----------------------------------------------------------- the process */

/* The kernel forgets the file's pages by that (see opened()), before the size
 * grows: it has filled them with zeros to their end, and would show these. */
static int open_inode(uint64_t ino, enum what what)
{
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) +
			  HANDLE_WORDS * sizeof(uint32_t)];
	} u;
	const uint32_t words[HANDLE_WORDS] = { (uint32_t)(ino >> 32),
					       (uint32_t)ino,
					       ino == ROOT ? 0 : GENERATION };

	u.h.handle_bytes = sizeof(words);
	u.h.handle_type = HANDLE_TYPE;
	memcpy(u.room + offsetof(struct file_handle, f_handle), words,
	       sizeof(words));
	return open_by_handle_at(AT_FDCWD, &u.h,
				 what == AND_PAGES
					 ? O_RDONLY | O_NOATIME | O_NONBLOCK |
						   O_CLOEXEC
					 : O_PATH | O_CLOEXEC);
}

/* One asks the daemon, the other shows whether the kernel took that in. */
static int stat_twice(int fd)
{
	const unsigned what = STATX_SIZE | STATX_UID | STATX_GID;
	struct statx told, kept;

	for (int i = 0; i < ROUNDS; i++) {
		if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC,
			  what, &told) ||
		    statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
			  what, &kept))
			return -errno;
		if (told.stx_size == kept.stx_size &&
		    told.stx_uid == kept.stx_uid &&
		    told.stx_gid == kept.stx_gid)
			return 0;
	}
	return -EAGAIN;
}

/* Where the kernel has it, without asking the daemon; only a directory is in
 * one place. */
static int place_of(int fd, char *path, size_t len)
{
	char link[64];
	struct statx kept;
	ssize_t n;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE,
		  &kept))
		return -errno;
	if (!S_ISDIR(kept.stx_mode))
		return -ENOTDIR;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, len - 1);
	if (n < 0)
		return -errno;
	path[n] = '\0';
	return 0;
}

/* Takes @fd: as long as it is open the kernel could not let the place go. */
static int look_there(int fd)
{
	char path[PATH_MAX];
	struct statx there;
	int err = place_of(fd, path, sizeof(path));

	close(fd);
	if (!err && statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_TYPE,
			  &there) && errno != ENOENT)
		err = -errno;
	return err == -ENOTDIR ? 0 : err;
}

/* The working directory says on which mount: what else could, an open
 * directory, would ask the daemon to open it. */
static int learn(const char *dir, const struct ask *a)
{
	int fd, err;

	if (chdir(dir))
		return -errno;
	fd = open_inode(a->ino, a->what);
	if (fd < 0) {
		err = -errno;
	} else if (a->what == PLACE) {
		err = look_there(fd);
	} else {
		err = stat_twice(fd);
		close(fd);
	}
	if (chdir("/"))
		_exit(1);
	return err;
}

static void serve(int fd, const char *dir)
{
	struct ask a;

	while (recv(fd, &a, sizeof(a), 0) == sizeof(a)) {
		struct got g = { a.number, learn(dir, &a) };

		if (send(fd, &g, sizeof(g), MSG_NOSIGNAL) != sizeof(g))
			return;
	}
}

/* Only the socket stays; who waits for the end of our output is not to wait
 * for this process. */
static void child(int fd, const char *dir)
{
	int null = open("/dev/null", O_RDWR);

	for (int i = 0; i < 3; i++)
		if (null < 0 || dup2(null, i) < 0)
			_exit(1);
	if (dup2(fd, 3) < 0 || close_range(4, ~0u, 0) || chdir("/"))
		_exit(1);
	serve(3, dir);
	_exit(0);
}

/* ------------------------------------------------------------- the daemon */

/* Signals that end the daemon do not end it, nor does a handler run in it:
 * the end of the socket does. */
static int start(struct refresher *r, int fd, const char *dir)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r->pid = fork();
	if (!r->pid)
		child(fd, dir);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r->pid < 0 ? -errno : 0;
}

int refresher_new(struct refresher **out, const char *dir)
{
	struct refresher *r = calloc(1, sizeof(*r));
	int fds[2], err;

	if (!r)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds)) {
		err = -errno;
		free(r);
		return err;
	}
	r->fd = fds[0];
	err = start(r, fds[1], dir);
	close(fds[1]);
	if (err) {
		close(r->fd);
		free(r);
		return err;
	}
	*out = r;
	return 0;
}

void refresher_free(struct refresher *r)
{
	const struct timespec pause = { .tv_nsec = STEP_MS * 1000000L };
	int left = END_MS;

	if (!r)
		return;
	close(r->fd);
	while (!waitpid(r->pid, NULL, WNOHANG) && (left -= STEP_MS) > 0)
		nanosleep(&pause, NULL);
	free(r);
}

pid_t refresher_pid(const struct refresher *r)
{
	return r->pid;
}

/* The next packet back, by then. */
static int next(struct refresher *r, uint64_t until_ms, struct got *g)
{
	struct pollfd p = { .fd = r->fd, .events = POLLIN };
	ssize_t n = recv(r->fd, g, sizeof(*g), MSG_DONTWAIT);
	uint64_t now;

	if (n < 0 && errno == EAGAIN) {
		now = now_ms();
		poll(&p, 1, until_ms > now ? (int)(until_ms - now) : 0);
		n = recv(r->fd, g, sizeof(*g), MSG_DONTWAIT);
	}
	if (n == sizeof(*g)) {
		r->back = g->number;
		return 0;
	}
	return n < 0 && errno == EAGAIN ? -ETIMEDOUT : -EPIPE;
}

/* It will not get better: says so, once. */
static void give_up(struct refresher *r, int err)
{
	r->never = 1;
	log_info("sizes of open files: %s: while others change a file again "
		 "and again lseek(SEEK_END) may be a change late",
		 strerror(-err));
}

static int have_asked(struct refresher *r, uint64_t fuse_ino, enum what what,
		      uint64_t until_ms)
{
	struct ask a = { r->number + 1, fuse_ino, what };
	struct got g = { 0 };
	int err = 0;

	if (r->never)
		return -EPERM;
	while (!err && r->back != r->number)
		err = next(r, 0, &g);
	if (!err && send(r->fd, &a, sizeof(a), MSG_NOSIGNAL) != sizeof(a))
		err = -EPIPE;
	if (err == -ETIMEDOUT)
		return -EBUSY;
	if (!err) {
		r->number = a.number;
		err = next(r, until_ms, &g);
	}
	if (!err)
		err = (int)g.err;
	if (err == -EPERM || err == -EPIPE)
		give_up(r, err);
	return err;
}

int refresher_attrs(struct refresher *r, uint64_t fuse_ino, int pages,
		uint64_t until_ms)
{
	return have_asked(r, fuse_ino, pages ? AND_PAGES : ATTRIBUTES,
			  until_ms);
}

int refresher_place(struct refresher *r, uint64_t fuse_ino, uint64_t until_ms)
{
	return have_asked(r, fuse_ino, PLACE, until_ms);
}
