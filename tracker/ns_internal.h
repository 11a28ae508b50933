/*
 * ns_internal -- what the files of ns share; nobody else includes it.
 *
 *   ns.c         opening, undo, numbers, inodes' rows, names, times
 *   ns_chunk.c   chunks: references, assignment, garbage, ids
 *   ns_copies.c  how many copies a chunk is to have
 *   ns_slot.c    a slot's stack of slices: load, push, cut, save
 *   ns_xattr.c   extended attributes
 *   ns_acl.c     those that are POSIX ACLs
 *   ns_attr.c    getattr, setattr
 *   ns_map.c     getmap, commit, compact
 *   ns_range.c   fallocate: holes; where data is
 *   ns_clone.c   chunks that several files share
 *   ns_dir.c     entries: lookup, readdir, mknod, link, unlink
 *   ns_rename.c  rename
 *   ns_reap.c    orphans
 *   ns_digest.c  MD5s of whole files
 *
 * Invariants of the database between operations:
 *   - chunks.refs is the number of slices, over all slots of all files, that
 *     name it; it is in garbage exactly when that is 0;
 *   - no slice reaches past its slot or past the size of its file, so that a
 *     file that grows again reads zeros;
 *   - an inode is in orphans exactly when its nlink is 0;
 *   - inodes.parent of what is no directory is 0, but of a file that never
 *     had a name yet (O_TMPFILE), and is whole, its own number;
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
#define NS_MERGE_RUNS 4		/* of data, of a slot that was merged */
#define NS_HOLE_SLOTS 1024	/* that one ns_allocate() goes through */
#define NS_HOLE_DEEP 512	/* slices of a slot that holes may make: a writer
				 * has room until it compacts it */
#define NS_SEEK_SLOTS 2048	/* that one ns_seek() looks at; deep: fewer */
#define NS_CLONE_SLICES 1024	/* that one ns_clone() makes, about */
#define NS_CLONE_DEEP 64	/* of a slot: more are copied, not cloned */

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
void ns_touch_also(struct ns_touched *t, uint64_t ino, uint8_t also);
void ns_touch_attr(struct ns_touched *t, const struct m_attr *was,
		   const struct m_attr *is);
int ns_seq_take(struct ns *ns, struct ns_seq *q, uint64_t *out);

struct ns_inode {
	struct m_attr a;
	uint64_t map;		/* highest version that a slot of it has had */
	uint64_t parent;	/* of a directory, else 0 (see above) */
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
/* New content: mtime and ctime become @want, but later than they were.  So
 * the writer, who goes by the same rule (file.c), has shown them already. */
void ns_new_content(struct ns_inode *in, struct ns_now want);

/* ---- ns_chunk.c ---- */

/* One more slice names p->chunk (nothing for chunk 0). */
int ns_chunk_ref(struct ns *ns, const struct m_push *p);
/* One more slice names a chunk that one names already. */
int ns_chunk_share(struct ns *ns, uint64_t id);
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
/* The first one at @index or behind it: 1; 0 there is none. */
int ns_stack_next(struct ns *ns, const struct ns_inode *in, uint64_t index,
		  struct ns_stack *st);
void ns_stack_fini(struct ns_stack *st);
/* Bytes that the slices map, counted at most once a byte of the slot. */
uint64_t ns_stack_bytes(const struct ns_stack *st, uint32_t slot_size);
/* The stack's slices alone, to be freed; NULL: no memory. */
struct m_slice *ns_stack_slices(const struct ns_stack *st);
/* Put @s (whose chunk the caller has referenced) on top; what it covers
 * whole goes.  -EBUSY: full. */
int ns_stack_push(struct ns *ns, struct ns_stack *st,
		  const struct ns_slice *s, struct ns_now now);
/* @p, of which @len bytes count, in place of all slices pushed up to version
 * @expect; it becomes the bottom, but for holes (as a few slices: at most
 * NS_MERGE_RUNS), and in->map the base. */
int ns_stack_merge(struct ns *ns, const struct ns_inode *in,
		   struct ns_stack *st, uint64_t expect,
		   const struct m_push *p, uint32_t len, struct ns_now now);
/* Write it back as version in->map and account for it in @in. */
int ns_stack_save(struct ns *ns, struct ns_inode *in, struct ns_stack *st);
/* Put @n slices, which no others of the stack lie on, in place of all: a
 * change that is no push.  in->map is to be its version. */
int ns_stack_replace(struct ns *ns, const struct ns_inode *in,
		     struct ns_stack *st, const struct m_slice *v, uint32_t n,
		     struct ns_now now);
/* Delete at most @most slots of [*@first, @end): how many, or -errno; then
 * *@first is behind the last of them. */
int ns_slots_drop(struct ns *ns, struct ns_inode *in, uint64_t *first,
		  uint64_t end, uint32_t most, struct ns_now now);
/* Cut the map of @in to @size bytes. */
int ns_slots_cut(struct ns *ns, struct ns_inode *in, uint64_t size,
		 struct ns_now now);
/* Slices out of a row of the table slots: how many are in @len bytes (-EIO:
 * damaged), and the one at @i. */
int ns_slices_count(size_t len, uint32_t *n);
struct ns_slice ns_slices_get(const void *blob, uint32_t i);

/* ---- ns_range.c ---- */

/* Nothing in [pos, end) any more: a change that is no push, unless nothing
 * was there.  -EOPNOTSUPP: there are too many pieces around. */
int ns_stack_hole(struct ns *ns, const struct ns_inode *in,
		  struct ns_stack *st, uint32_t pos, uint32_t end,
		  struct ns_now now);

/* Bytes [*@off, @end) of @in become a hole, of which *@off is behind what was
 * done when *@budget (slots that may be looked at) was used up.  in->map is
 * to be the version of what changes. */
int ns_hole(struct ns *ns, struct ns_inode *in, uint64_t *off, uint64_t end,
	    uint32_t *budget, struct ns_now now);

/* ---- ns_xattr.c ---- */

/* As write, truncate and chown do: set-user-ID and set-group-ID go; @all: the
 * latter also where the group may not execute. */
void ns_kill_suid(struct ns_inode *in, int all);
/* ... and file capabilities. */
int ns_kill_caps(struct ns *ns, struct ns_inode *in);
int ns_xattrs_drop(struct ns *ns, uint64_t ino);
/* The value of one, -ENODATA; -ERANGE: over @room. */
int ns_xattr_load(struct ns *ns, uint64_t ino, struct str name, void *out,
		  size_t room, size_t *len);
/* Make or replace, remove (-ENODATA); @in is to be written afterwards. */
int ns_xattr_put(struct ns *ns, struct ns_inode *in, struct str name,
		 struct str value);
int ns_xattr_del(struct ns *ns, struct ns_inode *in, struct str name);

/* ---- ns_acl.c ---- */

/* Is it the name of an ACL? */
int ns_acl_is(struct str name);
/* Set one, and the mode that it means; one that is but a mode is not kept.
 * -EINVAL: damaged; -EACCES: a default ACL for what is no directory. */
int ns_acl_set(struct ns *ns, struct ns_inode *in, struct str name,
	       struct str value);
/* in->a.mode was changed by chmod: so is the ACL, if there is one. */
int ns_acl_chmod(struct ns *ns, struct ns_inode *in);
/* @in, which has its number, is made in @dir by a process with @umask: its
 * mode and ACLs.  @in is to be written afterwards. */
int ns_acl_inherit(struct ns *ns, const struct ns_inode *dir, uint32_t umask,
		   struct ns_inode *in);

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
