/*
 * lie_proxy KEY PORT TO-IP:PORT PEER-ID TYPE PLACE N -- a liar between peers.
 *
 * Knows the swarm's key and so stands inside TLS: listens on PORT as the peer
 * PEER-ID, passes every request on to it and every answer back, and damages
 * the first N chunks of TYPE (put: in requests; get: in answers) in one PLACE:
 * "payload", "trailer" (the MD5 behind it) or "header" (the MD5 before it).
 * Or PLACE is "early": that many requests of TYPE are answered as by a peer that
 * has just registered and takes none yet.  N 0: all.  Connects from 127.0.0.99.  Says "ready", then "TYPE CHUNK" for
 * each lie.
 *
 * Threads: one loop, "liar", does it all; main waits for a signal.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "msg.h"
#include "rpc.h"

#define FROM_IP "127.0.0.99"
#define CALL_MS 60000

enum place { PAYLOAD, TRAILER, HEADER, EARLY, PLACES };

static const char *const place_names[PLACES] = {
	[PAYLOAD] = "payload", [TRAILER] = "trailer", [HEADER] = "header",
	[EARLY] = "early",
};

static struct {
	struct loop *loop;
	struct rpc_self self;
	struct addr to, from;
	uint16_t type;		/* M_put or M_get */
	enum place place;
	long left;		/* lies to tell; negative: no end */
} liar;

/* A connection of a client and its double to the real peer. */
struct pair {
	struct rpc *near, *far;	/* NULL: down */
};

/* A request that the real peer has not answered. */
struct passed {
	struct rpc_req *req;
};

/* ------------------------------------------------------------------- lies */

/* The same bulk with one bit wrong; the caller unrefs it. */
static struct buf *flipped(const struct buf *bulk, uint32_t len)
{
	struct buf *b = buf_dup(bulk->data, bulk->len);

	if (!b)
		abort();
	b->data[liar.place == PAYLOAD ? len / 2 : len] ^= 1;
	return b;
}

static int may_lie(uint16_t type, const struct buf *bulk)
{
	return type == liar.type && bulk && liar.left != 0 &&
	       liar.place != EARLY;
}

static void told(uint64_t chunk)
{
	if (liar.left > 0)
		liar.left--;
	printf("%s %016" PRIx64 "\n", msg_name(liar.type), chunk);
	fflush(stdout);
}

/* Damage a put on its way; *@bulk is then another. */
static void lie_put(struct wr *body, struct buf **bulk)
{
	struct arena a = ARENA_INIT;
	struct wr w = WR_INIT;
	struct m_put m;

	if (m_put_decode(&m, &a, body->p, body->len))
		abort();
	if (liar.place == HEADER)
		m.md5[0] ^= 1;
	else
		*bulk = flipped(*bulk, m.len);
	m_put_encode(&w, &m);
	wr_fini(body);
	*body = w;
	told(m.chunk);
	arena_fini(&a);
}

static void lie_get(struct wr *body, struct buf **bulk)
{
	struct arena a = ARENA_INIT;
	struct wr w = WR_INIT;
	struct m_get_r m;

	if (m_get_r_decode(&m, &a, body->p, body->len))
		abort();
	if (liar.place == HEADER)
		m.md5[0] ^= 1;
	else
		*bulk = flipped(*bulk, m.len);
	m_get_r_encode(&w, &m);
	wr_fini(body);
	*body = w;
	told(m.chunk);
	arena_fini(&a);
}

static int is_early(const struct rpc_req *req)
{
	struct arena a = ARENA_INIT;
	struct m_put m;

	if (liar.place != EARLY || req->type != M_put || !liar.left)
		return 0;
	if (m_put_decode(&m, &a, req->body->data, req->body->len))
		abort();
	told(m.chunk);
	arena_fini(&a);
	return 1;
}

/* ---------------------------------------------------------------- passing */

static void on_answer(void *arg, int err, const struct rpc_answer *a)
{
	struct passed *p = arg;
	struct buf *bulk;
	struct wr w = WR_INIT;

	if (!a) {
		rpc_fail(p->req, err, "the real peer: %s", strerror(-err));
		free(p);
		return;
	}
	wr_bytes(&w, a->body->data, a->body->len);
	bulk = a->bulk;
	if (!err && may_lie(p->req->type, bulk) && liar.type == M_get)
		lie_get(&w, &bulk);
	if (err)
		rpc_reply_status(p->req, a->status, &w);
	else
		rpc_reply(p->req, &w, bulk);
	if (bulk != a->bulk)
		buf_unref(bulk);
	free(p);
}

