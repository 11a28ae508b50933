/*
 * tree -- see tree.h.
 *
 * Time here is a counter, t->now, that every revocation and every touch
 * moves on.  revoked[], changed[] and renamed[] say when something that
 * hashes there was last revoked or touched: a collision only makes an answer
 * not believed.  A listing that is kept goes when its own directory does.
 */
#include "tree.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tree_internal.h"

/* ---------------------------------------------------------------- stamps */

static unsigned hash_ino(uint64_t ino)
{
	return (ino * 0x9e3779b97f4a7c15u) >> 52 & (STAMPS - 1);
}

static unsigned hash_key(const struct key *k)
{
	unsigned h;

	HASH_JEN(k->p, k->len, h);
	return h & (STAMPS - 1);
}

static struct key key_of(uint64_t dir, struct str name)
{
	struct key k;

	assert(name.len <= MSG_NAME_MAX);
	memcpy(k.p, &dir, sizeof(dir));
	memcpy(k.p + sizeof(dir), name.p, name.len);
	k.len = sizeof(dir) + name.len;
	return k;
}

static int attr_believed(const struct tree *t, uint64_t ino, uint64_t asked)
{
	return t->lost <= asked && t->revoked[hash_ino(ino)] <= asked &&
	       t->changed[hash_ino(ino)] <= asked;
}

static int name_believed(const struct tree *t, uint64_t dir,
			 const struct key *k, uint64_t asked)
{
	return t->lost <= asked && t->revoked[hash_ino(dir)] <= asked &&
	       t->changed[hash_key(k)] <= asked;
}

/* ".." changes with the attributes of the directory itself. */
static int listing_believed(const struct tree *t, uint64_t dir, uint64_t asked)
{
	return attr_believed(t, dir, asked) &&
	       t->renamed[hash_ino(dir)] <= asked;
}

static void changed(struct tree *t, uint64_t ino)
{
	t->changed[hash_ino(ino)] = ++t->now;
	listings_drop(&t->listings, ino);
}

static void renamed(struct tree *t, uint64_t dir, const struct key *k)
{
	t->changed[hash_key(k)] = ++t->now;
	t->renamed[hash_ino(dir)] = t->now;
	listings_drop(&t->listings, dir);
}

/* ------------------------------------------------------------- interface */

int tree_new(struct tree **out, size_t most)
{
	struct tree *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	assert(most >= 2);	/* a directory and an entry of it */
	pthread_mutex_init(&t->lock, NULL);
	TAILQ_INIT(&t->inode_lru);
	TAILQ_INIT(&t->dentry_lru);
	listings_init(&t->listings, TREE_LISTINGS, TREE_LISTING_MAX);
	t->most = most;
	*out = t;
	return 0;
}

