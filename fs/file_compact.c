/*
 * file_compact -- a slot's stack of slices becomes one chunk.
 *
 * Asked for by the tracker (commit_r.deep), or when a file that was written
 * in pieces is closed.  A few at a time, from a queue that forgets what does
 * not fit; nobody waits for it, and no error of it matters but to the log.
 * Or because a slot takes no more slices: then a commit waits (file_commit.c),
 * and it is begun at once.
 *
 * Happy path: a fresh getmap of the slot -> fetch its chunks -> one buffer
 * -> upload, with sync, since what it replaces may have been fsynced ->
 * compact, which the tracker does only if the slot is still what was read.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "counters.h"
#include "file_internal.h"
#include "log.h"

enum { HALF_FULL = MSG_SLICES_MAX / 2 };	/* slices of a slot */

struct compact {
	struct upload_job job;
	TAILQ_ENTRY(compact) next;
	struct file *f;		/* referenced */
	uint64_t slot;
	uint64_t expect;	/* the slot's version */
	uint32_t least;		/* slices that are worth it */
	file_compacted then;	/* a commit waits; NULL: it was queued */
	void *then_arg;
	uint64_t size;		/* of the file; 0: not known */
	struct piece *pieces;
	size_t n_pieces;
	struct part *parts;	/* one for each piece */
	int pending, err;	/* atomic */
};

struct part {			/* a piece that is being fetched */
	struct compact *c;
	const struct piece *p;
};

static void start(struct compact *c);

/* ----------------------------------------------------------------- queue */

static void compact_free(struct compact *c)
{
	buf_unref(c->job.data);
	free(c->pieces);
	free(c->parts);
	file_put(c->f);
	free(c);
}

/* The next that may run, taken off the queue. */
static struct compact *next_one(struct files *fs)
{
	struct compact *c = NULL;

	pthread_mutex_lock(&fs->lock);
	if (fs->compacting < FILE_COMPACTIONS && !fs->stopped)
		c = TAILQ_FIRST(&fs->compact);
	if (c) {
		TAILQ_REMOVE(&fs->compact, c, next);
		fs->n_compact--;
		fs->compacting++;
	}
	pthread_mutex_unlock(&fs->lock);
	return c;
}

static void start_more(struct files *fs)
{
	struct compact *c;

	while ((c = next_one(fs)))
		start(c);
}

static void end(struct compact *c, int err)
{
	struct files *fs = c->f->fs;
	file_compacted then = c->then;
	void *arg = c->then_arg;
	uint64_t size = c->size;

	if (err && err != -ENOENT && err != -ECANCELED && err != -ESTALE)
		log_warn("inode %llu: slot %llu was not compacted (%s)",
			 (unsigned long long)c->f->ino,
			 (unsigned long long)c->slot, strerror(-err));
	if (then) {
		compact_free(c);
		then(arg, size);
		return;
	}
	pthread_mutex_lock(&fs->lock);
	fs->compacting--;
	pthread_mutex_unlock(&fs->lock);
	start_more(fs);
	compact_free(c);
}

/* Locked: is it in the queue, or the queue full? */
static int is_enough(const struct files *fs, const struct file *f,
		     uint64_t slot)
{
	const struct compact *c;

	if (fs->n_compact >= FILE_COMPACT_QUEUE || fs->stopped)
		return 1;
	TAILQ_FOREACH(c, &fs->compact, next)
		if (c->f == f && c->slot == slot)
			return 1;
	return 0;
}

static struct compact *compact_new(struct file *f, uint64_t slot,
				   uint32_t least)
{
	struct compact *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->f = file_get(f);
	c->slot = slot;
	c->least = least;
	return c;
}

static void queue(struct file *f, uint64_t slot)
{
	struct compact *c = compact_new(f, slot, 2);
	struct files *fs = f->fs;
	int enough;

	if (!c)
		return;
	pthread_mutex_lock(&fs->lock);
	enough = is_enough(fs, f, slot);
	if (!enough) {
		TAILQ_INSERT_TAIL(&fs->compact, c, next);
		fs->n_compact++;
	}
	pthread_mutex_unlock(&fs->lock);
	if (enough)
		compact_free(c);
}

void file_compact(struct file *f, const uint64_t *slots, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		queue(f, slots[i]);
	start_more(f->fs);
}

/* From half of the most on: others push to it, too. */
void file_compact_full(struct file *f, const struct pieces *p,
		       file_compacted then, void *arg)
{
	uint32_t least = p->slices + 2 < HALF_FULL ? HALF_FULL - p->slices
						  : 2;
	struct compact *c = compact_new(f, p->slot, least);

	if (!c) {
		then(arg, 0);
		return;
	}
	c->then = then;
	c->then_arg = arg;
	start(c);
}

