/*
 * file_read -- a range of a file put together.
 *
 * Happy path: under the file's lock the range is painted with what is sealed
 * or dirty; what stays bare is looked up in the map.  That gives a list of
 * items: memory, zeros, or a part of a chunk.  Sealed bytes and chunks are
 * referenced, dirty ones copied, since they may change.  Without the lock
 * all chunks that are not in the memory cache are asked for at once; the
 * last to come answers.
 *
 * Failures: the map is not there: the read waits for the page and plans
 * anew.  A chunk cannot be had though the file changed meanwhile: planned
 * anew, FILE_TRIES times, since its chunk may be gone by right.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "counters.h"
#include "file_internal.h"

enum {
	ZERO_SIZE = 64 << 10,
	IOV_MOST = 512,		/* beyond, copying is cheaper than writev */
};

static const uint8_t zeros[ZERO_SIZE];

struct item {			/* the next len bytes */
	struct buf *b;		/* referenced; NULL: zeros, or not yet */
	size_t at, len;
	int32_t want;		/* index in wants, or -1 */
};

struct want {
	struct read *r;
	struct mchunk *c;	/* referenced */
	struct buf *b;		/* referenced, once it is there */
	uint64_t slot;
	uint32_t pos;
};

struct read {
	struct map_wait wait;	/* first member */
	struct file *f;
	uint64_t off;
	size_t size;
	file_read_done done;
	void *arg;
	unsigned tries;
	uint64_t gen;		/* of the map that it was planned with */
	struct page_list got;	/* pages that came for this read */

	struct item *items;
	size_t n_items, cap_items;
	struct want *wants;
	size_t n_wants, cap_wants;
	int pending;		/* atomic */
	int err;		/* atomic */
};

/* ------------------------------------------------------------------- end */

static void forget_plan(struct read *r)
{
	for (size_t i = 0; i < r->n_items; i++)
		buf_unref(r->items[i].b);
	for (size_t i = 0; i < r->n_wants; i++) {
		buf_unref(r->wants[i].b);
		file_mchunk_put(r->wants[i].c);
	}
	r->n_items = r->n_wants = 0;
}

static void read_free(struct read *r)
{
	struct file *f = r->f;
	struct page *p;

	forget_plan(r);
	pthread_mutex_lock(&f->lock);
	while ((p = TAILQ_FIRST(&r->got))) {
		TAILQ_REMOVE(&r->got, p, lru);
		file_page_put(p);
	}
	pthread_mutex_unlock(&f->lock);
	free(r->items);
	free(r->wants);
	free(r);
	file_put(f);
}
