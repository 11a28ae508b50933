/*
 * unit_rpc -- calls, answers, deadlines, ends; both ends are ours.
 * What a stranger may send is in unit_rpc_wire.
 */
#include "rpc_rig.h"
#include "status.h"

#define PORT 42100

static struct rig rig;

static int setup(void **state)
{
	(void)state;
	rig_open(&rig, PORT);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_close(&rig);
	return 0;
}

/* ---------------------------------------------------------------- answers */

static void echo_with_every_size(void **state)
{
	static const size_t sizes[] = { 0, 1, 15, 16, 4096, 16367, 16368, 16384,
					65536, 524288, 1000003 };
	struct wr body;
	struct buf *bulk;
	struct result r;
	struct client k;

	(void)state;
	client_open(&k, &rig);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		body = body_of(sizes[i] % 70000, i);
		bulk = bulk_of(sizes[i], i);
		call_start(&k, &r, T_ECHO, &body, bulk, RIG_CALL_MS);
		assert_int_equal(body.len, 0);	/* taken */
		must_wait(&r.over);
		assert_int_equal(r.err, 0);
		assert_int_equal(r.body->len, sizes[i] % 70000);
		for (size_t j = 0; j < r.body->len; j++)
			assert_int_equal(r.body->data[j], (uint8_t)(i + j));
		if (sizes[i])
			assert_true(same_bytes(r.bulk, bulk));
		else
			assert_null(r.bulk);
		buf_unref(bulk);
		result_fini(&r);
	}
	client_close(&k);
}

static void limits_of_a_frame(void **state)
{
	struct client k;
	struct result r;
	struct wr body = body_of(RPC_BODY_MAX, 1);
	struct buf *bulk = bulk_of(RPC_BULK_MAX, 2);

	(void)state;
	client_open(&k, &rig);
	call_start(&k, &r, T_ECHO, &body, bulk, RIG_CALL_MS);
	must_wait(&r.over);
	assert_int_equal(r.err, 0);
	assert_int_equal(r.body->len, RPC_BODY_MAX);
	assert_true(same_bytes(r.bulk, bulk));
	result_fini(&r);
	buf_unref(bulk);

	body = body_of(RPC_BODY_MAX + 1, 1);
	call_start(&k, &r, T_ECHO, &body, NULL, RIG_CALL_MS);
	must_wait(&r.over);
	assert_int_equal(r.err, -EMSGSIZE);
	result_fini(&r);
	bulk = bulk_of(RPC_BULK_MAX + 1, 2);
	call_start(&k, &r, T_ECHO, NULL, bulk, RIG_CALL_MS);
	must_wait(&r.over);
	assert_int_equal(r.err, -EMSGSIZE);
	result_fini(&r);
	buf_unref(bulk);

	/* The answer's limit is the server's to find. */
	assert_int_equal(call_once(&k, T_HUGE, RIG_CALL_MS),
			 status_to_errno(status_of_errno(EMSGSIZE)));
	assert_int_equal(call_once(&k, T_ECHO, RIG_CALL_MS), 0);
	client_close(&k);
}

static void errors_have_a_text(void **state)
{
	struct arena a = ARENA_INIT;
	struct m_error m;
	struct result r;
	struct client k;

	(void)state;
	client_open(&k, &rig);
	call_start(&k, &r, T_FAIL, NULL, NULL, RIG_CALL_MS);
	must_wait(&r.over);
	assert_int_equal(r.err, -ENOSPC);
	assert_int_equal(r.status, ST_NOSPC);
	assert_int_equal(m_error_decode(&m, &a, r.body->data, r.body->len), 0);
	assert_int_equal(m.text.len, 4);
	assert_memory_equal(m.text.p, "full", 4);
	result_fini(&r);
	arena_fini(&a);
	assert_int_equal(call_once(&k, T_DROP, RIG_CALL_MS), -ECANCELED);
	client_close(&k);
}

static void both_ways_on_one_connection(void **state)
{
	struct buf *bulk = bulk_of(300000, 9);
	struct wr body = body_of(20, 3);
	struct result r;
	struct client k;

	(void)state;
	client_open(&k, &rig);
	call_start(&k, &r, T_BACK, &body, bulk, RIG_CALL_MS);
	must_wait(&r.over);
	assert_int_equal(r.err, 0);
	assert_int_equal(r.body->len, 20);
	assert_true(same_bytes(r.bulk, bulk));
	result_fini(&r);
	buf_unref(bulk);
	client_close(&k);
}

struct exported {
	struct rpc *conn;
	const char *label;
	uint8_t bytes[64];
	int err;
};

