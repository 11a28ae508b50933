/*
 * via -- chunks through the tracker: this peer's end of the relay.
 *
 * Keeps a relay connection to the tracker (beside the link's), asks for
 * chunks (want), gives those that the tracker seeks (found).  See
 * net/PROTOCOL.md, "Through the tracker".
 *
 * Happy path: via_get() -> want by datagram, with others of this turn ->
 * want_r -> deliver on the relay connection -> done.
 * Failures: no want_r: sent again VIA_TRIES times with growing pauses, then
 * on the connection.  No chunk: asked again after VIA_AGAIN_MS.  nowhere:
 * -ENOENT.  The connection breaks: all is asked again over the next one.
 *
 * Threads: any; inside, one of the bulk loops, on which done runs.
 * Limits:  VIA_FLYING_MAX chunks and VIA_FLYING_BYTES asked for at once; the
 *          rest waits.  VIA_GIVING_MAX chunks being given at once.
 */
#ifndef PSPFS_VIA_H
#define PSPFS_VIA_H

#include "parts.h"
#include "rpc.h"

#define VIA_TRIES 5
#define VIA_TRY_MS 25		/* pause after the first; then doubled */
#define VIA_AGAIN_MS 3000
#define VIA_FLYING_MAX 256
#define VIA_FLYING_BYTES (32u << 20)
#define VIA_GIVING_MAX 16
#define VIA_SOUGHT_MAX 4096	/* seeks that wait to be answered */

struct via;

int via_new(struct via **out, const struct parts *p,
	    const struct rpc_self *self, const struct addr *our_addr);
/* The link is registered at @tracker: connect there, if not yet done. */
void via_tracker(struct via *v, const struct addr *tracker);
/* A datagram from the tracker (want_r, seek). */
void via_dgram(struct via *v, uint16_t type, const void *body, size_t len);
int via_is_up(struct via *v);

/* @err 0: @m and @bulk (payload and MD5, not checked) are the callback's until
 * it returns.  -ENOENT nobody gave it; -ETIMEDOUT; -ECANCELED.  @m->chunk is
 * the chunk that was asked for also on an error. */
typedef void (*via_done)(void *arg, int err, const struct m_deliver *m,
			 struct buf *bulk);
void via_get(struct via *v, uint64_t chunk, uint32_t len, uint32_t timeout_ms,
	     via_done done, void *arg);

/* Ends all (-ECANCELED), closes the connection, waits until nothing is under
 * way. */
void via_close(struct via *v);
void via_free(struct via *v);

#endif
