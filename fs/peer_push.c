/*
 * peer_push -- what the tracker wants of this peer.
 *
 * The callbacks come on the control loop and must be quick: disk work goes
 * to the pool.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "counters.h"
#include "log.h"
#include "peer_internal.h"
#include "via.h"

static void on_lost(void *arg, uint64_t **open, uint32_t *n_open)
{
	struct peer *p = arg;

	*open = NULL;
	*n_open = 0;
	if (p->folder.lost)
		p->folder.lost(p->folder.arg, open, n_open);
}

static uint32_t on_revoked(void *arg, uint64_t *inos, uint32_t n,
			   uint8_t also)
{
	struct peer *p = arg;

	return p->folder.revoked
		       ? p->folder.revoked(p->folder.arg, inos, n, also)
		       : 0;
}

static int on_still_open(void *arg, uint64_t ino)
{
	struct peer *p = arg;

	return p->folder.still_open &&
	       p->folder.still_open(p->folder.arg, ino);
}

static void on_locks(void *arg, struct m_byte_lock **v, uint32_t *n)
{
	struct peer *p = arg;

	if (p->folder.locks)
		p->folder.locks(p->folder.arg, v, n);
}

static void on_locks_back(void *arg, const uint64_t *lost, uint32_t n)
{
	struct peer *p = arg;

	if (p->folder.locks_back)
		p->folder.locks_back(p->folder.arg, lost, n);
}

static void on_locked(void *arg, const struct m_locked *m)
{
	struct peer *p = arg;

	if (p->folder.locked)
		p->folder.locked(p->folder.arg, m);
}

static void on_peers(void *arg, const struct m_peer *list, uint32_t n)
{
	struct peer *p = arg;

	peers_update(p->parts.peers, list, n);
}

static void look(struct pool_work *w)
{
	struct peer *p = container_of(w, struct peer, look);

	if (store_look(p->parts.store))
		link_held_anew(p->parts.link);
	__atomic_store_n(&p->looking, 0, __ATOMIC_RELEASE);
	gate_leave(&p->gate);
}

/* With each heartbeat, as soon as the last time is over: it may wait. */
static void look_later(struct peer *p)
{
	if (__atomic_exchange_n(&p->looking, 1, __ATOMIC_ACQUIRE))
		return;
	if (gate_enter(&p->gate)) {
		__atomic_store_n(&p->looking, 0, __ATOMIC_RELEASE);
		return;
	}
	p->look.fn = look;
	pool_run(p->parts.pool, &p->look);
}

static void on_space(void *arg, uint64_t *capacity, uint64_t *used,
		     uint64_t *chunks)
{
	struct peer *p = arg;
	struct store_stat st;

	look_later(p);
	store_stat(p->parts.store, &st);
	*capacity = st.capacity;
	*used = st.used - st.cached_bytes;	/* those make room for others */
	*chunks = st.chunks;
}

static size_t on_held(void *arg, uint64_t *cursor, struct m_held *out,
		      size_t max)
{
	struct peer *p = arg;

	return store_list(p->parts.store, cursor, out, max);
}

/* -------------------------------------------------- dropped and unknown */

struct removal {
	struct pool_work work;
	struct peer *peer;
	int unknown;		/* 1: into quarantine */
	uint32_t n;
	uint64_t chunks[];
};

static void remove_chunks(struct pool_work *w)
{
	struct removal *r = container_of(w, struct removal, work);
	struct peer *p = r->peer;

	for (uint32_t i = 0; i < r->n; i++) {
		cache_drop(p->parts.cache, r->chunks[i]);
		if (r->unknown)
			store_quarantine(p->parts.store, r->chunks[i],
					 "the tracker does not know it");
		else if (!store_delete(p->parts.store, r->chunks[i]))
			counter_add(CNT_DELETED, 1);
	}
	free(r);
	gate_leave(&p->gate);
}

static void remove_later(struct peer *p, const uint64_t *chunks, uint32_t n,
			 int unknown)
{
	struct removal *r;

	if (!n || gate_enter(&p->gate))
		return;
	r = malloc(sizeof(*r) + n * sizeof(*r->chunks));
	if (!r) {
		log_error("no memory to remove %" PRIu32 " chunks", n);
		gate_leave(&p->gate);
		return;
	}
	r->peer = p;
	r->unknown = unknown;
	r->n = n;
	memcpy(r->chunks, chunks, n * sizeof(*chunks));
	r->work.fn = remove_chunks;
	pool_run(p->parts.pool, &r->work);
}

