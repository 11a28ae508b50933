/*
 * file_internal.h -- what the file_*.c share.  Nobody else includes it.
 *
 * Locks, in this order: file.lock, files.lock.  Neither is held while a
 * function of link, fetch, upload or a callback runs: what is to be done
 * after a change is gathered in a struct todo under file.lock and run by
 * todo_run() without it.
 *
 * References: a handle, a read, a waiter, a request under way and "busy"
 * (uncommitted data) each hold one on their struct file.  Whoever calls
 * todo_run() holds one, too.
 */
#ifndef PSPFS_FILE_INTERNAL_H
#define PSPFS_FILE_INTERNAL_H

#include <pthread.h>
#include <sys/queue.h>

#include "file.h"
#include "loop.h"
#include "ranges.h"
#include "spell.h"
#include "slices.h"
#include "spans.h"
#include "store.h"
#include "table.h"

enum {
	FILE_SLOT_MIN = 1 << 10,	/* bytes of a slot */
	FILE_SLOT_MAX = 16 << 20,
	FILE_PAGE_SLOTS = 256,	/* slots of a map page */
	FILE_PAGE_LEAST = 32,	/* of one whose slots are very deep */
	FILE_PAGES_MAX = 64,	/* pages kept of a file */
	FILE_COMMIT_MANY = 64,	/* extents that are worth a commit */
	FILE_COMMIT_BYTES = 64 << 20,	/* likewise */
	FILE_COMMIT_MAX = 1024,	/* extents of a commit, but for a group */
	FILE_COMMIT_TRIES = 8,	/* of one that found slots full */
	FILE_PARCEL_MAX = STORE_SMALL,	/* bytes of extents in one chunk, */
	FILE_GATHER_MAX = 16 << 10,	/* each of at most so many */
	FILE_RECENT_MAX = 65536,	/* chunks to be synced later */
	FILE_PIECES_MAX = 64,	/* slots remembered as written in pieces */
	FILE_PIECE = 16 << 10,	/* bytes of a slot that are worth a slice */
	FILE_UNHEARD_MAX = 64,	/* closed files with an error nobody heard */
	FILE_COMPACTIONS = 2,	/* at once */
	FILE_COMPACT_QUEUE = 256,
	FILE_TRIES = 5,		/* of a read whose map was outrun */
	FILE_LATE_MS = 1000,	/* a read that failed after so long */
	FILE_LATE_USE_MS = 300,	/* is not tried again for so long */
};

/* ------------------------------------------------------------- the map */

/* A chunk's particulars; fixed.  In one page's table. */
struct mchunk {
	UT_hash_handle hh;
	int refs;		/* atomic: slices of the page, reads */
	struct m_chunk c;	/* c.holders are those behind */
	uint32_t holders[];
};

struct mslot {
	struct m_slice *v;
	uint32_t n, cap;
};

/* Slots [first, first+count); guarded by its file's lock. */
struct page {
	TAILQ_ENTRY(page) lru;
	int refs;		/* the file's list, reads */
	uint64_t first;
	uint32_t count;
	uint64_t gen;		/* of the file, when it was asked for */
	uint64_t version;	/* of the file, as this page has it */
	uint64_t size;		/* likewise */
	struct mchunk *chunks;
	struct mslot slots[FILE_PAGE_SLOTS];
};
TAILQ_HEAD(page_list, page);

/* A read that waits for a page; gets it with a reference, or an error. */
struct map_wait {
	TAILQ_ENTRY(map_wait) next;
	struct page *page;
	int err;
};
TAILQ_HEAD(map_wait_list, map_wait);

/* A getmap under way. */
struct map_req {
	TAILQ_ENTRY(map_req) next;
	struct file *f;
	uint64_t first, gen;
	uint32_t count;
	struct map_wait_list waits;
};
TAILQ_HEAD(map_req_list, map_req);

/* -------------------------------------------------------------- a read */

struct item {			/* the next len bytes */
	struct buf *b;		/* referenced; NULL: zeros, or not yet */
	size_t at, len;
	int32_t want;		/* index in wants, or -1 */
};

struct want {
	struct read *r;
	struct mchunk *c;	/* referenced */
	struct buf *b;		/* referenced, once it is there: all of it, or
				 * bytes [at, end) */
	size_t at, end;		/* of the chunk: what items need of it */
	uint64_t slot;
	uint32_t pos;
};

struct read {
	struct map_wait wait;
	struct file *f;
	uint64_t off;
	size_t size;
	file_read_done done;
	void *arg;
	unsigned tries;
	uint64_t gen;		/* of the oldest page it was planned with */
	uint64_t since_ms;	/* it waits for the network; 0: not */
	struct page **got;	/* pages that came for this read */
	size_t n_got;

