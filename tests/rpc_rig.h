/*
 * rpc_rig.h -- a server and clients on real loopback sockets, for the tests
 * of rpc.  Included once by a test program, which says RIG_PORT before; callbacks
 * only note what happened (an assertion on a loop's thread would not reach
 * cmocka).
 */
#ifndef RPC_RIG_H
#define RPC_RIG_H

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "counters.h"
#include "log.h"
#include "msg.h"
#include "rpc.h"

/* Not 127.0.0.1, from which the kernel connects: it may have the port. */
#define RIG_IP "127.0.42.1"
#define RIG_WAIT_S 60
#define RIG_LOOPS 2
#define RIG_CONNS_MAX 128
#define RIG_DEFER_MAX 8192
#define RIG_CALL_MS 60000
#define RIG_LARGE (1u << 20)

#define SERVER_ID 0x1111
#define CLIENT_ID 0x2222

enum rig_type {
	T_ECHO = 1,	/* body and bulk come back */
	T_DEFER,	/* kept until rig_release() */
	T_DROP,		/* rpc_req_free() */
	T_FAIL,		/* -ENOSPC "full" */
	T_HUGE,		/* tries to answer with more than RPC_BODY_MAX */
	T_BACK,		/* calls T_ECHO at the caller before it answers */
	T_NOTE,		/* one-way: counted */
	T_LARGE,	/* noted, answered with RIG_LARGE bytes */
};

struct rig {
	struct loop *loops[RIG_LOOPS], *client_loop;
	struct rpc_listener *listener;
	struct rpc_self server, client;
	struct addr at;
	sem_t up, down, noted;

	pthread_mutex_t lock;	/* guards what follows */
	struct rpc *conns[RIG_CONNS_MAX];
	int n_conns, n_down, last_err;
	struct rpc_req *deferred[RIG_DEFER_MAX];
	int n_deferred;
};

struct client {
	struct rpc *conn;
	sem_t up, down;
	int n_up, n_down, err;
};

static inline void must_wait(sem_t *s)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += RIG_WAIT_S;
	while (sem_timedwait(s, &ts) < 0)
		if (errno != EINTR)
			fail_msg("waited for %d s in vain", RIG_WAIT_S);
}

static inline void sleep_ms(int ms)
{
	usleep(ms * 1000);
}

/* A body that is the same as @n bytes of @fill. */
static inline struct wr body_of(size_t n, uint8_t fill)
{
	struct wr w = WR_INIT;

	for (size_t i = 0; i < n; i++)
		wr_u8(&w, fill + i);
	return w;
}

/* Bytes that tell a wrong, missing or doubled piece. */
static inline struct buf *bulk_of(size_t n, uint64_t seed)
{
	struct buf *b = buf_new(n);

	assert_non_null(b);
	for (size_t i = 0; i < n; i++) {
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		b->data[i] = seed >> 56;
	}
	b->len = n;
	return b;
}

static inline int same_bytes(const struct buf *a, const struct buf *b)
{
	return a && b && a->len == b->len && !memcmp(a->data, b->data, a->len);
}

/* -------------------------------------------------------------- the server */

static inline void echo(struct rpc_req *req)
{
	struct buf *bulk = req->bulk ? buf_ref(req->bulk) : NULL;
	struct wr w = WR_INIT;

	wr_bytes(&w, req->body->data, req->body->len);
	rpc_reply(req, &w, bulk);
	buf_unref(bulk);
}

static inline void large(struct rpc_req *req)
{
	struct buf *bulk = buf_new(RIG_LARGE);

	if (bulk)
		bulk->len = RIG_LARGE;
	rpc_reply(req, NULL, bulk);
	buf_unref(bulk);
}

static inline void rig_back(void *arg, int err, const struct rpc_answer *a)
{
	struct rpc_req *req = arg;
	struct wr w = WR_INIT;

	if (err) {
		rpc_fail(req, err, "calling back failed");
		return;
	}
	wr_bytes(&w, a->body->data, a->body->len);
	rpc_reply(req, &w, a->bulk);
}

