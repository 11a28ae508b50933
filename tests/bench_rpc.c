/*
 * bench_rpc -- TLS on loopback: handshakes, small calls, bulk.
 *
 * Both ends in this process, each on a loop of its own: two cores at most.
 * Bulk is beside the cipher itself on one core, which either end has to do.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <semaphore.h>

#include "bench.h"
#include "msg.h"
#include "rpc.h"

#define AT "127.0.42.1:22900"
#define RUN_MS 1200
#define CHUNK (512 << 10)
#define CALL_MS 10000
#define RECORD 16384		/* bytes of TLS's longest record */

enum { T_ECHO = 1, T_PUT, T_GET };

struct bench {
	struct rpc *conn;
	uint16_t type;
	struct buf *bulk;		/* of puts */
	uint64_t calls, failed, end_us;
	int in_flight;
	sem_t over;
};

static struct buf *chunk;

static void serve(struct rpc *c, struct rpc_req *req, void *arg)
{
	struct wr w = WR_INIT;

	(void)c;
	(void)arg;
	wr_u64(&w, 1);
	rpc_reply(req, &w, req->type == T_GET ? chunk : NULL);
}

static void on_done(void *arg, int err, const struct rpc_answer *a);

static void next_call(struct bench *b)
{
	struct wr w = WR_INIT;

	wr_u64(&w, b->calls);
	b->in_flight++;
	rpc_call(b->conn, b->type, 0, &w, b->bulk, CALL_MS, on_done, b);
}

static void on_done(void *arg, int err, const struct rpc_answer *a)
{
	struct bench *b = arg;

	(void)a;
	b->in_flight--;
	b->calls++;
	b->failed += err != 0;
	if (!err && now_us() < b->end_us)
		next_call(b);
	else if (!b->in_flight)
		sem_post(&b->over);
}

struct start {
	struct bench *b;
	int depth;
};

static void start(void *arg)
{
	struct start *s = arg;

	s->b->end_us = now_us() + RUN_MS * 1000;
	for (int i = 0; i < s->depth; i++)
		next_call(s->b);
}

static void run(struct rpc *c, const char *name, uint16_t type, int depth,
		double ceiling)
{
	struct bench b = { .conn = c, .type = type };
	struct start s = { &b, depth };
	double began = bench_now(), rate;

	b.bulk = type == T_PUT ? chunk : NULL;
	sem_init(&b.over, 0, 0);
	loop_run(rpc_loop(c), start, &s);
	sem_wait(&b.over);
	sem_destroy(&b.over);
	bench_must(!b.failed, name);
	rate = (double)b.calls / (bench_now() - began);
	if (type == T_ECHO)
		bench_row(name, rate, "calls/s", 0, NULL);
	else
		bench_row(name, rate * CHUNK / 1e6, "MB/s", ceiling,
			  "AES-128-GCM's");
}

/* MB/s of the cipher, sealing records as TLS does. */
static double seal_some(void *arg)
{
	static uint8_t key[16], iv[12], tag[16];
	EVP_CIPHER_CTX *x = arg;
	uint8_t out[RECORD];
	int n;

	for (int i = 0; i < 64; i++)
		bench_must(EVP_EncryptInit_ex(x, EVP_aes_128_gcm(), NULL, key,
					      iv) == 1 &&
			   EVP_EncryptUpdate(x, out, &n, chunk->data,
					     RECORD) == 1 &&
			   EVP_EncryptFinal_ex(x, out, &n) == 1 &&
			   EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_GCM_GET_TAG, 16,
					       tag) == 1, "AES-GCM");
	return 64.0 * RECORD / 1e6;
}

/* ------------------------------------------------------------- handshakes */

struct shake {
	struct loop *loop;
	const struct rpc_self *self;
	const struct addr *at;
	sem_t over;
	double end;
	unsigned n, busy;	/* loop only */
};

static void shake_next(void *arg);

static void shaken(struct rpc *c, void *arg)
{
	struct shake *s = arg;

	s->n++;
	rpc_close(c);
}

static void shake_down(struct rpc *c, int err, void *arg)
{
	struct shake *s = arg;

	bench_must(err == -ECANCELED, "handshake");
	rpc_unref(c);
	s->busy--;
	if (bench_now() < s->end)
		shake_next(s);
	else if (!s->busy)
		sem_post(&s->over);
}

static const struct rpc_ops shake_ops = { .up = shaken, .down = shake_down };

static void shake_next(void *arg)
{
	struct shake *s = arg;
	struct rpc *c;

	s->busy++;
	bench_must(!rpc_connect(&c, s->loop, s->self, s->at, NULL,
				ROLE_TRACKER, 0, &shake_ops, s), "connect");
}

static void shake_row(const char *name, struct loop *l, int depth,
		      const struct rpc_self *self, const struct addr *at)
{
	struct shake s = { .loop = l, .self = self, .at = at };
	double began = bench_now();

	s.end = began + RUN_MS / 1e3;
	sem_init(&s.over, 0, 0);
	for (int i = 0; i < depth; i++)
		loop_run(l, shake_next, &s);
	sem_wait(&s.over);
	bench_row(name, s.n / (bench_now() - began), "/s", 0, NULL);
	sem_destroy(&s.over);
}

static const struct rpc_ops server_ops = {
	.request = serve,
};
static const struct rpc_ops client_ops = { .request = NULL };

int main(void)
{
	struct rpc_self server = { .role = ROLE_TRACKER, .id = 1 };
	struct rpc_self client = { .role = ROLE_PEER, .id = 2 };
	struct rpc_listener *listener;
	struct loop *a, *b;
	struct addr at;
	EVP_CIPHER_CTX *cipher;
	double sealed;
	struct rpc *c;

	chunk = buf_new(CHUNK);
	if (!chunk || addr_parse(AT, 0, &at) || loop_new(&a, "server") ||
	    loop_new(&b, "client"))
		return 1;
	memset(chunk->data, 7, CHUNK);
	chunk->len = CHUNK;
	if (rpc_listen(&listener, &a, 1, &server, &at, &server_ops, NULL) ||
	    rpc_connect(&c, b, &client, &at, NULL, ROLE_TRACKER, 0, &client_ops,
			NULL)) {
		fprintf(stderr, "bench_rpc: cannot use %s\n", AT);
		return 1;
	}
	cipher = EVP_CIPHER_CTX_new();
	bench_must(cipher != NULL, "OpenSSL");
	sealed = bench_rate(seal_some, cipher);
	EVP_CIPHER_CTX_free(cipher);
	shake_row("tls: handshakes, one by one", b, 1, &client, &at);
	shake_row("tls: handshakes, 8 at a time", b, 8, &client, &at);
	run(c, "tls: small calls, one by one", T_ECHO, 1, 0);
	run(c, "tls: small calls, 64 in flight", T_ECHO, 64, 0);
	run(c, "tls: put 512 KiB, 8 in flight", T_PUT, 8, sealed);
	run(c, "tls: get 512 KiB, 8 in flight", T_GET, 8, sealed);
	rpc_close(c);
	rpc_unref(c);
	rpc_listener_free(listener);
	loop_free(b);
	loop_free(a);
	buf_unref(chunk);
	return 0;
}
