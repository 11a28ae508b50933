/*
 * unit_link -- a peer's session, against a fake tracker on real sockets.
 */
#include "fake_tracker.h"

#include "counters.h"
#include "link.h"
#include "log.h"

#define PORT 26456
#define CALLS_MAX 64
#define LIMIT_S 240

/* What the link told us; guarded by us.lock. */
static struct {
	pthread_mutex_t lock;
	struct loop *loop;
	struct link *link;
	int lost, n_peers, drops;
	uint64_t open[4];	/* said to be open when asked */
	uint32_t n_open;
	uint64_t unknown;
	uint64_t held[8];
	size_t n_held;
} us = { .lock = PTHREAD_MUTEX_INITIALIZER };

struct call {
	int done, err;
	uint16_t status;
	uint64_t ino;		/* that the answer names */
};

static struct call calls[CALLS_MAX];

/* --------------------------------------------------------------- callbacks */

static void on_lost(void *arg, uint64_t **open, uint32_t *n_open)
{
	(void)arg;
	pthread_mutex_lock(&us.lock);
	us.lost++;
	*n_open = us.n_open;
	*open = malloc(sizeof(us.open));
	memcpy(*open, us.open, sizeof(us.open));
	pthread_mutex_unlock(&us.lock);
}

/* Odd inodes are open here. */
static uint32_t on_revoked(void *arg, uint64_t *inos, uint32_t n,
			   uint8_t also)
{
	uint32_t kept = 0;

	(void)arg;
	assert_int_equal(also, REVOKE_NAMES);
	for (uint32_t i = 0; i < n; i++)
		if (inos[i] % 2)
			inos[kept++] = inos[i];
	return kept;
}

static int on_still_open(void *arg, uint64_t ino)
{
	(void)arg;
	return ino % 1000 == 7;
}

static void on_peers(void *arg, const struct m_peer *p, uint32_t n)
{
	(void)arg;
	(void)p;
	__atomic_store_n(&us.n_peers, (int)n, __ATOMIC_SEQ_CST);
}

static void on_drop(void *arg, const uint64_t *chunks, uint32_t n)
{
	(void)arg;
	(void)chunks;
	__atomic_add_fetch(&us.drops, (int)n, __ATOMIC_SEQ_CST);
}

static void on_copy(void *arg, const struct m_copy *m, struct rpc_req *req)
{
	(void)arg;
	(void)m;
	rpc_fail(req, -EOPNOTSUPP, "not here");
}

static void on_space(void *arg, uint64_t *capacity, uint64_t *used,
		     uint64_t *chunks)
{
	(void)arg;
	*capacity = 1 << 30;
	*used = *chunks = 0;
}

static size_t on_held(void *arg, uint64_t *cursor, struct m_held *out,
		      size_t max)
{
	size_t n = 0;

	(void)arg;
	pthread_mutex_lock(&us.lock);
	/* One at a time: the parts are to be put together. */
	if (*cursor < us.n_held && max) {
		out[n++] = (struct m_held){ us.held[*cursor], COPY_REPLICA };
		(*cursor)++;
	}
	pthread_mutex_unlock(&us.lock);
	return n;
}

static void on_unknown(void *arg, const uint64_t *chunks, uint32_t n)
{
	(void)arg;
	if (n)
		__atomic_store_n(&us.unknown, chunks[0], __ATOMIC_SEQ_CST);
}

static const struct link_ops ops = {
	.lost = on_lost, .revoked = on_revoked,
	.still_open = on_still_open, .peers = on_peers,
	.drop = on_drop, .copy = on_copy, .space = on_space,
	.held = on_held, .unknown = on_unknown,
};

/* ----------------------------------------------------------------- helpers */

static void configure(struct link_config *cfg, uint32_t timeout_ms)
{
	memset(cfg, 0, sizeof(*cfg));
	cfg->trackers[0] = ft.at;
	cfg->n_trackers = 1;
	cfg->self = ft.self;
	cfg->self.role = ROLE_PEER;
	cfg->self.id = 4711;
	cfg->timeout_ms = timeout_ms;
	assert_int_equal(addr_from_ip("127.0.0.11", 10, PORT, &cfg->addr), 0);
}

