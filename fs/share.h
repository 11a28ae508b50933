/*
 * share -- a file of this machine becomes one of the swarm's, without a byte
 * over the network.
 *
 * A new NAME: the whole file is read once, cut into chunks, hashed in
 * batches, put into the local store and committed with this peer as the only
 * holder (and as many copies wanted as m_share.copies says); made under a
 * hidden name, and given NAME when it is all there.  Its MD5 is told, too.
 * A NAME that exists: the chunks that lie wholly in the range are read from
 * the descriptor, hashed and compared with the map; if all agree they are
 * stored as replicas and announced.
 *
 * All or nothing: of a call that fails nothing stays, neither in the
 * namespace nor in the store.
 * Threads: any but the control loop; blocks.
 * Memory:  SHARE_BATCH chunks and SHARE_BATCH_BYTES (or one chunk).
 * Errors:  0 or -errno, with a sentence of cause and mend: -EPERM a new name
 *          by who has only a part; -EBADMSG it differs from what is there;
 *          -EINVAL sizes and ranges that make no sense; -ESTALE a file changed
 *          meanwhile; -ENOSPC; -ECANCELED the peer ends, or who asked is
 *          gone.
 */
#ifndef PSPFS_SHARE_H
#define PSPFS_SHARE_H

#include "gate.h"
#include "parts.h"

#define SHARE_BATCH MD5_BATCH
#define SHARE_BATCH_BYTES (8u << 20)
#define SHARE_WHY_MAX 640

struct share_env {
	const struct parts *parts;
	struct gate *gate;	/* shut: the peer ends */
	/* This mount's own view of these inodes is out of date. */
	void (*changed)(void *arg, uint64_t *inos, uint32_t n);
	/* Bytes so far; not 0: give up. */
	int (*progress)(void *arg, uint64_t done, uint64_t total);
	void *arg;
};

/* Share what @fd holds.  @m's name need not end with NUL. */
int share_file(const struct share_env *env, const struct m_share *m, int fd,
	       struct m_share_r *out, char why[SHARE_WHY_MAX]);

#endif
