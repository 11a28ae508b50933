/*
 * rpc_members.c -- how many connections each member has at a listener.
 *
 * Who has the key is trusted, but a program that connects again and again and
 * forgets to close shall not take every descriptor.  Connections outlive their
 * listener, on other loops: so what counts them is shared, and goes with the
 * last of them.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "rpc_internal.h"

struct member {
	uint64_t id;
	unsigned n;
	UT_hash_handle hh;
};

struct rpc_members {
	int refs;			/* atomic: the listener's, connections' */
	pthread_mutex_t lock;
	struct member *all;		/* guarded by lock; uthash by id */
};

struct rpc_members *rpc_members_new(void)
{
	struct rpc_members *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->refs = 1;
	pthread_mutex_init(&m->lock, NULL);
	return m;
}

void rpc_members_put(struct rpc_members *m)
{
	if (!m || __atomic_sub_fetch(&m->refs, 1, __ATOMIC_ACQ_REL))
		return;
	pthread_mutex_destroy(&m->lock);
	free(m);
}

/* Call with the lock held. */
static struct member *find_or_add(struct rpc_members *m, uint64_t id)
{
	struct member *one;

	HASH_FIND(hh, m->all, &id, sizeof(id), one);
	if (one)
		return one;
	one = calloc(1, sizeof(*one));
	if (!one)
		return NULL;
	one->id = id;
	HASH_ADD(hh, m->all, id, sizeof(one->id), one);
	if (TABLE_ADDED(one))
		return one;
	free(one);
	return NULL;
}

int rpc_members_enter(struct rpc_members *m, struct rpc *c)
{
	struct member *one;
	int err = 0;

	pthread_mutex_lock(&m->lock);
	one = find_or_add(m, c->peer_id);
	if (!one)
		err = -ENOMEM;
	else if (one->n == RPC_MEMBER_MAX)
		err = -EUSERS;
	else
		one->n++;
	pthread_mutex_unlock(&m->lock);
	if (err)
		return err;
	__atomic_add_fetch(&m->refs, 1, __ATOMIC_RELAXED);
	c->members = m;
	return 0;
}

void rpc_members_leave(struct rpc *c)
{
	struct rpc_members *m = c->members;
	struct member *one;

	if (!m)
		return;
	c->members = NULL;
	pthread_mutex_lock(&m->lock);
	HASH_FIND(hh, m->all, &c->peer_id, sizeof(c->peer_id), one);
	if (!--one->n) {
		HASH_DEL(m->all, one);
		free(one);
	}
	pthread_mutex_unlock(&m->lock);
	rpc_members_put(m);
}
