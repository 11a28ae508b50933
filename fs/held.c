#include "held.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "table.h"

/* What an owner locked by one open file; by another one it is another range. */
struct owner {
	LIST_ENTRY(owner) link;
	uint8_t space;
	uint64_t owner;
	uint64_t handle;
	uint32_t pid;
	int lost;
	struct lockset set;
};

struct inode {
	uint64_t ino;
	LIST_HEAD(, owner) owners;
	UT_hash_handle hh;
};

struct held {
	pthread_mutex_t lock;
	/* guarded by lock */
	struct inode *inodes;
	uint32_t n_ranges;
	uint8_t seen[HELD_SEEN];
	uint64_t shm[HELD_SHM_MAX];	/* inodes, by their last digits */
};

int held_new(struct held **out)
{
	struct held *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	pthread_mutex_init(&h->lock, NULL);
	*out = h;
	return 0;
}

/* ---------------------------------------------------- inodes and owners */

static struct inode *inode_find(const struct held *h, uint64_t ino)
{
	struct inode *i;

	HASH_FIND(hh, h->inodes, &ino, sizeof(ino), i);
	return i;
}

static struct inode *inode_get(struct held *h, uint64_t ino)
{
	struct inode *i = inode_find(h, ino);

	if (i)
		return i;
	i = calloc(1, sizeof(*i));
	if (!i)
		return NULL;
	i->ino = ino;
	LIST_INIT(&i->owners);
	HASH_ADD(hh, h->inodes, ino, sizeof(i->ino), i);
	if (TABLE_ADDED(i))
		return i;
	free(i);
	return NULL;
}

static int is_of(const struct owner *o, const struct m_byte_lock *k)
{
	return o->owner == k->owner && o->space == k->space;
}

static struct owner *owner_in(const struct inode *i,
			      const struct m_byte_lock *k, uint64_t handle)
{
	struct owner *o;

	LIST_FOREACH(o, &i->owners, link)
		if (is_of(o, k) && o->handle == handle)
			return o;
	return NULL;
}

static void owner_free(struct held *h, struct owner *o)
{
	h->n_ranges -= o->set.n;
	LIST_REMOVE(o, link);
	lockset_fini(&o->set);
	free(o);
}

static void inode_unused(struct held *h, struct inode *i)
{
	if (!LIST_EMPTY(&i->owners))
		return;
	HASH_DEL(h->inodes, i);
	free(i);
}

void held_free(struct held *h)
{
	struct inode *i, *next;
	struct owner *o;

	if (!h)
		return;
	HASH_ITER (hh, h->inodes, i, next) {
		while ((o = LIST_FIRST(&i->owners)))
			owner_free(h, o);
		HASH_DEL(h->inodes, i);
		free(i);
	}
	pthread_mutex_destroy(&h->lock);
	free(h);
}

/* ------------------------------------------------------------ one owner's */

void held_look(struct held *h, const struct m_byte_lock *k,
	       struct held_state *out)
{
	const struct inode *i;
	const struct owner *o;
	enum lk_kind kind;

	*out = (struct held_state){ .strongest = LK_NONE };
	pthread_mutex_lock(&h->lock);
	i = inode_find(h, k->ino);
	if (i)
		LIST_FOREACH(o, &i->owners, link) {
			if (!is_of(o, k))
				continue;
			kind = lockset_strongest(&o->set, k->start, k->end);
			if (kind > out->strongest)
				out->strongest = kind;
			out->covered |= lockset_covers(&o->set, k->start,
						       k->end, k->kind);
			out->lost |= o->lost;
		}
	pthread_mutex_unlock(&h->lock);
}

int held_again(struct held *h, const struct m_byte_lock *k, uint64_t handle)
{
	const struct inode *i;
	const struct owner *o;
	int same;

	pthread_mutex_lock(&h->lock);
	i = inode_find(h, k->ino);
	o = i ? owner_in(i, k, handle) : NULL;
	same = o && !o->lost &&
	       lockset_strongest(&o->set, k->start, k->end) == k->kind &&
	       lockset_covers(&o->set, k->start, k->end, k->kind);
	pthread_mutex_unlock(&h->lock);
	return same;
}

/* Of up to @more ranges more; empty, it goes. */
static int change(struct held *h, struct owner *o, const struct m_byte_lock *k,
		  enum lk_kind kind, uint32_t more)
{
	uint32_t before = o->set.n;
	int err;

