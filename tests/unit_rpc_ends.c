/*
 * unit_rpc_ends -- how connections are refused and how they end; both ends
 * are ours.
 */
#define RIG_PORT 22150
#include "rpc_rig.h"

enum { THREADS = 4 };

/* --------------------------------------------------------------- refusals */

static void refused(const struct rpc_self *self, uint8_t role, uint64_t id)
{
	uint64_t failed = counter_get(CNT_HANDSHAKE_FAILED);
	struct client k;

	client_open_as(&k, &rig, self, role, id);
	assert_int_equal(call_once(&k, T_ECHO, RIG_CALL_MS), -EACCES);
	assert_int_equal(client_end(&k), -EACCES);
	assert_int_equal(k.n_up, 0);
	/* Both ends count. */
	for (int i = 0; i < 500 && counter_get(CNT_HANDSHAKE_FAILED) <
				   failed + 2; i++)
		sleep_ms(10);
	assert_int_equal(counter_get(CNT_HANDSHAKE_FAILED), failed + 2);
}

static void wrong_key(void **state)
{
	struct rpc_self other = rig.client;

	(void)state;
	other.key.secret[31] ^= 1;
	refused(&other, ROLE_TRACKER, 0);
	assert_int_equal(rig.n_conns, 0);
}

static void wrong_target(void **state)
{
	(void)state;
	refused(&rig.client, ROLE_PEER, 0);
	refused(&rig.client, ROLE_TRACKER, SERVER_ID + 1);
	assert_int_equal(rig.n_conns, 0);
}

static void own_identity(void **state)
{
	(void)state;
	refused(&rig.server, ROLE_TRACKER, 0);
	refused(&rig.server, ROLE_TRACKER, SERVER_ID);
	assert_int_equal(rig.n_conns, 0);
}

static void nobody_listens(void **state)
{
	struct addr at = rig.at, bound;
	struct rpc_listener *l;
	struct client k;
	struct rpc *c;

	(void)state;
	assert_int_equal(rpc_listen(&l, rig.loops, 1, &rig.server, &rig.at,
				    &rig_ops, &rig), -EADDRINUSE);
	assert_int_equal(addr_from_ip(RIG_IP, sizeof(RIG_IP) - 1, RIG_PORT + 1, &rig.at), 0);
	client_open(&k, &rig);
	assert_int_equal(call_once(&k, T_ECHO, RIG_CALL_MS), -ECONNREFUSED);
	must_wait(&k.down);
	assert_int_equal(k.err, -ECONNREFUSED);
	/* The dead stay dead, promptly. */
	assert_int_equal(call_once(&k, T_ECHO, RIG_CALL_MS), -ECONNREFUSED);
	rpc_close(k.conn);
	rpc_unref(k.conn);
	rig.at = at;
	assert_int_equal(addr_from_ip("192.0.2.1", 9, 0, &bound), 0);
	assert_int_equal(rpc_connect(&c, rig.client_loop, &rig.client, &rig.at,
				     &bound, ROLE_TRACKER, 0, &client_ops, &k),
			 -EADDRNOTAVAIL);
}

static void bound_address(void **state)
{
	struct addr from;
	char ip[ADDR_TEXT_MAX];
	struct client k = { 0 };

	(void)state;
	sem_init(&k.up, 0, 0);
	sem_init(&k.down, 0, 0);
	assert_int_equal(addr_from_ip("127.0.0.42", 10, 0, &from), 0);
	assert_int_equal(rpc_connect(&k.conn, rig.client_loop, &rig.client,
				     &rig.at, &from, ROLE_TRACKER, 0,
				     &client_ops, &k), 0);
	must_wait(&rig.up);
	assert_string_equal(addr_ip(rpc_peer_addr(rig.conns[0]), ip),
			    "127.0.0.42");
	client_close(&k);
}

/* ------------------------------------------------------------------- ends */

