/*
 * ops_file -- opening, reading, writing and closing files (see file.h).
 *
 * Reads and writes need no struct call: their completions need the request,
 * and of a write how much it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

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

/* The last step. */
static void opened(struct call *c, const struct m_attr *a)
{
	struct fuse_entry_param e;
	int err;

	c->fi.fh = (uintptr_t)c->handle;
	/* A read that the page cache would answer could not be noted; and the
	 * refresher opens it for that. */
	c->fi.keep_cache = seen_same(c->ops, a) && !c->refreshes &&
			   (!c->ops->atimes || !atimes_due(a, INT64_MIN));
	/* A flush is for data, and for locks that the process may have. */
	c->fi.noflush = (c->fi.flags & O_ACCMODE) == O_RDONLY &&
			!held_was_locked(c->ops->held, a->ino);
	if (c->created) {
		ops_entry(c->ops, a, &e);
		ops_entry_told(c->ops, c->parent, str_of(c->name), 1, c->seen,
			       0, a->ino, &e);
		err = fuse_reply_create(c->req, &e, &c->fi);
		if (err == -ENOENT)
			told_forget(c->ops->told, a->ino, 1);
		call_answered(c, err);
	} else {
		err = fuse_reply_open(c->req, &c->fi);
	}
	if (err == -ENOENT)
		file_close(c->handle);	/* interrupted: no release */
	call_free(c);
}

/* The inode is gone, but its name may be another's by now: ESTALE makes the
 * kernel look it up again. */
static void open_fail(struct call *c, int err)
{
	call_fail(c, err == -ENOENT ? -ESTALE : err);
}

int call_open_getattr(struct call *c, struct answer *a, struct m_attr *out)
{
	struct m_getattr_r m;
	int err = ANSWER(a, getattr_r, &m);

	if (err) {
		open_fail(c, err);
		return err;
	}
	call_learned(c, &m.attr);
	*out = m.attr;
	return 0;
}

static void hold_sure(struct call *c, struct answer *a)
{
	struct file_handle *h = c->handle;
	struct m_attr attr;

	if (call_open_getattr(c, a, &attr)) {
		file_close(h);
		return;
	}
	ops_name_gone(c->ops, attr.ino, attr.nlink);
	c->held(c, &attr);
}

/*
 * A revocation that comes now finds the file open.  One that was answered
 * just before did not, and nobody keeps a removed inode for us: what is
 * known of the inode says whether there was one, and if so we ask again.
 * So we do when it has no name any more: this mount may have released it.
 */
void call_hold(struct call *c, const struct m_attr *a,
	       void (*held)(struct call *c, const struct m_attr *a))
{
	struct m_attr still;
	int err = file_open(c->ops->files, a, c->fi.flags & O_APPEND,
			    &c->handle);

	if (err) {
		call_fail(c, err);
		return;
	}
	c->ino = a->ino;
	c->held = held;
	if (!ops_cached(c->ops, a->ino, &still) && a->nlink && still.nlink)
		held(c, a);
	else
		call_getattr(c, hold_sure);
}

void call_reply_open(struct call *c, const struct m_attr *a, int created)
{
	held_named(c->ops->held, c->name, a->ino);
	c->created = created;
	call_hold(c, a, opened);
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

/* O_TRUNC is a change, with its times, also of a file that is empty. */
static void open_with(struct call *c, const struct m_attr *a)
{
	if (!S_ISREG(a->mode)) {
		call_fail(c, -EINVAL);
		return;
	}
	if (!(c->fi.flags & O_TRUNC)) {
		call_reply_open(c, a, 0);
		return;
	}
	c->attr = *a;
	c->set = (struct m_setattr){
		.set = SET_SIZE | (c->flags ? call_kill_bits(c) : 0),
	};
	call_setattr(c, truncated);
}

static void open_got(struct call *c, struct answer *a)
{
	struct m_attr attr;

	if (!call_open_getattr(c, a, &attr))
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
	c->flags = (uint32_t)kernel_kills_suid();
	c->refreshes = ops_refresh_asked(c->ops, c->ino, fuse_req_ctx(req)->pid);
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
	struct ops *o = ops_of(req);

	ops_accessed(o, ops_ino(o, ino), fi->flags);
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
	c->set = (struct m_setattr){ .set = c->flags };
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

/* A page that was mapped comes through any handle, also an appending one. */
static int is_append(const struct fuse_file_info *fi)
{
	return (fi->flags & O_APPEND) && !fi->writepage;
}

/* c->flags: has the kernel said that set-id bits go?  Which, if there are
 * any, is in c->attr. */
static void write_now(struct call *c, const char *buf)
{
	int flags = is_append(&c->fi) ? FILE_APPEND : FILE_IN_PLACE;

	if (c->flags && (c->attr.mode & (S_ISUID | S_ISGID))) {
		c->flags = call_kill_bits(c);
		flags |= call_clear_bits(c);
	} else {
		c->flags = 0;
	}
	file_write(handle(&c->fi), c->off, buf, c->size, flags, write_done, c);
}

static void write_asked(struct call *c, struct answer *a)
{
	char *data = c->data;

	struct file_handle *h = handle(&c->fi);

	if (!call_getattr_done(c, a, &c->attr))
		write_now(c, data);
	file_close(h);
	free(data);
}

/*
 * Another mount has changed the file.  Where does it end (an append)?  The
 * tracker will say when it is committed, but here one may look before that.
 * Has it set-id bits?
 */
static void write_after_asking(struct call *c, const char *buf)
{
	c->data = malloc(c->size + 1);
	if (!c->data) {
		call_fail(c, -ENOMEM);
		return;
	}
	memcpy(c->data, buf, c->size);
	file_hold(handle(&c->fi));
	call_getattr(c, write_asked);
}

void ops_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size,
	       off_t off, struct fuse_file_info *fi)
{
	struct call *c = call_new(req);

	if (!c)
		return;
	c->ino = ops_ino(c->ops, ino);
	c->fi = *fi;
	c->off = (uint64_t)off;
	c->size = size;
	c->flags = (uint32_t)kernel_kills_suid();
	seen_drop(c->ops, c->ino);
	if ((c->flags || is_append(fi)) &&
	    ops_cached(c->ops, c->ino, &c->attr))
		write_after_asking(c, buf);
	else
		write_now(c, buf);
}

/* ---------------------------------------------------------------- closing */

static void flush_done(void *arg, int err)
{
	struct call *c = arg;

	if (fuse_reply_err(c->req, ops_errno(err)) == -ENOENT && err)
		files_unheard(c->ops->files, c->ino, err); /* interrupted */
	call_free(c);
}

static void flush(fuse_req_t req, fuse_ino_t ino, int sync,
		  const struct fuse_file_info *fi)
{
	struct call *c = call_new(req);

	if (!c)
		return;
	c->ino = ops_ino(c->ops, ino);
	file_flush(handle(fi), sync, flush_done, c);
}

void ops_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (!ops_lock_flush(req, ops_ino(ops_of(req), ino), fi))
		flush(req, ino, 0, fi);
}

void ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
	       struct fuse_file_info *fi)
{
	(void)datasync;
	flush(req, ino, 1, fi);
}

void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	ops_lock_release(req, ops_ino(ops_of(req), ino), fi);
	file_close(handle(fi));
	fuse_reply_err(req, 0);
}
