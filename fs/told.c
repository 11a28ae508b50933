/*
 * told -- see told.h.
 *
 *   told.c         inodes, what may be believed, taking out
 *   told_names.c   the names
 *
 * Inodes leave when the kernel forgets them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "told_internal.h"

static struct stamp *stamp_of(struct told *t, uint64_t ino)
{
	return &t->stamps[(ino * 0x9e3779b97f4a7c15u) >> 52 & (STAMPS - 1)];
}

/* ------------------------------------------------------------------ inodes */

static struct inode *inode_find(struct told *t, uint64_t ino)
{
	struct inode *i;

	HASH_FIND(hh, t->inodes, &ino, sizeof(ino), i);
	return i;
}

static void inode_drop(struct told *t, struct inode *i)
{
	HASH_DELETE(hh, t->inodes, i);
	free(i);
}

/* NULL: no room, no memory. */
static struct inode *inode_new(struct told *t, uint64_t ino)
{
	struct inode *i;

	if (HASH_COUNT(t->inodes) >= t->most)
		return NULL;
	i = calloc(1, sizeof(*i));
	if (!i)
		return NULL;
	i->a.ino = ino;
	HASH_ADD(hh, t->inodes, a.ino, sizeof(i->a.ino), i);
	if (TABLE_ADDED(i))
		return i;
	free(i);
	return NULL;
}

/* One more entry of it; *@known: was there one already, or may there be? */
static struct inode *inode_count(struct told *t, uint64_t ino, int *known)
{
	struct inode *i = inode_find(t, ino);

	*known = i || t->uncounted;
	if (!i)
		i = inode_new(t, ino);
	if (i)
		i->lookups++;
	else
		t->uncounted++;
	return i;
}

/* --------------------------------------------------------------- interface */

int told_new(struct told **out, size_t most)
{
	struct told *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	pthread_mutex_init(&t->lock, NULL);
	TAILQ_INIT(&t->name_ages);
	t->most = most;
	*out = t;
	return 0;
}