static void on_drop(void *arg, const uint64_t *chunks, uint32_t n)
{
	remove_later(arg, chunks, n, 0);
}

static void on_unknown(void *arg, const uint64_t *chunks, uint32_t n)
{
	log_warn("the tracker does not know %" PRIu32 " chunks that are here: "
		 "putting them in quarantine", n);
	remove_later(arg, chunks, n, 1);
}

/* ---------------------------------------------------------------- copies */

struct copy_job {
	struct pool_work work;
	struct peer *peer;
	struct rpc_req *req;
	struct chunk_meta meta;
	struct buf *buf;
};

static void copy_end(struct copy_job *c, int err)
{
	struct peer *p = c->peer;
	struct m_copy_r r = { 0 };
	struct wr w = WR_INIT;

	if (err) {
		rpc_fail(c->req, err, "chunk %016" PRIx64 " was not copied: %s",
			 c->meta.chunk, strerror(-err));
	} else {
		counter_add(CNT_COPIED, 1);
		m_copy_r_encode(&w, &r);	/* a failure shows in w.err */
		rpc_reply(c->req, &w, NULL);
	}
	buf_unref(c->buf);
	free(c);
	gate_leave(&p->gate);
}

static void write_replica(struct pool_work *w)
{
	struct copy_job *c = container_of(w, struct copy_job, work);
	const struct parts *parts = &c->peer->parts;
	int err;

	err = store_put(parts->store, &c->meta, c->buf->data, COPY_REPLICA, 0);
	if (!err)
		link_have(parts->link, c->meta.chunk, COPY_REPLICA);
	copy_end(c, err);
}

static void on_fetched(void *arg, int err, struct buf *b)
{
	struct copy_job *c = arg;

	if (err) {
		copy_end(c, err);
		return;
	}
	c->buf = buf_ref(b);
	c->work.fn = write_replica;
	pool_run(c->peer->parts.pool, &c->work);
}

static void on_copy(void *arg, const struct m_copy *m, struct rpc_req *req)
{
	struct peer *p = arg;
	struct copy_job *c = NULL;
	struct fetch_want want = {
		.chunk = m->chunk, .ino = m->ino, .slot = m->slot,
		.no_keep = 1,
	};

	if (!gate_enter(&p->gate)) {
		c = calloc(1, sizeof(*c));
		if (!c)
			gate_leave(&p->gate);
	}
	if (!c) {
		rpc_fail(req, -EAGAIN, "not now");
		return;
	}
	c->peer = p;
	c->req = req;
	c->meta = (struct chunk_meta){
		.chunk = m->chunk.id, .ino = m->ino, .slot = m->slot,
		.len = m->chunk.len,
	};
	memcpy(c->meta.md5, m->chunk.md5, MD5_LEN);
	fetch_chunk(p->fetch, &want, on_fetched, c);
}

static void on_sum(void *arg, const struct m_sum *m, struct rpc_req *req)
{
	struct peer *p = arg;

	sum_ask(p->sum, m, req);
}

static int on_complete(void *arg, const struct m_complete *m)
{
	struct peer *p = arg;
	struct complete *c = __atomic_load_n(&p->complete, __ATOMIC_ACQUIRE);

	return c ? complete_start(c, m) : -EAGAIN;
}

/* ------------------------------------------------------------ the relay */

static void on_up(void *arg, const struct addr *tracker)
{
	struct peer *p = arg;

	via_tracker(p->parts.via, tracker);
}

static void on_dgram(void *arg, uint16_t type, const void *body, size_t len)
{
	struct peer *p = arg;

	via_dgram(p->parts.via, type, body, len);
}

const struct link_ops peer_link_ops = {
	.up = on_up,
	.dgram = on_dgram,
	.lost = on_lost,
	.revoked = on_revoked,
	.still_open = on_still_open,
	.locks = on_locks,
	.locks_back = on_locks_back,
	.locked = on_locked,
	.peers = on_peers,
	.drop = on_drop,
	.copy = on_copy,
	.sum = on_sum,
	.complete = on_complete,
	.space = on_space,
	.held = on_held,
	.unknown = on_unknown,
};