static void export_there(void *arg)
{
	struct exported *e = arg;

	e->err = rpc_export(e->conn, e->label, e->bytes, sizeof(e->bytes));
}

static void export_of(struct exported *e, struct rpc *c, const char *label)
{
	e->conn = c;
	e->label = label;
	loop_run(rpc_loop(c), export_there, e);
	assert_int_equal(e->err, 0);
}

static void who_is_who(void **state)
{
	struct exported ours, theirs, other;
	char a[ADDR_TEXT_MAX];
	struct client k;

	(void)state;
	client_open_as(&k, &rig, &rig.client, ROLE_TRACKER, SERVER_ID);
	must_wait(&rig.up);
	must_wait(&k.up);
	assert_int_equal(rpc_peer_role(rig.conns[0]), ROLE_PEER);
	assert_int_equal(rpc_peer_id(rig.conns[0]), CLIENT_ID);
	assert_string_equal(addr_ip(rpc_peer_addr(rig.conns[0]), a),
			    "127.0.0.1");
	assert_int_equal(rpc_peer_role(k.conn), ROLE_TRACKER);
	assert_int_equal(rpc_peer_id(k.conn), SERVER_ID);
	assert_ptr_equal(rpc_loop(k.conn), rig.client_loop);
	export_of(&ours, k.conn, "EXPORTER-x");
	export_of(&theirs, rig.conns[0], "EXPORTER-x");
	export_of(&other, k.conn, "EXPORTER-y");
	assert_memory_equal(ours.bytes, theirs.bytes, sizeof(ours.bytes));
	assert_memory_not_equal(ours.bytes, other.bytes, sizeof(ours.bytes));
	client_close(&k);
}

static void one_way(void **state)
{
	struct client k;
	struct wr w;

	(void)state;
	client_open(&k, &rig);
	for (int i = 0; i < 5000; i++) {
		w = body_of(10, i);
		rpc_send(k.conn, T_NOTE, &w);
	}
	for (int i = 0; i < 5000; i++)
		must_wait(&rig.noted);
	client_close(&k);
}

static void answers_out_of_order(void **state)
{
	enum { N = 50 };
	struct result r[N];
	struct client k;
	struct wr w;

	(void)state;
	client_open(&k, &rig);
	for (int i = 0; i < N; i++) {
		w = body_of(1, i);
		call_start(&k, &r[i], T_DEFER, &w, NULL, RIG_CALL_MS);
	}
	for (int i = 0; i < N; i++)
		must_wait(&rig.noted);
	assert_int_equal(rig_release(&rig), N);
	for (int i = 0; i < N; i++) {
		must_wait(&r[i].over);
		assert_int_equal(r[i].err, 0);
		assert_int_equal(r[i].body->data[0], i);
		result_fini(&r[i]);
	}
	client_close(&k);
}

/* ----------------------------------------------------------- many threads */

enum { THREADS = 4, CALLS = 150, DEPTH = 10 };

struct caller {
	struct client *client;
	pthread_t thread;
	int seed, bad;
};

static void *call_many(void *arg)
{
	struct caller *me = arg;
	struct result r[DEPTH];
	struct buf *bulk[DEPTH];
	struct timespec ts;
	struct wr w;

	for (int n = 0; n < CALLS; n += DEPTH) {
		for (int i = 0; i < DEPTH; i++) {
			bulk[i] = bulk_of((n * 977 + i * 31) % 90000,
					  me->seed + n + i);
			w = body_of(n + i, i);
			call_start(me->client, &r[i], i % 2 ? T_ECHO : T_BACK,
				   &w, bulk[i], RIG_CALL_MS);
		}
		for (int i = 0; i < DEPTH; i++) {
			clock_gettime(CLOCK_REALTIME, &ts);
			ts.tv_sec += RIG_WAIT_S;
			if (sem_timedwait(&r[i].over, &ts))
				abort();
			me->bad += r[i].err || r[i].calls != 1 ||
				   r[i].body->len != (size_t)(n + i);
			me->bad += bulk[i]->len &&
				   !same_bytes(bulk[i], r[i].bulk);
			buf_unref(bulk[i]);
			result_fini(&r[i]);
		}
	}
	return NULL;
}

