/*
 * server -- the tracker's sockets: carries frames between them and the core.
 * Control connections are on the metadata thread's own loop; relay connections
 * and datagrams on the relay's (relayd.h).
 *
 * Happy path: server_new() -> core_new() with server_io() -> meta_start() ->
 * server_open(); at the end server_close() -> meta_stop() -> server_free().
 * A connection that passed its handshake is a link.  Everything about it
 * becomes a job for the metadata thread, which owns links and requests.
 *
 * Threads: one calls these; inside, the metadata thread.
 */
#ifndef PSPFS_SERVER_H
#define PSPFS_SERVER_H

#include "core.h"
#include "key.h"
#include "meta.h"
#include "relay.h"
#include "text.h"

#define SERVER_COPY_MS 120000	/* for a peer to fetch a chunk */
#define SERVER_SUM_MS 600000	/* to read a whole file and hash it */
#define SERVER_ASK_MS 30000	/* for it to do what else it is told */

struct server;

int server_new(struct server **out, const struct relay_config *relay);
struct core_io server_io(struct server *s);
/* Listen at @at with TCP and UDP.  -EADDRINUSE, ... */
int server_open(struct server *s, struct meta *m, const struct key *key,
		uint64_t id, const struct addr *at, uint32_t lease_ms);
/* Nobody is let in any more; all connections are closed. */
void server_close(struct server *s);
void server_free(struct server *s);

#endif
