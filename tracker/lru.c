/* lru -- see lru.h. */
#include "lru.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "container.h"
#include "table.h"

struct node {
	struct lru_entry pub;
	unsigned pins;
	TAILQ_ENTRY(node) use;	/* oldest first */
	UT_hash_handle hh;
};

struct lru {
	uint64_t limit, held, reserved, evicted;
	struct node *table;
	TAILQ_HEAD(, node) order;
};

int lru_new(struct lru **out, uint64_t limit_bytes)
{
	struct lru *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->limit = limit_bytes;
	TAILQ_INIT(&l->order);
	*out = l;
	return 0;
}

static void drop(struct lru *l, struct node *n)
{
	HASH_DELETE(hh, l->table, n);
	TAILQ_REMOVE(&l->order, n, use);
	l->held -= n->pub.len;
	buf_unref(n->pub.buf);
	free(n);
}

void lru_free(struct lru *l)
{
	struct node *n;

	if (!l)
		return;
	while ((n = TAILQ_FIRST(&l->order)))
		drop(l, n);
	free(l);
}

int lru_reserve(struct lru *l, uint32_t len)
{
	struct node *n, *next;

	if (len > l->limit)
		return -EFBIG;
	for (n = TAILQ_FIRST(&l->order);
	     n && l->held + l->reserved > l->limit - len; n = next) {
		next = TAILQ_NEXT(n, use);
		if (n->pins)
			continue;
		drop(l, n);
		l->evicted++;
	}
	if (l->held + l->reserved > l->limit - len)
		return -EAGAIN;
	l->reserved += len;
	return 0;
}

void lru_unreserve(struct lru *l, uint32_t len)
{
	assert(len <= l->reserved);
	l->reserved -= len;
}

struct lru_entry *lru_put(struct lru *l, const struct lru_entry *e)
{
	struct node *n = calloc(1, sizeof(*n));

	lru_unreserve(l, e->len);
	if (!n)
		return NULL;
	n->pub = *e;
	HASH_ADD(hh, l->table, pub.id, sizeof(n->pub.id), n);
	if (!TABLE_ADDED(n)) {
		free(n);
		return NULL;
	}
	buf_ref(n->pub.buf);
	TAILQ_INSERT_TAIL(&l->order, n, use);
	l->held += e->len;
	return &n->pub;
}

struct lru_entry *lru_get(struct lru *l, uint64_t id)
{
	struct node *n;

	HASH_FIND(hh, l->table, &id, sizeof(id), n);
	if (!n)
		return NULL;
	TAILQ_REMOVE(&l->order, n, use);
	TAILQ_INSERT_TAIL(&l->order, n, use);
	return &n->pub;
}

void lru_pin(struct lru_entry *e)
{
	container_of(e, struct node, pub)->pins++;
}

void lru_unpin(struct lru_entry *e)
{
	struct node *n = container_of(e, struct node, pub);

	assert(n->pins);
	n->pins--;
}

uint64_t lru_bytes(const struct lru *l)
{
	return l->held + l->reserved;
}

uint64_t lru_limit(const struct lru *l)
{
	return l->limit;
}

uint64_t lru_evicted(const struct lru *l)
{
	return l->evicted;
}