	struct item *items;
	size_t n_items, cap_items;
	struct want *wants;
	size_t n_wants, cap_wants;
	int pending;		/* atomic */
	int err;		/* atomic */
};

/* ------------------------------------------------------ uncommitted data */

/* What is uploaded: one chunk of one extent, or of several in a row of
 * file.extents.  Gone once it is uploaded. */
struct parcel {
	struct upload_job job;	/* the uploader's until it is done */
	STAILQ_ENTRY(parcel) start;
	struct file *f;
	struct extent *first;
	uint32_t n;
};
STAILQ_HEAD(parcel_queue, parcel);

/* Where it was stored, once it is uploaded. */
struct stored {
	uint64_t chunk;
	uint32_t len;
	uint8_t md5[MD5_LEN];
	uint32_t nums[MSG_HOLDERS_MAX];
	uint32_t n;
};

/* Bytes that were sealed: they become one slice.  Fixed but for state, off (of
 * an append) and the lists. */
struct extent {
	TAILQ_ENTRY(extent) all;	/* file.extents */
	TAILQ_ENTRY(extent) in_slot;
	struct file *f;
	struct slot *slot;	/* NULL: an append */
	struct buf *data;	/* its bytes, len of them */
	uint32_t len;
	size_t charged;		/* bytes of memory, as files_charge() has it */
	uint32_t at;		/* where it begins in its chunk */
	struct stored stored;
	uint64_t off;		/* in the file; tentative if an append */
	uint64_t seq;
	int64_t mtime_s;	/* of the last write before it was sealed */
	uint32_t mtime_ns;
	int joined;		/* the next belongs to the same write(2) */
	int uploading;
};
TAILQ_HEAD(extent_list, extent);

/* A slot with dirty ranges or sealed extents. */
struct slot {
	UT_hash_handle hh;
	uint64_t index;
	struct ranges dirty;
	struct extent_list sealed;
};

/* How often a slot was written in part, and what it has got by that; see
 * file_compact.c. */
struct pieces {
	uint64_t slot;
	uint32_t n, slices;
};

/* --------------------------------------------------------------- waiters */

enum waiter_phase {
	W_DATA,			/* until all up to seq is committed */
	W_UPLOAD,		/* fsync: until all up to seq is uploaded, */
	W_DURABLE,		/* until the chunks are on the disks, */
	W_COMMIT,		/* until a synced commit can go, */
	W_COMMITTING,		/* until it is answered */
	W_DONE,
};

struct waiter {
	TAILQ_ENTRY(waiter) next;
	struct file *f;
	struct file_handle *h;	/* NULL: nobody's in particular */
	enum waiter_phase phase;
	uint64_t seq;		/* the last extent it waits for */
	uint32_t err_seq;	/* of the file, when it began */
	int err;
	file_done done;
	void *arg;
};
TAILQ_HEAD(waiter_list, waiter);

/* A write whose answer waits for room. */
struct blocked {
	STAILQ_ENTRY(blocked) next;
	file_done done;
	void *arg;
};
STAILQ_HEAD(blocked_list, blocked);

/* ----------------------------------------------------------------- files */

struct compact;
struct recent;

struct files {
	struct files_config cfg;	/* fixed after start */
	struct loop_timer *timer;	/* loop thread only */
	pthread_mutex_t lock;
	pthread_cond_t idle;	/* a reference went, while closing */
	/* guarded by lock */
	struct file *table;
	uint64_t serials;	/* handles that there ever were */
	TAILQ_HEAD(busy_list, file) busy;	/* uncommitted, oldest first */
	struct blocked_list blocked;
	uint64_t dirty;		/* bytes not yet committed */
	uint64_t unsealed;	/* of those, not yet sealed */
	int pressed;		/* commit early */
	int press_posted;
	TAILQ_HEAD(compact_list, compact) compact;	/* queue */
	unsigned n_compact, compacting;
	struct recent *recent;	/* of files that were closed */
	uint32_t n_recent;	/* ids in there */
	struct unheard {	/* errors of files that were closed */
		uint64_t ino;	/* 0: none here */
		int err;
	} unheard[FILE_UNHEARD_MAX];
	uint32_t n_unheard;	/* ever; the newest overwrite the oldest */
	int closing;
	enum { FILES_RUNNING, FILES_STOPPING, FILES_STOPPED } stopped;
	struct loop_work stop;

	struct spell full;	/* no room for files' data: said once */
};

struct file {
	UT_hash_handle hh;
	struct files *fs;	/* fixed, as the next three */
	uint64_t ino;
	uint32_t slot_size;
	int is_dir;		/* nothing but open */