static inline void rig_request(struct rpc *c, struct rpc_req *req, void *arg)
{
	struct rig *rig = arg;
	struct wr w = WR_INIT;

	switch (req->type) {
	case T_ECHO:
		echo(req);
		return;
	case T_DEFER:
		pthread_mutex_lock(&rig->lock);
		if (rig->n_deferred < RIG_DEFER_MAX)
			rig->deferred[rig->n_deferred++] = req;
		pthread_mutex_unlock(&rig->lock);
		sem_post(&rig->noted);
		return;
	case T_FAIL:
		rpc_fail(req, -ENOSPC, "%s", "full");
		return;
	case T_HUGE:
		w = body_of(RPC_BODY_MAX + 1, 0);
		rpc_reply(req, &w, NULL);
		return;
	case T_BACK:
		wr_bytes(&w, req->body->data, req->body->len);
		rpc_call(c, T_ECHO, 0, &w, req->bulk, RIG_CALL_MS, rig_back,
			 req);
		return;
	case T_NOTE:
		sem_post(&rig->noted);
		rpc_req_free(req);
		return;
	case T_LARGE:
		large(req);
		sem_post(&rig->noted);
		return;
	default:
		rpc_req_free(req);
	}
}

static inline void rig_up(struct rpc *c, void *arg)
{
	struct rig *rig = arg;

	pthread_mutex_lock(&rig->lock);
	if (rig->n_conns < RIG_CONNS_MAX)
		rig->conns[rig->n_conns++] = rpc_ref(c);
	pthread_mutex_unlock(&rig->lock);
	sem_post(&rig->up);
}

static inline void rig_down(struct rpc *c, int err, void *arg)
{
	struct rig *rig = arg;

	(void)c;
	pthread_mutex_lock(&rig->lock);
	rig->n_down++;
	rig->last_err = err;
	pthread_mutex_unlock(&rig->lock);
	sem_post(&rig->down);
}

static const struct rpc_ops rig_ops = {
	.up = rig_up,
	.request = rig_request,
	.down = rig_down,
};

static inline int rig_deferred(struct rig *rig)
{
	int n;

	pthread_mutex_lock(&rig->lock);
	n = rig->n_deferred;
	pthread_mutex_unlock(&rig->lock);
	return n;
}

/* Answer the deferred ones, from this thread, newest first. */
static inline int rig_release(struct rig *rig)
{
	static struct rpc_req *reqs[RIG_DEFER_MAX];
	int n;

	pthread_mutex_lock(&rig->lock);
	n = rig->n_deferred;
	memcpy(reqs, rig->deferred, n * sizeof(reqs[0]));
	rig->n_deferred = 0;
	pthread_mutex_unlock(&rig->lock);
	for (int i = n; i-- > 0;)
		echo(reqs[i]);
	return n;
}

static inline void rig_open(struct rig *rig, uint16_t port)
{
	memset(rig, 0, sizeof(*rig));
	pthread_mutex_init(&rig->lock, NULL);
	sem_init(&rig->up, 0, 0);
	sem_init(&rig->down, 0, 0);
	sem_init(&rig->noted, 0, 0);
	memset(rig->server.key.secret, 7, KEY_LEN);
	rig->server.role = ROLE_TRACKER;
	rig->server.id = SERVER_ID;
	rig->client = rig->server;
	rig->client.role = ROLE_PEER;
	rig->client.id = CLIENT_ID;
	for (int i = 0; i < RIG_LOOPS; i++)
		assert_int_equal(loop_new(&rig->loops[i], "server"), 0);
	assert_int_equal(loop_new(&rig->client_loop, "client"), 0);
	assert_int_equal(addr_from_ip(RIG_IP, sizeof(RIG_IP) - 1, port, &rig->at), 0);
	assert_int_equal(rpc_listen(&rig->listener, rig->loops, RIG_LOOPS,
				    &rig->server, &rig->at, &rig_ops, rig), 0);
}

