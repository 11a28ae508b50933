/*
 * file_seal -- dirty ranges become extents, extents leave in parcels.
 *
 * A range's buffer becomes its extent's, uncopied.  A parcel is what is
 * uploaded, one chunk: as a rule one extent; but small ones that are sealed
 * at one time (random writes, then an fsync) are put one behind the other
 * into one chunk, which costs every peer one file instead of many, and each
 * becomes a slice of it.
 *
 * Failure: without memory the extents are lost, and the error is kept.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "file_internal.h"

_Static_assert(RANGES_TAIL >= UPLOAD_TAIL, "a range leaves as it is");

/* Fewer parcels than this are each uploaded with sync; more are made durable
 * together, by one more request, which costs less than a sync of each. */
enum { SYNC_TOGETHER = 4 };

/* --------------------------------------------------------------- parcels */

/* May the next chunk be uploaded without sync?  Only if fsync will find it
 * in file.recent. */
static int recent_room(struct file *f)
{
	uint32_t due = f->n_recent + f->recent_due, cap = f->recent_cap;
	uint64_t *v;

	if (due >= FILE_RECENT_MAX)
		return 0;
	if (due < cap)
		return 1;
	cap = cap ? cap * 2 : 16;
	v = realloc(f->recent, cap * sizeof(*v));
	if (!v)
		return 0;
	f->recent = v;
	f->recent_cap = cap;
	return 1;
}

static struct parcel *parcel_new(struct file *f, struct extent *e,
				 struct todo *t)
{
	struct parcel *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->f = f;
	p->first = e;
	p->job = (struct upload_job){
		.ino = f->ino,
		.slot = e->off / f->slot_size,
		.pos = e->off % f->slot_size,
		.sync = !recent_room(f),
		.done = file_uploaded,
	};
	f->recent_due += !p->job.sync;
	STAILQ_INSERT_TAIL(&t->uploads, p, start);
	t->n_uploads++;
	return p;
}

static void parcel_add(struct parcel *p, struct extent *e)
{
	e->at = p->job.len;
	p->job.len += e->len;
	p->n++;
}

/* Does @e go into the last parcel, too? */
static struct parcel *parcel_with_room(const struct file *f,
				       const struct extent *e,
				       const struct todo *t)
{
	struct parcel *p = t->gather;
	uint32_t max = f->slot_size < FILE_PARCEL_MAX ? f->slot_size
						      : FILE_PARCEL_MAX;

	return p && e->slot && e->len <= FILE_GATHER_MAX && p->job.len < max &&
	       e->len <= max - p->job.len ? p : NULL;
}

/* The bytes of several in one block, of which each is a view from now on. */
static int parcel_fill(struct parcel *p)
{
	struct extent *e = p->first;
	struct buf *b, *v;

	b = buf_new(p->job.len + UPLOAD_TAIL);
	if (!b)
		return -ENOMEM;
	b->len = p->job.len;
	for (uint32_t i = 0; i < p->n; i++, e = TAILQ_NEXT(e, all)) {
		memcpy(b->data + e->at, e->data->data, e->len);
		v = buf_view(b, e->at, e->len);
		if (!v)
			continue;	/* it keeps its own */
		buf_unref(e->data);
		e->data = v;
	}
	p->job.data = b;
	return 0;
}

static void parcel_drop(struct file *f, struct parcel *p, struct todo *t)
{
	STAILQ_REMOVE(&t->uploads, p, parcel, start);
	t->n_uploads--;
	f->recent_due -= !p->job.sync;
	file_parcel_failed(f, p, -ENOMEM, "its data could not be sent", t);
	free(p);
}

/* Nothing is added any more. */
static void parcel_close(struct file *f, struct todo *t)
{
	struct parcel *p = t->gather;

	t->gather = NULL;
	if (!p)
		return;
	if (p->n == 1)
		p->job.data = buf_ref(p->first->data);
	else if (parcel_fill(p))
		parcel_drop(f, p, t);
}

static int parcel_put(struct file *f, struct extent *e, struct todo *t)
{
	struct parcel *p = parcel_with_room(f, e, t);

	if (!p) {
		parcel_close(f, t);
		p = parcel_new(f, e, t);
		if (!p)
			return -ENOMEM;
		t->gather = p;
	}
	parcel_add(p, e);
	if (!e->slot || e->len > FILE_GATHER_MAX)
		parcel_close(f, t);
	return 0;
}