	/* guarded by fs->lock */
	int refs, handles;
	LIST_HEAD(handle_list, file_handle) open;
	int busy;		/* on fs->busy, which holds a reference */
	uint64_t since_ms;	/* busy since */
	TAILQ_ENTRY(file) by_age;
	int told_open;		/* the tracker counts it as open here */

	pthread_mutex_t lock;
	/* guarded by lock */
	struct m_attr attr;	/* committed, as far as is known */
	struct page_list pages;	/* all of attr.version; last used first */
	unsigned n_pages;
	uint32_t page_slots;
	uint64_t gen;		/* counts the times the map was dropped */
	uint64_t lost_gen;	/* what was asked for before is void */
	struct map_req_list reqs;

	/* the last read that failed late, see file_read.c */
	uint64_t late_off, late_end, late_until_ms;

	struct slot *slots;	/* by index */
	unsigned n_dirty;	/* slots with dirty ranges */
	struct ranges append;	/* one range, from 0 */
	uint64_t append_off;	/* where it tentatively is */
	uint64_t local_end;	/* of uncommitted data; 0: none */
	int64_t mtime_s;	/* of the last local write */
	uint32_t mtime_ns;
	int kill_suid;		/* enum clear_bits */
	int fenced;		/* see files_fence() */
	/* what is uncommitted was written on top of this version, under the
	 * lease of this term: see file_commit.c */
	uint64_t base, term;

	struct extent_list extents;	/* in the order of sealing */
	uint64_t seq;		/* of the last one sealed */
	struct extent *uploading;	/* the first that is */
	unsigned n_ready;	/* uploaded, before that one */
	uint64_t ready_bytes;
	unsigned n_appends;	/* of the extents */
	int committing;
	uint64_t want_seq;	/* commit up to here without a waiter */

	uint64_t *recent;	/* chunks uploaded without sync */
	uint32_t n_recent, recent_cap, recent_due;
	int syncing;
	struct waiter_list waiters;
	int err;		/* the last; err_seq counts them */
	uint32_t err_seq;
	int err_logged;
	int unheard;		/* its last error was told to nobody */

	struct pieces pieces[FILE_PIECES_MAX];
	unsigned n_pieces;
};

struct file_handle {
	unsigned refs;		/* the kernel's, file_hold()s; fs->lock */
	LIST_ENTRY(file_handle) next;
	struct file *f;		/* fixed */
	int append;		/* fixed */
	uint64_t serial;	/* fixed: no other handle ever has it */
	/* guarded by f->lock */
	uint32_t err_seq;	/* errors up to here are reported */
	uint64_t w_next, w_run;	/* sequential writing: where, how much */
	uint64_t r_next;	/* sequential reading: the end */
	uint64_t ahead;		/* slots before this were asked for */
	uint32_t window;	/* slots */
};

/* What is to be done once file.lock is released. */
struct commit;

struct todo {
	uint64_t term;		/* of the lease, when it began */
	struct parcel_queue uploads;
	uint32_t n_uploads;
	struct parcel *gather;	/* the last, while extents may join it */
	int more;		/* likely more uploads follow at once */
	int has_attr;
	struct m_attr attr;	/* tell cfg.attr */
	int unsure;		/* tell cfg.unsure */
	struct commit *commit;
	uint64_t *sync_ids;
	uint32_t n_sync_ids;	/* to be made durable */
	struct waiter_list done;
	struct blocked_list freed;
	int release;
};

void file_todo_init(const struct file *f, struct todo *t);
void file_todo_run(struct file *f, struct todo *t);

/* file.c */
struct file *file_find(struct files *fs, uint64_t ino);	/* referenced */
struct file *file_get(struct file *f);
void file_put(struct file *f);
/* Newer attributes: those and a map of their version.  Locked. */
void file_attr_newer(struct file *f, const struct m_attr *a);
/* Files with uncommitted data (@busy), or all, each referenced; free(). */
struct file **files_list(struct files *fs, int busy, uint64_t before_ms,
			 size_t *n);

/* file_dirty.c: the bound, the clock, what is busy */
int files_start(struct files *fs);
void files_stop(struct files *fs);		/* waits for the loop */
/* @unsealed may be negative. */
void files_charge(struct files *fs, int64_t dirty, int64_t unsealed);
void files_uncharge(struct files *fs, uint64_t n, struct blocked_list *freed);
int files_pressed(struct files *fs);
/* Answer a write, at once or when there is room. */
void files_answer(struct files *fs, file_done done, void *arg);
void file_busy(struct file *f);
void file_idle(struct file *f, struct todo *t);
/* Seal what is dirty and see that it is committed.  Unlocked. */
void file_kick(struct file *f, int seal);

/* file_map.c; all but send locked */
struct page *file_map_find(struct file *f, uint64_t slot);
/* Ask for the page with @slot, or join who asked; @w may be NULL.  *@send:
 * to be sent once unlocked, or NULL.  0 or -ENOMEM. */
