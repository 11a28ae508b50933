#include "swarm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ----------------------------------------------------------------- the list */

struct peer *swarm_find(const struct swarm *s, uint64_t id)
{
	struct peer *p;

	HASH_FIND(hh, s->peers, &id, sizeof(id), p);
	return p;
}

struct peer *swarm_num(const struct swarm *s, uint32_t num)
{
	struct peer *p;

	if (num < MSG_GUEST_FIRST)
		return num && num <= s->n ? s->by_num[num - 1] : NULL;
	HASH_FIND(hh_guest, s->guests, &num, sizeof(num), p);
	return p;
}

struct peer *swarm_at(const struct swarm *s, struct str addr, uint16_t port,
		      uint64_t id)
{
	struct peer *p;

	for (p = s->peers; p; p = p->hh.next)
		if (peer_live(p) && p->id != id && p->port == port &&
		    str_eq(str_of(p->addr), addr))
			break;
	return p;
}

static int reserve(struct swarm *s, uint32_t n)
{
	uint32_t cap = s->cap ? s->cap : 64;
	struct candidate *candidates;
	struct peer **by_num;

	while (cap < n)
		cap *= 2;
	if (cap == s->cap)
		return 0;
	by_num = realloc(s->by_num, cap * sizeof(struct peer *));
	if (!by_num)
		return -ENOMEM;
	s->by_num = by_num;
	candidates = realloc(s->candidates, cap * sizeof(*candidates));
	if (!candidates)
		return -ENOMEM;
	s->candidates = candidates;
	s->cap = cap;
	return 0;
}

/* In the table by id, and nowhere else yet. */
static struct peer *peer_new(struct swarm *s, uint32_t num, uint64_t id)
{
	struct peer *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->num = num;
	p->id = id;
	p->state = PEER_GONE;
	HASH_ADD(hh, s->peers, id, sizeof(p->id), p);
	if (TABLE_ADDED(p))
		return p;
	free(p);
	return NULL;
}

static void peer_free(struct swarm *s, struct peer *p)
{
	HASH_DELETE(hh, s->peers, p);
	free(p->counters);
	free(p);
}

static struct peer *guest_add(struct swarm *s, uint64_t id)
{
	struct peer *p = peer_new(s, s->next_guest, id);

	if (!p)
		return NULL;
	HASH_ADD(hh_guest, s->guests, num, sizeof(p->num), p);
	if (!p->hh_guest.tbl) {
		peer_free(s, p);
		return NULL;
	}
	s->next_guest++;
	p->guest = 1;
	return p;
}

static struct peer *peer_add(struct swarm *s, uint32_t num, uint64_t id)
{
	struct peer *p;

	if (reserve(s, num))
		return NULL;
	p = peer_new(s, num, id);
	if (!p)
		return NULL;
	while (s->n < num)
		s->by_num[s->n++] = NULL;
	s->by_num[num - 1] = p;
	return p;
}

static void set_addr(struct peer *p, struct str addr)
{
	size_t n = addr.len < MSG_ADDR_MAX ? addr.len : MSG_ADDR_MAX;

	if (n)
		memcpy(p->addr, addr.p, n);
	p->addr[n] = 0;
}

/* ---------------------------------------------------------------- database */

static int load(struct swarm *s, uint64_t now_ms)
{
	struct db_stmt *q = db_prep(s->db, "SELECT num, id, addr, port"
					   " FROM peers ORDER BY num");
	struct peer *p;
	size_t len;
	int got;

	while ((got = db_step(q)) == 1) {
		uint64_t num = db_u64(q, 0);
		const char *addr;

		if (!num || num > MSG_PEERS_MAX) {
			db_reset(q);
			return -EIO;
		}
		p = peer_add(s, (uint32_t)num, db_u64(q, 1));
		if (!p) {
			db_reset(q);
			return -ENOMEM;
		}
		addr = db_blob(q, 2, &len);
		set_addr(p, (struct str){ addr, (uint32_t)len });
		p->port = (uint16_t)db_u64(q, 3);
		p->saved = 1;
		/* it has as long to come back as if it had left just now */
		p->gone_ms = now_ms;
	}
	return got;
}

static int save(struct swarm *s, struct peer *p)
{
	struct db_stmt *q;
	int err;

	if (p->saved || p->guest)
		return 0;
	q = db_prep(s->db, "INSERT OR REPLACE INTO peers(num, id, addr, port)"
			   " VALUES (?, ?, ?, ?)");
	db_bind_u64(q, 1, p->num);
	db_bind_u64(q, 2, p->id);
	db_bind_blob(q, 3, p->addr, strlen(p->addr));
	db_bind_u64(q, 4, p->port);
	err = db_run(q);
	p->saved = !err;
	return err;
}

int swarm_open(struct swarm **out, struct db *db, uint64_t now_ms)
{
	struct swarm *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	s->db = db;
	s->next_guest = MSG_GUEST_FIRST;
	err = locations_new(&s->locations);
	if (!err)
		err = db_begin(db);
	if (err)
		goto out_close;
	err = db_run(db_prep(db, "CREATE TABLE IF NOT EXISTS peers("
				 "  num INTEGER PRIMARY KEY,"
				 "  id INTEGER NOT NULL UNIQUE,"
				 "  addr BLOB NOT NULL,"
				 "  port INTEGER NOT NULL"
				 ") STRICT"));
	if (!err)
		err = load(s, now_ms);
	if (!err)
		err = db_commit(db, 0);
	else
		db_rollback(db);
	if (err)
		goto out_close;
	*out = s;
	return 0;

out_close:
	swarm_close(s);
	return err;
}