/* --------------------------------------------------------------- extents */

void file_extent_lost(struct extent *e, struct blocked_list *freed)
{
	struct extent *before = TAILQ_PREV(e, extent_list, all);

	if (before && before->joined && !e->joined)
		before->joined = 0;
	file_extent_end(e, freed);
}

void file_append_cut(struct file *f)
{
	struct extent *last = TAILQ_LAST(&f->extents, extent_list);

	if (last)
		last->joined = 0;
}

/* Takes @r's buffer.  @slot NULL: an append. */
static void seal(struct file *f, struct slot *slot, const struct range *r,
		 uint64_t off, int joined, struct todo *t)
{
	struct extent *e = calloc(1, sizeof(*e));

	files_charge(f->fs, 0, -(int64_t)r->b->cap);
	if (!e) {
		file_fail(f, -ENOMEM, "its data could not be sent");
		if (!joined)
			file_append_cut(f);
		files_uncharge(f->fs, r->b->cap, &t->freed);
		buf_unref(r->b);
		return;
	}
	e->f = f;
	e->slot = slot;
	e->off = off;
	e->data = r->b;
	e->len = r->len;
	e->charged = r->b->cap;
	e->seq = ++f->seq;
	e->mtime_s = f->mtime_s;
	e->mtime_ns = f->mtime_ns;
	e->joined = joined;
	e->uploading = 1;
	TAILQ_INSERT_TAIL(&f->extents, e, all);
	if (slot)
		TAILQ_INSERT_TAIL(&slot->sealed, e, in_slot);
	else
		f->n_appends++;
	if (!f->uploading)
		f->uploading = e;
	if (parcel_put(f, e, t)) {
		file_fail(f, -ENOMEM, "its data could not be sent");
		if (f->uploading == e)
			f->uploading = NULL;
		file_extent_lost(e, &t->freed);
	}
}

static void seal_slot(struct file *f, struct slot *s, struct todo *t)
{
	uint64_t base = s->index * f->slot_size;

	if (!s->dirty.n)
		return;
	if (s->dirty.n > 1 || s->dirty.v[0].len < f->slot_size)
		file_pieces_add(f, s->index, s->dirty.n);
	for (uint32_t i = 0; i < s->dirty.n; i++)
		seal(f, s, &s->dirty.v[i], base + s->dirty.v[i].pos, 0, t);
	s->dirty.n = 0;
	f->n_dirty--;
}

void file_seal_slot(struct file *f, struct slot *s, struct todo *t)
{
	seal_slot(f, s, t);
	parcel_close(f, t);
}

void file_seal_append(struct file *f, int joined, struct todo *t)
{
	struct range r = f->append.v[0];

	if (!f->append.n)
		return;
	f->append.n = 0;
	seal(f, NULL, &r, f->append_off, joined, t);
	f->append_off += r.len;
}

void file_seal_all(struct file *f, struct todo *t)
{
	struct slot *s, *next;

	file_seal_append(f, 0, t);
	if (!f->n_dirty)
		return;
	HASH_ITER(hh, f->slots, s, next) {
		seal_slot(f, s, t);
		file_slot_unused(f, s);
	}
	parcel_close(f, t);
}

void file_seal_durably(struct file *f, struct todo *t)
{
	struct parcel *p;

	file_seal_all(f, t);
	if (t->n_uploads >= SYNC_TOGETHER)
		return;
	STAILQ_FOREACH(p, &t->uploads, start) {
		f->recent_due -= !p->job.sync;
		p->job.sync = 1;
	}
}

void file_extent_end(struct extent *e, struct blocked_list *freed)
{
	struct file *f = e->f;

	TAILQ_REMOVE(&f->extents, e, all);
	if (e->slot) {
		TAILQ_REMOVE(&e->slot->sealed, e, in_slot);
		file_slot_unused(f, e->slot);
	} else {
		f->n_appends--;
	}
	files_uncharge(f->fs, e->charged, freed);
	buf_unref(e->data);
	free(e);
}
