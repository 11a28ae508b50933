/* layout -- see layout.h. */
#include "layout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "slices.h"
#include "store.h"

#define TRIES 5			/* when the file changes under us */

static int grow(void **list, size_t have, size_t more, size_t size)
{
	void *p = realloc(*list, (have + more) * size + 1);

	if (!p)
		return -ENOMEM;
	*list = p;
	return 0;
}

static int ask_page(const struct ask *ask, struct arena *a, uint64_t ino,
		    uint64_t first, uint32_t count, struct m_getmap_r *out)
{
	struct m_getmap q = { .ino = ino, .first = first, .count = count };
	struct buf *body = NULL;
	struct wr w = WR_INIT;
	int err;

	m_getmap_encode(&w, &q);	/* a failure shows in w.err */
	err = ask_call(ask, M_getmap, &w, &body, NULL, 0);
	if (!err)
		err = m_getmap_r_decode(out, a, body->data, body->len);
	buf_unref(body);	/* there are no strings in it */
	return err;
}

static int add_page(struct layout *l, const struct m_getmap_r *r)
{
	int err = grow((void **)&l->slots, l->n_slots, r->n_slots,
		       sizeof(*l->slots));

	if (!err)
		err = grow((void **)&l->chunks, l->n_chunks, r->n_chunks,
			   sizeof(*l->chunks));
	if (err)
		return err;
	if (r->n_slots)
		memcpy(l->slots + l->n_slots, r->slots,
		       r->n_slots * sizeof(*l->slots));
	if (r->n_chunks)
		memcpy(l->chunks + l->n_chunks, r->chunks,
		       r->n_chunks * sizeof(*l->chunks));
	l->n_slots += r->n_slots;
	l->n_chunks += r->n_chunks;
	return 0;
}

static uint64_t slots_of(const struct m_attr *a)
{
	return a->slot_size ? a->size / a->slot_size +
			      (a->size % a->slot_size != 0) : 0;
}

/* A page had none: *@first becomes the next slot with data, or @end. */
static int skip_hole(struct layout *l, const struct ask *ask, uint64_t end,
		     uint64_t *first)
{
	struct m_seekmap q = { .ino = l->attr.ino,
			       .off = *first * l->attr.slot_size };
	struct arena a = ARENA_INIT;
	struct m_seekmap_r r = { 0 };
	struct buf *body = NULL;
	struct wr w = WR_INIT;
	int err;

	m_seekmap_encode(&w, &q);	/* a failure shows in w.err */
	err = ask_call(ask, M_seekmap, &w, &body, NULL, 0);
	if (!err)
		err = m_seekmap_r_decode(&r, &a, body->data, body->len);
	buf_unref(body);
	arena_fini(&a);
	if (!err && r.attr.version != l->attr.version)
		err = -ESTALE;
	if (!err && r.state && r.off < q.off)
		err = -EBADMSG;
	if (!err)
		*first = r.state ? r.off / l->attr.slot_size : end;
	return err;
}

/* All pages; -ESTALE: it was changed meanwhile. */
static int load_pages(struct layout *l, const struct ask *ask, uint64_t ino)
{
	uint32_t count = MSG_SLOTS_MAX;
	uint64_t first = 0, end = 1;
	struct m_getmap_r r;
	int err = 0;

	while (!err && first < end) {
		err = ask_page(ask, &l->arena, ino, first, count, &r);
		if (err == -E2BIG && count > 1) {
			count /= 2;	/* many slices: a smaller page */
			err = 0;
			continue;
		}
		if (!err && first && r.attr.version != l->attr.version)
			err = -ESTALE;
		if (!err)
			err = add_page(l, &r);
		if (err)
			break;
		l->attr = r.attr;
		end = slots_of(&l->attr);
		first += count;
		if (l->n_slots > LAYOUT_SLOTS_MAX)
			err = -E2BIG;
		else if (!r.n_slots && first < end)
			err = skip_hole(l, ask, end, &first);
	}
	return err;
}

static int by_id(const void *a, const void *b)
{
	uint64_t x = ((const struct m_chunk *)a)->id;
	uint64_t y = ((const struct m_chunk *)b)->id;

	return (x > y) - (x < y);
}

/* Pages may name the same chunk. */
static void sort_chunks(struct layout *l)
{
	size_t kept = 0;

	if (!l->n_chunks)
		return;
	qsort(l->chunks, l->n_chunks, sizeof(*l->chunks), by_id);
	for (size_t i = 0; i < l->n_chunks; i++)
		if (!kept || l->chunks[kept - 1].id != l->chunks[i].id)
			l->chunks[kept++] = l->chunks[i];
	l->n_chunks = kept;
}

