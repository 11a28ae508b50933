#include <errno.h>
#include <string.h>

#include "core_internal.h"
#include "log.h"
#include "text.h"

/* ------------------------------------------------------------ their ending */

/* Nothing is left of what @s held; its peer, if it is still that one's, is
 * gone, its connection closed. */
static void strip(struct core *c, struct session *s, const char *why)
{
	struct conn *n = s->conn ? core_conn(c, s->conn) : NULL;

	leases_drop(c->leases, &s->holder);
	locks_drop(c->locks, s->id);
	s->live = 0;
	if (n)
		core_close(c, n, why);
}

void core_lapse(struct core *c, struct session *s)
{
	strip(c, s, "silent for too long");
	core_poison(c, sessions_save(c->sessions, s));
}

void core_end_session(struct core *c, struct session *s)
{
	strip(c, s, "its session ended");
	core_poison(c, sessions_erase(c->sessions, s));
	sessions_free(c->sessions, s);
}

/* Who has the key and says nothing takes room as well. */
static void close_silent(struct core *c)
{
	struct conn *n, *next;

	HASH_ITER (hh, c->conns, n, next)
		if (!n->session && !n->closing &&
		    c->now.ms - n->alone_ms >= CORE_HELLO_MS)
			core_close(c, n, "it says no hello");
}

void core_sessions_tick(struct core *c)
{
	struct session *s, *next;

	for (s = sessions_next(c->sessions, NULL); s; s = next) {
		uint64_t silent = c->now.ms - s->heard_ms;
		uint64_t keep = s->guest ? c->cfg.lease_ms : CORE_SESSION_MS;

		next = sessions_next(c->sessions, s);
		if (s->light)
			continue;
		if (s->live && silent >= c->cfg.lease_ms)
			core_lapse(c, s);
		else if (!s->live && !s->conn && silent >= keep)
			core_end_session(c, s);
	}
	close_silent(c);
}

/* -------------------------------------------------------------------- hello */

/* It comes first, in every version; the rest may be another's. */
static int check_protocol(struct req *r)
{
	uint32_t protocol;
	struct rd rd;

	rd_init(&rd, r->body, r->len);
	protocol = rd_u32(&rd);
	if (rd.bad)
		return -EBADMSG;
	if (protocol != MSG_PROTOCOL)
		return core_refuse(r, ST_PROTO,
				   "this tracker speaks protocol %u, you speak "
				   "%u: install the same version of pspfs on "
				   "both", MSG_PROTOCOL, protocol);
	return 0;
}

static int check_swarm(struct core *c, struct req *r, const struct m_hello *m)
{
	if (m->role != r->conn->role ||
	    (m->role != ROLE_PEER && m->role != ROLE_CLIENT))
		return core_refuse(r, ST_INVAL, "hello in a wrong role");
	if (m->swarm && m->swarm != c->swarm_id)
		return core_refuse(r, ST_XDEV,
				   "the store belongs to another swarm "
				   "(%016llx), this tracker serves %016llx",
				   (unsigned long long)m->swarm,
				   (unsigned long long)c->swarm_id);
	return 0;
}

/* Where others will reach it; is anybody else there, or this peer twice? */
static int check_peer(struct core *c, struct req *r, const struct m_hello *m,
		      struct str addr, const struct session *s)
{
	struct peer *p = swarm_find(c->swarm, r->conn->id);
	struct conn *other;
	struct addr parsed;

	if (addr_from_ip(addr.p, addr.len, m->port, &parsed) || !m->port)
		return core_refuse(r, ST_INVAL,
				   "%.*s port %u is no address: give an IP in "
				   "digits with addr= and a port with port=",
				   (int)addr.len, addr.p, m->port);
	other = p && p->conn && p->conn != r->conn->conn
			? core_conn(c, p->conn)
			: NULL;
	if (other && other->session != s)
		return core_refuse(r, ST_EXIST,
				   "another process with this store is "
				   "connected from %s: end it first, or give "
				   "this one its own store=", other->ip);
	if (swarm_at(c->swarm, addr, m->port, r->conn->id))
		return core_refuse(r, ST_ADDRINUSE,
				   "another peer is at %.*s port %u already: "
				   "give this one its own addr= or port=",
				   (int)addr.len, addr.p, m->port);
	if (other)
		core_close(c, other, "taken over by a newer connection");
	return 0;
}

