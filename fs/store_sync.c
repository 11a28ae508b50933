/*
 * store_sync -- making chunks durable.
 *
 * Small ones by the journal.  Else, and where that cannot be had, a chunk is
 * durable once its bytes are (fdatasync of the file), then its name (fsync of
 * its directory, after the rename), then that directory's own name in chunks/.
 * Threads that want the same directory take turns: whoever
 * finds nobody at it syncs for all who asked so far, the others wait.
 *
 * A failed fdatasync may have lost bytes that the kernel now calls clean, so
 * the copy is dropped, never synced again.  After a failed fsync of a
 * directory any name in it is in doubt: every later sync there fails.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "store_impl.h"

#define SYNC_BATCH 64		/* descriptors open at once */

static int fsync_dir(struct store *s, unsigned dir)
{
	char name[3];
	int fd, err = 0;

	if (dir == STORE_DIRS)
		return fsync(s->chunks_fd) ? -errno : 0;
	snprintf(name, sizeof(name), "%02x", dir & (STORE_DIRS - 1));
	fd = openat(s->chunks_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fsync(fd))
		err = -errno;
	close(fd);
	return err;
}

static int sync_dir_shared(struct store *s, unsigned dir)
{
	struct dir_sync *d = &s->dirs[dir];
	uint64_t ticket, upto;
	int err;

	pthread_mutex_lock(&s->lock);
	ticket = ++d->asked;
	while (!d->err && d->synced < ticket) {
		if (d->busy) {
			pthread_cond_wait(&s->idle, &s->lock);
			continue;
		}
		d->busy = 1;
		upto = d->asked;
		pthread_mutex_unlock(&s->lock);
		err = fsync_dir(s, dir);
		if (err)
			log_error("store: cannot sync a directory of chunks: "
				  "%s: nothing in it counts as durable until "
				  "the store is opened again", strerror(-err));
		pthread_mutex_lock(&s->lock);
		d->busy = 0;
		d->synced = upto;
		d->err = err;
		pthread_cond_broadcast(&s->idle);
	}
	err = d->err;
	pthread_mutex_unlock(&s->lock);
	return err;
}

int sync_dir(struct store *s, unsigned dir)
{
	int rooted, err;

	err = sync_dir_shared(s, dir);
	if (err)
		return err;
	pthread_mutex_lock(&s->lock);
	rooted = s->dirs[dir].rooted;
	pthread_mutex_unlock(&s->lock);
	if (rooted)
		return 0;
	err = sync_dir_shared(s, STORE_DIRS);
	if (err)
		return err;
	pthread_mutex_lock(&s->lock);
	s->dirs[dir].rooted = 1;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

struct sync_job {
	struct copy copy;
	int fd;
	int err;
	int logged;		/* in the journal, durable with mark */
	struct journal_mark mark;
};

/* A copy whose bytes may be lost goes, unless it was replaced meanwhile. */
static void drop_lost(struct store *s, const struct sync_job *j)
{
	struct copy now;

	log_error("store: cannot sync chunk %016" PRIx64 ": %s: dropped",
		  j->copy.id, strerror(-j->err));
	if (index_claim(s, j->copy.id, &now))
		return;
	if (now.stamp == j->copy.stamp)
		store_drop_claimed(s, &now);
	else
		index_release(s, now.id);
}

/* Those that need it. */
static size_t sync_begin(struct store *s, const uint64_t *chunks, size_t n,
			 struct sync_job *jobs)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		struct sync_job *j = &jobs[k];

		if (index_use(s, chunks[i], &j->copy) || j->copy.durable)
			continue;
		j->err = j->logged = 0;
		j->fd = -1;
		k++;
	}
	return k;
}

