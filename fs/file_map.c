/*
 * file_map -- which chunks a file's slots are made of, a page at a time.
 *
 * Happy path: file_map_find() has the page, under the inode's lease.  Else
 * file_map_want() asks the tracker (once for all who wait); the page goes on
 * the file's list and to those who waited.
 *
 * Failures: the lease was revoked, or the map dropped, while the answer was
 * under way (gen differs): those who waited began before that and may use
 * it, nobody else.  The answer is older than a commit of our own whose
 * extents are gone from memory: nobody may use it; they ask again.
 *
 * All pages on the list are of the version in file.attr.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "file_internal.h"

/* ---------------------------------------------------------------- chunks */

void file_mchunk_put(struct mchunk *c)
{
	if (c && __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(c);
}

struct mchunk *file_map_chunk(const struct page *p, uint64_t id)
{
	struct mchunk *c;

	HASH_FIND(hh, p->chunks, &id, sizeof(id), c);
	return c;
}

/* Makes one in the page's table, with the table's reference. */
static struct mchunk *chunk_add(struct page *p, const struct m_chunk *m)
{
	struct mchunk *c = file_map_chunk(p, m->id);
	size_t n = m->n_holders * sizeof(c->holders[0]);

	if (c)
		return c;
	c = malloc(sizeof(*c) + n);
	if (!c)
		return NULL;
	c->refs = 1;
	c->c = *m;
	c->c.holders = c->holders;
	if (n)
		memcpy(c->holders, m->holders, n);
	HASH_ADD(hh, p->chunks, c.id, sizeof(c->c.id), c);
	if (!TABLE_ADDED(c)) {
		free(c);
		return NULL;
	}
	return c;
}

/* A slice went: its chunk leaves the table unless another names it. */
static void chunk_unused(struct page *p, const struct mslot *s, uint64_t id)
{
	struct mchunk *c = id ? file_map_chunk(p, id) : NULL;

	if (!c)
		return;
	for (uint32_t i = 0; i < s->n; i++)
		if (s->v[i].chunk == id)
			return;
	/* another slot of the page may share it: a clone, a cut append */
	for (uint32_t k = 0; k < p->count; k++)
		for (uint32_t i = 0; i < p->slots[k].n; i++)
			if (p->slots[k].v[i].chunk == id)
				return;
	HASH_DEL(p->chunks, c);
	file_mchunk_put(c);
}

/* ----------------------------------------------------------------- pages */

void file_page_put(struct page *p)
{
	struct mchunk *c, *next;

	if (!p || --p->refs)
		return;
	HASH_ITER(hh, p->chunks, c, next) {
		HASH_DEL(p->chunks, c);
		file_mchunk_put(c);
	}
	for (uint32_t i = 0; i < p->count; i++)
		free(p->slots[i].v);
	free(p);
}

static void take_off(struct file *f, struct page *p)
{
	TAILQ_REMOVE(&f->pages, p, lru);
	f->n_pages--;
	file_page_put(p);
}

void file_map_drop(struct file *f)
{
	while (!TAILQ_EMPTY(&f->pages))
		take_off(f, TAILQ_FIRST(&f->pages));
	f->gen++;
}

static int has_slot(const struct page *p, uint64_t slot)
{
	return slot >= p->first && slot - p->first < p->count;
}

struct page *file_map_find(struct file *f, uint64_t slot)
{
	struct page *p;

	TAILQ_FOREACH(p, &f->pages, lru) {
		if (!has_slot(p, slot))
			continue;
		if (p != TAILQ_FIRST(&f->pages)) {
			TAILQ_REMOVE(&f->pages, p, lru);
			TAILQ_INSERT_HEAD(&f->pages, p, lru);
		}
		return p;
	}
	return NULL;
}

/* One slot as the tracker told it; nothing of it is believed unchecked. */
static int fill_slot(struct page *p, const struct m_slot *m,
		     uint32_t slot_size)
{
	struct mslot *s;

	if (!has_slot(p, m->index))
		return -EBADMSG;
	s = &p->slots[m->index - p->first];
	if (s->v)
		return -EBADMSG;
	for (uint32_t i = 0; i < m->n_slices; i++) {
		const struct m_slice *v = &m->slices[i];

		if (v->len > slot_size || v->pos > slot_size - v->len ||
		    (v->chunk && !file_map_chunk(p, v->chunk)))
			return -EBADMSG;
	}
	if (!m->n_slices)
		return 0;
	s->v = malloc(m->n_slices * sizeof(*s->v));
	if (!s->v)
		return -ENOMEM;
	memcpy(s->v, m->slices, m->n_slices * sizeof(*s->v));
	s->n = s->cap = m->n_slices;
	return 0;
}

static int page_new(struct page **out, const struct map_req *q,
		    const struct m_getmap_r *m)
{
	struct page *p = calloc(1, sizeof(*p));
	int err = 0;

	if (!p)
		return -ENOMEM;
	p->refs = 1;
	p->first = q->first;
	p->count = q->count;
	p->gen = q->gen;
	p->version = m->attr.version;
	p->size = m->attr.size;
	for (uint32_t i = 0; !err && i < m->n_chunks; i++)
		if (!chunk_add(p, &m->chunks[i]))
			err = -ENOMEM;
	for (uint32_t i = 0; !err && i < m->n_slots; i++)
		err = fill_slot(p, &m->slots[i], q->f->slot_size);
	if (err) {
		file_page_put(p);
		return err;
	}
	*out = p;
	return 0;
}

/* ------------------------------------------------------------- requests */

int file_map_want(struct file *f, uint64_t slot, struct map_wait *w,
		  struct map_req **send)
{
	uint64_t first = slot - slot % f->page_slots;
	struct map_req *q;

	*send = NULL;
	TAILQ_FOREACH(q, &f->reqs, next)
		if (q->first == first && q->gen == f->gen &&
		    q->count == f->page_slots)
			break;
	if (!q) {
		q = calloc(1, sizeof(*q));
		if (!q)
			return -ENOMEM;
		q->f = file_get(f);
		q->first = first;
		q->count = f->page_slots;
		q->gen = f->gen;
		TAILQ_INIT(&q->waits);
		TAILQ_INSERT_TAIL(&f->reqs, q, next);
		*send = q;
	}
	if (w)
		TAILQ_INSERT_TAIL(&q->waits, w, next);
	return 0;
}

/* The page is built and, if nothing came between, kept. */
static int take_answer(struct map_req *q, const struct m_getmap_r *m,
		       struct page **out)
{
	struct file *f = q->f;
	struct page *p;
	int err = 0, kept;

	*out = NULL;
	if (m->attr.ino != f->ino || m->attr.slot_size != f->slot_size)
		return -EBADMSG;
	if (m->attr.version < f->attr.version || q->gen < f->lost_gen)
		return 0;	/* outrun by a commit: ask again */
	err = page_new(&p, q, m);
	if (err)
		return err;
	kept = q->gen == f->gen;
	if (m->attr.version > f->attr.version)
		file_attr_newer(f, &m->attr);
	if (kept && !file_map_find(f, q->first)) {
		p->refs++;
		TAILQ_INSERT_HEAD(&f->pages, p, lru);
		if (++f->n_pages > FILE_PAGES_MAX)
			take_off(f, TAILQ_LAST(&f->pages, page_list));
	}
	*out = p;
	return 0;
}

/* So many slices that the answer had no room: smaller pages from now on. */
static int make_smaller(struct map_req *q)
{
	struct file *f = q->f;

	if (q->count <= FILE_PAGE_LEAST)
		return -E2BIG;
	if (f->page_slots == q->count) {
		f->page_slots = q->count / 2;
		file_map_drop(f);
	}
	return 0;
}

static void answered(void *arg, int err, const struct rpc_answer *a)
{
	struct arena arena = ARENA_INIT;
	struct map_req *q = arg;
	struct file *f = q->f;
	struct m_getmap_r m;
	struct page *p = NULL;
	struct map_wait *w;

	if (!err)
		err = m_getmap_r_decode(&m, &arena, a->body->data,
					a->body->len);
	pthread_mutex_lock(&f->lock);
	TAILQ_REMOVE(&f->reqs, q, next);
	if (!err)
		err = take_answer(q, &m, &p);
	else if (err == -E2BIG)
		err = make_smaller(q);
	TAILQ_FOREACH(w, &q->waits, next) {
		w->err = err;
		w->page = p;
		if (p)
			p->refs++;
	}
	file_page_put(p);
	pthread_mutex_unlock(&f->lock);
	arena_fini(&arena);
	while ((w = TAILQ_FIRST(&q->waits))) {
		TAILQ_REMOVE(&q->waits, w, next);
		file_read_resume(w);
	}
	file_put(f);
	free(q);
}

void file_map_send(struct map_req *q)
{
	struct m_getmap m = { .ino = q->f->ino, .first = q->first,
			      .count = q->count };
	struct wr w = WR_INIT;

	m_getmap_encode(&w, &m);
	link_call(q->f->fs->cfg.link, M_getmap, &w, answered, q);
}

/* --------------------------------------------------------------- commits */

/* Slices that the new one covers whole have nothing to show any more. */
static void drop_covered(struct page *p, struct mslot *s,
			 const struct m_slice *new)
{
	uint32_t i = 0;

	while (i < s->n) {
		struct m_slice old = s->v[i];

		if (old.pos < new->pos ||
		    old.pos + old.len > new->pos + new->len) {
			i++;
			continue;
		}
		memmove(&s->v[i], &s->v[i + 1],
			(s->n - i - 1) * sizeof(*s->v));
		s->n--;
		chunk_unused(p, s, old.chunk);
	}
}

static int push(struct page *p, uint64_t slot, const struct m_slice *new,
		const struct m_chunk *chunk)
{
	struct mslot *s = &p->slots[slot - p->first];
	struct m_slice *v;
	uint32_t cap;

	drop_covered(p, s, new);
	if (s->n == MSG_SLICES_MAX)
		return -E2BIG;
	if (s->n == s->cap) {
		cap = s->cap ? s->cap * 2 : 1;
		v = realloc(s->v, cap * sizeof(*v));
		if (!v)
			return -ENOMEM;
		s->v = v;
		s->cap = cap;
	}
	if (!chunk_add(p, chunk))
		return -ENOMEM;
	s->v[s->n++] = *new;
	return 0;
}

void file_map_push(struct file *f, const struct extent *e, uint64_t off)
{
	struct m_chunk chunk = { .id = e->stored.chunk, .len = e->stored.len,
				 .holders = (uint32_t *)e->stored.nums,
				 .n_holders = e->stored.n };
	uint32_t size = f->slot_size, done = 0;

	memcpy(chunk.md5, e->stored.md5, sizeof(chunk.md5));
	while (done < e->len) {
		uint64_t at = off + done;
		struct page *p = file_map_find(f, at / size);
		struct m_slice s = { .pos = at % size, .chunk = chunk.id,
				     .off = e->at + done };

		s.len = size - s.pos;
		if (s.len > e->len - done)
			s.len = e->len - done;
		/* without memory the page is forgotten, not wrong */
		if (p && push(p, at / size, &s, &chunk))
			take_off(f, p);
		done += s.len;
	}
}

void file_map_stamp(struct file *f, const struct m_attr *a)
{
	struct page *p;

	f->attr = *a;
	TAILQ_FOREACH(p, &f->pages, lru) {
		p->version = a->version;
		p->size = a->size;
	}
}
