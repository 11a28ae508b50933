/*
 * ops_content -- fallocate, lseek for data and holes, copy_file_range.
 *
 * All three are done by the tracker, on the map: no byte moves.  What is dirty
 * here of the files is flushed before, so that the order is that of the calls.
 * A request is asked for in parts, as the tracker gives them.
 */
#include <errno.h>
#include <linux/falloc.h>
#include <unistd.h>

#include "ops_call.h"

_Static_assert(FALLOC_FL_KEEP_SIZE == ALLOCATE_KEEP_SIZE &&
	       FALLOC_FL_PUNCH_HOLE == ALLOCATE_PUNCH &&
	       FALLOC_FL_ZERO_RANGE == ALLOCATE_ZERO, "modes are the wire's");

enum {
	/* Of one request, whose answer has 32 bits for it; more would only
	 * make it longer until it can be interrupted. */
	COPY_MOST = 1 << 30,
};

/* The kernel says nothing of CAP_FSETID here, as it does when it writes. */
static uint8_t clears_suid(struct call *c)
{
	return fuse_req_ctx(c->req)->uid ? call_clear_bits(c) : 0;
}

/* -------------------------------------------------------------- fallocate */

static void allocate_part(struct call *c);

static void allocated(struct call *c, struct answer *a)
{
	struct m_allocate_r m;
	int err = ANSWER(a, allocate_r, &m);

	if (!err && (!m.done || m.done > c->len - c->so_far))
		err = -EBADMSG;
	if (err) {
		tree_touch(c->ops->tree, c->ino);
		call_fail(c, err);
		return;
	}
	call_changed(c, &m.attr);
	c->so_far += m.done;
	if (c->so_far < c->len)
		allocate_part(c);
	else
		call_fail(c, 0);
}

static void allocate_part(struct call *c)
{
	struct m_allocate m = { .ino = c->ino, .off = c->off + c->so_far,
				.len = c->len - c->so_far, .mode = c->flags,
				.clear_suid = clears_suid(c) };
	struct wr w = WR_INIT;

	tree_touch(c->ops->tree, c->ino);
	m_allocate_encode(&w, &m);
	call_send(c, M_allocate, &w, allocated);
}

static void allocate_flushed(void *arg, int err)
{
	struct call *c = arg;

	if (err)
		call_fail(c, err);
	else
		allocate_part(c);
}

static void allocate_known(struct call *c)
{
	files_flush_ino(c->ops->files, c->ino, allocate_flushed, c);
}

void ops_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off,
		   off_t len, struct fuse_file_info *fi)
{
	struct call *c;

	(void)fi;
	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE |
		     FALLOC_FL_ZERO_RANGE)) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	c = call_new(req);
	if (!c)
		return;
	c->ino = ops_ino(c->ops, ino);
	c->off = (uint64_t)off;		/* checked by the kernel */
	c->len = (uint64_t)len;
	c->flags = (uint32_t)mode;
	call_know(c, allocate_known);
}

/* ------------------------------------------------------------------ lseek */

static void seek_part(struct call *c);

static void sought(struct call *c, struct answer *a)
{
	struct m_seekmap_r m;
	int err = ANSWER(a, seekmap_r, &m);

	if (!err)
		call_learned(c, &m.attr);
	if (!err && m.state && (m.off < c->off ||
				(m.state != 1 && m.off == c->off)))
		err = -EBADMSG;	/* also what would go on for ever */
	if (!err && !m.state)
		err = -ENXIO;
	if (err) {
		call_fail(c, err);
		return;
	}
	c->off = m.off;
	if (m.state == 1) {
		fuse_reply_lseek(c->req, (off_t)c->off);
		call_free(c);
	} else {
		seek_part(c);
	}
}

static void seek_part(struct call *c)
{
	struct m_seekmap m = { .ino = c->ino, .off = c->off,
			       .hole = (uint8_t)c->flags };
	struct wr w = WR_INIT;

	m_seekmap_encode(&w, &m);
	call_send(c, M_seekmap, &w, sought);
}

static void seek_flushed(void *arg, int err)
{
	struct call *c = arg;

	if (err)
		call_fail(c, err);
	else
		seek_part(c);
}

void ops_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
	       struct fuse_file_info *fi)
{
	struct call *c;

	(void)fi;
	if (off < 0 || (whence != SEEK_DATA && whence != SEEK_HOLE)) {
		fuse_reply_err(req, off < 0 ? ENXIO : EINVAL);
		return;
	}
	c = call_new(req);
	if (!c)
		return;
	c->ino = ops_ino(c->ops, ino);
	c->off = (uint64_t)off;
	c->flags = whence == SEEK_HOLE;
	files_flush_ino(c->ops->files, c->ino, seek_flushed, c);
}

/* -------------------------------------------------------- copy_file_range */

static void clone_part(struct call *c);

/* What was done counts; an error meets the next call. */
static void clone_end(struct call *c, int err)
{
	if (err && !c->so_far) {
		call_fail(c, err);
		return;
	}
	fuse_reply_write(c->req, c->so_far);
	call_free(c);
}

static void cloned(struct call *c, struct answer *a)
{
	struct m_clone_r m;
	int err = ANSWER(a, clone_r, &m);

	if (!err && (m.done > c->len - c->so_far || (m.more && !m.done)))
		err = -EBADMSG;
	if (err) {
		tree_touch(c->ops->tree, c->ino);
		clone_end(c, err);
		return;
	}
	call_changed(c, &m.attr);
	files_compact(c->ops->files, c->ino, m.deep, m.n_deep);
	c->so_far += m.done;
	if (m.more && c->so_far < c->len)
		clone_part(c);
	else
		clone_end(c, 0);
}

static void clone_part(struct call *c)
{
	struct m_clone m = { .ino = c->ino, .off = c->off + c->so_far,
			     .from = c->from, .from_off = c->from_off + c->so_far,
			     .len = c->len - c->so_far,
			     .clear_suid = clears_suid(c) };
	struct wr w = WR_INIT;

	tree_touch(c->ops->tree, c->ino);
	m_clone_encode(&w, &m);
	call_send(c, M_clone, &w, cloned);
}

static void clone_flushed(void *arg, int err)
{
	struct call *c = arg;

	if (err)
		call_fail(c, err);
	else
		clone_part(c);
}

static void clone_from_flushed(void *arg, int err)
{
	struct call *c = arg;

	if (err)
		call_fail(c, err);
	else
		files_flush_ino(c->ops->files, c->ino, clone_flushed, c);
}

static void clone_known(struct call *c)
{
	files_flush_ino(c->ops->files, c->from, clone_from_flushed, c);
}

void ops_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_off,
			 struct fuse_file_info *from_fi, fuse_ino_t ino,
			 off_t off, struct fuse_file_info *fi, size_t len,
			 int flags)
{
	struct call *c;

	(void)from_fi;
	(void)fi;
	if (flags) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	c = call_new(req);
	if (!c)
		return;
	c->ino = ops_ino(c->ops, ino);
	c->from = ops_ino(c->ops, from);
	c->off = (uint64_t)off;
	c->from_off = (uint64_t)from_off;
	c->len = len < COPY_MOST ? len : COPY_MOST;
	call_know(c, clone_known);
}
