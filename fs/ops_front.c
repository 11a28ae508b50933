/*
 * ops_front -- FUSE's table: is a request about the folder or about .pspfs?
 *
 * What is about real names and inodes goes on to ops_*.c.  .pspfs is to be
 * read: whatever would change it is refused with EROFS, and what would make
 * something of its name, at the mount's top, with EEXIST.
 *
 * Not in the table, on purpose: access (default_permissions), write_buf (no
 * splice).
 */
#include <errno.h>
#include <string.h>

#include "kernel.h"
#include "ops_call.h"

static int is_top(fuse_ino_t parent, const char *name)
{
	return parent == FUSE_ROOT_ID && !strcmp(name, VIRTUAL_NAME);
}

/* May an entry @name be made in @parent?  Else @req is answered. */
static int may_make(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	int err = virtual_is(parent) ? EROFS : is_top(parent, name) ? EEXIST
								    : 0;

	if (err)
		fuse_reply_err(req, err);
	return !err;
}

/* May what is there be changed?  Else @req is answered. */
static int may_change(fuse_req_t req, int is_virtual)
{
	if (is_virtual)
		fuse_reply_err(req, EROFS);
	return !is_virtual;
}

/* ------------------------------------------------------------------- names */

static void front_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	if (virtual_is(parent))
		ops_virtual_lookup(req, parent, name);
	else if (is_top(parent, name))
		ops_virtual_lookup_top(req);
	else
		ops_lookup(req, parent, name);
}

static void forget(struct ops *o, fuse_ino_t ino, uint64_t n)
{
	if (virtual_is(ino))
		virtual_forget(o->virtual, ino, n);
	else
		told_forget(o->told, ops_ino(o, ino), n);
}

static void front_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	forget(ops_of(req), ino, n);
	fuse_reply_none(req);
}

static void front_forget_multi(fuse_req_t req, size_t count,
			       struct fuse_forget_data *list)
{
	for (size_t i = 0; i < count; i++)
		forget(ops_of(req), list[i].ino, list[i].nlookup);
	fuse_reply_none(req);
}

static void front_mknod(fuse_req_t req, fuse_ino_t parent, const char *name,
			mode_t mode, dev_t rdev)
{
	if (may_make(req, parent, name))
		ops_mknod(req, parent, name, mode, rdev);
}

static void front_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
			mode_t mode)
{
	if (may_make(req, parent, name))
		ops_mkdir(req, parent, name, mode);
}

static void front_symlink(fuse_req_t req, const char *target,
			  fuse_ino_t parent, const char *name)
{
	if (may_make(req, parent, name))
		ops_symlink(req, target, parent, name);
}

static void front_create(fuse_req_t req, fuse_ino_t parent, const char *name,
			 mode_t mode, struct fuse_file_info *fi)
{
	if (!may_make(req, parent, name))
		return;
	if (kernel_is_tmpfile())
		ops_tmpfile(req, parent, mode, fi);
	else
		ops_create(req, parent, name, mode, fi);
}

static void front_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent,
		       const char *newname)
{
	if (may_change(req, virtual_is(ino)) &&
	    may_make(req, newparent, newname))
		ops_link(req, ino, newparent, newname);
}

static void front_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	if (may_change(req, virtual_is(parent) || is_top(parent, name)))
		ops_unlink(req, parent, name);
}

static void front_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	if (may_change(req, virtual_is(parent) || is_top(parent, name)))
		ops_rmdir(req, parent, name);
}

static void front_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
			 fuse_ino_t newparent, const char *newname,
			 unsigned flags)
{
	if (may_change(req, virtual_is(parent) || is_top(parent, name) ||
			    virtual_is(newparent) ||
			    is_top(newparent, newname)))
		ops_rename(req, parent, name, newparent, newname, flags);
}

/* -------------------------------------------------------------- attributes */

static void front_getattr(fuse_req_t req, fuse_ino_t ino,
			  struct fuse_file_info *fi)
{
	if (virtual_is(ino))
		ops_virtual_getattr(req, ino);
	else
		ops_getattr(req, ino, fi);
}

static void front_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st,
			  int to_set, struct fuse_file_info *fi)
{
	if (may_change(req, virtual_is(ino)))
		ops_setattr(req, ino, st, to_set, fi);
}

static void front_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
			   const char *value, size_t size, int flags)
{
	if (may_change(req, virtual_is(ino)))
		ops_setxattr(req, ino, name, value, size, flags);
}

static void front_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
			   size_t size)
{
	if (virtual_is(ino))
		fuse_reply_err(req, ENODATA);
	else
		ops_getxattr(req, ino, name, size);
}

static void front_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	if (!virtual_is(ino))
		ops_listxattr(req, ino, size);
	else if (size)
		fuse_reply_buf(req, NULL, 0);
	else
		fuse_reply_xattr(req, 0);
}

static void front_removexattr(fuse_req_t req, fuse_ino_t ino,
			      const char *name)
{
	if (may_change(req, virtual_is(ino)))
		ops_removexattr(req, ino, name);
}

/* ------------------------------------------------------------------- files */

/* Opened for reading only, so that write and fallocate do not come. */
static void front_open(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	if (virtual_is(ino))
		ops_virtual_open(req, ino, fi);
	else
		ops_open(req, ino, fi);
}

