/*
 * sim_client -- a peer as the protocol wants it: it caches under leases, sends
 * changes until they are answered, says hello again after each loss.
 *
 * What it may believe is in its cells: a cell is a file's owner (set by
 * setattr) or what a name in the root leads to.  The tracker's true history of
 * each cell is in cells[]; every answer moves "acked", and no client may ever
 * believe anything older.
 */
#ifndef PSPFS_SIM_CLIENT_H
#define PSPFS_SIM_CLIENT_H

#include "sim_world.h"

/* The last is a guest: it only reads, caches nothing, and says that it has
 * copies and replicas, which count for nothing. */
enum { MEMBERS = 4, CLIENTS = MEMBERS + 1, FILES = 3, NAMES = 3, CELLS = FILES + NAMES, LOGS = 2,
       OPENS = 4, OPS = 4, BEATS = 64, RECORD = 8 };

struct cell {
	char name[16];
	uint64_t ino;		/* of a file's */
	uint64_t *past;		/* values, the latest last */
	size_t n, acked;
};

/* What a chunk holds. */
struct content {
	uint64_t id;
	uint32_t len;
	uint8_t data[SLOT];
	UT_hash_handle hh;
};

/* A record appended to a log. */
struct record {
	int log;
	uint64_t sent_ms, acked_ms, at;
	unsigned found;
};

struct op {
	TAILQ_ENTRY(op) link;
	uint16_t type;
	uint64_t seq;		/* 0: it changes nothing */
	uint32_t number;
	uint64_t conn, sent_ms;
	int resent, failed;
	struct wr body;
	int cell;		/* -1: none */
	size_t index;		/* in the cell's past, of what it did; 0: not */
	int unique;		/* a name of its own: it must succeed */
	uint64_t ino;		/* unlinked, asked for, ... */
	size_t record;		/* 1 + its index */
	int log;
};

struct belief {
	int valid, attr;	/* attr: of the inode the name leads to, too */
	uint64_t value;
};

struct open_file {
	uint64_t ino;
	int reported, safe;
};

struct client {
	int no;
	uint64_t conn, session, epoch;
	uint32_t num, number;
	int up, paused;
	uint64_t reconnect_ms, hello_ms, lease_end, next_beat_ms;
	uint64_t beat, beat_ms[BEATS];
	uint64_t seq;
	TAILQ_HEAD(, op) ops;
	int n_ops;
	struct belief belief[CELLS];
	struct open_file opens[OPENS];
	uint64_t pool[64];
	struct m_placed placed;
	int n_pool;
	uint64_t *held;
	size_t n_held;
	unsigned unique;
	uint64_t unique_ino;
	int asked_grant;
};

extern struct client clients[CLIENTS];
extern struct cell cells[CELLS];
extern uint64_t logs[LOGS];
extern struct record *records;
extern size_t n_records;
extern struct content *contents;

/* ------------------------------------------------------------- small parts */

static inline int is_guest(const struct client *c)
{
	return c->no >= MEMBERS;
}

static inline struct client *client_num(uint32_t num)
{
	for (int i = 0; i < CLIENTS; i++)
		if (clients[i].num == num && num)
			return &clients[i];
	return NULL;
}

static inline int holds(const struct client *c, uint64_t id)
{
	for (size_t i = 0; i < c->n_held; i++)
		if (c->held[i] == id)
			return 1;
	return 0;
}

static inline void hold(struct client *c, uint64_t id)
{
	if (holds(c, id))
		return;
	c->held = realloc(c->held, (c->n_held + 1) * sizeof(*c->held));
	assert(c->held);
	c->held[c->n_held++] = id;
}

static inline void let_go_of(struct client *c, uint64_t id)
{
	for (size_t i = 0; i < c->n_held; i++)
		if (c->held[i] == id)
			c->held[i--] = c->held[--c->n_held];
}

static inline struct content *content_of(uint64_t id)
{
	struct content *x;

	HASH_FIND(hh, contents, &id, sizeof(id), x);
	return x;
}

static inline struct content *content_new(uint64_t id, uint32_t len)
{
	struct content *x = calloc(1, sizeof(*x));

	assert(x && len <= SLOT);
	CHECK(!content_of(id), "id %llu is given twice",
	      (unsigned long long)id);
	x->id = id;
	x->len = len;
	HASH_ADD(hh, contents, id, sizeof(x->id), x);
	return x;
}

/* --------------------------------------------------------------- requests */

static inline uint64_t lowest_seq(const struct client *c)
{
	uint64_t low = c->seq + 1;
	const struct op *o;

	TAILQ_FOREACH(o, &c->ops, link)
		if (o->seq && o->seq < low)
			low = o->seq;
	return low;
}

static inline void op_send(struct client *c, struct op *o)
{
	struct wr copy = WR_INIT;

	if (o->seq)
		put_u64(o->body.p + 8, lowest_seq(c));
	o->number = ++c->number;
	o->conn = c->conn;
	o->sent_ms = world.ms;
	wr_bytes(&copy, o->body.p, o->body.len);
	line_send(TO_TRACKER, c->conn, o->number, o->type, 0, &copy);
}

static inline struct op *op_new(struct client *c, uint16_t type)
{
	struct op *o = calloc(1, sizeof(*o));

	assert(o);
	o->type = type;
	o->cell = -1;
	if (M_MUTATES(type))
		o->seq = ++c->seq;
	TAILQ_INSERT_TAIL(&c->ops, o, link);
	c->n_ops++;
	return o;
}

