/*
 * chunkd_put -- a chunk from another peer, and making chunks durable.
 *
 * Put: header against trailer -> hasher -> pool (write) -> answer.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "chunkd_internal.h"
#include "container.h"
#include "counters.h"
#include "log.h"

static void write_copy(struct pool_work *w)
{
	struct chunkd_op *op = container_of(w, struct chunkd_op, pool);
	const struct parts *parts = op->conn->cd->parts;
	struct m_put_r r = { 0 };
	struct wr body = WR_INIT;
	int err;

	err = store_put(parts->store, &op->meta, op->req->bulk->data, op->kind,
			op->sync);
	if (err) {
		chunkd_op_fail(op, err);	/* the store has said why */
		return;
	}
	if (op->meta.len > SUMS_WORTH)
		sums_add(parts->sums, op->meta.chunk, op->req->bulk->data,
			 op->meta.len);
	counter_add(CNT_CHUNKS_RECEIVED, 1);
	counter_add(CNT_BYTES_RECEIVED, op->meta.len);
	link_have(parts->link, op->meta.chunk, op->kind);
	m_put_r_encode(&body, &r);	/* a failure shows in body.err */
	rpc_reply(op->req, &body, NULL);
	chunkd_op_end(op);
}

static void corrupt(struct chunkd_op *op)
{
	char from[ADDR_TEXT_MAX];

	counter_add(CNT_CORRUPT, 1);
	log_warn("chunk %016" PRIx64 " came corrupt from %s: refused",
		 op->meta.chunk,
		 addr_text(rpc_peer_addr(op->conn->rpc), from));
	chunkd_op_fail(op, -EBADMSG);
}

static void on_hashed(struct hash_job *j)
{
	struct chunkd_op *op = container_of(j, struct chunkd_op, hash);

	counter_add(CNT_MD5_CHECKED, 1);
	if (memcmp(j->job.md5, op->meta.md5, MD5_LEN)) {
		corrupt(op);
		return;
	}
	op->pool.fn = write_copy;
	pool_run(op->conn->cd->parts->pool, &op->pool);
}

void chunkd_put(struct chunkd_op *op)
{
	const struct parts *parts = op->conn->cd->parts;
	const struct buf *bulk = op->req->bulk;
	uint32_t len = op->meta.len;

	if (!op->meta.chunk || !len || len > STORE_CHUNK_MAX || !bulk ||
	    bulk->len != (size_t)len + MD5_LEN) {
		chunkd_op_fail(op, -EINVAL);
		return;
	}
	if (memcmp(bulk->data + len, op->meta.md5, MD5_LEN)) {
		corrupt(op);
		return;
	}
	op->hash.job.data = bulk->data;
	op->hash.job.len = len;
	op->hash.urgent = !(op->req->flags & RPC_MORE);
	op->hash.done = on_hashed;
	cache_trim(parts->cache);
	hasher_submit(parts->hasher, &op->hash);
}

static void sync_copies(struct pool_work *w)
{
	struct chunkd_op *op = container_of(w, struct chunkd_op, pool);
	struct m_sync_r r = { 0 };
	struct wr body = WR_INIT;
	int err;

	err = store_sync(op->conn->cd->parts->store, op->ids, op->n_ids);
	if (err) {
		log_error("cannot make %" PRIu32 " chunks durable: %s",
			  op->n_ids, strerror(-err));
		rpc_fail(op->req, err, "cannot sync: %s", strerror(-err));
	} else {
		m_sync_r_encode(&body, &r);	/* as above */
		rpc_reply(op->req, &body, NULL);
	}
	chunkd_op_end(op);
}

void chunkd_sync(struct chunkd_op *op)
{
	op->pool.fn = sync_copies;
	pool_run(op->conn->cd->parts->pool, &op->pool);
}
