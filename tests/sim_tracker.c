/*
 * sim_tracker -- a tracker and its clients under loss, delay, cuts and kills.
 *
 * PSPFS_SIM_SEED, PSPFS_SIM_ROUNDS: where to start, how many.
 */
#include <errno.h>
#include <time.h>

#include "log.h"
#include "sim_client.h"

enum { ROUND_MS = 30000, STEP_MS = 8 };

struct world world;
struct client clients[CLIENTS];
struct cell cells[CELLS];
uint64_t logs[LOGS];
struct record *records;
size_t n_records;
struct content *contents;
static uint32_t last_owner;

/* ------------------------------------------------------------------- truth */

static uint64_t truth(int i)
{
	struct cell *x = &cells[i];
	struct m_attr a;
	int err;

	if (i < FILES) {
		CHECK(!ns_getattr(world.core->ns, x->ino, &a), "no %s",
		      x->name);
		return a.uid;
	}
	err = ns_lookup(world.core->ns, NS_ROOT, str_of(x->name), &a);
	CHECK(!err || err == -ENOENT, "lookup of %s", x->name);
	return err ? 0 : a.ino;
}

static void note(int i, uint64_t value)
{
	struct cell *x = &cells[i];

	x->past = realloc(x->past, (x->n + 1) * sizeof(*x->past));
	assert(x->past);
	x->past[x->n++] = value;
}

/* The tracker has run a request: whose change, if any, is it? */
void executed(uint64_t conn, uint32_t number, uint16_t type)
{
	struct client *c = &clients[line_at(conn)->client];
	struct op *o;

	if (!M_MUTATES(type))
		return;
	TAILQ_FOREACH(o, &c->ops, link)
		if (o->number == number && o->conn == conn)
			break;
	for (int i = 0; i < CELLS; i++) {
		uint64_t now = truth(i);

		if (now == cells[i].past[cells[i].n - 1])
			continue;
		note(i, now);
		/* one that was sent again since is the same one */
		for (int k = 0; !o && k < 1; k++)
			TAILQ_FOREACH(o, &c->ops, link)
				if (o->cell == i && o->type == type)
					break;
		CHECK(o && o->cell == i, "%s changed by a stray request",
		      cells[i].name);
		o->index = cells[i].n - 1;
	}
}

/* What was not committed may be undone, but nothing that was answered. */
void undone(void)
{
	for (int i = 0; i < CELLS; i++) {
		struct cell *x = &cells[i];
		uint64_t now = truth(i);

		while (x->n && x->past[x->n - 1] != now)
			x->n--;
		CHECK(x->n > x->acked, "%s: what was answered is lost",
		      x->name);
		for (int k = 0; k < CLIENTS; k++) {
			struct op *o;

			TAILQ_FOREACH(o, &clients[k].ops, link)
				if (o->cell == i && o->index >= x->n)
					o->index = 0;
		}
	}
}

static void check_belief(const struct client *c, int i)
{
	const struct belief *b = &c->belief[i];
	const struct cell *x = &cells[i];
	size_t at = x->n;

	if (!b->valid || world.ms >= c->lease_end)
		return;
	while (at && x->past[at - 1] != b->value)
		at--;
	CHECK(at && at - 1 >= x->acked,
	      "client %d believes that %s is %llu: that is %s", c->no, x->name,
	      (unsigned long long)b->value, at ? "old" : "no truth at all");
}

static void check_beliefs(void)
{
	for (int k = 0; k < CLIENTS; k++)
		for (int i = 0; i < CELLS; i++)
			check_belief(&clients[k], i);
}

/* ------------------------------------------------------------------- changes */

static uint64_t take_id(struct client *c)
{
	return c->n_pool ? c->pool[--c->n_pool] : 0;
}

static void store(struct client *c, struct m_push *p, uint32_t stored[COPIES],
		  const uint8_t *data, uint32_t len)
{
	struct content *x = content_new(p->chunk, len);

	memcpy(x->data, data, len);
	p->len = p->chunk_len = len;
	p->md5[0] = (uint8_t)p->chunk;
	p->stored = stored;
	stored[p->n_stored++] = c->num;
	hold(c, p->chunk);
	for (int i = 0; i < CLIENTS && p->n_stored < COPIES; i++) {
		struct client *at = &clients[rnd(CLIENTS)];

		if (at == c || !at->up || chance(10))
			continue;
		stored[p->n_stored++] = at->num;
		hold(at, p->chunk);
	}
}

