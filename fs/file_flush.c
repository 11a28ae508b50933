/*
 * file_flush -- uploads that end, those who wait for them, errors.
 *
 * Happy path of a flush: everything dirty is sealed; the waiter is answered
 * when no extent up to the last one sealed is left.  Of an fsync: when those
 * are uploaded (with sync, as far as this fsync sealed them), the chunks
 * uploaded earlier without sync are made durable, in one round for all who
 * wait; then a commit with sync is due, which ends the wait.
 *
 * Failure: an extent whose upload or commit failed is dropped, and the error
 * counted (err_seq): each handle open at that time reports it once, with its
 * next flush or fsync.  If who would have heard it was interrupted, it is
 * counted anew, and kept for the next open.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "file_internal.h"
#include "log.h"

/* ----------------------------------------------------------------- errors */

void file_fail(struct file *f, int err, const char *what)
{
	f->err = err;
	f->err_seq++;
	/* a full swarm refuses every file: the upload says so, once */
	if (!f->err_logged && (err != -ENOSPC || spell_bad(&f->fs->full)))
		log_error("inode %llu: %s (%s): written data is lost; the "
			  "next fsync or close says so",
			  (unsigned long long)f->ino, what, strerror(-err));
	f->err_logged = 1;
}

static int take_error(struct file *f, struct waiter *w)
{
	uint32_t *seen = w->h ? &w->h->err_seq : &w->err_seq;

	if (*seen == f->err_seq)
		return f->fenced ? -EIO : 0;
	*seen = f->err_seq;
	f->err_logged = 0;
	f->unheard = 0;
	return f->err;
}

void files_unheard(struct files *fs, uint64_t ino, int err)
{
	struct file *f = file_find(fs, ino);

	if (!f)
		return;		/* it is being answered: never so */
	pthread_mutex_lock(&f->lock);
	f->err = f->unheard = err;
	f->err_seq++;
	pthread_mutex_unlock(&f->lock);
	file_put(f);
}

void file_unheard_keep(const struct file *f)
{
	struct files *fs = f->fs;
	uint32_t at = fs->n_unheard % FILE_UNHEARD_MAX;

	if (!f->unheard)
		return;
	fs->unheard[at] = (struct unheard){ f->ino, f->unheard };
	fs->n_unheard++;
}

void file_unheard_take(struct file *f)
{
	struct files *fs = f->fs;

	for (size_t i = 0; fs->n_unheard && i < FILE_UNHEARD_MAX; i++)
		if (fs->unheard[i].ino == f->ino) {
			f->err = f->unheard = fs->unheard[i].err;
			f->err_seq = 1;
			fs->unheard[i].ino = 0;
		}
}

/* ---------------------------------------------------------------- uploads */

/* The first extent still being uploaded moved on. */
static void pass_uploaded(struct file *f)
{
	struct extent *e = f->uploading;

	while (e && !e->uploading) {
		f->n_ready++;
		f->ready_bytes += e->len;
		e = TAILQ_NEXT(e, all);
	}
	f->uploading = e;
}

void file_parcel_failed(struct file *f, struct parcel *p, int err,
			const char *what, struct todo *t)
{
	struct extent *e = p->first, *next;

	file_fail(f, err, what);
	for (uint32_t i = 0; i < p->n; i++, e = next) {
		next = TAILQ_NEXT(e, all);
		if (f->uploading == e)
			f->uploading = next;
		file_extent_lost(e, &t->freed);
	}
	file_local_end(f);
}

static void parcel_stored(struct parcel *p)
{
	const struct upload_job *j = &p->job;
	struct extent *e = p->first;

	for (uint32_t i = 0; i < p->n; i++, e = TAILQ_NEXT(e, all)) {
		e->uploading = 0;
		e->stored = (struct stored){ .chunk = j->chunk, .len = j->len,
					     .n = j->n_stored };
		memcpy(e->stored.md5, j->md5, MD5_LEN);
		memcpy(e->stored.nums, j->stored,
		       j->n_stored * sizeof(*j->stored));
	}
}

void file_uploaded(struct upload_job *j, int err)
{
	struct parcel *p = container_of(j, struct parcel, job);
	struct file *f = file_get(p->f);
	struct todo t;

	file_todo_init(f, &t);
	pthread_mutex_lock(&f->lock);
	f->recent_due -= !j->sync;
	if (err) {
		file_parcel_failed(f, p, err, "its chunk could not be stored",
				   &t);
	} else {
		parcel_stored(p);
		/* recent_room() saw to it that there is room */
		if (!j->sync)
			f->recent[f->n_recent++] = j->chunk;
	}
	pass_uploaded(f);
	file_advance(f, &t);
	pthread_mutex_unlock(&f->lock);
	buf_unref(j->data);
	free(p);
	file_todo_run(f, &t);
	file_put(f);
}

uint64_t file_uploaded_to(const struct file *f)
{
	return f->uploading ? f->uploading->seq - 1 : f->seq;
}

/* ------------------------------------------------------------------ fsync */

/* Those that were in phase @from and whose turn it is go to @to.  Who has
 * lost data meanwhile need not wait for the rest: there is an error to tell. */
static unsigned turn(struct file *f, enum waiter_phase from,
		     enum waiter_phase to)
{
	uint64_t up_to = file_uploaded_to(f);
	struct waiter *w;
	unsigned n = 0;

	TAILQ_FOREACH(w, &f->waiters, next)
		if (w->phase == from && w->seq <= up_to) {
			w->phase = w->err_seq == f->err_seq ? to : W_DONE;
			n += w->phase == to;
		}
	return n;
}

