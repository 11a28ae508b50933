/*
 * fetch_part -- a few bytes of a chunk that was checked before.
 *
 * Happy path: the chunk's sums are known, and the kernel has the blocks of the
 * local copy in memory: they are read and compared at once, on the caller's
 * thread.  If it has not, the pool reads them.
 * Failure, or nothing is known of the chunk, or it is not here: all of it is
 * fetched and checked (and mended, if need be), and its sums noted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "counters.h"
#include "fetch_internal.h"

struct part_read {
	struct pool_work work;
	struct fetch *fetch;
	struct fetch_want want;
	uint32_t holders[MSG_HOLDERS_MAX];
	uint32_t at, len;
	fetch_done done;
	void *arg;
};

static int read_part(struct fetch *ft, const struct m_chunk *c, uint32_t at,
		     uint32_t len, int now, struct buf **out)
{
	uint32_t first = at - at % SUMS_BLOCK, end = at + len;
	struct buf *b;
	int err;

	end += (SUMS_BLOCK - end % SUMS_BLOCK) % SUMS_BLOCK;
	if (end > c->len)
		end = c->len;
	b = buf_new(end - first);
	if (!b)
		return -ENOMEM;
	err = store_read(ft->parts->store, c->id, first, b->data, end - first,
			 now);
	if (!err && !sums_match(ft->parts->sums, c->id, first, b->data,
				end - first))
		err = -EBADMSG;
	b->len = end - first;
	*out = err ? NULL : buf_view(b, at - first, len);
	buf_unref(b);
	return err || *out ? err : -ENOMEM;
}

static void whole(struct fetch *ft, const struct fetch_want *want,
		  fetch_done done, void *arg)
{
	struct fetch_want w = *want;

	w.prove = 1;
	fetch_chunk(ft, &w, done, arg);
}

static void on_pool(struct pool_work *work)
{
	struct part_read *p = container_of(work, struct part_read, work);
	struct fetch *ft = p->fetch;
	struct buf *b = NULL;

	if (read_part(ft, &p->want.chunk, p->at, p->len, 0, &b)) {
		whole(ft, &p->want, p->done, p->arg);
	} else {
		counter_add(CNT_STORE_HITS, 1);
		p->done(p->arg, 0, b);
	}
	buf_unref(b);
	free(p);
	gate_leave(&ft->gate);
}

/* 0: it is on its way. */
static int by_pool(struct fetch *ft, const struct fetch_want *want,
		   uint32_t at, uint32_t len, fetch_done done, void *arg)
{
	uint32_t n = want->chunk.n_holders;
	struct part_read *p = malloc(sizeof(*p));
	int err = p ? gate_enter(&ft->gate) : -ENOMEM;

	if (err) {
		free(p);
		return err;
	}
	*p = (struct part_read){ .work.fn = on_pool, .fetch = ft, .want = *want,
			    .at = at, .len = len, .done = done, .arg = arg };
	if (n > MSG_HOLDERS_MAX)
		n = MSG_HOLDERS_MAX;
	if (n)
		memcpy(p->holders, want->chunk.holders, n * sizeof(*p->holders));
	p->want.chunk.holders = p->holders;
	p->want.chunk.n_holders = n;
	pool_run(ft->parts->pool, &p->work);
	return 0;
}

void fetch_part(struct fetch *ft, const struct fetch_want *want, uint32_t at,
		uint32_t len, fetch_done done, void *arg)
{
	struct buf *b = NULL;
	int err = -ENOENT;

	if (sums_has(ft->parts->sums, want->chunk.id))
		err = read_part(ft, &want->chunk, at, len, 1, &b);
	if (err == -EAGAIN && !by_pool(ft, want, at, len, done, arg))
		return;
	if (err) {
		whole(ft, want, done, arg);
		return;
	}
	counter_add(CNT_STORE_HITS, 1);
	done(arg, 0, b);
	buf_unref(b);
}
