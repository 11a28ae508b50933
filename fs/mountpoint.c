/* mountpoint -- see mountpoint.h. */
#include "mountpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

enum {
	STALE_MAX = 64,		/* crashed mounts on top of each other */
	PROBE_STEP_MS = 5,
};

#define FUSE_DEVICE "/dev/fuse"

/* -------------------------------------------------------------- mountinfo */

/* In place: the kernel writes space, tab, newline, '\' as \ooo. */
static void unescape(char *s)
{
	char *out = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' &&
		    s[2] >= '0' && s[2] <= '7' && s[3] >= '0' &&
		    s[3] <= '7') {
			*out++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 |
					(s[3] - '0'));
			s += 3;
		} else {
			*out++ = *s;
		}
	}
	*out = '\0';
}

/* "36 35 98:0 /root /mount/point opts [tags...] - type source superopts" */
static int parse(char *line, char **path, struct mounted *out)
{
	char *save, *word, *tail = strstr(line, " - ");

	if (!tail || sscanf(line, "%*d %*d %u:%u", &out->major,
			    &out->minor) != 2)
		return 0;
	if (sscanf(tail, " - %63s", out->type) != 1)
		return 0;
	*path = NULL;
	word = strtok_r(line, " ", &save);
	for (int i = 0; word && i < 4; i++)
		word = strtok_r(NULL, " ", &save);
	if (!word)
		return 0;
	unescape(word);
	*path = word;
	return 1;
}

int mountpoint_find_in(FILE *f, const char *path, struct mounted *out)
{
	struct mounted m;
	char *line = NULL, *at;
	size_t cap = 0;
	int err = -ENOENT;

	while (getline(&line, &cap, f) > 0) {
		if (!parse(line, &at, &m) || strcmp(at, path))
			continue;
		*out = m;
		err = 0;
	}
	free(line);
	return err;
}

int mountpoint_find(const char *path, struct mounted *out)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	int err;

	if (!f)
		return -errno;
	err = mountpoint_find_in(f, path, out);
	fclose(f);
	return err;
}

/* ------------------------------------------------------------ dead or alive */

/* Wait for @pid, MOUNTPOINT_PROBE_MS at most; its exit code, or -1. */
static int exit_of(pid_t pid)
{
	const struct timespec pause = { .tv_nsec = PROBE_STEP_MS * 1000000L };
	int status;

	for (int ms = 0; ms < MOUNTPOINT_PROBE_MS; ms += PROBE_STEP_MS) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
		nanosleep(&pause, NULL);
	}
	kill(pid, SIGKILL);	/* ends it once its call ends */
	waitpid(pid, &status, WNOHANG);
	return -1;
}

/* Ask it for attributes (the kernel might know them itself) in another
 * process: a daemon that does not answer would hold us up for ever.  0, what
 * statx() says, or -ETIMEDOUT. */
static int probe(const char *path)
{
	struct statx st;
	pid_t pid = fork();
	int code;

	if (pid < 0)
		return -errno;
	if (!pid)
		_exit(statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC,
			    STATX_BASIC_STATS, &st) ? errno : 0);
	code = exit_of(pid);
	return code < 0 ? -ETIMEDOUT : -code;
}

static int is_ours(const char *path)
{
	struct mounted m;

	return !mountpoint_find(path, &m) && !strcmp(m.type, MOUNTPOINT_TYPE);
}

int mountpoint_dead(const char *path)
{
	return is_ours(path) && probe(path) == -ENOTCONN;
}

/* ----------------------------------------------------------------- checks */

static int check_dir(const char *path, char *why, size_t why_len)
{
	struct stat st;
	int err = 0;

	if (stat(path, &st))
		err = -errno;
	else if (!S_ISDIR(st.st_mode))
		err = -ENOTDIR;
	if (err == -ENOTDIR)
		snprintf(why, why_len, "mount point %s is not a directory",
			 path);
	else if (err == -ENOTCONN)
		snprintf(why, why_len,
			 "at %s another file system has crashed: umount -l %s",
			 path, path);
	else if (err)
		snprintf(why, why_len, "mount point %s: %s", path,
			 strerror(-err));
	return err;
}

/* One of ours is at @path.  Take it away if it is dead. */
static int clear(const char *path, char *why, size_t why_len)
{
	int err = probe(path);

	if (err == -ENOTCONN) {
		err = umount2(path, MNT_DETACH) ? -errno : 0;
		if (err)
			snprintf(why, why_len,
				 "what a crashed mount.pspfs left at %s "
				 "cannot be taken away (%s): umount -l %s",
				 path, strerror(-err), path);
		else
			log_warn("took away what a crashed mount.pspfs left "
				 "at %s", path);
		return err;
	}
	if (err == -ETIMEDOUT)
		snprintf(why, why_len,
			 "%s is already mounted, and its mount.pspfs does not "
			 "answer: end that one, or umount -f %s and then "
			 "umount -l %s",
			 path, path, path);
	else
		snprintf(why, why_len,
			 "%s is already mounted: umount %s first", path, path);
	return -EBUSY;
}

/* Asks no file system about the last component, unlike stat(). */
static int resolve(const char *path, char out[PATH_MAX], char *why,
		   size_t why_len)
{
	char copy[PATH_MAX];
	size_t n = strlen(path);

	if (n >= sizeof(copy)) {
		snprintf(why, why_len, "mount point: %s",
			 strerror(ENAMETOOLONG));
		return -ENAMETOOLONG;
	}
	memcpy(copy, path, n + 1);
	while (n > 1 && copy[n - 1] == '/')
		copy[--n] = '\0';
	if (realpath(copy, out))
		return 0;
	n = (size_t)errno;
	snprintf(why, why_len, "mount point %s%s%s%s", path,
		 n == ENOENT ? " does not exist: mkdir -p " : ": ",
		 n == ENOENT ? path : strerror((int)n),
		 n == ENOTCONN ? ": it lies below a mount that has crashed"
			       : "");
	return -(int)n;
}

static int check_path(const char *path, int dry, char out[PATH_MAX],
		      char *why, size_t why_len)
{
	int err = resolve(path, out, why, why_len);

	for (int i = 0; !err && is_ours(out); i++) {
		if (dry && probe(out) == -ENOTCONN)
			return 0;
		err = i < STALE_MAX ? clear(out, why, why_len) : -EBUSY;
		if (i == STALE_MAX)
			snprintf(why, why_len,
				 "more than %d crashed mounts are at %s: "
				 "umount -l %s, again and again",
				 STALE_MAX, out, out);
	}
	return err ? err : check_dir(out, why, why_len);
}

static int check_device(char *why, size_t why_len)
{
	int fd = open(FUSE_DEVICE, O_RDWR | O_CLOEXEC), err = -errno;

	if (fd >= 0) {
		close(fd);
		return 0;
	}
	if (err == -EACCES || err == -EPERM)
		snprintf(why, why_len,
			 "may not open " FUSE_DEVICE " (%s): mount as root, or "
			 "in a container run with --device " FUSE_DEVICE
			 " --cap-add SYS_ADMIN",
			 strerror(-err));
	else if (err == -ENOENT || err == -ENODEV || err == -ENXIO)
		snprintf(why, why_len,
			 FUSE_DEVICE " is missing: modprobe fuse, or in a "
			 "container run with --device " FUSE_DEVICE);
	else
		snprintf(why, why_len, FUSE_DEVICE ": %s", strerror(-err));
	return err;
}

int mountpoint_check(const char *path, int dry, char out[PATH_MAX], char *why,
		     size_t why_len)
{
	int err = check_path(path, dry, out, why, why_len);

	return err ? err : check_device(why, why_len);
}
