/*
 * ops -- the FUSE operations: what the kernel asks, answered.
 *
 * Threads: FUSE workers run the handlers and never wait for the network: a
 *          handler answers from the tree and from files, or sends a request
 *          with a struct call and returns; the completion answers the kernel
 *          from the control loop (or whichever thread files completes on).
 *          Every request is answered exactly once; its deadline is link's.
 * Inodes:  FUSE's numbers are the tracker's, which are never reused, so that
 *          forgetting is nothing to do.  Only FUSE's root (1) may stand for
 *          another directory (SOURCE:/SUBDIR).  Those with the top bit are
 *          .pspfs's (virtual.h), which are counted and forgotten.
 * Caching: the kernel keeps names and attributes for no time at all; each
 *          look comes here and is answered from the tree under its leases.
 */
#ifndef PSPFS_OPS_H
#define PSPFS_OPS_H

#include <fuse3/fuse_lowlevel.h>

#include "file.h"
#include "link.h"
#include "refresher.h"

struct ops;

/* FUSE's table; the session's userdata is a struct ops. */
extern const struct fuse_lowlevel_ops ops_table;

int ops_new(struct ops **out);
/* Before the session starts, once the peer is registered. */
void ops_start(struct ops *o, struct link *link, struct files *files);
/* Before ops_start: who lets the kernel learn of sizes, owners and places;
 * without, nobody. */
void ops_use_refresher(struct ops *o, struct refresher *refresher);
/* After ops_start: note when inodes are read; @loop for timers. */
int ops_note_reads(struct ops *o, struct loop *loop);
/* After ops_start: let FUSE's root be the directory @path of the tracker's
 * tree ("/a/b").  Blocks.  -ENOENT, -ENOTDIR, -EIO. */
int ops_set_root(struct ops *o, const char *path);
/* When no handler runs any more: wait until every call is answered and let
 * go of the files.  -ETIMEDOUT: not so within @ms, they are still in use. */
int ops_stop(struct ops *o, uint32_t ms);
void ops_free(struct ops *o);

/* link_ops.revoked, .still_open and .lost; also before ops_start(). */
uint32_t ops_revoked(void *arg, uint64_t *inos, uint32_t n, uint8_t also);
int ops_still_open(void *arg, uint64_t ino);
void ops_lost(void *arg, uint64_t **open, uint32_t *n_open);
/* link_ops.locks, .locks_back and .locked; likewise. */
void ops_locks(void *arg, struct m_byte_lock **v, uint32_t *n);
void ops_locks_back(void *arg, const uint64_t *lost, uint32_t n);
void ops_locked(void *arg, const struct m_locked *m);
/* files_config.attr */
void ops_attr(void *arg, const struct m_attr *a);
void ops_unsure(void *arg, uint64_t ino);

#endif