	err = lockset_set(&o->set, k->start, k->end, kind, before + more);
	h->n_ranges += o->set.n - before;
	if (!o->set.n)
		owner_free(h, o);
	return err;
}

/* By whichever file but @handle's. */
static int clear(struct held *h, struct inode *i, const struct m_byte_lock *k,
		 uint64_t handle)
{
	struct owner *o, *next;
	int err = 0;

	for (o = LIST_FIRST(&i->owners); o && !err; o = next) {
		next = LIST_NEXT(o, link);
		if (is_of(o, k) && o->handle != handle)
			err = change(h, o, k, LK_NONE, 1);
	}
	return err;
}

static int set(struct held *h, struct inode *i, const struct m_byte_lock *k,
	       uint64_t handle)
{
	struct owner *o = owner_in(i, k, handle);

	if (!o && k->kind == LK_NONE)
		return 0;
	if (!o) {
		o = calloc(1, sizeof(*o));
		if (!o)
			return -ENOMEM;
		o->space = k->space;
		o->owner = k->owner;
		o->handle = handle;
		LIST_INSERT_HEAD(&i->owners, o, link);
	}
	if (k->kind != LK_NONE) {
		o->pid = k->pid;
		h->seen[k->ino % HELD_SEEN] = 1;
	}
	return change(h, o, k, k->kind, MSG_LOCKS_MAX - h->n_ranges);
}

int held_set(struct held *h, const struct m_byte_lock *k, uint64_t handle)
{
	struct inode *i;
	int err = 0;

	pthread_mutex_lock(&h->lock);
	if (k->kind == LK_NONE)
		i = inode_find(h, k->ino);
	else
		i = inode_get(h, k->ino);
	if (i) {
		err = clear(h, i, k, handle);
		if (!err)
			err = set(h, i, k, handle);
		inode_unused(h, i);
	} else if (k->kind != LK_NONE) {
		err = -ENOMEM;
	}
	pthread_mutex_unlock(&h->lock);
	return err;
}

/* All that an owner has of the range, by whichever file. */
static int gather(const struct inode *i, const struct m_byte_lock *k,
		  struct lockset *out)
{
	const struct lock_range *r;
	const struct owner *o;
	int err = 0;

	LIST_FOREACH(o, &i->owners, link) {
		if (!is_of(o, k))
			continue;
		r = lockset_first(&o->set, k->start, k->end);
		for (; r && !err; r = lockset_next(&o->set, r, k->end))
			err = lockset_set(out, r->start, r->end, r->kind,
					  UINT32_MAX);
	}
	return err;
}

int held_pieces(struct held *h, const struct m_byte_lock *k,
		struct m_byte_lock **out)
{
	const struct lock_range *r = NULL;
	struct m_byte_lock *v = NULL, rest = *k;
	struct lockset all = LOCKSET_INIT;
	const struct inode *i;
	int n = 0, err;

	rest.kind = LK_NONE;
	pthread_mutex_lock(&h->lock);
	i = inode_find(h, k->ino);
	err = i ? gather(i, k, &all) : 0;
	pthread_mutex_unlock(&h->lock);
	if (!err)
		v = calloc(all.n * 2 + 1, sizeof(*v));
	if (v)
		r = lockset_first(&all, k->start, k->end);
	for (; r; r = lockset_next(&all, r, k->end)) {
		uint64_t end = r->end < k->end ? r->end : k->end;

		if (r->start > rest.start) {
			v[n] = rest;
			v[n++].end = r->start - 1;
			rest.start = r->start;
		}
		v[n] = rest;
		v[n].kind = r->kind;
		v[n++].end = end;
		rest.start = end + 1;
	}
	if (v && rest.start <= k->end)
		v[n++] = rest;
	lockset_fini(&all);
	*out = v;
	return v ? n : -ENOMEM;
}

int held_by_handle(struct held *h, uint64_t ino, uint64_t handle)
{
	const struct inode *i;
	const struct owner *o = NULL;

	pthread_mutex_lock(&h->lock);
	i = inode_find(h, ino);
	if (i)
		LIST_FOREACH(o, &i->owners, link)
			if (o->handle == handle)
				break;
	pthread_mutex_unlock(&h->lock);
	return o != NULL;
}

