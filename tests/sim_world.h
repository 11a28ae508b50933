/*
 * sim_world -- a tracker, its clients' connections and a clock, all pretend.
 *
 * A connection keeps its frames in order, delays them and can be cut: then
 * what is under way to the client is lost, and the tracker learns of it late.
 * Datagrams are lost, doubled and reordered.  The tracker can be killed, also
 * in the middle of a batch, and comes back from its database file.  Its disk
 * refuses to grow a file at times: then a batch must leave no trace.
 */
#ifndef PSPFS_SIM_WORLD_H
#define PSPFS_SIM_WORLD_H

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core_internal.h"
#include "rng.h"

enum { LEASE_MS = 2000, BEAT_MS = 400, GRACE_MS = 1000, GONE_MS = 3000,
       SLOT = 256, COPIES = 2 };

#define CHECK(cond, ...)                                                    \
	do {                                                                \
		if (!(cond)) {                                              \
			fprintf(stderr, "\nseed %llu, %llu ms: ",           \
				(unsigned long long)world.seed,             \
				(unsigned long long)world.ms);              \
			fprintf(stderr, __VA_ARGS__);                       \
			fprintf(stderr, "\n");                              \
			abort();                                            \
		}                                                           \
	} while (0)

enum frame_kind { TO_TRACKER, TO_TRACKER_ANSWER, TO_TRACKER_DOWN,
		  TO_TRACKER_BEAT, TO_CLIENT, TO_CLIENT_ANSWER,
		  TO_CLIENT_DOWN, TO_CLIENT_BEAT };

struct frame {
	TAILQ_ENTRY(frame) link;
	uint64_t at;
	enum frame_kind kind;
	uint64_t conn;		/* of a beat: the session */
	uint32_t number;
	uint16_t type, status;
	struct wr body;
};

/* A connection: which client's, and does each end believe in it? */
struct line {
	int client;
	int here, there;	/* the client's end, the tracker's */
	uint64_t last[2];	/* when the last frame arrives, each way */
};

/* What the tracker has asked and was not answered. */
struct ask {
	TAILQ_ENTRY(ask) link;
	uint64_t conn;
	uint32_t number;
	uint16_t type;
};

struct world {
	uint64_t seed, rng, ms;
	char dir[64], path[96];
	struct db *db;
	struct core *core;	/* NULL: it is down */
	int dying;		/* its words are lost already */
	struct line *lines;
	uint64_t n_lines;
	TAILQ_HEAD(, frame) frames;
	TAILQ_HEAD(, ask) asks;
	int healed;		/* nothing breaks any more */
	uint64_t beats_lost, cuts, kills, failed;
};

extern struct world world;

/* The clients' side (sim_tracker.c). */
void client_frame(int client, struct frame *f);
void executed(uint64_t conn, uint32_t number, uint16_t type);
void undone(void);

static inline uint64_t rnd(uint64_t n)
{
	return rng_next(&world.rng) % n;
}

static inline int chance(unsigned percent)
{
	return rnd(100) < percent;
}

static inline struct core_time world_now(void)
{
	return (struct core_time){
		.ms = world.ms,
		.wall_s = 1000000 + (int64_t)(world.ms / 1000),
		.wall_ns = (uint32_t)(world.ms % 1000) * 1000000,
	};
}

/* ----------------------------------------------------------------- network */

static inline void frame_insert(struct frame *f)
{
	struct frame *p;

	TAILQ_FOREACH(p, &world.frames, link)
		if (p->at > f->at)
			break;
	if (p)
		TAILQ_INSERT_BEFORE(p, f, link);
	else
		TAILQ_INSERT_TAIL(&world.frames, f, link);
}

static inline struct frame *frame_new(enum frame_kind kind, uint64_t conn,
				      uint32_t number, uint16_t type,
				      struct wr *body)
{
	struct frame *f = calloc(1, sizeof(*f));

	assert(f);
	f->kind = kind;
	f->conn = conn;
	f->number = number;
	f->type = type;
	if (body) {
		f->body = *body;
		*body = WR_INIT;
	}
	f->at = world.ms + 1 + rnd(chance(5) ? 300 : 15);
	return f;
}

static inline void frame_free(struct frame *f)
{
	wr_fini(&f->body);
	free(f);
}

