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
	struct page **got;	/* pages that came for this read */
	size_t n_got;

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

/* Locked. */
static void forget_pages(struct read *r)
{
	for (size_t i = 0; i < r->n_got; i++)
		file_page_put(r->got[i]);
	r->n_got = 0;
}

static void read_free(struct read *r)
{
	struct file *f = r->f;

	forget_plan(r);
	if (r->n_got) {
		pthread_mutex_lock(&f->lock);
		forget_pages(r);
		pthread_mutex_unlock(&f->lock);
	}
	free(r->got);
	free(r->items);
	free(r->wants);
	free(r);
	file_put(f);
}

static void read_fail(struct read *r, int err)
{
	r->done(r->arg, err, NULL, 0);
	read_free(r);
}

/* ------------------------------------------------------------------ plan */

/* Room for one more in an array that doubles. */
static void *more(void *v, size_t n, size_t *cap, size_t size)
{
	size_t want = *cap ? *cap * 2 : 8;
	void *p;

	if (n < *cap)
		return v;
	p = realloc(v, want * size);
	if (p)
		*cap = want;
	return p;
}

static struct item *item_add(struct read *r, size_t len)
{
	struct item *v = more(r->items, r->n_items, &r->cap_items,
			      sizeof(*v));

	if (!v)
		return NULL;
	r->items = v;
	v += r->n_items++;
	*v = (struct item){ .len = len, .want = -1 };
	return v;
}

/* The index of the want for @c; a chunk used twice in a row is one want. */
static int want_add(struct read *r, struct mchunk *c, uint64_t slot,
		    uint32_t pos)
{
	struct want *v = r->wants;

	for (size_t i = r->n_wants; i-- > 0 && r->n_wants - i <= 8;)
		if (v[i].c == c)
			return i;
	v = more(v, r->n_wants, &r->cap_wants, sizeof(*v));
	if (!v)
		return -ENOMEM;
	r->wants = v;
	__atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
	v[r->n_wants] = (struct want){ .r = r, .c = c, .slot = slot,
				       .pos = pos };
	return r->n_wants++;
}

/* The page with @slot, from the file's list if that may be used, or one
 * that came for this read and is not outrun. */
static struct page *page_for(struct read *r, uint64_t slot, int leased)
{
	struct file *f = r->f;
	struct page *p = leased ? file_map_find(f, slot) : NULL;

	for (size_t i = r->n_got; !p && i-- > 0;) {
		struct page *q = r->got[i];

		if (slot >= q->first && slot - q->first < q->count &&
		    q->version >= f->attr.version && q->gen >= f->lost_gen)
			p = q;
	}
	return p;
}

/* All pages for what is bare are there (0; *@size: the file's), or one is
 * asked for (1; @send as file_map_want), or -errno. */
static int have_pages(struct read *r, const struct spans *s, int leased,
		      uint64_t *size, struct map_req **send)
{
	uint32_t slot_size = r->f->slot_size;
	uint64_t version = 0;
	struct page *p;
	int err;

	*size = r->f->attr.size;
	for (size_t i = 0; i < s->n; i++) {
		uint64_t slot = s->v[i].off / slot_size;
		uint64_t last = (s->v[i].off + s->v[i].len - 1) / slot_size;

		while (!s->v[i].b && slot <= last) {
			p = page_for(r, slot, leased);
			if (!p) {
				err = file_map_want(r->f, slot, &r->wait,
						    send);
				return err ? err : 1;
			}
			if (p->version > version) {
				version = p->version;
				*size = p->size;
			}
			slot = p->first + p->count;
		}
	}
	return 0;
}

static int add_piece(struct read *r, struct page *p, uint64_t slot,
		     const struct mslot *ms, const struct piece *piece)
{
	struct item *it = item_add(r, piece->len);
	const struct m_slice *s;
	struct mchunk *c;

	if (!it)
		return -ENOMEM;
	if (!piece->chunk)
		return 0;
	c = file_map_chunk(p, piece->chunk);
	if (!c)
		return -EIO;
	s = &ms->v[piece->from];
	it->at = piece->off;
	it->want = want_add(r, c, slot,
			    s->pos > s->off ? s->pos - s->off : 0);
	return it->want < 0 ? it->want : 0;
}

/* Bytes [pos, pos+len) of a slot, from its slices. */
static int plan_slot(struct read *r, struct page *p, uint64_t slot,
		     uint32_t pos, uint32_t len)
{
	const struct mslot *ms = &p->slots[slot - p->first];
	struct piece *v;
	size_t n;
	int err;

	if (!ms->n)
		return item_add(r, len) ? 0 : -ENOMEM;
	err = slices_resolve(ms->v, ms->n, pos, len, &v, &n);
	if (err)
		return err;
	for (size_t i = 0; i < n && !err; i++)
		err = add_piece(r, p, slot, ms, &v[i]);
	free(v);
	return err;
}

