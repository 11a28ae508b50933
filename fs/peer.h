/*
 * peer -- everything a member of the swarm does, without FUSE.
 *
 * Opens the store, starts the loops, the hasher and the disk pool, listens
 * for other peers (chunkd), joins the tracker (link), and offers reading
 * (fetch) and writing (upload) of chunks.  mount.pspfs adds the folder;
 * psppeerd is this alone.
 *
 * Threads: "control" loop (the tracker), "bulk-N" loops (peers, the relay),
 *          hasher, disk pool, "sum" and "complete" (a file that is to be hashed,
 *          or to be here whole).
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
	struct addr addr;	/* listen here; as others reach it.  Port 0:
				   any that is free */
	const char *store_dir;
	const char *key_file;
	uint64_t capacity;	/* bytes lent; 0: as store_open says */
	uint64_t memory;	/* bytes for the chunk cache, */
	uint64_t memory_all;	/* and for it with what is under way */
	uint32_t timeout_ms;
	uint8_t via;		/* enum way */
	int mounted;
	int guest;		/* here for one download or upload: keeps no
				   replicas, is forgotten when it goes */
	uint64_t apart;		/* not 0: also start when no tracker answers, as
				   a member of this swarm; see peer_know() */
};

/* What the folder wants to hear (NULL for psppeerd). */
struct peer_folder {
	void (*lost)(void *arg, uint64_t **open, uint32_t *n_open);
	uint32_t (*revoked)(void *arg, uint64_t *inos, uint32_t n,
			    uint8_t also);
	int (*still_open)(void *arg, uint64_t ino);
	void (*locks)(void *arg, struct m_byte_lock **v, uint32_t *n);
	void (*locks_back)(void *arg, const uint64_t *lost, uint32_t n);
	void (*locked)(void *arg, const struct m_locked *m);
	void *arg;
};

/* Blocks until registered at the tracker.  0 or -errno, with a sentence of
 * cause and mend in @why. */
int peer_start(struct peer **out, const struct peer_config *cfg,
	       const struct peer_folder *folder, char *why, size_t why_len);
/* Leaves the swarm; what is under way ends with -ECANCELED.  Then only
 * peer_stop() is left to be called. */
void peer_halt(struct peer *p);
void peer_stop(struct peer *p);		/* NULL is fine */

/* With a tracker, which will tell, or without one. */
int peer_is_apart(const struct peer *p);
/* Who else there is, until a tracker says otherwise. */
void peer_know(struct peer *p, const struct m_peer *list, uint32_t n);
/* "127.0.0.12:3457" of peer @num; returns @out. */
char *peer_name(struct peer *p, uint32_t num, char out[ADDR_TEXT_MAX]);

struct link *peer_link(struct peer *p);
struct fetch *peer_fetch(struct peer *p);
struct upload *peer_upload(struct peer *p);
struct cache *peer_cache(struct peer *p);

#endif
