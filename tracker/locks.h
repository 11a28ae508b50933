/*
 * locks -- byte-range and whole-file locks, across all mounts.
 *
 * An owner is a session's: (session, the kernel's lock owner).  fcntl(2)'s
 * locks (POSIX and OFD) and flock(2)'s are two spaces that do not meet.  What
 * an owner has of an inode is a lockset; what is asked for and cannot be had
 * waits in the inode's queue, if it may, and is decided later: ops->decided.
 *
 * Happy path: locks_ask() -> LK_GRANTED, or LK_WAITS and later decided(); a
 * release, a downgrade, a cancel or a session's end lets others go on.
 *
 * Fair: who asks for what an earlier one waits for stands in line behind it,
 * so that readers cannot starve a writer.  But only a process that holds no
 * lock at all: so a line alone can never close a circle of waiting.
 * Deadlock: a circle of fcntl owners that wait for each other is found when
 * it would close (also after a grant), over all inodes: LK_DEADLOCK.
 *
 * Where they live: in memory.  They are not in the database: a change of
 * state is never lost in a way that its session does not know, since each
 * session knows what it has and says so with every hello (locks_resume).
 * That costs no write per lock, and holds after a power cut that took the
 * database's last second as well as after kill -9.  The price is a time of
 * grace after a restart (locks_grace): until every session that was live has
 * come back, or its lease has ended, nothing new is granted.
 *
 * Trust: a session whose lease ended has lost all (locks_drop), others may
 * have had them since.  What it lists when it comes back is refused, until it
 * asks for a lock again, which it does only knowing that.
 *
 * Bounds: LOCKS_* below; beyond them LK_FULL (ENOLCK).
 * Knows no time, no frames.  Threads: one.
 */
#ifndef PSPFS_LOCKS_H
#define PSPFS_LOCKS_H

#include <stdint.h>

#include "lockset.h"
#include "msg.h"

#define LOCKS_OWNER_MAX 8192	/* ranges of one owner in one inode */
#define LOCKS_SESSION_MAX MSG_LOCKS_MAX		/* ranges of one session */
#define LOCKS_WAITS_MAX 4096	/* requests of one session that wait */

struct locks;

struct locks_ops {
	/* Request @ticket, which waited, is decided: LK_GRANTED, or why not. */
	void (*decided)(void *arg, uint64_t session, uint64_t ticket,
			const struct m_byte_lock *k, enum lk_state state);
	void *arg;
};

int locks_new(struct locks **out, const struct locks_ops *ops);
void locks_free(struct locks *l);	/* NULL is fine */

/* Is it a lock that can be?  (for bytes from a session) */
int locks_sound(const struct m_byte_lock *k);
/* Get, change or (LK_NONE) release.  @wait: stand in line if it cannot be
 * had now.  In grace every answer but a release may be LK_WAITS.  A @ticket
 * that waits already goes on waiting. */
enum lk_state locks_ask(struct locks *l, uint64_t session, uint64_t ticket,
			const struct m_byte_lock *k, int wait);
/* What keeps @session from @k: *@out, of kind LK_NONE if nothing does. */
void locks_get(const struct locks *l, uint64_t session,
	       const struct m_byte_lock *k, struct m_byte_lock *out);
/* It waits no more.  (If it does not wait, it was decided.) */
void locks_cancel(struct locks *l, uint64_t session, uint64_t ticket);

/* The session is over, or its lease: all it had and all it waits for ends. */
void locks_drop(struct locks *l, uint64_t session);
/* It said hello: it has these, and waits for nothing.  Those that cannot be
 * are refused: their inodes, each once, to @lost (room for @n); how many.
 * @sure: it knows of its last hello. */
uint32_t locks_resume(struct locks *l, uint64_t session, int sure,
		      const struct m_byte_lock *v, uint32_t n,
		      uint64_t *lost);
/* After a restart: @session was live, what it lists will be believed. */
int locks_expect(struct locks *l, uint64_t session);
void locks_grace(struct locks *l, int on);

#endif