static int start(const struct link_config *cfg, char why[256])
{
	int err = link_start(&us.link, us.loop, cfg, &ops, NULL);

	assert_int_equal(err, 0);
	return link_wait(us.link, FT_WAIT_MS, why, 256);
}

static void start_well(uint32_t timeout_ms)
{
	struct link_config cfg;
	char why[256] = "";

	configure(&cfg, timeout_ms);
	if (start(&cfg, why))
		fail_msg("not registered: %s", why);
}

static int setup(void **state)
{
	(void)state;
	us.lost = us.n_peers = us.drops = 0;
	us.n_open = 0;
	us.unknown = 0;
	us.n_held = 0;
	us.link = NULL;
	memset(calls, 0, sizeof(calls));
	ft_start(PORT);
	return loop_new(&us.loop, "control");
}

static int teardown(void **state)
{
	(void)state;
	link_stop(us.link);
	loop_free(us.loop);
	ft_stop();
	return 0;
}

static void on_change(void *arg, int err, const struct rpc_answer *a)
{
	struct call *c = arg;
	struct arena mem = ARENA_INIT;
	struct m_unlink_r r;

	c->err = err;
	c->status = a ? a->status : 0;
	if (!err &&
	    !m_unlink_r_decode(&r, &mem, a->body->data, a->body->len))
		c->ino = r.ino;
	__atomic_store_n(&c->done, 1, __ATOMIC_RELEASE);
}

static void on_read(void *arg, int err, const struct rpc_answer *a)
{
	struct call *c = arg;
	struct arena mem = ARENA_INIT;
	struct m_getattr_r r;

	c->err = err;
	c->status = a ? a->status : 0;
	if (!err &&
	    !m_getattr_r_decode(&r, &mem, a->body->data, a->body->len))
		c->ino = r.attr.ino;
	__atomic_store_n(&c->done, 1, __ATOMIC_RELEASE);
}

static void change(struct call *c)
{
	struct m_unlink m = { .parent = 1, .name = STR_LIT("x") };
	struct wr w = WR_INIT;

	assert_int_equal(m_unlink_encode(&w, &m), 0);
	link_call(us.link, M_unlink, &w, on_change, c);
}

static void read_attr(struct call *c, uint64_t ino)
{
	struct m_getattr m = { .ino = ino };
	struct wr w = WR_INIT;

	assert_int_equal(m_getattr_encode(&w, &m), 0);
	link_call(us.link, M_getattr, &w, on_read, c);
}

#define DONE(c) __atomic_load_n(&(c)->done, __ATOMIC_ACQUIRE)

/* ------------------------------------------------------------------- tests */

static void registers(void **state)
{
	struct link_info info;

	(void)state;
	start_well(5000);
	link_info(us.link, &info);
	assert_int_equal(info.swarm, FT_SWARM);
	assert_int_equal(info.num, 1);
	assert_int_equal(info.copies, 2);
	assert_int_equal(info.slot_size, 65536);
	assert_true(info.session != 0);
	assert_true(link_leased(us.link));
	FT_UNTIL(__atomic_load_n(&us.n_peers, __ATOMIC_SEQ_CST) == 1);
	FT_UNTIL(ft.dgram_beats >= 2);
	FT_UNTIL(ft.stats >= 1);
	assert_int_equal(ft.tcp_beats, 0);
	assert_int_equal(us.lost, 0);
}

static void wrong_key(void **state)
{
	struct link_config cfg;
	char why[256] = "";

	(void)state;
	configure(&cfg, 5000);
	cfg.self.key.secret[3] ^= 1;
	assert_int_equal(start(&cfg, why), -EACCES);
	assert_non_null(strstr(why, "key"));
}

static void nobody_there(void **state)
{
	struct link_config cfg;
	char why[256] = "";
	uint64_t t = now_ms();

	(void)state;
	configure(&cfg, 5000);
	addr_from_ip("127.0.0.1", 9, PORT + 1, &cfg.trackers[0]);
	assert_int_equal(start(&cfg, why), -ECONNREFUSED);
	assert_true(now_ms() - t < 5000);
	assert_non_null(strstr(why, "127.0.0.1:26457"));
	assert_non_null(strstr(why, "psptrackerd"));
}

