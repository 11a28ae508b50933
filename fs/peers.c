/*
 * peers -- see peers.h.
 *
 * A member, once heard of, stays in the directory until peers_free(), so
 * that connections and calls may point to it; there are as many as peers
 * ever joined.  Guests come and go without end: one that is gone is freed
 * with the last of its connections and calls.  peers.lock is never held while
 * rpc is called, but for rpc_connect(), which waits for nothing and calls
 * nobody back.
 */
#include "peers.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peers_internal.h"

/* The connections to close once the lock is let go. */
struct closing {
	struct rpc *list[PEERS_LOOPS_MAX + 1];
	int n;
};

int peers_new(struct peers **out, struct loop *const *loops, int n_loops,
	      const struct rpc_self *self, const struct addr *our_addr)
{
	struct peers *ps = calloc(1, sizeof(*ps));

	if (!ps)
		return -ENOMEM;
	ps->n_loops = n_loops < PEERS_LOOPS_MAX ? n_loops : PEERS_LOOPS_MAX;
	memcpy(ps->loops, loops, (size_t)ps->n_loops * sizeof(*loops));
	ps->self = *self;
	ps->from = *our_addr;
	addr_set_port(&ps->from, 0);
	pthread_mutex_init(&ps->lock, NULL);
	gate_init(&ps->gate);
	*out = ps;
	return 0;
}

struct member *peers_find(struct peers *ps, uint32_t num)
{
	struct member *m;

	HASH_FIND(hh, ps->members, &num, sizeof(num), m);
	return m;
}

/* ------------------------------------------------------ the directory */

static void forget(struct conn *k, struct closing *c)
{
	if (!k->rpc)
		return;
	c->list[c->n++] = rpc_ref(k->rpc);
	k->rpc = NULL;
	k->up = 0;
}

/* Call with the lock held, then close_all() without it. */
static void forget_conns(struct member *m, struct closing *c)
{
	c->n = 0;
	for (int i = 0; i < m->peers->n_loops; i++)
		forget(&m->conn[i], c);
	forget(&m->probe, c);
}

static void close_all(struct closing *c)
{
	for (int i = 0; i < c->n; i++) {
		rpc_close(c->list[i]);
		rpc_unref(c->list[i]);
	}
}

/* Call with the lock held; @m may be gone afterwards. */
static void free_if_gone(struct member *m)
{
	if (m->num < MSG_GUEST_FIRST || m->alive || m->refs)
		return;
	HASH_DEL(m->peers->members, m);
	free(m);
}

void peers_member_put(struct member *m)
{
	m->refs--;
	free_if_gone(m);
}

static struct member *member_new(struct peers *ps, uint32_t num)
{
	struct member *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->num = num;
	m->peers = ps;
	for (int i = 0; i < ps->n_loops; i++) {
		m->conn[i].member = m;
		m->conn[i].loop = i;
	}
	m->probe.member = m;
	HASH_ADD(hh, ps->members, num, sizeof(m->num), m);
	if (TABLE_ADDED(m))
		return m;
	free(m);
	return NULL;
}

static void update_one(struct peers *ps, const struct m_peer *p)
{
	struct closing old = { .n = 0 };
	struct addr addr;
	struct member *m;

	if (p->state == PEER_GONE ||
	    addr_from_ip(p->addr.p, p->addr.len, p->port, &addr))
		return;
	pthread_mutex_lock(&ps->lock);
	m = peers_find(ps, p->num);
	if (!m)
		m = member_new(ps, p->num);
	if (m) {
		if (m->id != p->id || !addr_eq(&m->addr, &addr)) {
			forget_conns(m, &old);
			m->away_until_ms = 0;
		} else if (!m->alive) {
			m->away_until_ms = 0;
		}
		m->id = p->id;
		m->addr = addr;
		m->alive = 1;
		m->out_of_reach = p->reach == REACH_NO;
		m->seen = 1;
	}
	pthread_mutex_unlock(&ps->lock);
	close_all(&old);
}

/* A member that is not in the list any more; 0 when there is none. */
static int bury_one(struct peers *ps, struct closing *c)
{
	struct member *m;
	int found;

	pthread_mutex_lock(&ps->lock);
	for (m = ps->members; m; m = m->hh.next)
		if (m->alive && !m->seen)
			break;
	found = m != NULL;
	if (m) {
		m->alive = 0;
		forget_conns(m, c);
		free_if_gone(m);
	}
	pthread_mutex_unlock(&ps->lock);
	return found;
}

void peers_update(struct peers *ps, const struct m_peer *list, uint32_t n)
{
	struct closing c;
	struct member *m;

	pthread_mutex_lock(&ps->lock);
	for (m = ps->members; m; m = m->hh.next)
		m->seen = 0;
	pthread_mutex_unlock(&ps->lock);
	for (uint32_t i = 0; i < n; i++)
		update_one(ps, &list[i]);
	while (bury_one(ps, &c))
		close_all(&c);
}

int peers_alive(struct peers *ps, uint32_t num)
{
	struct peers_load load;

	peers_load(ps, num, &load);
	return load.alive;
}

void peers_blame(struct peers *ps, uint32_t num)
{
	struct member *m;

	pthread_mutex_lock(&ps->lock);
	m = peers_find(ps, num);
	if (m && m->bad < UINT8_MAX)
		m->bad++;
	pthread_mutex_unlock(&ps->lock);
}

uint32_t peers_number(struct peers *ps, uint64_t id)
{
	uint32_t num = 0;

	pthread_mutex_lock(&ps->lock);
	for (struct member *m = ps->members; m && !num; m = m->hh.next)
		if (m->id == id)
			num = m->num;
	pthread_mutex_unlock(&ps->lock);
	return num;
}

char *peers_name(struct peers *ps, uint32_t num, char out[ADDR_TEXT_MAX])
{
	struct member *m;

	snprintf(out, ADDR_TEXT_MAX, "peer %" PRIu32, num);
	pthread_mutex_lock(&ps->lock);
	m = peers_find(ps, num);
	if (m)
		addr_text(&m->addr, out);
	pthread_mutex_unlock(&ps->lock);
	return out;
}

/* ------------------------------------------------------------- the end */

static int close_some(struct peers *ps, struct closing *c)
{
	c->n = 0;
	pthread_mutex_lock(&ps->lock);
	for (struct member *m = ps->members; m; m = m->hh.next) {
		if (!m->alive)
			continue;
		m->alive = 0;
		forget_conns(m, c);
		if (c->n)
			break;
	}
	pthread_mutex_unlock(&ps->lock);
	return c->n;
}

void peers_close(struct peers *ps)
{
	struct closing c;

	gate_shut(&ps->gate);
	while (close_some(ps, &c))
		close_all(&c);
	gate_wait(&ps->gate);
}

void peers_free(struct peers *ps)
{
	struct member *m, *next;

	if (!ps)
		return;
	HASH_ITER (hh, ps->members, m, next) {
		HASH_DEL(ps->members, m);
		free(m);
	}
	gate_fini(&ps->gate);
	pthread_mutex_destroy(&ps->lock);
	free(ps);
}
