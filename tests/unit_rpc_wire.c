/*
 * unit_rpc_wire -- what may come over the wire: strangers, garbage, frames
 * that break the rules.
 */
#define RIG_PORT 22200
#include "rpc_rig.h"
#include "rpc_raw.h"
#include "rpc_internal.h"
#include "status.h"

#include <netinet/tcp.h>
#include <signal.h>

#define RAW_PORT 22201
#define GOOD_IDENTITY "pspfs/1 1 0000000000002222 2 0000000000001111"
#define ANSWER 0x8000

/* 1: through the handshake. */
static int raw_connect(struct raw *r, const char *identity)
{
	raw_open(r, RIG_PORT, &rig.server.key, identity);
	return SSL_connect(r->ssl) == 1;
}

/* ---------------------------------------------------------- a good end */

static void frames_are_as_written_down(void **state)
{
	static const uint8_t request[] = {
		0, 0, 0, 3, 0, 0, 0, 2, 0xde, 0xad, 0xbe, 0xef, 0, T_ECHO, 0, 0,
		'a', 'b', 'c', 'X', 'Y',
	};
	uint8_t answer[sizeof(request)], again[sizeof(request)];
	struct raw r;

	(void)state;
	assert_true(raw_connect(&r, GOOD_IDENTITY));
	assert_true(SSL_session_reused(r.ssl));
	assert_string_equal(SSL_get_version(r.ssl), "TLSv1.3");
	assert_string_equal(SSL_get_cipher(r.ssl), "TLS_AES_128_GCM_SHA256");
	memcpy(again, request, sizeof(request));
	again[12] = 0x80;
	/* Whole, and byte by byte. */
	raw_put(&r, request, sizeof(request));
	assert_int_equal(raw_get(&r, answer, sizeof(answer)), sizeof(answer));
	assert_memory_equal(answer, again, sizeof(answer));
	for (size_t i = 0; i < sizeof(request); i++)
		raw_put(&r, request + i, 1);
	assert_int_equal(raw_get(&r, answer, sizeof(answer)), sizeof(answer));
	assert_memory_equal(answer, again, sizeof(answer));
	raw_close(&r);
	must_wait(&rig.down);
	assert_int_equal(rig.last_err, -ECONNRESET);
}

/* The end of the handshake and a first request in one segment. */
static void a_request_right_behind_the_handshake(void **state)
{
	uint8_t answer[RPC_HEADER];
	int on = 1, off = 0;
	struct raw r;

	(void)state;
	raw_open(&r, RIG_PORT, &rig.server.key, GOOD_IDENTITY);
	setsockopt(r.fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
	assert_int_equal(SSL_connect(r.ssl), 1);
	raw_frame(&r, 0, 0, 1, T_ECHO, 0);
	setsockopt(r.fd, IPPROTO_TCP, TCP_CORK, &off, sizeof(off));
	assert_int_equal(raw_get(&r, answer, RPC_HEADER), RPC_HEADER);
	raw_close(&r);
}

static void a_key_update_is_answered(void **state)
{
	uint8_t answer[RPC_HEADER];
	struct raw r;

	(void)state;
	assert_true(raw_connect(&r, GOOD_IDENTITY));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(SSL_key_update(r.ssl,
						SSL_KEY_UPDATE_REQUESTED), 1);
		raw_frame(&r, 0, 0, 1 + i, T_ECHO, 0);
		assert_int_equal(raw_get(&r, answer, RPC_HEADER), RPC_HEADER);
	}
	raw_close(&r);
}

/* ----------------------------------------------------------- strangers */

static void wait_failed(uint64_t want)
{
	for (int i = 0; i < 1000 && counter_get(CNT_HANDSHAKE_FAILED) < want;
	     i++)
		sleep_ms(10);
	assert_int_equal(counter_get(CNT_HANDSHAKE_FAILED), want);
	assert_int_equal(rig.n_conns, 0);
}

