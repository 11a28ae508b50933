#include "held.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "table.h"

struct owner {
	LIST_ENTRY(owner) link;
	uint8_t space;
	uint64_t owner;
	uint32_t pid;
	uint64_t handle;	/* by which it locked last */
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

static struct owner *owner_in(const struct inode *i,
			      const struct m_byte_lock *k)
{
	struct owner *o;

	if (!i)
		return NULL;
	LIST_FOREACH(o, &i->owners, link)
		if (o->owner == k->owner && o->space == k->space)
			return o;
	return NULL;
}

static void owner_free(struct owner *o)
{
	LIST_REMOVE(o, link);
	lockset_fini(&o->set);
	free(o);
}

/* Frees what is empty. */
static void tidy(struct held *h, struct inode *i, struct owner *o)
{
	if (o && !o->set.n)
		owner_free(o);
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
			owner_free(o);
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
	const struct owner *o;

	*out = (struct held_state){ .strongest = LK_NONE };
	pthread_mutex_lock(&h->lock);
	o = owner_in(inode_find(h, k->ino), k);
	if (o) {
		out->strongest = lockset_strongest(&o->set, k->start, k->end);
		out->covered = lockset_covers(&o->set, k->start, k->end,
					      k->kind);
		out->lost = o->lost;
	}
	pthread_mutex_unlock(&h->lock);
}

int held_again(struct held *h, const struct m_byte_lock *k, uint64_t handle)
{
	struct owner *o;
	int same;

	pthread_mutex_lock(&h->lock);
	o = owner_in(inode_find(h, k->ino), k);
	same = o && !o->lost &&
	       lockset_strongest(&o->set, k->start, k->end) == k->kind &&
	       lockset_covers(&o->set, k->start, k->end, k->kind);
	if (same)
		o->handle = handle;
	pthread_mutex_unlock(&h->lock);
	return same;
}

static int set(struct held *h, struct inode *i, const struct m_byte_lock *k,
	       uint64_t handle)
{
	struct owner *o = owner_in(i, k);
	uint32_t before;
	int err;

	if (!o) {
		o = calloc(1, sizeof(*o));
		if (!o)
			return -ENOMEM;
		o->space = k->space;
		o->owner = k->owner;
		LIST_INSERT_HEAD(&i->owners, o, link);
	}
	before = o->set.n;
	err = lockset_set(&o->set, k->start, k->end, k->kind,
			  before + (MSG_LOCKS_MAX - h->n_ranges));
	h->n_ranges += o->set.n - before;
	if (!err && k->kind != LK_NONE) {
		o->pid = k->pid;
		o->handle = handle;
		h->seen[k->ino % HELD_SEEN] = 1;
	}
	tidy(h, i, o);
	return err;
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
	if (i && (k->kind != LK_NONE || owner_in(i, k))) {
		err = set(h, i, k, handle);
		/* a new inode whose first owner could not be made */
		i = err ? inode_find(h, k->ino) : NULL;
		if (i)
			tidy(h, i, NULL);
	} else if (!i && k->kind != LK_NONE) {
		err = -ENOMEM;
	}
	pthread_mutex_unlock(&h->lock);
	return err;
}

int held_pieces(struct held *h, const struct m_byte_lock *k,
		struct m_byte_lock **out)
{
	const struct lock_range *r = NULL;
	struct m_byte_lock *v, rest = *k;
	const struct owner *o;
	int n = 0;

	rest.kind = LK_NONE;
	pthread_mutex_lock(&h->lock);
	o = owner_in(inode_find(h, k->ino), k);
	v = calloc(o ? o->set.n * 2 + 1 : 1, sizeof(*v));
	if (o && v)
		r = lockset_first(&o->set, k->start, k->end);
	for (; r; r = lockset_next(&o->set, r, k->end)) {
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
	pthread_mutex_unlock(&h->lock);
	*out = v;
	return v ? n : -ENOMEM;
}

int held_take_handle(struct held *h, uint64_t ino, uint64_t handle,
		   struct m_byte_lock *out)
{
	const struct inode *i;
	struct owner *o = NULL;

	pthread_mutex_lock(&h->lock);
	i = inode_find(h, ino);
	if (i)
		LIST_FOREACH(o, &i->owners, link)
			if (o->handle == handle)
				break;
	if (o) {
		*out = (struct m_byte_lock){ .ino = ino, .space = o->space,
					     .owner = o->owner,
					     .end = LOCKSET_END };
		o->handle = 0;
	}
	pthread_mutex_unlock(&h->lock);
	return o != NULL;
}

int held_drop(struct held *h, const struct m_byte_lock *k)
{
	struct inode *i;
	struct owner *o;
	int again;

	pthread_mutex_lock(&h->lock);
	i = inode_find(h, k->ino);
	o = owner_in(i, k);
	again = o && o->handle;
	if (o && !again) {
		h->n_ranges -= o->set.n;
		owner_free(o);
		tidy(h, i, NULL);
	}
	pthread_mutex_unlock(&h->lock);
	return again ? -EEXIST : 0;
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
				v[(*n)++] = (struct m_byte_lock){
					.ino = i->ino, .space = o->space,
					.kind = o->set.v[r].kind,
					.owner = o->owner, .pid = o->pid,
					.start = o->set.v[r].start,
					.end = o->set.v[r].end,
					.alone = h->shm[i->ino % HELD_SHM_MAX]
						 == i->ino,
				};
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
