/*
 * peers -- see peers.h.
 *
 * A member, once heard of, stays in the directory until peers_free(), so
 * that connections and calls may point to it; there are as many as peers
 * ever joined.  Guests come and go without end: one that is gone is freed
 * with the last of its connections and calls.  peers.lock is never held while rpc is called, but for
 * rpc_connect(), which waits for nothing and calls nobody back.
 */
#include "peers.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "gate.h"
#include "log.h"

#define LOOPS_MAX 8
#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 2000

struct member;

struct conn {
	struct member *member;
	struct rpc *rpc;	/* guarded by lock; our reference */
	uint64_t outstanding;	/* guarded by lock */
	int loop;
};

struct member {
	uint32_t num;
	UT_hash_handle hh;
	struct peers *peers;
	/* guarded by lock */
	uint64_t id;
	struct addr addr;
	int alive;
	unsigned refs;		/* connections and calls */
	int seen;		/* in the list that is being read */
	struct conn conn[LOOPS_MAX];
	uint32_t usual_ms;
	uint8_t bad;
	unsigned failures;	/* of connecting, in a row */
	uint64_t away_until_ms;
	int away_err;
};

struct peers {
	/* fixed after start */
	struct loop *loops[LOOPS_MAX];
	int n_loops;
	struct rpc_self self;
	struct addr from;	/* our address, any port */
	struct gate gate;	/* calls and connections */

	pthread_mutex_t lock;
	struct member *members;	/* guarded by lock; uthash by number */
};

struct call {
	struct conn *conn;
	const struct rpc *rpc;	/* to compare with, not to use */
	uint32_t bytes;
	uint64_t sent_ms;
	rpc_done done;
	void *arg;
};

/* The connections to close once the lock is let go. */
struct closing {
	struct rpc *list[LOOPS_MAX];
	int n;
};

int peers_new(struct peers **out, struct loop *const *loops, int n_loops,
	      const struct rpc_self *self, const struct addr *our_addr)
{
	struct peers *ps = calloc(1, sizeof(*ps));

	if (!ps)
		return -ENOMEM;
	ps->n_loops = n_loops < LOOPS_MAX ? n_loops : LOOPS_MAX;
	memcpy(ps->loops, loops, (size_t)ps->n_loops * sizeof(*loops));
	ps->self = *self;
	ps->from = *our_addr;
	addr_set_port(&ps->from, 0);
	pthread_mutex_init(&ps->lock, NULL);
	gate_init(&ps->gate);
	*out = ps;
	return 0;
}

static struct member *find(struct peers *ps, uint32_t num)
{
	struct member *m;

	HASH_FIND(hh, ps->members, &num, sizeof(num), m);
	return m;
}

/* ------------------------------------------------------ the directory */

/* Call with the lock held, then close_all() without it. */
static void forget_conns(struct member *m, struct closing *c)
{
	c->n = 0;
	for (int i = 0; i < m->peers->n_loops; i++)
		if (m->conn[i].rpc) {
			c->list[c->n++] = rpc_ref(m->conn[i].rpc);
			m->conn[i].rpc = NULL;
		}
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

static void member_put(struct member *m)
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
	HASH_ADD(hh, ps->members, num, sizeof(m->num), m);
	return m;
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
	m = find(ps, p->num);
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

void peers_load(struct peers *ps, uint32_t num, struct peers_load *out)
{
	struct member *m;

	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&ps->lock);
	m = find(ps, num);
	if (m) {
		out->alive = m->alive;
		out->away = m->away_until_ms > now_ms();
		out->usual_ms = m->usual_ms;
		out->bad = m->bad;
		for (int i = 0; i < ps->n_loops; i++)
			out->outstanding += m->conn[i].outstanding;
	}
	pthread_mutex_unlock(&ps->lock);
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
	m = find(ps, num);
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
	m = find(ps, num);
	if (m)
		addr_text(&m->addr, out);
	pthread_mutex_unlock(&ps->lock);
	return out;
}

/* -------------------------------------------------------- connections */

static void on_up(struct rpc *c, void *arg)
{
	struct conn *k = arg;
	struct peers *ps = k->member->peers;

	(void)c;
	pthread_mutex_lock(&ps->lock);
	k->member->failures = 0;
	k->member->away_until_ms = 0;
	pthread_mutex_unlock(&ps->lock);
}

/* Call with the lock held. */
static void back_off(struct member *m, int err)
{
	uint64_t ms = BACKOFF_MAX_MS;

	if (m->failures < 6)
		ms = BACKOFF_MIN_MS << m->failures;
	if (ms > BACKOFF_MAX_MS)
		ms = BACKOFF_MAX_MS;
	m->failures++;
	m->away_until_ms = now_ms() + ms;
	m->away_err = err;
}

