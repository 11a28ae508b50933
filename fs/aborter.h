/*
 * aborter -- whoever waits at the mount is let go when the daemon is killed.
 *
 * The kernel ends a session when the last descriptor of its device is closed.
 * A daemon that is killed may never get so far: a thread that tells the kernel
 * to forget a name or a page waits in there, and cannot be killed, for a lock
 * that is held by somebody who waits for this daemon's answer.  Both would
 * wait for ever, and so would all others at the mount.
 *
 * So there is a process that does nothing until the daemon's main thread has
 * ended, however that ended, and then has the kernel abort the connection.
 *
 * Failure: where the connection's files cannot be opened (neither root nor a
 *          fusectl in /sys/fs/fuse/connections) it is as it was: `umount -f`.
 * Threads: aborter_new() and aborter_free() on the main thread, which must be
 *          the one that lives as long as the daemon.
 */
#ifndef PSPFS_ABORTER_H
#define PSPFS_ABORTER_H

struct aborter;

/* For the mount of device 0:@minor, which is there. */
int aborter_new(struct aborter **out, unsigned minor);
/* The connection is left alone.  NULL is fine. */
void aborter_free(struct aborter *a);

#endif
