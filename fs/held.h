/*
 * held -- the locks that this mount's processes hold, as the mount knows.
 *
 * The tracker decides; this is what it granted, so that a hello can list it,
 * a close knows whether there is anything to release, and a release of
 * nothing asks nobody.  What is being released counts as released from the
 * moment that it is asked for: the list never has more than the tracker.
 *
 * Lost: the session's lease had ended, the tracker may have given an inode's
 * locks to others.  Its owners keep them, marked, until they let go.
 *
 * Threads: any.  Pure but for its lock.
 * Errors:  0, -ENOLCK, -ENOMEM.
 */
#ifndef PSPFS_HELD_H
#define PSPFS_HELD_H

#include "lockset.h"
#include "msg.h"

/* SQLite's WAL mode keeps an index in shared memory, a mapped file NAME-shm,
 * which only processes of one machine see in the same state; it locks bytes of
 * that file as long as it uses it.  So its locks are held for this mount alone:
 * SQLite on another mount fails ("locking protocol"), and does no harm. */
#define HELD_SHM "-shm"
#define HELD_SHM_MAX 1024

#define HELD_SEEN 4096		/* inodes remembered as locked here */

struct held;

int held_new(struct held **out);
void held_free(struct held *h);		/* NULL is fine */

/* Below, @k names an owner (ino, space, owner) and a range. */

/* Nothing, or the same, or what? */
struct held_state {
	enum lk_kind strongest;	/* in the range */
	int covered;		/* all of the range is held, as k->kind or
				 * stronger */
	int lost;		/* the owner lost what it had of the inode */
};
void held_look(struct held *h, const struct m_byte_lock *k,
	       struct held_state *out);
/* Is just this held by @handle, and not lost?  1 or 0. */
int held_again(struct held *h, const struct m_byte_lock *k, uint64_t handle);
/* Make it so.  @handle: by which open file; from now on, if by another one
 * before. */
int held_set(struct held *h, const struct m_byte_lock *k, uint64_t handle);
/* The range as it is held, in pieces (also of kind LK_NONE), malloc()ed; how
 * many, or -ENOMEM. */
int held_pieces(struct held *h, const struct m_byte_lock *k,
		struct m_byte_lock **out);
/* Is anything of @ino locked by @handle? */
int held_by_handle(struct held *h, uint64_t ino, uint64_t handle);
/* It was closed: what was locked by it is held no more.  @out, malloc()ed:
 * what is to be released (of kind LK_NONE), all but what was lost; whole
 * files where an owner has nothing any more.  -ENOMEM: not listed. */
int held_drop_handle(struct held *h, uint64_t ino, uint64_t handle,
		     struct m_byte_lock **out, uint32_t *n);

/* All that is not lost, an inode's one behind the other; malloc()ed. */
int held_list(struct held *h, struct m_byte_lock **out, uint32_t *n);
/* All owners lose what they have of @ino. */
void held_lose(struct held *h, uint64_t ino);
/* Has nobody lost anything of it, or everybody let go? */
int held_is_sound(struct held *h, uint64_t ino);
/* An inode's name was seen; are its locks for this mount alone? */
void held_named(struct held *h, const char *name, uint64_t ino);
int held_is_alone(struct held *h, uint64_t ino);
/* Was it ever locked here?  (May say yes of another inode, never no.) */
int held_was_locked(struct held *h, uint64_t ino);

#endif
