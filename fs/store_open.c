/*
 * store_open -- the directory: is it ours, is it free, what is its name.
 *
 * Open the directory (made if need be), refuse it if it is somebody's own
 * files, lock it, read or make DIR/swarm, make what is missing of the layout,
 * scan.  A directory is only ever touched after it was found to be a store or
 * empty.  A creation that was interrupted is simply done again.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "store_impl.h"
#include "text.h"

#define SWARM_FILE "swarm"
#define SWARM_NEW "swarm.new"
#define SWARM_FORMAT \
	"pspfs store 1\nswarm %016" PRIx64 "\npeer %016" PRIx64 "\n"
#define SWARM_TEXT_MAX 128

struct opening {
	const char *dir;
	char *why;
	size_t why_len;
};

static int refuse(const struct opening *o, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int refuse(const struct opening *o, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(o->why, o->why_len, fmt, ap);
	va_end(ap);
	return err;
}

/* The sentence for what the system says. */
static int refuse_errno(const struct opening *o, int err)
{
	switch (err) {
	case -EACCES:
	case -EPERM:
		return refuse(o, err, "store %s: no permission to use it: run "
			      "as its owner or give another with -o store=",
			      o->dir);
	case -EROFS:
		return refuse(o, err, "store %s is on a read-only file system: "
			      "mount that read-write or give another store "
			      "with -o store=", o->dir);
	case -ENOTDIR:
		return refuse(o, err, "store %s is not a directory: give a "
			      "directory with -o store=", o->dir);
	case -ENOSPC:
		return refuse(o, err, "store %s: its disk is full: free some "
			      "space or give another store with -o store=",
			      o->dir);
	default:
		return refuse(o, err, "store %s cannot be used (%s): mend that "
			      "or give another with -o store=", o->dir,
			      strerror(-err));
	}
}

/* The same for @name in the store. */
static int refuse_file(const struct opening *o, const char *name, int err)
{
	switch (err) {
	case -EISDIR:
	case -ENOTDIR:
	case -ELOOP:
		return refuse(o, err, "store %s: %s in it is %s: move that "
			      "away (it is made anew then) or give another "
			      "store with -o store=", o->dir, name,
			      err == -EISDIR ? "a directory, not a file"
			      : err == -ENOTDIR ? "no directory"
						: "a symbolic link");
	case -EACCES:
	case -EPERM:
	case -EROFS:
	case -ENOSPC:
		return refuse_errno(o, err);
	default:
		return refuse(o, err, "store %s: %s in it cannot be used (%s): "
			      "mend its disk, or move that away, or give "
			      "another store with -o store=", o->dir, name,
			      strerror(-err));
	}
}

/* The directory with all above it; what fails shows when it is opened. */
static int make_dirs(const char *dir)
{
	char path[PATH_MAX];
	size_t n = strlen(dir);

	if (!n || n >= sizeof(path))
		return n ? -ENAMETOOLONG : -EINVAL;
	memcpy(path, dir, n + 1);
	for (char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		mkdir(path, 0755);
		*p = '/';
	}
	if (mkdir(path, 0700) && errno != EEXIST)
		return -errno;
	return 0;
}

static int open_dir(struct store *s, const struct opening *o)
{
	int made = make_dirs(o->dir);

	s->dir_fd = open(o->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir_fd < 0)
		return refuse_errno(o, errno == ENOENT && made ? made : -errno);
	return 0;
}

/* 1: nothing there but what an interrupted creation leaves. */
static int is_blank(int dir_fd)
{
	static const char *const fine[] = {
		".", "..", "lock", SWARM_NEW, "lost+found",
	};
	struct dirent *d;
	int blank = 1;
	DIR *dir;
	int fd;

	fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	while (blank && (d = readdir(dir))) {
		size_t i, n = sizeof(fine) / sizeof(*fine);

		for (i = 0; i < n && strcmp(d->d_name, fine[i]); i++)
			;
		blank = i < n;
	}
	closedir(dir);
	return blank;
}

static int take_lock(struct store *s, const struct opening *o)
{
	int blank;

	if (faccessat(s->dir_fd, SWARM_FILE, F_OK, 0)) {
		blank = errno == ENOENT ? is_blank(s->dir_fd) : -errno;
		if (blank < 0)
			return refuse_errno(o, blank);
		if (!blank)
			return refuse(o, -EINVAL, "%s is not empty and not a "
				      "pspfs store: give an empty or new "
				      "directory with -o store=", o->dir);
	}
	s->lock_fd = openat(s->dir_fd, "lock",
			    O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock_fd < 0)
		return refuse_file(o, "lock", -errno);
	if (!flock(s->lock_fd, LOCK_EX | LOCK_NB))
		return 0;
	if (errno != EWOULDBLOCK)
		return refuse_errno(o, -errno);
	return refuse(o, -EBUSY, "store %s is in use by another process: end "
		      "that one or give another store with -o store=", o->dir);
}

static int write_file(int fd, const char *text)
{
	ssize_t n = write(fd, text, strlen(text));

	if (n < 0)
		return -errno;
	if ((size_t)n < strlen(text))
		return -ENOSPC;
	return fsync(fd) ? -errno : 0;
}

