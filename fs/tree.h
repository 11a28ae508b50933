/*
 * tree -- what this mount knows of the namespace under its leases.
 *
 * Attributes by inode, and names by (directory, name), also names that are
 * known not to exist.  A directory may be known whole (made here, or listed
 * to its end): then a name that is not in the cache does not exist.
 * And the listing of a directory, in the tracker's order, if it was listed to
 * its end and nothing has changed in it since.
 * What is in the tree is true as long as link_leased() says so.
 *
 * What may go in: an answer says what was true when the tracker ran the
 * request.  By the time it comes back the inode may have been revoked, or a
 * change by this mount may have passed it.  So each request notes tree_now()
 * before it is sent; an answer to something that was revoked or touched
 * since is not believed, and the next look asks again.
 *
 * A change by this mount: tree_touch*() all that it alters, note tree_now(),
 * send; on the answer tree_settle*() what it says and tree_touch*() what it
 * does not (all of it, if it failed).  Of two changes that overlap neither
 * answer is believed.
 *
 * Bounded: the least recently used inodes and names go first; so do
 *          listings (TREE_LISTINGS bytes; none larger than TREE_LISTING_MAX).
 * Threads: any; no lock is held across a call to another module (but to
 *          listing.h's, which is a part of it).
 */
#ifndef PSPFS_TREE_H
#define PSPFS_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "listing.h"
#include "msg.h"

#define TREE_LISTINGS ((size_t)16 << 20)
#define TREE_LISTING_MAX ((size_t)2 << 20)	/* some 40,000 entries */

struct tree;

/* At most @most inodes and twice as many names. */
int tree_new(struct tree **out, size_t most);
void tree_free(struct tree *t);

/* 0, or -EAGAIN: not known here. */
int tree_attr(struct tree *t, uint64_t ino, struct m_attr *out);
/* 0; -ENOENT: known not to exist; -EAGAIN: not known here. */
int tree_lookup(struct tree *t, uint64_t dir, struct str name,
		struct m_attr *out);
/* All entries of @dir, a reference for the caller; NULL: not known here. */
struct listing *tree_listing(struct tree *t, uint64_t dir);

/* To be noted before a request is sent. */
uint64_t tree_now(struct tree *t);

/* Answers to requests that only read, sent at @asked.  @ino 0: no such
 * name. */
void tree_put(struct tree *t, const struct m_attr *a, uint64_t asked);
void tree_put_name(struct tree *t, uint64_t dir, struct str name,
		   uint64_t ino, uint64_t asked);
/* All names of @dir were put, each asked for at @asked or later. */
void tree_put_whole(struct tree *t, uint64_t dir, uint64_t asked);
/* This is all of @dir, each page asked for at @asked or later.  Takes a
 * reference of its own. */
void tree_put_listing(struct tree *t, uint64_t dir, struct listing *l,
		      uint64_t asked);

/* Not known (any more). */
void tree_touch(struct tree *t, uint64_t ino);
void tree_touch_name(struct tree *t, uint64_t dir, struct str name);
/* Answers to changes by this mount. */
void tree_settle(struct tree *t, const struct m_attr *a, uint64_t asked);
void tree_settle_name(struct tree *t, uint64_t dir, struct str name,
		      uint64_t ino, uint64_t asked);
/* A directory that this mount has just made: whole, and empty. */
void tree_settle_empty(struct tree *t, const struct m_attr *a,
		       uint64_t asked);
/* Attributes after a commit of file data; taken if they are newer than what
 * is there. */
void tree_update(struct tree *t, const struct m_attr *a);

/* It was read: its atime, if that is known here and later than the ctime. */
void tree_accessed(struct tree *t, const struct m_access *at);

/* The leases on these inodes are gone; all are. */
void tree_revoked(struct tree *t, const uint64_t *inos, size_t n);
void tree_lost(struct tree *t);

#endif