static void many_threads(void **state)
{
	struct caller callers[THREADS];
	struct client k[2];

	(void)state;
	client_open(&k[0], &rig);
	client_open(&k[1], &rig);
	for (int i = 0; i < THREADS; i++) {
		callers[i] = (struct caller){ .client = &k[i % 2],
					      .seed = i * 1000 };
		assert_int_equal(pthread_create(&callers[i].thread, NULL,
						call_many, &callers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(callers[i].thread, NULL);
		assert_int_equal(callers[i].bad, 0);
	}
	client_close(&k[0]);
	client_close(&k[1]);
}

/* -------------------------------------------------- deadlines, back-pressure */

static void deadline(void **state)
{
	uint64_t t0 = now_ms();
	struct client k;

	(void)state;
	client_open(&k, &rig);
	assert_int_equal(call_once(&k, T_DEFER, 150), -ETIMEDOUT);
	assert_in_range(now_ms() - t0, 145, 2000);
	must_wait(&rig.noted);
	/* A shorter one, started later, does not wait for the longer. */
	t0 = now_ms();
	assert_int_equal(call_once(&k, T_DEFER, 40), -ETIMEDOUT);
	assert_in_range(now_ms() - t0, 38, 1500);
	must_wait(&rig.noted);
	/* The late answers are of no consequence. */
	assert_int_equal(rig_release(&rig), 2);
	assert_int_equal(call_once(&k, T_ECHO, RIG_CALL_MS), 0);
	client_close(&k);
}

/* Of more calls than the window holds, the rest waits and may time out. */
static void deadline_while_waiting(void **state)
{
	enum { N = RPC_INBOUND_MAX + 100 };
	static struct result r[N];
	struct client k;

	(void)state;
	client_open(&k, &rig);
	for (int i = 0; i < N; i++)
		call_start(&k, &r[i], T_DEFER, NULL, NULL,
			   i < RPC_INBOUND_MAX ? RIG_CALL_MS : 100);
	for (int i = RPC_INBOUND_MAX; i < N; i++) {
		must_wait(&r[i].over);
		assert_int_equal(r[i].err, -ETIMEDOUT);
	}
	assert_int_equal(rig_deferred(&rig), RPC_INBOUND_MAX);
	assert_int_equal(rig_release(&rig), RPC_INBOUND_MAX);
	for (int i = 0; i < RPC_INBOUND_MAX; i++) {
		must_wait(&r[i].over);
		assert_int_equal(r[i].err, 0);
	}
	for (int i = 0; i < N; i++)
		result_fini(&r[i]);
	client_close(&k);
}

static void back_pressure(void **state)
{
	enum { N = 3 * RPC_INBOUND_MAX };
	static struct result r[N];
	struct client k;
	int done = 0;

	(void)state;
	client_open(&k, &rig);
	for (int i = 0; i < N; i++)
		call_start(&k, &r[i], T_DEFER, NULL, NULL, RIG_CALL_MS);
	while (done < N) {
		for (int i = 0; i < RPC_INBOUND_MAX; i++)
			must_wait(&rig.noted);
		sleep_ms(50);		/* time for one too many to come */
		assert_int_equal(rig_deferred(&rig), RPC_INBOUND_MAX);
		done += rig_release(&rig);
	}
	for (int i = 0; i < N; i++) {
		must_wait(&r[i].over);
		assert_int_equal(r[i].err, 0);
		result_fini(&r[i]);
	}
	client_close(&k);
}

/* As many bytes as the window holds go both ways at once: neither end may
 * stop reading answers because of the other's requests. */
static void no_deadlock_when_both_are_full(void **state)
{
	enum { N = 12, SIZE = 8 << 20 };
	struct buf *bulk = bulk_of(SIZE, 5);
	struct result r[N];
	struct client k;

	(void)state;
	client_open(&k, &rig);
	for (int i = 0; i < N; i++)
		call_start(&k, &r[i], T_BACK, NULL, bulk, RIG_CALL_MS);
	for (int i = 0; i < N; i++) {
		must_wait(&r[i].over);
		assert_int_equal(r[i].err, 0);
		assert_true(same_bytes(r[i].bulk, bulk));
		result_fini(&r[i]);
	}
	buf_unref(bulk);
	client_close(&k);
}

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
	assert_int_equal(addr_from_ip("127.0.0.1", 9, PORT + 1, &rig.at), 0);
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

#define rpc_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		rpc_test(echo_with_every_size),
		rpc_test(limits_of_a_frame),
		rpc_test(errors_have_a_text),
		rpc_test(both_ways_on_one_connection),
		rpc_test(who_is_who),
		rpc_test(one_way),
		rpc_test(answers_out_of_order),
		rpc_test(many_threads),
		rpc_test(deadline),
		rpc_test(deadline_while_waiting),
		rpc_test(back_pressure),
		rpc_test(no_deadlock_when_both_are_full),
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
