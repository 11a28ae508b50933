/*
 * Relay connections and datagrams are relayd's; what is no relay's datagram
 * (heartbeats) comes here.
 *
 * A request's way: on_request -> job -> run_request -> core_request ...
 * core_io.answer -> rpc_reply.  The other way round: server_ask.c.  Jobs,
 * since the core works in batches; all on the metadata thread.
 *
 * A link is made in on_up and ends with the job of its on_down, the last of
 * its jobs.
 */
#include "server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "log.h"
#include "msg.h"
#include "server_internal.h"
#include "status.h"

/* A request that the core has and has not answered. */
struct pending {
	uint32_t number;
	struct rpc_req *req;
	UT_hash_handle hh;
};

struct link *server_link(const struct server *s, uint64_t no)
{
	struct link *k;

	HASH_FIND(hh, s->links, &no, sizeof(no), k);
	return k;
}

/* ---------------------------------------------------- coming and going */

static void run_up(struct meta_job *j, struct core *c)
{
	struct link *k = container_of(j, struct link, up);
	struct server *s = k->server;
	char ip[ADDR_TEXT_MAX];

	s->core = c;
	HASH_ADD(hh, s->links, no, sizeof(k->no), k);
	if (!TABLE_ADDED(k) || s->closing) {
		rpc_close(k->rpc);	/* run_down() follows */
		return;
	}
	core_up(c, k->no, rpc_peer_role(k->rpc), rpc_peer_id(k->rpc),
		addr_ip(rpc_peer_addr(k->rpc), ip));
}

static void leave(struct server *s, struct link *k)
{
	struct dgram_sock *dgram = relayd_dgram(s->relayd);
	struct link *other, *next;

	if (!k->joined || !dgram)
		return;
	/* a newer connection of the session has joined it anew */
	HASH_ITER (hh, s->links, other, next)
		if (other != k && other->joined == k->joined)
			return;
	dgram_leave(dgram, k->joined);
	relayd_session(s->relayd, rpc_peer_id(k->rpc), 0);
	k->joined = 0;
}

static void run_down(struct meta_job *j, struct core *c)
{
	struct link *k = container_of(j, struct link, down);
	struct server *s = k->server;
	struct pending *p, *next;

	core_down(c, k->no);
	leave(s, k);
	if (TABLE_ADDED(k))
		HASH_DELETE(hh, s->links, k);
	HASH_ITER (hh, k->pending, p, next) {
		HASH_DELETE(hh, k->pending, p);
		rpc_req_free(p->req);
		free(p);
	}
	rpc_unref(k->rpc);
	explicit_bzero(k->secret, sizeof(k->secret));
	free(k);
	pthread_mutex_lock(&s->lock);
	if (!--s->n_links)
		pthread_cond_signal(&s->quiet);
	pthread_mutex_unlock(&s->lock);
}

static void on_up(struct rpc *rpc, void *arg)
{
	struct server *s = arg;
	struct link *k;

	if (rpc_own_role(rpc) == ROLE_RELAY) {
		relayd_take(s->relayd, rpc);
		return;
	}
	k = calloc(1, sizeof(*k));
	if (!k || rpc_export(rpc, DGRAM_LABEL, k->secret, sizeof(k->secret))) {
		log_warn("turned a connection away: no memory");
		free(k);
		rpc_set_arg(rpc, NULL);
		rpc_close(rpc);
		return;
	}
	k->server = s;
	k->no = __atomic_add_fetch(&s->last, 1, __ATOMIC_RELAXED);
	k->rpc = rpc_ref(rpc);
	k->up.run = run_up;
	k->down.run = run_down;
	rpc_set_arg(rpc, k);
	pthread_mutex_lock(&s->lock);
	s->n_links++;
	pthread_mutex_unlock(&s->lock);
	meta_post(s->meta, &k->up);
}

static void on_down(struct rpc *rpc, int err, void *arg)
{
	struct link *k = arg;

	(void)rpc;
	(void)err;
	if (k)
		meta_post(k->server->meta, &k->down);
}

/* ---------------------------------------------------------------- requests */

struct request {
	struct meta_job job;
	struct server *server;
	uint64_t link;
	struct rpc_req *req;
};

/* Remember @req until the core answers it. */
static int expect(struct link *k, struct rpc_req *req)
{
	struct pending *p;

	HASH_FIND(hh, k->pending, &req->number, sizeof(req->number), p);
	if (p)
		return -EBADMSG;	/* the number is in use */
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->number = req->number;
	p->req = req;
	HASH_ADD(hh, k->pending, number, sizeof(p->number), p);
	if (TABLE_ADDED(p))
		return 0;
	free(p);
	return -ENOMEM;
}

static void run_request(struct meta_job *j, struct core *c)
{
	struct request *r = container_of(j, struct request, job);
	struct link *k = server_link(r->server, r->link);
	struct rpc_req *req = r->req;
	struct buf *body = req->body ? buf_ref(req->body) : NULL;
	int err = k ? 0 : -ENOTCONN;

	if (!err && req->number)
		err = expect(k, req);
	if (!err)
		core_request(c, r->link, req->number, req->type,
			     body ? body->data : NULL, body ? body->len : 0);
	else if (req->number)
		rpc_fail(req, err, "request dropped");
	if (!req->number)
		rpc_req_free(req);
	buf_unref(body);
	free(r);
}

