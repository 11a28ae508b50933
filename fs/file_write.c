/*
 * file_write -- bytes into memory.
 *
 * A write goes into its slots' dirty ranges; a slot that is full is sealed at
 * once.  An append grows one range of its own at the tentative end of the
 * file; plain writes and appends seal each other first, so that there are
 * never both and the order of sealing is that of writing.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "file_internal.h"
#include "log.h"
#include "text.h"

int file_dirty(const struct file *f)
{
	return f->n_dirty || f->append.n;
}

/* ----------------------------------------------------------------- slots */

static struct slot *slot_find(struct file *f, uint64_t index)
{
	struct slot *s;

	HASH_FIND(hh, f->slots, &index, sizeof(index), s);
	return s;
}

static struct slot *slot_get(struct file *f, uint64_t index)
{
	struct slot *s = slot_find(f, index);

	if (s)
		return s;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->index = index;
	TAILQ_INIT(&s->sealed);
	HASH_ADD(hh, f->slots, index, sizeof(s->index), s);
	if (!TABLE_ADDED(s)) {
		free(s);
		return NULL;
	}
	return s;
}

void file_slot_unused(struct file *f, struct slot *s)
{
	if (s->dirty.n || !TAILQ_EMPTY(&s->sealed))
		return;
	HASH_DEL(f->slots, s);
	free(s);
}

/* --------------------------------------------------------------- writing */

static int write_range(struct file *f, struct ranges *r, uint32_t pos,
		       const void *p, uint32_t len, uint32_t room)
{
	size_t before = ranges_bytes(r);
	int64_t more;
	int err;

	err = ranges_write(r, pos, p, len, room);
	more = (int64_t)ranges_bytes(r) - (int64_t)before;
	if (more)
		files_charge(f->fs, more, more);
	return err;
}

/* @len bytes that lie in one slot. */
static int write_slot(struct file *f, uint64_t off, const void *p,
		      uint32_t len, int streaming, struct todo *t)
{
	uint32_t size = f->slot_size, pos = off % size;
	struct slot *s = slot_get(f, off / size);
	uint32_t room = streaming ? size - pos : 0;
	int err;

	if (!s)
		return -ENOMEM;
	f->n_dirty += !s->dirty.n;
	err = write_range(f, &s->dirty, pos, p, len, room);
	if (err == -ENOSPC) {
		file_seal_slot(f, s, t);	/* it may be gone then */
		s = slot_get(f, off / size);
		if (!s)
			return -ENOMEM;
		f->n_dirty++;
		err = write_range(f, &s->dirty, pos, p, len, room);
	}
	if (!s->dirty.n)
		f->n_dirty--;
	else if (s->dirty.v[0].len == size)
		file_seal_slot(f, s, t);
	s = slot_find(f, off / size);
	if (s)
		file_slot_unused(f, s);
	return err;
}

static int write_plain(struct file *f, uint64_t off, const uint8_t *p,
		       size_t left, int streaming, struct todo *t)
{
	uint32_t size = f->slot_size;
	int err = 0;

	file_seal_append(f, 0, t);
	while (left && !err) {
		uint32_t n = size - off % size;

		if (n > left)
			n = left;
		err = write_slot(f, off, p, n, streaming, t);
		off += n;
		p += n;
		left -= n;
		if (!err && f->local_end < off)
			f->local_end = off;
	}
	return err;
}

static uint64_t end_here(const struct file *f)
{
	return f->attr.size > f->local_end ? f->attr.size : f->local_end;
}

/* One write(2)'s bytes stay together: in one extent, or in joined ones, all
 * sealed, since a commit takes a group whole. */
static int write_append(struct file *f, const uint8_t *p, size_t left,
			int streaming, struct todo *t)
{
	uint32_t size = f->slot_size, have;
	int whole = left <= size, err = 0;

	if (f->n_dirty)
		file_seal_all(f, t);
	if (f->append.n && left > size - f->append.v[0].len)
		file_seal_append(f, 0, t);
	while (left && !err) {
		uint32_t n = left < size ? left : size;

		if (!f->append.n)
			f->append_off = end_here(f);
		have = f->append.n ? f->append.v[0].len : 0;
		err = write_range(f, &f->append, have, p, n,
				  streaming ? size - have : 0);
		if (err)
			break;
		f->local_end = f->append_off + have + n;
		p += n;
		left -= n;
		if (!whole || have + n == size)
			file_seal_append(f, left != 0, t);
	}
	if (err)
		file_append_cut(f);	/* the rest does not come */
	return err;
}

