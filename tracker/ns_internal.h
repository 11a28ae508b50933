/*
 * ns_internal -- what the files of ns share; nobody else includes it.
 *
 *   ns.c         opening, undo, numbers, inodes' rows, names, times
 *   ns_chunk.c   chunks: references, assignment, garbage, ids
 *   ns_copies.c  how many copies a chunk is to have
 *   ns_slot.c    a slot's stack of slices: load, push, cut, save
 *   ns_xattr.c   extended attributes
 *   ns_attr.c    getattr, setattr
 *   ns_map.c     getmap, commit, compact
 *   ns_dir.c     entries: lookup, readdir, mknod, link, unlink
 *   ns_rename.c  rename
 *   ns_reap.c    orphans
 *   ns_digest.c  MD5s of whole files
 *
 * Invariants of the database between operations:
 *   - chunks.refs is the number of slices, over all slots, that name it; it
 *     is in garbage exactly when that is 0;
 *   - no slice reaches past its slot or past the size of its file, so that a
 *     file that grows again reads zeros;
 *   - an inode is in orphans exactly when its nlink is 0;
 *   - what is in digests has an inode (but may be of an older content);
 *   - inodes.stored is the sum of ns_stack_bytes() of its slots;
 *   - upwards in a stack ns_slice.pushed never falls, and neither it nor
 *     slots.base is above slots.version.
 */
#ifndef PSPFS_NS_INTERNAL_H
#define PSPFS_NS_INTERNAL_H

#include "ns.h"

#define NS_SIZE_MAX ((uint64_t)INT64_MAX)	/* of a file */
#define NS_SLICE_BYTES 28	/* of a slice in slots.slices */
#define NS_SEQ_STEP 1024	/* numbers that are reserved at once */
#define NS_REAP_SLOTS 4096	/* of one call of ns_reap() */

/* A number that is never given twice, also after a crash: what is below
 * @mark in the table meta may have been given. */
struct ns_seq {
	const char *key;
	uint64_t next, mark;
};

struct ns {
	struct db *db;
	struct ns_config cfg;
	/* What is in the database, known in memory; ns_refresh(). */
	struct ns_count count;
	struct ns_seq ino, cookie;
	uint64_t chunk_mark;	/* ids below it have been reserved */
	uint64_t rollbacks;	/* db_rollbacks() when it was read */
};

/* ---- ns.c ---- */

/* A changing operation stands between these two: on @err < 0 (which is
 * passed on) the database, the counts and @t are as before. */
struct ns_undo {
	struct ns_count count;
	uint64_t ino_mark, cookie_mark, chunk_mark;
	unsigned touched;
};
int ns_op_begin(struct ns *ns, struct ns_undo *u, const struct ns_touched *t);
int ns_op_end(struct ns *ns, const struct ns_undo *u, struct ns_touched *t,
	      int err);
void ns_touch(struct ns_touched *t, uint64_t ino);
int ns_seq_take(struct ns *ns, struct ns_seq *q, uint64_t *out);

struct ns_inode {
	struct m_attr a;
	uint64_t map;		/* highest version that a slot of it has had */
	uint64_t parent;	/* of a directory, else 0 */
	uint32_t xattrs, xattr_bytes;
};

/* The columns that ns_inode_read() wants first, of a table named i. */
#define NS_INODE_COLS                                                      \
	"i.ino,i.mode,i.nlink,i.uid,i.gid,i.rdev,i.slot_size,i.size,"      \
	"i.stored,i.version,i.map,i.atime_s,i.atime_ns,i.mtime_s,"         \
	"i.mtime_ns,i.ctime_s,i.ctime_ns,i.parent,i.xattrs,i.xattr_bytes"
#define NS_INODE_N_COLS 20

void ns_inode_read(struct db_stmt *s, struct ns_inode *out);
int ns_inode_get(struct ns *ns, uint64_t ino, struct ns_inode *out);
/* A directory in which names can be looked up: -ENOTDIR, -ENOENT. */
int ns_dir_get(struct ns *ns, uint64_t ino, struct ns_inode *out);
/* A regular file: -EISDIR, -EINVAL. */
int ns_file_get(struct ns *ns, uint64_t ino, struct ns_inode *out);
int ns_inode_add(struct ns *ns, const struct ns_inode *in);
int ns_inode_put(struct ns *ns, const struct ns_inode *in);

int ns_name_check(struct str name);
/* Run a statement that wants one row: 1, 0 (none), -errno; then reset it. */
int ns_exists(struct db_stmt *s);
/* Prepared, with ?1 and ?2 bound to them. */
struct db_stmt *ns_prep_named(struct ns *ns, const char *sql, uint64_t ino,
			      struct str name);
