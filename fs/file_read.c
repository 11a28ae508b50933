/*
 * file_read -- a range of a file put together.
 *
 * Happy path: file_plan() makes a list of items under the file's lock.
 * Without the lock all chunks that are not in the memory cache are asked for
 * at once; the last to come answers.
 *
 * Failures: the map is not there: the read waits for the page and plans
 * anew.  A chunk cannot be had though the file changed meanwhile: planned
 * anew, FILE_TRIES times, since its chunk may be gone by right.  A read whose
 * time is up is one that the kernel tries again at once, a page of it: that
 * fails as well, so that the caller waits but once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "counters.h"
#include "file_internal.h"
#include "text.h"

enum {
	ZERO_SIZE = 64 << 10,
	PART_MOST = 4,		/* a quarter of a chunk is a part of it */
	IOV_MOST = 512,		/* beyond, copying is cheaper than writev */
};

static const uint8_t zeros[ZERO_SIZE];

/* ------------------------------------------------------------------- end */

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

	file_plan_forget(r);
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

static void note_late(struct read *r)
{
	uint64_t now = now_ms();
	struct file *f = r->f;

	if (now - r->since_ms < FILE_LATE_MS)
		return;
	pthread_mutex_lock(&f->lock);
	f->late_off = r->off;
	f->late_end = r->off + r->size;
	f->late_until_ms = now + FILE_LATE_USE_MS;
	pthread_mutex_unlock(&f->lock);
}

/* Locked.  Has what is at @off just failed? */
static int is_late(const struct file *f, uint64_t off)
{
	return f->late_until_ms && off >= f->late_off && off < f->late_end &&
	       now_ms() < f->late_until_ms;
}

static void read_waits(struct read *r)
{
	if (!r->since_ms)
		r->since_ms = now_ms();
}

static void read_fail(struct read *r, int err)
{
	if (r->since_ms)
		note_late(r);
	r->done(r->arg, err, NULL, 0);
	read_free(r);
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
		const struct want *w;

		if (it->want < 0)
			continue;
		w = &r->wants[it->want];
		if (w->b->len != w->c->c.len)
			it->at -= w->at;
		if (it->len > w->b->len || it->at > w->b->len - it->len)
			return -EIO;
		it->b = buf_ref(w->b);
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
		file_plan_forget(r);
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

/* A chunk of which little is needed is not read as a whole if need not be. */
static void fetch_one(struct fetch *fetch, struct want *w)
{
	struct fetch_want f = { .chunk = w->c->c, .ino = w->r->f->ino,
				.slot = w->slot, .pos = w->pos };

	if (w->end > w->c->c.len || w->end - w->at > w->c->c.len / PART_MOST)
		fetch_chunk(fetch, &f, fetched, w);
	else
		fetch_part(fetch, &f, (uint32_t)w->at,
			   (uint32_t)(w->end - w->at), fetched, w);
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
	read_waits(r);
	/* @r may end with any callback, but not before the last one_less() */
	for (size_t i = 0; i < r->n_wants; i++) {
		if (!r->wants[i].b)
			fetch_one(fs->cfg.fetch, &r->wants[i]);
	}
	one_less(r);
}

static void read_try(struct read *r)
{
	struct file *f = r->f;
	struct map_req *send = NULL;
	int err, leased = link_leased(f->fs->cfg.link);

	pthread_mutex_lock(&f->lock);
	err = file_plan(r, leased, &send);
	if (err == 1)
		read_waits(r);
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
	struct read *r = container_of(w, struct read, wait);
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
	int leased, late;

	/* the kernel asks for whole pages, also for the last there can be */
	if (off <= INT64_MAX && size > INT64_MAX - off)
		size = INT64_MAX - off;
	if (!r || off > INT64_MAX) {
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
	late = is_late(f, off);
	pthread_mutex_unlock(&f->lock);
	if (late)
		read_fail(r, -EIO);
	else
		read_try(r);
	file_ahead_run(f, &ahead);
	file_put(f);
}
