/*
 * file -- the content of files: map, dirty data, reading, writing.
 *
 * One struct file for each inode that is open or has data under way (a
 * directory that is open, too: it has no content, but lives as long).  It
 * holds the slots' map (valid under the inode's lease), the dirty ranges not
 * yet sent (a buffer a slot), and the sealed extents (being uploaded or
 * waiting for their commit), oldest first.  A read merges all three, newest
 * on top.  Commits of one file go one at a time, in the order of sealing.
 *
 * Happy path of writing: file_write() copies into a dirty slot; a full slot
 * is sealed and uploaded at once (with others, in batches); file_flush()
 * seals the rest, waits for the uploads, commits, and answers.  An error of
 * an upload or commit is kept and answered by the next flush or fsync,
 * never swallowed; the bytes concerned are dropped then.
 *
 * Threads: any; callbacks may run on any thread, also before the call
 *          returns.  No lock is held across I/O or a callback.
 * Memory:  dirty and sealed bytes are bounded (files_config.dirty_max): a
 *          write over the bound is taken but its answer waits.
 */
#ifndef PSPFS_FILE_H
#define PSPFS_FILE_H

#include <sys/uio.h>

#include "cache.h"
#include "fetch.h"
#include "link.h"
#include "upload.h"

struct files;
struct file;
struct file_handle;		/* an open(2): read-ahead state, flags */

struct files_config {
	struct link *link;
	struct fetch *fetch;
	struct upload *upload;
	struct cache *cache;
	uint64_t dirty_max;	/* bytes */
	uint32_t readahead;	/* chunks */
	uint32_t flush_ms;	/* dirty data leaves after so long: 3000 */
	struct loop *loop;	/* for timers */
	/* New attributes that the tracker answered (after a commit). */
	void (*attr)(void *arg, const struct m_attr *a);
	/* Nobody said whether a commit was made.  NULL is fine. */
	void (*unsure)(void *arg, uint64_t ino);
	void *arg;
};

int files_new(struct files **out, const struct files_config *cfg);
/* Flush everything, waiting at most @ms; returns the first error. */
int files_drain(struct files *fs, uint32_t ms);
void files_free(struct files *fs);

/* @attr: as the tracker last said (under a lease). @append: O_APPEND. */
int file_open(struct files *fs, const struct m_attr *attr, int append,
	      struct file_handle **out);
/* The inode was released to the tracker when its last handle is gone and
 * all is committed. */
void file_close(struct file_handle *h);
/* One more file_close() until it is closed: for who outlives its handler,
 * since who was interrupted may close before the answer comes. */
void file_hold(struct file_handle *h);
/* A number that no other handle of this mount ever has; not 0. */
uint64_t file_serial(const struct file_handle *h);

/* Pieces of memory that stay valid until the callback returns. */
typedef void (*file_read_done)(void *arg, int err, const struct iovec *iov,
			       int n_iov);
void file_read(struct file_handle *h, uint64_t off, size_t size,
	       file_read_done done, void *arg);
enum {
	FILE_KILL_SUID = CLEAR_SUID,	/* as commit.clear_suid */
	FILE_KILL_SGID = CLEAR_SGID,
	/* fcntl(F_SETFL) changes O_APPEND after the opening, and pages that
	 * were mapped are written through any handle: */
	FILE_APPEND = 4,
	FILE_IN_PLACE = 8,	/* neither: as it was opened */
};
/* @data is copied before it returns.  @flags: FILE_... */
typedef void (*file_done)(void *arg, int err);
void file_write(struct file_handle *h, uint64_t off, const void *data,
		size_t size, int flags, file_done done, void *arg);
/* close(2)'s and fsync(2)'s promise.  @sync: on the disks.  The handle may be
 * closed meanwhile (by who was interrupted). */
void file_flush(struct file_handle *h, int sync, file_done done, void *arg);
/* From @done of such a flush: nobody heard its error @err.  The next flush or
 * fsync of the file tells it, also of an open to come. */
void files_unheard(struct files *fs, uint64_t ino, int err);
/* Flush what is dirty of @ino, whoever wrote it (before truncate, chmod,
 * utimens...).  0 bytes dirty: done at once. */
void files_flush_ino(struct files *fs, uint64_t ino, file_done done,
		     void *arg);

/* The locks that protected it are lost: until @on is 0 every write, flush and
 * commit of it fails with -EIO. */
void files_fence(struct files *fs, uint64_t ino, int on);
/* Compact these slots, if the file is known here (nobody waits for it). */
void files_compact(struct files *fs, uint64_t ino, const uint64_t *slots,
		   uint32_t n);

/* The local view: size and mtime with what is not yet committed. */
void files_overlay(struct files *fs, struct m_attr *a);
/* The tracker answered newer attributes (lookup, getattr, setattr): a map of
 * another version is dropped. */
void files_attr(struct files *fs, const struct m_attr *a);
/* The lease is gone: drop the maps; how many are open, and first in @inos
 * then (link_ops.revoked). */
uint32_t files_revoked(struct files *fs, uint64_t *inos, uint32_t n);
/* All leases are void; list what is open (link_ops.lost). */
void files_lost(struct files *fs, uint64_t **open, uint32_t *n_open);
/* Has the kernel a handle of it? */
int files_has_handles(struct files *fs, uint64_t ino);
/* Likewise, and pages of its content, perhaps? */
int files_has_pages(struct files *fs, uint64_t ino);
/* Is it open here?  If so the tracker is taken to know, and told when that
 * ends.  (after unlink: release it if not; link_ops.still_open) */
int files_is_open(struct files *fs, uint64_t ino);

#endif