int ns_str_dup(struct arena *a, const void *p, size_t n, struct str *out);
uint64_t ns_min_i63(uint64_t v);	/* at most INT64_MAX, for SQL's < */
/* Damaged rows: log what and where; -EIO. */
int ns_damaged(const char *what, uint64_t id);

int ns_time_ok(uint32_t nsec);
void ns_set_ctime(struct ns_inode *in, struct ns_now now);
/* New content: mtime and ctime become @want, when it was written, but each
 * later than it was.  (Not when it was committed: a stat between write and
 * close would be wrong after the close, and git, tar, rsync look at that.) */
void ns_new_content(struct ns_inode *in, struct ns_now want);

/* ---- ns_chunk.c ---- */

/* One more slice names p->chunk (nothing for chunk 0). */
int ns_chunk_ref(struct ns *ns, const struct m_push *p);
int ns_chunk_unref(struct ns *ns, uint64_t id, struct ns_now now);

/* ---- ns_copies.c ---- */

struct ns_slice;
/* What the one in @v that wants most copies has in its row (0: as the swarm),
 * or @copies if that is more. */
int ns_most_copies(struct ns *ns, const struct ns_slice *v, uint32_t n,
		   uint8_t *copies);

/* ---- ns_slot.c ---- */

struct ns_slice {
	struct m_slice s;
	uint64_t pushed;	/* the slot's version that had it first */
};

struct ns_stack {
	uint64_t index;
	uint64_t version;	/* 0: the slot has no row */
	/* The version from which on it was changed by pushes alone: what was
	 * read since, and merged, may still lie beneath those. */
	uint64_t base;
	struct ns_slice *v;	/* newest last */
	uint32_t n, cap;
	uint64_t bytes;		/* ns_stack_bytes() when it was loaded */
	uint8_t *packed;	/* room for cap * NS_SLICE_BYTES */
};

/* @st is zeroed before its first load; it may be loaded again and again. */
int ns_stack_load(struct ns *ns, const struct ns_inode *in, uint64_t index,
		  struct ns_stack *st);
void ns_stack_fini(struct ns_stack *st);
/* Bytes that the slices map, counted at most once a byte of the slot. */
uint64_t ns_stack_bytes(const struct ns_stack *st, uint32_t slot_size);
/* Put @s (whose chunk the caller has referenced) on top; what it covers
 * whole goes.  -EBUSY: full. */
int ns_stack_push(struct ns *ns, struct ns_stack *st,
		  const struct ns_slice *s, struct ns_now now);
/* @p, of which @len bytes count, in place of all slices pushed up to version
 * @expect; it becomes the bottom, and in->map the base. */
int ns_stack_merge(struct ns *ns, const struct ns_inode *in,
		   struct ns_stack *st, uint64_t expect,
		   const struct m_push *p, uint32_t len, struct ns_now now);
/* Write it back as version in->map and account for it in @in. */
int ns_stack_save(struct ns *ns, struct ns_inode *in, struct ns_stack *st);
/* Delete at most @most slots from @first on: how many, or -errno. */
int ns_slots_drop(struct ns *ns, struct ns_inode *in, uint64_t first,
		  uint32_t most, struct ns_now now);
/* Cut the map of @in to @size bytes. */
int ns_slots_cut(struct ns *ns, struct ns_inode *in, uint64_t size,
		 struct ns_now now);
/* Slices out of a row of the table slots: how many are in @len bytes (-EIO:
 * damaged), and the one at @i. */
int ns_slices_count(size_t len, uint32_t *n);
struct ns_slice ns_slices_get(const void *blob, uint32_t i);

/* ---- ns_xattr.c ---- */

/* As write, truncate and chown do: set-user-ID and set-group-ID go. */
void ns_kill_suid(struct ns_inode *in);
/* ... and file capabilities. */
int ns_kill_caps(struct ns *ns, struct ns_inode *in);
int ns_xattrs_drop(struct ns *ns, uint64_t ino);

/* ---- ns_dir.c ---- */

int ns_entry_get(struct ns *ns, uint64_t dir, struct str name, uint64_t *ino);
int ns_entry_add(struct ns *ns, uint64_t dir, struct str name, uint64_t ino);
int ns_entry_set(struct ns *ns, uint64_t dir, struct str name, uint64_t ino);
int ns_entry_del(struct ns *ns, uint64_t dir, struct str name);
/* -ENOTEMPTY if the directory has an entry. */
int ns_dir_empty(struct ns *ns, uint64_t dir);
/* @in lost a name (a directory: its only one); written. */
int ns_inode_unlinked(struct ns *ns, struct ns_inode *in, struct ns_now now);
/* Entries of @dir changed; not written yet. */
void ns_dir_changed(struct ns_inode *dir, struct ns_now now);

#endif
