/*
 * upload_put -- one copy of a chunk: to the local store, or to a peer.
 *
 * The peer answers -EBADMSG when header, trailer and its own sum differ: the
 * chunk is sent again, up to UPLOAD_TRIES times.  So it is when a connection
 * breaks that had been up (TLS ends it when a bit was flipped on the way).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "counters.h"
#include "upload_internal.h"

static void end(struct upload_copy *p, int err)
{
	struct upload_work *w = p->work;
	uint32_t num = p->num;

	upload_unwatch(p);
	free(p);
	upload_put_done(w, num, err);
}

static void write_here(struct pool_work *pw)
{
	struct upload_copy *p = container_of(pw, struct upload_copy, pool);
	const struct upload_job *j = p->work->job;
	const struct parts *parts = p->work->u->parts;
	struct chunk_meta m = {
		.chunk = j->chunk, .ino = j->ino, .slot = j->slot,
		.pos = j->pos, .len = j->len,
	};
	int err;

	memcpy(m.md5, j->md5, MD5_LEN);
	err = store_put(parts->store, &m, j->data->data, COPY_REPLICA, j->sync);
	if (!err)
		link_have(parts->link, j->chunk, COPY_REPLICA);
	if (!err && j->len > SUMS_WORTH)
		sums_add(parts->sums, j->chunk, j->data->data, j->len);
	end(p, err);
}

static void on_put(void *arg, int err, const struct rpc_answer *a);

static void send_put(struct upload_copy *p)
{
	struct upload_work *w = p->work;
	const struct upload_job *j = w->job;
	struct m_put m = {
		.chunk = j->chunk, .ino = j->ino, .slot = j->slot,
		.pos = j->pos, .len = j->len, .sync = j->sync != 0,
		.kind = COPY_REPLICA,
	};
	struct wr body = WR_INIT;

	memcpy(m.md5, j->md5, MD5_LEN);
	m_put_encode(&body, &m);	/* a failure shows in body.err */
	p->tries++;
	peers_call(w->u->parts->peers, p->num, M_put, j->more ? RPC_MORE : 0,
		   &body, w->wire, j->len, UPLOAD_PUT_MS, on_put, p);
}

/* Was it damaged on its way, rather than refused? */
static int was_damaged(int err, const struct rpc_answer *a)
{
	return a ? err == -EBADMSG : peers_broke(err, a);
}

static void on_put(void *arg, int err, const struct rpc_answer *a)
{
	struct upload_copy *p = arg;

	if (was_damaged(err, a) && p->tries < UPLOAD_TRIES &&
	    upload_watch(p)) {
		counter_add(CNT_RESENT, 1);
		send_put(p);
		return;
	}
	if (!err) {
		counter_add(CNT_CHUNKS_SENT, 1);
		counter_add(CNT_BYTES_SENT, p->len);
	}
	end(p, err);
}

void upload_put(struct upload_work *w, uint32_t num, int local)
{
	struct upload_copy *p = calloc(1, sizeof(*p));

	if (!p) {
		upload_put_done(w, num, -ENOMEM);
		return;
	}
	p->work = w;
	p->num = num;
	p->len = w->job->len;
	if (local) {
		p->pool.fn = write_here;
		pool_run(w->u->parts->pool, &p->pool);
	} else {
		(void)upload_watch(p);
		send_put(p);
	}
}