/* Is it time to try whether others can connect to @p? */
static void probe(struct core *c, struct peer *p)
{
	if (!c->io.probe || p->guest || !peer_live(p) ||
	    c->now.ms < p->probe_ms)
		return;
	p->probe_ms = c->now.ms + CORE_PROBE_MS;
	c->io.probe(c->io.arg, p->id, p->addr, p->port);
}

void core_probe_tick(struct core *c)
{
	for (uint32_t i = 1; i <= c->swarm->n; i++) {
		struct peer *p = swarm_num(c->swarm, i);

		if (p && p->reach != REACH_YES)
			probe(c, p);
	}
}

void core_probed(struct core *c, uint64_t peer, uint8_t reach)
{
	struct peer *p = swarm_find(c->swarm, peer);

	if (!p || !peer_live(p) || p->reach == reach)
		return;
	if (reach == REACH_NO)
		log_info("nobody can connect to peer %s:%u: its chunks go "
			 "through the relay", p->addr, p->port);
	else if (p->reach == REACH_NO)
		log_info("peer %s:%u can be connected to", p->addr, p->port);
	p->reach = reach;
	c->swarm->changed = 1;
}

static struct session *session_new(struct core *c, const struct conn *n)
{
	uint64_t id;

	do
		id = random_u64();
	while (!id || sessions_find(c->sessions, id));
	return sessions_add(c->sessions, id, n->id, n->role != ROLE_PEER);
}

/* The same store has one process: what others left behind has ended. */
static void end_others(struct core *c, const struct conn *n,
		       const struct session *keep)
{
	struct session *s, *next;

	for (s = sessions_next(c->sessions, NULL); s; s = next) {
		next = sessions_next(c->sessions, s);
		if (s == keep || s->light || s->owner != n->id)
			continue;
		if (s->conn == n->conn)
			s->conn = 0;
		core_end_session(c, s);
	}
}

static int hello_client(struct core *c, struct req *r)
{
	struct session *s = r->conn->session;

	if (s)
		return 0;
	s = session_new(c, r->conn);
	if (!s)
		return -ENOMEM;
	s->live = 1;
	s->epoch = 1;
	s->conn = r->conn->conn;
	s->heard_ms = c->now.ms;
	r->conn->session = s;
	return 0;
}

static int hello_peer(struct core *c, struct req *r, const struct m_hello *m,
		      struct m_hello_r *out)
{
	struct session *s = m->session ? sessions_find(c->sessions, m->session)
				       : NULL;
	struct conn *n = r->conn;
	struct str addr = m->addr.len ? m->addr : str_of(n->ip);
	struct peer *p;
	int err, was_live;

	if (s && (s->owner != n->id || s->light))
		s = NULL;
	err = check_peer(c, r, m, addr, s);
	if (!err)
		err = swarm_join(c->swarm, &p, n->id, n->conn, m, addr,
				 c->now.ms);
	if (err)
		return err;
	n->session = NULL;
	n->alone_ms = c->now.ms;
	end_others(c, n, s);
	out->resumed = s != NULL;
	was_live = s && s->live;
	if (!s)
		s = session_new(c, n);
	if (!s) {
		swarm_leave(c->swarm, p, c->now.ms);
		return -ENOMEM;
	}
	core_poison(c, core_locks_resume(c, s, m, &r->arena, out));
	/* it dropped what it had cached before it said hello */
	leases_drop(c->leases, &s->holder);
	for (uint32_t i = 0; i < m->n_open; i++)
		if (leases_open(c->leases, &s->holder, m->open[i]))
			core_poison(c, -ENOMEM);
	s->live = 1;
	/* After a power cut, too, its leases are to be waited for. */
	c->sync |= !was_live;
	s->epoch++;
	s->conn = n->conn;
	s->heard_ms = c->now.ms;
	s->peer = p;
	p->probe_ms = 0;
	probe(c, p);
	s->guest = p->guest;
	n->session = s;
	n->greeted = 1;
	core_poison(c, sessions_save(c->sessions, s));
	repair_poke(c->repair);
	return 0;
}

