/*
 * told_names -- the names that the kernel may believe, by directory.
 *
 * They leave when they are taken out, or when their time is over: they stand
 * in the order in which they were noted last, which is about the order of
 * their ends, and the first ones are looked at with each new one.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "told_internal.h"

enum { PURGE = 2 };		/* old records looked at for a new one */

struct key told_key(uint64_t dir, struct str name)
{
	struct key k;

	assert(name.len <= MSG_NAME_MAX);
	memcpy(k.p, &dir, sizeof(dir));
	memcpy(k.p + sizeof(dir), name.p, name.len);
	k.len = sizeof(dir) + name.len;
	k.p[k.len] = '\0';
	return k;
}

struct told_name *told_name_find(struct told *t, const struct key *k)
{
	struct told_name *n;

	HASH_FIND(hh, t->names, k->p, k->len, n);
	return n;
}

static struct dir *dir_get(struct told *t, uint64_t ino)
{
	struct dir *d;

	HASH_FIND(hh, t->dirs, &ino, sizeof(ino), d);
	if (d)
		return d;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->ino = ino;
	HASH_ADD(hh, t->dirs, ino, sizeof(d->ino), d);
	if (TABLE_ADDED(d))
		return d;
	free(d);
	return NULL;
}

static void dir_settle(struct told *t, struct dir *d)
{
	if (!LIST_EMPTY(&d->names))
		return;
	HASH_DELETE(hh, t->dirs, d);
	free(d);
}

/* Out of all that finds it; its directory may be left empty. */
static void name_unlink(struct told *t, struct told_name *n)
{
	LIST_REMOVE(n, sibling);
	TAILQ_REMOVE(&t->name_ages, n, age);
	HASH_DELETE(hh, t->names, n);
	n->dir = NULL;
}

void told_name_drop(struct told *t, struct told_name *n)
{
	struct dir *d = n->dir;

	name_unlink(t, n);
	free(n);
	dir_settle(t, d);
}

static struct told_name *name_new(struct told *t, const struct key *k)
{
	struct told_name *n = malloc(sizeof(*n) + k->len + 1);

	if (!n)
		return NULL;
	n->key_len = k->len;
	memcpy(n->key, k->p, k->len + 1);
	HASH_ADD_KEYPTR(hh, t->names, n->key, n->key_len, n);
	if (TABLE_ADDED(n))
		return n;
	free(n);
	return NULL;
}

int told_name_put(struct told *t, uint64_t dir, const struct key *k,
		    uint64_t until_ms)
{
	struct told_name *n = told_name_find(t, k);
	struct dir *d;

	if (n) {
		if (until_ms > n->until_ms)
			n->until_ms = until_ms;
		TAILQ_REMOVE(&t->name_ages, n, age);
		TAILQ_INSERT_TAIL(&t->name_ages, n, age);
		return 0;
	}
	d = dir_get(t, dir);
	n = d ? name_new(t, k) : NULL;
	if (!n) {
		if (d)
			dir_settle(t, d);
		return -ENOMEM;
	}
	n->dir = d;
	n->until_ms = until_ms;
	n->tid = 0;
	LIST_INSERT_HEAD(&d->names, n, sibling);
	TAILQ_INSERT_TAIL(&t->name_ages, n, age);
	return 0;
}

void told_names_purge(struct told *t, uint64_t now_ms)
{
	struct told_name *n;

	for (int i = 0; i < PURGE; i++) {
		n = TAILQ_FIRST(&t->name_ages);
		if (!n || n->until_ms > now_ms)
			return;
		told_name_drop(t, n);
	}
}

int told_on_its_way(const struct told_name *n, uint64_t now_ms)
{
	return n->tid && now_ms - n->asked_ms < TOLD_TAKEN_MS;
}

void told_names_take(struct told *t, uint64_t dir, uint64_t now_ms,
		     struct told_list *out)
{
	struct told_name *n;
	struct dir *d;

	HASH_FIND(hh, t->dirs, &dir, sizeof(dir), d);
	if (!d)
		return;
	while ((n = LIST_FIRST(&d->names))) {
		name_unlink(t, n);
		if (!told_on_its_way(n, now_ms))
			n->tid = 0;
		STAILQ_INSERT_TAIL(&out->names, n, taken);
		out->n_names++;
	}
	dir_settle(t, d);
}
