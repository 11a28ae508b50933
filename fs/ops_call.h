/*
 * ops_call -- shared by the ops_*.c files: a request under way, and answers.
 *
 * Happy path: call_new(), fill in what the completion will need, encode a
 * message, call_send(); the completion decodes with ANSWER(), tells the tree,
 * and ends the call with one of the call_reply_*(), which free it.
 * Failure: call_fail() answers the kernel and frees.
 */
#ifndef PSPFS_OPS_CALL_H
#define PSPFS_OPS_CALL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include <sys/statvfs.h>

#include "ask.h"
#include "atimes.h"
#include "container.h"
#include "held.h"
#include "ops.h"
#include "pool.h"
#include "told.h"
#include "table.h"
#include "tree.h"
#include "virtual.h"

enum {
	OPS_NAME = MSG_NAME_MAX + 1,
	OPS_SEEN = 4096,	/* files whose page cache is remembered */
	/* How long the kernel may believe attributes of which it is not told
	 * when they end: one tick of its clock, so that the look-up of a name
	 * and the permission check that follows are one question. */
	OPS_ATTR_US = 1000,
	OPS_FORGETTERS = 4,	/* threads that make the kernel forget pages */
	OPS_FORGET_MS = 1000,	/* how long a revocation waits for them */
	OPS_REFRESH_MS = 200,	/* how long one waits for the refresher */
	OPS_LEARNED = 1024,	/* files whose sizes it learned, remembered */
	OPS_STATFS_MS = 1000,	/* how long an answer of statfs is used */
	OPS_LATE = 64,		/* look-ups without an answer remembered, */
	OPS_LATE_MS = 300,	/* for so long */
};

/* A look-up by this thread was not answered in time; until_ms 0: none. */
struct late {
	uint64_t parent, until_ms;
	pid_t tid;
	uint32_t name_hash;
};

/* The kernel's page cache of @ino holds this version of its content. */
struct seen {
	uint64_t ino, version;
};

struct ops {
	/* fixed between ops_start() and ops_stop() */
	struct link *link;
	struct files *files;	/* NULL before and after (guarded by lock) */
	struct tree *tree;
	uint64_t root;
	char top[MSG_PATH_MAX];	/* the root's path, "" or "/a/b" */
	struct told *told;
	/* read: from noting an entry until its answer is with the kernel */
	pthread_rwlock_t answering;
	struct pool *teller;	/* one thread, see ops_told.c */
	struct virtual *virtual;
	struct atimes *atimes;	/* NULL: reads are not noted */
	struct pool *pool;	/* makes .pspfs's texts: waits for the tracker */
	struct ask_stop stop;
	struct held *held;
	struct lock_waits *waits;	/* ops_lock.c's */
	struct pool *pages;	/* ops_pages.c: waits for the kernel */
	struct refresher *refresher;	/* NULL: none */
	_Atomic uint64_t learned[OPS_LEARNED];	/* see ops_told.c */

	pthread_mutex_t lock;
	pthread_cond_t idle;
	/* guarded by lock */
	unsigned users;		/* of files: calls, callbacks of link */
	struct seen seen[OPS_SEEN];
	struct statvfs statfs;
	uint64_t statfs_ms;		/* when it was asked for; 0: never */
	struct stat root_stat;		/* as last seen */
	struct late late[OPS_LATE];
	LIST_HEAD(, dir) dirs;	/* open directories, ops_list.c's */
	struct stale *stale;	/* inodes whose pages are to be forgotten */
	int forgetting;		/* so many of those below are busy */
	struct forget {
		struct pool_work work;
		struct ops *ops;	/* fixed */
		int busy;
	} forgetters[OPS_FORGETTERS];
	pthread_cond_t forgotten;
};

struct answer {
	int err;
	int heard;		/* the tracker itself answered (also errors) */
	struct buf *buf;	/* the body; NULL if err */
	struct arena arena;	/* freed when the completion returns */
};

/* Decode into @m (struct m_NAME); 0, or why there is no answer. */
#define ANSWER(a, name, m)                                                    \
	((a)->err ? (a)->err                                                  \
		  : m_##name##_decode(m, &(a)->arena, (a)->buf->data,         \
				      (a)->buf->len))

