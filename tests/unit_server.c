/* The whole tracker on real sockets, with a client of bare rpc calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dgram.h"
#include "log.h"
#include "msg.h"
#include "rpc.h"
#include "server.h"
#include "status.h"

#define PORT 24801
#define WAIT_S 10

static struct db *db;
static struct server *server;
static struct core *core;
static struct meta *meta;
static struct loop *loop;
static struct addr at;
static struct key key;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t happened = PTHREAD_COND_INITIALIZER;
/* guarded by lock */
static int n_answers, n_peers_lists, n_down, n_beats, n_revokes;
static uint16_t last_status;
static struct buf *last_body;

/* Wait until *@what is at least @n. */
static void await(const int *what, int n)
{
	struct timespec until;
	int err = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_S;
	pthread_mutex_lock(&lock);
	while (*what < n && !err)
		err = pthread_cond_timedwait(&happened, &lock, &until);
	pthread_mutex_unlock(&lock);
	assert_int_equal(err, 0);
}

static int count(const int *what)
{
	int n;

	pthread_mutex_lock(&lock);
	n = *what;
	pthread_mutex_unlock(&lock);
	return n;
}

static void happen(int *what)
{
	pthread_mutex_lock(&lock);
	(*what)++;
	pthread_cond_broadcast(&happened);
	pthread_mutex_unlock(&lock);
}

/* ------------------------------------------------------------- the client */

static void on_request(struct rpc *c, struct rpc_req *req, void *arg)
{
	struct m_revoke_r none = { 0 };
	struct wr w = WR_INIT;

	(void)c;
	(void)arg;
	if (req->type == M_peers)
		happen(&n_peers_lists);
	if (req->type == M_revoke && !m_revoke_r_encode(&w, &none)) {
		happen(&n_revokes);
		rpc_reply(req, &w, NULL);
		return;
	}
	rpc_req_free(req);
}

static void on_down(struct rpc *c, int err, void *arg)
{
	(void)c;
	(void)err;
	(void)arg;
	happen(&n_down);
}

static const struct rpc_ops ops = { .request = on_request, .down = on_down };

static struct rpc *connect_as(uint8_t role, uint64_t id)
{
	const struct rpc_self self = { key, role, id };
	struct rpc *c;

	assert_int_equal(rpc_connect(&c, loop, &self, &at, NULL, ROLE_TRACKER,
				     0, &ops, NULL), 0);
	return c;
}

static void on_answer(void *arg, int err, const struct rpc_answer *a)
{
	(void)arg;
	pthread_mutex_lock(&lock);
	buf_unref(last_body);
	last_body = a && a->body ? buf_ref(a->body) : NULL;
	last_status = a ? a->status : status_of_errno(err);
	n_answers++;
	pthread_cond_broadcast(&happened);
	pthread_mutex_unlock(&lock);
}

/* The answer's status. */
static uint16_t ask(struct rpc *c, uint16_t type, struct wr *w)
{
	int before = count(&n_answers);

	rpc_call(c, type, 0, w, NULL, 1000 * WAIT_S, on_answer, NULL);
	await(&n_answers, before + 1);
	return last_status;
}

static uint16_t hello_as(struct rpc *c, uint8_t role, uint16_t port,
			 uint64_t session, uint8_t guest,
			 struct m_hello_r *out)
{
	const struct m_hello m = {
		.protocol = MSG_PROTOCOL, .role = role, .session = session,
		.addr = STR_LIT("127.0.0.1"), .port = port,
		.capacity = 1 << 30, .guest = guest,
	};
	struct arena a = ARENA_INIT;
	struct wr w = WR_INIT;
	uint16_t status;

	assert_int_equal(m_hello_encode(&w, &m), 0);
	status = ask(c, M_hello, &w);
	if (!status)
		assert_int_equal(m_hello_r_decode(out, &a, last_body->data,
						  last_body->len), 0);
	return status;
}

static uint16_t hello(struct rpc *c, uint8_t role, uint16_t port,
		      uint64_t session, struct m_hello_r *out)
{
	return hello_as(c, role, port, session, 0, out);
}

static uint16_t make(struct rpc *c, uint64_t seq, const char *name)
{
	const struct m_mknod m = { .seq = seq, .ack = 1, .parent = 1,
				   .name = str_of(name), .mode = 0100644,
				   .excl = 1 };
	struct wr w = WR_INIT;

	assert_int_equal(m_mknod_encode(&w, &m), 0);
	return ask(c, M_mknod, &w);
}

