/*
 * peers_conn -- connections to members, and calls over them; see peers.h.
 *
 * A connection and a call each hold a reference to their member.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "peers_internal.h"

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 2000
#define TRY_MS 30000		/* between tries to connect to one who is said
				   to be out of reach */

struct call {
	struct conn *conn;
	const struct rpc *rpc;	/* to compare with, not to use */
	uint32_t bytes;
	int asks;		/* rather than brings bytes */
	uint64_t sent_ms;
	rpc_done done;
	void *arg;
};

static void on_up(struct rpc *c, void *arg)
{
	struct conn *k = arg;
	struct peers *ps = k->member->peers;

	pthread_mutex_lock(&ps->lock);
	k->up = k->rpc == c;
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
		k->up = 0;
		if (err != -ECANCELED)
			back_off(m, err);
		tell = m->failures == 1;
	}
	addr_text(&m->addr, name);
	peers_member_put(m);
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

/* Is a call to it going to wait in vain?  Call with the lock held. */
static int is_away(struct member *m)
{
	uint64_t now = now_ms();

	if (m->away_until_ms > now)
		return 1;
	if (!m->alive || !m->out_of_reach)
		return 0;
	for (int i = 0; i < m->peers->n_loops; i++)
		if (m->conn[i].up)
			return 0;
	if (!m->conn[0].rpc && now >= m->try_ms &&
	    !gate_enter(&m->peers->gate)) {
		m->try_ms = now + TRY_MS;
		connect_one(&m->conn[0]);
		gate_leave(&m->peers->gate);
	}
	return 1;
}

/* Was it asked, and not a byte has come since?  Call with the lock held. */
static int is_mute(const struct member *m)
{
	uint64_t heard = m->asked_ms, at;

	for (int i = 0; i < m->peers->n_loops; i++) {
		if (!m->conn[i].rpc)
			continue;
		at = rpc_heard_ms(m->conn[i].rpc);
		heard = at > heard ? at : heard;
	}
	return m->asked && now_ms() >= heard + PEERS_MUTE_MS;
}

void peers_load(struct peers *ps, uint32_t num, struct peers_load *out)
{
	struct member *m;

	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&ps->lock);
	m = peers_find(ps, num);
	if (m) {
		out->alive = m->alive;
		out->away = is_away(m);
		out->mute = is_mute(m);
		out->usual_ms = m->usual_ms;
		out->bad = m->bad;
		for (int i = 0; i < ps->n_loops; i++)
			out->outstanding += m->conn[i].outstanding;
	}
	pthread_mutex_unlock(&ps->lock);
}

/* A connection to @num for a call of @bytes, with a reference for it. */
static int take_conn(struct peers *ps, uint32_t num, struct call *call,
		     struct rpc **out)
{
	struct member *m;
	struct conn *k;
	int err = -EHOSTUNREACH;

	pthread_mutex_lock(&ps->lock);
	m = peers_find(ps, num);
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
	if (call->asks && !m->asked++)
		m->asked_ms = call->sent_ms;
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
	m->asked -= c->asks != 0;
	/* Who asks again at once shall not meet the same connection: its
	 * on_down() comes only when all its calls have ended. */
	if (peers_broke(err, a) && c->conn->rpc == c->rpc) {
		c->conn->rpc = NULL;
		c->conn->up = 0;
	}
	/* An answer without bytes says nothing about the way of those. */
	if (!err && (!c->asks || a->bulk))
		m->usual_ms = m->usual_ms ? (7 * m->usual_ms + took + 4) / 8
					  : took + 1;
	peers_member_put(m);
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
		.bytes = bytes, .asks = !bulk, .sent_ms = now_ms(),
		.done = done, .arg = arg,
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
