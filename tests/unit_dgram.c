/*
 * unit_dgram -- real datagrams on loopback; forged ones are made here, with
 * an HMAC of our own.
 */
#include <errno.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "codec.h"
#include "counters.h"
#include "dgram.h"

enum {
	PORT = 22300, CLIENT_PORT, RAW_PORT,
	WAIT_S = 20, SESSION = 77, WINDOW = 1024, BODY = 10, MAC = 16,
};

struct last {
	uint64_t session;
	uint16_t type;
	uint8_t body[DGRAM_MAX];
	size_t len;
	int answer_err;
};

struct seen {
	sem_t sem;
	int n;			/* atomic */
	int answer;		/* atomic: bytes more than the question has;
				   -1: none */
	pthread_mutex_t lock;
	struct last last;	/* guarded by lock */
	struct last got;	/* the test's copy, of must_come() */
};

static struct loop *loop;
static struct dgram_sock *server;
static struct seen at_server;
static struct addr server_at;
static uint8_t secret[64];
static int raw = -1;		/* the stranger's socket */

static void on_dgram(const struct dgram *d, void *arg)
{
	static const uint8_t zeros[DGRAM_MAX * 2];
	struct seen *s = arg;
	int more = __atomic_load_n(&s->answer, __ATOMIC_RELAXED), err = 0;

	if (more >= 0)
		err = dgram_answer(d, d->type + 1, zeros, d->len + more);
	pthread_mutex_lock(&s->lock);
	s->last.session = d->session;
	s->last.type = d->type;
	s->last.len = d->len;
	s->last.answer_err = err;
	memcpy(s->last.body, d->body, d->len);
	pthread_mutex_unlock(&s->lock);
	__atomic_fetch_add(&s->n, 1, __ATOMIC_RELEASE);
	sem_post(&s->sem);
}

static int wait_ms(struct seen *s, int ms)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_nsec += ms % 1000 * 1000000l;
	ts.tv_sec += ms / 1000 + ts.tv_nsec / 1000000000;
	ts.tv_nsec %= 1000000000;
	return sem_timedwait(&s->sem, &ts) ? -errno : 0;
}

static void must_come(struct seen *s)
{
	assert_int_equal(wait_ms(s, WAIT_S * 1000), 0);
	pthread_mutex_lock(&s->lock);
	s->got = s->last;
	pthread_mutex_unlock(&s->lock);
}

static void seen_init(struct seen *s)
{
	memset(s, 0, sizeof(*s));
	sem_init(&s->sem, 0, 0);
	pthread_mutex_init(&s->lock, NULL);
	s->answer = -1;
}

static void answer_with(struct seen *s, int more)
{
	__atomic_store_n(&s->answer, more, __ATOMIC_RELAXED);
}

static void at_port(struct addr *a, uint16_t port)
{
	assert_int_equal(addr_from_ip("127.0.42.1", 10, port, a), 0);
}

