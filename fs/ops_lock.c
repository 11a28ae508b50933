/*
 * ops_lock -- flock(2) and fcntl(2) locks, decided by the tracker.
 *
 * Happy path: a lock is asked for with one request (M_lock) and answered when
 * the tracker grants it; if it has to wait, that answer says so and M_locked
 * follows.  Before a release or a downgrade is sent, what was written is
 * flushed and committed: who gets the lock next, anywhere, reads it.  What a
 * process does not hold it releases without a word to anybody.
 *
 * Interrupted (EINTR): the tracker is told to let the request go, and its
 * answer ends the call, within half a second at the latest.  If the grant was
 * faster the call succeeds.  A grant that comes after the call has ended is
 * given back (lock_give_back).
 *
 * Closing: the kernel's FLUSH names the process's lock owner, but is only
 * sent for files that may have been written, or were ever locked here; all
 * that was locked by an open file goes with its RELEASE (OFD locks and
 * flock(2) are released there only).  So a file that is open for reading since
 * before its first lock does not release a process's locks when it is closed,
 * as POSIX would have it.
 *
 * Lost locks (held.h): the session's lease had ended.  Writes, flushes and
 * new locks of that inode fail with EIO until every owner let go (a release,
 * or a close).
 *
 * SQLite's NAME-shm: see held.h.
 *
 * The kernel's number of an open file (the owner of a flock(2) or OFD lock) is
 * used again as soon as the file is closed, and RELEASE, which nobody waits
 * for, may come after the next file's first lock.  So flock(2)'s owner is the
 * handle, which has a number of its own; fcntl(2)'s may as well be a process,
 * so that what is locked is held by (owner, handle), and a RELEASE drops what
 * is still held by its handle.  (A process has nothing by a closed handle: the
 * FLUSH before it released all.)
 *
 * Not here: flock(2) of a directory, which the kernel keeps to itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>

#include "kernel.h"
#include "log.h"
#include "ops_lock.h"

static void release(struct lock_call *lc)
{
	files_flush_ino(lc->c->ops->files, lc->k.ino, lock_release_flushed, lc);
}

static void set(fuse_req_t req, struct m_byte_lock *k, int wait,
		uint64_t handle)
{
	struct ops *o = ops_of(req);
	struct lock_call *lc;
	struct held_state s;

	held_look(o->held, k, &s);
	if (k->kind == LK_NONE ? s.strongest == LK_NONE
			       : held_again(o->held, k, handle)) {
		fuse_reply_err(req, 0);		/* as it is */
		return;
	}
	if (s.lost && k->kind != LK_NONE) {
		fuse_reply_err(req, EIO);
		return;
	}
	lc = lock_new(req, k, wait ? LK_WAIT : LK_TRY, handle);
	if (!lc)
		return;
	if (k->kind == LK_NONE) {
		release(lc);
		return;
	}
	lc->refs++;	/* it may be over before we are */
	fuse_req_interrupt_func(req, lock_interrupted, lc);
	if (s.strongest > k->kind ||
	    (k->space == LK_FLOCK && s.strongest != LK_NONE))
		files_flush_ino(o->files, k->ino, lock_downgrade_flushed, lc);
	else
		lock_ask(lc);
	lock_put(lc);
}

/* ------------------------------------------------------------- FUSE's part */

static uint64_t serial_of(const struct fuse_file_info *fi)
{
	return file_serial((struct file_handle *)(uintptr_t)fi->fh);
}

static struct m_byte_lock lock_of(fuse_req_t req, fuse_ino_t ino,
				  const struct fuse_file_info *fi,
				  const struct flock *f)
{
	uint64_t start = (uint64_t)f->l_start;

	return (struct m_byte_lock){
		.ino = ops_ino(ops_of(req), ino),
		.space = LK_FCNTL,
		.kind = f->l_type == F_WRLCK   ? LK_WRITE
			: f->l_type == F_RDLCK ? LK_READ
					       : LK_NONE,
		.owner = fi->lock_owner,
		.pid = kernel_lock_pid(),
		.start = start,
		.end = f->l_len ? start + (uint64_t)f->l_len - 1
				: LOCKSET_END,
	};
}

void ops_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
	       struct flock *lock, int sleep)
{
	struct m_byte_lock k = lock_of(req, ino, fi, lock);

	set(req, &k, sleep, serial_of(fi));
}

