/*
 * file_recent -- chunks uploaded without sync, of files that were closed.
 *
 * An fsync is for all that was ever written to the file, also before the
 * last close: when a struct file goes, its list is kept here, and the next
 * open takes it back.  When there are too many, those of the oldest quarter
 * are made durable in the background.
 */
#include <stdlib.h>
#include <string.h>

#include "file_internal.h"
#include "log.h"

struct recent {
	UT_hash_handle hh;	/* in the order of closing */
	uint64_t ino;
	uint64_t *ids;
	uint32_t n, cap;
};

static void take_out(struct files *fs, struct recent *r)
{
	HASH_DEL(fs->recent, r);
	fs->n_recent -= r->n;
}

void file_recent_take(struct file *f)
{
	struct files *fs = f->fs;
	struct recent *r;

	HASH_FIND(hh, fs->recent, &f->ino, sizeof(f->ino), r);
	if (!r)
		return;
	take_out(fs, r);
	f->recent = r->ids;
	f->n_recent = r->n;
	f->recent_cap = r->cap;
	free(r);
}

/* The ids of the oldest quarter into one array. */
static uint64_t *evict(struct files *fs, uint32_t *n)
{
	uint64_t *ids = malloc(fs->n_recent * sizeof(*ids));
	struct recent *r, *next;

	*n = 0;
	HASH_ITER(hh, fs->recent, r, next) {
		if (!ids || fs->n_recent <= FILE_RECENT_MAX / 4 * 3)
			break;
		take_out(fs, r);
		memcpy(ids + *n, r->ids, r->n * sizeof(*ids));
		*n += r->n;
		free(r->ids);
		free(r);
	}
	return ids;
}

/* 0: there is no memory for it. */
static int keep(struct file *f)
{
	struct recent *r = calloc(1, sizeof(*r));

	if (!r)
		return 0;
	r->ino = f->ino;
	r->ids = f->recent;
	r->n = f->n_recent;
	r->cap = f->recent_cap;
	HASH_ADD(hh, f->fs->recent, ino, sizeof(r->ino), r);
	if (!TABLE_ADDED(r)) {
		free(r);
		return 0;
	}
	f->fs->n_recent += r->n;
	return 1;
}

uint64_t *file_recent_keep(struct file *f, uint32_t *n)
{
	uint64_t *ids = f->recent;
	int kept;

	*n = f->n_recent;
	if (!*n)
		return NULL;
	kept = keep(f);
	f->recent = NULL;
	if (!kept)
		return ids;	/* are to be synced at once, then */
	*n = 0;
	return f->fs->n_recent > FILE_RECENT_MAX ? evict(f->fs, n) : NULL;
}

static void synced(void *arg, int err)
{
	(void)arg;
	if (err)
		log_error("chunks of closed files could not be made durable "
			  "(%s)", strerror(-err));
}

void files_recent_sync(struct files *fs, uint64_t *ids, uint32_t n)
{
	if (n)
		upload_sync(fs->cfg.upload, ids, n, synced, NULL);
	free(ids);
}

void files_recent_fini(struct files *fs)
{
	struct recent *r, *next;

	HASH_ITER(hh, fs->recent, r, next) {
		take_out(fs, r);
		free(r->ids);
		free(r);
	}
}