static void on_request(struct rpc *rpc, struct rpc_req *req, void *arg)
{
	struct link *k = arg;
	struct request *r = k ? calloc(1, sizeof(*r)) : NULL;

	(void)rpc;
	if (!r) {
		rpc_req_free(req);
		return;
	}
	r->job.run = run_request;
	r->server = k->server;
	r->link = k->no;
	r->req = req;
	meta_post(k->server->meta, &r->job);
}

/* The session's datagrams: before its client can know that it may send. */
static void join(struct server *s, struct link *k)
{
	struct dgram_sock *dgram = relayd_dgram(s->relayd);
	uint64_t session = core_session(s->core, k->no);

	if (!session || !dgram)
		return;
	if (k->joined != session)
		leave(s, k);
	if (dgram_join(dgram, session, k->secret, 1, NULL)) {
		log_warn("no memory for datagrams: heartbeats go by TCP");
		return;
	}
	k->joined = session;
	relayd_session(s->relayd, rpc_peer_id(k->rpc), session);
}

static void answer(void *arg, uint64_t conn, uint32_t number,
		   uint16_t type, uint16_t status, struct wr *body)
{
	struct server *s = arg;
	struct link *k = server_link(s, conn);
	struct pending *p = NULL;

	if (k)
		HASH_FIND(hh, k->pending, &number, sizeof(number), p);
	if (!p) {
		wr_fini(body);
		return;
	}
	if (type == M_hello_r && status == ST_OK)
		join(s, k);
	HASH_DELETE(hh, k->pending, p);
	rpc_reply_status(p->req, status, body);
	free(p);
}

struct core_io server_io(struct server *s)
{
	return (struct core_io){
		.answer = answer, .send = server_send,
		.close = server_close_link, .probe = server_probe,
		.cache = server_cache, .arg = s,
	};
}

/* --------------------------------------------------------------- datagrams */

struct beat {
	struct meta_job job;
	struct server *server;
	uint64_t session;
	size_t len;
	uint8_t body[];
};

static void run_beat(struct meta_job *j, struct core *c)
{
	struct beat *b = container_of(j, struct beat, job);
	struct dgram_sock *dgram = relayd_dgram(b->server->relayd);
	struct wr w = WR_INIT;

	/* never longer than what was asked: nobody is flooded through us */
	if (dgram && !core_heartbeat(c, b->session, b->body, b->len, &w) &&
	    w.len <= b->len)
		dgram_send(dgram, b->session, M_heartbeat_r, w.p, w.len);
	wr_fini(&w);
	free(b);
}

static void on_dgram(const struct dgram *d, void *arg)
{
	struct server *s = arg;
	struct beat *b;

	if (d->type != M_heartbeat)
		return;
	b = malloc(sizeof(*b) + d->len);
	if (!b)
		return;
	b->job.run = run_beat;
	b->server = s;
	b->session = d->session;
	b->len = d->len;
	memcpy(b->body, d->body, d->len);
	meta_post(s->meta, &b->job);
}

/* --------------------------------------------------------- opening, closing */

static const struct rpc_ops ops = {
	.up = on_up,
	.request = on_request,
	.down = on_down,
};

int server_new(struct server **out, const struct relay_config *relay)
{
	struct server *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	err = relayd_new(&s->relayd, relay);
	if (err) {
		free(s);
		return err;
	}
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->quiet, NULL);
	*out = s;
	return 0;
}

int server_open(struct server *s, struct meta *m, const struct key *key,
		uint64_t id, const struct addr *at, uint32_t lease_ms)
{
	const struct rpc_self self = { .key = *key, .role = ROLE_TRACKER,
				       .also = ROLE_RELAY, .id = id };
	struct loop *loop = meta_loop(m);
	int err;

	s->meta = m;
	s->lease_ms = lease_ms;
	err = relayd_open(s->relayd, m, &self, at, on_dgram, s);
	if (!err)
		err = rpc_listen(&s->listener, &loop, 1, &self, at, &ops, s);
	return err;
}

struct closing {
	struct meta_job job;
	struct server *server;
};

static void run_close(struct meta_job *j, struct core *c)
{
	struct closing *cl = container_of(j, struct closing, job);
	struct server *s = cl->server;
	struct link *k, *next;

	(void)c;
	s->closing = 1;
	HASH_ITER (hh, s->links, k, next)
		rpc_close(k->rpc);
	/* on_down() of each comes back as a job */
	pthread_mutex_lock(&s->lock);
	s->n_links--;
	pthread_cond_signal(&s->quiet);
	pthread_mutex_unlock(&s->lock);
}

void server_close(struct server *s)
{
	struct closing cl = { .job.run = run_close, .server = s };

	if (!s->meta)
		return;
	rpc_listener_free(s->listener);
	s->listener = NULL;
	pthread_mutex_lock(&s->lock);
	s->n_links++;		/* the closing itself */
	pthread_mutex_unlock(&s->lock);
	meta_post(s->meta, &cl.job);
	pthread_mutex_lock(&s->lock);
	while (s->n_links)
		pthread_cond_wait(&s->quiet, &s->lock);
	pthread_mutex_unlock(&s->lock);
	relayd_close(s->relayd);
}

void server_free(struct server *s)
{
	if (!s)
		return;
	relayd_free(s->relayd);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->quiet);
	free(s);
}