void ops_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
	       int op)
{
	struct m_byte_lock k = {
		.ino = ops_ino(ops_of(req), ino),
		.space = LK_FLOCK,
		.kind = op & LOCK_EX ? LK_WRITE : op & LOCK_SH ? LK_READ
							       : LK_NONE,
		.owner = serial_of(fi),
		.pid = kernel_lock_pid(),
		.end = LOCKSET_END,
	};

	set(req, &k, !(op & LOCK_NB), k.owner);
}

static void getlk_done(struct call *c, struct answer *a)
{
	struct m_lock_r m;
	int err = ANSWER(a, lock_r, &m);
	struct flock f = { .l_whence = SEEK_SET };

	if (err) {
		call_fail(c, err);
		return;
	}
	f.l_type = m.lock.kind == LK_WRITE  ? F_WRLCK
		   : m.lock.kind == LK_READ ? F_RDLCK
					    : F_UNLCK;
	f.l_start = (off_t)m.lock.start;
	if (m.lock.end < LOCKSET_END)
		f.l_len = (off_t)(m.lock.end - m.lock.start + 1);
	f.l_pid = (pid_t)m.lock.pid;
	fuse_reply_lock(c->req, &f);
	call_free(c);
}

void ops_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
	       struct flock *lock)
{
	struct m_lock m = { .op = LK_GET,
			    .lock = lock_of(req, ino, fi, lock) };
	struct call *c = call_new(req);
	struct wr w = WR_INIT;

	if (!c)
		return;
	m.lock.alone = (uint8_t)held_is_alone(c->ops->held, m.lock.ino);
	m_lock_encode(&w, &m);
	call_send(c, M_lock, &w, getlk_done);
}

int ops_lock_flush(fuse_req_t req, uint64_t ino, struct fuse_file_info *fi)
{
	struct m_byte_lock k = { .ino = ino, .space = LK_FCNTL,
				 .owner = fi->lock_owner,
				 .end = LOCKSET_END };
	struct lock_call *lc;
	struct held_state s;

	held_look(ops_of(req)->held, &k, &s);
	if (s.strongest == LK_NONE)
		return 0;
	lc = lock_new(req, &k, LK_TRY, serial_of(fi));
	if (lc)
		file_flush((struct file_handle *)(uintptr_t)fi->fh, 0,
			   lock_release_flushed, lc);
	return 1;
}

void ops_lock_release(fuse_req_t req, uint64_t ino,
		      const struct fuse_file_info *fi)
{
	struct ops *o = ops_of(req);
	struct m_byte_lock k = { .ino = ino };
	uint64_t handle = serial_of(fi);
	struct lock_call *lc;

	if (!held_by_handle(o->held, ino, handle))
		return;
	lc = lock_new(req, &k, LK_TRY, handle);
	if (!lc)
		return;
	/* the kernel waits for no answer to a release */
	lc->replied = 1;
	lc->closed = 1;
	release(lc);
}

/* ------------------------------------------------------- the link's part */

void ops_locks(void *arg, struct m_byte_lock **v, uint32_t *n)
{
	struct ops *o = arg;

	*v = NULL;
	*n = 0;
	if (held_list(o->held, v, n))
		log_error("no memory to list the locks that are held: they "
			  "are lost");
}

/* The tracker may have kept some of them: not for us. */
static void give_up_lost(struct ops *o, uint64_t ino)
{
	struct m_byte_lock *v;
	uint32_t n;

	held_list(o->held, &v, &n);
	held_lose(o->held, ino);
	for (uint32_t i = 0; i < n; i++)
		if (v[i].ino == ino)
			lock_give_back(o, &v[i]);
	free(v);
}

void ops_locks_back(void *arg, const uint64_t *lost, uint32_t n)
{
	struct ops *o = arg;
	struct files *files = ops_files_use(o);

	if (!files)
		return;
	for (uint32_t i = 0; i < n; i++) {
		give_up_lost(o, lost[i]);
		files_fence(files, lost[i], 1);
		log_error("inode %llu: its locks are lost, the tracker did "
			  "not hear from here for a lease's time: writing to "
			  "it fails until they are released or it is closed",
			  (unsigned long long)lost[i]);
	}
	lock_ask_again(o);
	ops_files_done(o);
}

void ops_locked(void *arg, const struct m_locked *m)
{
	struct ops *o = arg;
	struct files *files = ops_files_use(o);
	struct lock_call *lc;

	if (!files)
		return;
	lc = lock_take(o, m->ticket);
	if (lc)
		lock_decided(lc, m->state);
	else if (m->state == LK_GRANTED)
		lock_give_back(o, &m->lock);
	ops_files_done(o);
}
