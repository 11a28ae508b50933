/*
 * opts -- the options that psppeerd and mount.pspfs share.
 *
 * Items are "key=value": tracker=HOST[:PORT][,HOST[:PORT]...] (may repeat),
 * addr=IP, port=N, store=DIR, key=FILE, capacity=SIZE, memory=SIZE,
 * timeout=SECONDS, via=auto|peers|tracker.  Parsing is pure; only opts_finish() looks up names and
 * asks the system for our address.
 *
 * Errors: -EINVAL, or -ENOENT for a key that is none of these; @why gets a
 *         sentence with cause and mend.
 */
#ifndef PSPFS_OPTS_H
#define PSPFS_OPTS_H

#include <limits.h>

#include "peer.h"

#define OPTS_HOST_MAX 280	/* a host's name, a port, brackets, NUL */
#define OPTS_MEMORY_DEFAULT (128ull << 20)
#define OPTS_MEMORY_MIN (4ull << 20)
#define OPTS_CAPACITY_MIN (1ull << 20)
#define OPTS_TIMEOUT_DEFAULT 30	/* seconds */
#define OPTS_TIMEOUT_MAX 3600
#define OPTS_STORE_DEFAULT "/var/lib/pspfs/peer"
#define OPTS_TRACKER_DEFAULT "127.0.0.1"

struct opts {
	char tracker[LINK_TRACKERS_MAX][OPTS_HOST_MAX];
	int n_trackers;
	char addr[ADDR_TEXT_MAX];	/* "": by the route to the tracker */
	uint16_t port;
	char store[PATH_MAX];		/* "": the default */
	char key[PATH_MAX];
	char subdir[PATH_MAX];		/* of opts_source(); "": the root */
	uint64_t capacity;		/* 0: as the store says */
	uint64_t memory;
	uint32_t timeout_s;
	uint8_t via;			/* enum way */
};

void opts_init(struct opts *o);
/* One "key=value". */
int opts_set(struct opts *o, const char *item, char *why, size_t why_len);
/* mount's SOURCE: HOST[:PORT][,HOST[:PORT]...][:/SUBDIR]. */
int opts_source(struct opts *o, const char *source, char *why,
		size_t why_len);
/* Fill in what was not given, and the fields of @cfg, which points into @o. */
int opts_finish(struct opts *o, struct peer_config *cfg, char *why,
		size_t why_len);

#endif