void files_compact(struct files *fs, uint64_t ino, const uint64_t *slots,
		   uint32_t n)
{
	struct file *f = n ? file_find(fs, ino) : NULL;

	if (!f)
		return;
	file_compact(f, slots, n);
	file_put(f);
}

void files_compact_stop(struct files *fs)
{
	struct compact *c;

	for (;;) {
		pthread_mutex_lock(&fs->lock);
		c = TAILQ_FIRST(&fs->compact);
		if (c) {
			TAILQ_REMOVE(&fs->compact, c, next);
			fs->n_compact--;
		}
		pthread_mutex_unlock(&fs->lock);
		if (!c)
			return;
		compact_free(c);
	}
}

/* ---------------------------------------------------------------- pieces */

void file_pieces_add(struct file *f, uint64_t slot, uint32_t slices)
{
	for (unsigned i = 0; i < f->n_pieces; i++)
		if (f->pieces[i].slot == slot) {
			f->pieces[i].n++;
			f->pieces[i].slices += slices;
			return;
		}
	if (f->n_pieces < FILE_PIECES_MAX)
		f->pieces[f->n_pieces++] = (struct pieces){ slot, 1,
							   slices };
}

/*
 * Compacting costs a slot's bytes, with sync: a slot that is being written
 * in small pieces (a log, a database) is let grow until they are about a
 * fair part of that, or half of what the stack takes.  What is not due now
 * is when the file is closed.
 */
static int is_due(struct file *f, uint64_t slot)
{
	for (unsigned i = 0; i < f->n_pieces; i++) {
		struct pieces *p = &f->pieces[i];

		if (p->slot != slot)
			continue;
		if (p->n < SLICES_DEEP + f->slot_size / FILE_PIECE &&
		    p->slices < HALF_FULL)
			return 0;
		p->n = p->slices = 1;	/* the slot as it will be is one */
		return 1;
	}
	return 1;
}

uint32_t file_pieces_due(struct file *f, uint64_t *slots, uint32_t n)
{
	uint32_t due = 0;

	for (uint32_t i = 0; i < n; i++)
		if (is_due(f, slots[i]))
			slots[due++] = slots[i];
	return due;
}

/* Slots written in more than one piece since the file was opened; which of
 * them have more than one slice is seen when it is their turn. */
void file_compact_close(struct file *f)
{
	uint64_t slots[FILE_PIECES_MAX];
	uint32_t n = 0;

	pthread_mutex_lock(&f->lock);
	for (unsigned i = 0; i < f->n_pieces; i++)
		if (f->pieces[i].n > 1)
			slots[n++] = f->pieces[i].slot;
	f->n_pieces = 0;
	pthread_mutex_unlock(&f->lock);
	file_compact(f, slots, n);
}

/* --------------------------------------------------------------- the swap */

static void swapped(void *arg, int err, const struct rpc_answer *a)
{
	struct arena arena = ARENA_INIT;
	struct m_compact_r m = { 0 };
	struct compact *c = arg;
	struct file *f = c->f;

	if (!err)
		err = m_compact_r_decode(&m, &arena, a->body->data,
					 a->body->len);
	arena_fini(&arena);
	if (!err && m.attr.ino != f->ino)
		err = -EBADMSG;
	if (!err && m.done) {
		counter_add(CNT_COMPACTIONS, 1);
		pthread_mutex_lock(&f->lock);
		/* its chunks will be deleted, whatever the version says */
		file_map_drop(f);
		file_attr_newer(f, &m.attr);
		pthread_mutex_unlock(&f->lock);
		if (f->fs->cfg.attr)
			f->fs->cfg.attr(f->fs->cfg.arg, &m.attr);
	}
	end(c, err);
}

static void uploaded(struct upload_job *j, int err)
{
	struct compact *c = container_of(j, struct compact, job);
	struct m_compact m = { .ino = c->f->ino, .expect = c->expect };
	struct wr w = WR_INIT;

	if (err) {
		end(c, err);
		return;
	}
	m.push = (struct m_push){
		.slot = c->slot, .len = j->len, .chunk = j->chunk,
		.chunk_len = j->len, .stored = j->stored,
		.n_stored = j->n_stored,
	};
	memcpy(m.push.md5, j->md5, sizeof(m.push.md5));
	m_compact_encode(&w, &m);
	link_call(c->f->fs->cfg.link, M_compact, &w, swapped, c);
}

/* ------------------------------------------------------------ the content */

