/*
 * ns -- the namespace: inodes, dentries, xattrs, slots, chunks.
 *
 * Every function is one operation inside the batch that the caller has open
 * (db_begin); on an error it has changed nothing.  Nothing here knows a
 * clock, a socket, a session or a peer's state: times come in struct ns_now.
 *
 * Threads: the metadata thread.
 * Errors:  0 or -errno as the system call of that name gives.
 * Memory:  out-parameters that point to bytes or lists live in the caller's
 *          arena.
 */
#ifndef PSPFS_NS_H
#define PSPFS_NS_H

#include "codec.h"
#include "db.h"
#include "msg.h"

#define NS_ROOT 1
#define NS_LINK_MAX 65000	/* hard links of an inode */
#define NS_XATTR_TOTAL 65536	/* bytes of names and values of an inode */
#define NS_TOUCHED_MAX 8
#define NS_SLOT_MIN 1024	/* a file's chunk size: a power of two */
#define NS_SLOT_MAX (16u << 20)
#define NS_STACK_MAX MSG_SLICES_MAX /* slices of a slot */
/* Slices of a slot that is worth compacting: so many, and one more for each
 * such part of what it holds. */
#define NS_DEEP 8
#define NS_DEEP_BYTES (16u << 10)
#define NS_COPIES_STEP 1024	/* chunks of one ns_set_copies() */
#define NS_SLOT_MIN 1024	/* bytes of a slot that a file may have */
#define NS_SLOT_MAX (16u << 20)

_Static_assert(NS_STACK_MAX <= MSG_SLICES_MAX, "a slot fits its record");
_Static_assert(NS_STACK_MAX <= MSG_CHUNKS_MAX, "a slot fits a getmap_r");

struct ns_now {
	int64_t s;
	uint32_t ns;
};

/* Inodes whose attributes, entries or map an operation changed: other
 * sessions' leases on them are to be revoked before it is answered. */
struct ns_touched {
	uint64_t ino[NS_TOUCHED_MAX];
	uint8_t also[NS_TOUCHED_MAX];	/* enum revoke_bits: what is to be told
					   to all that ever knew it */
	unsigned n;
};

struct ns_config {
	uint32_t slot_size;	/* of new files */
	uint8_t copies;		/* of chunks with no number of their own */
	uint64_t files_max;	/* inodes that there may be; 0: any number */
};

struct ns;

/* Makes the root (mode 1777, so that every user of the swarm may write) in a
 * new database.  Opens and commits a batch of its own. */
int ns_open(struct ns **out, struct db *db, const struct ns_config *cfg,
	    struct ns_now now);
void ns_close(struct ns *ns);

/* Reading. */
int ns_getattr(struct ns *ns, uint64_t ino, struct m_attr *out);
int ns_lookup(struct ns *ns, uint64_t parent, struct str name,
	      struct m_attr *out);
int ns_readdir(struct ns *ns, struct arena *a, uint64_t ino, uint64_t after,
	       uint32_t most, struct m_readdir_r *out);
/* Its first entries' inodes, into @out (of @most); how many, or -errno. */
int ns_dir_inos(struct ns *ns, uint64_t dir, uint64_t *out, int most);
int ns_readlink(struct ns *ns, struct arena *a, uint64_t ino,
		struct str *out);
int ns_getxattr(struct ns *ns, struct arena *a, uint64_t ino, struct str name,
		struct str *out);
int ns_listxattr(struct ns *ns, struct arena *a, uint64_t ino,
		 struct m_listxattr_r *out);
/* The slots in the range that have slices, and each chunk they name, once
 * (without holders: the caller knows them).  -E2BIG: the answer would not
 * fit a frame, ask for fewer slots (one always fits). */
int ns_getmap(struct ns *ns, struct arena *a, uint64_t ino, uint64_t first,
	      uint32_t count, struct m_getmap_r *out);
/* Where data, or a hole, is next.  The end of the file is a hole. */
int ns_seek(struct ns *ns, const struct m_seekmap *m, struct m_seekmap_r *out);
/* A chunk's particulars (holders empty); -ENOENT. */
int ns_chunk(struct ns *ns, uint64_t id, struct m_chunk *out);
struct ns_count {
	uint64_t files;		/* inodes of every type, orphans too */
	uint64_t chunks;	/* that a slot names */
	uint64_t bytes;		/* that files map (the sum of attr.stored) */
	uint64_t garbage;	/* chunks that wait for deletion */
};
void ns_count(struct ns *ns, struct ns_count *out);	/* kept up to date */

/* Changing.  @t is appended to.  -ENOSPC: there are files_max. */
int ns_mknod(struct ns *ns, const struct m_mknod *m, struct ns_now now,
	     struct m_mknod_r *out, struct ns_touched *t);
int ns_setattr(struct ns *ns, const struct m_setattr *m, struct ns_now now,
	       struct m_attr *out, struct ns_touched *t);
int ns_link(struct ns *ns, const struct m_link *m, struct ns_now now,
	    struct m_link_r *out, struct ns_touched *t);
/* An inode that loses its last name becomes an orphan (in the database too)
 * and keeps its content until ns_reap(). */
int ns_unlink(struct ns *ns, const struct m_unlink *m, struct ns_now now,
	      struct m_unlink_r *out, struct ns_touched *t);
int ns_rename(struct ns *ns, const struct m_rename *m, struct ns_now now,
	      struct m_rename_r *out, struct ns_touched *t);
