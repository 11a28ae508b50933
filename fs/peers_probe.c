/*
 * peers_probe -- when did a member last show that it lives?
 *
 * It did when bytes came from it, and when TCP got bytes further to it (by a
 * slow line a chunk takes its time).  Who owes answers and gives none may wait
 * for its disk, and meanwhile, past its limits, read nothing that is sent to
 * it: so nothing is asked on those connections.  It is shaken hands with on
 * another one, which its door does and no disk can delay.
 */
#include <errno.h>

#include "peers_internal.h"

static void on_up(struct rpc *c, void *arg)
{
	struct conn *k = arg;

	pthread_mutex_lock(&k->member->peers->lock);
	k->member->alive_ms = now_ms();
	pthread_mutex_unlock(&k->member->peers->lock);
	rpc_close(c);
}

static void on_down(struct rpc *c, int err, void *arg)
{
	struct conn *k = arg;
	struct member *m = k->member;
	struct peers *ps = m->peers;

	(void)err;
	pthread_mutex_lock(&ps->lock);
	if (k->rpc == c)
		k->rpc = NULL;
	peers_member_put(m);
	pthread_mutex_unlock(&ps->lock);
	rpc_unref(c);
	gate_leave(&ps->gate);
}

static const struct rpc_ops probe_ops = {
	.up = on_up,
	.down = on_down,
};

/* Call with the lock held. */
static void probe(struct member *m, uint64_t now)
{
	struct peers *ps = m->peers;
	struct conn *k = &m->probe;

	if (k->rpc || now < m->probed_ms + PEERS_PROBE_MS ||
	    gate_enter(&ps->gate))
		return;
	m->probed_ms = now;
	if (rpc_connect(&k->rpc, ps->loops[k->loop], &ps->self, &m->addr,
			&ps->from, ROLE_PEER, m->id, &probe_ops, k)) {
		k->rpc = NULL;
		gate_leave(&ps->gate);
	} else {
		m->refs++;
	}
}

/* Call with the lock held. */
static uint64_t last_sign(struct member *m)
{
	uint64_t last = m->alive_ms, at;

	for (int i = 0; i < m->peers->n_loops; i++) {
		struct rpc *c = m->conn[i].rpc;

		if (!c)
			continue;
		at = rpc_heard_ms(c);
		last = at > last ? at : last;
		at = rpc_acked_ms(c);
		last = at > last ? at : last;
	}
	return last;
}

uint64_t peers_life_ms(struct peers *ps, uint32_t num)
{
	uint64_t now = now_ms(), last = now;
	struct member *m;

	pthread_mutex_lock(&ps->lock);
	m = peers_find(ps, num);
	if (m && m->alive) {
		last = last_sign(m);
		if (now >= last + PEERS_PROBE_MS)
			probe(m, now);
	}
	pthread_mutex_unlock(&ps->lock);
	return last;
}
