/*
 * ops_file -- opening, reading, writing and closing files (see file.h).
 *
 * Reads and writes need no struct call: their completions need the request,
 * and of a write how much it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>

#include "kernel.h"
#include "ops_call.h"

static struct file_handle *handle(const struct fuse_file_info *fi)
{
	return (struct file_handle *)(uintptr_t)fi->fh;
}

/* ------------------------------------------- the kernel's page cache */

static struct seen *seen_at(struct ops *o, uint64_t ino)
{
	return &o->seen[ino % OPS_SEEN];
}

/* Note that the page cache follows this version from now on; was it the
 * same at the last open, and nobody here wrote since? */
static int seen_same(struct ops *o, const struct m_attr *a)
{
	struct seen now = { .ino = a->ino, .version = a->version };
	struct seen *s = seen_at(o, a->ino);
	int same;

	pthread_mutex_lock(&o->lock);
	same = s->ino == now.ino && s->version == now.version;
	*s = now;
	pthread_mutex_unlock(&o->lock);
	return same;
}

static void seen_drop(struct ops *o, uint64_t ino)
{
	struct seen *s = seen_at(o, ino);

	pthread_mutex_lock(&o->lock);
	if (s->ino == ino)
		s->ino = 0;
	pthread_mutex_unlock(&o->lock);
}

/* ---------------------------------------------------------------- opening */

/* The last step; the handle is in c->fi. */
static void opened(struct call *c, const struct m_attr *a)
{
	struct fuse_entry_param e;
	int err;

	c->fi.keep_cache = seen_same(c->ops, a);
	c->fi.noflush = (c->fi.flags & O_ACCMODE) == O_RDONLY;
	if (c->created) {
		ops_entry(c->ops, a, &e);
		ops_entry_told(c->ops, c->parent, str_of(c->name), 1, c->seen,
			       0, a->ino, &e);
		err = fuse_reply_create(c->req, &e, &c->fi);
		if (err == -ENOENT)
			told_forget(c->ops->told, a->ino, 1);
	} else {
		err = fuse_reply_open(c->req, &c->fi);
	}
	if (err == -ENOENT)
		file_close(handle(&c->fi));	/* interrupted: no release */
	call_free(c);
}

/* The inode is gone, but its name may be another's by now: ESTALE makes the
 * kernel look it up again. */
static void open_fail(struct call *c, int err)
{
	call_fail(c, err == -ENOENT ? -ESTALE : err);
}

static int open_learned(struct call *c, struct answer *a, struct m_attr *out)
{
	struct m_getattr_r m;
	int err = ANSWER(a, getattr_r, &m);

	if (err)
		return err;
	call_learned(c, &m.attr);
	*out = m.attr;
	return 0;
}

static void open_sure(struct call *c, struct answer *a)
{
	struct m_attr attr;
	int err = open_learned(c, a, &attr);

	if (err) {
		file_close(handle(&c->fi));
		open_fail(c, err);
		return;
	}
	ops_name_gone(c->ops, attr.ino, attr.nlink);
	opened(c, &attr);
}

/*
 * A revocation that comes now finds the file open.  One that was answered
 * just before did not, and nobody keeps a removed inode for us: what is
 * known of the inode says whether there was one, and if so we ask again.
 * So we do when it has no name any more: this mount may have released it.
 */
void call_reply_open(struct call *c, const struct m_attr *a, int created)
{
	struct file_handle *h;
	struct m_attr still;
	int err = file_open(c->ops->files, a, c->fi.flags & O_APPEND, &h);

	if (err) {
		call_fail(c, err);
		return;
	}
	c->fi.fh = (uintptr_t)h;
	c->created = created;
	c->ino = a->ino;
	if (!ops_cached(c->ops, a->ino, &still) && a->nlink && still.nlink)
		opened(c, a);
	else
		call_getattr(c, open_sure);
}

static void truncated(struct call *c, struct answer *a)
{
	struct m_setattr_r m;
	int err = call_setattr_done(c, a, &m);

	if (err) {
		open_fail(c, err);
		return;
	}
	ops_kernel_attr(c->ops, c->ino, 1);
	call_reply_open(c, &m.attr, 0);
}

static void open_with(struct call *c, const struct m_attr *a)
{
	struct m_attr now = *a;

	if (!S_ISREG(a->mode)) {
		call_fail(c, -EINVAL);
		return;
	}
	files_overlay(c->ops->files, &now);
	if (!(c->fi.flags & O_TRUNC) || !now.size) {
		call_reply_open(c, a, 0);
		return;
	}
	c->set = (struct m_setattr){ .set = SET_SIZE | c->flags };
	call_setattr(c, truncated);
}

