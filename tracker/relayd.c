/*
 * relayd -- life, connections, and what comes in on them.
 *
 * Happy path: relayd_take() -> on_up -> the peer is known to the relay.  Then
 * datagrams (want, seek_r) and requests (found) go to the relay, and what it
 * wants done comes back through relayd_io.
 */
#include "relayd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "counters.h"
#include "log.h"
#include "relayd_internal.h"

/* ------------------------------------------------------------- members */

struct member *relayd_member(const struct relayd *rd, uint64_t peer)
{
	struct member *m;

	HASH_FIND(hh, rd->members, &peer, sizeof(peer), m);
	return m;
}

static struct member *member_of_session(const struct relayd *rd,
					uint64_t session)
{
	struct member *m;

	HASH_FIND(by_session, rd->sessions, &session, sizeof(session), m);
	return m;
}

static struct member *member_make(struct relayd *rd, uint64_t peer)
{
	struct member *m = relayd_member(rd, peer);

	if (m)
		return m;
	m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	m->peer = peer;
	m->rd = rd;
	HASH_ADD(hh, rd->members, peer, sizeof(m->peer), m);
	if (TABLE_ADDED(m))
		return m;
	free(m);
	return NULL;
}

static void member_drop(struct relayd *rd, struct member *m)
{
	if (m->rpc || m->session)
		return;
	if (m->batch.n)
		LIST_REMOVE(m, due);
	HASH_DELETE(hh, rd->members, m);
	free(m);
}

static void set_session(struct relayd *rd, struct member *m, uint64_t session)
{
	struct member *other;

	if (m->session)
		HASH_DELETE(by_session, rd->sessions, m);
	m->session = 0;
	if (!session)
		return;
	other = member_of_session(rd, session);
	if (other)
		set_session(rd, other, 0);
	m->session = session;
	HASH_ADD(by_session, rd->sessions, session, sizeof(m->session), m);
	if (!m->by_session.tbl)
		m->session = 0;		/* by TCP, then */
}

struct session_note {
	struct loop_work work;
	struct relayd *rd;
	uint64_t peer, session;
};

static void on_session(struct loop_work *w)
{
	struct session_note *n = container_of(w, struct session_note, work);
	struct relayd *rd = n->rd;
	struct member *m = n->session ? member_make(rd, n->peer)
				      : relayd_member(rd, n->peer);

	if (m) {
		set_session(rd, m, n->session);
		member_drop(rd, m);
	}
	free(n);
	gate_leave(&rd->gate);
}

void relayd_session(struct relayd *rd, uint64_t peer, uint64_t session)
{
	struct session_note *n;

	if (gate_enter(&rd->gate))
		return;
	n = malloc(sizeof(*n));
	if (!n) {
		gate_leave(&rd->gate);
		return;		/* by TCP, then */
	}
	*n = (struct session_note){ { .fn = on_session }, rd, peer, session };
	loop_post(rd->loop, &n->work);
}

/* ----------------------------------------------------------- datagrams */

static void on_want(struct relayd *rd, const struct dgram *d,
		    struct member *m)
{
	struct arena a = ARENA_INIT;
	struct wr w = WR_INIT;
	struct m_want want;
	struct m_want_r r;

	if (!m_want_decode(&want, &a, d->body, d->len)) {
		r.ids = want.ids;
		r.n_ids = relay_want(rd->relay, m->peer, want.ids, want.n_ids,
				     now_ms());
		/* those not taken up are asked again later */
		if (r.n_ids && !m_want_r_encode(&w, &r))
			dgram_answer(d, M_want_r, w.p, w.len);
		wr_fini(&w);
	}
	arena_fini(&a);
}

void relayd_seek_r(struct relayd *rd, uint64_t peer, const void *body,
		   size_t len)
{
	struct arena a = ARENA_INIT;
	struct m_seek_r r;
	uint64_t now = now_ms();

	if (!m_seek_r_decode(&r, &a, body, len)) {
		for (uint32_t i = 0; i < r.n_here; i++)
			relay_here(rd->relay, peer, r.here[i], now);
		for (uint32_t i = 0; i < r.n_absent; i++)
			relay_absent(rd->relay, peer, r.absent[i], now);
	}
	arena_fini(&a);
}

static void on_dgram(const struct dgram *d, void *arg)
{
	struct relayd *rd = arg;
	struct member *m;

	if (d->type != M_want && d->type != M_seek_r) {
		rd->other(d, rd->other_arg);
		return;
	}
	m = member_of_session(rd, d->session);
	if (!m)
		return;
	if (d->type == M_want)
		on_want(rd, d, m);
	else
		relayd_seek_r(rd, m->peer, d->body, d->len);
	relayd_flush_soon(rd);
}