/* Replace DIR/swarm, whole or not at all, durably. */
static int save_identity(struct store *s, uint64_t swarm)
{
	char text[SWARM_TEXT_MAX];
	int fd, err;

	snprintf(text, sizeof(text), SWARM_FORMAT, swarm, s->peer);
	fd = openat(s->dir_fd, SWARM_NEW, O_WRONLY | O_CREAT | O_TRUNC |
		    O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	err = write_file(fd, text);
	close(fd);
	if (!err && renameat(s->dir_fd, SWARM_NEW, s->dir_fd, SWARM_FILE))
		err = -errno;
	if (!err && fsync(s->dir_fd))
		err = -errno;
	if (err)
		unlinkat(s->dir_fd, SWARM_NEW, 0);
	return err;
}

/* 0, -ENOENT, -EINVAL (not what we write), -errno. */
static int load_identity(struct store *s)
{
	char text[SWARM_TEXT_MAX], same[SWARM_TEXT_MAX];
	uint64_t swarm;
	ssize_t n;
	int fd;

	fd = openat(s->dir_fd, SWARM_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n < 0)
		return -errno;
	text[n] = 0;
	if (sscanf(text, "pspfs store 1 swarm %" SCNx64 " peer %" SCNx64,
		   &swarm, &s->peer) != 2 || !s->peer)
		return -EINVAL;
	snprintf(same, sizeof(same), SWARM_FORMAT, swarm, s->peer);
	if (strcmp(text, same))
		return -EINVAL;
	s->swarm = swarm;
	return 0;
}

/* A new store's own name; where we may not, the system does it in time. */
static void sync_parent(struct store *s)
{
	int fd = openat(s->dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	fsync(fd);
	close(fd);
}

static int identify(struct store *s, const struct opening *o)
{
	int err = load_identity(s);

	if (err == -ENOENT) {
		do
			s->peer = random_u64();
		while (!s->peer);
		err = save_identity(s, 0);
		sync_parent(s);
	} else if (err == -EINVAL) {
		return refuse(o, err, "store %s: its file \"swarm\" is damaged "
			      "or of a newer version: restore it or give an "
			      "empty directory with -o store=", o->dir);
	}
	return err ? refuse_file(o, SWARM_FILE, err) : 0;
}

static int open_sub(struct store *s, const char *name, int *fd)
{
	if (mkdirat(s->dir_fd, name, 0700) && errno != EEXIST)
		return -errno;
	*fd = openat(s->dir_fd, name,
		     O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return *fd < 0 ? -errno : 0;
}

static int open_layout(struct store *s, const struct opening *o)
{
	const struct {
		const char *name;
		int *fd;
	} subs[] = {
		{ "chunks", &s->chunks_fd },
		{ "quarantine", &s->quarantine_fd },
		{ "tmp", &s->tmp_fd },
	};
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(subs) / sizeof(*subs); i++) {
		err = open_sub(s, subs[i].name, subs[i].fd);
		if (err)
			refuse_file(o, subs[i].name, err);
	}
	if (!err && fsync(s->dir_fd))
		err = refuse_errno(o, -errno);
	return err;
}

/* What was begun and not finished; the journal may begin it again. */
static int empty_tmp(struct store *s, const struct opening *o)
{
	int err = store_empty_tmp(s);

	return err ? refuse_file(o, "tmp", err) : 0;
}

static int open_journal(struct store *s, const struct opening *o)
{
	const char *name = "journal";
	int err = journal_open(s, &name);

	return err ? refuse_file(o, name, err) : 0;
}

static int size_up(struct store *s, uint64_t capacity)
{
	struct statvfs v;
	uint64_t room;

	if (!capacity) {
		if (fstatvfs(s->chunks_fd, &v))
			return -errno;
		room = (uint64_t)v.f_bavail * v.f_frsize + s->used;
		capacity = room - room / 10;
	}
	s->capacity = capacity;
	return 0;
}

int store_open(struct store **out, const char *dir, uint64_t capacity,
	       const struct store_events *ev, char *why, size_t why_len)
{
	struct opening o = { dir, why, why_len };
	struct store *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return refuse_errno(&o, -ENOMEM);
	if (ev)
		s->ev = *ev;
	s->path = strdup(dir);
	if (!s->path) {
		free(s);
		return refuse_errno(&o, -ENOMEM);
	}
	s->dir_fd = s->lock_fd = -1;
	s->chunks_fd = s->quarantine_fd = s->tmp_fd = -1;
	index_init(s);
	journal_init(s);
	health_init(s);
	ahead_init(s);
	err = open_dir(s, &o);
	if (!err)
		err = take_lock(s, &o);
	if (!err)
		err = identify(s, &o);
	if (!err)
		err = open_layout(s, &o);
	if (!err)
		err = empty_tmp(s, &o);
	if (!err)
		err = open_journal(s, &o);
	if (err)
		goto out_close;
	err = store_scan(s);
	if (!err)
		err = size_up(s, capacity);
	if (err) {
		refuse_errno(&o, err);
		goto out_close;
	}
	(void)store_look(s);
	*out = s;
	return 0;

out_close:
	store_close(s);
	return err;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void store_close(struct store *s)
{
	if (!s)
		return;
	ahead_fini(s);
	journal_fini(s);
	index_fini(s);
	close_fd(s->tmp_fd);
	close_fd(s->quarantine_fd);
	close_fd(s->chunks_fd);
	close_fd(s->dir_fd);
	close_fd(s->lock_fd);	/* last: it lets the next one in */
	free(s->path);
	free(s);
}

int store_bind(struct store *s, uint64_t swarm)
{
	int err;

	if (!swarm)
		return -EINVAL;
	if (s->swarm)
		return s->swarm == swarm ? 0 : -EXDEV;
	err = save_identity(s, swarm);
	if (!err)
		s->swarm = swarm;
	return err;
}