static void the_other_end_goes(void **state)
{
	enum { N = 20 };
	struct result r[N];
	struct client k;

	(void)state;
	client_open(&k, &rig);
	for (int i = 0; i < N; i++)
		call_start(&k, &r[i], T_DEFER, NULL, NULL, RIG_CALL_MS);
	for (int i = 0; i < N; i++)
		must_wait(&rig.noted);
	rpc_close(rig.conns[0]);
	for (int i = 0; i < N; i++) {
		must_wait(&r[i].over);
		assert_int_equal(r[i].err, -ECONNRESET);
		assert_int_equal(r[i].calls, 1);
		result_fini(&r[i]);
	}
	assert_int_equal(client_end(&k), -ECONNRESET);
	must_wait(&rig.down);
	assert_int_equal(rig.last_err, -ECANCELED);
	rig_release(&rig);	/* to nobody */
}

static void an_answer_leaves_before_the_goodbye(void **state)
{
	struct result r;
	struct client k;

	(void)state;
	client_open(&k, &rig);
	call_start(&k, &r, T_DEFER, NULL, NULL, RIG_CALL_MS);
	must_wait(&rig.noted);
	rig_release(&rig);
	rpc_close(rig.conns[0]);
	must_wait(&r.over);
	assert_int_equal(r.err, 0);
	result_fini(&r);
	assert_int_equal(client_end(&k), -ECONNRESET);
}

struct storm {
	struct client *client;
	pthread_t thread;
	int begun;
	int ended;		/* atomic */
	int *stop;		/* atomic */
};

static void on_storm(void *arg, int err, const struct rpc_answer *a)
{
	struct storm *s = arg;

	(void)err;
	(void)a;
	__atomic_fetch_add(&s->ended, 1, __ATOMIC_RELEASE);
}

static void *storm_main(void *arg)
{
	struct storm *s = arg;
	struct buf *bulk = buf_dup("some bulk", 9);
	struct wr w;

	while (!__atomic_load_n(s->stop, __ATOMIC_RELAXED)) {
		w = body_of(100, 0);
		rpc_call(s->client->conn, T_ECHO, 0, &w, bulk, RIG_CALL_MS,
			 on_storm, s);
		if (++s->begun % 64 == 0)
			usleep(100);
	}
	buf_unref(bulk);
	return NULL;
}

/* Close, from either end, while threads call: every call ends once. */
static void close_under_load(void **state)
{
	struct storm storms[THREADS];
	struct client k;
	int stop = 0;

	(void)state;
	for (int round = 0; round < 6; round++) {
		stop = 0;
		client_open(&k, &rig);
		must_wait(&rig.up);
		for (int i = 0; i < THREADS; i++) {
			storms[i] = (struct storm){ .client = &k,
						    .stop = &stop };
			assert_int_equal(pthread_create(&storms[i].thread, NULL,
							storm_main,
							&storms[i]), 0);
		}
		sleep_ms(20);
		rpc_close(round % 2 ? k.conn : rig.conns[round]);
		if (round % 3)
			rpc_close(k.conn);
		sleep_ms(10);
		__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
		for (int i = 0; i < THREADS; i++)
			pthread_join(storms[i].thread, NULL);
		must_wait(&k.down);
		/* Whatever was posted is through after this. */
		assert_int_not_equal(call_once(&k, T_ECHO, RIG_CALL_MS), 0);
		for (int i = 0; i < THREADS; i++)
			assert_int_equal(storms[i].begun,
					 __atomic_load_n(&storms[i].ended,
							 __ATOMIC_ACQUIRE));
		assert_int_equal(k.n_down, 1);
		rpc_unref(k.conn);
	}
}

static void close_at_once(void **state)
{
	struct client k[30];

	(void)state;
	for (int i = 0; i < 30; i++) {
		client_open(&k[i], &rig);
		if (i % 3 == 1)
			usleep(i * 50);
		rpc_close(k[i].conn);
		rpc_close(k[i].conn);
	}
	for (int i = 0; i < 30; i++)
		assert_int_equal(client_end(&k[i]), -ECANCELED);
	/* The server may see none, some or all of them: let it settle. */
	for (int i = 0; i < RIG_LOOPS; i++)
		sleep_ms(20);
}

#define rpc_test(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		rpc_test(wrong_key),
		rpc_test(wrong_target),
		rpc_test(own_identity),
		rpc_test(nobody_listens),
		rpc_test(bound_address),
		rpc_test(the_other_end_goes),
		rpc_test(an_answer_leaves_before_the_goodbye),
		rpc_test(close_under_load),
		rpc_test(close_at_once),
	};

	log_open("/dev/null");		/* these refusals are wanted */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