static void identities_that_are_refused(void **state)
{
	static const char *bad[] = {
		NULL,
		"x",
		"pspfs/1 1 0000000000002222 2",
		"pspfs/2 1 0000000000002222 2 0000000000001111",
		"pspfs/1 1 2222 2 0000000000001111",
		"pspfs/1 1 0000000000002222 2 0000000000001111 ",
		" pspfs/1 1 0000000000002222 2 0000000000001111",
		"pspfs/1 01 0000000000002222 2 0000000000001111",
		"pspfs/1 -1 0000000000002222 2 0000000000001111",
		"pspfs/1 257 0000000000002222 2 0000000000001111",
		"pspfs/1 1 000000000000ABCD 2 0000000000001111",
		"pspfs/1 1 0000000000002222 1 0000000000001111",
		"pspfs/1 1 0000000000002222 2 0000000000001112",
		"pspfs/1 2 0000000000001111 2 0000000000001111",
		"pspfs/1 2 0000000000001111 2 0000000000000000",
		"pspfs/1 1 0000000000002222 2 0000000000001111 and much more "
		"than anybody would ever have reason to say",
	};
	uint64_t failed = counter_get(CNT_HANDSHAKE_FAILED);
	struct raw r;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_false(raw_connect(&r, bad[i]));
		raw_close(&r);
		wait_failed(++failed);
	}
	assert_true(raw_connect(&r, GOOD_IDENTITY));
	raw_close(&r);
}

static void a_key_that_does_not_fit(void **state)
{
	uint64_t failed = counter_get(CNT_HANDSHAKE_FAILED);
	struct raw r;

	(void)state;
	rig.server.key.secret[0] ^= 1;	/* the listener has its own copy */
	assert_false(raw_connect(&r, GOOD_IDENTITY));
	raw_close(&r);
	wait_failed(failed + 1);
}

static void garbage(void **state)
{
	static const char http[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
	uint64_t failed = counter_get(CNT_HANDSHAKE_FAILED);
	uint8_t junk[3000];
	char back[64];
	struct raw r;
	int fd;

	(void)state;
	srand(1);
	for (int i = 0; i < 40; i++) {
		for (size_t j = 0; j < sizeof(junk); j++)
			junk[j] = rand() >> 8;
		if (i % 2)
			memcpy(junk, "\x16\x03\x01\x0b\x00\x01\x00\x0a", 8);
		fd = raw_socket(RIG_PORT);
		assert_true(send(fd, i ? (void *)junk : (void *)http,
				 i ? 1 + i * 74 : (int)sizeof(http) - 1,
				 MSG_NOSIGNAL) > 0);
		shutdown(fd, SHUT_WR);
		while (recv(fd, back, sizeof(back), 0) > 0)
			;
		close(fd);
		wait_failed(++failed);
	}
	assert_true(raw_connect(&r, GOOD_IDENTITY));
	raw_close(&r);
}

/* The one who says nothing is sent away after RPC_HANDSHAKE_MS; we go away
 * ourselves from a server that says nothing. */
static void silence(void **state)
{
	uint64_t failed = counter_get(CNT_HANDSHAKE_FAILED), t0 = now_ms();
	int lfd = socket(AF_INET, SOCK_STREAM, 0), fd, on = 1;
	struct addr good = rig.at, at;
	struct client k;
	char byte;

	(void)state;
	setsockopt(lfd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(addr_from_ip(RIG_IP, sizeof(RIG_IP) - 1, RAW_PORT, &at), 0);
	assert_int_equal(bind(lfd, (struct sockaddr *)&at.ss, at.len), 0);
	assert_int_equal(listen(lfd, 5), 0);
	fd = raw_socket(RIG_PORT);
	rig.at = at;
	client_open(&k, &rig);
	rig.at = good;
	assert_int_equal(call_once(&k, T_ECHO, 200), -ETIMEDOUT);
	assert_in_range(now_ms() - t0, 195, 3000);
	assert_int_equal(client_end(&k), -ETIMEDOUT);
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
	assert_in_range(now_ms() - t0, RPC_HANDSHAKE_MS - 100,
			RPC_HANDSHAKE_MS + 5000);
	close(fd);
	close(lfd);
	wait_failed(failed + 2);
}

static int raw_socket_from(const char *ip)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct addr from;

	assert_int_equal(addr_from_ip(ip, strlen(ip), 0, &from), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&from.ss, from.len), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&rig.at.ss,
				 rig.at.len), 0);
	return fd;
}

