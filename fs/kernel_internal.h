/*
 * kernel_internal -- what kernel.c tells kernel_notify.c: see kernel.h.
 *
 * Threads: the main thread; kernel_notify_init() on the worker that has INIT.  The
 *          kernel_*_gone() that it is about run on any other meanwhile.
 */
#ifndef PSPFS_KERNEL_INTERNAL_H
#define PSPFS_KERNEL_INTERNAL_H

#include "kernel.h"

/* What the kernel can be told, by its INIT. */
void kernel_notify_init(const struct fuse_conn_info *conn);
/* From now on it can be told things, until kernel_notify_end(): after that, and
 * before, kernel_*_gone() do nothing. */
void kernel_notify_begin(struct fuse_session *se);
void kernel_notify_end(void);

#endif
