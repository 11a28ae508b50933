/*
 * file -- the table of files, handles, and what the rest of the peer asks.
 *
 * A struct file is made by the first open and goes with its last reference.
 * While it is open, or busy, the tracker may count it as open here: if it
 * was told so (told_open), it is told when that ends.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "file_internal.h"
#include "log.h"
#include "text.h"

/* ------------------------------------------------------------- references */

struct file *file_get(struct file *f)
{
	pthread_mutex_lock(&f->fs->lock);
	f->refs++;
	pthread_mutex_unlock(&f->fs->lock);
	return f;
}

static void file_free(struct file *f)
{
	file_map_drop(f);
	assert(!f->slots && !f->append.n && TAILQ_EMPTY(&f->extents));
	free(f->recent);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

void file_put(struct file *f)
{
	struct files *fs = f->fs;
	uint64_t *ids = NULL;
	uint32_t n = 0;
	int last;

	pthread_mutex_lock(&fs->lock);
	last = --f->refs == 0;
	if (last) {
		HASH_DEL(fs->table, f);
		file_unheard_keep(f);
		if (!fs->closing)
			ids = file_recent_keep(f, &n);
	}
	if (fs->closing)
		pthread_cond_broadcast(&fs->idle);
	pthread_mutex_unlock(&fs->lock);
	if (last)
		file_free(f);
	if (ids)
		files_recent_sync(fs, ids, n);
}

/* Locked. */
static struct file *find(struct files *fs, uint64_t ino)
{
	struct file *f;

	HASH_FIND(hh, fs->table, &ino, sizeof(ino), f);
	return f;
}

struct file *file_find(struct files *fs, uint64_t ino)
{
	struct file *f;

	pthread_mutex_lock(&fs->lock);
	f = find(fs, ino);
	if (f)
		f->refs++;
	pthread_mutex_unlock(&fs->lock);
	return f;
}

struct file **files_list(struct files *fs, int busy, uint64_t before_ms,
			 size_t *n)
{
	struct file **v, *f, *next;

	*n = 0;
	pthread_mutex_lock(&fs->lock);
	v = malloc((HASH_COUNT(fs->table) + 1) * sizeof(*v));
	if (v && busy) {
		TAILQ_FOREACH(f, &fs->busy, by_age)
			if (f->since_ms <= before_ms)
				v[(*n)++] = f;
	} else if (v) {
		HASH_ITER(hh, fs->table, f, next)
			v[(*n)++] = f;
	}
	for (size_t i = 0; i < *n; i++)
		v[i]->refs++;
	pthread_mutex_unlock(&fs->lock);
	return v;
}

/* ------------------------------------------------------------------- open */

static struct file *file_new(struct files *fs, const struct m_attr *attr)
{
	struct file *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->fs = fs;
	f->ino = attr->ino;
	f->is_dir = S_ISDIR(attr->mode);
	f->slot_size = attr->slot_size;
	f->attr = *attr;
	f->page_slots = FILE_PAGE_SLOTS;
	pthread_mutex_init(&f->lock, NULL);
	LIST_INIT(&f->open);
	TAILQ_INIT(&f->pages);
	TAILQ_INIT(&f->reqs);
	TAILQ_INIT(&f->extents);
	TAILQ_INIT(&f->waiters);
	HASH_ADD(hh, fs->table, ino, sizeof(f->ino), f);
	if (!TABLE_ADDED(f)) {
		pthread_mutex_destroy(&f->lock);
		free(f);
		return NULL;
	}
	file_recent_take(f);
	file_unheard_take(f);
	return f;
}

void file_attr_newer(struct file *f, const struct m_attr *a)
{
	if (a->version <= f->attr.version ||
	    a->slot_size != f->slot_size)
		return;
	f->attr = *a;
	file_map_drop(f);
}

int file_open(struct files *fs, const struct m_attr *attr, int append,
	      struct file_handle **out)
{
	struct file_handle *h;
	struct file *f;

	if (!S_ISDIR(attr->mode) && (attr->slot_size < FILE_SLOT_MIN ||
				     attr->slot_size > FILE_SLOT_MAX))
		return -EIO;
	h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	pthread_mutex_lock(&fs->lock);
	f = find(fs, attr->ino);
	if (!f)
		f = file_new(fs, attr);
	if (f) {
		f->refs++;
		f->handles++;
		h->serial = ++fs->serials;
		LIST_INSERT_HEAD(&f->open, h, next);
	}
	pthread_mutex_unlock(&fs->lock);
	if (!f) {
		free(h);
		return -ENOMEM;
	}
	h->refs = 1;
	h->f = f;
	h->append = append;
	pthread_mutex_lock(&f->lock);
	file_attr_newer(f, attr);
	h->err_seq = f->err_seq - (f->unheard != 0);
	pthread_mutex_unlock(&f->lock);
	*out = h;
	return 0;
}

uint64_t file_serial(const struct file_handle *h)
{
	return h->serial;
}

void file_hold(struct file_handle *h)
{
	struct files *fs = h->f->fs;

	pthread_mutex_lock(&fs->lock);
	h->refs++;
	pthread_mutex_unlock(&fs->lock);
}

static int let_go(struct file_handle *h)
{
	struct files *fs = h->f->fs;
	unsigned left;

	pthread_mutex_lock(&fs->lock);
	left = --h->refs;
	pthread_mutex_unlock(&fs->lock);
	return !left;
}

void file_close(struct file_handle *h)
{
	struct file *f = h->f;
	struct files *fs = f->fs;
	int release, last;

	if (!let_go(h))
		return;
	pthread_mutex_lock(&f->lock);
	file_waiters_orphan(f, h);
	pthread_mutex_unlock(&f->lock);
	pthread_mutex_lock(&fs->lock);
	LIST_REMOVE(h, next);
	last = --f->handles == 0;
	release = last && !f->busy && f->told_open;
	if (release)
		f->told_open = 0;
	pthread_mutex_unlock(&fs->lock);
	free(h);
	if (last)
		file_compact_close(f);
	if (release)
		link_release(fs->cfg.link, f->ino);
	file_put(f);
}

/* ---------------------------------------------------- the peer's questions */

static int is_open(const struct file *f)
{
	return f->handles || f->busy;
}

int files_has_handles(struct files *fs, uint64_t ino)
{
	struct file *f;
	int yes;

	pthread_mutex_lock(&fs->lock);
	f = find(fs, ino);
	yes = f && f->handles;
	pthread_mutex_unlock(&fs->lock);
	return yes;
}

int files_has_pages(struct files *fs, uint64_t ino)
{
	struct file *f;
	int yes;

	pthread_mutex_lock(&fs->lock);
	f = find(fs, ino);
	yes = f && f->handles && !f->is_dir;
	pthread_mutex_unlock(&fs->lock);
	return yes;
}

int files_is_open(struct files *fs, uint64_t ino)
{
	struct file *f;
	int yes;

	pthread_mutex_lock(&fs->lock);
	f = find(fs, ino);
	yes = f && is_open(f);
	if (yes)
		f->told_open = 1;
	pthread_mutex_unlock(&fs->lock);
	return yes;
}

/* As the commit will set it: a close must not change what fstat showed, or
 * git, tar and rsync take the file for changed. */
static void show_time(const struct file *f, int64_t *sec, uint32_t *nsec)
{
	int64_t s = f->mtime_s;
	uint32_t ns = f->mtime_ns;

	time_later(&s, &ns, *sec, *nsec);
	*sec = s;
	*nsec = ns;
}

/* What the kernel would see had the writes been committed. */
static void overlay(const struct file *f, struct m_attr *a)
{
	if (f->attr.version > a->version) {
		a->version = f->attr.version;
		a->size = f->attr.size;
		a->stored = f->attr.stored;
		a->mtime_s = f->attr.mtime_s;
		a->mtime_ns = f->attr.mtime_ns;
		a->ctime_s = f->attr.ctime_s;
		a->ctime_ns = f->attr.ctime_ns;
	}
	if (TAILQ_EMPTY(&f->extents) && !file_dirty(f))
		return;
	if (f->local_end > a->size)
		a->size = f->local_end;
	show_time(f, &a->mtime_s, &a->mtime_ns);
	show_time(f, &a->ctime_s, &a->ctime_ns);
	if (f->kill_suid) {
		if ((a->mode & S_IXGRP) || (f->kill_suid & CLEAR_SGID))
			a->mode &= ~(uint32_t)S_ISGID;
		a->mode &= ~(uint32_t)S_ISUID;
	}
}

void files_overlay(struct files *fs, struct m_attr *a)
{
	struct file *f = file_find(fs, a->ino);

	if (!f)
		return;
	pthread_mutex_lock(&f->lock);
	overlay(f, a);
	pthread_mutex_unlock(&f->lock);
	file_put(f);
}

void files_attr(struct files *fs, const struct m_attr *a)
{
	struct file *f = file_find(fs, a->ino);

	if (!f)
		return;
	pthread_mutex_lock(&f->lock);
	file_attr_newer(f, a);
	pthread_mutex_unlock(&f->lock);
	file_put(f);
}

void files_fence(struct files *fs, uint64_t ino, int on)
{
	struct file *f = file_find(fs, ino);

	if (!f)
		return;
	pthread_mutex_lock(&f->lock);
	f->fenced = on;
	pthread_mutex_unlock(&f->lock);
	file_put(f);
}

uint32_t files_revoked(struct files *fs, uint64_t *inos, uint32_t n)
{
	uint32_t kept = 0;
	struct file *f;

	for (uint32_t i = 0; i < n; i++) {
		uint64_t ino = inos[i];

		f = file_find(fs, ino);
		if (!f)
			continue;
		pthread_mutex_lock(&f->lock);
		file_map_drop(f);
		pthread_mutex_unlock(&f->lock);
		if (files_is_open(fs, ino)) {
			inos[i] = inos[kept];
			inos[kept++] = ino;
		}
		file_put(f);
	}
	return kept;
}

void files_lost(struct files *fs, uint64_t **open, uint32_t *n_open)
{
	struct file **v, *f, *next;
	size_t n;

	v = files_list(fs, 0, 0, &n);
	for (size_t i = 0; i < n; i++) {
		pthread_mutex_lock(&v[i]->lock);
		file_map_drop(v[i]);
		/* the tracker may come back from an older database: versions
		 * do not tell any more what is newer */
		v[i]->attr.version = 0;
		v[i]->lost_gen = v[i]->gen;
		pthread_mutex_unlock(&v[i]->lock);
		file_put(v[i]);
	}
	free(v);
	*n_open = 0;
	pthread_mutex_lock(&fs->lock);
	*open = malloc((HASH_COUNT(fs->table) + 1) * sizeof(**open));
	HASH_ITER(hh, fs->table, f, next)
		if (*open && is_open(f) && *n_open < MSG_INOS_MAX) {
			f->told_open = 1;
			(*open)[(*n_open)++] = f->ino;
		}
	pthread_mutex_unlock(&fs->lock);
}

/* --------------------------------------------------------- start and end */

int files_new(struct files **out, const struct files_config *cfg)
{
	struct files *fs = calloc(1, sizeof(*fs));
	pthread_condattr_t attr;
	int err;

	if (!fs)
		return -ENOMEM;
	fs->cfg = *cfg;
	pthread_mutex_init(&fs->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&fs->idle, &attr);
	pthread_condattr_destroy(&attr);
	TAILQ_INIT(&fs->busy);
	STAILQ_INIT(&fs->blocked);
	TAILQ_INIT(&fs->compact);
	err = files_start(fs);
	if (err) {
		pthread_cond_destroy(&fs->idle);
		pthread_mutex_destroy(&fs->lock);
		free(fs);
		return err;
	}
	*out = fs;
	return 0;
}

/* Does anything but handles hold a reference?  Locked. */
static int is_under_way(const struct files *fs)
{
	struct file *f, *next;

	HASH_ITER(hh, fs->table, f, next)
		if (f->refs != f->handles)
			return 1;
	return 0;
}

/* Handles that nobody closed: the kernel went without releasing them. */
static void close_all(struct files *fs)
{
	struct file *f, *next;
	struct file_handle *h;

	HASH_ITER(hh, fs->table, f, next) {
		while ((h = LIST_FIRST(&f->open))) {
			LIST_REMOVE(h, next);
			free(h);
		}
		HASH_DEL(fs->table, f);
		file_free(f);
	}
}

void files_free(struct files *fs)
{
	struct file **v;
	size_t n;

	if (!fs)
		return;
	files_stop(fs);
	files_compact_stop(fs);
	v = files_list(fs, 1, UINT64_MAX, &n);
	for (size_t i = 0; i < n; i++) {
		file_kick(v[i], 1);
		file_put(v[i]);
	}
	free(v);
	pthread_mutex_lock(&fs->lock);
	fs->closing = 1;
	while (is_under_way(fs))
		pthread_cond_wait(&fs->idle, &fs->lock);
	pthread_mutex_unlock(&fs->lock);
	close_all(fs);
	files_recent_fini(fs);
	pthread_cond_destroy(&fs->idle);
	pthread_mutex_destroy(&fs->lock);
	free(fs);
}
