/*
 * chunkd -- connections, and what comes in on them.
 *
 * A request becomes an op, which goes to its handler, is answered there from
 * whatever thread, and comes back to the connection's loop to be counted out.
 */
#include "chunkd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "chunkd_internal.h"
#include "container.h"
#include "counters.h"
#include "log.h"

/* ---------------------------------------------------------- connections */

static void conn_put(struct chunkd_conn *k)
{
	struct chunkd *cd = k->cd;

	if (--k->refs)
		return;
	rpc_unref(k->rpc);
	free(k);
	gate_leave(&cd->gate);
}

static void on_up(struct rpc *c, void *arg)
{
	struct chunkd *cd = arg;
	struct chunkd_conn *k;

	if (gate_enter(&cd->gate)) {
		rpc_set_arg(c, NULL);
		rpc_close(c);
		return;
	}
	k = calloc(1, sizeof(*k));
	rpc_set_arg(c, k);
	if (!k) {
		rpc_close(c);
		gate_leave(&cd->gate);
		return;
	}
	k->cd = cd;
	k->rpc = rpc_ref(c);
	k->refs = 1;
	TAILQ_INIT(&k->waiting);
	LIST_INIT(&k->coming);
	pthread_mutex_lock(&cd->lock);
	LIST_INSERT_HEAD(&cd->conns, k, all);
	pthread_mutex_unlock(&cd->lock);
}

static void op_free(struct chunkd_op *op)
{
	buf_unref(op->came);
	free(op->ids);
	free(op);
}

static void on_down(struct rpc *c, int err, void *arg)
{
	struct chunkd_conn *k = arg;
	struct chunkd_op *op;

	(void)c;
	(void)err;
	if (!k)
		return;
	pthread_mutex_lock(&k->cd->lock);
	LIST_REMOVE(k, all);
	pthread_mutex_unlock(&k->cd->lock);
	while ((op = chunkd_turn_drop(k)))
		chunkd_op_drop(op);
	chunkd_get_down(k);
	conn_put(k);
}

/* ------------------------------------------------------------- requests */

static void on_ended(struct loop_work *w)
{
	struct chunkd_op *op = container_of(w, struct chunkd_op, work);
	struct chunkd_conn *k = op->conn;

	op_free(op);
	conn_put(k);
}

void chunkd_op_end(struct chunkd_op *op)
{
	op->work.fn = on_ended;
	loop_post(rpc_loop(op->conn->rpc), &op->work);
}

void chunkd_op_fail(struct chunkd_op *op, int err)
{
	rpc_fail(op->req, err, "chunk %016" PRIx64 ": %s", op->meta.chunk,
		 strerror(-err));
	chunkd_op_end(op);
}

void chunkd_op_drop(struct chunkd_op *op)
{
	struct chunkd_conn *k = op->conn;

	rpc_req_free(op->req);
	op_free(op);
	conn_put(k);
}

static void take_get(struct chunkd_conn *k, struct chunkd_op *op)
{
	if (!k->num)
		k->num = peers_number(k->cd->parts->peers,
				      rpc_peer_id(k->rpc));
	op->num = k->num;
	k->refs++;
	chunkd_turn_take(op);
}

/* Decoding: 0, or why the body is no good. */

static int decode_get(struct chunkd_op *op, struct arena *a)
{
	const struct buf *b = op->req->body;
	struct m_get m;
	int err = m_get_decode(&m, a, b->data, b->len);

	if (err)
		return err;
	op->meta.chunk = m.chunk;
	for (uint32_t i = 0; i < m.n_asked && i < CHUNKD_ASKED_MAX; i++)
		op->asked[op->n_asked++] = m.asked[i];
	return 0;
}

static int decode_put(struct chunkd_op *op, struct arena *a)
{
	const struct buf *b = op->req->body;
	struct m_put m;
	int err = m_put_decode(&m, a, b->data, b->len);

	if (err)
		return err;
	if (m.kind != COPY_REPLICA && m.kind != COPY_CACHED)
		return -EINVAL;
	op->meta = (struct chunk_meta){
		.chunk = m.chunk, .ino = m.ino, .slot = m.slot, .pos = m.pos,
		.len = m.len,
	};
	memcpy(op->meta.md5, m.md5, MD5_LEN);
	op->sync = m.sync;
	op->kind = (enum copy_kind)m.kind;
	return 0;
}

static int take_ids(struct chunkd_op *op, const uint64_t *ids, uint32_t n)
{
	if (!n)
		return 0;
	op->ids = malloc(n * sizeof(*op->ids));
	if (!op->ids)
		return -ENOMEM;
	memcpy(op->ids, ids, n * sizeof(*op->ids));
	op->n_ids = n;
	return 0;
}

static int decode_sync(struct chunkd_op *op, struct arena *a)
{
	const struct buf *b = op->req->body;
	struct m_sync m;
	int err = m_sync_decode(&m, a, b->data, b->len);

	return err ? err : take_ids(op, m.chunks, m.n_chunks);
}

