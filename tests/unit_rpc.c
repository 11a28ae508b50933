/*
 * unit_rpc -- calls, answers, deadlines, back-pressure.
 * How connections end is in unit_rpc_ends, strangers are in unit_rpc_wire.
 */
#define RIG_PORT 22100
#include "rpc_rig.h"
#include "status.h"

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

struct early {
	struct client k;
	struct result r;
	int close;
};

static void connect_and_call(void *arg)
{
	struct early *e = arg;
	struct wr w = body_of(10, 1);

	client_open(&e->k, &rig);
	rpc_send(e->k.conn, T_NOTE, &w);
	call_start(&e->k, &e->r, T_ECHO, NULL, NULL, RIG_CALL_MS);
	if (e->close)
		rpc_close(e->k.conn);
}

/* On the connection's own loop, in the same breath as rpc_connect(). */
static void calls_before_it_began(void **state)
{
	struct early e = { .close = 0 };

	(void)state;
	loop_run(rig.client_loop, connect_and_call, &e);
	must_wait(&e.r.over);
	assert_int_equal(e.r.err, 0);
	must_wait(&rig.noted);
	result_fini(&e.r);
	client_close(&e.k);

	e.close = 1;
	loop_run(rig.client_loop, connect_and_call, &e);
	must_wait(&e.r.over);
	assert_int_equal(e.r.err, -ECANCELED);
	result_fini(&e.r);
	assert_int_equal(client_end(&e.k), -ECANCELED);
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

/* ------------------------------------------------- deadlines, back-pressure */

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

/* Connections with a budget: each has its share, all together keep to it, each
 * gets on, and of answers that nobody reads no more than that are made. */
static void budget(void **state)
{
	enum { CLIENTS = 8, N = 40, SIZE = 64 << 10, SHARE = 4, MOST = 16 };
	/* headers and bodies count, too */
	struct rpc_budget b = { .most = MOST * (SIZE + 1024) };
	static struct result r[CLIENTS][N];
	static struct client k[CLIENTS];
	struct rpc_ops ops = rig_ops;
	struct addr first = rig.at;
	struct rpc_listener *l;
	struct buf *bulk = bulk_of(SIZE, 9);
	int done = 0, most = 0, n;

	(void)state;
	ops.budget = &b;
	assert_int_equal(addr_from_ip(RIG_IP, sizeof(RIG_IP) - 1,
				      RIG_PORT + 1, &rig.at), 0);
	assert_int_equal(rpc_listen(&l, rig.loops, RIG_LOOPS, &rig.server,
				    &rig.at, &ops, &rig), 0);
	for (int i = 0; i < CLIENTS; i++)
		client_open(&k[i], &rig);
	for (int j = 0; j < N; j++)
		call_start(&k[0], &r[0][j], T_DEFER, NULL, bulk, RIG_CALL_MS);
	while (rig_deferred(&rig) < SHARE)
		sleep_ms(1);
	sleep_ms(50);			/* time for one too many to come */
	assert_int_equal(rig_deferred(&rig), SHARE);
	for (int i = 1; i < CLIENTS; i++)
		for (int j = 0; j < N; j++)
			call_start(&k[i], &r[i][j], T_DEFER, NULL, bulk,
				   RIG_CALL_MS);
	while (done < CLIENTS * N) {
		sleep_ms(20);
		n = rig_deferred(&rig);
		most = n > most ? n : most;
		done += rig_release(&rig);
	}
	assert_in_range(most, MOST / 2, MOST + CLIENTS);
	for (int i = 0; i < CLIENTS; i++) {
		for (int j = 0; j < N; j++) {
			must_wait(&r[i][j].over);
			assert_int_equal(r[i][j].err, 0);
			result_fini(&r[i][j]);
		}
		client_close(&k[i]);
	}
	rpc_listener_free(l);
	assert_int_equal(b.bytes, 0);
	buf_unref(bulk);
	rig.at = first;
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

#define rpc_test(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		rpc_test(echo_with_every_size),
		rpc_test(limits_of_a_frame),
		rpc_test(errors_have_a_text),
		rpc_test(both_ways_on_one_connection),
		rpc_test(who_is_who),
		rpc_test(one_way),
		rpc_test(calls_before_it_began),
		rpc_test(answers_out_of_order),
		rpc_test(many_threads),
		rpc_test(deadline),
		rpc_test(deadline_while_waiting),
		rpc_test(back_pressure),
		rpc_test(budget),
		rpc_test(no_deadlock_when_both_are_full),
	};

	log_open("/dev/null");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
