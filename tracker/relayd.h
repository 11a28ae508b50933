/*
 * relayd -- the relay's sockets: carries chunks between peers and relay.h.
 *
 * A loop of its own ("relay") owns the relay connections, which peers open to
 * the tracker's port (rpc_own_role() is ROLE_RELAY), the tracker's datagram
 * socket, and the relay.  What the map says of a chunk is asked of the core,
 * as a job for the metadata thread, many ids at a time.
 *
 * Threads: any, but relayd_take(): see there.  "relay", and a hasher.
 */
#ifndef PSPFS_RELAYD_H
#define PSPFS_RELAYD_H

#include "dgram.h"
#include "meta.h"
#include "probe.h"
#include "relay.h"
#include "rpc.h"

#define RELAYD_DELIVER_MS 20000	/* for a peer to take a chunk */

struct relayd;

int relayd_new(struct relayd **out, const struct relay_config *cfg);
/* Open the datagram socket at @at.  @other gets, on the relay's loop, the
 * datagrams that are not the relay's. */
int relayd_open(struct relayd *rd, struct meta *m, const struct rpc_self *self,
		const struct addr *at, dgram_fn other, void *arg);
/* NULL before relayd_open() and after relayd_close(). */
struct dgram_sock *relayd_dgram(struct relayd *rd);

/* A connection that came for ROLE_RELAY: from inside the listener's up(). */
void relayd_take(struct relayd *rd, struct rpc *c);
/* @peer's datagrams are those of @session; 0: of none any more. */
void relayd_session(struct relayd *rd, uint64_t peer, uint64_t session);
/* Can @peer be reached at @at?  @done runs on the relay's loop. */
void relayd_probe(struct relayd *rd, uint64_t peer, const struct addr *at,
		  probe_done done, void *arg);
void relayd_stat(const struct relayd *rd, uint64_t *cached, uint64_t *limit);

/* Closes sockets and connections and waits until nothing is under way; the
 * metadata thread has to be running. */
void relayd_close(struct relayd *rd);
void relayd_free(struct relayd *rd);

#endif
