/*
 * peer -- everything a member of the swarm does, without FUSE.
 *
 * Opens the store, starts the loops, the hasher and the disk pool, listens
 * for other peers (chunkd), joins the tracker (link), and offers reading
 * (fetch) and writing (upload) of chunks.  mount.pspfs adds the folder;
 * psppeerd is this alone.
 *
 * Threads: "control" loop (the tracker), "bulk-N" loops (peers), hasher,
 *          disk pool, "complete" (a file that is to be here whole).
 */
#ifndef PSPFS_PEER_H
#define PSPFS_PEER_H

#include "cache.h"
#include "fetch.h"
#include "link.h"
#include "store.h"
#include "upload.h"

struct peer;

struct peer_config {
	struct addr trackers[LINK_TRACKERS_MAX];
	int n_trackers;
	struct addr addr;	/* listen here; as others reach it */
	const char *store_dir;
	const char *key_file;
	uint64_t capacity;	/* bytes lent; 0: as store_open says */
	uint64_t memory;	/* bytes for the chunk cache */
	uint32_t timeout_ms;
	int mounted;
};

/* What the folder wants to hear (NULL for psppeerd). */
struct peer_folder {
	void (*lost)(void *arg, uint64_t **open, uint32_t *n_open);
	uint32_t (*revoked)(void *arg, uint64_t *inos, uint32_t n);
	int (*still_open)(void *arg, uint64_t ino);
	void *arg;
};

/* Blocks until registered at the tracker.  0 or -errno, with a sentence of
 * cause and mend in @why. */
int peer_start(struct peer **out, const struct peer_config *cfg,
	       const struct peer_folder *folder, char *why, size_t why_len);
void peer_stop(struct peer *p);

struct link *peer_link(struct peer *p);
struct fetch *peer_fetch(struct peer *p);
struct upload *peer_upload(struct peer *p);
struct cache *peer_cache(struct peer *p);

#endif
