/*
 * locks_internal -- what locks.c (asking, granting, sessions) and locks_wait.c
 * (the queues: who goes on, circles of waiting) share.
 */
#ifndef PSPFS_LOCKS_INTERNAL_H
#define PSPFS_LOCKS_INTERNAL_H

#include <sys/queue.h>

#include "locks.h"
#include "table.h"

/* What one owner has of an inode. */
struct lk_holder {
	TAILQ_ENTRY(lk_holder) link;	/* of the file's space */
	LIST_ENTRY(lk_holder) by_session;
	struct lk_file *file;
	struct lk_session *session;
	uint8_t space;
	uint64_t owner;
	uint32_t pid;			/* that asked last */
	struct lockset set;
};
TAILQ_HEAD(lk_holders, lk_holder);

/* A request that waits. */
struct lk_wait {
	TAILQ_ENTRY(lk_wait) link;	/* of the file's space, in line */
	TAILQ_ENTRY(lk_wait) by_session;
	STAILQ_ENTRY(lk_wait) todo;	/* of a search for a circle */
	unsigned mark;			/* the search that saw it last */
	struct lk_file *file;
	struct lk_session *session;
	uint64_t ticket;
	struct m_byte_lock k;
	int once;			/* may wait for the grace's end only */
};
TAILQ_HEAD(lk_waits, lk_wait);

/* An inode that is locked or waited for. */
struct lk_file {
	uint64_t ino;
	struct lk_holders holders[2];	/* by space */
	struct lk_waits waits[2];
	int pins;			/* somebody walks it: it stays */
	int suspect;			/* those who wait may be in a circle */
	UT_hash_handle hh;
};

struct lk_session {
	uint64_t id;
	LIST_HEAD(, lk_holder) holders;
	struct lk_waits waits;		/* by_session */
	uint32_t n_ranges, n_waits;
	int woken;			/* it was granted something */
	int expected;			/* known from before a restart only */
	UT_hash_handle hh;
};

struct locks {
	struct locks_ops ops;
	struct lk_file *files;
	struct lk_session *sessions;
	unsigned mark;
	int woken;			/* some session is */
	int grace;
};

/* locks.c */
struct lk_holder *locks_holder(const struct lk_file *f, uint8_t space,
			       uint64_t session, uint64_t owner);
/* Make it so, whatever others have: LK_GRANTED or LK_FULL. */
enum lk_state locks_apply(struct locks *l, struct lk_session *s,
			  struct lk_file *f, const struct m_byte_lock *k);
void locks_wait_free(struct lk_wait *w);
/* Is there anything left of it? */
void locks_file_unused(struct locks *l, struct lk_file *f);

/* locks_wait.c */
/* As what @k counts against @h's: one that is to be alone, of another session,
 * as the strongest.  (Of an inode all requests are to be alone, or none.) */
enum lk_kind locks_against(const struct lk_holder *h, uint64_t session,
			   const struct m_byte_lock *k);
/* Who keeps @session from @k, or NULL. */
struct lk_holder *locks_blocker(const struct lk_file *f, uint64_t session,
				const struct m_byte_lock *k);
/* May it have @k now?  @before: those in line before this one; NULL: all. */
int locks_may(const struct lk_file *f, const struct lk_session *s,
	      const struct m_byte_lock *k, const struct lk_wait *before);
/* Would waiting close a circle? */
int locks_circle(struct locks *l, struct lk_wait *w);
/* It waits no more, and is told why. */
void locks_decide(struct locks *l, struct lk_wait *w, enum lk_state state);
/* Last in each change: a process that got its first lock stands in no line
 * any more for fairness' sake, wherever it waits. */
void locks_settle(struct locks *l);
/* Somebody gave something up: who can go on goes on. */
void locks_advance(struct locks *l, struct lk_file *f, uint8_t space);

#endif