/* Still to be shaken hands with? */
static int is_there(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 &&
	       errno == EAGAIN;
}

static void turned_away(struct client *k)
{
	client_open(k, &rig);
	must_wait(&k->down);
	rpc_unref(k->conn);
}

/* One member keeps others out as little: it has so many connections, not one
 * more, and another when one of those has gone.  Another member has its own. */
static void too_many_of_one_member(void **state)
{
	uint64_t away = counter_get(CNT_MEMBERS_AWAY);
	static struct client k[RPC_MEMBER_MAX], more, other;
	struct rpc_self us = rig.client;

	(void)state;
	for (int i = 0; i < RPC_MEMBER_MAX; i++) {
		client_open(&k[i], &rig);
		must_wait(&k[i].up);
	}
	for (int i = 0; i < 5; i++)
		turned_away(&more);
	assert_int_equal(counter_get(CNT_MEMBERS_AWAY), away + 5);
	rig.client.id++;
	client_open(&other, &rig);
	must_wait(&rig.up);
	rig.client = us;
	client_close(&k[0]);
	must_wait(&rig.down);
	client_open(&k[0], &rig);
	must_wait(&k[0].up);
	turned_away(&more);
	assert_int_equal(counter_get(CNT_MEMBERS_AWAY), away + 6);
	for (int i = 0; i < RPC_MEMBER_MAX; i++)
		client_close(&k[i]);
	client_close(&other);
}

/* The oldest go, of the address that has the most; a friend gets in, from
 * there too. */
static void too_many_strangers(void **state)
{
	enum { EXTRA = 20, N = RPC_STRANGERS_MAX + EXTRA };
	uint64_t failed = counter_get(CNT_HANDSHAKE_FAILED);
	uint64_t away = counter_get(CNT_STRANGERS_AWAY);
	int fds[N], other = raw_socket_from("127.0.42.7");
	char byte;
	struct raw r;

	(void)state;
	for (int i = 0; i < N; i++)
		fds[i] = raw_socket(RIG_PORT);
	for (int i = 0; i <= EXTRA; i++)
		assert_true(recv(fds[i], &byte, 1, 0) <= 0);
	wait_failed(failed + EXTRA + 1);
	assert_int_equal(counter_get(CNT_STRANGERS_AWAY), away + EXTRA + 1);
	for (int i = EXTRA + 1; i < N; i++)
		assert_true(is_there(fds[i]));
	assert_true(is_there(other));
	assert_true(raw_connect(&r, GOOD_IDENTITY));
	raw_close(&r);
	must_wait(&rig.down);
	assert_true(is_there(other));
	for (int i = 0; i < N; i++)
		close(fds[i]);
	close(other);
	for (int i = 0; i < 1000 && counter_get(CNT_HANDSHAKE_FAILED) <
				    failed + N + 1; i++)
		sleep_ms(10);
	assert_int_equal(counter_get(CNT_HANDSHAKE_FAILED), failed + N + 1);
}

/* Whoever has shown the key stays, though all that come later say nothing. */
static void who_has_the_key_is_not_sent_away(void **state)
{
	enum { N = 2 * RPC_STRANGERS_MAX };
	int fds[N], quiet[2];
	struct raw r;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0,
				    quiet), 0);
	raw_open(&r, RIG_PORT, &rig.server.key, GOOD_IDENTITY);
	SSL_set_rfd(r.ssl, quiet[0]);	/* it says no more than its first */
	assert_int_equal(SSL_connect(r.ssl), -1);
	ERR_clear_error();
	while (is_there(r.fd))		/* until the answer has come */
		sleep_ms(1);
	for (int i = 0; i < N; i++)
		fds[i] = raw_socket(RIG_PORT);
	SSL_set_rfd(r.ssl, r.fd);
	assert_int_equal(SSL_connect(r.ssl), 1);
	must_wait(&rig.up);
	raw_close(&r);
	close(quiet[0]);
	close(quiet[1]);
	for (int i = 0; i < N; i++)
		close(fds[i]);
}