static uint16_t look(struct rpc *c, const char *name)
{
	const struct m_lookup m = { 1, str_of(name) };
	struct wr w = WR_INIT;

	assert_int_equal(m_lookup_encode(&w, &m), 0);
	return ask(c, M_lookup, &w);
}

static void hang_up(struct rpc *c)
{
	int before = count(&n_down);

	rpc_close(c);
	await(&n_down, before + 1);
	rpc_unref(c);
}

/* ---------------------------------------------------------------- fixture */

static int setup(void **state)
{
	const struct core_config cfg = {
		.copies = 2, .slot_size = 4096, .lease_ms = 3000,
		.heartbeat_ms = 500, .garbage_ms = 1000, .gone_ms = 5000,
		.seed = 1,
	};
	struct core_io io;
	char why[256];

	(void)state;
	memset(key.secret, 7, sizeof(key.secret));
	assert_int_equal(addr_from_ip("127.0.0.1", 9, PORT, &at), 0);
	assert_int_equal(db_open(&db, ":memory:", why, sizeof(why)), 0);
	assert_int_equal(server_new(&server), 0);
	io = server_io(server);
	assert_int_equal(core_new(&core, db, &cfg, &io, meta_now(), why,
				  sizeof(why)), 0);
	assert_int_equal(meta_start(&meta, core), 0);
	assert_int_equal(server_open(server, meta, &key, core_id(core), &at,
				     cfg.lease_ms), 0);
	return loop_new(&loop, "client");
}

static int teardown(void **state)
{
	(void)state;
	server_close(server);
	meta_stop(meta);
	server_free(server);
	core_free(core);
	db_close(db);
	loop_free(loop);
	buf_unref(last_body);
	last_body = NULL;
	return 0;
}

/* ------------------------------------------------------------------- tests */

static void a_peer_and_its_session(void **state)
{
	struct m_hello_r first, second;
	struct rpc *c, *other;
	int lists = count(&n_peers_lists), revokes = count(&n_revokes);

	(void)state;
	c = connect_as(ROLE_PEER, 11);
	assert_int_equal(look(c, "x"), ST_SESSION);
	assert_int_equal(hello(c, ROLE_PEER, 1, 0, &first), ST_OK);
	await(&n_peers_lists, lists + 1);
	assert_int_equal(first.num, 1);
	assert_int_equal(make(c, 1, "x"), ST_OK);
	assert_int_equal(make(c, 1, "x"), ST_OK);	/* the same again */
	assert_int_equal(make(c, 2, "x"), ST_EXIST);

	other = connect_as(ROLE_PEER, 12);
	assert_int_equal(hello(other, ROLE_PEER, 1, 0, &second), ST_ADDRINUSE);
	assert_int_equal(hello(other, ROLE_PEER, 2, 0, &second), ST_OK);
	assert_int_equal(look(other, "y"), ST_NOENT);
	assert_int_equal(make(c, 3, "y"), ST_OK);
	await(&n_revokes, revokes + 1);
	assert_int_equal(look(other, "y"), ST_OK);
	hang_up(other);

	hang_up(c);
	c = connect_as(ROLE_PEER, 11);
	assert_int_equal(hello(c, ROLE_PEER, 1, first.session, &second), ST_OK);
	assert_int_equal(second.resumed, 1);
	assert_true(second.epoch > first.epoch);
	assert_int_equal(make(c, 1, "x"), ST_OK);
	hang_up(c);
}

static void two_at_once(void **state)
{
	struct m_hello_r first, second;
	struct rpc *c, *twin;
	int down = count(&n_down);

	(void)state;
	c = connect_as(ROLE_PEER, 11);
	assert_int_equal(hello(c, ROLE_PEER, 1, 0, &first), ST_OK);
	twin = connect_as(ROLE_PEER, 11);
	assert_int_equal(hello(twin, ROLE_PEER, 1, 0, &second), ST_EXIST);
	/* but one that knows the session takes it over */
	assert_int_equal(hello(twin, ROLE_PEER, 1, first.session, &second),
			 ST_OK);
	await(&n_down, down + 1);
	rpc_unref(c);
	hang_up(twin);
}

/* How many peers the tracker knows; *@guests of them are guests. */
static uint32_t known_peers(struct rpc *c, uint32_t *guests)
{
	const struct m_status m = { 0 };
	struct arena a = ARENA_INIT;
	struct m_status_r r;
	struct wr w = WR_INIT;
	uint32_t n;

	assert_int_equal(m_status_encode(&w, &m), 0);
	assert_int_equal(ask(c, M_status, &w), ST_OK);
	assert_int_equal(m_status_r_decode(&r, &a, last_body->data,
					   last_body->len), 0);
	*guests = 0;
	for (uint32_t i = 0; i < r.n_peers; i++)
		*guests += r.peers[i].guest;
	n = r.n_peers;
	arena_fini(&a);
	return n;
}