/* ------------------------------------------------------------ requests */

static int take_found(struct member *m, struct rpc_req *q, struct arena *a)
{
	const struct buf *bulk = q->bulk;
	struct m_found f;
	struct lru_entry e;
	int err = m_found_decode(&f, a, q->body->data, q->body->len);

	if (err)
		return err;
	if (!bulk || !f.len || bulk->len != (size_t)f.len + MD5_LEN)
		return -EINVAL;
	if (memcmp(bulk->data + f.len, f.md5, MD5_LEN)) {
		counter_add(CNT_CORRUPT, 1);
		return -EBADMSG;
	}
	e = (struct lru_entry){ .id = f.chunk, .ino = f.ino, .slot = f.slot,
				.pos = f.pos, .len = f.len, .buf = q->bulk };
	memcpy(e.md5, f.md5, MD5_LEN);
	return relay_found(m->rd->relay, m->peer, &e, now_ms());
}

static void refuse(struct rpc_req *q, int err, const char *why)
{
	char from[ADDR_TEXT_MAX];

	counter_add(CNT_REQUESTS_BAD, 1);
	log_rarely(LOG_WARN, "the relay refused a request of %s: %s",
		   addr_ip(rpc_peer_addr(q->conn), from), why);
	rpc_fail(q, err, "%s", why);
}

static void on_found(struct member *m, struct rpc_req *q)
{
	struct arena a = ARENA_INIT;
	struct wr w = WR_INIT;
	struct m_found_r r;
	int taken = take_found(m, q, &a);

	arena_fini(&a);
	if (taken < 0) {
		refuse(q, taken, "this is no chunk as it was described");
		return;
	}
	r.taken = (uint8_t)taken;
	m_found_r_encode(&w, &r);	/* a failure shows in w.err */
	rpc_reply(q, &w, NULL);
}

static void on_want_by_tcp(struct member *m, struct rpc_req *q)
{
	struct arena a = ARENA_INIT;
	struct m_want want;

	if (!m_want_decode(&want, &a, q->body->data, q->body->len))
		relay_want(m->rd->relay, m->peer, want.ids, want.n_ids,
			   now_ms());
	arena_fini(&a);
	rpc_req_free(q);
}

static void on_request(struct rpc *c, struct rpc_req *q, void *arg)
{
	struct rconn *k = arg;
	struct member *m = k->member;

	if (!m || m->rpc != c)
		rpc_req_free(q);
	else if (q->type == M_found && q->number)
		on_found(m, q);
	else if (q->type == M_want && !q->number)
		on_want_by_tcp(m, q);
	else
		refuse(q, -EOPNOTSUPP, "the relay does not serve this");
	relayd_flush_soon(k->rd);
}

/* --------------------------------------------------------- connections */

static void conn_free(struct rconn *k)
{
	gate_leave(&k->rd->gate);
	free(k);
}

static void on_up(struct rpc *c, void *arg)
{
	struct rconn *k = arg;
	struct relayd *rd = k->rd;
	struct member *m = member_make(rd, rpc_peer_id(c));

	if (!m || rd->closing || relay_peer_up(rd->relay, m->peer)) {
		if (m)
			member_drop(rd, m);
		rpc_close(c);
		return;
	}
	k->member = m;
	if (m->rpc) {		/* the old one does not know yet */
		rpc_close(m->rpc);
		rpc_unref(m->rpc);
	}
	m->rpc = rpc_ref(c);
}

static void on_down(struct rpc *c, int err, void *arg)
{
	struct rconn *k = arg;
	struct member *m = k->member;
	struct relayd *rd = k->rd;

	if (m && err != -ECANCELED && err != -ECONNRESET)
		log_rarely(LOG_WARN, "the relay connection of peer %016llx "
			   "ended: %s", (unsigned long long)m->peer,
			   strerror(-err));
	if (m && m->rpc == c) {
		rpc_unref(c);
		m->rpc = NULL;
		relay_peer_down(rd->relay, m->peer, now_ms());
		member_drop(rd, m);
		relayd_flush_soon(rd);
	}
	conn_free(k);
}

static const struct rpc_ops rpc_ops = {
	.up = on_up,
	.request = on_request,
	.down = on_down,
};

void relayd_take(struct relayd *rd, struct rpc *c)
{
	struct rconn *k = NULL;

	if (!gate_enter(&rd->gate)) {
		k = calloc(1, sizeof(*k));
		if (!k)
			gate_leave(&rd->gate);
	}
	if (!k) {
		rpc_set_arg(c, NULL);
		rpc_close(c);
		return;
	}
	k->rd = rd;
	rpc_move(c, rd->loop, &rpc_ops, k);
}

