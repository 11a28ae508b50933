/*
 * bench_rpc -- how fast are calls and bulk over one connection?
 *
 * Both ends in this process, each on a loop of its own.  Prints small-call
 * round trips a second with 1 and 64 in flight, then MB/s of 512 KiB puts
 * and gets with 8 in flight.
 */
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "msg.h"
#include "rpc.h"

#define AT "127.0.42.1:22900"
#define RUN_MS 1500
#define CHUNK (512 << 10)
#define CALL_MS 10000

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

/* Of this process, user and system; steadier than the clock on a busy
 * machine. */
static uint64_t cpu_us(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return (r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000ull +
	       r.ru_utime.tv_usec + r.ru_stime.tv_usec;
}

static void run(struct rpc *c, const char *name, uint16_t type, int depth)
{
	struct bench b = { .conn = c, .type = type };
	struct start s = { &b, depth };
	uint64_t t0 = now_us(), cpu0 = cpu_us();
	double sec;

	b.bulk = type == T_PUT ? chunk : NULL;
	sem_init(&b.over, 0, 0);
	loop_run(rpc_loop(c), start, &s);
	sem_wait(&b.over);
	sem_destroy(&b.over);
	sec = (now_us() - t0) / 1e6;
	printf("%-22s %9.0f calls/s %7.1f us each %7.1f us CPU", name,
	       b.calls / sec, sec * 1e6 / b.calls,
	       (double)(cpu_us() - cpu0) / b.calls);
	if (type != T_ECHO)
		printf(" %8.0f MB/s", b.calls / sec * CHUNK / 1e6);
	printf("%s\n", b.failed ? "  FAILED" : "");
}

static void server_down(struct rpc *c, int err, void *arg)
{
	(void)c;
	(void)err;
	sem_post(arg);
}

static const struct rpc_ops server_ops = {
	.request = serve,
	.down = server_down,
};
static const struct rpc_ops client_ops = { .request = NULL };

int main(void)
{
	struct rpc_self server = { .role = ROLE_TRACKER, .id = 1 };
	struct rpc_self client = { .role = ROLE_PEER, .id = 2 };
	struct rpc_listener *listener;
	struct loop *a, *b;
	struct addr at;
	struct rpc *c;
	sem_t down;

	sem_init(&down, 0, 0);
	chunk = buf_new(CHUNK);
	if (!chunk || addr_parse(AT, 0, &at) || loop_new(&a, "server") ||
	    loop_new(&b, "client"))
		return 1;
	memset(chunk->data, 7, CHUNK);
	chunk->len = CHUNK;
	if (rpc_listen(&listener, &a, 1, &server, &at, &server_ops, &down) ||
	    rpc_connect(&c, b, &client, &at, NULL, ROLE_TRACKER, 0, &client_ops,
			NULL)) {
		fprintf(stderr, "bench_rpc: cannot use %s\n", AT);
		return 1;
	}
	run(c, "small, 1 in flight", T_ECHO, 1);
	run(c, "small, 64 in flight", T_ECHO, 64);
	run(c, "put 512 KiB, 1", T_PUT, 1);
	run(c, "put 512 KiB, 8", T_PUT, 8);
	run(c, "get 512 KiB, 1", T_GET, 1);
	run(c, "get 512 KiB, 8", T_GET, 8);
	rpc_close(c);
	rpc_unref(c);
	rpc_listener_free(listener);
	sem_wait(&down);
	loop_free(b);
	loop_free(a);
	buf_unref(chunk);
	return 0;
}
