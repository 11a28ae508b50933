/*
 * relayd_io -- what the relay wants done: look up, seek, check, deliver.
 *
 * Look-ups and seeks are gathered and leave together at the end of a turn of
 * the loop (relayd_flush).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "counters.h"
#include "relayd_internal.h"

/* ------------------------------------------------------------- look-ups */

static void on_resolved(struct loop_work *w)
{
	struct resolve *q = container_of(w, struct resolve, work);
	struct relayd *rd = q->rd;
	uint64_t now = now_ms();

	for (uint32_t i = 0; i < q->n; i++) {
		const struct core_where *v = &q->v[i];

		relay_resolved(rd->relay, v->chunk, v->len, v->md5,
			       v->holders, v->n_holders, now);
	}
	relayd_flush_soon(rd);
	free(q);
	gate_leave(&rd->gate);
}

static void run_resolve(struct meta_job *j, struct core *c)
{
	struct resolve *q = container_of(j, struct resolve, job);

	for (uint32_t i = 0; i < q->n; i++)
		core_where(c, &q->v[i]);
	loop_post(q->rd->loop, &q->work);
}

static void flush_resolve(struct relayd *rd)
{
	struct resolve *q = rd->resolve;

	rd->resolve = NULL;
	if (!q)
		return;
	gate_enter_more(&rd->gate);
	meta_post(rd->meta, &q->job);
}

static int io_resolve(void *arg, uint64_t chunk)
{
	struct relayd *rd = arg;
	struct resolve *q = rd->resolve;

	if (!q) {
		q = calloc(1, sizeof(*q));
		if (!q)
			return -ENOMEM;
		q->rd = rd;
		q->job.run = run_resolve;
		q->work.fn = on_resolved;
		rd->resolve = q;
	}
	q->v[q->n++].chunk = chunk;
	if (q->n == RELAYD_RESOLVE_MAX)
		flush_resolve(rd);
	return 0;
}

/* ---------------------------------------------------------------- seeks */

struct asked {
	struct relayd *rd;
	uint64_t peer;
};

static void on_seek_r(void *arg, int err, const struct rpc_answer *a)
{
	struct asked *k = arg;
	struct relayd *rd = k->rd;

	if (!err)
		relayd_seek_r(rd, k->peer, a->body->data, a->body->len);
	if (a)
		relayd_flush_soon(rd);
	free(k);
	gate_leave(&rd->gate);
}

static void seek_by_tcp(struct relayd *rd, struct member *m, struct wr *w)
{
	struct asked *k = m->rpc ? malloc(sizeof(*k)) : NULL;

	if (!k)
		return;
	*k = (struct asked){ rd, m->peer };
	gate_enter_more(&rd->gate);
	rpc_call(m->rpc, M_seek, 0, w, NULL, RELAYD_SEEK_MS, on_seek_r, k);
}

static void send_seek(struct relayd *rd, struct member *m)
{
	struct seek_batch *b = &m->batch;
	struct m_seek s = { .try = b->try, .directed = b->directed != 0,
			    .ids = b->ids, .n_ids = b->n };
	struct dgram_sock *d = relayd_dgram(rd);
	struct wr w = WR_INIT;
	int err = m_seek_encode(&w, &s);

	b->n = 0;
	LIST_REMOVE(m, due);
	if (!err && (b->by_tcp || !m->session || !d ||
		     dgram_send(d, m->session, M_seek, w.p, w.len)))
		seek_by_tcp(rd, m, &w);
	wr_fini(&w);
}

static void io_seek(void *arg, uint64_t peer, const struct relay_seek *s)
{
	struct relayd *rd = arg;
	struct member *m = relayd_member(rd, peer);
	struct seek_batch *b;

	if (!m)
		return;
	b = &m->batch;
	if (b->n && (b->n == MSG_WANT_MAX || b->try != s->try ||
		     b->directed != s->directed || b->by_tcp != s->by_tcp))
		send_seek(rd, m);
	b->try = s->try;
	b->directed = s->directed;
	b->by_tcp = s->by_tcp;
	if (!b->n)
		LIST_INSERT_HEAD(&rd->due, m, due);
	b->ids[b->n++] = s->chunk;
}

