/*
 * fake_tracker.h -- a tracker without namespace or database, for the tests of
 * link and peer.  Included once by a test program.
 *
 * It registers peers, gives ids, remembers who holds what, answers every
 * change with its seq (as unlink_r.ino) and every getattr with its ino; and
 * it does wrong, at a test's word, what a real one would not.
 */
#ifndef FAKE_TRACKER_H
#define FAKE_TRACKER_H

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <uthash.h>

#include "dgram.h"
#include "msg.h"
#include "rpc.h"
#include "status.h"

#define FT_WAIT_MS 20000
#define FT_PEERS_MAX 16
#define FT_LOG_MAX 1024
#define FT_SWARM 0x5151

struct ft_peer {
	uint32_t num;
	uint64_t id, session, epoch;
	char ip[ADDR_TEXT_MAX];
	uint16_t port;
	struct rpc *rpc;	/* NULL: away */
};

struct ft_chunk {
	uint64_t id;
	uint32_t holders;	/* bit 1 << num */
	uint32_t len;		/* 0: not told by ft_know() */
	uint8_t md5[MD5_LEN];
	UT_hash_handle hh;
};

struct fake_tracker {
	struct loop *loop;
	struct rpc_listener *listener;
	struct dgram_sock *dgram;
	struct rpc_self self;
	struct addr at;

	pthread_mutex_t lock;	/* guards what follows */
	/* settings */
	uint32_t lease_ms, heartbeat_ms;
	uint8_t copies;
	int deaf_dgrams, deaf_beats;	/* does not answer them */
	int swallow;		/* so many requests break their connection */
	int hang;		/* requests are never answered */
	int forget_sessions;
	int refuse;		/* status of the answer to hello */
	int refuse_change;	/* status of the answer to changes */
	uint64_t disown;	/* a chunk that inventories are told about */
	/* what happened */
	struct ft_peer peer[FT_PEERS_MAX];
	int n_peers;
	struct rpc *conns[64];
	int n_conns;
	struct ft_chunk *chunks;
	uint64_t next_id, last_session;
	uint64_t seqs[FT_LOG_MAX], acks[FT_LOG_MAX];
	int n_seqs;
	uint64_t released[FT_LOG_MAX];
	int n_released;
	uint64_t hello_open[FT_LOG_MAX];
	int n_hello_open;
	int hellos, byes, inventories, dgram_beats, tcp_beats, stats;
	int bad_copies, locates, places, grants;
	uint32_t bad_peer;
	int reads;
	struct rpc_req *hung[FT_LOG_MAX];	/* never answered */
	int n_hung;
	uint64_t revoked_open[FT_LOG_MAX];
	int n_revoked_open, revoke_answers, copy_answers, copy_err;
};

static struct fake_tracker ft;

