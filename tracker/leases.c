/*
 * leases -- see leases.h.
 */
#include "leases_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "msg.h"
#include "table.h"

struct lease {
	LIST_ENTRY(lease) of_inode;
	TAILQ_ENTRY(lease) of_holder;
	struct inode *inode;
	struct holder *holder;
	struct revoke *revoke;	/* not acknowledged yet, the latest */
	uint8_t read, open;
	uint8_t known;		/* as long as it is read, or longer */
};

struct inode {
	uint64_t ino;
	LIST_HEAD(inode_leases, lease) leases;
	UT_hash_handle hh;
};

int leases_new(struct leases **out, const struct leases_ops *ops,
	       size_t most)
{
	struct leases *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->ops = *ops;
	l->most = most;
	TAILQ_INIT(&l->unsent);
	*out = l;
	return 0;
}

void leases_free(struct leases *l)
{
	if (!l)
		return;
	assert(!l->inodes && TAILQ_EMPTY(&l->unsent));
	free(l);
}

void holder_init(struct holder *h)
{
	*h = (struct holder){ 0 };
	TAILQ_INIT(&h->leases);
	TAILQ_INIT(&h->sent);
}

/* --------------------------------------------------------- single leases */

static struct inode *inode_find(const struct leases *l, uint64_t ino)
{
	struct inode *i;

	HASH_FIND(hh, l->inodes, &ino, sizeof(ino), i);
	return i;
}

static struct lease *lease_find(const struct leases *l,
				const struct holder *h, uint64_t ino)
{
	struct inode *i = inode_find(l, ino);
	struct lease *e;

	if (!i)
		return NULL;
	LIST_FOREACH(e, &i->leases, of_inode)
		if (e->holder == h)
			return e;
	return NULL;
}

static struct inode *inode_get(struct leases *l, uint64_t ino)
{
	struct inode *i = inode_find(l, ino);

	if (i)
		return i;
	i = calloc(1, sizeof(*i));
	if (!i)
		return NULL;
	i->ino = ino;
	HASH_ADD(hh, l->inodes, ino, sizeof(i->ino), i);
	if (TABLE_ADDED(i))
		return i;
	free(i);
	return NULL;
}

static struct lease *lease_get(struct leases *l, struct holder *h,
			       uint64_t ino)
{
	struct lease *e = lease_find(l, h, ino);
	struct inode *i;

	if (e)
		return e;
	e = calloc(1, sizeof(*e));
	i = e ? inode_get(l, ino) : NULL;
	if (!i) {
		free(e);
		return NULL;
	}
	e->inode = i;
	e->holder = h;
	LIST_INSERT_HEAD(&i->leases, e, of_inode);
	TAILQ_INSERT_TAIL(&h->leases, e, of_holder);
	return e;
}

static void lease_know(struct lease *e, int known)
{
	e->holder->n_known += (size_t)!!known;
	e->holder->n_known -= e->known;
	e->read = e->known = !!known;
}

static int inode_held(const struct inode *i)
{
	const struct lease *e;

	LIST_FOREACH(e, &i->leases, of_inode)
		if (e->read || e->open || e->revoke)
			return 1;
	return 0;
}

static void lease_free(struct leases *l, struct lease *e)
{
	struct inode *i = e->inode;

	lease_know(e, 0);
	LIST_REMOVE(e, of_inode);
	TAILQ_REMOVE(&e->holder->leases, e, of_holder);
	free(e);
	if (!inode_held(i))
		l->ops.idle(i->ino, l->ops.arg);
	if (!LIST_EMPTY(&i->leases))
		return;
	HASH_DELETE(hh, l->inodes, i);
	free(i);
}

/* A lease of which nothing is left goes. */
static void lease_settle(struct leases *l, struct lease *e)
{
	if (e->read || e->open || e->revoke)
		return;
	if (!e->known)
		lease_free(l, e);
	else if (!inode_held(e->inode))
		l->ops.idle(e->inode->ino, l->ops.arg);
}

int leases_held(const struct leases *l, uint64_t ino)
{
	const struct inode *i = inode_find(l, ino);

	return i && inode_held(i);
}

/* ----------------------------------------------------------- revocations */

static struct revoke *revoke_queue(struct leases *l, struct holder *h)
{
	struct revoke *r = revoke_new(h);

	if (r)
		TAILQ_INSERT_TAIL(&l->unsent, r, link);
	return r;
}

/* The revocation that is to name a lease of @h on @ino. */
static struct revoke *revoke_for(struct leases *l, struct holder *h,
				 uint64_t ino, uint64_t order)
{
	struct revoke *r;

	if (l->ops.waiting(h, ino, order, l->ops.arg)) {
		r = revoke_queue(l, h);
		if (r)
			r->after = order;
		return r;
	}
	if (!h->gather || h->gather->n == MSG_INOS_MAX)
		h->gather = revoke_queue(l, h);
	return h->gather;
}

/* End a read lease; and, if names are to be looked up again, what is known. */
static int lease_revoke(struct leases *l, struct lease *e, uint8_t also,
			uint64_t order)
{
	struct revoke *r = revoke_for(l, e->holder, e->inode->ino, order);
	int err = 0;

	if (!r)
		return -ENOMEM;
	/* else it was granted again since, and is told after that grant */
	if (e->revoke != r)
		err = revoke_add(r, e->inode->ino);
	if (err)
		return err;
	e->revoke = r;
	r->also |= also;
	if (also & REVOKE_NAMES)
		lease_know(e, 0);
	e->read = 0;
	return 0;
}