static void append(struct client *c)
{
	uint32_t stored[COPIES];
	struct m_push p = { .append = 1, .chunk = take_id(c) };
	struct m_commit m = { .pushes = &p, .n_pushes = 1 };
	uint8_t data[RECORD];
	struct op *o;

	if (!p.chunk)
		return;
	o = op_new(c, M_commit);
	o->log = (int)rnd(LOGS);
	records = realloc(records, (n_records + 1) * sizeof(*records));
	assert(records);
	records[n_records++] = (struct record){ o->log, world.ms, 0, 0, 0 };
	o->record = n_records;
	put_u64(data, n_records);
	store(c, &p, stored, data, RECORD);
	m.seq = o->seq;
	m.ino = logs[o->log];
	m.sync = chance(10);
	assert(!m_commit_encode(&o->body, &m));
	op_send(c, o);
}

static void set_owner(struct client *c)
{
	int i = (int)rnd(FILES);
	struct m_setattr m = { .ino = cells[i].ino, .set = SET_UID,
			       .uid = ++last_owner };
	struct op *o = op_new(c, M_setattr);

	o->cell = i;
	m.seq = o->seq;
	assert(!m_setattr_encode(&o->body, &m));
	op_send(c, o);
}

static void make(struct client *c, struct str name, int cell)
{
	struct m_mknod m = { .parent = NS_ROOT, .name = name,
			     .mode = 0100644, .excl = 1 };
	struct op *o = op_new(c, M_mknod);

	o->cell = cell;
	o->unique = cell < 0;
	m.seq = o->seq;
	assert(!m_mknod_encode(&o->body, &m));
	op_send(c, o);
}

static void remove_name(struct client *c, struct str name, int cell)
{
	struct m_unlink m = { .parent = NS_ROOT, .name = name };
	struct op *o = op_new(c, M_unlink);

	o->cell = cell;
	o->unique = cell < 0;
	m.seq = o->seq;
	assert(!m_unlink_encode(&o->body, &m));
	op_send(c, o);
}

/* A name that nobody else uses: made once, it can be removed once. */
static void unique(struct client *c)
{
	const struct op *o;
	char name[32];

	TAILQ_FOREACH(o, &c->ops, link)
		if (o->unique)
			return;
	snprintf(name, sizeof(name), "u%d-%u", c->no, c->unique / 2);
	if (c->unique++ % 2)
		remove_name(c, str_of(name), -1);
	else
		make(c, str_of(name), -1);
}

static void rename_name(struct client *c)
{
	const char *name = cells[FILES + rnd(NAMES)].name;

	if (chance(50))
		make(c, str_of(name), FILES + (name[1] - '0'));
	else
		remove_name(c, str_of(name), FILES + (name[1] - '0'));
}

/* --------------------------------------------------------------------- reads */

static void look(struct client *c)
{
	int i = (int)rnd(CELLS);
	struct m_lookup l = { NS_ROOT, str_of(cells[i].name) };
	struct m_getattr g = { cells[i].ino };
	struct op *o = op_new(c, i < FILES ? M_getattr : M_lookup);

	o->cell = i;
	assert(!(i < FILES ? m_getattr_encode(&o->body, &g)
			   : m_lookup_encode(&o->body, &l)));
	op_send(c, o);
}

/* What is open stays, whatever becomes of its name. */
static void look_open(struct client *c)
{
	struct m_getattr m = { c->opens[rnd(OPENS)].ino };
	struct op *o;

	if (!m.ino)
		return;
	o = op_new(c, M_getattr);
	o->ino = m.ino;
	assert(!m_getattr_encode(&o->body, &m));
	op_send(c, o);
}