static inline struct line *line_at(uint64_t conn)
{
	assert(conn && conn <= world.n_lines);
	return &world.lines[conn - 1];
}

/* In order behind what is under way. */
static inline void line_put(struct frame *f)
{
	struct line *l = line_at(f->conn);
	uint64_t *last = &l->last[f->kind >= TO_CLIENT];

	if (f->at < *last)
		f->at = *last;
	*last = f->at;
	frame_insert(f);
}

static inline void line_send(enum frame_kind kind, uint64_t conn,
			     uint32_t number, uint16_t type, uint16_t status,
			     struct wr *body)
{
	struct frame *f = frame_new(kind, conn, number, type, body);

	f->status = status;
	line_put(f);
}

static inline void beat_send(enum frame_kind kind, uint64_t session,
			     struct wr *body)
{
	struct frame *f = frame_new(kind, session, 0, M_heartbeat, body);

	if (!world.healed && chance(20)) {
		world.beats_lost++;
		frame_free(f);
		return;
	}
	if (chance(10)) {
		struct wr copy = WR_INIT;

		wr_bytes(&copy, f->body.p, f->body.len);
		frame_insert(frame_new(kind, session, 0, M_heartbeat, &copy));
	}
	frame_insert(f);
}

static inline uint64_t line_open(int client)
{
	world.lines = realloc(world.lines,
			      (world.n_lines + 1) * sizeof(*world.lines));
	assert(world.lines);
	world.lines[world.n_lines++] = (struct line){ client, 1, 1, { 0 } };
	return world.n_lines;
}

/* The client's end closes; the tracker may hear of it much later. */
static inline void line_cut(uint64_t conn)
{
	struct frame *f;

	line_at(conn)->here = 0;
	world.cuts++;
	f = frame_new(TO_TRACKER_DOWN, conn, 0, 0, NULL);
	f->at += chance(30) ? rnd(2 * LEASE_MS) : 0;
	line_put(f);
}

/* ----------------------------------------------------------------- tracker */

static inline void io_answer(void *arg, uint64_t conn, uint32_t number,
			     uint16_t type, uint16_t status, struct wr *body)
{
	(void)arg;
	if (!world.dying)
		line_send(TO_CLIENT_ANSWER, conn, number, type, status, body);
	wr_fini(body);
}

/* Phase two of garbage: nothing that any map names is ever dropped. */
static inline void check_drop(struct wr *body)
{
	struct arena a = ARENA_INIT;
	struct m_drop m;
	struct m_chunk c;

	CHECK(!m_drop_decode(&m, &a, body->p, body->len), "bad drop");
	for (uint32_t i = 0; i < m.n_chunks; i++)
		CHECK(ns_chunk(world.core->ns, m.chunks[i], &c) == -ENOENT,
		      "chunk %llu is dropped, but known",
		      (unsigned long long)m.chunks[i]);
	arena_fini(&a);
}

static inline void io_send(void *arg, uint64_t conn, uint32_t number,
			   uint16_t type, struct wr *body)
{
	struct ask *k;

	(void)arg;
	if (type == M_drop)
		check_drop(body);
	if (number) {
		k = calloc(1, sizeof(*k));
		assert(k);
		*k = (struct ask){ .conn = conn, .number = number,
				   .type = type };
		TAILQ_INSERT_TAIL(&world.asks, k, link);
	}
	if (!world.dying)
		line_send(TO_CLIENT, conn, number, type, 0, body);
	wr_fini(body);
}

static inline void tell_down(uint64_t conn)
{
	struct frame *f;

	f = frame_new(TO_CLIENT_DOWN, conn, 0, 0, NULL);
	line_put(f);
}

static inline void io_close(void *arg, uint64_t conn, const char *why)
{
	(void)arg;
	(void)why;
	line_send(TO_TRACKER_DOWN, conn, 0, 0, 0, NULL);
	if (!world.dying)
		tell_down(conn);
}