int file_map_want(struct file *f, uint64_t slot, struct map_wait *w,
		  struct map_req **send);
void file_map_send(struct map_req *q);
void file_map_drop(struct file *f);
/* A commit was applied to the version that the pages have: the slice that
 * it pushed at @off is on top in them, too; then they are of @a's version. */
void file_map_push(struct file *f, const struct extent *e, uint64_t off);
void file_map_stamp(struct file *f, const struct m_attr *a);
struct mchunk *file_map_chunk(const struct page *p, uint64_t id);
void file_page_put(struct page *p);
void file_mchunk_put(struct mchunk *c);

/* file_plan.c; locked: 0 planned; 1 it waits for the map (@send as above);
 * or -errno. */
int file_plan(struct read *r, int leased, struct map_req **send);
void file_plan_forget(struct read *r);		/* locked or not */

/* file_read.c; unlocked: the map answered */
void file_read_resume(struct map_wait *w);

/* file_ahead.c */
enum { AHEAD_MAX = 64 };
struct ahead {
	unsigned n;
	struct {
		struct mchunk *c;
		uint64_t slot;
		uint32_t pos;
	} v[AHEAD_MAX];
	struct map_req *req;
};
void file_ahead_plan(struct file_handle *h, uint64_t off, size_t size,
		     int leased, struct ahead *a);	/* locked */
void file_ahead_run(struct file *f, struct ahead *a);

/* file_seal.c; locked */
void file_seal_slot(struct file *f, struct slot *s, struct todo *t);
void file_seal_append(struct file *f, int joined, struct todo *t);
void file_seal_all(struct file *f, struct todo *t);
/* What is sealed is uploaded with sync, unless it is much. */
void file_seal_durably(struct file *f, struct todo *t);
/* Take @e off the lists and free it. */
void file_extent_end(struct extent *e, struct blocked_list *freed);
/* The same of one that failed: those of its write(2) that lie before it go
 * without it, or a commit would wait for ever. */
void file_extent_lost(struct extent *e, struct blocked_list *freed);
/* What the last one was to be joined with is not there. */
void file_append_cut(struct file *f);

/* file_write.c; locked */
void file_slot_unused(struct file *f, struct slot *s);
void file_paint(struct file *f, struct spans *s);
int file_dirty(const struct file *f);	/* is anything not yet sealed? */
void file_local_end(struct file *f);	/* compute it anew */

/* file_flush.c */
/* Whatever can go on goes on.  Locked. */
void file_advance(struct file *f, struct todo *t);
void file_fail(struct file *f, int err, const char *what);	/* locked */
/* What nobody heard stays for the next open: for a file that comes or goes;
 * files.lock is held. */
void file_unheard_take(struct file *f);
void file_unheard_keep(const struct file *f);
/* The waiters of @h are nobody's in particular from now on.  Locked. */
void file_waiters_orphan(struct file *f, const struct file_handle *h);
/* @h may be NULL. */
void file_wait(struct file *f, struct file_handle *h, int sync,
	       file_done done, void *arg);
void file_uploaded(struct upload_job *j, int err);
/* Its extents are lost.  Locked. */
void file_parcel_failed(struct file *f, struct parcel *p, int err,
			const char *what, struct todo *t);
/* file_commit.c; locked: begin the next commit if one is due. */
void file_commit_start(struct file *f, struct todo *t);
void file_commit_send(struct commit *c);	/* unlocked */
/* The highest seq up to which all is uploaded. */
uint64_t file_uploaded_to(const struct file *f);

/* file_recent.c; the first two with files.lock, for a file that comes or
 * goes.  Returns ids to be synced unlocked, or NULL. */
void file_recent_take(struct file *f);
uint64_t *file_recent_keep(struct file *f, uint32_t *n);
void files_recent_sync(struct files *fs, uint64_t *ids, uint32_t n);
void files_recent_fini(struct files *fs);

/* file_compact.c; unlocked */
void file_compact(struct file *f, const uint64_t *slots, uint32_t n);
void file_compact_close(struct file *f);
/* The slot has to take @p->slices more, and may be full: @then is called
 * once it was compacted, or could not be, or need not.  At once, not queued:
 * also while the files are being stopped. */
typedef void (*file_compacted)(void *arg, uint64_t size);
void file_compact_full(struct file *f, const struct pieces *p,
		       file_compacted then, void *arg);
/* It was written in part, in so many slices.  Locked. */
void file_pieces_add(struct file *f, uint64_t slot, uint32_t slices);
/* Those of the deep @slots that are worth it now; how many.  Locked. */
uint32_t file_pieces_due(struct file *f, uint64_t *slots, uint32_t n);
void files_compact_stop(struct files *fs);

#endif
