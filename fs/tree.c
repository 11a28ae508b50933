/*
 * tree -- see tree.h.
 *
 * Time here is a counter, t->now, that every revocation and every touch
 * moves on.  revoked[] and changed[] say when something that hashes there was
 * last revoked or touched: a collision only makes an answer not believed.
 */
#include "tree.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "table.h"

enum {
	STAMPS = 4096,		/* a power of two */
	KEY_MAX = sizeof(uint64_t) + MSG_NAME_MAX,
};

#define INO_UNKNOWN UINT64_MAX	/* this name must be asked for */

struct inode {
	struct m_attr attr;	/* attr.ino is the key */
	int known;		/* attr is valid */
	int whole;		/* a name that is not here does not exist */
	uint64_t since;		/* no name was lost since then */
	LIST_HEAD(, dentry) names;
	TAILQ_ENTRY(inode) lru;
	UT_hash_handle hh;
};

struct dentry {
	struct inode *dir;
	uint64_t ino;		/* 0: no such name; INO_UNKNOWN */
	LIST_ENTRY(dentry) sibling;
	TAILQ_ENTRY(dentry) lru;
	UT_hash_handle hh;
	size_t key_len;
	uint8_t key[];		/* the directory's number, the name */
};

struct key {
	uint8_t p[KEY_MAX];
	size_t len;
};

struct tree {
	pthread_mutex_t lock;
	/* guarded by lock */
	struct inode *inodes;		/* hash */
	struct dentry *dentries;	/* hash */
	TAILQ_HEAD(, inode) inode_lru;	/* oldest first */
	TAILQ_HEAD(, dentry) dentry_lru;
	size_t most;
	uint64_t now, lost;
	uint64_t revoked[STAMPS], changed[STAMPS];
};

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

/* ----------------------------------------------------------------- nodes */

static struct inode *inode_find(struct tree *t, uint64_t ino)
{
	struct inode *i;

	HASH_FIND(hh, t->inodes, &ino, sizeof(ino), i);
	return i;
}

static struct dentry *dentry_find(struct tree *t, const struct key *k)
{
	struct dentry *d;

	HASH_FIND(hh, t->dentries, k->p, k->len, d);
	return d;
}

static void inode_used(struct tree *t, struct inode *i)
{
	TAILQ_REMOVE(&t->inode_lru, i, lru);
	TAILQ_INSERT_TAIL(&t->inode_lru, i, lru);
}

static void dentry_drop(struct tree *t, struct dentry *d)
{
	LIST_REMOVE(d, sibling);
	TAILQ_REMOVE(&t->dentry_lru, d, lru);
	HASH_DELETE(hh, t->dentries, d);
	free(d);
}

static void names_drop(struct tree *t, struct inode *dir)
{
	struct dentry *d;

	dir->whole = 0;
	while ((d = LIST_FIRST(&dir->names)))
		dentry_drop(t, d);
}

static void inode_drop(struct tree *t, struct inode *i)
{
	names_drop(t, i);
	TAILQ_REMOVE(&t->inode_lru, i, lru);
	HASH_DELETE(hh, t->inodes, i);
	free(i);
}

/* A name of @d's directory is lost, and with it the knowledge of the whole. */
static void dentry_lose(struct tree *t, struct dentry *d)
{
	struct inode *dir = d->dir;

	dentry_drop(t, d);
	dir->whole = 0;
	dir->since = ++t->now;
}

static void make_room(struct tree *t)
{
	while (HASH_COUNT(t->inodes) > t->most)
		inode_drop(t, TAILQ_FIRST(&t->inode_lru));
	while (HASH_COUNT(t->dentries) > 2 * t->most)
		dentry_lose(t, TAILQ_FIRST(&t->dentry_lru));
}

/* Find or make; NULL: no memory. */
static struct inode *inode_get(struct tree *t, uint64_t ino)
{
	struct inode *i = inode_find(t, ino);

