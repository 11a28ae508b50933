/* tree_node -- inodes and names; see tree_internal.h. */
#include <stdlib.h>
#include <string.h>

#include "tree_internal.h"

struct inode *tree_inode_find(struct tree *t, uint64_t ino)
{
	struct inode *i;

	HASH_FIND(hh, t->inodes, &ino, sizeof(ino), i);
	return i;
}

struct dentry *tree_dentry_find(struct tree *t, const struct key *k)
{
	struct dentry *d;

	HASH_FIND(hh, t->dentries, k->p, k->len, d);
	return d;
}

void tree_inode_used(struct tree *t, struct inode *i)
{
	TAILQ_REMOVE(&t->inode_lru, i, lru);
	TAILQ_INSERT_TAIL(&t->inode_lru, i, lru);
}

void tree_dentry_used(struct tree *t, struct dentry *d)
{
	TAILQ_REMOVE(&t->dentry_lru, d, lru);
	TAILQ_INSERT_TAIL(&t->dentry_lru, d, lru);
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

void tree_inode_drop(struct tree *t, struct inode *i)
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

void tree_make_room(struct tree *t)
{
	while (HASH_COUNT(t->inodes) > t->most)
		tree_inode_drop(t, TAILQ_FIRST(&t->inode_lru));
	while (HASH_COUNT(t->dentries) > 2 * t->most)
		dentry_lose(t, TAILQ_FIRST(&t->dentry_lru));
}

/* Find or make; NULL: no memory. */
static struct inode *inode_get(struct tree *t, uint64_t ino)
{
	struct inode *i = tree_inode_find(t, ino);

	if (i) {
		tree_inode_used(t, i);
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
void tree_dentry_set(struct tree *t, uint64_t dir, const struct key *k,
		     uint64_t ino)
{
	struct dentry *d = tree_dentry_find(t, k);
	struct inode *i;

	if (d) {
		tree_dentry_used(t, d);
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

/* A name of @dir was not taken in: who asked by now does not know the whole. */
void tree_dentry_refused(struct tree *t, uint64_t dir)
{
	struct inode *i = tree_inode_find(t, dir);

	if (i)
		i->since = ++t->now;
}

/* In a directory that is known whole a name that is not known has to be
 * said to be so. */
void tree_dentry_unknown(struct tree *t, uint64_t dir, const struct key *k)
{
	struct dentry *d = tree_dentry_find(t, k);
	struct inode *i = d ? d->dir : tree_inode_find(t, dir);

	if (i && i->whole)
		tree_dentry_set(t, dir, k, INO_UNKNOWN);
	else if (d)
		dentry_lose(t, d);
}

struct inode *tree_attr_set(struct tree *t, const struct m_attr *a)
{
	struct inode *i = inode_get(t, a->ino);

	if (!i)
		return NULL;
	i->attr = *a;
	i->known = 1;
	return i;
}

void tree_attr_unknown(struct tree *t, uint64_t ino)
{
	struct inode *i = tree_inode_find(t, ino);

	if (!i)
		return;
	i->known = 0;
	if (!i->whole && LIST_EMPTY(&i->names))
		tree_inode_drop(t, i);
}