/* @m: what was found out, the rest is filled in. */
static void answer_hello(struct core *c, struct req *r, struct m_hello_r *m)
{
	const struct session *s = r->conn->session;
	struct wr w = WR_INIT;

	m->protocol = MSG_PROTOCOL;
	m->swarm = c->swarm_id;
	m->session = s->id;
	m->epoch = s->epoch;
	m->num = s->peer ? s->peer->num : 0;
	m->copies = c->cfg.copies;
	m->slot_size = c->cfg.slot_size;
	m->lease_ms = c->cfg.lease_ms;
	m->heartbeat_ms = c->cfg.heartbeat_ms;
	if (m_hello_r_encode(&w, m))
		core_poison(c, -ENOMEM);
	core_put(c, r->conn->conn, r->number, M_hello_r, ST_OK, &w);
	r->conn->wants_peers = c->wants_peers = 1;
}

void core_serve_hello(struct core *c, struct req *r)
{
	struct m_hello m = { .role = r->conn->role };
	struct m_hello_r out = { 0 };
	int err;

	err = check_protocol(r);
	if (!err)
		err = m_hello_decode(&m, &r->arena, r->body, r->len);
	if (!err)
		err = check_swarm(c, r, &m);
	if (!err && m.role == ROLE_CLIENT)
		err = hello_client(c, r);
	else if (!err)
		err = hello_peer(c, r, &m, &out);
	if (!err) {
		answer_hello(c, r, &out);
		return;
	}
	log_info("%s %016llx at %s refused: %s", m.role == ROLE_PEER ? "peer"
								    : "client",
		 (unsigned long long)r->conn->id, r->conn->ip,
		 r->text[0] ? r->text : strerror(-err));
	core_fail(c, r, err);
}

/* --------------------------------------------------------------- afterwards */

int core_serve_bye(struct core *c, struct req *r, struct wr *w)
{
	struct m_bye_r m = { 0 };
	struct session *s = r->session;

	/* the connection is its own to close, after the answer */
	r->conn->session = NULL;
	r->conn->alone_ms = c->now.ms;
	s->conn = 0;
	core_peer_leaves(c, s, r->conn);
	db_essential(c->db, 1);
	core_end_session(c, s);
	db_essential(c->db, 0);
	return m_bye_r_encode(w, &m);
}

int core_heartbeat(struct core *c, uint64_t session, const void *body,
		   size_t len, struct wr *answer)
{
	struct session *s = sessions_find(c->sessions, session);
	struct arena a = ARENA_INIT;
	struct m_heartbeat m;
	struct m_heartbeat_r out;
	int err;

	err = m_heartbeat_decode(&m, &a, body, len);
	arena_fini(&a);
	if (err || !s || !s->live || !s->conn || m.session != session ||
	    m.epoch != s->epoch)
		return -ENOENT;
	out = (struct m_heartbeat_r){ s->id, s->epoch, m.beat };
	err = m_heartbeat_r_encode(answer, &out);
	if (err)
		return -ENOENT;	/* unanswered is as good as unheard */
	s->heard_ms = c->now.ms;
	if (s->peer)
		swarm_heard(c->swarm, s->peer, &m, c->now.ms);
	return 0;
}

int core_serve_heartbeat(struct core *c, struct req *r, struct wr *w)
{
	if (!core_heartbeat(c, r->session->id, r->body, r->len, w))
		return 0;
	return core_refuse(r, ST_SESSION, "not this session's heartbeat");
}

int core_serve_release(struct core *c, struct req *r, struct wr *w)
{
	struct m_release m;
	int err;

	(void)w;
	err = m_release_decode(&m, &r->arena, r->body, r->len);
	if (err)
		return err;
	/* An answer with a lease may be on its way to it: the lease stays,
	 * unless the inode has no name by which it could be asked for. */
	for (uint32_t i = 0; i < m.n_inos; i++)
		leases_release(c->leases, &r->session->holder, m.inos[i],
			       core_is_orphan(c, m.inos[i]));
	return 0;
}