	if (i) {
		inode_used(t, i);
		return i;
	}
	i = calloc(1, sizeof(*i));
	if (!i)
		return NULL;
	i->attr.ino = ino;
	i->since = ++t->now;
	LIST_INIT(&i->names);
	HASH_ADD(hh, t->inodes, attr.ino, sizeof(i->attr.ino), i);
	if (!TABLE_ADDED(i)) {
		free(i);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&t->inode_lru, i, lru);
	return i;
}

/* Only in the hash yet; NULL: no memory. */
static struct dentry *dentry_new(struct tree *t, const struct key *k)
{
	struct dentry *d = calloc(1, sizeof(*d) + k->len);

	if (!d)
		return NULL;
	d->key_len = k->len;
	memcpy(d->key, k->p, k->len);
	HASH_ADD_KEYPTR(hh, t->dentries, d->key, d->key_len, d);
	if (!TABLE_ADDED(d)) {
		free(d);
		return NULL;
	}
	return d;
}

/* Without memory the name is lost, and so the whole. */
static void dentry_set(struct tree *t, uint64_t dir, const struct key *k,
		       uint64_t ino)
{
	struct dentry *d = dentry_find(t, k);
	struct inode *i;

	if (d) {
		TAILQ_REMOVE(&t->dentry_lru, d, lru);
		TAILQ_INSERT_TAIL(&t->dentry_lru, d, lru);
		d->ino = ino;
		return;
	}
	i = inode_get(t, dir);
	if (!i)
		return;
	d = dentry_new(t, k);
	if (!d) {
		i->whole = 0;
		i->since = ++t->now;
		return;
	}
	d->dir = i;
	d->ino = ino;
	LIST_INSERT_HEAD(&i->names, d, sibling);
	TAILQ_INSERT_TAIL(&t->dentry_lru, d, lru);
}

/* In a directory that is known whole a name that is not known has to be
 * said to be so. */
static void dentry_unknown(struct tree *t, uint64_t dir, const struct key *k)
{
	struct dentry *d = dentry_find(t, k);
	struct inode *i = d ? d->dir : inode_find(t, dir);

	if (i && i->whole)
		dentry_set(t, dir, k, INO_UNKNOWN);
	else if (d)
		dentry_lose(t, d);
}

static struct inode *attr_set(struct tree *t, const struct m_attr *a)
{
	struct inode *i = inode_get(t, a->ino);

	if (!i)
		return NULL;
	i->attr = *a;
	i->known = 1;
	return i;
}

