/*
 * store -- chunks on the local disk, one file each, trailer last.
 *
 * DIR/swarm                 text: the swarm's id and this store's peer id
 * DIR/lock                  held (flock) while a process has the store open
 * DIR/chunks/ab/ID.chunk    payload, then a trailer of STORE_TRAILER bytes
 * DIR/chunks/ab/ID.cached   the same, a cached copy
 * DIR/quarantine/           chunks that failed a check or that nobody knows
 * DIR/tmp/                  being written; emptied by store_open()
 * DIR/sums                 sums.h's, not the store's
 * DIR/journal.0, journal.1  small chunks that were synced, once more
 *                           (store_journal.c), at most 8 MiB each; not counted
 *                           as used
 *
 * A chunk's file name is made from its id alone, in 16 hex digits; its
 * directory is the lowest byte but one, …ab.. (ids count up: neighbours share
 * a directory and its sync).  The name says the kind, which may change; the
 * trailer has the first.  Trailer (big-endian): magic "pspfsCHK", version
 * u32, kind u32, swarm u64, chunk u64, ino u64, slot u64, pos u32, len u32,
 * MD5 16 bytes of the payload, crc32 of the trailer so far u32; padded with
 * zeros to STORE_TRAILER.  A copy of the layout is in net/PROTOCOL.md.
 *
 * Invariant: a chunk is visible only once complete (written to tmp/, fsynced
 *            when asked, renamed).  After store_put(sync=1) returned, it
 *            survives power loss (file and directories synced, or journal).
 * Index:     store_open() scans names and sizes (not the contents) into a
 *            hash table in memory: id -> length, kind, last use.  What cannot
 *            be a chunk goes to quarantine, with a line in the log.
 * Capacity:  used bytes are payload + trailer; cached copies are evicted least
 *            recently used to make room for anything; replicas never are.
 *            A put that does not fit gives -ENOSPC.  Quarantine counts as
 *            used.
 * Disk:      while it takes nothing (full, read-only) no room is told; while
 *            it cannot even be looked at, or its directory was removed, the
 *            store counts as empty.  Said once each, and when it is over.
 * Threads:   any; store.lock is never held across I/O.
 * Errors:    0 or -errno; -ENOENT absent, -EBADMSG corrupt (wrong trailer,
 *            length or MD5), -EEXIST never (a put of a chunk that is there
 *            with the same MD5 is 0; with another: -EBADMSG), -ENOSPC,
 *            -EROFS.
 */
#ifndef PSPFS_STORE_H
#define PSPFS_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "msg.h"

#define STORE_TRAILER 128	/* bytes */
#define STORE_CHUNK_MAX (16u << 20)
#define STORE_SMALL (128u << 10)	/* up to this the journal makes it durable */

struct chunk_meta {		/* what the trailer says */
	uint64_t chunk, ino, slot;
	uint32_t pos, len;
	uint8_t md5[MD5_LEN];
};

struct store;

struct store_events {		/* called without any lock held, any thread */
	/* a copy is gone other than by store_delete(): evicted, put in
	 * quarantine, lost (a failed sync, removed by hand) */
	void (*gone)(void *arg, uint64_t chunk);
	void *arg;
};

/* Create DIR if need be, take its lock, scan it.  @capacity 0: what it uses
 * and the free space of its disk, less a tenth.  Errors: -EBUSY another
 * process has it open; -EINVAL it is not a store; -errno.
 * @why (of @why_len bytes) gets a sentence with cause and mend. */
int store_open(struct store **out, const char *dir, uint64_t capacity,
	       const struct store_events *ev, char *why, size_t why_len);
void store_close(struct store *s);

int store_dir(const struct store *s);	/* a descriptor, the store's own */
uint64_t store_peer_id(const struct store *s);	/* random, made once */
uint64_t store_swarm(const struct store *s);	/* 0: of no swarm yet */
/* Bind a new store to @swarm (durably); -EXDEV if it is of another.  One
 * caller at a time. */
int store_bind(struct store *s, uint64_t swarm);

/* (A cached copy that the disk does not take is simply one without room:
 * -ENOSPC.)  Store @len bytes as @m says; the caller vouches for m->md5 (it has just
 * computed it over these bytes).  Blocking I/O.  Keeps no reference. */
int store_put(struct store *s, const struct chunk_meta *m, const void *data,
	      enum copy_kind kind, int sync);
/* Read a chunk into a new buf and check the trailer's magic, ids, length.
 * The MD5 is NOT computed: the caller hashes and compares with m->md5.
 * Refreshes its last use.  The buf has room for the MD5 behind the payload.
 * The first time it comes past the kernel's memory, unless it is there: that
 * costs a fraction, and most are read once.  Blocking I/O. */
int store_get(struct store *s, uint64_t chunk, struct chunk_meta *m,
	      struct buf **out);
/* @len bytes of a chunk's payload from @at on, unchecked.  @now: -EAGAIN rather
 * than wait for the disk.  Refreshes its last use. */
int store_read(struct store *s, uint64_t chunk, uint32_t at, void *data,
	       uint32_t len, int now);
/* The next store_get() reads it from the disk, not from the kernel's memory, if
 * its bytes have reached the disk. */
void store_cool(struct store *s, uint64_t chunk);
/* Make earlier puts durable; skips those that are already or are absent. */
int store_sync(struct store *s, const uint64_t *chunks, size_t n);
/* 0, COPY_REPLICA or COPY_CACHED. */
int store_has(struct store *s, uint64_t chunk);
/* Not durable by itself: store_sync() it where that matters. */
int store_set_kind(struct store *s, uint64_t chunk, enum copy_kind kind);
int store_delete(struct store *s, uint64_t chunk);
/* Move it to quarantine/ (a bad or unknown copy) and log why. */
int store_quarantine(struct store *s, uint64_t chunk, const char *reason);

/* How is the disk?  Call it every few seconds; it may wait for the disk.  1:
 * what is here has to be told anew, to the tracker: all, or nothing. */
int store_look(struct store *s);

struct store_stat {	/* capacity: no more than its disk has room for */
	uint64_t capacity, used, chunks, cached_bytes, quarantined;
};
void store_stat(struct store *s, struct store_stat *st);

/* All chunks in no order: fills @out (of @max, some hundred at best) from
 * position *@cursor (start with 0), returns how many, 0 at the end.  Changes
 * meanwhile may be missed or told twice; the caller also hears them through
 * puts and events. */
size_t store_list(struct store *s, uint64_t *cursor, struct m_held *out,
		  size_t max);

/* Pure: trailer to and from its bytes (exported for tests and fuzzing). */
void store_trailer_write(uint8_t out[STORE_TRAILER], uint64_t swarm,
			 enum copy_kind kind, const struct chunk_meta *m);
int store_trailer_read(const uint8_t in[STORE_TRAILER], uint64_t *swarm,
		       enum copy_kind *kind, struct chunk_meta *m);

#endif