struct dir;
struct call;
typedef void (*call_fn)(struct call *c, struct answer *a);

struct call {
	struct ops *ops;
	fuse_req_t req;
	call_fn done;
	uint64_t asked;		/* tree_now() */
	uint64_t seen;		/* told_now() when it began */
	uint64_t ino;		/* the tracker's, as all below */
	uint64_t parent, newparent;
	uint64_t moved;		/* by a rename, as far as is known */
	int changes;		/* what was sent is a change, */
	int unsure;		/* and nobody says whether it was made */
	struct m_attr attr;	/* see call_know() */
	void (*known)(struct call *c);
	char name[OPS_NAME], newname[OPS_NAME];
	size_t size;		/* of the kernel's buffer */
	uint64_t off, len, so_far;	/* bytes, of which done */
	uint64_t from, from_off;	/* what is cloned */
	uint32_t flags;
	int plus;
	int created;		/* by the open that asks */
	int refreshes;		/* it is the refresher who asks */
	struct dir *dir;
	char *data;		/* of an append that waits */
	struct file_handle *handle;	/* see call_hold() */
	void (*held)(struct call *c, const struct m_attr *a);
	struct fuse_file_info fi;
	struct m_setattr set;
	struct virtual_node node;	/* of .pspfs, that it is about */
	struct pool_work work;
};

/* ops_pages.c: the kernel's pages of these, which are open in @files, are not
 * true any more; soon it forgets them.  Does not wait.  0: it has none. */
int ops_pages_gone(struct ops *o, struct files *files, const uint64_t *inos,
		   uint32_t n);
/* Until it has, at most OPS_FORGET_MS. */
void ops_pages_wait(struct ops *o);
/* ops_list.c: those that nobody closed, since the kernel went without
 * releasing them; their files are gone already. */
void ops_dirs_free(struct ops *o);
int ops_pages_init(struct ops *o);
void ops_pages_fini(struct ops *o);

/* The calling ops of @req. */
struct ops *ops_of(fuse_req_t req);
uint64_t ops_ino(const struct ops *o, fuse_ino_t ino);	/* the tracker's */
fuse_ino_t ops_fuse_ino(const struct ops *o, uint64_t ino);
/* An entry's inode and attributes, as yet to be believed for no time. */
void ops_entry(struct ops *o, const struct m_attr *a,
	       struct fuse_entry_param *e);
/* @attr and what is not committed yet, as the kernel wants it. */
void ops_stat(struct ops *o, const struct m_attr *attr, struct stat *st);
/* From the tree, if its leases stand: 0, -ENOENT (names), -EAGAIN. */
int ops_cached(struct ops *o, uint64_t ino, struct m_attr *out);
int ops_cached_name(struct ops *o, uint64_t dir, const char *name,
		    struct m_attr *out);
/* All that @dir holds, a reference; NULL: it is to be asked for. */
struct listing *ops_cached_listing(struct ops *o, uint64_t dir);

/* NULL: @req was answered with ENOMEM. */
struct call *call_new(fuse_req_t req);
/* Takes @w's bytes. */
void call_send(struct call *c, uint16_t type, struct wr *w, call_fn done);
void call_free(struct call *c);
void call_fail(struct call *c, int err);	/* also err 0: success */
void call_reply_attr(struct call *c, const struct m_attr *a);
/* c->parent has c->name, and it is this; @locked: see told_entry(). */
void call_reply_entry(struct call *c, const struct m_attr *a, int locked);

/* Note an answer that only read / an answer to a change of the inode. */
void call_learned(struct call *c, const struct m_attr *a);
void call_changed(struct call *c, const struct m_attr *a);
/* For a callback that no call keeps: the files, which stay until
 * ops_files_done(); NULL: none. */
struct files *ops_files_use(struct ops *o);
void ops_files_done(struct ops *o);
/* The inode lost a name: when that was the last, tell who may hold it. */
void ops_name_gone(struct ops *o, uint64_t ino, uint32_t nlink);

/* The inode is read by an open(2) with @flags. */
void ops_accessed(struct ops *o, uint64_t ino, int flags);