static inline void rig_close(struct rig *rig)
{
	rpc_listener_free(rig->listener);
	while (rig_release(rig))
		;
	for (int i = 0; i < rig->n_conns; i++)
		rpc_close(rig->conns[i]);
	for (int i = 0; i < RIG_LOOPS; i++)
		loop_free(rig->loops[i]);
	loop_free(rig->client_loop);
	assert_int_equal(rig->n_down, rig->n_conns);
	/* What came after the release was answered to nobody. */
	rig_release(rig);
	for (int i = 0; i < rig->n_conns; i++)
		rpc_unref(rig->conns[i]);
	pthread_mutex_destroy(&rig->lock);
}

/* ------------------------------------------------------------- the clients */

static inline void client_up(struct rpc *c, void *arg)
{
	struct client *k = arg;

	(void)c;
	k->n_up++;
	sem_post(&k->up);
}

static inline void client_down(struct rpc *c, int err, void *arg)
{
	struct client *k = arg;

	(void)c;
	k->n_down++;
	k->err = err;
	sem_post(&k->down);
}

static inline void client_request(struct rpc *c, struct rpc_req *req, void *arg)
{
	(void)c;
	(void)arg;
	echo(req);
}

static const struct rpc_ops client_ops = {
	.up = client_up,
	.request = client_request,
	.down = client_down,
};

static inline void client_open_as(struct client *k, struct rig *rig,
				  const struct rpc_self *self, uint8_t role,
				  uint64_t id)
{
	memset(k, 0, sizeof(*k));
	sem_init(&k->up, 0, 0);
	sem_init(&k->down, 0, 0);
	assert_int_equal(rpc_connect(&k->conn, rig->client_loop, self, &rig->at,
				     NULL, role, id, &client_ops, k), 0);
}

static inline void client_open(struct client *k, struct rig *rig)
{
	client_open_as(k, rig, &rig->client, ROLE_TRACKER, 0);
}

/* Waits for the end, whoever brought it about; returns the cause. */
static inline int client_end(struct client *k)
{
	must_wait(&k->down);
	assert_int_equal(k->n_down, 1);
	rpc_unref(k->conn);
	return k->err;
}

static inline void client_close(struct client *k)
{
	rpc_close(k->conn);
	assert_int_equal(client_end(k), -ECANCELED);
}

/* One call and what became of it. */
struct result {
	sem_t over;
	int calls, err;
	uint16_t status;
	struct buf *body, *bulk;
};

static inline void on_result(void *arg, int err, const struct rpc_answer *a)
{
	struct result *r = arg;

	r->calls++;
	r->err = err;
	if (a) {
		r->status = a->status;
		r->body = buf_ref(a->body);
		r->bulk = a->bulk ? buf_ref(a->bulk) : NULL;
	}
	sem_post(&r->over);
}

static inline void result_init(struct result *r)
{
	memset(r, 0, sizeof(*r));
	sem_init(&r->over, 0, 0);
}

static inline void result_fini(struct result *r)
{
	buf_unref(r->body);
	buf_unref(r->bulk);
	sem_destroy(&r->over);
}

static inline void call_start(struct client *k, struct result *r, uint16_t type,
			      struct wr *body, struct buf *bulk, uint32_t ms)
{
	result_init(r);
	rpc_call(k->conn, type, 0, body, bulk, ms, on_result, r);
}

/* Call and wait; the error.  The answer's bytes are dropped. */
static inline int call_once(struct client *k, uint16_t type, uint32_t ms)
{
	struct result r;
	int err;

	call_start(k, &r, type, NULL, NULL, ms);
	must_wait(&r.over);
	err = r.err;
	result_fini(&r);
	return err;
}

/* ------------------------------------------------ the rig of a test program */

static struct rig rig;

static inline int rig_setup(void **state)
{
	(void)state;
	rig_open(&rig, RIG_PORT);
	return 0;
}

static inline int rig_teardown(void **state)
{
	(void)state;
	rig_close(&rig);
	return 0;
}

#endif
