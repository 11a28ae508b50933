/*
 * leases_revoke -- revocations as such, and who waits for them: for those of
 * single leases, and for holders that are assumed to have all.
 */
#include "leases_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* --------------------------------------------------------------- waiting */

static void wait_free(struct wait *w)
{
	LIST_REMOVE(w, of_revoke);
	LIST_REMOVE(w, of_waiter);
	w->waiter->n--;
	free(w);
}

void waiter_init(struct waiter *w)
{
	w->n = 0;
	LIST_INIT(&w->waits);
}

void waiter_fini(struct waiter *w)
{
	struct wait *x;

	while ((x = LIST_FIRST(&w->waits)))
		wait_free(x);
}

int revoke_wait(struct revoke *r, struct waiter *w)
{
	struct wait *x = LIST_FIRST(&r->waits);

	if (x && x->waiter == w)
		return 0;	/* for another inode that it touched */
	x = calloc(1, sizeof(*x));
	if (!x)
		return -ENOMEM;
	x->waiter = w;
	LIST_INSERT_HEAD(&r->waits, x, of_revoke);
	LIST_INSERT_HEAD(&w->waits, x, of_waiter);
	w->n++;
	return 0;
}

/* ----------------------------------------------------------- revocations */

struct revoke *revoke_new(struct holder *h)
{
	struct revoke *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->holder = h;
	r->cap = 8;
	r->inos = malloc(r->cap * sizeof(*r->inos));
	if (r->inos)
		return r;
	free(r);
	return NULL;
}

int revoke_add(struct revoke *r, uint64_t ino)
{
	uint32_t cap = r->cap * 2;
	uint64_t *inos;

	if (r->n == r->cap) {
		inos = realloc(r->inos, cap * sizeof(*inos));
		if (!inos)
			return -ENOMEM;
		r->inos = inos;
		r->cap = cap;
	}
	r->inos[r->n++] = ino;
	return 0;
}

struct revoke *holder_revoke(const struct holder *h, uint32_t number)
{
	struct revoke *r;

	TAILQ_FOREACH(r, &h->sent, link)
		if (r->number == number)
			return r;
	return NULL;
}

void revoke_end(struct leases *l, struct revoke *r)
{
	struct wait *w;

	while ((w = LIST_FIRST(&r->waits))) {
		struct waiter *waiter = w->waiter;

		wait_free(w);
		if (!waiter->n)
			l->ops.ready(waiter, l->ops.arg);
	}
	free(r->inos);
	free(r);
}

/* --------------------------------------------------------- assumed holders */

int leases_assume(struct leases *l, struct holder *h)
{
	assert(!h->assumed);
	h->assumed = revoke_new(h);
	if (!h->assumed)
		return -ENOMEM;
	LIST_INSERT_HEAD(&l->assumed, h, assumed_link);
	l->n_assumed++;
	return 0;
}

unsigned leases_assumed(const struct leases *l)
{
	return l->n_assumed;
}

int leases_wait_assumed(struct leases *l, const struct holder *by,
			struct waiter *w)
{
	struct holder *h;

	LIST_FOREACH(h, &l->assumed, assumed_link)
		if (h != by && revoke_wait(h->assumed, w))
			return -ENOMEM;
	return 0;
}
