/*
 * refresher -- the kernel learns of a file's size, or owner, or of a
 * directory's place, now, whoever else is asking.
 *
 * The kernel throws an answer for attributes away when the inode is
 * invalidated while it is under way; lseek(SEEK_END) and read(2) then go by
 * the size that it had before, be that ever so old.  Nothing that can be sent
 * to it sets a size, but a stat(2) does.  So before an open file is
 * invalidated somebody opens it, which makes the kernel forget its pages, and
 * stats it.  Likewise it refuses a chmod(2) by the owner that it saw last.
 * And a directory that it has in one place it cannot find in another while it
 * renames (ESTALE): so somebody looks where it believes that it is.
 *
 * That is a process of its own: a thread that waits for an answer of its own
 * process cannot be killed, nor could the process then.  It goes by file
 * handle, which takes no lock and looks up no name; it has no descriptor of
 * the kernel's session, which would keep that alive, and on the mount itself
 * it stands only while it asks.
 *
 * Failure: without the right to open by handle (CAP_DAC_READ_SEARCH), or when
 *          the stat takes too long, things are as they were before.
 * Threads: refresher_attrs() on one at a time; the process makes system calls
 *          only, so it may be made when there are threads.
 * Source:  fs/fuse/inode.c and file.c of Linux 6.18 for what is thrown away
 *          when; fuse_encode_fh() there for the handle.
 */
#ifndef PSPFS_REFRESHER_H
#define PSPFS_REFRESHER_H

#include <stdint.h>
#include <sys/types.h>

struct refresher;

/* For the mount that will be at @dir, absolute, which must outlive it. */
int refresher_new(struct refresher **out, const char *dir);
void refresher_free(struct refresher *r);
/* The process, as it is seen in what it asks. */
pid_t refresher_pid(const struct refresher *r);

/*
 * What the kernel goes by is from now on at least what a stat that starts now
 * is told; with @pages, which a file that is open here may have, these are
 * forgotten too.  Until @until_ms (now_ms()).  -ETIMEDOUT: not by then;
 * -EBUSY: the one before did not come back yet; -EPERM: never; -ESTALE: the
 * kernel does not know the inode.
 */
int refresher_attrs(struct refresher *r, uint64_t fuse_ino, int pages,
		uint64_t until_ms);

/* If @fuse_ino is a directory the kernel no longer believes it to be where it
 * was, unless it is there.  Waits and fails as refresher_attrs(). */
int refresher_place(struct refresher *r, uint64_t fuse_ino, uint64_t until_ms);

#endif
