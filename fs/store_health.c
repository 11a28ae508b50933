/*
 * store_health -- can anything be written, is anything there at all?
 *
 * Ill: a put failed by the disk's fault (it is full, read-only, broken).  No
 * room is told from then on, so that others are asked, until store_look() can
 * write a file in tmp/ as large as most chunks.
 * Lost: the directory of chunks was removed, or cannot be looked at.  Then the
 * store counts as empty.  What was there is forgotten by nobody: if its disk
 * comes back, all of it is told again.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "log.h"
#include "store_impl.h"

enum {
	TRIAL_BYTES = 1 << 20,
	SLACK = 1 << 20,	/* of the disk's free bytes, not lent */
};

static void say_ill(struct store *s, int err)
{
	switch (err) {
	case -ENOSPC:
		log_warn("store %s: its disk is full: new chunks go to other "
			 "peers until some space is free on it", s->path);
		break;
	case -EROFS:
		log_warn("store %s is on a read-only file system: new chunks "
			 "go to other peers until it is mounted read-write",
			 s->path);
		break;
	case -EIDRM:
		log_error("store %s was removed: its chunks are copied anew "
			  "from other peers; to lend this disk again end this "
			  "peer and start it anew", s->path);
		break;
	default:
		log_warn("store %s cannot be used (%s): new chunks go to other "
			 "peers until its disk is mended", s->path,
			 strerror(-err));
	}
}

static void be_ill(struct store *s, int err)
{
	int was = atomic_exchange(&s->health.err, err);

	/* another cause is another sentence */
	if (spell_bad(&s->health.ill) || was != err)
		say_ill(s, err);
}

static void be_well(struct store *s)
{
	struct spell_end e;

	if (!spell_over(&s->health.ill, &e))
		return;
	atomic_store(&s->health.err, 0);
	log_info("store %s can be written again, after %llu s", s->path, e.s);
}

/* Can a file be read there at all?  0 or -errno. */
static int read_a_file(struct store *s)
{
	int fd, err = 0;
	char c;

	fd = openat(s->dir_fd, "swarm", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		err = -errno;
	else if (pread(fd, &c, 1, 0) < 0)
		err = -errno;
	if (fd >= 0)
		close(fd);
	switch (err) {
	case -ENOENT:		/* that one, or the permission, is missing */
	case -EACCES:
	case -ELOOP:
	case -EISDIR:
	case -EMFILE:		/* not the disk */
	case -ENFILE:
	case -ENOMEM:
		return 0;
	}
	return err;
}

/* 0, or why it is lost. */
static int look_at_dir(struct store *s)
{
	struct stat st;

	if (fstat(s->chunks_fd, &st))
		return -errno;
	return st.st_nlink ? read_a_file(s) : -EIDRM;
}

int health_put_failed(struct store *s, int err)
{
	int lost;

	switch (err) {
	case -EINVAL:
	case -EBADMSG:
	case -ENOMEM:
	case -EMFILE:
	case -ENFILE:
		break;		/* not the disk */
	case -ENOENT:		/* a directory is gone */
		lost = look_at_dir(s);
		be_ill(s, lost ? lost : -EIO);
		return -EIO;
	default:
		be_ill(s, err);
	}
	return err;
}

void health_vanished(struct store *s, uint64_t id)
{
	if (spell_bad(&s->health.vanished))
		log_warn("store %s: chunk %016" PRIx64 " has vanished from "
			 "the disk: it is copied anew", s->path, id);
}

int health_refuses(struct store *s)
{
	return atomic_load(&s->health.lost) ? -EROFS : 0;
}

/* ---------------------------------------------------------------- looking */

/* A file of zeros, which is removed. */
static int trial(struct store *s)
{
	static const uint8_t zeros[64 << 10];
	const char *name = "trial";
	int fd, err = 0;

	fd = openat(s->tmp_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC |
		    O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	for (size_t at = 0; !err && at < TRIAL_BYTES; at += sizeof(zeros)) {
		ssize_t n = pwrite(fd, zeros, sizeof(zeros), (off_t)at);

		if (n != (ssize_t)sizeof(zeros))
			err = n < 0 ? -errno : -ENOSPC;
	}
	if (!err && fdatasync(fd))
		err = -errno;
	close(fd);
	unlinkat(s->tmp_fd, name, 0);
	return err == -EDQUOT ? -ENOSPC : err;
}

/* What may be written on it beyond what is there; 0 or -errno. */
static int look_at_disk(struct store *s, uint64_t *free_bytes)
{
	struct statvfs v;

	if (fstatvfs(s->chunks_fd, &v))
		return -errno;
	if (v.f_flag & ST_RDONLY)
		return -EROFS;
	*free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
	return 0;
}

int store_look(struct store *s)
{
	uint64_t free_bytes = 0;
	int lost = look_at_dir(s), was, err;
	struct spell_end gone;

	err = lost ? lost : look_at_disk(s, &free_bytes);
	if (!err && spell_is(&s->health.ill))
		err = trial(s);
	if (err)
		be_ill(s, err);
	else
		be_well(s);
	atomic_store(&s->health.free_bytes,
		     free_bytes > SLACK ? free_bytes - SLACK : 0);
	if (spell_over(&s->health.vanished, &gone) && gone.n > 1)
		log_warn("store %s: %u chunks in all have vanished", s->path,
			 gone.n);
	was = atomic_exchange(&s->health.lost, lost != 0);
	return was != (lost != 0);
}

void health_init(struct store *s)
{
	atomic_store(&s->health.free_bytes, UINT64_MAX);	/* until looked */
}

uint64_t health_capacity(struct store *s, uint64_t capacity, uint64_t used,
			 uint64_t cached)
{
	uint64_t room = atomic_load(&s->health.free_bytes);

	if (spell_is(&s->health.ill))
		return used - cached;
	if (used >= capacity || room >= capacity - used)
		return capacity;
	return used + room;
}