static struct m_byte_lock range_of(const struct held *h, const struct inode *i,
				   const struct owner *o, uint32_t n)
{
	const struct lock_range *r = &o->set.v[n];

	return (struct m_byte_lock){
		.ino = i->ino, .space = o->space, .kind = r->kind,
		.owner = o->owner, .pid = o->pid, .start = r->start,
		.end = r->end,
		.alone = h->shm[i->ino % HELD_SHM_MAX] == i->ino,
	};
}

/* What is to be released as @o goes: all at once, if its owner has nothing by
 * another file. */
static uint32_t released(const struct held *h, const struct inode *i,
			 const struct owner *o, struct m_byte_lock *v)
{
	struct m_byte_lock all = range_of(h, i, o, 0);
	const struct owner *x;

	all.kind = LK_NONE;
	all.start = 0;
	all.end = LOCKSET_END;
	LIST_FOREACH(x, &i->owners, link)
		if (x != o && is_of(x, &all))
			break;
	for (uint32_t n = 0; x && n < o->set.n; n++) {
		v[n] = range_of(h, i, o, n);
		v[n].kind = LK_NONE;
	}
	if (!x)
		v[0] = all;
	return x ? o->set.n : 1;
}

int held_drop_handle(struct held *h, uint64_t ino, uint64_t handle,
		     struct m_byte_lock **out, uint32_t *n)
{
	struct inode *i;
	struct owner *o, *next;
	struct m_byte_lock *v;

	*n = 0;
	pthread_mutex_lock(&h->lock);
	v = calloc(h->n_ranges + 1, sizeof(*v));
	i = inode_find(h, ino);
	for (o = i ? LIST_FIRST(&i->owners) : NULL; o; o = next) {
		next = LIST_NEXT(o, link);
		if (o->handle != handle)
			continue;
		if (v && !o->lost)
			*n += released(h, i, o, v + *n);
		owner_free(h, o);
	}
	if (i)
		inode_unused(h, i);
	pthread_mutex_unlock(&h->lock);
	*out = v;
	return v ? 0 : -ENOMEM;
}

/* ----------------------------------------------------------- everybody's */

int held_list(struct held *h, struct m_byte_lock **out, uint32_t *n)
{
	struct inode *i, *next;
	const struct owner *o;
	struct m_byte_lock *v;

	*n = 0;
	pthread_mutex_lock(&h->lock);
	v = calloc(h->n_ranges + 1, sizeof(*v));
	HASH_ITER (hh, h->inodes, i, next)
		LIST_FOREACH(o, &i->owners, link)
			for (uint32_t r = 0; v && !o->lost && r < o->set.n;
			     r++)
				v[(*n)++] = range_of(h, i, o, r);
	pthread_mutex_unlock(&h->lock);
	*out = v;
	return v ? 0 : -ENOMEM;
}

void held_lose(struct held *h, uint64_t ino)
{
	struct inode *i;
	struct owner *o;

	pthread_mutex_lock(&h->lock);
	i = inode_find(h, ino);
	if (i)
		LIST_FOREACH(o, &i->owners, link)
			o->lost = 1;
	pthread_mutex_unlock(&h->lock);
}

int held_is_sound(struct held *h, uint64_t ino)
{
	const struct inode *i;
	const struct owner *o = NULL;

	pthread_mutex_lock(&h->lock);
	i = inode_find(h, ino);
	if (i)
		LIST_FOREACH(o, &i->owners, link)
			if (o->lost)
				break;
	pthread_mutex_unlock(&h->lock);
	return o == NULL;
}

void held_named(struct held *h, const char *name, uint64_t ino)
{
	size_t n = strlen(name), len = sizeof(HELD_SHM) - 1;

	if (n <= len || strcmp(name + n - len, HELD_SHM))
		return;
	pthread_mutex_lock(&h->lock);
	h->shm[ino % HELD_SHM_MAX] = ino;
	pthread_mutex_unlock(&h->lock);
}

int held_is_alone(struct held *h, uint64_t ino)
{
	int alone;

	pthread_mutex_lock(&h->lock);
	alone = h->shm[ino % HELD_SHM_MAX] == ino;
	pthread_mutex_unlock(&h->lock);
	return alone;
}

int held_was_locked(struct held *h, uint64_t ino)
{
	int seen;

	pthread_mutex_lock(&h->lock);
	seen = h->seen[ino % HELD_SEEN];
	pthread_mutex_unlock(&h->lock);
	return seen;
}