static int setup(void **state)
{
	struct timeval tv = { WAIT_S, 0 };
	struct addr a;

	(void)state;
	seen_init(&at_server);
	for (int i = 0; i < 64; i++)
		secret[i] = i * 7;
	at_port(&server_at, PORT);
	at_port(&a, RAW_PORT);
	raw = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	setsockopt(raw, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	return bind(raw, (struct sockaddr *)&a.ss, a.len) ||
	       loop_new(&loop, "dgram") ||
	       dgram_open(&server, loop, &server_at, on_dgram, &at_server) ||
	       dgram_join(server, SESSION, secret, 1, NULL);
}

static int teardown(void **state)
{
	(void)state;
	dgram_close(server);
	loop_free(loop);
	close(raw);
	return 0;
}

/* ------------------------------------------------------------- by hand */

/* A datagram of BODY bytes as the client (@key 0) or the server would. */
static size_t make(uint8_t *p, uint64_t session, uint64_t counter, int key)
{
	unsigned n = 0;
	uint8_t mac[32];

	put_u64(p, session);
	put_u64(p + 8, counter);
	put_u16(p + 16, 5);
	memset(p + 18, 'x', BODY);
	HMAC(EVP_sha256(), secret + key * 32, 32, p, 18 + BODY, mac, &n);
	assert_int_equal(n, 32);
	memcpy(p + 18 + BODY, mac, MAC);
	return DGRAM_OVERHEAD + BODY;
}

static void throw(const void *p, size_t n)
{
	assert_int_equal(sendto(raw, p, n, 0,
				(struct sockaddr *)&server_at.ss,
				server_at.len), (ssize_t)n);
}

static void throw_counter(uint64_t counter)
{
	uint8_t p[DGRAM_MAX];
	size_t n = make(p, SESSION, counter, 0);

	throw(p, n);
}

/* It is dropped and counted, and the server is silent. */
static void refused(const void *p, size_t n)
{
	uint64_t bad = counter_get(CNT_DGRAMS_BAD);
	int was = __atomic_load_n(&at_server.n, __ATOMIC_ACQUIRE);
	uint8_t byte;

	throw(p, n);
	for (int i = 0; i < 1000 && counter_get(CNT_DGRAMS_BAD) == bad; i++)
		usleep(10000);
	assert_int_equal(counter_get(CNT_DGRAMS_BAD), bad + 1);
	assert_int_equal(__atomic_load_n(&at_server.n, __ATOMIC_ACQUIRE), was);
	assert_int_equal(recv(raw, &byte, 1, MSG_DONTWAIT), -1);
}

static void refused_counter(uint64_t counter)
{
	uint8_t p[DGRAM_MAX];
	size_t n = make(p, SESSION, counter, 0);

	refused(p, n);
}

static void accepted_counter(uint64_t counter)
{
	throw_counter(counter);
	must_come(&at_server);
}

/* -------------------------------------------------------------- the tests */

static void there_and_back(void **state)
{
	struct seen mine;
	struct dgram_sock *client;
	uint8_t body[DGRAM_BODY_MAX];
	struct addr at;

	(void)state;
	seen_init(&mine);
	memset(body, 'b', sizeof(body));
	at_port(&at, CLIENT_PORT);
	assert_int_equal(dgram_open(&client, loop, &at, on_dgram, &mine), 0);
	assert_int_equal(dgram_send(client, SESSION, 1, "a", 1), -ENOENT);
	assert_int_equal(dgram_join(client, SESSION, secret, 0, &server_at), 0);
	/* The server does not know yet where we are. */
	assert_int_equal(dgram_send(server, SESSION, 1, "a", 1), -ENOTCONN);
	answer_with(&at_server, 0);
	for (size_t n = 0; n <= DGRAM_BODY_MAX; n += 53) {
		assert_int_equal(dgram_send(client, SESSION, 9, body, n), 0);
		must_come(&at_server);
		assert_int_equal(at_server.got.session, SESSION);
		assert_int_equal(at_server.got.type, 9);
		assert_int_equal(at_server.got.len, n);
		assert_memory_equal(at_server.got.body, body, n);
		must_come(&mine);
		assert_int_equal(mine.got.type, 10);
		assert_int_equal(mine.got.len, n);
	}
	assert_int_equal(dgram_send(client, SESSION, 9, body,
				    DGRAM_BODY_MAX + 1), -EMSGSIZE);
	/* It has learned our address from the last one. */
	assert_int_equal(dgram_send(server, SESSION, 3, "abc", 3), 0);
	must_come(&mine);
	assert_memory_equal(mine.got.body, "abc", 3);
	dgram_leave(client, SESSION);
	dgram_leave(client, SESSION);
	assert_int_equal(dgram_send(client, SESSION, 1, "a", 1), -ENOENT);
	dgram_close(client);
}

static void an_answer_is_never_longer(void **state)
{
	uint8_t p[DGRAM_MAX];

	(void)state;
	answer_with(&at_server, 1);
	accepted_counter(1);
	assert_int_equal(at_server.got.answer_err, -EMSGSIZE);
	assert_int_equal(recv(raw, p, sizeof(p), MSG_DONTWAIT), -1);
	answer_with(&at_server, 0);
	accepted_counter(2);
	assert_int_equal(at_server.got.answer_err, 0);
	assert_int_equal(recv(raw, p, sizeof(p), 0), DGRAM_OVERHEAD + BODY);
	/* Our own words, thrown back at us, are no good. */
	refused(p, DGRAM_OVERHEAD + BODY);
}

static void forged(void **state)
{
	uint8_t p[DGRAM_MAX * 2] = { 0 };
	size_t n = make(p, SESSION, 1, 0);

	(void)state;
	for (size_t bit = 0; bit < n * 8; bit += 5) {
		p[bit / 8] ^= 1 << bit % 8;
		refused(p, n);
		p[bit / 8] ^= 1 << bit % 8;
	}
	for (size_t cut = 0; cut < n; cut++)
		refused(p, cut);
	refused(p, n + 1);
	refused(p, DGRAM_MAX + 1);
	refused(p, sizeof(p));
	n = make(p, SESSION, 1, 1);	/* the server's own key */
	refused(p, n);
	n = make(p, SESSION + 1, 1, 0);	/* nobody's session */
	refused(p, n);
	/* None of them has moved the window. */
	accepted_counter(1);
}

static void replayed_and_reordered(void **state)
{
	(void)state;
	accepted_counter(1);
	refused_counter(1);
	accepted_counter(5);
	accepted_counter(3);
	refused_counter(3);
	refused_counter(5);
	accepted_counter(4);
	accepted_counter(5 + WINDOW);
	refused_counter(5);			/* just outside */
	accepted_counter(6);			/* just inside */
	refused_counter(6);
	refused_counter(5 + WINDOW);
	/* What the ring holds for its new place must be forgotten. */
	accepted_counter(5 + WINDOW + 3);
	accepted_counter(5 + WINDOW + 1);
	accepted_counter(5 + WINDOW + 2);
	refused_counter(5 + WINDOW + 1);
	/* A long jump, to the very end. */
	accepted_counter(UINT64_MAX);
	refused_counter(UINT64_MAX);
	accepted_counter(UINT64_MAX - WINDOW + 1);
	refused_counter(UINT64_MAX - WINDOW);
}

static void joining_again_begins_anew(void **state)
{
	uint8_t p[DGRAM_MAX];
	size_t n;

	(void)state;
	accepted_counter(9);
	n = make(p, SESSION, 10, 0);
	secret[0] ^= 1;
	assert_int_equal(dgram_join(server, SESSION, secret, 1, NULL), 0);
	refused(p, n);			/* made with the old key */
	accepted_counter(9);
	dgram_leave(server, SESSION);
	refused_counter(10);
}

/* A session sends at most DGRAM_RATE in a burst, then as many a second. */
static void rate(void **state)
{
	enum { N = 3 * DGRAM_RATE };
	uint64_t bad = counter_get(CNT_DGRAMS_BAD), t0 = now_ms(), ms, gone;
	int n;

	(void)state;
	for (int i = 1; i <= N; i++) {
		throw_counter(i);
		if (i % 64 == 0)	/* let not the socket be what drops */
			while (__atomic_load_n(&at_server.n, __ATOMIC_ACQUIRE) +
			       counter_get(CNT_DGRAMS_BAD) - bad <
			       (uint64_t)i && now_ms() - t0 < WAIT_S * 1000)
				usleep(200);
	}
	ms = now_ms() - t0;
	gone = counter_get(CNT_DGRAMS_BAD) - bad;
	n = __atomic_load_n(&at_server.n, __ATOMIC_ACQUIRE);
	assert_int_equal(n + gone, N);
	assert_true((uint64_t)n <= DGRAM_RATE + (ms + 1) * DGRAM_RATE / 1000);
	assert_true(n >= DGRAM_RATE);
	usleep(50000);
	while (!sem_trywait(&at_server.sem))
		;
	accepted_counter(N + 1);
}

static void on_close(const struct dgram *d, void *arg)
{
	dgram_close(d->sock);
	sem_post(arg);
}

static void closed_from_inside(void **state)
{
	struct dgram_sock *s;
	struct addr at;
	sem_t closed;

	(void)state;
	sem_init(&closed, 0, 0);
	at_port(&at, CLIENT_PORT);
	assert_int_equal(dgram_open(&s, loop, &at, on_close, &closed), 0);
	assert_int_equal(dgram_join(s, SESSION, secret, 0, NULL), 0);
	assert_int_equal(dgram_join(server, SESSION, secret, 1, &at), 0);
	for (int i = 0; i < 3; i++)
		dgram_send(server, SESSION, 1, "a", 1);
	for (int i = 0; i < 1000 && sem_trywait(&closed); i++)
		usleep(10000);
	/* The address is free again, and taken while it is in use. */
	for (int i = 0; i < 100; i++) {
		if (!dgram_open(&s, loop, &at, on_close, &closed))
			break;
		usleep(10000);
	}
	assert_int_equal(dgram_open(&s, loop, &server_at, on_close, &closed),
			 -EADDRINUSE);
	dgram_close(s);
}

#define dgram_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		dgram_test(there_and_back),
		dgram_test(an_answer_is_never_longer),
		dgram_test(forged),
		dgram_test(replayed_and_reordered),
		dgram_test(joining_again_begins_anew),
		dgram_test(rate),
		dgram_test(closed_from_inside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
