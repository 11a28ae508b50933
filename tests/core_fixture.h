/*
 * core_fixture -- a core without sockets: the test is its clients, its peers
 * and its clock; what comes out is kept in order.  A restart is what kill -9
 * leaves behind: the database, and nothing else.
 */
#ifndef PSPFS_CORE_FIXTURE_H
#define PSPFS_CORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

#define LOG_MAX 4096

struct heard {			/* what came out of the core */
	uint64_t conn;
	uint32_t number;
	uint16_t type, status;
	struct wr body;
};

static struct core_config config = {
	.copies = 1, .slot_size = 1024, .heartbeat_ms = 2000,
	.lease_ms = 10000, .garbage_ms = 60000, .gone_ms = 60000, .seed = 1,
};
static struct db *db;
static struct core *core;
static uint64_t ms, seq;
static int64_t wall_s;
static struct heard out[LOG_MAX];	/* but M_peers and M_drop */
static size_t n_out, seen;
static uint32_t next_number = 1;

static inline void keep(uint64_t conn, uint32_t number, uint16_t type,
			uint16_t status, struct wr *body)
{
	assert_true(n_out < LOG_MAX);
	out[n_out++] = (struct heard){ conn, number, type, status, *body };
	*body = WR_INIT;
}

static inline void io_answer(void *arg, uint64_t conn, uint32_t number,
			     uint16_t type, uint16_t status, struct wr *body)
{
	(void)arg;
	keep(conn, number, type, status, body);
}

static inline void io_send(void *arg, uint64_t conn, uint32_t number,
			   uint16_t type, struct wr *body)
{
	(void)arg;
	if (type == M_peers || type == M_drop)
		wr_fini(body);
	else
		keep(conn, number, type, 0, body);
}

static inline void io_close(void *arg, uint64_t conn, const char *why)
{
	(void)arg;
	(void)conn;
	fail_msg("closed: %s", why);
}

static inline int core_start(void)
{
	const struct core_io io = { .answer = io_answer, .send = io_send,
				    .close = io_close };
	char why[512];

	return core_new(&core, db, &config, &io,
			(struct core_time){ .ms = ms, .wall_s = wall_s }, why,
			sizeof(why));
}

static inline int core_up_in_memory(void)
{
	char why[512];

	ms = 1000;
	wall_s = 1000000;
	seq = 0;
	return db_open(&db, ":memory:", why, sizeof(why)) || core_start()
		? -1 : 0;
}

static inline void core_restart(void)
{
	core_free(core);
	assert_int_equal(core_start(), 0);
}

static inline int core_teardown(void **state)
{
	(void)state;
	core_free(core);
	db_close(db);
	for (size_t i = 0; i < n_out; i++)
		wr_fini(&out[i].body);
	n_out = seen = 0;
	return 0;
}

static inline void begin(void)
{
	core_begin(core, (struct core_time){ .ms = ms, .wall_s = wall_s });
}

static inline void tick(void)
{
	ms += 100;
	begin();
	core_tick(core);
	assert_int_equal(core_end(core), 0);
}

/* A request in a batch of its own; its number. */
static inline uint32_t say(uint64_t conn, uint16_t type, struct wr *body)
{
	uint32_t number = next_number++;

	begin();
	core_request(core, conn, number, type, body->p, body->len);
	assert_int_equal(core_end(core), 0);
	wr_fini(body);
	return number;
}

/* The next thing that came out, which must be a @type. */
static inline struct heard *next(uint16_t type)
{
	if (seen == n_out)
		fail_msg("nothing came, instead of %s", msg_name(type));
	if (out[seen].type != type)
		fail_msg("%s came, instead of %s", msg_name(out[seen].type),
			 msg_name(type));
	return &out[seen++];
}

static inline void nothing_more(void)
{
	assert_int_equal(seen, n_out);
}

/* A connection that says hello, on behalf of @owner.  @m: what it says, but
 * for what every hello says; may be that of a session that is resumed. */
static inline struct m_hello_r join(uint64_t conn, uint8_t role,
				    uint64_t owner, struct m_hello m)
{
	struct arena a = ARENA_INIT;
	struct m_hello_r r;
	struct heard *h;
	struct wr w = WR_INIT;

	m.protocol = MSG_PROTOCOL;
	m.role = role;
	m.addr = STR_LIT("127.0.0.1");
	m.port = (uint16_t)(1000 + owner);
	m.capacity = 1 << 30;
	core_up(core, conn, role, owner, "127.0.0.1");
	assert_int_equal(m_hello_encode(&w, &m), 0);
	say(conn, M_hello, &w);
	h = next(M_hello_r);
	assert_int_equal(h->status, 0);
	assert_int_equal(m_hello_r_decode(&r, &a, h->body.p, h->body.len), 0);
	r.lost = NULL;
	arena_fini(&a);
	return r;
}

#endif