static void second_of_the_list(void **state)
{
	struct link_config cfg;
	char why[256] = "";

	(void)state;
	configure(&cfg, 5000);
	cfg.trackers[1] = cfg.trackers[0];
	cfg.n_trackers = 2;
	addr_from_ip("127.0.0.1", 9, PORT + 1, &cfg.trackers[0]);
	assert_int_equal(start(&cfg, why), 0);
}

static void refused(void **state)
{
	struct link_config cfg;
	char why[256] = "";

	(void)state;
	configure(&cfg, 5000);
	FT_SET(ft.refuse = -EXDEV);
	assert_int_equal(start(&cfg, why), -EXDEV);
	assert_non_null(strstr(why, "refused by the test"));
}

static void calls_and_errors(void **state)
{
	(void)state;
	start_well(5000);
	read_attr(&calls[0], 77);
	read_attr(&calls[1], 404);
	change(&calls[2]);
	change(&calls[3]);
	FT_UNTIL(DONE(&calls[0]) && DONE(&calls[1]) && DONE(&calls[2]) &&
		 DONE(&calls[3]));
	assert_int_equal(calls[0].ino, 77);
	assert_int_equal(calls[1].err, -ENOENT);
	assert_int_equal(calls[2].ino, 1);
	assert_int_equal(calls[3].ino, 2);
	FT_SET(ft.refuse_change = ST_NOSPC);
	change(&calls[4]);
	FT_UNTIL(DONE(&calls[4]));
	assert_int_equal(calls[4].err, -ENOSPC);
	/* What has its answer need not be remembered any more. */
	assert_int_equal(ft.acks[2], 3);
}

/* A change whose answer is lost goes again with its number, before others. */
static void sends_again(void **state)
{
	(void)state;
	start_well(10000);
	us.open[0] = 5;
	us.n_open = 1;
	FT_SET(ft.swallow = 2);
	for (int i = 0; i < 6; i++)
		change(&calls[i]);
	read_attr(&calls[6], 8);
	for (int i = 0; i < 7; i++)
		FT_UNTIL(DONE(&calls[i]));
	for (int i = 0; i < 6; i++) {
		assert_int_equal(calls[i].err, 0);
		assert_int_equal(calls[i].ino, i + 1);
	}
	assert_int_equal(calls[6].ino, 8);
	assert_int_equal(ft.seqs[0], 1);
	FT_UNTIL(ft.n_seqs >= 8);
	/* On each connection in order, from the oldest without an answer. */
	for (int i = 1; i < ft.n_seqs; i++)
		assert_true(ft.seqs[i] == ft.seqs[i - 1] + 1 ||
			    ft.seqs[i] <= ft.seqs[i - 1]);
	for (int i = 0; i < ft.n_seqs; i++)
		assert_true(ft.acks[i] <= ft.seqs[i]);
	assert_true(us.lost >= 1);
	assert_int_equal(ft.n_hello_open, 1);
	assert_int_equal(ft.hello_open[0], 5);
	assert_true(ft.peer[0].epoch >= 2);
	assert_true(link_leased(us.link));
}

/* The session is gone: what may have been done fails, what only reads not. */
static void session_lost(void **state)
{
	(void)state;
	start_well(10000);
	FT_SET((ft.hang = 1, ft.forget_sessions = 1));
	change(&calls[0]);
	read_attr(&calls[1], 9);
	FT_UNTIL(ft.n_hung == 2);
	FT_SET(ft.hang = 0);
	ft_kick();
	FT_UNTIL(DONE(&calls[0]) && DONE(&calls[1]));
	assert_int_equal(calls[0].err, -ESTALE);
	assert_int_equal(calls[1].err, 0);
	assert_int_equal(calls[1].ino, 9);
	change(&calls[2]);
	FT_UNTIL(DONE(&calls[2]));
	assert_int_equal(calls[2].err, 0);
}

/* The tracker says on a good connection that the session has ended. */
static void session_refused(void **state)
{
	(void)state;
	start_well(10000);
	FT_SET((ft.refuse_change = ST_SESSION, ft.forget_sessions = 1));
	change(&calls[0]);
	FT_UNTIL(DONE(&calls[0]));
	assert_int_equal(calls[0].err, -ESTALE);
	FT_UNTIL(ft.hellos == 2);
	FT_SET(ft.refuse_change = 0);
	change(&calls[1]);
	FT_UNTIL(DONE(&calls[1]));
	assert_int_equal(calls[1].err, 0);
}

