/*
 * file_plan -- where the bytes of a read come from.
 *
 * The range is painted with what is sealed or dirty; what stays bare is
 * looked up in the map.  That gives a list of items: memory, zeros, or a part
 * of a chunk.  Sealed bytes and chunks are referenced, dirty ones copied,
 * since they may change.
 */
#include <errno.h>
#include <stdlib.h>

#include "file_internal.h"

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
		    uint32_t pos, const struct item *it)
{
	struct want *v = r->wants;

	for (size_t i = r->n_wants; i-- > 0 && r->n_wants - i <= 8;)
		if (v[i].c == c) {
			if (it->at < v[i].at)
				v[i].at = it->at;
			if (it->at + it->len > v[i].end)
				v[i].end = it->at + it->len;
			return i;
		}
	v = more(v, r->n_wants, &r->cap_wants, sizeof(*v));
	if (!v)
		return -ENOMEM;
	r->wants = v;
	__atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
	v[r->n_wants] = (struct want){ .r = r, .c = c, .at = it->at,
				       .end = it->at + it->len,
				       .slot = slot, .pos = pos };
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

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
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
			r->gen = least(r->gen, p->gen);
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
			    s->pos > s->off ? s->pos - s->off : 0, it);
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

int file_plan(struct read *r, int leased, struct map_req **send)
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

void file_plan_forget(struct read *r)
{
	for (size_t i = 0; i < r->n_items; i++)
		buf_unref(r->items[i].b);
	for (size_t i = 0; i < r->n_wants; i++) {
		buf_unref(r->wants[i].b);
		file_mchunk_put(r->wants[i].c);
	}
	r->n_items = r->n_wants = 0;
}