/* Is it inside the chunk that it names? */
static int is_inside(const struct layout_piece *p)
{
	return p->chunk && p->chunk->len <= STORE_CHUNK_MAX &&
	       p->off <= p->chunk->len && p->len <= p->chunk->len - p->off;
}

static int add_pieces(struct layout *l, const struct m_slot *s)
{
	uint64_t at = s->index * l->attr.slot_size;
	struct piece *v = NULL;
	uint32_t len;
	size_t n;
	int err;

	if (s->index >= slots_of(&l->attr))
		return 0;
	len = l->attr.size - at < l->attr.slot_size
		      ? (uint32_t)(l->attr.size - at)
		      : l->attr.slot_size;
	err = slices_resolve(s->slices, s->n_slices, 0, len, &v, &n);
	if (!err)
		err = grow((void **)&l->pieces, l->n_pieces, n,
			   sizeof(*l->pieces));
	for (size_t i = 0; !err && i < n; i++) {
		if (!v[i].chunk)
			continue;
		l->pieces[l->n_pieces] = (struct layout_piece){
			.at = at + v[i].pos, .len = v[i].len, .off = v[i].off,
			.chunk = layout_chunk(l, v[i].chunk), .slot = s->index,
		};
		if (!is_inside(&l->pieces[l->n_pieces++]))
			err = -EBADMSG;
	}
	free(v);
	return err;
}

int layout_load(struct layout *l, const struct ask *ask, uint64_t ino)
{
	int err = -ESTALE;

	memset(l, 0, sizeof(*l));
	for (int i = 0; err == -ESTALE && i < TRIES; i++) {
		layout_fini(l);
		err = load_pages(l, ask, ino);
	}
	if (err == -ESTALE)
		err = -EAGAIN;
	if (!err)
		sort_chunks(l);
	for (size_t i = 0; !err && i < l->n_slots; i++)
		err = i && l->slots[i].index <= l->slots[i - 1].index
			      ? -EBADMSG
			      : add_pieces(l, &l->slots[i]);
	if (err)
		layout_fini(l);
	return err;
}

void layout_fini(struct layout *l)
{
	free(l->slots);
	free(l->chunks);
	free(l->pieces);
	arena_fini(&l->arena);
	memset(l, 0, sizeof(*l));
}

const struct m_chunk *layout_chunk(const struct layout *l, uint64_t id)
{
	struct m_chunk key = { .id = id };

	if (!l->n_chunks)
		return NULL;
	return bsearch(&key, l->chunks, l->n_chunks, sizeof(key), by_id);
}

/* ---------------------------------------------------------------- paths */

static int lookup(const struct ask *ask, uint64_t parent, struct str name,
		  struct m_attr *out)
{
	struct m_lookup q = { .parent = parent, .name = name };
	struct arena a = ARENA_INIT;
	struct buf *body = NULL;
	struct wr w = WR_INIT;
	struct m_lookup_r r = { 0 };
	int err;

	m_lookup_encode(&w, &q);	/* a failure shows in w.err */
	err = ask_call(ask, M_lookup, &w, &body, NULL, 0);
	if (!err)
		err = m_lookup_r_decode(&r, &a, body->data, body->len);
	if (!err)
		*out = r.attr;
	arena_fini(&a);
	buf_unref(body);
	return err;
}

static int getattr(const struct ask *ask, uint64_t ino, struct m_attr *out)
{
	struct m_getattr q = { .ino = ino };
	struct arena a = ARENA_INIT;
	struct buf *body = NULL;
	struct wr w = WR_INIT;
	struct m_getattr_r r = { 0 };
	int err;

	m_getattr_encode(&w, &q);	/* as above */
	err = ask_call(ask, M_getattr, &w, &body, NULL, 0);
	if (!err)
		err = m_getattr_r_decode(&r, &a, body->data, body->len);
	if (!err)
		*out = r.attr;
	arena_fini(&a);
	buf_unref(body);
	return err;
}

int layout_find(const struct ask *ask, const char *path, struct m_attr *out)
{
	int err = getattr(ask, LAYOUT_ROOT, out);

	while (!err && *path) {
		size_t n = strcspn(path, "/");

		if (n > MSG_NAME_MAX)
			return -ENAMETOOLONG;
		if (n)
			err = lookup(ask, out->ino,
				     (struct str){ path, (uint32_t)n }, out);
		path += n + (path[n] == '/');
	}
	return err;
}
