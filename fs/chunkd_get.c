/*
 * chunkd_get -- a chunk for another peer.
 *
 * Happy path: it is in the memory cache, verified, with its MD5 behind it:
 * the answer goes from there.  Else pool (read) -> hasher -> the cache and
 * the answer.  A corrupt copy: pool (quarantine) -> the answer says so.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "chunkd_internal.h"
#include "container.h"
#include "counters.h"
#include "log.h"

static void answer(struct chunkd_op *op)
{
	struct chunk_meta *m = &op->meta;
	struct buf *wire = buf_view(op->buf, 0, op->buf->len + MD5_LEN);
	struct m_get_r r = {
		.chunk = m->chunk, .ino = m->ino, .slot = m->slot,
		.pos = m->pos, .len = (uint32_t)op->buf->len,
	};
	struct wr w = WR_INIT;

	if (!wire) {
		chunkd_op_fail(op, -ENOMEM);
		return;
	}
	memcpy(r.md5, op->buf->data + op->buf->len, MD5_LEN);
	m_get_r_encode(&w, &r);	/* a failure shows in w.err */
	counter_add(CNT_CHUNKS_SENT, 1);
	counter_add(CNT_BYTES_SENT, op->buf->len);
	served_add(&op->conn->cd->served, m->chunk, op->num);
	rpc_reply(op->req, &w, wire);
	buf_unref(wire);
	chunkd_op_end(op);
}

static void ignore(void *arg, int err, const struct rpc_answer *a)
{
	(void)arg;
	(void)err;
	(void)a;
}

static void quarantine(struct pool_work *w)
{
	struct chunkd_op *op = container_of(w, struct chunkd_op, pool);
	const struct parts *parts = op->conn->cd->parts;
	struct m_bad_copy m = { .chunk = op->meta.chunk, .corrupt = 1 };
	struct wr body = WR_INIT;
	struct link_info us;

	log_warn("chunk %016" PRIx64 " here is corrupt: quarantined",
		 op->meta.chunk);
	counter_add(CNT_CORRUPT, 1);
	store_quarantine(parts->store, op->meta.chunk, "wrong MD5");
	link_info(parts->link, &us);
	m.peer = us.num;
	m_bad_copy_encode(&body, &m);	/* a failure shows in body.err */
	link_call(parts->link, M_bad_copy, &body, ignore, NULL);
	chunkd_op_fail(op, -EBADMSG);
}

static void on_hashed(struct hash_job *j)
{
	struct chunkd_op *op = container_of(j, struct chunkd_op, hash);
	const struct parts *parts = op->conn->cd->parts;

	counter_add(CNT_MD5_CHECKED, 1);
	if (memcmp(j->job.md5, op->meta.md5, MD5_LEN)) {
		op->pool.fn = quarantine;
		pool_run(parts->pool, &op->pool);
		return;
	}
	cache_put(parts->cache, op->meta.chunk, op->buf);
	answer(op);
}

static void read_copy(struct pool_work *w)
{
	struct chunkd_op *op = container_of(w, struct chunkd_op, pool);
	const struct parts *parts = op->conn->cd->parts;
	uint64_t chunk = op->meta.chunk;
	int err;

	err = store_get(parts->store, chunk, &op->meta, &op->buf);
	op->meta.chunk = chunk;
	if (err == -EBADMSG) {
		quarantine(w);
		return;
	}
	if (err) {
		chunkd_op_fail(op, err);
		return;
	}
	/* Nobody else has the buf yet. */
	memcpy(op->buf->data + op->buf->len, op->meta.md5, MD5_LEN);
	op->hash.job.data = op->buf->data;
	op->hash.job.len = op->buf->len;
	op->hash.urgent = 1;
	op->hash.done = on_hashed;
	hasher_submit(parts->hasher, &op->hash);
}

void chunkd_get(struct chunkd_op *op)
{
	const struct parts *parts = op->conn->cd->parts;

	op->buf = cache_get(parts->cache, op->meta.chunk);
	if (op->buf) {
		answer(op);
	} else if (!store_has(parts->store, op->meta.chunk)) {
		chunkd_op_fail(op, -ENOENT);
	} else {
		op->pool.fn = read_copy;
		pool_run(parts->pool, &op->pool);
	}
}