static void one_less(struct compact *c)
{
	if (__atomic_sub_fetch(&c->pending, 1, __ATOMIC_ACQ_REL))
		return;
	if (c->err) {
		end(c, c->err);
		return;
	}
	c->job.ino = c->f->ino;
	c->job.slot = c->slot;
	c->job.sync = 1;
	c->job.done = uploaded;
	upload_chunk(c->f->fs->cfg.upload, &c->job);
}

static void fetched(void *arg, int err, struct buf *b)
{
	const struct part *part = arg;
	const struct piece *p = part->p;
	struct compact *c = part->c;

	if (!err && (p->len > b->len || p->off > b->len - p->len))
		err = -EIO;
	if (err)
		__atomic_store_n(&c->err, err, __ATOMIC_RELAXED);
	else
		memcpy(c->job.data->data + p->pos, b->data + p->off, p->len);
	one_less(c);
}

static const struct m_chunk *chunk_of(const struct m_getmap_r *m, uint64_t id)
{
	for (uint32_t i = 0; i < m->n_chunks; i++)
		if (m->chunks[i].id == id)
			return &m->chunks[i];
	return NULL;
}

static void fetch_piece(struct compact *c, size_t i,
			const struct m_getmap_r *m)
{
	const struct piece *p = &c->pieces[i];
	const struct m_chunk *chunk = chunk_of(m, p->chunk);
	struct fetch_want w = { .ino = c->f->ino, .slot = c->slot };

	if (!chunk) {
		__atomic_store_n(&c->err, -EBADMSG, __ATOMIC_RELAXED);
		one_less(c);
		return;
	}
	w.chunk = *chunk;
	w.pos = p->pos > p->off ? p->pos - p->off : 0;
	c->parts[i] = (struct part){ c, p };
	fetch_chunk(c->f->fs->cfg.fetch, &w, fetched, &c->parts[i]);
}

/* All pieces into one buffer; the last to come goes on. */
static int fetch_all(struct compact *c, uint32_t len,
		     const struct m_getmap_r *m)
{
	c->job.data = buf_new(len + UPLOAD_TAIL);
	c->parts = calloc(c->n_pieces, sizeof(*c->parts));
	if (!c->job.data || !c->parts)
		return -ENOMEM;
	c->job.len = c->job.data->len = len;
	c->pending = c->n_pieces + 1;
	for (size_t i = 0; i < c->n_pieces; i++) {
		const struct piece *p = &c->pieces[i];

		if (p->chunk) {
			fetch_piece(c, i, m);
			continue;
		}
		memset(c->job.data->data + p->pos, 0, p->len);
		one_less(c);
	}
	one_less(c);
	return 0;
}

/* The slot's bytes within the file; 0: not worth it. */
static uint32_t length(const struct compact *c, const struct m_slot *s,
		       const struct m_attr *a)
{
	uint64_t base = c->slot * a->slot_size, left;
	uint32_t end = slices_end(s->slices, s->n_slices);

	if (s->n_slices < c->least || a->size <= base || end > a->slot_size)
		return 0;
	left = a->size - base;
	return left < end ? left : end;
}

static int has_bytes(const struct compact *c)
{
	for (size_t i = 0; i < c->n_pieces; i++)
		if (c->pieces[i].chunk)
			return 1;
	return 0;
}

/* 1: on its way. */
static int begin(struct compact *c, const struct m_getmap_r *m)
{
	const struct m_slot *s = m->slots;
	uint32_t len;
	int err;

	if (m->attr.ino != c->f->ino || m->n_slots > 1 ||
	    (m->n_slots && s->index != c->slot) ||
	    m->attr.slot_size > FILE_SLOT_MAX)
		return -EBADMSG;
	c->size = m->attr.size;
	len = m->n_slots ? length(c, s, &m->attr) : 0;
	if (!len)
		return 0;
	err = slices_resolve(s->slices, s->n_slices, 0, len, &c->pieces,
			     &c->n_pieces);
	if (err || !has_bytes(c))
		return err;
	c->expect = s->version;
	err = fetch_all(c, len, m);
	return err ? err : 1;
}

static void mapped(void *arg, int err, const struct rpc_answer *a)
{
	struct arena arena = ARENA_INIT;
	struct compact *c = arg;
	struct m_getmap_r m;

	if (!err)
		err = m_getmap_r_decode(&m, &arena, a->body->data,
					a->body->len);
	if (!err)
		err = begin(c, &m);
	arena_fini(&arena);
	if (err <= 0)
		end(c, err);
}

static void start(struct compact *c)
{
	struct m_getmap m = { .ino = c->f->ino, .first = c->slot,
			      .count = 1 };
	struct wr w = WR_INIT;

	m_getmap_encode(&w, &m);
	link_call(c->f->fs->cfg.link, M_getmap, &w, mapped, c);
}