void tree_free(struct tree *t)
{
	struct inode *i;

	if (!t)
		return;
	while ((i = TAILQ_FIRST(&t->inode_lru)))
		tree_inode_drop(t, i);
	listings_fini(&t->listings);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static int attr_out(struct tree *t, uint64_t ino, struct m_attr *out)
{
	struct inode *i = tree_inode_find(t, ino);

	if (!i || !i->known)
		return -EAGAIN;
	tree_inode_used(t, i);
	*out = i->attr;
	return 0;
}

int tree_attr(struct tree *t, uint64_t ino, struct m_attr *out)
{
	int err;

	pthread_mutex_lock(&t->lock);
	err = attr_out(t, ino, out);
	pthread_mutex_unlock(&t->lock);
	return err;
}

static int lookup(struct tree *t, uint64_t dir, const struct key *k,
		  struct m_attr *out)
{
	struct dentry *d = tree_dentry_find(t, k);
	struct inode *i = d ? d->dir : tree_inode_find(t, dir);

	if (i)
		tree_inode_used(t, i);
	if (!d)
		return i && i->whole ? -ENOENT : -EAGAIN;
	tree_dentry_used(t, d);
	if (!d->ino)
		return -ENOENT;
	return d->ino == INO_UNKNOWN ? -EAGAIN : attr_out(t, d->ino, out);
}

int tree_lookup(struct tree *t, uint64_t dir, struct str name,
		struct m_attr *out)
{
	struct key k = key_of(dir, name);
	int err;

	pthread_mutex_lock(&t->lock);
	err = lookup(t, dir, &k, out);
	pthread_mutex_unlock(&t->lock);
	return err;
}

struct listing *tree_listing(struct tree *t, uint64_t dir)
{
	struct listing *l;

	pthread_mutex_lock(&t->lock);
	l = listings_get(&t->listings, dir);
	pthread_mutex_unlock(&t->lock);
	return l;
}

uint64_t tree_now(struct tree *t)
{
	uint64_t now;

	pthread_mutex_lock(&t->lock);
	now = t->now;
	pthread_mutex_unlock(&t->lock);
	return now;
}

void tree_put(struct tree *t, const struct m_attr *a, uint64_t asked)
{
	pthread_mutex_lock(&t->lock);
	if (attr_believed(t, a->ino, asked))
		tree_attr_set(t, a);
	tree_make_room(t);
	pthread_mutex_unlock(&t->lock);
}

void tree_put_name(struct tree *t, uint64_t dir, struct str name,
		   uint64_t ino, uint64_t asked)
{
	struct key k = key_of(dir, name);

	pthread_mutex_lock(&t->lock);
	if (name_believed(t, dir, &k, asked))
		tree_dentry_set(t, dir, &k, ino);
	else
		tree_dentry_refused(t, dir);
	tree_make_room(t);
	pthread_mutex_unlock(&t->lock);
}

void tree_put_whole(struct tree *t, uint64_t dir, uint64_t asked)
{
	struct inode *i;

	pthread_mutex_lock(&t->lock);
	i = tree_inode_find(t, dir);
	if (i && i->since <= asked && t->lost <= asked &&
	    t->revoked[hash_ino(dir)] <= asked)
		i->whole = 1;
	pthread_mutex_unlock(&t->lock);
}

void tree_put_listing(struct tree *t, uint64_t dir, struct listing *l,
		      uint64_t asked)
{
	pthread_mutex_lock(&t->lock);
	if (listing_believed(t, dir, asked))
		listings_put(&t->listings, dir, l);
	pthread_mutex_unlock(&t->lock);
}

void tree_touch(struct tree *t, uint64_t ino)
{
	pthread_mutex_lock(&t->lock);
	changed(t, ino);
	tree_attr_unknown(t, ino);
	pthread_mutex_unlock(&t->lock);
}

void tree_touch_name(struct tree *t, uint64_t dir, struct str name)
{
	struct key k = key_of(dir, name);

	pthread_mutex_lock(&t->lock);
	renamed(t, dir, &k);
	tree_dentry_unknown(t, dir, &k);
	pthread_mutex_unlock(&t->lock);
}

/* Set if it is believed, else forget; returns the inode if it was set. */
static struct inode *settle(struct tree *t, const struct m_attr *a,
			    uint64_t asked)
{
	struct inode *i = NULL;

	if (attr_believed(t, a->ino, asked))
		i = tree_attr_set(t, a);
	if (!i)
		tree_attr_unknown(t, a->ino);
	changed(t, a->ino);
	return i;
}

void tree_settle(struct tree *t, const struct m_attr *a, uint64_t asked)
{
	pthread_mutex_lock(&t->lock);
	settle(t, a, asked);
	tree_make_room(t);
	pthread_mutex_unlock(&t->lock);
}

void tree_settle_name(struct tree *t, uint64_t dir, struct str name,
		      uint64_t ino, uint64_t asked)
{
	struct key k = key_of(dir, name);

	pthread_mutex_lock(&t->lock);
	if (name_believed(t, dir, &k, asked))
		tree_dentry_set(t, dir, &k, ino);
	else
		tree_dentry_unknown(t, dir, &k);
	renamed(t, dir, &k);
	tree_make_room(t);
	pthread_mutex_unlock(&t->lock);
}

void tree_settle_empty(struct tree *t, const struct m_attr *a, uint64_t asked)
{
	struct inode *i;

	pthread_mutex_lock(&t->lock);
	i = settle(t, a, asked);
	if (i && LIST_EMPTY(&i->names))
		i->whole = 1;
	tree_make_room(t);
	pthread_mutex_unlock(&t->lock);
}

void tree_update(struct tree *t, const struct m_attr *a)
{
	struct inode *i;
	const struct m_attr *b;

	pthread_mutex_lock(&t->lock);
	changed(t, a->ino);
	i = tree_inode_find(t, a->ino);
	b = i && i->known ? &i->attr : NULL;
	if (b && (a->version > b->version ||
		  (a->version == b->version &&
		   (a->ctime_s > b->ctime_s ||
		    (a->ctime_s == b->ctime_s && a->ctime_ns >= b->ctime_ns)))))
		i->attr = *a;
	else
		tree_attr_unknown(t, a->ino);
	pthread_mutex_unlock(&t->lock);
}

void tree_accessed(struct tree *t, const struct m_access *at)
{
	struct inode *i;
	struct m_attr *a;

	pthread_mutex_lock(&t->lock);
	i = tree_inode_find(t, at->ino);
	a = i && i->known ? &i->attr : NULL;
	if (a && (at->atime_s > a->ctime_s || (at->atime_s == a->ctime_s &&
					       at->atime_ns > a->ctime_ns))) {
		a->atime_s = at->atime_s;
		a->atime_ns = at->atime_ns;
	}
	pthread_mutex_unlock(&t->lock);
}

void tree_revoked(struct tree *t, const uint64_t *inos, size_t n)
{
	struct inode *i;

	pthread_mutex_lock(&t->lock);
	for (size_t k = 0; k < n; k++) {
		t->revoked[hash_ino(inos[k])] = ++t->now;
		listings_drop(&t->listings, inos[k]);
		i = tree_inode_find(t, inos[k]);
		if (i)
			tree_inode_drop(t, i);
	}
	pthread_mutex_unlock(&t->lock);
}

void tree_lost(struct tree *t)
{
	struct inode *i;

	pthread_mutex_lock(&t->lock);
	t->lost = ++t->now;
	listings_drop_all(&t->listings);
	while ((i = TAILQ_FIRST(&t->inode_lru)))
		tree_inode_drop(t, i);
	pthread_mutex_unlock(&t->lock);
}
