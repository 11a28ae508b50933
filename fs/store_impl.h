/*
 * store_impl -- what the store's own files share; nobody else includes it.
 *
 * store_index  the table in memory: claims, room, least recently used
 * store_io     one chunk's file: name, write, read, move
 * store_sync   making chunks durable, directories shared by group
 * store_journal  the same for small ones, many at a time
 * store_replay   and what that has to mend after a power cut
 * store_scan   filling the index from what lies on the disk
 * store_open   the directory: whose it is, its lock, its layout
 * store_health  can it be written, is it there at all
 * store        the verbs of store.h
 *
 * Claims:  who changes a chunk's file (put, delete, change of kind, evict,
 *          quarantine) claims its entry first; others who want to change it
 *          wait.  A thread holds one claim at a time and neither waits for
 *          another nor calls an event meanwhile.  Readers claim nothing:
 *          they open by name and, should the name have changed, once more
 *          under a claim.
 * Locks:   store.lock, journal.lock; never both.
 */
#ifndef PSPFS_STORE_IMPL_H
#define PSPFS_STORE_IMPL_H

/* Ids count up: their low bits spread better than any hash of them, which
 * keeps the buckets few and the chains short. */
#define HASH_FUNCTION(key, len, hash) ((hash) = store_hash(key))

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/queue.h>

#include "spell.h"
#include "store.h"
#include "table.h"

#define STORE_DIRS 256		/* sub-directories of chunks/ */
#define STORE_ASKED 16384	/* chunks: 8 GiB of whole ones */
#define STORE_NAME_MAX 32	/* "ab/0123456789abcdef.cached" and NUL */

static inline unsigned store_hash(const void *key)
{
	uint64_t id;

	memcpy(&id, key, sizeof(id));
	return (unsigned)id;
}

/* What the index knows of a chunk, at a moment. */
struct copy {
	uint64_t id;
	uint32_t len;
	uint32_t stamp;		/* tells this copy from a later one */
	enum copy_kind kind;
	int durable, logged;	/* logged: it may be in the journal */
};

/* 88 bytes: a million of them stay below 100 MB. */
struct entry {
	uint64_t id;
	uint32_t len : 25;
	uint32_t kind : 2;
	uint32_t durable : 1;
	uint32_t logged : 1;	/* the journal made it so */
	uint32_t busy : 1;	/* claimed */
	uint32_t ready : 1;	/* 0: its first put is going on, unseen */
	uint32_t stamp;
	TAILQ_ENTRY(entry) lru;	/* of cached copies, oldest first */
	UT_hash_handle hh;
};

/* Turns at syncing a directory; one sync serves all who asked before it. */
struct dir_sync {
	uint64_t asked, synced;
	int busy;
	int err;		/* sticky: never trusted again */
	int rooted;		/* its own entry in chunks/ is durable */
};

/* Small chunks that were synced; see store_journal.c. */
struct half {
	int fd;
	uint64_t gen;		/* of its records */
	uint64_t used;		/* bytes of records; 0: it is empty */
	uint64_t flushed;	/* of those, durable */
	uint64_t size;		/* of the file: zeros behind the records */
	int flushing;
};

struct journal {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* guarded by lock */
	struct half half[2];
	unsigned now;		/* the half that is appended to */
	uint64_t gen;		/* the last one begun */
	int broken, stop;
	int has_thread;
	pthread_t thread;	/* empties the other half */
};

/* Where a record ends, and of which generation it is. */
struct journal_mark {
	uint64_t gen, end;
};

/* See store_health.c. */
struct health {
	struct spell ill;		/* nothing can be written */
	_Atomic int err;		/* why */
	_Atomic int lost;		/* and nothing can be read */
	_Atomic uint64_t free_bytes;	/* of the disk, when last looked at */
	struct spell vanished;		/* chunks, since then */
};

#define AHEAD_FDS 64

/* Files that the disk is to begin with; see store_ahead.c. */
struct ahead {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	int runs;
	/* guarded by lock */
	int fds[AHEAD_FDS];	/* a ring */
	unsigned first, n;
	int stop;
};

struct store {
	/* fixed after store_open() */
	char *path;		/* as people know it */
	struct store_events ev;
	uint64_t capacity;
	uint64_t peer;
	int dir_fd, lock_fd, chunks_fd, quarantine_fd, tmp_fd;

	_Atomic uint64_t swarm;
	_Atomic uint64_t serial;	/* of names in tmp/ */

	pthread_mutex_t lock;
	pthread_cond_t idle;	/* a claim or a sync ended */
	/* guarded by lock */
	struct entry *index;
	TAILQ_HEAD(, entry) lru;
	uint64_t used, cached_bytes, chunks, quarantined;
	uint32_t stamp;
	unsigned evicting;
	struct dir_sync dirs[STORE_DIRS + 1];	/* the last: chunks/ itself */

	_Atomic uint32_t asked[STORE_ASKED];	/* chunks that were read */

	struct journal journal;
	struct ahead ahead;
	struct health health;
};

static inline uint64_t store_size(uint32_t len)
{
	return (uint64_t)len + STORE_TRAILER;
}

/* Ids are given out in order: neighbours share a directory and its sync. */
static inline unsigned store_dir_of(uint64_t id)
{
	return id >> 8 & (STORE_DIRS - 1);
}