static int plan_bare(struct read *r, uint64_t off, uint64_t len, int leased)
{
	uint32_t size = r->f->slot_size;
	int err = 0;

	while (len && !err) {
		uint64_t slot = off / size;
		uint32_t pos = off % size, n = size - pos;
		struct page *p = page_for(r, slot, leased);

		if (n > len)
			n = len;
		err = plan_slot(r, p, slot, pos, n);
		off += n;
		len -= n;
	}
	return err;
}

static int plan_memory(struct read *r, const struct span *v, uint64_t len)
{
	struct item *it = item_add(r, len);

	if (!it)
		return -ENOMEM;
	if (!v->hot) {
		it->b = buf_ref(v->b);
		it->at = v->at;
		return 0;
	}
	it->b = buf_dup(v->b->data + v->at, len);
	return it->b ? 0 : -ENOMEM;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static int plan_spans(struct read *r, const struct spans *s, int leased,
		      uint64_t end)
{
	int err = 0;

	for (size_t i = 0; i < s->n && !err; i++) {
		const struct span *v = &s->v[i];
		uint64_t len;

		if (v->off >= end)
			break;
		len = least(v->len, end - v->off);
		err = v->b ? plan_memory(r, v, len)
			   : plan_bare(r, v->off, len, leased);
	}
	return err;
}

/* 0 planned; 1 it waits for the map; or -errno.  Locked. */
static int plan(struct read *r, int leased, struct map_req **send)
{
	struct file *f = r->f;
	uint64_t end = r->off + r->size, size;
	struct spans s;
	int err;

	r->gen = f->gen;
	if (leased && !TAILQ_EMPTY(&f->pages)) {
		/* the size is known: no page beyond it is asked for */
		size = f->attr.size > f->local_end ? f->attr.size
						   : f->local_end;
		end = least(end, size);
	}
	spans_init(&s, r->off, end > r->off ? end - r->off : 0);
	file_paint(f, &s);
	err = s.err ? s.err : have_pages(r, &s, leased, &size, send);
	if (!err) {
		if (size < f->local_end)
			size = f->local_end;
		err = plan_spans(r, &s, leased, size);
	}
	spans_fini(&s);
	return err;
}

/* ---------------------------------------------------------------- answer */

/* Bytes of an item that are in one piece, from @done on. */
static struct iovec part(const struct item *it, size_t done)
{
	size_t len = it->len - done;

	if (it->b)
		return (struct iovec){ it->b->data + it->at + done, len };
	return (struct iovec){ (void *)zeros, len < ZERO_SIZE ? len
							      : ZERO_SIZE };
}

/* Chunks' bufs to their items; never more than a chunk has. */
static int take_chunks(struct read *r)
{
	for (size_t i = 0; i < r->n_items; i++) {
		struct item *it = &r->items[i];
		struct buf *b;

		if (it->want < 0)
			continue;
		b = r->wants[it->want].b;
		if (it->len > b->len || it->at > b->len - it->len)
			return -EIO;
		it->b = buf_ref(b);
	}
	return 0;
}

static size_t count_parts(const struct read *r)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n_items; i++)
		n += r->items[i].b ? 1 : (r->items[i].len + ZERO_SIZE - 1) /
						 ZERO_SIZE;
	return n;
}

static void answer_iov(struct read *r, size_t n)
{
	struct iovec few[16], *iov = few;
	size_t k = 0;

	if (n > sizeof(few) / sizeof(few[0]))
		iov = malloc(n * sizeof(*iov));
	if (!iov) {
		r->done(r->arg, -ENOMEM, NULL, 0);
		return;
	}
	for (size_t i = 0; i < r->n_items; i++)
		for (size_t d = 0; d < r->items[i].len; d += iov[k++].iov_len)
			iov[k] = part(&r->items[i], d);
	r->done(r->arg, 0, iov, k);
	if (iov != few)
		free(iov);
}

static void answer_copied(struct read *r)
{
	struct buf *b = buf_new(r->size);
	struct iovec v;

	if (!b) {
		r->done(r->arg, -ENOMEM, NULL, 0);
		return;
	}
	for (size_t i = 0; i < r->n_items; i++)
		for (size_t d = 0; d < r->items[i].len; d += v.iov_len) {
			v = part(&r->items[i], d);
			memcpy(b->data + b->len, v.iov_base, v.iov_len);
			b->len += v.iov_len;
		}
	v = (struct iovec){ b->data, b->len };
	r->done(r->arg, 0, &v, 1);
	buf_unref(b);
}