static void times_out(void **state)
{
	uint64_t t;

	(void)state;
	start_well(700);
	FT_SET(ft.hang = 1);
	t = now_ms();
	change(&calls[0]);
	FT_UNTIL(DONE(&calls[0]));
	assert_int_equal(calls[0].err, -EIO);
	assert_in_range(now_ms() - t, 600, 5000);
	ft_away();
	FT_UNTIL(!link_is_up(us.link));	/* our end has seen it, too */
	t = now_ms();
	read_attr(&calls[1], 7);
	FT_UNTIL(DONE(&calls[1]));
	assert_int_equal(calls[1].err, -EIO);
	assert_in_range(now_ms() - t, 600, 5000);
	ft_listen();
	FT_SET(ft.hang = 0);
	FT_UNTIL(ft.hellos >= 2);
	read_attr(&calls[2], 7);
	FT_UNTIL(DONE(&calls[2]));
	assert_int_equal(calls[2].err, 0);
}

/* The tracker may have made it, and believe that something is open here. */
static void change_given_up(void **state)
{
	int beats;

	(void)state;
	FT_SET((ft.hang = 1, ft.heartbeat_ms = 50, us.n_open = 1,
		us.open[0] = 77));
	start_well(500);
	read_attr(&calls[0], 7);
	FT_UNTIL(DONE(&calls[0]));
	FT_SET((beats = ft.dgram_beats));
	FT_UNTIL(ft.dgram_beats >= beats + 4);
	assert_int_equal(ft.hellos, 1);		/* that was only a question */
	change(&calls[1]);
	FT_UNTIL(DONE(&calls[1]));
	assert_int_equal(calls[1].err, -EIO);
	FT_SET(ft.hang = 0);
	FT_UNTIL(ft.hellos == 2 && ft.n_hello_open == 1 &&
		 ft.hello_open[0] == 77);
	change(&calls[2]);
	FT_UNTIL(DONE(&calls[2]));
	assert_int_equal(calls[2].err, 0);
	FT_SET((beats = ft.dgram_beats));
	FT_UNTIL(ft.dgram_beats >= beats + 20);
	assert_int_equal(ft.hellos, 2);
}

static void beats_by_tcp(void **state)
{
	(void)state;
	FT_SET((ft.deaf_dgrams = 1, ft.lease_ms = 1500, ft.heartbeat_ms = 100));
	start_well(5000);
	FT_UNTIL(ft.tcp_beats >= 25);	/* longer than a lease */
	assert_true(link_leased(us.link));
	assert_int_equal(ft.hellos, 1);
	FT_SET(ft.deaf_dgrams = 0);
	FT_UNTIL(ft.dgram_beats >= 3);
	FT_SET(ft.tcp_beats = 0);
	FT_UNTIL(ft.dgram_beats >= 10);
	assert_true(ft.tcp_beats <= 1);
}

static void lease_ends(void **state)
{
	uint64_t t = now_ms();

	(void)state;
	FT_SET((ft.deaf_dgrams = ft.deaf_beats = 1, ft.lease_ms = 1500,
		ft.heartbeat_ms = 100));
	start_well(5000);
	assert_true(link_leased(us.link));
	while (link_leased(us.link) && now_ms() - t < FT_WAIT_MS)
		usleep(1000);
	/* Counted from the hello, less the margin; before the next hello. */
	assert_in_range(now_ms() - t, 900, 1400);
	FT_UNTIL(ft.hellos >= 2);
	FT_SET((ft.deaf_dgrams = ft.deaf_beats = 0));
	FT_UNTIL(link_leased(us.link));
}

/* What is leased may be used until the tracker counts the lease as over, or
 * hears that it was given up. */
static void lease_outlasts_the_connection(void **state)
{
	uint64_t t;

	(void)state;
	FT_SET((ft.lease_ms = 2500, ft.heartbeat_ms = 100));
	start_well(5000);
	ft_away();
	FT_UNTIL(!link_is_up(us.link));
	t = now_ms();
	assert_true(link_leased(us.link));
	while (link_leased(us.link) && now_ms() - t < FT_WAIT_MS)
		usleep(1000);
	assert_in_range(now_ms() - t, 1000, 2400);
	assert_int_equal(us.lost, 0);
	ft_listen();
	FT_UNTIL(link_leased(us.link));
	assert_true(us.lost >= 1);
}