static void open_close(struct client *c)
{
	const struct belief *b = &c->belief[FILES + rnd(NAMES)];
	struct open_file *f = &c->opens[rnd(OPENS)];

	if (f->ino) {
		if (f->reported)
			release(c, f->ino);
		*f = (struct open_file){ 0 };
		return;
	}
	for (int i = 0; i < OPENS; i++)
		if (c->opens[i].ino == b->value)
			return;
	if (b->valid && b->attr && b->value && world.ms < c->lease_end)
		*f = (struct open_file){ b->value, 0, 1 };
}

static void ask_grant(struct client *c)
{
	struct m_grant m = { 16 };
	struct op *o;

	if (c->asked_grant || c->n_pool > 8)
		return;
	o = op_new(c, M_grant);
	c->asked_grant = 1;
	assert(!m_grant_encode(&o->body, &m));
	op_send(c, o);
}

static void read_map(struct client *c)
{
	struct op *o = op_new(c, M_getmap);
	struct m_getmap m = { .first = rnd(2 + n_records / 32), .count = 1 };

	o->log = (int)rnd(LOGS);
	m.ino = logs[o->log];
	assert(!m_getmap_encode(&o->body, &m));
	op_send(c, o);
}

/* A slot as its slices make it; how long it is. */
static uint32_t merge(const struct m_slot *s, uint8_t out[SLOT])
{
	uint32_t len = 0;

	memset(out, 0, SLOT);
	for (uint32_t i = 0; i < s->n_slices; i++) {
		const struct m_slice *x = &s->slices[i];
		const struct content *from = content_of(x->chunk);

		CHECK(from && x->off + x->len <= from->len &&
		      x->pos + x->len <= SLOT, "a slice of no chunk");
		memcpy(out + x->pos, from->data + x->off, x->len);
		if (x->pos + x->len > len)
			len = x->pos + x->len;
	}
	return len;
}

static void compact(struct client *c, const struct op *read,
		    const struct m_slot *s)
{
	uint32_t stored[COPIES], len;
	struct m_compact m = { .ino = logs[read->log], .expect = s->version };
	uint8_t data[SLOT];
	struct op *o;

	if (s->n_slices < 2 || !(m.push.chunk = take_id(c)))
		return;
	len = merge(s, data);
	m.push.slot = s->index;
	store(c, &m.push, stored, data, len);
	o = op_new(c, M_compact);
	m.seq = o->seq;
	assert(!m_compact_encode(&o->body, &m));
	op_send(c, o);
}

/* ------------------------------------------------------------------- answers */

static void believe(struct client *c, const struct op *o, uint64_t value)
{
	/* sent again: others may have changed it since it was done */
	c->belief[o->cell] = (struct belief){ !o->resent, 1, value };
}

static void acked(struct op *o, int ok)
{
	if (o->cell < 0 || !ok)
		return;
	if (o->index > cells[o->cell].acked)
		cells[o->cell].acked = o->index;
}

static void unlinked(struct client *c, const struct m_unlink_r *m)
{
	if (m->nlink)
		return;
	for (int i = 0; i < OPENS; i++)
		if (c->opens[i].ino == m->ino) {
			c->opens[i].reported = 1;
			return;
		}
	release(c, m->ino);
}

static void changed(struct client *c, struct op *o, const struct frame *f,
		    struct arena *a)
{
	int err = status_to_errno(f->status);
	union {
		struct m_setattr_r setattr;
		struct m_mknod_r mknod;
		struct m_unlink_r unlink;
		struct m_commit_r commit;
		struct m_compact_r compact;
	} m;