/* Changes the namespace exactly once, like any peer; holds nobody up, and is
 * forgotten when it goes. */
static void a_guest(void **state)
{
	struct m_hello_r r, again;
	struct rpc *c, *watch = connect_as(ROLE_PEER, 11);
	int lists = count(&n_peers_lists);
	uint32_t guests;

	(void)state;
	assert_int_equal(hello(watch, ROLE_PEER, 1, 0, &r), ST_OK);
	await(&n_peers_lists, lists + 1);
	c = connect_as(ROLE_PEER, 21);
	assert_int_equal(hello_as(c, ROLE_PEER, 2, 0, 1, &r), ST_OK);
	assert_int_equal(r.num, MSG_GUEST_FIRST);
	await(&n_peers_lists, lists + 3);	/* it, and who was there */
	assert_int_equal(known_peers(watch, &guests), 2);
	assert_int_equal(guests, 1);
	assert_int_equal(make(c, 1, "x"), ST_OK);
	assert_int_equal(look(c, "y"), ST_NOENT);
	/* it breaks off: nobody waits for the lease that it had */
	hang_up(c);
	assert_int_equal(make(watch, 1, "y"), ST_OK);
	assert_int_equal(known_peers(watch, &guests), 1);
	assert_int_equal(guests, 0);
	/* it comes back to its session, as another */
	c = connect_as(ROLE_PEER, 21);
	assert_int_equal(hello_as(c, ROLE_PEER, 2, r.session, 1, &again),
			 ST_OK);
	assert_int_equal(again.resumed, 1);
	assert_int_equal(again.num, MSG_GUEST_FIRST + 1);
	assert_int_equal(make(c, 1, "x"), ST_OK);	/* the same again */
	hang_up(c);
	hang_up(watch);
}

static void a_client_may_only_read(void **state)
{
	struct m_hello_r r;
	struct rpc *c = connect_as(ROLE_CLIENT, 99);

	(void)state;
	assert_int_equal(hello(c, ROLE_CLIENT, 0, 0, &r), ST_OK);
	assert_int_equal(look(c, "x"), ST_NOENT);
	assert_int_equal(make(c, 1, "x"), ST_PERM);
	hang_up(c);
}

/* --------------------------------------------------------------- heartbeats */

struct export {
	struct rpc *c;
	uint8_t secret[64];
};

static void get_secret(void *arg)
{
	struct export *e = arg;

	assert_int_equal(rpc_export(e->c, DGRAM_LABEL, e->secret, 64), 0);
}

static void on_dgram(const struct dgram *d, void *arg)
{
	(void)arg;
	if (d->type == M_heartbeat_r)
		happen(&n_beats);
}

static void heartbeats_go_by_datagram(void **state)
{
	struct m_heartbeat m = { .beat = 1, .capacity = 1 };
	struct export e = { .c = connect_as(ROLE_PEER, 11) };
	struct dgram_sock *sock;
	struct m_hello_r r;
	struct wr w = WR_INIT;
	struct addr me;
	int beats = count(&n_beats);

	(void)state;
	assert_int_equal(hello(e.c, ROLE_PEER, 1, 0, &r), ST_OK);
	loop_run(loop, get_secret, &e);
	assert_int_equal(addr_from_ip("127.0.0.1", 9, 0, &me), 0);
	assert_int_equal(dgram_open(&sock, loop, &me, on_dgram, NULL), 0);
	assert_int_equal(dgram_join(sock, r.session, e.secret, 0, &at), 0);
	m.session = r.session;
	m.epoch = r.epoch;
	assert_int_equal(m_heartbeat_encode(&w, &m), 0);
	for (int i = 0; i < 5 && count(&n_beats) == beats; i++) {
		dgram_send(sock, r.session, M_heartbeat, w.p, w.len);
		nanosleep(&(struct timespec){ 0, 200000000 }, NULL);
	}
	await(&n_beats, beats + 1);
	assert_int_equal(ask(e.c, M_heartbeat, &w), ST_OK);
	wr_fini(&w);
	dgram_close(sock);
	hang_up(e.c);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_peer_and_its_session), TEST(two_at_once), TEST(a_guest),
		TEST(a_client_may_only_read), TEST(heartbeats_go_by_datagram),
	};

	log_init("unit_server", LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