/* Claimed, so that it is not deleted before it is in the journal. */
static int log_copy(struct store *s, struct sync_job *j, uint8_t *data)
{
	struct chunk_meta m;
	int fd, err;

	err = index_claim(s, j->copy.id, &j->copy);
	if (err)
		return err;
	fd = io_open(s, &j->copy);
	err = fd < 0 ? fd : io_read(s, fd, &j->copy, data, 0, &m);
	if (fd >= 0)
		close(fd);
	if (!err)
		err = journal_add(s, &m, j->copy.kind, data, &j->mark);
	if (err)
		index_release(s, j->copy.id);
	else
		index_logged(s, j->copy.id);
	return err;
}

/* Small ones into the journal, which is flushed once for all; whatever goes
 * wrong here, they are synced as the others are. */
static void sync_logged(struct store *s, struct sync_job *jobs, size_t n)
{
	uint8_t *data = malloc(STORE_SMALL);

	for (size_t i = 0; data && i < n; i++)
		if (jobs[i].copy.len <= STORE_SMALL)
			jobs[i].logged = !log_copy(s, &jobs[i], data);
	free(data);
	for (size_t i = n; i-- > 0;)	/* the last first: it is one flush */
		if (jobs[i].logged && journal_flush(s, &jobs[i].mark))
			jobs[i].logged = 0;
}

/* Open the others, and let the disk begin on all of them. */
static void sync_open(struct store *s, struct sync_job *j, int *err)
{
	j->fd = store_open_copy(s, j->copy.id, &j->copy);
	if (j->fd < 0 && j->fd != -ENOENT)
		*err = j->fd;
	if (j->fd < 0)
		return;
	/* A hint: what fails here fails again in fdatasync(). */
	(void)!sync_file_range(j->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

/* Their bytes; @wanted: those whose directories are to be synced. */
static void sync_files(struct store *s, struct sync_job *jobs, size_t n,
		       uint8_t wanted[STORE_DIRS])
{
	for (size_t i = 0; i < n; i++) {
		struct sync_job *j = &jobs[i];

		if (j->fd < 0)
			continue;
		if (fdatasync(j->fd))
			j->err = -errno;
		close(j->fd);
		if (j->err)
			drop_lost(s, j);
		else
			wanted[store_dir_of(j->copy.id)] = 1;
	}
}

static int sync_batch(struct store *s, const uint64_t *chunks, size_t n)
{
	struct sync_job jobs[SYNC_BATCH];
	uint8_t wanted[STORE_DIRS] = { 0 };
	int dir_err[STORE_DIRS] = { 0 };
	int err = 0;

	n = sync_begin(s, chunks, n, jobs);
	sync_logged(s, jobs, n);
	for (size_t i = 0; i < n; i++)
		if (!jobs[i].logged)
			sync_open(s, &jobs[i], &err);
	sync_files(s, jobs, n, wanted);
	for (unsigned d = 0; d < STORE_DIRS; d++)
		if (wanted[d])
			dir_err[d] = sync_dir(s, d);
	for (size_t i = 0; i < n; i++) {
		struct sync_job *j = &jobs[i];

		if (j->fd < 0 && !j->logged)
			continue;
		if (!j->err && !j->logged)
			j->err = dir_err[store_dir_of(j->copy.id)];
		if (!j->err)
			index_set_durable(s, &j->copy);
		else
			err = j->err;
	}
	return err;
}

int sync_small(struct store *s, const struct chunk_meta *m,
	       enum copy_kind kind, const void *data)
{
	struct copy c = { .id = m->chunk, .len = m->len, .kind = kind };
	struct journal_mark mark;
	int fd, err;

	err = journal_add(s, m, kind, data, &mark);
	if (!err)
		err = journal_flush(s, &mark);
	if (!err)
		return 0;
	fd = io_open(s, &c);
	if (fd < 0)
		return fd;
	err = fdatasync(fd) ? -errno : 0;
	close(fd);
	return err ? err : sync_dir(s, store_dir_of(c.id));
}

int store_sync(struct store *s, const uint64_t *chunks, size_t n)
{
	int err = 0;

	while (n) {
		size_t k = n < SYNC_BATCH ? n : SYNC_BATCH;
		int e = sync_batch(s, chunks, k);

		if (e && !err)
			err = e;
		chunks += k;
		n -= k;
	}
	return err;
}