struct revoke *leases_unsent(struct leases *l)
{
	struct revoke *r;

	TAILQ_FOREACH(r, &l->unsent, link)
		if (!r->after || !l->ops.waiting(r->holder, r->inos[0],
						 r->after, l->ops.arg))
			break;
	if (!r)
		return NULL;
	TAILQ_REMOVE(&l->unsent, r, link);
	if (r->holder->gather == r)
		r->holder->gather = NULL;
	TAILQ_INSERT_TAIL(&r->holder->sent, r, link);
	return r;
}

void leases_acked(struct leases *l, struct revoke *r, const uint64_t *open,
		  uint32_t n_open)
{
	struct lease *e;

	for (uint32_t i = 0; i < r->n; i++) {
		e = lease_find(l, r->holder, r->inos[i]);
		if (e && e->revoke == r)
			e->open = 0;
	}
	for (uint32_t i = 0; i < n_open; i++) {
		e = lease_find(l, r->holder, open[i]);
		if (e && e->revoke == r)
			e->open = 1;
	}
	for (uint32_t i = 0; i < r->n; i++) {
		e = lease_find(l, r->holder, r->inos[i]);
		if (!e || e->revoke != r)
			continue;
		e->revoke = NULL;
		lease_settle(l, e);
	}
	TAILQ_REMOVE(&r->holder->sent, r, link);
	revoke_end(l, r);
}

/* ---------------------------------------------------- granting, releasing */

/* The oldest sixteenth goes at once: a message for each would be dear. */
static void evict(struct leases *l, struct holder *h)
{
	size_t want = l->most / 16 + 1;
	struct lease *e, *next;

	for (e = TAILQ_FIRST(&h->leases); e && want; e = next) {
		next = TAILQ_NEXT(e, of_holder);
		/* an answer on its way will give it again */
		if (!e->known || l->ops.waiting(h, e->inode->ino, UINT64_MAX,
						l->ops.arg))
			continue;
		if (lease_revoke(l, e, REVOKE_NAMES, 0))
			return;	/* without memory: at the next grant */
		TAILQ_REMOVE(&h->leases, e, of_holder);
		TAILQ_INSERT_TAIL(&h->leases, e, of_holder);
		want--;
	}
}

int leases_grant(struct leases *l, struct holder *h, uint64_t ino)
{
	struct lease *e = lease_get(l, h, ino);

	if (!e)
		return -ENOMEM;
	lease_know(e, 1);
	if (TAILQ_NEXT(e, of_holder)) {
		TAILQ_REMOVE(&h->leases, e, of_holder);
		TAILQ_INSERT_TAIL(&h->leases, e, of_holder);
	}
	if (h->n_known > l->most)
		evict(l, h);
	return 0;
}

int leases_open(struct leases *l, struct holder *h, uint64_t ino)
{
	struct lease *e = lease_get(l, h, ino);

	if (!e)
		return -ENOMEM;
	e->open = 1;
	return 0;
}

void leases_release(struct leases *l, struct holder *h, uint64_t ino,
		    int forget)
{
	struct lease *e = lease_find(l, h, ino);

	if (!e)
		return;
	e->open = 0;
	if (forget)
		lease_know(e, 0);
	lease_settle(l, e);
}

/* -------------------------------------------------------------- touching */

int leases_end(struct leases *l, struct holder *h, uint64_t ino,
	       uint64_t order)
{
	struct lease *e = lease_find(l, h, ino);

	return e && e->read ? lease_revoke(l, e, 0, order) : 0;
}

int leases_touch(struct leases *l, const struct holder *by, uint64_t ino,
		 uint8_t also, uint64_t order, struct waiter *w)
{
	struct inode *i = inode_find(l, ino);
	struct lease *e;
	int err = 0;

	if (!i)
		return 0;
	LIST_FOREACH(e, &i->leases, of_inode) {
		if (e->holder == by)
			continue;
		if (e->read || (also && (e->known || e->open)))
			err = lease_revoke(l, e, also, order);
		if (!err && e->revoke)
			err = revoke_wait(e->revoke, w);
		if (err)
			return err;
	}
	return 0;
}

/* ---------------------------------------------------------- a holder's end */

void leases_drop(struct leases *l, struct holder *h)
{
	struct revoke *r, *next;
	struct lease *e;

	while ((e = TAILQ_FIRST(&h->leases)))
		lease_free(l, e);
	for (r = TAILQ_FIRST(&l->unsent); r; r = next) {
		next = TAILQ_NEXT(r, link);
		if (r->holder != h)
			continue;
		TAILQ_REMOVE(&l->unsent, r, link);
		revoke_end(l, r);
	}
	h->gather = NULL;
	while ((r = TAILQ_FIRST(&h->sent))) {
		TAILQ_REMOVE(&h->sent, r, link);
		revoke_end(l, r);
	}
	if (h->assumed) {
		LIST_REMOVE(h, assumed_link);
		l->n_assumed--;
		revoke_end(l, h->assumed);
		h->assumed = NULL;
	}
}