static int decode_verify(struct chunkd_op *op, struct arena *a)
{
	const struct buf *b = op->req->body;
	struct m_verify m;
	int err = m_verify_decode(&m, a, b->data, b->len);

	return err ? err : take_ids(op, m.chunks, m.n_chunks);
}

static int decode(struct chunkd_op *op, struct arena *a)
{
	switch (op->req->type) {
	case M_get:
		return decode_get(op, a);
	case M_put:
		return decode_put(op, a);
	case M_sync:
		return decode_sync(op, a);
	case M_verify:
		return decode_verify(op, a);
	default:
		return -EOPNOTSUPP;
	}
}

static void note_bad(const struct rpc *c, const struct rpc_req *q)
{
	char from[ADDR_TEXT_MAX];

	counter_add(CNT_REQUESTS_BAD, 1);
	log_rarely(LOG_WARN, "refused a request of %s: type %#x is not known, "
		   "or not in that form: is the same version installed there?",
		   addr_ip(rpc_peer_addr(c), from), q->type);
}

static void on_request(struct rpc *c, struct rpc_req *q, void *arg)
{
	struct chunkd_conn *k = arg;
	struct chunkd_op *op = NULL;
	struct arena mem = ARENA_INIT;
	int err = -ENOMEM;

	if (!k || !__atomic_load_n(&k->cd->started, __ATOMIC_ACQUIRE))
		err = -EAGAIN;
	else
		op = calloc(1, sizeof(*op));
	if (op) {
		op->conn = k;
		op->req = q;
		err = decode(op, &mem);
	}
	arena_fini(&mem);
	if (err) {
		if (op && err != -ENOMEM)
			note_bad(c, q);
		if (op)
			op_free(op);
		rpc_fail(q, err, "this request cannot be served here");
		return;
	}
	if (q->type == M_get) {
		take_get(k, op);
		return;
	}
	k->refs++;
	if (q->type == M_put)
		chunkd_put(op);
	else if (q->type == M_verify)
		chunkd_verify(op);
	else
		chunkd_sync(op);
}

/* One a process: so is the memory. */
static struct rpc_budget budget = { .most = CHUNKD_BYTES_MAX };

static const struct rpc_ops rpc_ops = {
	.budget = &budget,
	.up = on_up,
	.request = on_request,
	.down = on_down,
};

/* ---------------------------------------------------------- open, close */

/* A reader that stalls may keep others up until somebody looks. */
static void on_tick(void *arg)
{
	chunkd_turns(arg);
	chunkd_turn_tell(arg);
}

static void tick_start(void *arg)
{
	struct chunkd *cd = arg;

	/* Without it they wait until another get comes. */
	(void)loop_every(cd->parts->bulk[0], &cd->tick, CHUNKD_WAIT_MS,
			 on_tick, cd);
}

static void tick_stop(void *arg)
{
	struct chunkd *cd = arg;

	if (cd->tick)
		loop_timer_free(cd->tick);
	cd->tick = NULL;
}

int chunkd_open(struct chunkd **out, const struct parts *p,
		const struct rpc_self *self, const struct addr *at)
{
	struct loop *loops[PARTS_BULK_LOOPS];
	struct chunkd *cd = calloc(1, sizeof(*cd));
	int err;

	if (!cd)
		return -ENOMEM;
	for (int i = 0; i < PARTS_BULK_LOOPS; i++)
		loops[i] = p->bulk[i];
	cd->parts = p;
	gate_init(&cd->gate);
	served_init(&cd->served);
	pthread_mutex_init(&cd->lock, NULL);
	LIST_INIT(&cd->conns);
	TAILQ_INIT(&cd->ring);
	TAILQ_INIT(&cd->verifies);
	err = rpc_listen(&cd->listener, loops, PARTS_BULK_LOOPS, self, at,
			 &rpc_ops, cd);
	if (err) {
		gate_fini(&cd->gate);
		served_fini(&cd->served);
		pthread_mutex_destroy(&cd->lock);
		free(cd);
		return err;
	}
	loop_run(p->bulk[0], tick_start, cd);
	*out = cd;
	return 0;
}

uint16_t chunkd_port(const struct chunkd *cd)
{
	struct addr at;

	return rpc_listener_addr(cd->listener, &at) ? 0 : addr_port(&at);
}

void chunkd_start(struct chunkd *cd)
{
	__atomic_store_n(&cd->started, 1, __ATOMIC_RELEASE);
}

void chunkd_close(struct chunkd *cd)
{
	struct chunkd_conn *k;

	if (!cd)
		return;
	gate_shut(&cd->gate);
	rpc_listener_free(cd->listener);
	pthread_mutex_lock(&cd->lock);
	LIST_FOREACH (k, &cd->conns, all)
		rpc_close(k->rpc);
	pthread_mutex_unlock(&cd->lock);
	gate_wait(&cd->gate);
	loop_run(cd->parts->bulk[0], tick_stop, cd);
	gate_fini(&cd->gate);
	served_fini(&cd->served);
	pthread_mutex_destroy(&cd->lock);
	free(cd);
}