static void near_request(struct rpc *c, struct rpc_req *req, void *arg)
{
	struct pair *pair = arg;
	struct passed *p = calloc(1, sizeof(*p));
	struct buf *bulk = req->bulk;
	struct wr w = WR_INIT;

	(void)c;
	if (is_early(req)) {
		rpc_fail(req, -EAGAIN, "not yet");
		free(p);
		return;
	}
	if (!p || !pair || !pair->far) {
		free(p);
		rpc_req_free(req);
		return;
	}
	p->req = req;
	wr_bytes(&w, req->body->data, req->body->len);
	if (may_lie(req->type, bulk) && liar.type == M_put)
		lie_put(&w, &bulk);
	rpc_call(pair->far, req->type, req->flags, &w, bulk, CALL_MS,
		 on_answer, p);
	if (bulk != req->bulk)
		buf_unref(bulk);
}

/* ------------------------------------------------------------ connections */

static void hang_up(struct rpc **end)
{
	struct rpc *c = *end;

	*end = NULL;
	if (c) {
		rpc_close(c);
		rpc_unref(c);
	}
}

/* What goes down first takes the other along; the pair goes with the near
 * end, which stays as long as the far one may speak of it. */
static void far_down(struct rpc *c, int err, void *arg)
{
	struct pair *pair = arg;

	(void)c;
	(void)err;
	hang_up(&pair->far);
	if (pair->near)
		hang_up(&pair->near);
	else
		free(pair);
}

static void near_down(struct rpc *c, int err, void *arg)
{
	struct pair *pair = arg;

	(void)c;
	(void)err;
	if (!pair)
		return;
	if (pair->near)
		rpc_unref(pair->near);
	pair->near = NULL;
	if (pair->far)
		rpc_close(pair->far);	/* far_down() frees the pair */
	else
		free(pair);
}

static const struct rpc_ops far_ops = { .down = far_down };

static void near_up(struct rpc *c, void *arg)
{
	struct pair *pair = calloc(1, sizeof(*pair));
	struct rpc_self self = liar.self;

	(void)arg;
	rpc_set_arg(c, pair);
	self.id = rpc_peer_id(c);	/* as if the client itself called */
	if (!pair || rpc_connect(&pair->far, liar.loop, &self, &liar.to,
				 &liar.from, ROLE_PEER, liar.self.id, &far_ops,
				 pair)) {
		rpc_set_arg(c, NULL);
		free(pair);
		rpc_close(c);
		return;
	}
	pair->near = rpc_ref(c);
}

static const struct rpc_ops near_ops = {
	.up = near_up,
	.request = near_request,
	.down = near_down,
};

/* ------------------------------------------------------------------- main */

static int parse(char **argv, struct addr *at)
{
	char any[32];
	int place;

	for (place = 0; place < PLACES; place++)
		if (!strcmp(argv[6], place_names[place]))
			break;
	liar.place = (enum place)place;
	liar.type = !strcmp(argv[5], "put") ? M_put : M_get;
	liar.left = strtol(argv[7], NULL, 10);
	if (!liar.left)
		liar.left = -1;
	liar.self.role = ROLE_PEER;
	liar.self.id = strtoull(argv[4], NULL, 16);
	snprintf(any, sizeof(any), "0.0.0.0:%.5s", argv[2]);
	if (place == PLACES || addr_parse(any, 0, at) ||
	    addr_parse(argv[3], 0, &liar.to) ||
	    addr_from_ip(FROM_IP, strlen(FROM_IP), 0, &liar.from))
		return 1;
	return key_load(&liar.self.key, argv[1]) != 0;
}

int main(int argc, char **argv)
{
	struct rpc_listener *listener;
	struct addr at;

	log_init("lie_proxy", LOG_INFO);
	if (argc != 8 || parse(argv, &at)) {
		fputs("usage: lie_proxy KEY PORT TO-IP:PORT PEER-ID put|get "
		      "payload|trailer|header|early N\n", stderr);
		return 1;
	}
	if (loop_new(&liar.loop, "liar") ||
	    rpc_listen(&listener, &liar.loop, 1, &liar.self, &at, &near_ops,
		       NULL)) {
		fputs("lie_proxy: cannot listen\n", stderr);
		return 2;
	}
	puts("ready");
	fflush(stdout);
	pause();
	return 0;
}
