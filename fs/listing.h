/*
 * listing -- entries of a directory in the order of their cookies, as the
 * tracker gave them; pages of them as they come; and those that are kept.
 *
 * A listing is one block of memory, made once and never changed after: a page
 * of the tracker's, or several joined.  It says which name is which inode and
 * of which kind, no more: attributes are the tree's.
 *
 * Bounded: listings_init() says how many bytes are kept in all, and in one;
 *          the least recently used go first.
 * Threads: any for a listing (the count is atomic); for the others their
 *          owner's lock.
 */
#ifndef PSPFS_LISTING_H
#define PSPFS_LISTING_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "msg.h"

struct listing;

/* An entry; the name lives as long as the listing. */
struct listed {
	uint64_t cookie, ino;
	uint32_t mode;
	struct str name;
};

/* One reference; NULL: no memory. */
struct listing *listing_new(const struct m_readdir_r *page);
/* @a and what follows it, @b; with @b's parent and end. */
struct listing *listing_join(const struct listing *a, const struct listing *b);
struct listing *listing_ref(struct listing *l);
void listing_unref(struct listing *l);		/* NULL is fine */

uint64_t listing_parent(const struct listing *l);
int listing_eof(const struct listing *l);	/* nothing follows */
size_t listing_bytes(const struct listing *l);
uint32_t listing_count(const struct listing *l);
void listing_at(const struct listing *l, uint32_t n, struct listed *out);
/* The first entry after cookie @after. */
uint32_t listing_seek(const struct listing *l, uint64_t after);

/* What an open directory has been told. */
struct pages {
	struct listing *page;	/* the last; NULL: none yet */
	uint64_t after;		/* its entries follow this cookie */
	uint64_t asked;		/* for the first one, from the beginning */
	int gapless;		/* every page since then has come */
	struct listing *all;	/* then, all of them; NULL: too large */
};

/* A reference to the page that says what follows cookie @after, and the last
 * cookie that it speaks of; NULL: another one is needed. */
struct listing *pages_at(const struct pages *p, uint64_t after,
			 uint64_t *end);
/* @page, which it takes, follows cookie @after and was asked for at @asked.
 * Is it the last of all, without a gap since p->asked?  Then *@all is the
 * whole, a reference for the caller, or NULL if that is over @most bytes. */
int pages_take(struct pages *p, struct listing *page, uint64_t after,
	       uint64_t asked, size_t most, struct listing **all);
/* @whole, which it takes, is all there is. */
void pages_take_whole(struct pages *p, struct listing *whole);
void pages_fini(struct pages *p);

struct kept_listing;
struct listings {
	struct kept_listing *kept;	/* hash, by directory */
	TAILQ_HEAD(, kept_listing) lru;	/* oldest first */
	size_t bytes, most, most_one;
};

void listings_init(struct listings *ls, size_t most, size_t most_one);
void listings_fini(struct listings *ls);
/* With a reference of its own, in place of the one before; if it is too
 * large there is none. */
void listings_put(struct listings *ls, uint64_t dir, struct listing *l);
/* A reference for the caller; NULL: none is kept. */
struct listing *listings_get(struct listings *ls, uint64_t dir);
void listings_drop(struct listings *ls, uint64_t dir);
void listings_drop_all(struct listings *ls);

#endif