static void front_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	if (virtual_is(ino))
		ops_virtual_read(req, size, off, fi);
	else
		ops_read(req, ino, size, off, fi);
}

static void front_flush(fuse_req_t req, fuse_ino_t ino,
			struct fuse_file_info *fi)
{
	if (virtual_is(ino))
		fuse_reply_err(req, 0);
	else
		ops_flush(req, ino, fi);
}

static void front_release(fuse_req_t req, fuse_ino_t ino,
			  struct fuse_file_info *fi)
{
	if (virtual_is(ino))
		ops_virtual_release(req, fi);
	else
		ops_release(req, ino, fi);
}

static void front_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
			struct fuse_file_info *fi)
{
	if (virtual_is(ino))
		fuse_reply_err(req, 0);
	else
		ops_fsync(req, ino, datasync, fi);
}

/* ------------------------------------------------------------------- locks */

/* Nobody writes in .pspfs: nothing to be locked.  Else @req is answered. */
static int may_lock(fuse_req_t req, fuse_ino_t ino)
{
	if (virtual_is(ino))
		fuse_reply_err(req, ENOLCK);
	return !virtual_is(ino);
}

static void front_getlk(fuse_req_t req, fuse_ino_t ino,
			struct fuse_file_info *fi, struct flock *lock)
{
	if (may_lock(req, ino))
		ops_getlk(req, ino, fi, lock);
}

static void front_setlk(fuse_req_t req, fuse_ino_t ino,
			struct fuse_file_info *fi, struct flock *lock,
			int sleep)
{
	if (may_lock(req, ino))
		ops_setlk(req, ino, fi, lock, sleep);
}

static void front_flock(fuse_req_t req, fuse_ino_t ino,
			struct fuse_file_info *fi, int op)
{
	if (may_lock(req, ino))
		ops_flock(req, ino, fi, op);
}

/* Texts have no holes; a program that is told so takes it to be all data. */
static void front_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
			struct fuse_file_info *fi)
{
	if (virtual_is(ino))
		fuse_reply_err(req, EINVAL);
	else
		ops_lseek(req, ino, off, whence, fi);
}

/* From a text bytes are copied, as the kernel does then. */
static void front_copy_file_range(fuse_req_t req, fuse_ino_t from,
				  off_t from_off,
				  struct fuse_file_info *from_fi,
				  fuse_ino_t ino, off_t off,
				  struct fuse_file_info *fi, size_t len,
				  int flags)
{
	if (virtual_is(from) || virtual_is(ino))
		fuse_reply_err(req, EOPNOTSUPP);
	else
		ops_copy_file_range(req, from, from_off, from_fi, ino, off,
				    fi, len, flags);
}

/* ------------------------------------------------------------- directories */

static void front_opendir(fuse_req_t req, fuse_ino_t ino,
			  struct fuse_file_info *fi)
{
	if (virtual_is(ino))
		ops_virtual_opendir(req, ino, fi);
	else
		ops_opendir(req, ino, fi);
}

/* Only .pspfs itself is listed without a handle. */
static void front_readdir(fuse_req_t req, fuse_ino_t ino, size_t size,
			  off_t off, struct fuse_file_info *fi)
{
	if (!fi->fh)
		ops_virtual_list(req, size, off, 0);
	else
		ops_readdir(req, ino, size, off, fi);
}

static void front_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size,
			      off_t off, struct fuse_file_info *fi)
{
	if (!fi->fh)
		ops_virtual_list(req, size, off, 1);
	else
		ops_readdirplus(req, ino, size, off, fi);
}

static void front_releasedir(fuse_req_t req, fuse_ino_t ino,
			     struct fuse_file_info *fi)
{
	if (!fi->fh)
		fuse_reply_err(req, 0);
	else
		ops_releasedir(req, ino, fi);
}

static void front_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync,
			   struct fuse_file_info *fi)
{
	if (virtual_is(ino))
		fuse_reply_err(req, 0);
	else
		ops_fsyncdir(req, ino, datasync, fi);
}

const struct fuse_lowlevel_ops ops_table = {
	.init = kernel_init,
	.lookup = front_lookup,
	.forget = front_forget,
	.forget_multi = front_forget_multi,
	.getattr = front_getattr,
	.setattr = front_setattr,
	.readlink = ops_readlink,
	.mknod = front_mknod,
	.mkdir = front_mkdir,
	.unlink = front_unlink,
	.rmdir = front_rmdir,
	.symlink = front_symlink,
	.rename = front_rename,
	.link = front_link,
	.open = front_open,
	.create = front_create,
	.read = front_read,
	.write = ops_write,
	.flush = front_flush,
	.release = front_release,
	.fsync = front_fsync,
	.fallocate = ops_fallocate,
	.getlk = front_getlk,
	.setlk = front_setlk,
	.flock = front_flock,
	.lseek = front_lseek,
	.copy_file_range = front_copy_file_range,
	.opendir = front_opendir,
	.readdir = front_readdir,
	.readdirplus = front_readdirplus,
	.releasedir = front_releasedir,
	.fsyncdir = front_fsyncdir,
	.statfs = ops_statfs,
	.setxattr = front_setxattr,
	.getxattr = front_getxattr,
	.listxattr = front_listxattr,
	.removexattr = front_removexattr,
};
