/*
 * chunkd -- the chunk server: what other peers put here, get, sync and have
 * verified.
 *
 * A put is stored only when the MD5 of the header, the one behind the payload
 * and our own sum agree; else it is answered -EBADMSG.  A get is answered
 * from the memory cache, or from the store after its MD5 was checked; a copy
 * that fails is quarantined, reported, and answered -EBADMSG.
 * A verify reads from the disk, whatever is in memory; it may ask for chunks
 * that are not here.  Verifies are done one after the other.
 * A get for what is not here but on its way here waits for it, for
 * CHUNKD_COMING_MS at most.
 * Limits: CHUNKD_GETS_MAX gets in work for one connection, and CHUNKD_OUT_EACH
 * bytes that TCP has not taken; of all together CHUNKD_WORK_MAX bytes, and
 * CHUNKD_OUT_MAX that TCP has not taken.  Beyond, one whose chunk was just
 * served to others is answered with their numbers ("ask these"), the rest
 * wait their turn.
 * What comes in and what goes out takes CHUNKD_BYTES_MAX of memory, of all
 * connections together (but for one request of each): beyond it they are not
 * read, however slow this disk is, or who asks.
 *
 * Threads: the connections live on the bulk loops; disk I/O on the pool.
 */
#ifndef PSPFS_CHUNKD_H
#define PSPFS_CHUNKD_H

#include "parts.h"

#define CHUNKD_GETS_MAX 64
#define CHUNKD_WORK_MAX (8u << 20)
#define CHUNKD_OUT_MAX (4u << 20)
#define CHUNKD_OUT_EACH (1u << 20)
#define CHUNKD_STALL_MS 300	/* TCP takes nothing for so long */
#define CHUNKD_WAIT_MS 200	/* who waits is told so that often */
#define CHUNKD_COMING_MS 3000
#define CHUNKD_BYTES_MAX (48u << 20)

struct chunkd;

/* Listen on @at.  -EADDRINUSE, -EADDRNOTAVAIL, ... */
int chunkd_open(struct chunkd **out, const struct parts *p,
		const struct rpc_self *self, const struct addr *at);
/* The port that it listens on. */
uint16_t chunkd_port(const struct chunkd *cd);
/* Answer requests from now on: all of @p is there.  Before, connections are
 * accepted and their requests answered -EAGAIN. */
void chunkd_start(struct chunkd *cd);
/* Closes the listener and every connection, waits until nothing is in work. */
void chunkd_close(struct chunkd *cd);

#endif