/* Is whoever asks in the group of inode @a, or root?  (As CAP_FSETID.) */
int call_in_group(struct call *c, const struct m_attr *a);
/* What goes with set-id bits that are to be cleared in c->ino: enum
 * setattr_bits. */
uint32_t call_kill_bits(struct call *c);	/* of c->attr */
uint8_t call_clear_bits(struct call *c);	/* the same, enum clear_bits */

/* What the kernel is told for -errno @err. */
int ops_errno(int err);
/* Copy a name that came from the kernel; 0 or -ENAMETOOLONG. */
int ops_name(char out[OPS_NAME], const char *name);

/* Ask for the attributes of c->ino; @done passes what it got to
 * call_getattr_done(), which decodes it, tells the tree, and on an error has
 * ended the call. */
void call_getattr(struct call *c, call_fn done);
int call_getattr_done(struct call *c, struct answer *a, struct m_attr *out);
/* Go on in @known once c->attr is what c->ino has. */
void call_know(struct call *c, void (*known)(struct call *c));
/* Ask for c->parent's entry c->name; likewise, but call_lookup_done() ends
 * nothing and gives the error. */
void call_lookup(struct call *c, call_fn done);
int call_lookup_done(struct call *c, struct answer *a, struct m_attr *out);
/* Flush what is dirty of c->ino, then send c->set; @done passes what it got
 * to call_setattr_done(), which decodes it and tells the tree. */
void call_setattr(struct call *c, call_fn done);
int call_setattr_done(struct call *c, struct answer *a,
		      struct m_setattr_r *m);

/* Open the inode @a, a file or a directory: c->handle.  @held goes on (with
 * what it has by then) once it is sure that it stays as long as it is open,
 * whoever removes it.  If that fails the call has ended. */
void call_hold(struct call *c, const struct m_attr *a,
	       void (*held)(struct call *c, const struct m_attr *a));
/* As a getattr that open sends was answered: 0 and the attributes, or the
 * call has ended. */
int call_open_getattr(struct call *c, struct answer *a, struct m_attr *out);
/* The last step of open and create: c->fi says how, @a what. */
void call_reply_open(struct call *c, const struct m_attr *a, int created);

/* ops_told.c */
/* A reply to the kernel gave @err: if nobody heard it (who was interrupted),
 * the kernel does not know what the call has changed, and is to ask; and if
 * the tracker did not answer nobody here knows. */
void call_answered(struct call *c, int err);
int ops_told_init(struct ops *o);
void ops_told_fini(struct ops *o);
/* @dir has @name, which is @ino: how long the kernel may believe that, and
 * the attributes, looked at when told_now() was @seen; thread @tid asks, or
 * @locked: see told_entry().  For each call there
 * is an entry that the kernel gets, or a told_forget(). */
void ops_entry_told(struct ops *o, uint64_t dir, struct str name, int locked,
		    uint64_t seen, pid_t tid, uint64_t ino,
		    struct fuse_entry_param *e);
/* Answer a look-up; @e is as ops_entry() made it. */
void ops_reply_entry(struct call *c, struct fuse_entry_param *e, int locked,
		     uint64_t ino);
/* Of attributes alone, seconds; after a change by the kernel itself, whose
 * answer might come in after what changed them since. */
double ops_attr_told(struct ops *o, uint64_t ino, uint64_t seen);
/* Will it be told when they end? */
int ops_attr_noted(struct ops *o, uint64_t ino, uint64_t seen);
double ops_attr_tick(const struct ops *o);
/* The kernel knows the root from the beginning. */
void ops_root_told(struct ops *o);
/* rename(2) is about to be answered. */
void ops_entry_moved(struct ops *o, uint64_t dir, struct str name,
		     uint64_t newdir, struct str newname, int exchange);
/* The tree knows that these changed elsewhere, the kernel does not yet: first
 * it learns of the sizes of those that are open, and with REVOKE_OWNER of the
 * owner of each. */
void ops_refresh(struct ops *o, struct files *files, const uint64_t *inos,
		 uint32_t n, uint8_t also);