static inline void store_tell_gone(struct store *s, uint64_t id)
{
	if (s->ev.gone)
		s->ev.gone(s->ev.arg, id);
}

/* --- store_index.c: each takes the lock itself --- */
void index_init(struct store *s);
void index_fini(struct store *s);
/* A chunk found by the scan: 0, -EEXIST or -ENOMEM. */
int index_load(struct store *s, const struct copy *c);
/* Look, and count it as a use: 0 or -ENOENT. */
int index_use(struct store *s, uint64_t id, struct copy *c);
/* Claim what is there, after waiting for who has it: 0 or -ENOENT. */
int index_claim(struct store *s, uint64_t id, struct copy *c);
/* Claim a new entry and its room: 0, -EEXIST, -EAGAIN (evict first), -ENOSPC
 * (not even that would do) or -ENOMEM. */
int index_new(struct store *s, uint64_t id, uint32_t len);
/* Claim the cached copy that was used least recently, waiting for evictions
 * under way if there is no other: 0, -EAGAIN (one of those ended) or
 * -ENOSPC. */
int index_victim(struct store *s, struct copy *c);
void index_victim_done(struct store *s);
/* End a claim: it stays as it was, is in the journal now, stays as @kind, or
 * goes.  Small ones that are @durable are so by the journal, perhaps. */
void index_release(struct store *s, uint64_t id);
void index_logged(struct store *s, uint64_t id);
void index_ready(struct store *s, uint64_t id, enum copy_kind kind,
		 int durable);
void index_forget(struct store *s, uint64_t id);
/* Into quarantine: its bytes stay counted. */
void index_banish(struct store *s, uint64_t id);
void index_add_quarantined(struct store *s, uint64_t bytes);
void index_set_durable(struct store *s, const struct copy *c);

/* --- store_io.c --- */
#define IO_BLOCK 4096u		/* no disk has larger ones */

/* @n in whole blocks. */
static inline size_t io_room(size_t n)
{
	return (n + IO_BLOCK - 1) / IO_BLOCK * IO_BLOCK;
}

void io_name(char out[STORE_NAME_MAX], uint64_t id, enum copy_kind kind);
/* Returns a descriptor or -errno. */
int io_open(struct store *s, const struct copy *c);
/* As store_read(). */
int io_read_part(int fd, uint32_t at, void *data, uint32_t len, int now);
/* Payload into @data (NULL: skip it) and the trailer, checked: 0, -errno.
 * @direct: past the kernel's memory, unless it is there; @data then has room
 * for io_room(store_size(c->len)). */
int io_read(struct store *s, int fd, const struct copy *c, void *data,
	    int direct, struct chunk_meta *m);
/* Write to tmp/, sync if asked, publish under its name; cleans up. */
int io_put(struct store *s, const struct chunk_meta *m, const void *data,
	   enum copy_kind kind, int sync);
int io_unlink(struct store *s, const struct copy *c);
int io_set_kind(struct store *s, const struct copy *c, enum copy_kind kind);
/* Move @path (in directory @at) to quarantine/ under @name and a random
 * suffix. */
int io_quarantine(struct store *s, int at, const char *path, const char *name);

/* --- store_ahead.c --- */
void ahead_init(struct store *s);
void ahead_fini(struct store *s);
/* The file will hardly change any more: the disk may begin with it. */
void ahead_begin(struct store *s, int fd);

/* --- store_sync.c --- */
int sync_dir(struct store *s, unsigned dir);
/* A small chunk whose file was just written, but not synced. */
int sync_small(struct store *s, const struct chunk_meta *m,
	       enum copy_kind kind, const void *data);

/* --- store_journal.c --- */
/* Open it, make again what was lost, and begin it anew; before the scan.
 * @name becomes that of the file that it was at. */
int journal_open(struct store *s, const char **name);
void journal_init(struct store *s);
void journal_fini(struct store *s);
/* Append a chunk that has its own file already, complete and under its name;
 * durable once @mark is flushed.  -EAGAIN: there is no room just now; -EFBIG;
 * -errno. */
int journal_add(struct store *s, const struct chunk_meta *m,
		enum copy_kind kind, const void *data,
		struct journal_mark *mark);
int journal_flush(struct store *s, const struct journal_mark *mark);
/* It is gone, or has another name: not to be made again, if it is there. */
void journal_forget(struct store *s, const struct copy *c);

/* --- store_health.c --- */
void health_init(struct store *s);
/* Is it known to be in vain?  0 or -errno. */
int health_refuses(struct store *s);
/* The disk did not take a chunk: what to answer. */
int health_put_failed(struct store *s, int err);
/* A chunk's file is not where it was. */
void health_vanished(struct store *s, uint64_t id);
/* The capacity that can really be used; @cached: of @used, what would go. */
uint64_t health_capacity(struct store *s, uint64_t capacity, uint64_t used,
			 uint64_t cached);

/* --- store_scan.c --- */
/* Before anything is written there: names in it count from 0 again. */
int store_empty_tmp(struct store *s);
int store_scan(struct store *s);

/* --- store.c --- */
/* Open a copy for reading, and count it as a use: descriptor or -errno. */
int store_open_copy(struct store *s, uint64_t id, struct copy *c);
/* The copy that is claimed went wrong: delete it, end the claim, tell. */
int store_drop_claimed(struct store *s, const struct copy *c);

#endif