int ns_setxattr(struct ns *ns, const struct m_setxattr *m, struct ns_now now,
		struct m_attr *out, struct ns_touched *t);
int ns_removexattr(struct ns *ns, const struct m_removexattr *m,
		   struct ns_now now, struct m_attr *out,
		   struct ns_touched *t);
/* It was read then: noted if that is later than its ctime and its atime. */
int ns_accessed(struct ns *ns, const struct m_access *m);
/* @out->placed and ->deep are in @a.  A chunk may be named that has been
 * reserved, and that is known already or stored by at least one peer;
 * -EINVAL otherwise, and when length or MD5 differ from what is known.
 * -EBUSY: a slot's stack is full (NS_STACK_MAX), compact it first.
 * -ESTALE: the content has not the version @m->only. */
int ns_commit(struct ns *ns, struct arena *a, const struct m_commit *m,
	      struct ns_now now, struct m_commit_r *out,
	      struct ns_touched *t);
/* What was pushed to the slot up to version m->expect becomes one slice (or
 * a few, with the holes that there were between them), beneath what was pushed later, and is to have as many copies as the chunk
 * in its place that wanted most.  @out->done is 0, and nothing changed, if
 * since then the slot was changed by anything but pushes (a truncate, a
 * compaction) or empty.  When nothing of the slice would be seen it is left
 * out, and its chunk is not recorded: ns_chunk() tells. */
int ns_compact(struct ns *ns, const struct m_compact *m, struct ns_now now,
	       struct m_compact_r *out, struct ns_touched *t);

/* fallocate: what is punched or zeroed becomes a hole, the rest is a matter of
 * size.  @out->done: as far as it got.  -EOPNOTSUPP: nothing was done, the
 * first slot would become too deep. */
int ns_allocate(struct ns *ns, const struct m_allocate *m, struct ns_now now,
		struct m_allocate_r *out, struct ns_touched *t);
/* copy_file_range: slices of m->ino that name the chunks of m->from (which
 * keep their numbers of copies).  Its times and size are as after a write.
 * @out->deep is in @a.  -EOPNOTSUPP: nothing was done, the first slot would
 * become too deep; -EINVAL, -EFBIG, as the message says. */
int ns_clone(struct ns *ns, struct arena *a, const struct m_clone *m,
	     struct ns_now now, struct m_clone_r *out, struct ns_touched *t);
/* Delete an orphan for good (its chunks lose a reference); 0 also when it is
 * no orphan or gone.  1: a part of a large file went, call again. */
int ns_reap(struct ns *ns, uint64_t ino, struct ns_now now);
/* Orphans with ino > @after, up to @max; returns how many. */
int ns_orphans(struct ns *ns, uint64_t after, uint64_t *out, int max);

/* Chunks: who is assigned to keep it, durably (numbers of peers). */
int ns_assigned(struct ns *ns, struct arena *a, uint64_t chunk,
		uint32_t **peers, uint32_t *n);
int ns_assign(struct ns *ns, uint64_t chunk, const uint32_t *peers,
	      uint32_t n);
/* Walk all chunks with id > @after in order, up to @max (for repair, for
 * counting what is under-replicated); garbage is left out. */
struct ns_chunk_row {
	struct m_chunk chunk;	/* without holders */
	uint8_t copies;		/* wanted; 0: as the swarm has it */
};
int ns_chunks(struct ns *ns, struct arena *a, uint64_t after, uint32_t max,
	      struct ns_chunk_row **out, uint32_t *n);
/* How many copies a chunk is to have, as in its row; -ENOENT. */
int ns_copies(struct ns *ns, uint64_t chunk, uint8_t *out);
/* From now on the chunks of a file want @copies.  Goes through the slots from
 * *@at on until some NS_COPIES_STEP chunks were looked at, and leaves *@at
 * behind the last.  1: there may be more; 0: that was all; -ENOENT, -EISDIR,
 * -EINVAL (no regular file). */
int ns_set_copies(struct ns *ns, uint64_t ino, uint64_t *at, uint8_t copies);

/* Garbage, two phases.  A chunk without references waits in the garbage
 * table from @now on; ns_garbage_due lists those that wait since before
 * @before, and, of a clock that was wrong once, since after @after;
 * ns_garbage_drop removes their rows (then commit with sync, only
 * then tell the peers), or gives -EBUSY if one is named again. */
int ns_garbage_due(struct ns *ns, struct ns_now before, struct ns_now after,
		   uint64_t *out, int max);
int ns_garbage_drop(struct ns *ns, const uint64_t *chunks, int n);

/* Ids: reserve the next @n, durably with the batch (commit it with sync
 * before any is used).  *@first gets the first. */
int ns_reserve_ids(struct ns *ns, uint64_t n, uint64_t *first);
/* The MD5 of a file's whole content: out->known 0 if it was not told for the
 * content as it is now. */
int ns_digest(struct ns *ns, uint64_t ino, struct m_digest_r *out);
/* It is this, if the content is still m->version: *@kept. */
int ns_digested(struct ns *ns, const struct m_digested *m, uint8_t *kept);

/* Small named values: "swarm", "epoch", ... */
int ns_meta_get(struct ns *ns, const char *key, uint64_t *out);	/* -ENOENT */
int ns_meta_set(struct ns *ns, const char *key, uint64_t v);

#endif