/* With strangers at the door. */
static void the_listener_goes(void **state)
{
	int fds[10];
	char byte;

	(void)state;
	for (int i = 0; i < 10; i++)
		fds[i] = raw_socket(RIG_PORT);
	sleep_ms(50);
	rpc_listener_free(rig.listener);
	rig.listener = NULL;
	for (int i = 0; i < 10; i++) {
		assert_true(recv(fds[i], &byte, 1, 0) <= 0);
		close(fds[i]);
	}
}

/* ------------------------------------------------------------- bad frames */

static void ends_with(struct raw *r, int err)
{
	uint8_t byte;

	must_wait(&rig.down);
	assert_int_equal(rig.last_err, err);
	assert_int_equal(raw_get(r, &byte, 1), 0);
	raw_close(r);
	assert_int_equal(rig_deferred(&rig), 0);
}

static void frames_over_the_limits(void **state)
{
	struct raw r;

	(void)state;
	assert_true(raw_connect(&r, GOOD_IDENTITY));
	raw_frame(&r, RPC_BODY_MAX + 1, 0, 1, T_DEFER, 0);
	ends_with(&r, -EPROTO);
	assert_true(raw_connect(&r, GOOD_IDENTITY));
	raw_frame(&r, 0, RPC_BULK_MAX + 1, 1, T_DEFER, 0);
	ends_with(&r, -EPROTO);
	assert_true(raw_connect(&r, GOOD_IDENTITY));
	raw_frame(&r, UINT32_MAX, UINT32_MAX, UINT32_MAX, T_DEFER, 0);
	ends_with(&r, -EPROTO);
}

static void answers_nobody_asked_for(void **state)
{
	struct raw r;

	(void)state;
	assert_true(raw_connect(&r, GOOD_IDENTITY));
	raw_frame(&r, 0, 0, 1, T_ECHO | ANSWER, 0);
	ends_with(&r, -EPROTO);
	assert_true(raw_connect(&r, GOOD_IDENTITY));
	raw_frame(&r, 0, 0, 0, T_ECHO | ANSWER, 0);
	ends_with(&r, -EPROTO);
}

static void cut_frames(void **state)
{
	uint8_t frame[RPC_HEADER + 40 + 60] = { 0 };
	struct raw r;

	(void)state;
	raw_header(frame, 40, 60, 1, T_DEFER, 0);
	for (size_t n = 1; n < sizeof(frame); n += 3) {
		assert_true(raw_connect(&r, GOOD_IDENTITY));
		raw_put(&r, frame, n);
		if (n % 2)
			SSL_shutdown(r.ssl);	/* politely */
		shutdown(r.fd, SHUT_WR);
		ends_with(&r, -ECONNRESET);
	}
}

static void bits_that_flip(void **state)
{
	uint8_t record[5 + 40] = { 23, 3, 3, 0, 40 };
	struct raw r;

	(void)state;
	assert_true(raw_connect(&r, GOOD_IDENTITY));
	assert_int_equal(send(r.fd, record, sizeof(record), MSG_NOSIGNAL),
			 sizeof(record));
	ends_with(&r, -EPROTO);
}

/* One that asks without end and never reads is held at the door. */
static void a_flood(void **state)
{
	enum { N = RPC_INBOUND_MAX + 500 };
	uint8_t h[RPC_HEADER];
	struct raw r;

	(void)state;
	assert_true(raw_connect(&r, GOOD_IDENTITY));
	for (int i = 1; i <= N; i++)
		raw_frame(&r, 0, 0, i, T_DEFER, 0);
	for (int i = 0; i < RPC_INBOUND_MAX; i++)
		must_wait(&rig.noted);
	sleep_ms(100);
	assert_int_equal(rig_deferred(&rig), RPC_INBOUND_MAX);
	rig_release(&rig);
	for (int i = 0; i < N - RPC_INBOUND_MAX; i++)
		must_wait(&rig.noted);
	rig_release(&rig);
	for (int i = 0; i < N; i++)
		assert_int_equal(raw_get(&r, h, sizeof(h)), RPC_HEADER);
	raw_close(&r);
}

