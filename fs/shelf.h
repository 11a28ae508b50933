/*
 * shelf -- verified bytes of a chunk that is here.
 *
 * From the memory cache, else from the store: read, then hashed.  A copy that
 * fails its check is quarantined, reported to the tracker, and -EBADMSG.
 * Nothing is fetched from anywhere (that is fetch).
 *
 * Threads: any; done runs on any thread, also before shelf_read() returns.
 *          What is under way counts on @p: whoever asks waits for it before
 *          the parts go.
 * Errors:  0; -ENOENT not here; -EBADMSG it was corrupt; -ENOMEM; -errno of
 *          the disk.
 */
#ifndef PSPFS_SHELF_H
#define PSPFS_SHELF_H

#include "parts.h"

/* From the disk even if it is in memory, and not into memory; hashed together
 * with others, when the hasher sees fit. */
#define SHELF_DISK 1
/* ... and not from the kernel's memory either. */
#define SHELF_COLD 2
/* For somebody who checks the MD5 himself: that the blocks are as they were
 * when it was checked last is enough (sums.h). */
#define SHELF_SERVE 4

/* @m: chunk, len and md5; ino, slot and pos if it came from the disk, else 0.
 * @b: m->len bytes with their MD5 behind them, inside cap; never written
 * again; buf_ref to keep it.  NULL on error. */
typedef void (*shelf_done)(void *arg, int err, const struct chunk_meta *m,
			   struct buf *b);

void shelf_read(const struct parts *p, uint64_t chunk, unsigned flags,
		shelf_done done, void *arg);

#endif