static int is_clean(const struct file *f)
{
	return !f->n_dirty && !f->append.n && TAILQ_EMPTY(&f->extents);
}

/* Bytes in sequence after which chunks are gathered for their MD5s: a long
 * stream gains by it what a short file would lose at its close. */
enum { GATHER_AFTER = 8 << 20 };

/* How the handle writes: a slot and more in sequence is a stream. */
static int is_stream(struct file_handle *h, int append, uint64_t off,
		     size_t size)
{
	if (!append && off != h->w_next)
		h->w_run = 0;
	h->w_next = off + size;
	h->w_run += size;
	return h->w_run > h->f->slot_size;
}

void file_write(struct file_handle *h, uint64_t off, const void *data,
		size_t size, int flags, file_done done, void *arg)
{
	int append = !(flags & FILE_IN_PLACE) &&
		     (h->append || (flags & FILE_APPEND));
	struct file *f = file_get(h->f);
	struct todo t;
	int err = 0, streaming;

	file_todo_init(f, &t);
	pthread_mutex_lock(&f->lock);
	if (append)
		off = end_here(f);
	if (size > INT64_MAX || off > INT64_MAX - size)
		err = -EFBIG;
	if (f->fenced)
		err = -EIO;
	if (!err && size) {
		file_busy(f);
		if (is_clean(f)) {
			f->base = f->attr.version;
			f->term = t.term;
		}
		wall_time(&f->mtime_s, &f->mtime_ns);
		streaming = is_stream(h, append, off, size);
		t.more = h->w_run > GATHER_AFTER;
		err = append ? write_append(f, data, size, streaming, &t)
			     : write_plain(f, off, data, size, streaming, &t);
		f->kill_suid |= flags & (FILE_KILL_SUID | FILE_KILL_SGID);
		if (err)
			file_advance(f, &t);	/* may be idle after all */
	}
	pthread_mutex_unlock(&f->lock);
	file_todo_run(f, &t);
	if (err)
		done(arg, err);
	else
		files_answer(f->fs, done, arg);
	file_put(f);
}

/* --------------------------------------------------------------- reading */

static void paint_extent(struct spans *s, const struct extent *e)
{
	spans_paint(s, e->off, e->len, e->data, 0);
}

static void paint_ranges(struct spans *s, const struct ranges *r,
			 uint64_t base)
{
	for (uint32_t i = 0; i < r->n; i++)
		spans_paint(s, base + r->v[i].pos, r->v[i].len, r->v[i].b, 1);
}

/* Appends lie anywhere: the whole list, in order. */
static void paint_all(struct file *f, struct spans *s)
{
	const struct extent *e;

	TAILQ_FOREACH(e, &f->extents, all)
		paint_extent(s, e);
}

void file_paint(struct file *f, struct spans *s)
{
	uint32_t size = f->slot_size;
	const struct extent *e;
	uint64_t first, last;
	struct slot *slot;
	int all = f->n_appends != 0;

	if (!s->n)
		return;
	first = s->v[0].off / size;
	last = (s->v[0].off + s->v[0].len - 1) / size;
	if (all)
		paint_all(f, s);
	for (uint64_t i = first; f->slots && i <= last; i++) {
		slot = slot_find(f, i);
		if (!slot)
			continue;
		if (!all)
			TAILQ_FOREACH(e, &slot->sealed, in_slot)
				paint_extent(s, e);
		paint_ranges(s, &slot->dirty, i * size);
	}
	paint_ranges(s, &f->append, f->append_off);
}

void file_local_end(struct file *f)
{
	const struct extent *e;
	struct slot *s, *next;
	uint64_t end = 0;

	TAILQ_FOREACH(e, &f->extents, all)
		if (end < e->off + e->len)
			end = e->off + e->len;
	HASH_ITER(hh, f->slots, s, next) {
		const struct range *r = s->dirty.v;
		uint64_t base = s->index * f->slot_size;

		for (uint32_t i = 0; i < s->dirty.n; i++, r++)
			if (end < base + r->pos + r->len)
				end = base + r->pos + r->len;
	}
	if (f->append.n && end < f->append_off + f->append.v[0].len)
		end = f->append_off + f->append.v[0].len;
	f->local_end = end;
}