static inline void op_free(struct client *c, struct op *o)
{
	TAILQ_REMOVE(&c->ops, o, link);
	c->n_ops--;
	wr_fini(&o->body);
	free(o);
}

static inline void one_way(struct client *c, uint16_t type, struct wr *body)
{
	line_send(TO_TRACKER, c->conn, 0, type, 0, body);
}

static inline void release(struct client *c, uint64_t ino)
{
	struct m_release m = { &ino, 1 };
	struct wr w = WR_INIT;

	if (!c->up)
		return;		/* hello tells what is open */
	assert(!m_release_encode(&w, &m));
	one_way(c, M_release, &w);
}

/* ------------------------------------------------------------- connections */

static inline void lose(struct client *c, uint64_t for_ms)
{
	struct op *o, *next;

	if (c->conn)
		line_cut(c->conn);
	c->conn = 0;
	c->up = 0;
	c->asked_grant = 0;
	c->reconnect_ms = world.ms + for_ms;
	for (o = TAILQ_FIRST(&c->ops); o; o = next) {
		next = TAILQ_NEXT(o, link);
		if (!o->seq)
			op_free(c, o);
	}
}

static inline void hello(struct client *c)
{
	uint64_t open[OPENS];
	char ip[32];
	struct m_hello m = {
		.protocol = MSG_PROTOCOL, .role = ROLE_PEER,
		.session = c->session, .port = 3457,
		.capacity = 1 << 30, .open = open, .guest = is_guest(c),
	};
	struct op *o;

	snprintf(ip, sizeof(ip), "127.0.0.%d", 11 + c->no);
	m.addr = str_of(ip);
	c->conn = line_open(c->no);
	core_up(world.core, c->conn, ROLE_PEER, 1000 + (uint64_t)c->no, ip);
	/* what was believed under the old leases ends before the new ones */
	memset(c->belief, 0, sizeof(c->belief));
	for (int i = 0; i < OPENS; i++)
		if (c->opens[i].ino)
			open[m.n_open++] = c->opens[i].ino;
	for (int i = 0; i < OPENS; i++)
		c->opens[i].reported = 1;
	o = op_new(c, M_hello);
	assert(!m_hello_encode(&o->body, &m));
	c->hello_ms = world.ms;
	op_send(c, o);
}

static inline void inventory(struct client *c)
{
	struct m_inventory m = { .first = 1, .last = 1 };
	struct op *o = op_new(c, M_inventory);

	m.chunks = calloc(c->n_held + 1, sizeof(*m.chunks));
	assert(m.chunks);
	for (size_t i = 0; i < c->n_held; i++)
		m.chunks[m.n_chunks++] =
			(struct m_held){ c->held[i],
					 is_guest(c) && chance(80)
						 ? COPY_CACHED
						 : COPY_REPLICA };
	assert(!m_inventory_encode(&o->body, &m));
	free(m.chunks);
	op_send(c, o);
}

static inline void welcome(struct client *c, const struct frame *f)
{
	struct arena a = ARENA_INIT;
	struct m_hello_r m;
	struct op *o;

	if (f->status) {
		lose(c, 300);	/* the old connection is still up, there */
		return;
	}
	CHECK(!m_hello_r_decode(&m, &a, f->body.p, f->body.len), "bad hello");
	CHECK(!c->session || is_guest(c) ||
	      (m.resumed && m.session == c->session),
	      "client %d: its session is lost", c->no);
	CHECK(m.epoch > c->epoch || !m.resumed, "the epoch does not grow");
	CHECK(!c->num || is_guest(c) || c->num == m.num,
	      "the number of a peer changes");
	CHECK(is_guest(c) == (m.num >= MSG_GUEST_FIRST), "a guest's number");
	for (int i = 0; i < OPENS; i++)
		if (world.ms >= c->lease_end)
			c->opens[i].safe = 0;
	c->session = m.session;
	c->epoch = m.epoch;
	c->num = m.num;
	c->up = 1;
	c->lease_end = c->hello_ms + LEASE_MS;
	c->next_beat_ms = world.ms;
	TAILQ_FOREACH(o, &c->ops, link) {
		if (!o->seq)
			continue;
		o->resent = 1;
		op_send(c, o);
	}
	inventory(c);
}

static inline void beat(struct client *c)
{
	struct m_heartbeat m = {
		.session = c->session, .epoch = c->epoch, .beat = ++c->beat,
		.capacity = 1 << 30, .used = c->n_held * 64,
		.chunks = c->n_held,
	};
	struct wr w = WR_INIT;

	c->beat_ms[c->beat % BEATS] = world.ms;
	c->next_beat_ms = world.ms + BEAT_MS;
	assert(!m_heartbeat_encode(&w, &m));
	beat_send(TO_TRACKER_BEAT, c->session, &w);
	wr_fini(&w);
}

static inline void beat_answered(const struct frame *f)
{
	struct arena a = ARENA_INIT;
	struct m_heartbeat_r m;

	CHECK(!m_heartbeat_r_decode(&m, &a, f->body.p, f->body.len), "beat");
	for (int i = 0; i < CLIENTS; i++) {
		struct client *c = &clients[i];
		uint64_t end;

		if (c->session != m.session || c->epoch != m.epoch ||
		    m.beat + BEATS <= c->beat)
			continue;
		end = c->beat_ms[m.beat % BEATS] + LEASE_MS;
		/* a lease that ended is over, whatever comes later */
		if (end > c->lease_end && world.ms < c->lease_end)
			c->lease_end = end;
	}
}

#endif
