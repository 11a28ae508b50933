/*
 * told -- what the kernel was told, and may believe without asking again.
 *
 * Every answer that names an entry or gives attributes may say for how long
 * the kernel can use it by itself: as long as the lease lasts.  When the
 * lease ends early the kernel has to be told so; here is of what.
 *
 * Happy path: told_now(), look (or ask the tracker), told_entry() or
 * told_attr(), answer with the times that they allow.  A revocation first
 * changes the tree, then told_revoked() takes out all that concerns those
 * inodes, and what the list says is made known to the kernel before the
 * revocation is acknowledged.
 *
 * What is noted after such a taking out, but was looked at before, would be
 * missed: so told_entry() and told_attr() refuse what was revoked since @seen.
 *
 * The kernel takes an entry in under its directory's lock, which the telling
 * takes too, and so comes afterwards.  But when it only makes sure of an
 * entry that it has, it does so without: it might take in an old answer after
 * it was told.  Then whoever tells it has to see to it that the thread which
 * asked has gone on, and tell it again.  (It has no entry of an inode that it
 * does not know: the inodes that it knows are counted, as it counts them,
 * one for each entry that it was given, until it says that it forgets.)
 *
 * A directory that was revoked a moment ago is contended: for a while its
 * names are not told at all, since each change of others would have to be
 * made known to the kernel, which waits for the changes of our own there.
 *
 * Bounded: as many names, and inodes, as told_new() was given; of inodes
 *          beyond that only the number is kept, and while there are any,
 *          each is taken to be known that is not recorded.
 * Pure:    time comes as an argument (ms, see now_ms()).
 * Threads: any.
 * Source:  fs/fuse/dir.c and readdir.c of Linux 6.18 for what it does when.
 */
#ifndef PSPFS_TOLD_H
#define PSPFS_TOLD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "msg.h"

#define TOLD_CONTENDED_MS 3000
#define TOLD_TAKEN_MS 2000	/* by then an answer was surely taken in */

struct told;

/* An entry that the kernel may believe. */
struct told_name;
STAILQ_HEAD(told_names, told_name);
/* Attributes; the inode was last named as an entry of @dir. */
struct told_attr {
	uint64_t ino, dir;
};

/* Taken out: the owner frees it. */
struct told_list {
	struct told_names names;
	size_t n_names;
	struct told_attr *attrs;
	size_t n_attrs;
};

int told_new(struct told **out, size_t most);
void told_free(struct told *t);

/* To be noted before looking. */
uint64_t told_now(struct told *t);

/* An answer that was looked for when told_now() was @seen, at @now_ms, under
 * leases until @until_ms. */
struct told_answer {
	uint64_t seen, now_ms, until_ms;
	pid_t tid;		/* of the thread that asks; 0: unknown */
};

enum told_what { TOLD_NAME = 1, TOLD_ATTR = 2 };
/* @dir has @name, which is @ino: what of it may the kernel believe?
 * @locked: it surely takes it in under the lock of @dir.  It is counted: if
 * the kernel did not take the answer, told_forget() it, once. */
int told_entry(struct told *t, uint64_t dir, struct str name, uint64_t ino,
	       int locked, const struct told_answer *a);
/* @ino, which it knows, has these attributes: TOLD_ATTR or 0. */
int told_attr(struct told *t, uint64_t ino, const struct told_answer *a);
/* The kernel moves what it knows of the one name to the other (exchanges the
 * two) as rename(2) returns.  -ENOMEM: it was not noted. */
int told_moved(struct told *t, uint64_t dir, struct str name,
	       uint64_t newdir, struct str newname, int exchange);
/* Of the entries that it was given of @ino the kernel forgets @n. */
void told_forget(struct told *t, uint64_t ino, uint64_t n);
/* Does it believe attributes of @ino?  No more after this. */
int told_untell(struct told *t, uint64_t ino);

/* All that was told of these inodes (a directory's names too), taken out and
 * added to @out (told_list_init()).  Of all inodes.  -ENOMEM: the attributes
 * are not in the list. */
int told_revoked(struct told *t, const uint64_t *inos, size_t n,
		 uint64_t now_ms, struct told_list *out);
int told_all(struct told *t, uint64_t now_ms, struct told_list *out);

void told_list_init(struct told_list *l);
void told_list_fini(struct told_list *l);
struct told_next {
	uint64_t dir;
	const char *name;	/* valid until told_list_fini() */
	pid_t tid;		/* may not have taken it in yet; 0: it has */
	struct told_name *at;	/* NULL at first */
};
int told_list_next(const struct told_list *l, struct told_next *n); /* or 0 */

#endif
