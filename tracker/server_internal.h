/*
 * server_internal -- what the files of server share.
 *
 *   server.c      links: coming, going, their requests and datagrams
 *   server_ask.c  what the core asks of peers, and of the relay
 */
#ifndef PSPFS_SERVER_INTERNAL_H
#define PSPFS_SERVER_INTERNAL_H

#include <pthread.h>

#include "relayd.h"
#include "rpc.h"
#include "server.h"
#include "table.h"

struct server {
	/* fixed after open */
	struct meta *meta;
	struct relayd *relayd;
	struct rpc_listener *listener;
	uint32_t lease_ms;
	uint64_t last;			/* link's number; atomic */

	/* metadata thread only */
	int closing;
	struct link *links;
	struct core *core;

	pthread_mutex_t lock;
	pthread_cond_t quiet;
	int n_links;			/* guarded by lock */
};

struct pending;

struct link {
	struct meta_job up, down;
	struct server *server;
	uint64_t no;			/* fixed */
	struct rpc *rpc;
	uint8_t secret[64];		/* of its datagrams */

	/* metadata thread only */
	uint64_t joined;		/* the session of its datagrams */
	struct pending *pending;
	UT_hash_handle hh;
};

/* server.c; NULL: it is down.  Metadata thread. */
struct link *server_link(const struct server *s, uint64_t no);

/* server_ask.c: core_io's; @arg is the server. */
void server_send(void *arg, uint64_t conn, uint32_t number, uint16_t type,
		 struct wr *body);
void server_close_link(void *arg, uint64_t conn, const char *why);
void server_cache(void *arg, uint64_t *bytes, uint64_t *limit);
void server_probe(void *arg, uint64_t peer, const char *ip, uint16_t port);

#endif