static inline void tracker_start(void)
{
	const struct core_config cfg = {
		.copies = COPIES, .slot_size = SLOT, .lease_ms = LEASE_MS,
		.heartbeat_ms = BEAT_MS, .garbage_ms = GRACE_MS,
		.gone_ms = GONE_MS, .seed = world.seed,
	};
	const struct core_io io = { .answer = io_answer, .send = io_send,
				    .close = io_close };
	char why[512];
	int err;

	world.dying = 0;
	err = db_open(&world.db, world.path, why, sizeof(why));
	CHECK(!err, "%s", why);
	err = core_new(&world.core, world.db, &cfg, &io, world_now(), why,
		       sizeof(why));
	CHECK(!err, "%s", why);
}

static inline void tracker_stop(void)
{
	struct ask *k;

	core_free(world.core);
	world.core = NULL;
	db_close(world.db);
	while ((k = TAILQ_FIRST(&world.asks))) {
		TAILQ_REMOVE(&world.asks, k, link);
		free(k);
	}
	for (uint64_t i = 1; i <= world.n_lines; i++) {
		struct line *l = line_at(i);

		if (l->there && l->here)
			tell_down(i);
		l->there = 0;
	}
}

static inline void line_down(uint64_t conn)
{
	struct ask *k, *next;

	if (!line_at(conn)->there)
		return;
	line_at(conn)->there = 0;
	for (k = TAILQ_FIRST(&world.asks); k; k = next) {
		next = TAILQ_NEXT(k, link);
		if (k->conn != conn)
			continue;
		TAILQ_REMOVE(&world.asks, k, link);
		core_answer(world.core, conn, k->number, k->type, ST_NOTCONN,
			    NULL, 0);
		free(k);
	}
	core_down(world.core, conn);
}

static inline void tracker_answer(const struct frame *f)
{
	struct ask *k;

	TAILQ_FOREACH(k, &world.asks, link)
		if (k->conn == f->conn && k->number == f->number)
			break;
	if (!k)
		return;
	TAILQ_REMOVE(&world.asks, k, link);
	core_answer(world.core, f->conn, f->number, k->type, f->status,
		    f->body.p, f->body.len);
	free(k);
}

static inline void tracker_frame(struct frame *f)
{
	struct wr w = WR_INIT;

	if (f->kind == TO_TRACKER_BEAT) {
		if (!core_heartbeat(world.core, f->conn, f->body.p,
				    f->body.len, &w))
			beat_send(TO_CLIENT_BEAT, f->conn, &w);
		wr_fini(&w);
		return;
	}
	if (!line_at(f->conn)->there)
		return;
	if (f->kind == TO_TRACKER_DOWN) {
		line_down(f->conn);
	} else if (f->kind == TO_TRACKER_ANSWER) {
		tracker_answer(f);
	} else {
		core_request(world.core, f->conn, f->number, f->type,
			     f->body.p, f->body.len);
		executed(f->conn, f->number, f->type);
	}
}

/* The batch's end, perhaps on a disk that is full. */
static inline void end_batch(int full)
{
	struct rlimit all, none;
	int err;

	getrlimit(RLIMIT_FSIZE, &all);
	none = (struct rlimit){ 1, all.rlim_max };
	if (full)
		setrlimit(RLIMIT_FSIZE, &none);
	err = core_end(world.core);
	setrlimit(RLIMIT_FSIZE, &all);
	CHECK(!err || full, "a batch failed");
	if (!err)
		return;
	world.failed++;
	undone();
}

/* All that has arrived by now, to either side. */
static inline void world_step(int kill, int full)
{
	struct frame *f;

	if (world.core)
		core_begin(world.core, world_now());
	while ((f = TAILQ_FIRST(&world.frames)) && f->at <= world.ms) {
		TAILQ_REMOVE(&world.frames, f, link);
		if (f->kind < TO_CLIENT && world.core)
			tracker_frame(f);
		else if (f->kind == TO_CLIENT_BEAT)
			client_frame(-1, f);
		else if (f->kind > TO_CLIENT_BEAT || f->kind < TO_CLIENT)
			;
		else if (line_at(f->conn)->here)
			client_frame(line_at(f->conn)->client, f);
		frame_free(f);
	}
	if (!world.core)
		return;
	if (kill) {
		world.kills++;
		world.dying = 1;
		if (chance(50))
			core_end(world.core);
		tracker_stop();
		return;
	}
	core_tick(world.core);
	end_batch(full);
}

#endif
