/*
 * lockset -- the byte ranges of one inode that one owner has locked.
 *
 * Sorted, disjoint, and whole: neighbours of one kind are one range.  Setting
 * a kind (or none) on a range cuts what lay there, as fcntl(2) says.  Both
 * ends are in the range; LOCKSET_END is the last byte that a file can have.
 *
 * Pure.  Threads: one at a time for each set.
 * Errors:  0 or -errno; then the set is as it was.
 */
#ifndef PSPFS_LOCKSET_H
#define PSPFS_LOCKSET_H

#include <stdint.h>

#define LOCKSET_END ((uint64_t)INT64_MAX)

/* As on the wire.  LK_READ excludes LK_WRITE, which excludes both. */
enum lk_kind { LK_NONE = 0, LK_READ = 1, LK_WRITE = 2 };

struct lock_range {
	uint64_t start, end;
	uint8_t kind;
};

struct lockset {
	struct lock_range *v;
	uint32_t n, cap;
};

#define LOCKSET_INIT ((struct lockset){ 0 })

void lockset_fini(struct lockset *s);	/* empty again */
/* -ENOMEM; -ENOLCK: it would be more than @most ranges (never for the
 * LK_NONE of a whole range). */
int lockset_set(struct lockset *s, uint64_t start, uint64_t end,
		enum lk_kind kind, uint32_t most);
/* The first range that keeps another owner from @kind on [@start, @end]. */
const struct lock_range *lockset_conflict(const struct lockset *s,
					  uint64_t start, uint64_t end,
					  enum lk_kind kind);
/* The first range that meets [@start, @end], or NULL; and the next one. */
const struct lock_range *lockset_first(const struct lockset *s,
				       uint64_t start, uint64_t end);
const struct lock_range *lockset_next(const struct lockset *s,
				      const struct lock_range *r,
				      uint64_t end);
/* Is all of [@start, @end] held, each byte as @kind or stronger? */
int lockset_covers(const struct lockset *s, uint64_t start, uint64_t end,
		   enum lk_kind kind);
/* The strongest kind in [@start, @end]. */
enum lk_kind lockset_strongest(const struct lockset *s, uint64_t start,
			       uint64_t end);

#endif
