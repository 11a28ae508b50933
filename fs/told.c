/*
 * told -- see told.h.
 *
 * Names leave when they are taken out, or when their time is over: they stand
 * in the order in which they were noted last, which is about the order of
 * their ends, and the first ones are looked at with each new one.  Inodes
 * leave when the kernel forgets them.
 */
#include "told.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "table.h"

enum {
	STAMPS = 4096,		/* a power of two */
	PURGE = 2,		/* old records looked at for a new one */
	KEY_MAX = sizeof(uint64_t) + MSG_NAME_MAX,
};

struct dir {
	uint64_t ino;
	LIST_HEAD(, told_name) names;
	UT_hash_handle hh;
};

struct told_name {
	struct dir *dir;		/* NULL once taken out */
	uint64_t until_ms;
	uint64_t asked_ms;
	pid_t tid;			/* that asked then, without the lock */
	LIST_ENTRY(told_name) sibling;
	TAILQ_ENTRY(told_name) age;
	STAILQ_ENTRY(told_name) taken;
	UT_hash_handle hh;
	size_t key_len;
	char key[];			/* dir's number, the name, NUL */
};

/* An inode that the kernel knows. */
struct inode {
	struct told_attr a;
	uint64_t lookups;	/* as it counts them */
	uint64_t until_ms;	/* it believes the attributes; 0: no more */
	UT_hash_handle hh;
};

struct stamp {
	uint64_t revoked;	/* t->now at the last time */
	uint64_t ms;		/* the time of day; 0: never */
};

struct told {
	pthread_mutex_t lock;
	/* guarded by lock */
	size_t most;
	uint64_t now, lost;
	struct stamp stamps[STAMPS];
	struct dir *dirs;		/* hash */
	struct told_name *names;	/* hash */
	TAILQ_HEAD(, told_name) name_ages;	/* oldest first */
	struct inode *inodes;		/* hash */
	uint64_t uncounted;		/* lookups of inodes not recorded */
};

struct key {
	char p[KEY_MAX + 1];
	size_t len;
};

static struct key key_of(uint64_t dir, struct str name)
{
	struct key k;

	assert(name.len <= MSG_NAME_MAX);
	memcpy(k.p, &dir, sizeof(dir));
	memcpy(k.p + sizeof(dir), name.p, name.len);
	k.len = sizeof(dir) + name.len;
	k.p[k.len] = '\0';
	return k;
}

static struct stamp *stamp_of(struct told *t, uint64_t ino)
{
	return &t->stamps[(ino * 0x9e3779b97f4a7c15u) >> 52 & (STAMPS - 1)];
}

/* ------------------------------------------------------------------- names */

static struct told_name *name_find(struct told *t, const struct key *k)
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

static void name_drop(struct told *t, struct told_name *n)
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

static int name_put(struct told *t, uint64_t dir, const struct key *k,
		    uint64_t until_ms)
{
	struct told_name *n = name_find(t, k);
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

static void names_purge(struct told *t, uint64_t now_ms)
{
	struct told_name *n;

	for (int i = 0; i < PURGE; i++) {
		n = TAILQ_FIRST(&t->name_ages);
		if (!n || n->until_ms > now_ms)
			return;
		name_drop(t, n);
	}
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

/* May a thread that asked for it without the lock be about to take it in? */
static int on_its_way(const struct told_name *n, uint64_t now_ms)
{
	return n->tid && now_ms - n->asked_ms < TOLD_TAKEN_MS;
}

/* @tid: asks without the lock; 0: under it. */
static int tell_name(struct told *t, uint64_t dir, struct str name, pid_t tid,
		     const struct told_answer *a)
{
	struct key k = key_of(dir, name);
	struct told_name *n;

	names_purge(t, a->now_ms);
	if (!stands(t, dir, a) || contended(t, dir, a->now_ms))
		return 0;
	n = name_find(t, &k);
	if (!n && HASH_COUNT(t->names) >= t->most)
		return 0;
	/* of several that ask at once only one can be followed */
	if (n && tid && n->tid != tid && on_its_way(n, a->now_ms))
		return 0;
	if (name_put(t, dir, &k, a->until_ms))
		return 0;
	if (tid) {
		n = name_find(t, &k);
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
	struct key from = key_of(dir, name), to = key_of(newdir, newname);
	struct told_name *a, *b;
	uint64_t until_a = 0, until_b = 0;
	int err = 0;

	pthread_mutex_lock(&t->lock);
	a = name_find(t, &from);
	b = name_find(t, &to);
	if (a) {
		until_a = a->until_ms;
		name_drop(t, a);
	}
	if (b && b != a) {
		until_b = b->until_ms;
		name_drop(t, b);
	}
	if (until_a)
		err = name_put(t, newdir, &to, until_a);
	if (until_b && exchange && !err)
		err = name_put(t, dir, &from, until_b);
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

static void take_names(struct told *t, struct dir *d, uint64_t now_ms,
		       struct told_list *out)
{
	struct told_name *n;

	while ((n = LIST_FIRST(&d->names))) {
		name_unlink(t, n);
		if (!on_its_way(n, now_ms))
			n->tid = 0;
		STAILQ_INSERT_TAIL(&out->names, n, taken);
		out->n_names++;
	}
	dir_settle(t, d);
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
	struct dir *d;
	int err;

	pthread_mutex_lock(&t->lock);
	err = room(out, n);
	for (size_t k = 0; k < n; k++) {
		*stamp_of(t, inos[k]) = (struct stamp){ ++t->now, now_ms };
		i = inode_find(t, inos[k]);
		if (i && i->until_ms && !err)
			take_attr(i, out);
		HASH_FIND(hh, t->dirs, &inos[k], sizeof(inos[k]), d);
		if (d)
			take_names(t, d, now_ms, out);
	}
	pthread_mutex_unlock(&t->lock);
	return err;
}

int told_all(struct told *t, uint64_t now_ms, struct told_list *out)
{
	struct inode *i;
	struct dir *d;
	int err;

	pthread_mutex_lock(&t->lock);
	t->lost = ++t->now;
	err = room(out, HASH_COUNT(t->inodes));
	for (i = t->inodes; i && !err; i = i->hh.next)
		if (i->until_ms)
			take_attr(i, out);
	while ((d = t->dirs))
		take_names(t, d, now_ms, out);
	pthread_mutex_unlock(&t->lock);
	return err;
}