/* @pid asks for attributes of @ino, or for the file: is it the refresher? */
int ops_refresh_asked(struct ops *o, uint64_t ino, pid_t pid);
/* They may have changed without a revocation. */
void ops_refresh_lost(struct ops *o);
/* The tree knows that these changed elsewhere: now the kernel does; may wait
 * for a while.  All leases are void: likewise. */
void ops_kernel_revoked(struct ops *o, const uint64_t *inos, uint32_t n,
			uint8_t also);
void ops_kernel_lost(struct ops *o);
/* Attributes changed here, by no call of the kernel's that would tell it;
 * @open: it has the inode open. */
void ops_kernel_attr(struct ops *o, uint64_t ino, int open);
/* The kernel asked for a change of this directory's entries, or of its place,
 * and will forget its attributes when that is answered; but it would still
 * take in an older answer about them, on its way now.  The tree knows. */
void ops_kernel_changed(struct ops *o, uint64_t ino);

/* ops_dir.c */
void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name,
	       mode_t mode, dev_t rdev);
void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
	       mode_t mode);
void ops_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
		 const char *name);
void ops_create(fuse_req_t req, fuse_ino_t parent, const char *name,
		mode_t mode, struct fuse_file_info *fi);
/* ops_tmpfile.c */
void ops_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode,
		 struct fuse_file_info *fi);
/* ops_dir.c */
void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
		fuse_ino_t newparent, const char *newname, unsigned flags);
void ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent,
	      const char *newname);

/* ops_list.c */
/* List the directory @ino (the tracker's); @tracks: as .pspfs/trackers shows
 * it, the files with the suffix of their tracker files. */
void ops_opendir_as(fuse_req_t req, uint64_t ino, int tracks,
		    struct fuse_file_info *fi);
void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		 struct fuse_file_info *fi);
void ops_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		     struct fuse_file_info *fi);
void ops_releasedir(fuse_req_t req, fuse_ino_t ino,
		    struct fuse_file_info *fi);
void ops_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync,
		  struct fuse_file_info *fi);

/* ops_attr.c */
void ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set,
		 struct fuse_file_info *fi);
void ops_readlink(fuse_req_t req, fuse_ino_t ino);
void ops_statfs(fuse_req_t req, fuse_ino_t ino);

/* ops_file.c */
void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
	      struct fuse_file_info *fi);
void ops_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size,
	       off_t off, struct fuse_file_info *fi);
void ops_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
	       struct fuse_file_info *fi);

/* ops_content.c */
void ops_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
	       struct fuse_file_info *fi);
void ops_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_off,
			 struct fuse_file_info *from_fi, fuse_ino_t ino,
			 off_t off, struct fuse_file_info *fi, size_t len,
			 int flags);
void ops_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off,
		   off_t len, struct fuse_file_info *fi);

/* ops_lock.c */
int ops_lock_new(struct ops *o);
void ops_lock_free(struct ops *o);
void ops_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
	       struct flock *lock);
void ops_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
	       struct flock *lock, int sleep);
void ops_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
	       int op);
/* Flush @h, then release the fcntl locks of the process that closes it; 0:
 * it has none, nothing was done. */
int ops_lock_flush(fuse_req_t req, uint64_t ino, struct fuse_file_info *fi);
/* The last close of this open file: release what was locked by it. */
void ops_lock_release(fuse_req_t req, uint64_t ino,
		      const struct fuse_file_info *fi);

/* ops_virtual.c: of .pspfs and what is in it. */
void ops_virtual_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_virtual_lookup_top(fuse_req_t req);
void ops_virtual_getattr(fuse_req_t req, fuse_ino_t ino);
void ops_virtual_open(fuse_req_t req, fuse_ino_t ino,
		      struct fuse_file_info *fi);
void ops_virtual_read(fuse_req_t req, size_t size, off_t off,
		      struct fuse_file_info *fi);
void ops_virtual_release(fuse_req_t req, struct fuse_file_info *fi);
void ops_virtual_opendir(fuse_req_t req, fuse_ino_t ino,
			 struct fuse_file_info *fi);
void ops_virtual_list(fuse_req_t req, size_t size, off_t off, int plus);

/* ops_xattr.c */
void ops_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
		  const char *value, size_t size, int flags);
void ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
		  size_t size);
void ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void ops_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

#endif