void swarm_close(struct swarm *s)
{
	struct peer *p, *next;

	if (!s)
		return;
	HASH_CLEAR(hh_guest, s->guests);
	HASH_ITER (hh, s->peers, p, next)
		peer_free(s, p);
	locations_free(s->locations);
	free(s->by_num);
	free(s->candidates);
	free(s);
}

void swarm_rolled_back(struct swarm *s)
{
	for (uint32_t i = 0; i < s->n; i++)
		if (s->by_num[i])
			s->by_num[i]->saved = 0;
}

/* ------------------------------------------------------------ coming, going */

int swarm_join(struct swarm *s, struct peer **out, uint64_t id,
	       uint64_t conn, const struct m_hello *m, struct str addr,
	       uint64_t now_ms)
{
	struct peer *p = swarm_find(s, id);
	int err;

	if (p && p->guest != !!m->guest)
		return -EEXIST;
	if (!p && (s->n + HASH_CNT(hh_guest, s->guests) >= MSG_PEERS_MAX ||
		   s->next_guest >= LOCATIONS_PEER_MAX))
		return -ENOSPC;
	if (!p)
		p = m->guest ? guest_add(s, id) : peer_add(s, s->n + 1, id);
	if (!p)
		return -ENOMEM;
	if (!str_eq(str_of(p->addr), addr) || p->port != m->port) {
		set_addr(p, addr);
		p->port = m->port;
		p->reach = REACH_UNKNOWN;
		p->saved = 0;
	}
	err = save(s, p);
	if (err)
		return err;
	if (!peer_live(p) && !p->guest)
		s->n_live++;
	p->state = PEER_ALIVE;
	p->told = 0;
	p->conn = conn;
	p->mounted = m->mounted;
	p->capacity = m->capacity;
	p->used = m->used;
	p->heard_ms = now_ms;
	s->changed = 1;
	*out = p;
	return 0;
}

void swarm_leave(struct swarm *s, struct peer *p, uint64_t now_ms)
{
	p->conn = 0;
	if (p->guest) {
		locations_forget_peer(s->locations, p->num);
		HASH_DELETE(hh_guest, s->guests, p);
		peer_free(s, p);
		s->changed = 1;
		return;
	}
	if (!peer_live(p))
		return;
	p->state = PEER_GONE;
	p->gone_ms = now_ms;
	s->n_live--;
	s->changed = 1;
}

void swarm_heard(struct swarm *s, struct peer *p,
		 const struct m_heartbeat *m, uint64_t now_ms)
{
	p->heard_ms = now_ms;
	p->capacity = m->capacity;
	p->used = m->used;
	p->chunks = m->chunks;
	p->queued = 0;
	if (p->state == PEER_SUSPECT) {
		p->state = PEER_ALIVE;
		s->changed = 1;
	}
}

void swarm_tick(struct swarm *s, uint64_t now_ms, uint64_t suspect_ms)
{
	for (struct peer *p = s->peers; p; p = p->hh.next)
		if (p->state == PEER_ALIVE &&
		    now_ms - p->heard_ms >= suspect_ms) {
			p->state = PEER_SUSPECT;
			s->changed = 1;
		}
}

void swarm_stalled(struct swarm *s, uint64_t gap_ms)
{
	for (struct peer *p = s->peers; p; p = p->hh.next)
		p->heard_ms += gap_ms;
}

int swarm_count(struct peer *p, const struct m_stats *m)
{
	size_t bytes = m->n_counters * sizeof(*m->counters);
	struct m_counter *c = malloc(bytes ? bytes : 1);

	if (!c)
		return -ENOMEM;
	if (bytes)
		memcpy(c, m->counters, bytes);
	free(p->counters);
	p->counters = c;
	p->n_counters = m->n_counters;
	return 0;
}

/* ------------------------------------------------------------------ telling */

static struct m_peer listed(const struct peer *p, int all, uint64_t now_ms)
{
	uint64_t silent = p->heard_ms ? now_ms - p->heard_ms : UINT32_MAX;

	return (struct m_peer){
		.num = p->num,
		.id = p->id,
		.addr = str_of(p->addr),
		.port = p->port,
		.state = p->state,
		.mounted = p->mounted,
		.capacity = p->capacity,
		.used = p->used,
		.chunks = p->chunks,
		.silent_ms = silent < UINT32_MAX ? (uint32_t)silent
						 : UINT32_MAX,
		.counters = all ? p->counters : NULL,
		.n_counters = all ? p->n_counters : 0,
		.reach = p->reach,
		.guest = p->guest,
	};
}

int swarm_list(const struct swarm *s, struct arena *a, int all,
	       uint64_t now_ms, struct m_peer **out, uint32_t *n)
{
	size_t most = s->n + HASH_CNT(hh_guest, s->guests);
	struct m_peer *v = arena_alloc(a, most * sizeof(*v) + 1);

	if (!v)
		return -ENOMEM;
	*n = 0;
	for (uint32_t i = 0; i < s->n; i++)
		if (s->by_num[i] && (all || peer_live(s->by_num[i])))
			v[(*n)++] = listed(s->by_num[i], all, now_ms);
	/* In the order of their numbers: they are never given again. */
	for (const struct peer *p = s->guests; p; p = p->hh_guest.next)
		v[(*n)++] = listed(p, all, now_ms);
	*out = v;
	return 0;
}

struct room swarm_room(const struct swarm *s)
{
	struct room r = { 0 };

	for (uint32_t i = 0; i < s->n; i++) {
		const struct peer *p = s->by_num[i];

		if (!p || !peer_live(p))
			continue;
		r.capacity += p->capacity;
		r.used += p->used;
	}
	return r;
}
