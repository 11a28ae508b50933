/* part -- see part.h. */
#include "part.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "md5.h"

static int fail(struct part *p, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int fail(struct part *p, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p->why, sizeof(p->why), fmt, ap);
	va_end(ap);
	return err;
}

static int fail_io(struct part *p, int err, const char *what)
{
	char need[16];

	if (err == -ENOSPC || err == -EDQUOT)
		return fail(p, err, "%s: the disk is full: free some space "
			    "(the file has %s) and run the same command again",
			    p->path, size_text(p->track->size, need));
	return fail(p, err, "cannot %s %s: %s", what, p->path, strerror(-err));
}

/* --------------------------------------------------------------- opening */

static void zero(int fd, uint64_t at, uint64_t end)
{
	static const uint8_t zeros[65536];

	if (at >= end ||
	    !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		       (off_t)at, (off_t)(end - at)))
		return;
	while (at < end) {
		size_t n = end - at < sizeof(zeros) ? end - at : sizeof(zeros);

		if (pwrite(fd, zeros, n, (off_t)at) < 0)
			return;	/* the whole file's MD5 will tell */
		at += n;
	}
}

/* What was there before may be of another version: holes read as zeros. */
static void clear_holes(struct part *p)
{
	const struct track *t = p->track;
	uint64_t at = 0;

	for (size_t i = 0; i < t->n_pieces; i++) {
		zero(p->fd, at, t->pieces[i].at);
		at = t->pieces[i].at + t->pieces[i].len;
	}
	zero(p->fd, at, t->size);
}

/* Room on the disk for the pieces, a run of them at a time. */
static int allocate(struct part *p)
{
	const struct track *t = p->track;
	uint64_t at, end;

	for (size_t i = 0; i < t->n_pieces;) {
		at = t->pieces[i].at;
		for (end = at; i < t->n_pieces && t->pieces[i].at == end; i++)
			end += t->pieces[i].len;
		if (!fallocate(p->fd, 0, (off_t)at, (off_t)(end - at)))
			continue;
		if (errno == ENOSPC || errno == EDQUOT)
			return -errno;
		return 0;	/* this filesystem cannot */
	}
	return 0;
}