/* Begin a round of making chunks durable, for all fsyncs that are there. */
static void start_sync(struct file *f, struct todo *t)
{
	size_t bytes = f->n_recent * sizeof(*f->recent);

	if (f->syncing || !turn(f, W_UPLOAD, W_DURABLE))
		return;
	if (f->n_recent) {
		t->sync_ids = malloc(bytes);
		if (t->sync_ids) {
			memcpy(t->sync_ids, f->recent, bytes);
			t->n_sync_ids = f->n_recent;
			f->n_recent = 0;
			f->syncing = 1;
			return;
		}
		file_fail(f, -ENOMEM, "its chunks could not be synced");
	}
	turn(f, W_DURABLE, W_COMMIT);
}

static void synced(void *arg, int err)
{
	struct file *f = arg;
	struct todo t;

	file_todo_init(f, &t);
	pthread_mutex_lock(&f->lock);
	f->syncing = 0;
	if (err)
		file_fail(f, err, "its chunks could not be synced");
	turn(f, W_DURABLE, W_COMMIT);
	file_advance(f, &t);
	pthread_mutex_unlock(&f->lock);
	file_todo_run(f, &t);
	file_put(f);
}

/* ---------------------------------------------------------------- waiters */

static int is_done(const struct file *f, const struct waiter *w)
{
	const struct extent *first = TAILQ_FIRST(&f->extents);

	return w->phase == W_DONE ||
	       (w->phase == W_DATA && (!first || first->seq > w->seq));
}

static void end_waiters(struct file *f, struct todo *t)
{
	struct waiter *w, *next;

	for (w = TAILQ_FIRST(&f->waiters); w; w = next) {
		next = TAILQ_NEXT(w, next);
		if (!is_done(f, w))
			continue;
		TAILQ_REMOVE(&f->waiters, w, next);
		w->err = take_error(f, w);
		TAILQ_INSERT_TAIL(&t->done, w, next);
	}
}

void file_waiters_orphan(struct file *f, const struct file_handle *h)
{
	struct waiter *w;

	TAILQ_FOREACH(w, &f->waiters, next)
		if (w->h == h) {
			w->err_seq = h->err_seq;
			w->h = NULL;
		}
}

void file_advance(struct file *f, struct todo *t)
{
	start_sync(f, t);
	file_commit_start(f, t);
	end_waiters(f, t);
	if (TAILQ_EMPTY(&f->extents) && !file_dirty(f))
		file_idle(f, t);
}

void file_wait(struct file *f, struct file_handle *h, int sync,
	       file_done done, void *arg)
{
	struct waiter *w = calloc(1, sizeof(*w));
	struct todo t;

	if (!w) {
		done(arg, -ENOMEM);
		return;
	}
	file_todo_init(f, &t);
	pthread_mutex_lock(&f->lock);
	if (sync)
		file_seal_durably(f, &t);
	else
		file_seal_all(f, &t);
	w->f = file_get(f);
	w->h = h;
	w->phase = sync ? W_UPLOAD : W_DATA;
	w->seq = f->seq;
	w->err_seq = f->err_seq;
	w->done = done;
	w->arg = arg;
	TAILQ_INSERT_TAIL(&f->waiters, w, next);
	file_advance(f, &t);
	pthread_mutex_unlock(&f->lock);
	file_todo_run(f, &t);
}

void file_flush(struct file_handle *h, int sync, file_done done, void *arg)
{
	struct file *f = file_get(h->f);

	file_wait(f, h, sync, done, arg);
	file_put(f);
}

void files_flush_ino(struct files *fs, uint64_t ino, file_done done,
		     void *arg)
{
	struct file *f = file_find(fs, ino);

	if (!f) {
		done(arg, 0);
		return;
	}
	file_wait(f, NULL, 0, done, arg);
	file_put(f);
}

/* ------------------------------------------------------------------- todo */

void file_todo_init(const struct file *f, struct todo *t)
{
	*t = (struct todo){ .term = link_term(f->fs->cfg.link) };
	STAILQ_INIT(&t->uploads);
	STAILQ_INIT(&t->freed);
	TAILQ_INIT(&t->done);
}

/* The job says whether more are sure to follow at once, so that their MD5s
 * are computed together, here and where it goes. */
static void run_uploads(struct file *f, struct todo *t)
{
	struct parcel *p;

	while ((p = STAILQ_FIRST(&t->uploads))) {
		STAILQ_REMOVE_HEAD(&t->uploads, start);
		p->job.more = t->more;
		upload_chunk(f->fs->cfg.upload, &p->job);
	}
}

static void run_done(struct todo *t)
{
	struct blocked *b;
	struct waiter *w;

	while ((w = TAILQ_FIRST(&t->done))) {
		TAILQ_REMOVE(&t->done, w, next);
		w->done(w->arg, w->err);
		file_put(w->f);
		free(w);
	}
	while ((b = STAILQ_FIRST(&t->freed))) {
		STAILQ_REMOVE_HEAD(&t->freed, next);
		b->done(b->arg, 0);
		free(b);
	}
}

void file_todo_run(struct file *f, struct todo *t)
{
	struct files *fs = f->fs;

	if (t->has_attr && fs->cfg.attr)
		fs->cfg.attr(fs->cfg.arg, &t->attr);
	if (t->unsure && fs->cfg.unsure)
		fs->cfg.unsure(fs->cfg.arg, f->ino);
	run_uploads(f, t);
	if (t->n_sync_ids) {
		file_get(f);
		upload_sync(fs->cfg.upload, t->sync_ids, t->n_sync_ids,
			    synced, f);
		free(t->sync_ids);
	}
	if (t->commit)
		file_commit_send(t->commit);
	run_done(t);
	if (t->release)
		link_release(fs->cfg.link, f->ino);
}