	CHECK(f->status != ST_STALE, "an unanswered change is called stale");
	acked(o, !err);
	switch (o->type) {
	case M_setattr:
		CHECK(!err && !m_setattr_r_decode(&m.setattr, a, f->body.p,
						  f->body.len), "setattr");
		believe(c, o, m.setattr.attr.uid);
		break;
	case M_mknod:
		CHECK(!err || (err == -EEXIST && !o->unique),
		      "mknod applied twice? %d", err);
		CHECK(err || !m_mknod_r_decode(&m.mknod, a, f->body.p,
					       f->body.len), "mknod");
		if (!err && !o->unique)
			believe(c, o, m.mknod.attr.ino);
		break;
	case M_unlink:
		CHECK(!err || (err == -ENOENT && !o->unique),
		      "unlink applied twice? %d", err);
		CHECK(err || !m_unlink_r_decode(&m.unlink, a, f->body.p,
						f->body.len), "unlink");
		if (!err && !o->unique)
			believe(c, o, 0);
		if (!err)
			unlinked(c, &m.unlink);
		break;
	case M_commit:
		CHECK(!err && !m_commit_r_decode(&m.commit, a, f->body.p,
						 f->body.len), "commit %d",
		      err);
		records[o->record - 1].acked_ms = world.ms;
		records[o->record - 1].at = m.commit.placed[0];
		break;
	case M_compact:
		CHECK(!err && !m_compact_r_decode(&m.compact, a, f->body.p,
						  f->body.len), "compact %d",
		      err);
		break;
	}
}

static void granted(struct client *c, const struct frame *f, struct arena *a)
{
	struct m_grant_r m;

	c->asked_grant = 0;
	if (f->status)
		return;
	CHECK(!m_grant_r_decode(&m, a, f->body.p, f->body.len), "grant");
	for (uint32_t i = 0; i < m.n_chunks; i++) {
		const struct m_placed *p = &m.chunks[i];

		CHECK(p->n_targets && p->n_targets <= COPIES, "%u copies",
		      p->n_targets);
		for (uint32_t k = 0; k + 1 < p->n_targets; k++)
			CHECK(p->targets[k] != p->targets[k + 1],
			      "one peer twice");
		c->pool[c->n_pool++] = p->id;
	}
}

/* What the tracker does not know, no map may name, nor any write in flight. */
static void listed(struct client *c, const struct frame *f, struct arena *a)
{
	struct m_inventory_r m;
	struct m_chunk known;

	if (f->status)
		return;
	CHECK(!m_inventory_r_decode(&m, a, f->body.p, f->body.len), "have");
	for (uint32_t i = 0; i < m.n_unknown; i++) {
		CHECK(!world.core || ns_chunk(world.core->ns, m.unknown[i],
					      &known) == -ENOENT,
		      "chunk %llu is called unknown",
		      (unsigned long long)m.unknown[i]);
		let_go_of(c, m.unknown[i]);
	}
}

static void looked(struct client *c, struct op *o, const struct frame *f,
		   struct arena *a)
{
	int err = status_to_errno(f->status);
	struct m_getattr_r g;
	struct m_lookup_r l;
	struct m_getmap_r m;

	if (o->type == M_lookup) {
		CHECK(err == -ENOENT || !m_lookup_r_decode(&l, a, f->body.p,
							   f->body.len),
		      "lookup");
		believe(c, o, err ? 0 : l.attr.ino);
	} else if (o->type == M_getmap) {
		CHECK(!m_getmap_r_decode(&m, a, f->body.p, f->body.len),
		      "getmap");
		if (m.n_slots)
			compact(c, o, &m.slots[0]);
	} else if (o->cell >= 0) {
		CHECK(!m_getattr_r_decode(&g, a, f->body.p, f->body.len),
		      "getattr");
		believe(c, o, g.attr.uid);
	} else {
		for (int i = 0; i < OPENS; i++)
			CHECK(c->opens[i].ino != o->ino || !c->opens[i].safe ||
			      world.ms >= c->lease_end || !err,
			      "client %d: what it has open is gone", c->no);
	}
}

/* The batch failed: as if nothing had been asked.  But an error that stays
 * the same was recorded as the answer to this number. */
static void failed(struct client *c, struct op *o)
{
	if (o->type == M_hello || o->type == M_inventory) {
		lose(c, 50);
		return;
	}
	if (o->type == M_grant)
		c->asked_grant = 0;
	if (!o->seq) {
		op_free(c, o);
		return;
	}
	if (++o->failed == 5) {
		o->failed = 0;
		o->seq = ++c->seq;
		put_u64(o->body.p, o->seq);
	}
	o->resent = 1;
	op_send(c, o);
}