#define FT_UNTIL(cond)                                                     \
	do {                                                               \
		int ft_ok = 0;                                             \
		for (int ft_i = 0; ft_i < FT_WAIT_MS / 5 && !ft_ok; ft_i++) { \
			pthread_mutex_lock(&ft.lock);                      \
			ft_ok = (cond);                                    \
			pthread_mutex_unlock(&ft.lock);                    \
			if (!ft_ok)                                        \
				usleep(5000);                              \
		}                                                          \
		if (!ft_ok)                                                \
			fail_msg("never came true: %s", #cond);            \
	} while (0)

#define FT_SET(stmt)                                                       \
	do {                                                               \
		pthread_mutex_lock(&ft.lock);                              \
		stmt;                                                      \
		pthread_mutex_unlock(&ft.lock);                            \
	} while (0)

/* All with the lock held, unless said. */

static struct ft_peer *ft_by_conn(const struct rpc *c)
{
	for (int i = 0; i < ft.n_peers; i++)
		if (ft.peer[i].rpc == c)
			return &ft.peer[i];
	return NULL;
}

static struct ft_chunk *ft_chunk(uint64_t id)
{
	struct ft_chunk *k;

	HASH_FIND(hh, ft.chunks, &id, sizeof(id), k);
	if (!k) {
		k = calloc(1, sizeof(*k));
		k->id = id;
		HASH_ADD(hh, ft.chunks, id, sizeof(k->id), k);
	}
	return k;
}

static void ft_push_peers(void)
{
	struct m_peer list[FT_PEERS_MAX];
	struct m_peers m = { .peers = list };

	memset(list, 0, sizeof(list));
	for (int i = 0; i < ft.n_peers; i++) {
		struct ft_peer *p = &ft.peer[i];

		if (!p->rpc)
			continue;
		list[m.n_peers++] = (struct m_peer){
			.num = p->num, .id = p->id, .addr = str_of(p->ip),
			.port = p->port, .state = PEER_ALIVE,
		};
	}
	for (int i = 0; i < ft.n_peers; i++) {
		struct wr w = WR_INIT;

		if (!ft.peer[i].rpc)
			continue;
		m_peers_encode(&w, &m);
		rpc_send(ft.peer[i].rpc, M_peers, &w);
	}
}

static struct ft_peer *ft_peer_for(uint64_t id)
{
	for (int i = 0; i < ft.n_peers; i++)
		if (ft.peer[i].id == id)
			return &ft.peer[i];
	ft.peer[ft.n_peers].id = id;
	ft.peer[ft.n_peers].num = (uint32_t)ft.n_peers + 1;
	return &ft.peer[ft.n_peers++];
}

static void ft_hello(struct rpc *c, struct rpc_req *q, struct arena *a)
{
	struct m_hello m;
	struct m_hello_r r = { .protocol = MSG_PROTOCOL, .swarm = FT_SWARM };
	uint8_t secret[64];
	struct ft_peer *p;
	struct wr w = WR_INIT;

	ft.hellos++;
	if (m_hello_decode(&m, a, q->body->data, q->body->len)) {
		rpc_fail(q, -EBADMSG, "hello?");
		return;
	}
	if (ft.refuse) {
		rpc_fail(q, ft.refuse, "refused by the test");
		return;
	}
	ft.n_hello_open = 0;
	for (uint32_t i = 0; i < m.n_open && i < FT_LOG_MAX; i++)
		ft.hello_open[ft.n_hello_open++] = m.open[i];
	p = ft_peer_for(rpc_peer_id(c));
	if (m.session && m.session == p->session && !ft.forget_sessions) {
		r.resumed = 1;
	} else {
		p->session = ++ft.last_session;
		p->epoch = 0;
	}
	p->epoch++;
	snprintf(p->ip, sizeof(p->ip), "%.*s", (int)m.addr.len, m.addr.p);
	p->port = m.port;
	p->rpc = c;
	r.session = p->session;
	r.epoch = p->epoch;
	r.num = p->num;
	r.copies = ft.copies;
	r.slot_size = 65536;
	r.lease_ms = ft.lease_ms;
	r.heartbeat_ms = ft.heartbeat_ms;
	if (!rpc_export(c, DGRAM_LABEL, secret, sizeof(secret)))
		dgram_join(ft.dgram, p->session, secret, 1, NULL);
	m_hello_r_encode(&w, &r);
	rpc_reply(q, &w, NULL);
	ft_push_peers();
}

static void ft_inventory(struct rpc *c, struct rpc_req *q, struct arena *a)
{
	struct m_inventory m;
	struct m_inventory_r r = { .n_unknown = 0 };
	struct ft_peer *p = ft_by_conn(c);
	struct wr w = WR_INIT;

	m_inventory_decode(&m, a, q->body->data, q->body->len);
	for (uint32_t i = 0; p && i < m.n_chunks; i++)
		ft_chunk(m.chunks[i].id)->holders |= 1u << p->num;
	if (m.last) {
		ft.inventories++;
		if (ft.disown) {
			r.unknown = &ft.disown;
			r.n_unknown = 1;
		}
	}
	m_inventory_r_encode(&w, &r);
	rpc_reply(q, &w, NULL);
}

static void ft_have(struct rpc *c, struct rpc_req *q, struct arena *a)
{
	struct m_have m;
	struct m_have_r r = { 0 };
	struct ft_peer *p = ft_by_conn(c);
	struct wr w = WR_INIT;

	m_have_decode(&m, a, q->body->data, q->body->len);
	for (uint32_t i = 0; p && i < m.n_added; i++)
		ft_chunk(m.added[i].id)->holders |= 1u << p->num;
	for (uint32_t i = 0; p && i < m.n_gone; i++)
		ft_chunk(m.gone[i])->holders &= ~(1u << p->num);
	m_have_r_encode(&w, &r);
	rpc_reply(q, &w, NULL);
}

static void ft_leave_hanging(struct rpc_req *q)
{
	if (ft.n_hung < FT_LOG_MAX)
		ft.hung[ft.n_hung++] = q;
	else
		rpc_req_free(q);
}

/* The asker first, then the others; at most @most, none in @except. */
static uint32_t ft_choose(struct rpc *c, uint32_t *out, uint32_t most,
			  const uint32_t *except, uint32_t n_except)
{
	struct ft_peer *us = ft_by_conn(c);
	uint32_t n = 0;

	for (int i = -1; i < ft.n_peers && n < most; i++) {
		struct ft_peer *p = i < 0 ? us : &ft.peer[i];
		int skip = !p || !p->rpc || (i >= 0 && p == us);

		for (uint32_t k = 0; k < n_except && !skip; k++)
			skip = except[k] == p->num;
		if (!skip)
			out[n++] = p->num;
	}
	return n;
}

static void ft_grant(struct rpc *c, struct rpc_req *q, struct arena *a)
{
	static uint32_t targets[MSG_GRANT_MAX][4];
	static struct m_placed placed[MSG_GRANT_MAX];
	struct m_grant m;
	struct m_grant_r r = { .chunks = placed };
	struct wr w = WR_INIT;

	ft.grants++;
	m_grant_decode(&m, a, q->body->data, q->body->len);
	for (uint32_t i = 0; i < m.count && i < MSG_GRANT_MAX; i++) {
		placed[i].id = ++ft.next_id;
		placed[i].targets = targets[i];
		placed[i].n_targets = ft_choose(c, targets[i], ft.copies,
						NULL, 0);
		r.n_chunks++;
	}
	m_grant_r_encode(&w, &r);
	rpc_reply(q, &w, NULL);
}

static void ft_place(struct rpc *c, struct rpc_req *q, struct arena *a)
{
	uint32_t targets[FT_PEERS_MAX];
	struct m_place m;
	struct m_place_r r = { .targets = targets };
	struct wr w = WR_INIT;

	ft.places++;
	m_place_decode(&m, a, q->body->data, q->body->len);
	r.n_targets = ft_choose(c, targets, m.count, m.except, m.n_except);
	m_place_r_encode(&w, &r);
	rpc_reply(q, &w, NULL);
}

static uint32_t ft_holders(const struct ft_chunk *k, uint32_t *out)
{
	uint32_t n = 0;

	for (int i = 0; i < ft.n_peers; i++)
		if (ft.peer[i].rpc && k->holders & 1u << ft.peer[i].num)
			out[n++] = ft.peer[i].num;
	return n;
}

static void ft_locate(struct rpc_req *q, struct arena *a)
{
	uint32_t holders[FT_PEERS_MAX];
	struct m_chunk chunk = { .holders = holders };
	struct m_locate m;
	struct m_locate_r r = { .chunks = &chunk };
	struct ft_chunk *k = NULL;
	struct wr w = WR_INIT;

	ft.locates++;
	m_locate_decode(&m, a, q->body->data, q->body->len);
	if (m.n_ids)
		HASH_FIND(hh, ft.chunks, &m.ids[0], sizeof(uint64_t), k);
	if (k) {
		chunk.id = k->id;
		chunk.len = k->len;
		memcpy(chunk.md5, k->md5, MD5_LEN);
		chunk.n_holders = ft_holders(k, holders);
		r.n_chunks = 1;
	}
	m_locate_r_encode(&w, &r);
	rpc_reply(q, &w, NULL);
}

static void ft_bad_copy(struct rpc_req *q, struct arena *a)
{
	struct m_bad_copy m;
	struct m_bad_copy_r r = { 0 };
	struct wr w = WR_INIT;

	m_bad_copy_decode(&m, a, q->body->data, q->body->len);
	ft.bad_copies++;
	ft.bad_peer = m.peer;
	ft_chunk(m.chunk)->holders &= ~(1u << m.peer);
	m_bad_copy_r_encode(&w, &r);
	rpc_reply(q, &w, NULL);
}

static void ft_change(struct rpc_req *q)
{
	struct m_unlink_r r = { .ino = get_u64(q->body->data) };
	struct wr w = WR_INIT;

	if (ft.refuse_change) {
		rpc_reply_status(q, (uint16_t)ft.refuse_change, &w);
		return;
	}
	m_unlink_r_encode(&w, &r);
	rpc_reply(q, &w, NULL);
}

static void ft_getattr(struct rpc_req *q, struct arena *a)
{
	struct m_getattr m;
	struct m_getattr_r r;
	struct wr w = WR_INIT;

	memset(&r, 0, sizeof(r));
	m_getattr_decode(&m, a, q->body->data, q->body->len);
	ft.reads++;
	r.attr.ino = m.ino;
	if (m.ino == 404) {
		rpc_fail(q, -ENOENT, "no such inode");
		return;
	}
	m_getattr_r_encode(&w, &r);
	rpc_reply(q, &w, NULL);
}

static void ft_oneway(struct rpc_req *q, struct arena *a)
{
	struct m_release m;

	if (q->type == M_stats)
		ft.stats++;
	if (q->type == M_release &&
	    !m_release_decode(&m, a, q->body->data, q->body->len))
		for (uint32_t i = 0; i < m.n_inos && i < FT_LOG_MAX; i++)
			ft.released[ft.n_released++] = m.inos[i];
	rpc_req_free(q);
}

static int ft_beat(const void *body, size_t len, struct wr *w)
{
	struct arena a = ARENA_INIT;
	struct m_heartbeat m;
	struct m_heartbeat_r r;

	if (m_heartbeat_decode(&m, &a, body, len))
		return -EBADMSG;
	arena_fini(&a);
	r = (struct m_heartbeat_r){ m.session, m.epoch, m.beat };
	return m_heartbeat_r_encode(w, &r);
}

static void ft_tcp_beat(struct rpc_req *q)
{
	struct wr w = WR_INIT;

	ft.tcp_beats++;
	if (ft.deaf_beats) {
		ft_leave_hanging(q);
		return;
	}
	ft_beat(q->body->data, q->body->len, &w);
	rpc_reply(q, &w, NULL);
}

static void ft_bye(struct rpc *c, struct rpc_req *q)
{
	struct m_bye_r r = { 0 };
	struct wr w = WR_INIT;
	struct ft_peer *p = ft_by_conn(c);

	ft.byes++;
	if (p)
		p->rpc = NULL;
	m_bye_r_encode(&w, &r);
	rpc_reply(q, &w, NULL);
	ft_push_peers();
}

static void ft_dispatch(struct rpc *c, struct rpc_req *q, struct arena *a)
{
	if (M_MUTATES(q->type) && ft.n_seqs < FT_LOG_MAX) {
		ft.seqs[ft.n_seqs] = get_u64(q->body->data);
		ft.acks[ft.n_seqs++] = get_u64(q->body->data + 8);
	}
	if ((M_MUTATES(q->type) || q->type == M_getattr) && ft.swallow) {
		ft.swallow--;
		ft_leave_hanging(q);
		rpc_close(c);
		return;
	}
	if ((M_MUTATES(q->type) || q->type == M_getattr) && ft.hang) {
		ft_leave_hanging(q);
		return;
	}
	if (M_MUTATES(q->type))
		ft_change(q);
	else if (!q->number)
		ft_oneway(q, a);
	else if (q->type == M_hello)
		ft_hello(c, q, a);
	else if (q->type == M_bye)
		ft_bye(c, q);
	else if (q->type == M_heartbeat)
		ft_tcp_beat(q);
	else if (q->type == M_inventory)
		ft_inventory(c, q, a);
	else if (q->type == M_have)
		ft_have(c, q, a);
	else if (q->type == M_grant)
		ft_grant(c, q, a);
	else if (q->type == M_place)
		ft_place(c, q, a);
	else if (q->type == M_locate)
		ft_locate(q, a);
	else if (q->type == M_bad_copy)
		ft_bad_copy(q, a);
	else if (q->type == M_getattr)
		ft_getattr(q, a);
	else
		rpc_fail(q, -EOPNOTSUPP, "the fake cannot");
}

static void ft_on_request(struct rpc *c, struct rpc_req *q, void *arg)
{
	struct arena a = ARENA_INIT;

	(void)arg;
	pthread_mutex_lock(&ft.lock);
	ft_dispatch(c, q, &a);
	pthread_mutex_unlock(&ft.lock);
	arena_fini(&a);
}

static void ft_on_up(struct rpc *c, void *arg)
{
	(void)arg;
	pthread_mutex_lock(&ft.lock);
	ft.conns[ft.n_conns++] = rpc_ref(c);
	pthread_mutex_unlock(&ft.lock);
}

static void ft_on_down(struct rpc *c, int err, void *arg)
{
	struct ft_peer *p;

	(void)err;
	(void)arg;
	pthread_mutex_lock(&ft.lock);
	p = ft_by_conn(c);
	if (p) {
		p->rpc = NULL;
		ft_push_peers();
	}
	for (int i = 0; i < ft.n_conns; i++)
		if (ft.conns[i] == c) {
			ft.conns[i] = ft.conns[--ft.n_conns];
			rpc_unref(c);
			break;
		}
	pthread_mutex_unlock(&ft.lock);
}

static void ft_on_dgram(const struct dgram *d, void *arg)
{
	struct wr w = WR_INIT;

	(void)arg;
	pthread_mutex_lock(&ft.lock);
	if (d->type == M_heartbeat && !ft.deaf_dgrams) {
		ft.dgram_beats++;
		if (!ft_beat(d->body, d->len, &w))
			dgram_answer(d, M_heartbeat_r, w.p, w.len);
	}
	pthread_mutex_unlock(&ft.lock);
	wr_fini(&w);
}

static const struct rpc_ops ft_ops = {
	.up = ft_on_up, .request = ft_on_request, .down = ft_on_down,
};

/* ------------------------------------------------------- for the tests */

static void ft_listen(void)
{
	assert_int_equal(dgram_open(&ft.dgram, ft.loop, &ft.at, ft_on_dgram,
				    NULL), 0);
	assert_int_equal(rpc_listen(&ft.listener, &ft.loop, 1, &ft.self,
				    &ft.at, &ft_ops, NULL), 0);
}

/* Away: listener, datagrams and all connections; what it knows stays. */
static void ft_away(void)
{
	rpc_listener_free(ft.listener);
	ft.listener = NULL;
	pthread_mutex_lock(&ft.lock);
	for (int i = 0; i < ft.n_conns; i++)
		rpc_close(ft.conns[i]);
	pthread_mutex_unlock(&ft.lock);
	FT_UNTIL(ft.n_conns == 0);
	dgram_close(ft.dgram);
	ft.dgram = NULL;
}

static void ft_start(uint16_t port)
{
	memset(&ft, 0, sizeof(ft));
	pthread_mutex_init(&ft.lock, NULL);
	ft.lease_ms = 10000;
	ft.heartbeat_ms = 200;
	ft.copies = 2;
	ft.next_id = 1000;
	memset(ft.self.key.secret, 7, KEY_LEN);
	ft.self.role = ROLE_TRACKER;
	ft.self.id = 99;
	assert_int_equal(addr_from_ip("127.0.0.1", 9, port, &ft.at), 0);
	assert_int_equal(loop_new(&ft.loop, "tracker"), 0);
	ft_listen();
}

static void ft_forget_chunks(void)
{
	struct ft_chunk *k, *next;

	HASH_ITER (hh, ft.chunks, k, next) {
		HASH_DEL(ft.chunks, k);
		free(k);
	}
}

static void ft_stop(void)
{
	ft_away();
	for (int i = 0; i < ft.n_hung; i++)
		rpc_req_free(ft.hung[i]);
	loop_free(ft.loop);
	ft_forget_chunks();
	pthread_mutex_destroy(&ft.lock);
}

/* Break the connection of every peer. */
static inline void ft_kick(void)
{
	pthread_mutex_lock(&ft.lock);
	for (int i = 0; i < ft.n_conns; i++)
		rpc_close(ft.conns[i]);
	pthread_mutex_unlock(&ft.lock);
}

static inline void ft_on_revoke_r(void *arg, int err,
				  const struct rpc_answer *a)
{
	struct arena mem = ARENA_INIT;
	struct m_revoke_r r;

	(void)arg;
	pthread_mutex_lock(&ft.lock);
	if (!err &&
	    !m_revoke_r_decode(&r, &mem, a->body->data, a->body->len)) {
		ft.n_revoked_open = 0;
		for (uint32_t i = 0; i < r.n_open && i < FT_LOG_MAX; i++)
			ft.revoked_open[ft.n_revoked_open++] = r.open[i];
		ft.revoke_answers++;
	}
	pthread_mutex_unlock(&ft.lock);
	arena_fini(&mem);
}

static inline void ft_on_copy_r(void *arg, int err, const struct rpc_answer *a)
{
	(void)arg;
	(void)a;
	FT_SET((ft.copy_answers++, ft.copy_err = err));
}

/* Ask peer @num, without the lock. */
static inline void ft_ask(uint32_t num, uint16_t type, struct wr *w,
			  rpc_done done)
{
	struct rpc *c;

	pthread_mutex_lock(&ft.lock);
	c = rpc_ref(ft.peer[num - 1].rpc);
	pthread_mutex_unlock(&ft.lock);
	rpc_call(c, type, 0, w, NULL, FT_WAIT_MS, done, NULL);
	rpc_unref(c);
}

#endif