/* By bytes: the fifth 16 MiB do not come in before the first are answered. */
static void a_flood_of_bytes(void **state)
{
	enum { SIZE = 16 << 20, FIT = RPC_INBOUND_BYTES / SIZE };
	static uint8_t zeros[SIZE];
	uint8_t h[RPC_HEADER];
	struct raw r;

	(void)state;
	assert_true(raw_connect(&r, GOOD_IDENTITY));
	for (int i = 1; i < FIT; i++) {
		raw_frame(&r, 0, SIZE, i, T_DEFER, 0);
		raw_put(&r, zeros, SIZE);
		must_wait(&rig.noted);
	}
	/* This one's header makes it too much; so it waits unread. */
	raw_frame(&r, 0, SIZE, FIT, T_DEFER, 0);
	raw_put(&r, zeros, 100);
	raw_frame(&r, 0, 0, FIT + 1, T_DEFER, 0);
	sleep_ms(100);
	assert_int_equal(rig_deferred(&rig), FIT - 1);
	assert_int_equal(rig_release(&rig), FIT - 1);
	assert_int_equal(raw_get(&r, h, sizeof(h)), RPC_HEADER);
	assert_int_equal(get_u32(h + 4), SIZE);
	raw_close(&r);
	must_wait(&rig.down);
}

/* Who asks for much and reads nothing: its answers do not fill our memory. */
static void answers_that_are_not_read(void **state)
{
	enum { N = 1000, MOST = RPC_INBOUND_BYTES / RIG_LARGE + RPC_FRAME_BUDGET };
	static uint8_t got[RPC_HEADER + RIG_LARGE];
	int asked = 0;
	struct raw r;

	(void)state;
	assert_true(raw_connect(&r, GOOD_IDENTITY));
	for (int i = 1; i <= N; i++)
		raw_frame(&r, 0, 0, i, T_LARGE, 0);
	for (int quiet = 0; quiet < 20; quiet++, sleep_ms(10))
		for (; !sem_trywait(&rig.noted); asked++)
			quiet = 0;
	assert_in_range(asked, 1, MOST);
	for (int i = 0; i < N; i++)
		assert_int_equal(raw_get(&r, got, sizeof(got)), sizeof(got));
	raw_close(&r);
}

/* A frame that comes too slowly ends the connection; no other does. */
static void slow(void *arg)
{
	struct rpc *c = rig.conns[0];
	int *err = arg;

	*err = rpc_in_slow(c);
}

static int is_slow(void)
{
	int err;

	sleep_ms(50);		/* what was sent has come */
	loop_run(rpc_loop(rig.conns[0]), slow, &err);
	return err;
}

static void frames_that_are_slow(void **state)
{
	uint8_t frame[RPC_HEADER + 3 * RPC_SLOW_BYTES] = { 0 };
	struct raw r;

	(void)state;
	raw_header(frame, 3 * RPC_SLOW_BYTES, 0, 1, T_ECHO, 0);
	assert_true(raw_connect(&r, GOOD_IDENTITY));
	must_wait(&rig.up);
	assert_int_equal(is_slow(), 0);		/* silent */
	raw_put(&r, frame, 1);
	sleep_ms(50);
	raw_put(&r, frame + 1, RPC_SLOW_BYTES);
	assert_int_equal(is_slow(), 0);		/* it came on well */
	raw_put(&r, frame + 1 + RPC_SLOW_BYTES,
		sizeof(frame) - 1 - RPC_SLOW_BYTES);
	assert_int_equal(raw_get(&r, frame, sizeof(frame)), sizeof(frame));
	raw_header(frame, 3 * RPC_SLOW_BYTES, 0, 2, T_ECHO, 0);
	raw_put(&r, frame, 100);
	assert_int_equal(is_slow(), 0);		/* another, just begun */
	raw_put(&r, frame + 100, 100);
	assert_int_equal(is_slow(), -EPROTO);
	raw_close(&r);
}

/* ----------------------------------------------- a server that misbehaves */

struct raw_server {
	pthread_t thread;
	int lfd;
	uint8_t send[64];	/* after the first request came */
	size_t len;
	int served;
};

