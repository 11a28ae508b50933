/*
 * kernel -- the FUSE session: mounting, the INIT handshake, worker threads.
 *
 * Happy path: kernel_mount() -> kernel_run() returns when somebody unmounts
 * or after kernel_stop() -> kernel_unmount() -> kernel_let_go() -> ... ->
 * kernel_free().
 * One session a process (libfuse's custom I/O callbacks have no argument of
 * ours).
 *
 * Session flags that libfuse 3.14 does not know (HANDLE_KILLPRIV_V2) or does
 * not ask for (PARALLEL_DIROPS) are put into the INIT reply as it is written,
 * and what the kernel then says in its requests is read off them as they come
 * in.  So is a request that it does not know, TMPFILE: it becomes a CREATE,
 * which it is but for the name.  There, too, interruptions are seen to
 * (pending.h), so that no handler has to.
 *
 * Threads: kernel_mount() and kernel_run() on the main thread, which makes
 *          up to KERNEL_THREADS workers; kernel_stop() from any other.
 */
#ifndef PSPFS_KERNEL_H
#define PSPFS_KERNEL_H

#include <fuse3/fuse_lowlevel.h>

#define KERNEL_THREADS 8
#define KERNEL_WRITE_MAX (1u << 20)	/* bytes of one WRITE or READ */
#define KERNEL_READAHEAD_KB 1024

struct kernel_config {
	const char *mountpoint;	/* absolute */
	const char *source;	/* as findmnt(8) shows it */
	const char *options;	/* more mount options, or "" */
	const struct fuse_lowlevel_ops *ops;
	void *userdata;
};

struct kernel;

/* 0 or -errno, with a sentence of cause and mend in @why. */
int kernel_mount(struct kernel **out, const struct kernel_config *cfg,
		 char *why, size_t why_len);
/* 0 when unmounted or stopped, or -errno. */
int kernel_run(struct kernel *k);
/* Unmounts if nobody uses the mount, else ends the session all the same;
 * waits until kernel_run() is about to return. */
void kernel_stop(struct kernel *k);
/* After kernel_run(): take the mount away if it is still there.  Requests
 * under way can still be answered. */
void kernel_unmount(struct kernel *k);
/* Then: who still waits in a call, or makes one (it used the mount as it was
 * taken away), is told within about half a second that there is nobody any
 * more.  Answers go nowhere from now on. */
void kernel_let_go(struct kernel *k);
/* When no request can be answered any more. */
void kernel_free(struct kernel *k);

/* What the kernel remembers of @ino's attributes is no longer true.  Waits
 * while the kernel drops that inode, hence for reads of it under way: not on
 * a thread that answers reads, unless the inode is open.  -ENOENT: it does
 * not know the inode (or is about to, by an answer that it has not taken in
 * yet). */
int kernel_attr_gone(fuse_ino_t ino);
/* It is to ask again before it believes that @parent has @name.  Waits while
 * anything is looked up, made or removed in @parent: nobody may wait for
 * this thread without a limit. */
void kernel_entry_gone(fuse_ino_t parent, const char *name);
/* Nor does it believe any entry from now on.  Waits for nothing; but what is
 * mounted on one of them is unmounted when it is looked up again, so it is
 * the last resort. */
void kernel_entries_gone(void);
/* Can this kernel be told of entries (both of the above)?  After INIT. */
int kernel_takes_entries(void);

/* The same of all pages of @ino.  Waits for reads of them under way and for
 * dirty ones to be written: only on a thread that nobody waits for. */
void kernel_pages_gone(fuse_ino_t ino);

/* fuse_lowlevel_ops.init */
void kernel_init(void *userdata, struct fuse_conn_info *conn);
/* Is the request that this worker handles to clear suid and sgid bits? */
int kernel_kills_suid(void);
/* Which process wants the lock of the request that this worker handles; 0:
 * one that cannot be seen from here.  (libfuse keeps it back for flock.) */
uint32_t kernel_lock_pid(void);
/* Is the CREATE that it handles to make a file without a name? */
int kernel_is_tmpfile(void);

#endif