static void answered(struct client *c, const struct frame *f)
{
	struct arena a = ARENA_INIT;
	struct op *o;

	TAILQ_FOREACH(o, &c->ops, link)
		if (o->number == f->number && o->conn == f->conn)
			break;
	if (!o)
		return;
	if (f->status == ST_SESSION) {
		lose(c, 0);
		return;
	}
	if (f->status == ST_IO || f->status == ST_NOSPC) {
		failed(c, o);
		return;
	}
	if (o->type == M_hello)
		welcome(c, f);
	else if (o->seq)
		changed(c, o, f, &a);
	else if (o->type == M_grant)
		granted(c, f, &a);
	else if (o->type == M_inventory)
		listed(c, f, &a);
	else
		looked(c, o, f, &a);
	arena_fini(&a);
	/* lose() has freed it if it was a hello that failed */
	TAILQ_FOREACH(o, &c->ops, link)
		if (o->number == f->number && o->conn == f->conn)
			break;
	if (o)
		op_free(c, o);
	check_beliefs();
}

/* ------------------------------------------------------ the tracker's wishes */

static void revoked(struct client *c, const struct frame *f, struct arena *a,
		    struct wr *w)
{
	struct m_revoke m;
	struct m_revoke_r r = { 0 };
	uint64_t open[OPENS];

	CHECK(!m_revoke_decode(&m, a, f->body.p, f->body.len), "revoke");
	r.open = open;
	for (uint32_t i = 0; i < m.n_inos; i++) {
		for (int k = 0; k < CELLS; k++) {
			struct belief *b = &c->belief[k];

			if (m.inos[i] == (k < FILES ? cells[k].ino : NS_ROOT))
				b->valid = 0;
			if (k >= FILES && b->value == m.inos[i])
				b->attr = 0;
		}
		for (int k = 0; k < OPENS; k++) {
			if (c->opens[k].ino != m.inos[i])
				continue;
			c->opens[k].reported = 1;
			open[r.n_open++] = m.inos[i];
		}
	}
	assert(!m_revoke_r_encode(w, &r));
}

static void asked(struct client *c, const struct frame *f)
{
	struct arena a = ARENA_INIT;
	struct m_peers p;
	struct m_copy copy;
	struct m_drop drop;
	struct wr w = WR_INIT;
	uint16_t status = ST_OK;

	if (f->type == M_revoke) {
		revoked(c, f, &a, &w);
	} else if (f->type == M_peers) {
		CHECK(c->up, "peers before hello");
		CHECK(!m_peers_decode(&p, &a, f->body.p, f->body.len), "peers");
	} else if (f->type == M_copy) {
		CHECK(!m_copy_decode(&copy, &a, f->body.p, f->body.len),
		      "copy");
		CHECK(copy.chunk.n_holders, "a copy from nobody");
		if (world.healed || chance(70))
			hold(c, copy.chunk.id);
		else
			status = ST_IO;
	} else if (f->type == M_drop) {
		CHECK(!m_drop_decode(&drop, &a, f->body.p, f->body.len),
		      "drop");
		for (uint32_t i = 0; i < drop.n_chunks; i++)
			let_go_of(c, drop.chunks[i]);
	}
	if (f->number)
		line_send(TO_TRACKER_ANSWER, f->conn, f->number, f->type,
			  status, &w);
	arena_fini(&a);
}

void client_frame(int client, struct frame *f)
{
	struct client *c = &clients[client < 0 ? 0 : client];

	if (f->kind == TO_CLIENT_BEAT)
		beat_answered(f);
	else if (c->conn != f->conn)
		return;
	else if (f->kind == TO_CLIENT_DOWN)
		lose(c, 0);
	else if (f->kind == TO_CLIENT_ANSWER)
		answered(c, f);
	else
		asked(c, f);
}

/* --------------------------------------------------------------------- steps */

static void act(struct client *c)
{
	ask_grant(c);
	if (c->n_ops >= OPS || !chance(30))
		return;
	switch (rnd(8)) {
	case 0:
		append(c);
		break;
	case 1:
		set_owner(c);
		break;
	case 2:
		unique(c);
		break;
	case 3:
		rename_name(c);
		break;
	case 4:
		read_map(c);
		break;
	case 5:
		look_open(c);
		break;
	case 6:
		open_close(c);
		break;
	default:
		look(c);
	}
}