static void open_got(struct call *c, struct answer *a)
{
	struct m_attr attr;
	int err = open_learned(c, a, &attr);

	if (err)
		open_fail(c, err);
	else
		open_with(c, &attr);
}

void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct call *c = call_new(req);
	struct m_attr attr;

	if (!c)
		return;
	c->ino = ops_ino(c->ops, ino);
	c->fi = *fi;
	c->flags = kernel_kills_suid() ? SET_KILL_SUID : 0;
	if (!ops_cached(c->ops, c->ino, &attr))
		open_with(c, &attr);
	else
		call_getattr(c, open_got);
}

/* ---------------------------------------------------- reading and writing */

static void read_done(void *arg, int err, const struct iovec *iov, int n)
{
	fuse_req_t req = arg;

	if (err)
		fuse_reply_err(req, ops_errno(err));
	else
		fuse_reply_iov(req, iov, n);
}

void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
	      struct fuse_file_info *fi)
{
	(void)ino;
	file_read(handle(fi), (uint64_t)off, size, read_done, req);
}

static void killed(struct call *c, struct answer *a)
{
	struct m_setattr_r m;
	size_t size = c->size;
	int err = call_setattr_done(c, a, &m);

	if (err) {
		call_fail(c, err);
		return;
	}
	ops_kernel_attr(c->ops, c->ino, 1);
	fuse_reply_write(c->req, size);
	call_free(c);
}

/*
 * A set-user-id file that somebody without privilege has just written: the
 * commit will clear the bits, but a stat right after the write has to see
 * that.  Rare enough to go to the tracker at once.
 */
static void write_killed(struct call *c)
{
	c->set = (struct m_setattr){ .set = SET_KILL_SUID };
	call_setattr(c, killed);
}

static void write_done(void *arg, int err)
{
	struct call *c = arg;

	if (err) {
		call_fail(c, err);
	} else if (c->flags) {
		write_killed(c);
	} else {
		fuse_reply_write(c->req, c->size);
		call_free(c);
	}
}

/* Is there anything to clear in the mode of @ino? */
static int has_suid(struct ops *o, uint64_t ino)
{
	struct m_attr a;

	if (ops_cached(o, ino, &a))
		return 1;
	return (a.mode & S_ISUID) ||
	       (a.mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP);
}

void ops_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size,
	       off_t off, struct fuse_file_info *fi)
{
	struct call *c = call_new(req);

	if (!c)
		return;
	c->ino = ops_ino(c->ops, ino);
	c->size = size;
	c->flags = kernel_kills_suid() && has_suid(c->ops, c->ino);
	seen_drop(c->ops, c->ino);
	file_write(handle(fi), (uint64_t)off, buf, size, (int)c->flags,
		   write_done, c);
}

/* ---------------------------------------------------------------- closing */

static void flush_done(void *arg, int err)
{
	fuse_reply_err(arg, ops_errno(err));
}

void ops_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	file_flush(handle(fi), 0, flush_done, req);
}

void ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
	       struct fuse_file_info *fi)
{
	(void)ino;
	(void)datasync;
	file_flush(handle(fi), 1, flush_done, req);
}

void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	file_close(handle(fi));
	fuse_reply_err(req, 0);
}

/* -------------------------------------------------------------- fallocate */

static void allocated(struct call *c, struct answer *a)
{
	struct m_setattr_r m;

	call_fail(c, call_setattr_done(c, a, &m));
}

static void allocate(struct call *c, const struct m_attr *a)
{
	struct m_attr now = *a;

	files_overlay(c->ops->files, &now);
	if (c->off <= now.size) {
		call_fail(c, 0);
		return;
	}
	c->set = (struct m_setattr){ .set = SET_SIZE | c->flags,
				     .size = c->off };
	call_setattr(c, allocated);
}

static void allocate_got(struct call *c, struct answer *a)
{
	struct m_attr attr;

	if (!call_getattr_done(c, a, &attr))
		allocate(c, &attr);
}

/* Room is not reserved anywhere: allocating is growing, with a hole. */
void ops_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off,
		   off_t len, struct fuse_file_info *fi)
{
	struct m_attr attr;
	struct call *c;

	(void)fi;
	if (mode) {
		fuse_reply_err(req, mode == FALLOC_FL_KEEP_SIZE ? 0
								: EOPNOTSUPP);
		return;
	}
	c = call_new(req);
	if (!c)
		return;
	c->ino = ops_ino(c->ops, ino);
	c->off = (uint64_t)off + (uint64_t)len;	/* checked by the kernel */
	if (!ops_cached(c->ops, c->ino, &attr))
		allocate(c, &attr);
	else
		call_getattr(c, allocate_got);
}
