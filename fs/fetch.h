/*
 * fetch -- one chunk's verified bytes, from wherever they are nearest.
 *
 * Memory cache, local store, then the peers that hold it (the least busy
 * first, this peer's earlier failures last), then the relay (via.h), each path
 * MD5-checked before a byte is handed on.  enum way says which of the last two
 * may be used.  However many ask for a chunk, it is fetched once
 * (single-flight).  A copy that fails its check is quarantined or reported
 * and another is asked; when all known holders fail, the tracker is asked
 * again (locate).  A source that is slow is hedged.  What came from a peer
 * goes into the memory cache and, when there is room, as a cached copy into
 * the local store, which is announced.
 *
 * Of a chunk that has been checked and is here parts may be read alone
 * (sums.h); of any other all of it comes first.
 *
 * Threads: any; done may run on any thread, also before fetch_chunk returns.
 * Errors:  -EIO no good copy could be had (logged with what was tried),
 *          -ETIMEDOUT, -ENOMEM.
 */
#ifndef PSPFS_FETCH_H
#define PSPFS_FETCH_H

#include "buf.h"
#include "msg.h"

struct fetch;
struct parts;

int fetch_new(struct fetch **out, const struct parts *p);
/* What is under way ends soon with -ECANCELED, what comes likewise. */
void fetch_shut(struct fetch *f);
/* Waits until nothing is under way: shut it, close peers and link before. */
void fetch_free(struct fetch *f);

struct fetch_want {
	struct m_chunk chunk;	/* holders are copied */
	uint64_t ino, slot;	/* for the trailer of a cached copy */
	uint32_t pos;
	uint8_t via;		/* enum way; VIA_AUTO: as the peer is set */
	uint8_t no_keep;	/* 1: the caller stores it, if anybody */
	uint8_t patient;	/* 1: in the background: its MD5 may be
				   computed together with others' */
	uint8_t prove;		/* 1: note its sums, for fetch_part() */
	uint32_t timeout_ms;	/* 0: as the peer is set */
	/* Called before done (may be NULL): the bytes came from peer @num, 0
	 * from here.  Of several who wait for a chunk only the first's. */
	void (*from)(void *from_arg, uint32_t num);
	void *from_arg;
};

/* @b: chunk.len bytes, never written again; buf_ref to keep it. */
typedef void (*fetch_done)(void *arg, int err, struct buf *b);

/* @done may be NULL (read-ahead into the cache). */
void fetch_chunk(struct fetch *f, const struct fetch_want *w, fetch_done done,
		 void *arg);

/* To be told of a fetch that is under way; -ENOENT: none is. */
int fetch_join(struct fetch *f, uint64_t chunk, fetch_done done, void *arg);

/* At least bytes [@at, @at + @len) of the chunk: @done's buf has just these, or
 * all (its length tells).  For who reads here and there: a chunk that was
 * checked once is then read by blocks from the local store. */
void fetch_part(struct fetch *f, const struct fetch_want *w, uint32_t at,
		uint32_t len, fetch_done done, void *arg);

#endif