static void attr_unknown(struct tree *t, uint64_t ino)
{
	struct inode *i = inode_find(t, ino);

	if (!i)
		return;
	i->known = 0;
	if (!i->whole && LIST_EMPTY(&i->names))
		inode_drop(t, i);
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
		inode_drop(t, i);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static int attr_out(struct tree *t, uint64_t ino, struct m_attr *out)
{
	struct inode *i = inode_find(t, ino);

	if (!i || !i->known)
		return -EAGAIN;
	inode_used(t, i);
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
	struct dentry *d = dentry_find(t, k);
	struct inode *i = d ? d->dir : inode_find(t, dir);

	if (i)
		inode_used(t, i);
	if (!d)
		return i && i->whole ? -ENOENT : -EAGAIN;
	TAILQ_REMOVE(&t->dentry_lru, d, lru);
	TAILQ_INSERT_TAIL(&t->dentry_lru, d, lru);
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
		attr_set(t, a);
	make_room(t);
	pthread_mutex_unlock(&t->lock);
}

void tree_put_name(struct tree *t, uint64_t dir, struct str name,
		   uint64_t ino, uint64_t asked)
{
	struct key k = key_of(dir, name);

	pthread_mutex_lock(&t->lock);
	if (name_believed(t, dir, &k, asked))
		dentry_set(t, dir, &k, ino);
	make_room(t);
	pthread_mutex_unlock(&t->lock);
}

void tree_put_whole(struct tree *t, uint64_t dir, uint64_t asked)
{
	struct inode *i;

	pthread_mutex_lock(&t->lock);
	i = inode_find(t, dir);
	if (i && i->since <= asked && t->lost <= asked &&
	    t->revoked[hash_ino(dir)] <= asked)
		i->whole = 1;
	pthread_mutex_unlock(&t->lock);
}

void tree_touch(struct tree *t, uint64_t ino)
{
	pthread_mutex_lock(&t->lock);
	t->changed[hash_ino(ino)] = ++t->now;
	attr_unknown(t, ino);
	pthread_mutex_unlock(&t->lock);
}

void tree_touch_name(struct tree *t, uint64_t dir, struct str name)
{
	struct key k = key_of(dir, name);

	pthread_mutex_lock(&t->lock);
	t->changed[hash_key(&k)] = ++t->now;
	dentry_unknown(t, dir, &k);
	pthread_mutex_unlock(&t->lock);
}

/* Set if it is believed, else forget; returns the inode if it was set. */
static struct inode *settle(struct tree *t, const struct m_attr *a,
			    uint64_t asked)
{
	struct inode *i = NULL;

	if (attr_believed(t, a->ino, asked))
		i = attr_set(t, a);
	if (!i)
		attr_unknown(t, a->ino);
	t->changed[hash_ino(a->ino)] = ++t->now;
	return i;
}

void tree_settle(struct tree *t, const struct m_attr *a, uint64_t asked)
{
	pthread_mutex_lock(&t->lock);
	settle(t, a, asked);
	make_room(t);
	pthread_mutex_unlock(&t->lock);
}

void tree_settle_name(struct tree *t, uint64_t dir, struct str name,
		      uint64_t ino, uint64_t asked)
{
	struct key k = key_of(dir, name);

	pthread_mutex_lock(&t->lock);
	if (name_believed(t, dir, &k, asked))
		dentry_set(t, dir, &k, ino);
	else
		dentry_unknown(t, dir, &k);
	t->changed[hash_key(&k)] = ++t->now;
	make_room(t);
	pthread_mutex_unlock(&t->lock);
}

void tree_settle_empty(struct tree *t, const struct m_attr *a, uint64_t asked)
{
	struct inode *i;

	pthread_mutex_lock(&t->lock);
	i = settle(t, a, asked);
	if (i && LIST_EMPTY(&i->names))
		i->whole = 1;
	make_room(t);
	pthread_mutex_unlock(&t->lock);
}

void tree_update(struct tree *t, const struct m_attr *a)
{
	struct inode *i;
	const struct m_attr *b;

	pthread_mutex_lock(&t->lock);
	t->changed[hash_ino(a->ino)] = ++t->now;
	i = inode_find(t, a->ino);
	b = i && i->known ? &i->attr : NULL;
	if (b && (a->version > b->version ||
		  (a->version == b->version &&
		   (a->ctime_s > b->ctime_s ||
		    (a->ctime_s == b->ctime_s && a->ctime_ns >= b->ctime_ns)))))
		i->attr = *a;
	else
		attr_unknown(t, a->ino);
	pthread_mutex_unlock(&t->lock);
}

void tree_revoked(struct tree *t, const uint64_t *inos, size_t n)
{
	struct inode *i;

	pthread_mutex_lock(&t->lock);
	for (size_t k = 0; k < n; k++) {
		t->revoked[hash_ino(inos[k])] = ++t->now;
		i = inode_find(t, inos[k]);
		if (i)
			inode_drop(t, i);
	}
	pthread_mutex_unlock(&t->lock);
}

void tree_lost(struct tree *t)
{
	struct inode *i;

	pthread_mutex_lock(&t->lock);
	t->lost = ++t->now;
	while ((i = TAILQ_FIRST(&t->inode_lru)))
		inode_drop(t, i);
	pthread_mutex_unlock(&t->lock);
}