static int open_locked(struct part *p)
{
	struct stat st;

	if (snprintf(p->path, sizeof(p->path), "%s" PART_SUFFIX, p->dest) >=
	    (int)sizeof(p->path))
		return fail(p, -ENAMETOOLONG, "%s: the name is too long: give "
			    "a shorter one", p->dest);
	p->fd = open(p->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
	if (p->fd < 0)
		return fail(p, -errno, "cannot write %s: %s: give another "
			    "DEST", p->path, strerror(errno));
	if (fstat(p->fd, &st) || !S_ISREG(st.st_mode))
		return fail(p, -EINVAL, "%s is not a file: remove it or give "
			    "another DEST", p->path);
	if (flock(p->fd, LOCK_EX | LOCK_NB))
		return fail(p, -EBUSY, "%s: another pspfs get is writing it: "
			    "let it end or give another DEST", p->path);
	p->resumed = st.st_size > 0;
	if (ftruncate(p->fd, (off_t)p->track->size))
		return fail_io(p, -errno, "write");
	if (p->resumed)
		clear_holes(p);
	return 0;
}

int part_open(struct part *p, const struct track *track, const char *dest)
{
	int err;

	*p = (struct part){ .track = track, .dest = dest, .fd = -1 };
	err = open_locked(p);
	if (err)
		part_close(p);
	return err;
}

void part_close(struct part *p)
{
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
}

/* -------------------------------------------------------------- checking */

/* Is there anything at all of [at, at + len)? */
static int has_data(struct part *p, const struct track_piece *c)
{
	off_t data = lseek(p->fd, (off_t)c->at, SEEK_DATA);

	if (data < 0)
		return errno != ENXIO;
	return (uint64_t)data < c->at + c->len;
}

static int is_whole(const struct track_piece *c)
{
	return !c->off && c->len == c->chunk_len;
}

struct checking {
	struct md5_job jobs[MD5_BATCH];
	size_t piece[MD5_BATCH];
	size_t n, used;
	uint8_t *room;		/* PART_CHECK_MAX */
};

static void check_batch(struct part *p, struct checking *c, uint8_t *have)
{
	md5_many(c->jobs, c->n);
	for (size_t i = 0; i < c->n; i++)
		have[c->piece[i]] =
			!memcmp(c->jobs[i].md5,
				p->track->pieces[c->piece[i]].md5, MD5_LEN);
	c->n = c->used = 0;
}

static int read_all(int fd, void *out, size_t len, uint64_t at)
{
	for (size_t got = 0; got < len;) {
		ssize_t n = pread(fd, (uint8_t *)out + got, len - got,
				  (off_t)(at + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		got += (size_t)n;
	}
	return 0;
}

/* A piece that cannot be read is fetched again. */
static void add_check(struct part *p, struct checking *c, size_t i)
{
	const struct track_piece *piece = &p->track->pieces[i];
	uint8_t *room = c->room + c->used;

	if (!is_whole(piece) || !has_data(p, piece) ||
	    read_all(p->fd, room, piece->len, piece->at))
		return;
	c->jobs[c->n] = (struct md5_job){ .data = room, .len = piece->len };
	c->piece[c->n++] = i;
	c->used += piece->len;
}

int part_check(struct part *p, uint8_t *have, part_step step, void *arg)
{
	const struct track *t = p->track;
	struct checking c = { .n = 0 };
	int err = 0;

	memset(have, 0, t->n_pieces);
	if (p->resumed) {
		c.room = malloc(PART_CHECK_MAX);
		if (!c.room)
			return fail(p, -ENOMEM, "no memory");
	}
	for (size_t i = 0; p->resumed && i < t->n_pieces; i++) {
		if (c.n == MD5_BATCH ||
		    c.used + t->pieces[i].len > PART_CHECK_MAX) {
			check_batch(p, &c, have);
			err = step(arg, t->pieces[i].at, t->size);
			if (err)
				break;
		}
		add_check(p, &c, i);
	}
	if (!err)
		check_batch(p, &c, have);
	free(c.room);
	if (err)
		return fail(p, -ECANCELED, "interrupted");
	err = allocate(p);
	return err ? fail_io(p, err, "make room for") : 0;
}

int part_write(struct part *p, const struct track_piece *piece,
	       const uint8_t *chunk)
{
	for (uint32_t done = 0; done < piece->len;) {
		ssize_t n = pwrite(p->fd, chunk + piece->off + done,
				   piece->len - done,
				   (off_t)(piece->at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_io(p, -errno, "write");
		done += (uint32_t)n;
	}
	return 0;
}

/* ------------------------------------------------------------- the whole */

#define VERIFY_BLOCK (1u << 20)

static int sum(struct part *p, EVP_MD_CTX *ctx, uint8_t *block, part_step step,
	       void *arg)
{
	uint64_t size = p->track->size;

	for (uint64_t at = 0; at < size;) {
		size_t n = size - at < VERIFY_BLOCK ? (size_t)(size - at)
						    : VERIFY_BLOCK;
		int err = read_all(p->fd, block, n, at);

		if (err)
			return fail_io(p, err, "read");
		if (!EVP_DigestUpdate(ctx, block, n))
			return fail(p, -ENOMEM, "no memory");
		at += n;
		if (step(arg, at, size))
			return fail(p, -ECANCELED, "interrupted");
	}
	return 0;
}

int part_verify(struct part *p, part_step step, void *arg)
{
	EVP_MD_CTX *ctx;
	uint8_t md5[EVP_MAX_MD_SIZE], *block;
	int err;

	if (!p->track->has_md5)
		return 0;
	ctx = EVP_MD_CTX_new();
	block = malloc(VERIFY_BLOCK);
	if (!ctx || !block || !EVP_DigestInit_ex(ctx, EVP_md5(), NULL))
		err = fail(p, -ENOMEM, "no memory");
	else
		err = sum(p, ctx, block, step, arg);
	if (!err && !EVP_DigestFinal_ex(ctx, md5, NULL))
		err = fail(p, -ENOMEM, "no memory");
	EVP_MD_CTX_free(ctx);
	free(block);
	if (!err && memcmp(md5, p->track->md5, MD5_LEN))
		err = fail(p, -EBADMSG, "%s does not have the MD5 of the whole "
			   "file: run the same command again, which checks "
			   "every piece and fetches what is wrong", p->path);
	return err;
}

static void sync_dir(const char *path)
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX];
	int fd;

	snprintf(dir, sizeof(dir), "%.*s",
		 slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	fsync(fd);
	close(fd);
}

/* Where the filesystem cannot refuse by itself, we look. */
static int rename_new(const char *from, const char *to)
{
	if (!renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE))
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	if (!faccessat(AT_FDCWD, to, F_OK, AT_SYMLINK_NOFOLLOW))
		return -EEXIST;
	return rename(from, to) ? -errno : 0;
}

int part_finish(struct part *p, int force)
{
	int err;

	if (fsync(p->fd))
		return fail_io(p, -errno, "write");
	err = force ? (rename(p->path, p->dest) ? -errno : 0)
		    : rename_new(p->path, p->dest);
	if (err == -EEXIST)
		return fail(p, err, "%s is there meanwhile: what was fetched "
			    "stays in %s; give --force to replace it", p->dest,
			    p->path);
	if (err)
		return fail(p, err, "cannot give %s the name %s: %s", p->path,
			    p->dest, strerror(-err));
	sync_dir(p->dest);
	return 0;
}