static void *raw_serve(void *arg)
{
	struct raw_server *s = arg;
	struct raw r = { 0 };
	uint8_t h[RPC_HEADER];
	int fd = accept(s->lfd, NULL, NULL);

	if (fd < 0)
		return NULL;
	raw_tls(&r, fd, &rig.server.key);
	if (SSL_accept(r.ssl) == 1 &&
	    raw_get(&r, h, sizeof(h)) == RPC_HEADER) {
		memcpy(s->send + 8, h + 8, 4);	/* the right number */
		SSL_write(r.ssl, s->send, s->len);
		s->served = 1;
		if (s->send[15] != 99)		/* 99: hang up at once */
			raw_get(&r, h, sizeof(h));
	}
	raw_close(&r);
	return NULL;
}

/* Three calls to a server that sends @s->send; how all of them end. */
static void ends_calls(struct raw_server *s, int first, int rest)
{
	struct timeval tv = { RIG_WAIT_S, 0 };
	struct addr good = rig.at;
	struct result r[3];
	struct client k;
	int on = 1;

	s->lfd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(s->lfd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(s->lfd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	assert_int_equal(addr_from_ip(RIG_IP, sizeof(RIG_IP) - 1, RAW_PORT, &rig.at), 0);
	assert_int_equal(bind(s->lfd, (struct sockaddr *)&rig.at.ss,
			      rig.at.len), 0);
	assert_int_equal(listen(s->lfd, 1), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, raw_serve, s), 0);
	client_open(&k, &rig);
	rig.at = good;
	for (int i = 0; i < 3; i++)
		call_start(&k, &r[i], T_ECHO, NULL, NULL, RIG_CALL_MS);
	for (int i = 0; i < 3; i++) {
		must_wait(&r[i].over);
		assert_int_equal(r[i].err, i ? rest : first);
		assert_int_equal(r[i].calls, 1);
		result_fini(&r[i]);
	}
	assert_int_equal(client_end(&k), rest);
	pthread_join(s->thread, NULL);
	assert_true(s->served);
	close(s->lfd);
}

static void answers_that_are_wrong(void **state)
{
	struct raw_server s = { 0 };

	(void)state;
	/* Killed in the middle of an answer. */
	raw_header(s.send, 100, 0, 0, T_ECHO | ANSWER, 99);
	s.len = 40;
	ends_calls(&s, -ECONNRESET, -ECONNRESET);
	/* Of another type than the question. */
	raw_header(s.send, 0, 0, 0, T_DEFER | ANSWER, 0);
	s.len = RPC_HEADER;
	ends_calls(&s, -EPROTO, -EPROTO);
	/* Twice: the first is good. */
	raw_header(s.send, 0, 0, 0, T_ECHO | ANSWER, ST_OK);
	s.len = RPC_HEADER;
	raw_header(s.send + RPC_HEADER, 0, 0, 0x12345678, T_ECHO | ANSWER, 0);
	s.len = 2 * RPC_HEADER;
	ends_calls(&s, 0, -EPROTO);
	/* A status that we have never heard of. */
	raw_header(s.send, 0, 0, 0, T_ECHO | ANSWER, 0xfffe);
	raw_header(s.send + RPC_HEADER, UINT32_MAX, 0, 1, T_ECHO, 0);
	ends_calls(&s, -EIO, -EPROTO);
}

#define wire_test(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		wire_test(frames_are_as_written_down),
		wire_test(a_request_right_behind_the_handshake),
		wire_test(a_key_update_is_answered),
		wire_test(identities_that_are_refused),
		wire_test(a_key_that_does_not_fit),
		wire_test(garbage),
		wire_test(silence),
		wire_test(too_many_strangers),
		wire_test(too_many_of_one_member),
		wire_test(who_has_the_key_is_not_sent_away),
		wire_test(the_listener_goes),
		wire_test(frames_over_the_limits),
		wire_test(answers_nobody_asked_for),
		wire_test(cut_frames),
		wire_test(bits_that_flip),
		wire_test(a_flood),
		wire_test(a_flood_of_bytes),
		wire_test(answers_that_are_not_read),
		wire_test(frames_that_are_slow),
		wire_test(answers_that_are_wrong),
	};

	log_open("/dev/null");		/* these refusals are wanted */
	signal(SIGPIPE, SIG_IGN);	/* for the raw ends only */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
