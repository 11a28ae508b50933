/*
 * file_ahead -- chunks that a sequential reader will want next.
 *
 * A handle reads in sequence while each read begins within AHEAD_SLACK of
 * where the last one ended (the kernel sends reads of one stream out of
 * order).  The window of slots asked for ahead grows quickly with each such
 * read.
 */
#include <string.h>

#include "file_internal.h"

enum { AHEAD_SLACK = 2 << 20, AHEAD_FIRST = 2, AHEAD_GROWS = 8,
       AHEAD_BYTES = 16 << 20 };	/* or one slot, if that is more */

/* Is it one? */
static int in_sequence(struct file_handle *h, uint64_t off, size_t size)
{
	uint64_t end = off + size;
	uint64_t gap = off > h->r_next ? off - h->r_next : h->r_next - off;

	if (gap > AHEAD_SLACK) {
		h->r_next = end;
		h->window = 0;
		h->ahead = 0;
		return 0;
	}
	if (h->r_next < end)
		h->r_next = end;
	return 1;
}

/* @most slots, but of a file with large ones fewer. */
static void widen(struct file_handle *h, uint32_t most)
{
	uint32_t fit = AHEAD_BYTES / h->f->slot_size;

	if (most > fit)
		most = fit ? fit : 1;
	h->window = h->window ? h->window * AHEAD_GROWS : AHEAD_FIRST;
	if (h->window > most)
		h->window = most;
}

/* Whether there was room for all of the slot's chunks. */
static int add_slot(const struct page *p, uint64_t slot, struct ahead *a)
{
	const struct mslot *s = &p->slots[slot - p->first];

	for (uint32_t i = 0; i < s->n; i++) {
		struct mchunk *c;

		if (a->n == AHEAD_MAX)
			return 0;
		c = s->v[i].chunk ? file_map_chunk(p, s->v[i].chunk) : NULL;
		if (!c)
			continue;
		__atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
		a->v[a->n].c = c;
		a->v[a->n].slot = slot;
		a->v[a->n].pos = s->v[i].pos > s->v[i].off ?
				 s->v[i].pos - s->v[i].off : 0;
		a->n++;
	}
	return 1;
}

void file_ahead_plan(struct file_handle *h, uint64_t off, size_t size,
		     int leased, struct ahead *a)
{
	struct file *f = h->f;
	uint64_t slot_size = f->slot_size, slot, last;
	struct page *p;

	a->n = 0;
	a->req = NULL;
	if (!f->fs->cfg.readahead || !leased || !in_sequence(h, off, size))
		return;
	widen(h, f->fs->cfg.readahead);
	slot = (off + size) / slot_size;
	last = slot + h->window;
	if (slot < h->ahead)
		slot = h->ahead;
	for (; slot < last && slot * slot_size < f->attr.size; slot++) {
		p = file_map_find(f, slot);
		if (!p) {
			file_map_want(f, slot, NULL, &a->req);
			break;
		}
		if (!add_slot(p, slot, a))
			break;
	}
	if (h->ahead < slot)
		h->ahead = slot;
}

void file_ahead_run(struct file *f, struct ahead *a)
{
	if (a->req)
		file_map_send(a->req);
	for (unsigned i = 0; i < a->n; i++) {
		struct fetch_want w = { .chunk = a->v[i].c->c, .ino = f->ino,
					.slot = a->v[i].slot,
					.pos = a->v[i].pos };

		fetch_chunk(f->fs->cfg.fetch, &w, NULL, NULL);
		file_mchunk_put(a->v[i].c);
	}
}
