/*
 * store_scan -- what lies on the disk, into the index.
 *
 * Reads directories and sizes, no contents: a million chunks take seconds.
 * Whatever cannot be a chunk (a strange name, the wrong directory, too short
 * or too long, a second copy) goes to quarantine with a line in the log, so
 * that no bytes are ever deleted because of what they are called.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "counters.h"
#include "log.h"
#include "store_impl.h"

#define ID_DIGITS 16

static int is_dot(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

/* Exactly @digits lower-case hex digits; returns what follows, or NULL. */
static const char *parse_hex(const char *p, int digits, uint64_t *out)
{
	static const char hex[] = "0123456789abcdef";

	*out = 0;
	for (; digits; digits--, p++) {
		const char *d = *p ? strchr(hex, *p) : NULL;

		if (!d)
			return NULL;
		*out = *out << 4 | (uint64_t)(d - hex);
	}
	return p;
}

static int parse_name(const char *name, struct copy *c)
{
	const char *suffix = parse_hex(name, ID_DIGITS, &c->id);

	if (!suffix || !c->id)
		return -EINVAL;
	if (!strcmp(suffix, ".chunk"))
		c->kind = COPY_REPLICA;
	else if (!strcmp(suffix, ".cached"))
		c->kind = COPY_CACHED;
	else
		return -EINVAL;
	return 0;
}

static int banish(struct store *s, const char *path, const char *name,
		  const struct stat *st, const char *why)
{
	int err = io_quarantine(s, s->chunks_fd, path, name);

	if (err) {
		log_error("store: cannot move chunks/%s to quarantine: %s",
			  path, strerror(-err));
		return err;
	}
	log_warn("store: chunks/%s put in quarantine: %s", path, why);
	counter_add(CNT_QUARANTINED, 1);
	index_add_quarantined(s, S_ISREG(st->st_mode) ? st->st_size : 0);
	return 0;
}

static int scan_file(struct store *s, unsigned dir, int fd, const char *name)
{
	char path[NAME_MAX + 8];
	struct copy c = { 0 };
	const char *why = NULL;
	struct stat st;
	int err;

	snprintf(path, sizeof(path), "%02x/%s", dir, name);
	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISREG(st.st_mode) || parse_name(name, &c) ||
	    store_dir_of(c.id) != dir)
		why = "no chunk is called so";
	else if (st.st_size <= STORE_TRAILER ||
		 st.st_size > STORE_CHUNK_MAX + STORE_TRAILER)
		why = "no chunk has this size";
	if (why)
		return banish(s, path, name, &st, why);
	c.len = st.st_size - STORE_TRAILER;
	err = index_load(s, &c);
	if (err == -EEXIST)
		return banish(s, path, name, &st, "a second copy");
	return err;
}

/* Call @each with every name of the directory @name in @at. */
static int for_names(struct store *s, int at, const char *name, unsigned arg,
		     int (*each)(struct store *s, unsigned arg, int fd,
				 const char *name))
{
	struct dirent *d;
	DIR *dir;
	int fd, err = 0;

	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		err = -errno;
		close(fd);
		return err;
	}
	while (!err) {
		errno = 0;
		d = readdir(dir);
		if (!d) {
			err = -errno;
			break;
		}
		if (!is_dot(d->d_name))
			err = each(s, arg, fd, d->d_name);
	}
	closedir(dir);
	return err;
}

static int scan_dir(struct store *s, unsigned arg, int fd, const char *name)
{
	const char *rest;
	uint64_t dir;
	struct stat st;

	(void)arg;
	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	rest = parse_hex(name, 2, &dir);
	if (!rest || *rest || !S_ISDIR(st.st_mode))
		return banish(s, name, name, &st, "no directory of chunks");
	return for_names(s, fd, name, dir, scan_file);
}

static int scan_quarantined(struct store *s, unsigned arg, int fd,
			    const char *name)
{
	struct stat st;

	(void)arg;
	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : -errno;
	index_add_quarantined(s, S_ISREG(st.st_mode) ? st.st_size : 0);
	return 0;
}

/* What is no file of ours is kept. */
static int remove_tmp(struct store *s, unsigned arg, int fd, const char *name)
{
	(void)arg;
	if (!unlinkat(fd, name, 0))
		return 0;
	if (errno != EISDIR)
		return -errno;
	log_warn("store: tmp/%s put in quarantine: it is a directory", name);
	return io_quarantine(s, fd, name, name);
}

int store_empty_tmp(struct store *s)
{
	return for_names(s, s->tmp_fd, ".", 0, remove_tmp);
}

int store_scan(struct store *s)
{
	int err;

	err = for_names(s, s->quarantine_fd, ".", 0, scan_quarantined);
	if (!err)
		err = for_names(s, s->chunks_fd, ".", 0, scan_dir);
	return err;
}