/* ------------------------------------------------------------- the loop */

static void on_flush(struct loop_work *w)
{
	struct relayd *rd = container_of(w, struct relayd, flush);
	struct relay_stat st;

	rd->flushing = 0;
	relayd_flush(rd);
	relay_stat(rd->relay, &st);
	__atomic_store_n(&rd->cached, st.cached, __ATOMIC_RELAXED);
	gate_leave(&rd->gate);
}

void relayd_flush_soon(struct relayd *rd)
{
	if (rd->flushing)
		return;
	rd->flushing = 1;
	gate_enter_more(&rd->gate);
	loop_post(rd->loop, &rd->flush);
}

static void on_tick(void *arg)
{
	struct relayd *rd = arg;

	relay_tick(rd->relay, now_ms());
	relayd_flush_soon(rd);
}

static void begin(void *arg)
{
	struct relayd *rd = arg;

	if (loop_every(rd->loop, &rd->timer, RELAY_TRY_MS / 2, on_tick, rd))
		rd->timer = NULL;
	else
		gate_enter(&rd->gate);	/* until end() */
}

static void end(void *arg)
{
	struct relayd *rd = arg;
	struct member *m, *next;

	rd->closing = 1;
	if (rd->timer)
		loop_timer_free(rd->timer);
	rd->timer = NULL;
	HASH_ITER (hh, rd->members, m, next)
		if (m->rpc)
			rpc_close(m->rpc);
	gate_leave(&rd->gate);
}

/* ----------------------------------------------------------- probes, stat */

void relayd_probe(struct relayd *rd, uint64_t peer, const struct addr *at,
		  probe_done done, void *arg)
{
	probe_start(rd->loop, &rd->probes, &rd->self, at, peer, done, arg);
}

void relayd_stat(const struct relayd *rd, uint64_t *cached, uint64_t *limit)
{
	/* the relay itself is its loop's: not to be looked at from here */
	*cached = __atomic_load_n(&rd->cached, __ATOMIC_RELAXED);
	*limit = rd->cache_bytes;
}

struct dgram_sock *relayd_dgram(struct relayd *rd)
{
	return __atomic_load_n(&rd->dgram, __ATOMIC_ACQUIRE);
}

/* -------------------------------------------------------- opening, ends */

int relayd_new(struct relayd **out, const struct relay_config *cfg)
{
	struct relayd *rd = calloc(1, sizeof(*rd));
	struct relay_io io = relayd_io;
	int err;

	if (!rd)
		return -ENOMEM;
	gate_init(&rd->gate);
	gate_init(&rd->probes);
	rd->flush.fn = on_flush;
	rd->cache_bytes = cfg->cache_bytes;
	LIST_INIT(&rd->due);
	io.arg = rd;
	err = relay_new(&rd->relay, cfg, &io);
	if (!err)
		err = hasher_new(&rd->hasher);
	if (!err)
		err = loop_new(&rd->loop, "relay");
	if (err) {
		relayd_free(rd);
		return err;
	}
	*out = rd;
	return 0;
}

int relayd_open(struct relayd *rd, struct meta *m, const struct rpc_self *self,
		const struct addr *at, dgram_fn other, void *arg)
{
	int err;

	rd->meta = m;
	rd->self = *self;
	rd->other = other;
	rd->other_arg = arg;
	loop_run(rd->loop, begin, rd);
	if (!rd->timer)
		return -ENOMEM;
	err = dgram_open(&rd->dgram, rd->loop, at, on_dgram, rd);
	return err;
}

void relayd_close(struct relayd *rd)
{
	struct dgram_sock *d = relayd_dgram(rd);

	if (!rd->timer)
		return;		/* it was never opened */
	__atomic_store_n(&rd->dgram, NULL, __ATOMIC_RELEASE);
	gate_shut(&rd->gate);
	gate_shut(&rd->probes);
	loop_run(rd->loop, end, rd);
	dgram_close(d);
	gate_wait(&rd->gate);
	gate_wait(&rd->probes);
}

void relayd_free(struct relayd *rd)
{
	struct member *m, *next;

	if (!rd)
		return;
	if (rd->hasher)
		hasher_free(rd->hasher);
	loop_free(rd->loop);
	relay_free(rd->relay);
	HASH_CLEAR(by_session, rd->sessions);
	HASH_ITER (hh, rd->members, m, next) {
		HASH_DELETE(hh, rd->members, m);
		free(m);
	}
	free(rd->resolve);
	gate_fini(&rd->gate);
	gate_fini(&rd->probes);
	free(rd);
}