static void tells_what_it_holds(void **state)
{
	(void)state;
	us.held[0] = 31;
	us.held[1] = 32;
	us.n_held = 2;
	start_well(5000);
	FT_UNTIL(ft.inventories == 1);
	assert_int_equal(ft_chunk(31)->holders, 2);
	assert_int_equal(ft_chunk(32)->holders, 2);
	link_have(us.link, 33, COPY_REPLICA);
	link_have(us.link, 34, COPY_REPLICA);
	link_gone(us.link, 34);
	link_gone(us.link, 31);
	FT_UNTIL(ft_chunk(33)->holders == 2 && ft_chunk(31)->holders == 0);
	assert_int_equal(ft_chunk(34)->holders, 0);
	link_release(us.link, 501);
	link_release(us.link, 1007);	/* open again */
	link_release(us.link, 502);
	FT_UNTIL(ft.n_released == 2);
	assert_int_equal(ft.released[0], 501);
	assert_int_equal(ft.released[1], 502);
}

static void unknown_chunks(void **state)
{
	(void)state;
	us.held[0] = 41;
	us.n_held = 1;
	FT_SET(ft.disown = 41);
	start_well(5000);
	/* It was there at the start: nobody's. */
	FT_UNTIL(__atomic_load_n(&us.unknown, __ATOMIC_SEQ_CST) == 41);
	/* It has just come: its commit may be under way. */
	__atomic_store_n(&us.unknown, 0, __ATOMIC_SEQ_CST);
	link_have(us.link, 42, COPY_REPLICA);
	FT_SET(ft.disown = 42);
	ft_kick();
	FT_UNTIL(ft.inventories == 2);
	read_attr(&calls[0], 1);
	FT_UNTIL(DONE(&calls[0]));
	assert_int_equal(__atomic_load_n(&us.unknown, __ATOMIC_SEQ_CST), 0);
}

static void revoke_and_drop(void **state)
{
	uint64_t inos[] = { 2, 3, 4, 5 };
	struct m_revoke rv = { .inos = inos, .n_inos = 4,
			       .also = REVOKE_NAMES };
	struct m_drop d = { .chunks = inos, .n_chunks = 4 };
	struct wr w = WR_INIT;

	(void)state;
	start_well(5000);
	assert_int_equal(m_revoke_encode(&w, &rv), 0);
	ft_ask(1, M_revoke, &w, ft_on_revoke_r);
	FT_UNTIL(ft.revoke_answers == 1);
	assert_int_equal(ft.n_revoked_open, 2);
	assert_int_equal(ft.revoked_open[0], 3);
	assert_int_equal(ft.revoked_open[1], 5);
	assert_int_equal(m_drop_encode(&w, &d), 0);
	ft_ask(1, M_drop, &w, ft_on_copy_r);
	FT_UNTIL(ft.copy_answers == 1);
	assert_int_equal(ft.copy_err, 0);
	assert_int_equal(us.drops, 4);
}

static void ends_well(void **state)
{
	(void)state;
	start_well(20000);
	FT_SET(ft.hang = 1);
	change(&calls[0]);
	FT_UNTIL(ft.n_hung == 1);
	link_close(us.link);
	assert_int_equal(ft.byes, 1);
	assert_true(DONE(&calls[0]));
	assert_int_equal(calls[0].err, -ECANCELED);
	read_attr(&calls[1], 3);
	FT_UNTIL(DONE(&calls[1]));
	assert_int_equal(calls[1].err, -ECANCELED);
	assert_false(link_leased(us.link));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(registers), T(wrong_key), T(nobody_there),
		T(second_of_the_list), T(refused), T(calls_and_errors),
		T(sends_again), T(session_lost), T(session_refused),
		T(times_out), T(change_given_up), T(beats_by_tcp),
		T(lease_ends), T(lease_outlasts_the_connection),
		T(tells_what_it_holds), T(unknown_chunks),
		T(revoke_and_drop), T(ends_well),
	};

	alarm(LIMIT_S);
	log_init("unit_link", LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