static void send_again(struct client *c)
{
	struct op *o;

	TAILQ_FOREACH(o, &c->ops, link) {
		if (!o->seq || world.ms - o->sent_ms < LEASE_MS / 2)
			continue;
		o->resent = 1;
		op_send(c, o);
	}
}

static void client_step(struct client *c)
{
	if (world.ms >= c->lease_end)
		for (int i = 0; i < OPENS; i++)
			c->opens[i].safe = 0;
	if (!c->conn) {
		if (world.core && world.ms >= c->reconnect_ms)
			hello(c);
		return;
	}
	if (!c->up) {
		if (world.ms - c->hello_ms > LEASE_MS)
			lose(c, 100);
		return;
	}
	if (!world.healed && rnd(1500) == 0) {
		lose(c, chance(70) ? rnd(200) : rnd(3 * LEASE_MS));
		return;
	}
	if (!world.healed && rnd(2000) == 0)
		c->paused = (int)rnd(2 * LEASE_MS / STEP_MS);
	if (world.ms >= c->next_beat_ms)
		beat(c);
	send_again(c);
	if (!world.healed)
		act(c);
}

static void step(void)
{
	int kill = !world.healed && rnd(1000) == 0;

	world.ms += STEP_MS;
	world_step(kill, !world.healed && rnd(200) == 0);
	if (!world.core && chance(5)) {
		tracker_start();
		undone();
	}
	for (int i = 0; i < CLIENTS; i++) {
		if (clients[i].paused)
			clients[i].paused--;
		else
			client_step(&clients[i]);
	}
}

/* ------------------------------------------------------------------- verdict */

static void check_log(int log)
{
	struct arena a = ARENA_INIT;
	struct m_getmap_r m;
	uint8_t data[SLOT];

	CHECK(!ns_getmap(world.core->ns, &a, logs[log], 0, MSG_SLOTS_MAX, &m),
	      "getmap");
	for (uint32_t i = 0; i < m.n_slots; i++) {
		uint32_t len = merge(&m.slots[i], data);

		CHECK(len % RECORD == 0, "a torn record");
		for (uint32_t k = 0; k < len; k += RECORD) {
			uint64_t no = get_u64(data + k);
			struct record *r = &records[no - 1];

			CHECK(no && no <= n_records && r->log == log,
			      "record %llu in log %d", (unsigned long long)no,
			      log);
			CHECK(!r->found++, "record %llu is there twice",
			      (unsigned long long)no);
			CHECK(r->at == m.slots[i].index * SLOT + k,
			      "record %llu is elsewhere",
			      (unsigned long long)no);
		}
	}
	arena_fini(&a);
}

static void check_records(void)
{
	for (int i = 0; i < LOGS; i++)
		check_log(i);
	for (size_t i = 0; i < n_records; i++) {
		CHECK(records[i].acked_ms && records[i].found == 1,
		      "record %zu: answered, but not there", i + 1);
		for (size_t k = 0; k < n_records; k++)
			CHECK(records[i].log != records[k].log ||
			      records[i].acked_ms >= records[k].sent_ms ||
			      records[i].at < records[k].at,
			      "record %zu came first, but is behind %zu",
			      i + 1, k + 1);
	}
}

static void check_end(void)
{
	struct repair_counts danger;
	uint64_t orphan;

	for (int i = 0; i < CLIENTS; i++)
		CHECK(clients[i].up && !clients[i].n_ops,
		      "client %d is stuck", i);
	check_records();
	CHECK(!ns_orphans(world.core->ns, 0, &orphan, 1),
	      "inode %llu is kept without reason", (unsigned long long)orphan);
	CHECK(!repair_count(world.core->repair, &danger), "repair");
	CHECK(!danger.under && !danger.missing,
	      "%llu chunks are under-replicated, %llu missing",
	      (unsigned long long)danger.under,
	      (unsigned long long)danger.missing);
}

/* ------------------------------------------------------------------- rounds */