void relayd_flush(struct relayd *rd)
{
	struct member *m;

	flush_resolve(rd);
	while ((m = LIST_FIRST(&rd->due)))
		send_seek(rd, m);
}

/* ------------------------------------------------------------- checking */

struct check {
	struct hash_job hash;
	struct loop_work work;
	struct relayd *rd;
	uint64_t chunk;
	uint8_t md5[MD5_LEN];
	struct buf *buf;
};

static void on_checked(struct loop_work *w)
{
	struct check *k = container_of(w, struct check, work);
	struct relayd *rd = k->rd;
	int good = !memcmp(k->hash.job.md5, k->md5, MD5_LEN);

	counter_add(CNT_MD5_CHECKED, 1);
	relay_checked(rd->relay, k->chunk, good, now_ms());
	relayd_flush_soon(rd);
	buf_unref(k->buf);
	free(k);
	gate_leave(&rd->gate);
}

static void on_hashed(struct hash_job *j)
{
	struct check *k = container_of(j, struct check, hash);

	loop_post(k->rd->loop, &k->work);
}

static int io_check(void *arg, const struct lru_entry *e)
{
	struct relayd *rd = arg;
	struct check *k = calloc(1, sizeof(*k));

	if (!k)
		return -ENOMEM;
	gate_enter_more(&rd->gate);
	k->rd = rd;
	k->chunk = e->id;
	memcpy(k->md5, e->md5, MD5_LEN);
	k->buf = buf_ref(e->buf);
	k->work.fn = on_checked;
	k->hash.job.data = e->buf->data;
	k->hash.job.len = e->len;
	k->hash.urgent = 1;
	k->hash.done = on_hashed;
	hasher_submit(rd->hasher, &k->hash);
	return 0;
}

/* ----------------------------------------------------------- delivering */

struct delivery {
	struct loop_work work;
	struct relayd *rd;
	uint64_t peer, chunk;
};

static void delivered(struct loop_work *w)
{
	struct delivery *d = container_of(w, struct delivery, work);
	struct relayd *rd = d->rd;

	relay_delivered(rd->relay, d->peer, d->chunk, now_ms());
	relayd_flush_soon(rd);
	free(d);
	gate_leave(&rd->gate);
}

/* Posted, so that the relay is never called from inside itself. */
static void on_deliver_r(void *arg, int err, const struct rpc_answer *a)
{
	struct delivery *d = arg;
	struct member *m = relayd_member(d->rd, d->peer);

	/* It holds our bytes, perhaps half sent: it has had its chance. */
	if (!a && err == -ETIMEDOUT && m && m->rpc)
		rpc_close(m->rpc);
	loop_post(d->rd->loop, &d->work);
}

static int io_deliver(void *arg, uint64_t peer, const struct lru_entry *e)
{
	struct relayd *rd = arg;
	struct member *m = relayd_member(rd, peer);
	struct delivery *d = calloc(1, sizeof(*d));
	struct m_deliver msg = { .chunk = e->id, .ino = e->ino,
				 .slot = e->slot, .pos = e->pos,
				 .len = e->len };
	struct wr w = WR_INIT;

	if (!d)
		return -ENOMEM;
	gate_enter_more(&rd->gate);
	*d = (struct delivery){ { .fn = delivered }, rd, peer, e->id };
	memcpy(msg.md5, e->md5, MD5_LEN);
	m_deliver_encode(&w, &msg);	/* a failure shows in w.err */
	if (m && m->rpc) {
		rpc_call(m->rpc, M_deliver, 0, &w, e->buf, RELAYD_DELIVER_MS,
			 on_deliver_r, d);
		return 0;
	}
	wr_fini(&w);
	loop_post(rd->loop, &d->work);
	return 0;
}

static void io_nowhere(void *arg, uint64_t peer, uint64_t chunk)
{
	struct member *m = relayd_member(arg, peer);
	struct m_nowhere msg = { .ids = &chunk, .n_ids = 1 };
	struct wr w = WR_INIT;

	if (m && m->rpc && !m_nowhere_encode(&w, &msg))
		rpc_send(m->rpc, M_nowhere, &w);
	wr_fini(&w);
}

const struct relay_io relayd_io = {
	.resolve = io_resolve,
	.seek = io_seek,
	.check = io_check,
	.deliver = io_deliver,
	.nowhere = io_nowhere,
};