static void on_down(struct rpc *c, int err, void *arg)
{
	struct conn *k = arg;
	struct member *m = k->member;
	struct peers *ps = m->peers;
	char name[ADDR_TEXT_MAX];
	int tell;

	pthread_mutex_lock(&ps->lock);
	tell = k->rpc != c;	/* it broke and was given up: on_done() */
	if (k->rpc == c) {
		k->rpc = NULL;
		if (err != -ECANCELED)
			back_off(m, err);
		tell = m->failures == 1;
	}
	addr_text(&m->addr, name);
	member_put(m);
	pthread_mutex_unlock(&ps->lock);
	if (err != -ECANCELED && tell)
		log_info("peer %s: connection ended (%s)", name,
			 strerror(-err));
	rpc_unref(c);
	gate_leave(&ps->gate);
}

static void on_request(struct rpc *c, struct rpc_req *q, void *arg)
{
	(void)c;
	(void)arg;
	rpc_fail(q, -EOPNOTSUPP, "this end only asks");
}

static const struct rpc_ops rpc_ops = {
	.up = on_up,
	.request = on_request,
	.down = on_down,
};

/* The least busy connection, or one to be made where those there are busy. */
static struct conn *choose(struct member *m)
{
	struct conn *best = NULL, *absent = NULL;

	for (int i = 0; i < m->peers->n_loops; i++) {
		struct conn *k = &m->conn[i];

		if (!k->rpc)
			absent = absent ? absent : k;
		else if (!best || k->outstanding < best->outstanding)
			best = k;
	}
	if (!best || (absent && best->outstanding))
		return absent;
	return best;
}

/* Call with the lock held. */
static int connect_one(struct conn *k)
{
	struct member *m = k->member;
	struct peers *ps = m->peers;
	int err;

	gate_enter_more(&ps->gate);
	err = rpc_connect(&k->rpc, ps->loops[k->loop], &ps->self, &m->addr,
			  &ps->from, ROLE_PEER, m->id, &rpc_ops, k);
	if (err) {
		k->rpc = NULL;
		back_off(m, err);
		gate_leave(&ps->gate);
	} else {
		m->refs++;
	}
	return err;
}

/* A connection to @num for a call of @bytes, with a reference for it. */
static int take_conn(struct peers *ps, uint32_t num, struct call *call,
		     struct rpc **out)
{
	struct member *m;
	struct conn *k;
	int err = -EHOSTUNREACH;

	pthread_mutex_lock(&ps->lock);
	m = find(ps, num);
	if (!m || !m->alive)
		goto out;
	k = choose(m);
	if (!k->rpc) {
		err = m->away_err;
		if (m->away_until_ms > now_ms())
			goto out;
		err = connect_one(k);
		if (err)
			goto out;
	}
	k->outstanding += call->bytes;
	m->refs++;
	call->conn = k;
	call->rpc = k->rpc;
	*out = rpc_ref(k->rpc);
	err = 0;
out:
	pthread_mutex_unlock(&ps->lock);
	return err;
}

int peers_broke(int err, const struct rpc_answer *a)
{
	return !a && (err == -ECONNRESET || err == -EPIPE || err == -EPROTO);
}

static void on_done(void *arg, int err, const struct rpc_answer *a)
{
	struct call *c = arg;
	struct member *m = c->conn->member;
	struct peers *ps = m->peers;
	uint32_t took = (uint32_t)(now_ms() - c->sent_ms);

	pthread_mutex_lock(&ps->lock);
	c->conn->outstanding -= c->bytes;
	/* Who asks again at once shall not meet the same connection: its
	 * on_down() comes only when all its calls have ended. */
	if (peers_broke(err, a) && c->conn->rpc == c->rpc)
		c->conn->rpc = NULL;
	if (!err)
		m->usual_ms = m->usual_ms ? (7 * m->usual_ms + took + 4) / 8
					  : took + 1;
	member_put(m);
	pthread_mutex_unlock(&ps->lock);
	c->done(c->arg, err, a);
	free(c);
	gate_leave(&ps->gate);
}

void peers_call(struct peers *ps, uint32_t num, uint16_t type, uint16_t flags,
		struct wr *body, struct buf *bulk, uint32_t bytes,
		uint32_t timeout_ms, rpc_done done, void *arg)
{
	struct call *c = malloc(sizeof(*c));
	struct rpc *rpc = NULL;
	int err = c ? gate_enter(&ps->gate) : -ENOMEM;

	if (err)
		goto fail;
	*c = (struct call){
		.bytes = bytes, .sent_ms = now_ms(), .done = done, .arg = arg,
	};
	err = take_conn(ps, num, c, &rpc);
	if (err) {
		gate_leave(&ps->gate);
		goto fail;
	}
	rpc_call(rpc, type, flags, body, bulk, timeout_ms, on_done, c);
	rpc_unref(rpc);
	return;
fail:
	free(c);
	wr_fini(body);
	done(arg, err, NULL);
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