static uint64_t make_file(const char *name)
{
	struct m_mknod m = { .parent = NS_ROOT, .name = str_of(name),
			     .mode = 0100644, .excl = 1 };
	struct ns_touched t = { .n = 0 };
	struct m_mknod_r r;

	CHECK(!ns_mknod(world.core->ns, &m, core_ns_now(world.core), &r, &t),
	      "cannot make %s", name);
	return r.attr.ino;
}

static void set_up(uint64_t seed)
{
	memset(&world, 0, sizeof(world));
	memset(clients, 0, sizeof(clients));
	memset(cells, 0, sizeof(cells));
	world.seed = world.rng = seed;
	world.ms = 1000000;
	TAILQ_INIT(&world.frames);
	TAILQ_INIT(&world.asks);
	strcpy(world.dir, "/tmp/pspfs-sim-XXXXXX");
	CHECK(mkdtemp(world.dir), "no directory");
	snprintf(world.path, sizeof(world.path), "%s/db", world.dir);
	tracker_start();
	core_begin(world.core, world_now());
	for (int i = 0; i < CELLS; i++) {
		snprintf(cells[i].name, sizeof(cells[i].name), "%c%d",
			 i < FILES ? 'f' : 'n', i < FILES ? i : i - FILES);
		if (i < FILES)
			cells[i].ino = make_file(cells[i].name);
		note(i, 0);
	}
	logs[0] = make_file("log0");
	logs[1] = make_file("log1");
	CHECK(!core_end(world.core), "set up");
	for (int i = 0; i < CLIENTS; i++) {
		clients[i].no = i;
		TAILQ_INIT(&clients[i].ops);
	}
}

static void tear_down(void)
{
	struct content *x, *next;
	struct frame *f;
	char path[128];

	tracker_stop();
	while ((f = TAILQ_FIRST(&world.frames))) {
		TAILQ_REMOVE(&world.frames, f, link);
		frame_free(f);
	}
	HASH_ITER (hh, contents, x, next) {
		HASH_DELETE(hh, contents, x);
		free(x);
	}
	for (int i = 0; i < CLIENTS; i++)
		free(clients[i].held);
	for (int i = 0; i < CELLS; i++)
		free(cells[i].past);
	free(records);
	free(world.lines);
	records = NULL;
	n_records = 0;
	unlink(world.path);
	snprintf(path, sizeof(path), "%s-wal", world.path);
	unlink(path);
	snprintf(path, sizeof(path), "%s-shm", world.path);
	unlink(path);
	rmdir(world.dir);
}

static void close_all(void)
{
	for (int i = 0; i < CLIENTS; i++)
		for (int k = 0; k < OPENS; k++) {
			if (clients[i].opens[k].ino)
				release(&clients[i], clients[i].opens[k].ino);
			clients[i].opens[k].ino = 0;
		}
}

static void sim_round(uint64_t seed)
{
	uint64_t end;

	set_up(seed);
	end = world.ms + ROUND_MS;
	while (world.ms < end)
		step();
	world.healed = 1;
	end = world.ms + 10 * LEASE_MS;
	while (world.ms < end)
		step();
	close_all();
	end = world.ms + 5 * LEASE_MS;
	while (world.ms < end)
		step();
	check_end();
	printf("seed %llu: %zu records, %llu cuts, %llu kills, %llu batches "
	       "failed, %llu beats lost\n", (unsigned long long)seed, n_records,
	       (unsigned long long)world.cuts, (unsigned long long)world.kills,
	       (unsigned long long)world.failed,
	       (unsigned long long)world.beats_lost);
	tear_down();
}

int main(void)
{
	const char *s = getenv("PSPFS_SIM_SEED");
	const char *r = getenv("PSPFS_SIM_ROUNDS");
	uint64_t seed = s ? strtoull(s, NULL, 10) : (uint64_t)time(NULL);
	long rounds = r ? atol(r) : 4;

	log_init("sim_tracker", LOG_ERROR);
	log_open("/dev/null");	/* a full disk is told each time */
	signal(SIGXFSZ, SIG_IGN);
	for (long i = 0; i < rounds; i++)
		sim_round(seed + (uint64_t)i);
	return 0;
}