static void read_try(struct read *r);

/* Did the file change since this was planned?  Then what it was planned
 * with is forgotten. */
static int is_outdated(struct read *r)
{
	int yes;

	pthread_mutex_lock(&r->f->lock);
	yes = r->gen != r->f->gen;
	if (yes)
		forget_pages(r);
	pthread_mutex_unlock(&r->f->lock);
	if (yes)
		forget_plan(r);
	return yes;
}

static void read_end(struct read *r)
{
	int err = r->err;
	size_t n;

	if (!err)
		err = take_chunks(r);
	if (err && ++r->tries < FILE_TRIES && is_outdated(r)) {
		r->err = 0;
		read_try(r);
		return;
	}
	if (err) {
		read_fail(r, err);
		return;
	}
	n = count_parts(r);
	if (n > IOV_MOST)
		answer_copied(r);
	else
		answer_iov(r, n);
	read_free(r);
}

/* --------------------------------------------------------------- fetching */

static void one_less(struct read *r)
{
	if (__atomic_sub_fetch(&r->pending, 1, __ATOMIC_ACQ_REL) == 0)
		read_end(r);
}

static void fetched(void *arg, int err, struct buf *b)
{
	struct want *w = arg;

	if (err)
		__atomic_store_n(&w->r->err, err, __ATOMIC_RELAXED);
	else
		w->b = buf_ref(b);
	one_less(w->r);
}

static void fetch_all(struct read *r)
{
	struct files *fs = r->f->fs;

	r->pending = 1;
	for (size_t i = 0; i < r->n_wants; i++) {
		struct want *w = &r->wants[i];

		w->b = cache_get(fs->cfg.cache, w->c->c.id);
		if (w->b)
			counter_add(CNT_CACHE_HITS, 1);
		else
			r->pending++;
	}
	if (r->pending == 1) {
		one_less(r);
		return;
	}
	/* @r may end with any callback, but not before the last one_less() */
	for (size_t i = 0; i < r->n_wants; i++) {
		struct want *w = &r->wants[i];
		struct fetch_want f = { .chunk = w->c->c, .ino = r->f->ino,
					.slot = w->slot, .pos = w->pos,
					.urgent = 1 };

		if (!w->b)
			fetch_chunk(fs->cfg.fetch, &f, fetched, w);
	}
	one_less(r);
}

static void read_try(struct read *r)
{
	struct file *f = r->f;
	struct map_req *send = NULL;
	int err, leased = link_leased(f->fs->cfg.link);

	pthread_mutex_lock(&f->lock);
	err = plan(r, leased, &send);
	pthread_mutex_unlock(&f->lock);
	if (send)
		file_map_send(send);
	if (err < 0)
		read_fail(r, err);
	else if (!err)
		fetch_all(r);
}

void file_read_resume(struct map_wait *w)
{
	struct read *r = (struct read *)w;	/* its first member */
	struct page *p = w->page;
	struct page **v;

	if (p) {
		v = realloc(r->got, (r->n_got + 1) * sizeof(*v));
		if (v) {
			r->got = v;
			v[r->n_got++] = p;
		} else {
			w->err = -ENOMEM;
			pthread_mutex_lock(&r->f->lock);
			file_page_put(p);
			pthread_mutex_unlock(&r->f->lock);
		}
	}
	if (w->err)
		read_fail(r, w->err);
	else
		read_try(r);
}

void file_read(struct file_handle *h, uint64_t off, size_t size,
	       file_read_done done, void *arg)
{
	struct read *r = calloc(1, sizeof(*r));
	struct file *f = file_get(h->f);
	struct ahead ahead;
	int leased;

	if (!r || off > INT64_MAX || size > INT64_MAX - off) {
		done(arg, r ? -EINVAL : -ENOMEM, NULL, 0);
		free(r);
		file_put(f);
		return;
	}
	r->f = file_get(f);
	r->off = off;
	r->size = size;
	r->done = done;
	r->arg = arg;
	leased = link_leased(f->fs->cfg.link);
	pthread_mutex_lock(&f->lock);
	/* planned now: @h may be gone once the read is answered */
	file_ahead_plan(h, off, size, leased, &ahead);
	pthread_mutex_unlock(&f->lock);
	read_try(r);
	file_ahead_run(f, &ahead);
	file_put(f);
}
