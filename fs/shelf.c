/*
 * shelf -- see shelf.h.
 *
 * Happy path: memory; or pool (read) -> hasher -> the cache, done.  What was
 * only compared with its sums is not cached.
 * A corrupt copy: pool (quarantine) -> done.
 */
#include "shelf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "counters.h"
#include "log.h"

struct reading {
	const struct parts *parts;
	unsigned flags;
	shelf_done done;
	void *arg;
	struct pool_work pool;
	struct hash_job hash;
	struct chunk_meta meta;
	struct buf *buf;	/* the payload, its MD5 behind it */
};

static void end(struct reading *r, int err)
{
	r->done(r->arg, err, &r->meta, err ? NULL : r->buf);
	buf_unref(r->buf);
	free(r);
}

static void ignore(void *arg, int err, const struct rpc_answer *a)
{
	(void)arg;
	(void)err;
	(void)a;
}

static void report(const struct parts *parts, uint64_t chunk)
{
	struct m_bad_copy m = { .chunk = chunk, .corrupt = 1 };
	struct wr body = WR_INIT;
	struct link_info us;

	link_info(parts->link, &us);
	m.peer = us.num;
	m_bad_copy_encode(&body, &m);	/* a failure shows in body.err */
	link_call(parts->link, M_bad_copy, &body, ignore, NULL);
}

static void quarantine(struct pool_work *w)
{
	struct reading *r = container_of(w, struct reading, pool);
	uint64_t chunk = r->meta.chunk;

	log_warn("chunk %016" PRIx64 " here is corrupt: quarantined", chunk);
	counter_add(CNT_CORRUPT, 1);
	store_quarantine(r->parts->store, chunk, "wrong MD5");
	report(r->parts, chunk);
	end(r, -EBADMSG);
}

static void on_hashed(struct hash_job *j)
{
	struct reading *r = container_of(j, struct reading, hash);

	counter_add(CNT_MD5_CHECKED, 1);
	if (memcmp(j->job.md5, r->meta.md5, MD5_LEN)) {
		r->pool.fn = quarantine;
		pool_run(r->parts->pool, &r->pool);
		return;
	}
	if (!(r->flags & SHELF_DISK))
		cache_put(r->parts->cache, r->meta.chunk, r->buf);
	end(r, 0);
}

static void read_copy(struct pool_work *w)
{
	struct reading *r = container_of(w, struct reading, pool);
	uint64_t chunk = r->meta.chunk;
	int err;

	if (r->flags & SHELF_COLD)
		store_cool(r->parts->store, chunk);
	err = store_get(r->parts->store, chunk, &r->meta, &r->buf);
	r->meta.chunk = chunk;
	if (err == -EBADMSG) {
		quarantine(w);
		return;
	}
	if (err) {
		end(r, err);
		return;
	}
	/* Nobody else has the buf yet. */
	memcpy(r->buf->data + r->buf->len, r->meta.md5, MD5_LEN);
	if (r->flags & SHELF_SERVE &&
	    sums_match_all(r->parts->sums, chunk, r->buf->data, r->buf->len)) {
		end(r, 0);
		return;
	}
	r->hash.job.data = r->buf->data;
	r->hash.job.len = r->buf->len;
	r->hash.urgent = !(r->flags & SHELF_DISK);
	r->hash.done = on_hashed;
	hasher_submit(r->parts->hasher, &r->hash);
}

static int from_memory(const struct parts *p, uint64_t chunk, shelf_done done,
		       void *arg)
{
	struct chunk_meta m = { .chunk = chunk };
	struct buf *b = cache_get(p->cache, chunk);

	if (!b)
		return 0;
	m.len = (uint32_t)b->len;
	memcpy(m.md5, b->data + b->len, MD5_LEN);
	done(arg, 0, &m, b);
	buf_unref(b);
	return 1;
}

void shelf_read(const struct parts *p, uint64_t chunk, unsigned flags,
		shelf_done done, void *arg)
{
	struct chunk_meta none = { .chunk = chunk };
	struct reading *r;

	if (!(flags & SHELF_DISK) && from_memory(p, chunk, done, arg))
		return;
	if (!store_has(p->store, chunk)) {
		done(arg, -ENOENT, &none, NULL);
		return;
	}
	r = calloc(1, sizeof(*r));
	if (!r) {
		done(arg, -ENOMEM, &none, NULL);
		return;
	}
	*r = (struct reading){
		.parts = p, .flags = flags, .done = done, .arg = arg,
		.meta = none, .pool.fn = read_copy,
	};
	pool_run(p->pool, &r->pool);
}
