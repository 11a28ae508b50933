/*
 * atimes -- when inodes were last read, as mount(8) says of relatime.
 *
 * A read notes the time; the tracker is told a second later of all that were
 * read meanwhile, in one message that nobody waits for.  Until then this
 * mount shows what it noted.  Others see it when they next ask.
 *
 * A change of the inode after the read has the last word: what is not later
 * than its ctime is overlooked, here and by the tracker, so that utimensat(2)
 * on one mount is not undone by a read on another.
 *
 * Threads: any.  Memory: at most ATIMES_MOST inodes, then it is told at once.
 */
#ifndef PSPFS_ATIMES_H
#define PSPFS_ATIMES_H

#include "link.h"
#include "loop.h"
#include "msg.h"

#define ATIMES_MOST 4096
#define ATIMES_LATE_MS 1000

struct atimes;

/* @told: these are known to the tracker now. */
typedef void (*atimes_told)(void *arg, const struct m_access *v, uint32_t n);
int atimes_new(struct atimes **out, struct link *link, struct loop *loop,
	       atimes_told told, void *arg);
/* Tells what is left.  NULL is fine, here and below: nothing is noted. */
void atimes_free(struct atimes *t);

/* Is a read at @now_s to be noted, with attributes as they are? */
int atimes_due(const struct m_attr *a, int64_t now_s);
/* It was read, with these attributes. */
void atimes_note(struct atimes *t, const struct m_attr *a);
/* With what was noted. */
void atimes_overlay(struct atimes *t, struct m_attr *a);

#endif