void told_free(struct told *t)
{
	struct told_list all;
	struct inode *i, *next;

	if (!t)
		return;
	told_list_init(&all);
	told_all(t, 0, &all);
	told_list_fini(&all);
	HASH_ITER(hh, t->inodes, i, next)
		inode_drop(t, i);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

uint64_t told_now(struct told *t)
{
	uint64_t now;

	pthread_mutex_lock(&t->lock);
	now = t->now;
	pthread_mutex_unlock(&t->lock);
	return now;
}

/* Is what was looked at then still so? */
static int stands(struct told *t, uint64_t ino, const struct told_answer *a)
{
	return a->until_ms > a->now_ms && t->lost <= a->seen &&
	       stamp_of(t, ino)->revoked <= a->seen;
}

static int contended(struct told *t, uint64_t dir, uint64_t now_ms)
{
	const struct stamp *s = stamp_of(t, dir);

	return s->ms && now_ms - s->ms < TOLD_CONTENDED_MS;
}

/* @tid: asks without the lock; 0: under it. */
static int tell_name(struct told *t, uint64_t dir, struct str name, pid_t tid,
		     const struct told_answer *a)
{
	struct key k = told_key(dir, name);
	struct told_name *n;

	told_names_purge(t, a->now_ms);
	if (!stands(t, dir, a) || contended(t, dir, a->now_ms))
		return 0;
	n = told_name_find(t, &k);
	if (!n && HASH_COUNT(t->names) >= t->most)
		return 0;
	/* of several that ask at once only one can be followed */
	if (n && tid && n->tid != tid && told_on_its_way(n, a->now_ms))
		return 0;
	if (told_name_put(t, dir, &k, a->until_ms))
		return 0;
	if (tid) {
		n = told_name_find(t, &k);
		n->tid = tid;
		n->asked_ms = a->now_ms;
	}
	return TOLD_NAME;
}

static int tell_attr(struct told *t, struct inode *i,
		     const struct told_answer *a)
{
	if (!i || !stands(t, i->a.ino, a))
		return 0;
	if (a->until_ms > i->until_ms)
		i->until_ms = a->until_ms;
	return TOLD_ATTR;
}

int told_entry(struct told *t, uint64_t dir, struct str name, uint64_t ino,
	       int locked, const struct told_answer *a)
{
	struct inode *i;
	int known, what = 0;

	pthread_mutex_lock(&t->lock);
	i = inode_count(t, ino, &known);
	if (i)
		i->a.dir = dir;
	locked |= !known;
	if (locked || a->tid)
		what = tell_name(t, dir, name, locked ? 0 : a->tid, a);
	what |= tell_attr(t, i, a);
	pthread_mutex_unlock(&t->lock);
	return what;
}

int told_attr(struct told *t, uint64_t ino, const struct told_answer *a)
{
	int what;

	pthread_mutex_lock(&t->lock);
	what = tell_attr(t, inode_find(t, ino), a);
	pthread_mutex_unlock(&t->lock);
	return what;
}

int told_moved(struct told *t, uint64_t dir, struct str name,
	       uint64_t newdir, struct str newname, int exchange)
{
	struct key from = told_key(dir, name), to = told_key(newdir, newname);
	struct told_name *a, *b;
	uint64_t until_a = 0, until_b = 0;
	int err = 0;

	pthread_mutex_lock(&t->lock);
	a = told_name_find(t, &from);
	b = told_name_find(t, &to);
	if (a) {
		until_a = a->until_ms;
		told_name_drop(t, a);
	}
	if (b && b != a) {
		until_b = b->until_ms;
		told_name_drop(t, b);
	}
	if (until_a)
		err = told_name_put(t, newdir, &to, until_a);
	if (until_b && exchange && !err)
		err = told_name_put(t, dir, &from, until_b);
	pthread_mutex_unlock(&t->lock);
	return err;
}

void told_forget(struct told *t, uint64_t ino, uint64_t n)
{
	struct inode *i;

	pthread_mutex_lock(&t->lock);
	i = inode_find(t, ino);
	if (i && n < i->lookups) {
		i->lookups -= n;
	} else {
		n -= i ? i->lookups : 0;
		t->uncounted -= n < t->uncounted ? n : t->uncounted;
		if (i)
			inode_drop(t, i);
	}
	pthread_mutex_unlock(&t->lock);
}

int told_untell(struct told *t, uint64_t ino)
{
	struct inode *i;
	int told;

	pthread_mutex_lock(&t->lock);
	i = inode_find(t, ino);
	told = i && i->until_ms;
	if (i)
		i->until_ms = 0;
	pthread_mutex_unlock(&t->lock);
	return told;
}

/* -------------------------------------------------------------- taking out */

void told_list_init(struct told_list *l)
{
	*l = (struct told_list){ .n_names = 0 };
	STAILQ_INIT(&l->names);
}

void told_list_fini(struct told_list *l)
{
	struct told_name *n;

	while ((n = STAILQ_FIRST(&l->names))) {
		STAILQ_REMOVE_HEAD(&l->names, taken);
		free(n);
	}
	free(l->attrs);
	told_list_init(l);
}

int told_list_next(const struct told_list *l, struct told_next *n)
{
	n->at = n->at ? STAILQ_NEXT(n->at, taken) : STAILQ_FIRST(&l->names);
	if (!n->at)
		return 0;
	memcpy(&n->dir, n->at->key, sizeof(n->dir));
	n->name = n->at->key + sizeof(n->dir);
	n->tid = n->at->tid;
	return 1;
}

static void take_attr(struct inode *i, struct told_list *out)
{
	out->attrs[out->n_attrs++] = i->a;
	i->until_ms = 0;
}

static int room(struct told_list *out, size_t n)
{
	struct told_attr *p;

	if (!n)
		return 0;
	p = realloc(out->attrs, (out->n_attrs + n) * sizeof(*p));
	if (!p)
		return -ENOMEM;
	out->attrs = p;
	return 0;
}

int told_revoked(struct told *t, const uint64_t *inos, size_t n,
		 uint64_t now_ms, struct told_list *out)
{
	struct inode *i;
	int err;

	pthread_mutex_lock(&t->lock);
	err = room(out, n);
	for (size_t k = 0; k < n; k++) {
		*stamp_of(t, inos[k]) = (struct stamp){ ++t->now, now_ms };
		i = inode_find(t, inos[k]);
		if (i && i->until_ms && !err)
			take_attr(i, out);
		told_names_take(t, inos[k], now_ms, out);
	}
	pthread_mutex_unlock(&t->lock);
	return err;
}

int told_all(struct told *t, uint64_t now_ms, struct told_list *out)
{
	struct inode *i;
	int err;

	pthread_mutex_lock(&t->lock);
	t->lost = ++t->now;
	err = room(out, HASH_COUNT(t->inodes));
	for (i = t->inodes; i && !err; i = i->hh.next)
		if (i->until_ms)
			take_attr(i, out);
	while (t->dirs)
		told_names_take(t, t->dirs->ino, now_ms, out);
	pthread_mutex_unlock(&t->lock);
	return err;
}
