/*
 * store -- the verbs of store.h.
 *
 * A put: claim an entry and its room (evicting cached copies until there is),
 * write the file, show the entry.  What can go otherwise: the chunk is there
 * already (compare, perhaps promote), or the disk is full below the capacity
 * (evict some, once more, give up).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "counters.h"
#include "log.h"
#include "store_impl.h"

/* Evicted beyond what is missing when the disk itself is full. */
#define DISK_FULL_SLACK (1u << 20)

int store_dir(const struct store *s)
{
	return s->dir_fd;
}

uint64_t store_peer_id(const struct store *s)
{
	return s->peer;
}

uint64_t store_swarm(const struct store *s)
{
	return s->swarm;
}

static int delete_file(struct store *s, const struct copy *c)
{
	int err = io_unlink(s, c);

	if (!err)
		journal_forget(s, c);
	return err;
}

static int rename_file(struct store *s, const struct copy *c,
		       enum copy_kind kind)
{
	int err = io_set_kind(s, c, kind);

	if (!err)
		journal_forget(s, c);
	return err;
}

int store_drop_claimed(struct store *s, const struct copy *c)
{
	int err = delete_file(s, c);

	index_forget(s, c->id);
	store_tell_gone(s, c->id);
	return err;
}

int store_open_copy(struct store *s, uint64_t id, struct copy *c)
{
	int fd, err;

	if (health_refuses(s))
		return -ENOENT;
	err = index_use(s, id, c);
	if (err)
		return err;
	fd = io_open(s, c);
	if (fd != -ENOENT)
		return fd;
	/* Renamed or removed just now: once more, with nobody else at it. */
	err = index_claim(s, id, c);
	if (err)
		return err;
	fd = io_open(s, c);
	if (fd != -ENOENT) {
		index_release(s, id);
		return fd;
	}
	health_vanished(s, id);
	store_drop_claimed(s, c);
	return -ENOENT;
}

/* ----------------------------------------------------------- eviction */

/* Evict one cached copy: 0 (perhaps it was somebody else who did), -ENOSPC
 * when there is none, -errno.  @freed grows by what it was. */
static int evict_one(struct store *s, uint64_t *freed)
{
	struct copy c;
	int err;

	err = index_victim(s, &c);
	if (err)
		return err == -EAGAIN ? 0 : err;
	err = delete_file(s, &c);
	if (err)
		index_release(s, c.id);
	else
		index_forget(s, c.id);
	index_victim_done(s);
	if (err)
		return err;
	*freed += store_size(c.len);
	counter_add(CNT_EVICTED, 1);
	store_tell_gone(s, c.id);
	return 0;
}

/* The disk is full although the capacity is not: 0 if something went. */
static int evict_for_disk(struct store *s, uint64_t need)
{
	uint64_t freed = 0;

	while (freed < need + DISK_FULL_SLACK)
		if (evict_one(s, &freed))
			break;
	return freed ? 0 : -ENOSPC;
}

/* ---------------------------------------------------------------- put */

static int quarantine_claimed(struct store *s, const struct copy *c,
			      const char *reason)
{
	char path[STORE_NAME_MAX];
	int err;

	io_name(path, c->id, c->kind);
	err = io_quarantine(s, s->chunks_fd, path, path + 3);
	journal_forget(s, c);
	if (err == -ENOENT) {
		index_forget(s, c->id);
	} else {
		/* Even if it cannot be moved it is never served again. */
		index_banish(s, c->id);
		counter_add(CNT_QUARANTINED, 1);
		log_warn("store: chunk %016" PRIx64 " put in quarantine: "
			 "%s%s%s", c->id, reason,
			 err ? "; cannot move it: " : "",
			 err ? strerror(-err) : "");
	}
	store_tell_gone(s, c->id);
	return err;
}

/* A put of what is there: 0, -EBADMSG (it has other bytes), -EAGAIN (it was
 * no good, or is gone: put it as if it had not been there). */
static int put_again(struct store *s, const struct chunk_meta *m,
		     enum copy_kind kind, int sync)
{
	struct chunk_meta old;
	struct copy c;
	int fd, err;

	if (index_claim(s, m->chunk, &c))
		return -EAGAIN;
	fd = io_open(s, &c);
	err = fd < 0 ? fd : io_read(s, fd, &c, NULL, 0, &old);
	if (fd >= 0)
		close(fd);
	if (err == -ENOENT || err == -EBADMSG) {
		quarantine_claimed(s, &c, "its trailer is corrupt");
		return -EAGAIN;
	}
	if (!err && (old.len != m->len || memcmp(old.md5, m->md5, MD5_LEN)))
		err = -EBADMSG;
	if (!err && kind == COPY_REPLICA && c.kind == COPY_CACHED) {
		err = rename_file(s, &c, kind);
		if (!err)
			c.kind = kind;
	}
	index_ready(s, c.id, c.kind, 0);
	if (!err && sync)
		err = store_sync(s, &c.id, 1);
	return err;
}

static int put_new(struct store *s, const struct chunk_meta *m,
		   const void *data, enum copy_kind kind, int sync)
{
	struct copy c = { .id = m->chunk, .len = m->len, .kind = kind };
	int small = m->len <= STORE_SMALL, err;

	err = io_put(s, m, data, kind, sync && !small);
	if (!err && sync) {
		err = small ? sync_small(s, m, kind, data)
			    : sync_dir(s, store_dir_of(m->chunk));
		if (err)
			io_unlink(s, &c);
	}
	if (err)
		index_forget(s, m->chunk);
	else
		index_ready(s, m->chunk, kind, sync);
	return err;
}

/* Evicting for the disk, once. */
static int put_new_or_evict(struct store *s, const struct chunk_meta *m,
			    const void *data, enum copy_kind kind, int sync,
			    int *may_retry)
{
	int err = put_new(s, m, data, kind, sync);

	if (err == -ENOSPC && (*may_retry)-- &&
	    !evict_for_disk(s, store_size(m->len)))
		return -EAGAIN;
	if (err)
		err = health_put_failed(s, err);
	return err && kind == COPY_CACHED ? -ENOSPC : err;
}

int store_put(struct store *s, const struct chunk_meta *m, const void *data,
	      enum copy_kind kind, int sync)
{
	int may_retry = 1, err;
	uint64_t freed = 0;

	if (!m->chunk || !m->len || m->len > STORE_CHUNK_MAX ||
	    (kind != COPY_REPLICA && kind != COPY_CACHED))
		return -EINVAL;
	err = health_refuses(s);
	if (err)
		return kind == COPY_CACHED ? -ENOSPC : err;
	for (;;) {
		err = index_new(s, m->chunk, m->len);
		if (err == -EAGAIN) {
			err = evict_one(s, &freed);
			if (!err)
				continue;
		} else if (err == -EEXIST) {
			err = put_again(s, m, kind, sync);
			if (err == -EAGAIN)
				continue;
		} else if (!err) {
			err = put_new_or_evict(s, m, data, kind, sync,
					       &may_retry);
			if (err == -EAGAIN)
				continue;
		}
		return err;
	}
}

/* -------------------------------------------------------- other verbs */

/* Was it read lately?  Then it may be again, and is worth the kernel's
 * memory. */
static int is_asked_again(struct store *s, uint64_t chunk)
{
	uint32_t tag = (uint32_t)(chunk / STORE_ASKED) + 1;

	return atomic_exchange(&s->asked[chunk % STORE_ASKED], tag) == tag;
}

int store_get(struct store *s, uint64_t chunk, struct chunk_meta *m,
	      struct buf **out)
{
	struct copy c;
	struct buf *b;
	int fd, err, direct;

	fd = store_open_copy(s, chunk, &c);
	if (fd < 0)
		return fd;
	direct = c.len > STORE_SMALL && !is_asked_again(s, chunk);
	b = buf_new(direct ? io_room(store_size(c.len)) : c.len + MD5_LEN);
	err = b ? io_read(s, fd, &c, b->data, direct, m) : -ENOMEM;
	close(fd);
	if (err) {
		buf_unref(b);
		return err;
	}
	b->len = c.len;
	*out = b;
	return 0;
}

int store_read(struct store *s, uint64_t chunk, uint32_t at, void *data,
	       uint32_t len, int now)
{
	struct copy c;
	int fd, err;

	fd = store_open_copy(s, chunk, &c);
	if (fd < 0)
		return fd;
	if (at > c.len || len > c.len - at)
		err = -EINVAL;
	else
		err = io_read_part(fd, at, data, len, now);
	close(fd);
	return err;
}

void store_cool(struct store *s, uint64_t chunk)
{
	struct copy c;
	int fd = store_open_copy(s, chunk, &c);

	if (fd < 0)
		return;		/* store_get() says why */
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
}

int store_set_kind(struct store *s, uint64_t chunk, enum copy_kind kind)
{
	struct copy c;
	int err;

	if (kind != COPY_REPLICA && kind != COPY_CACHED)
		return -EINVAL;
	err = index_claim(s, chunk, &c);
	if (err)
		return err;
	if (c.kind != kind)
		err = rename_file(s, &c, kind);
	if (err == -ENOENT)
		store_drop_claimed(s, &c);
	else
		index_ready(s, chunk, err ? c.kind : kind, 0);
	return err;
}

int store_delete(struct store *s, uint64_t chunk)
{
	struct copy c;
	int err;

	err = index_claim(s, chunk, &c);
	if (err)
		return err;
	err = delete_file(s, &c);
	if (err)
		index_release(s, chunk);
	else
		index_forget(s, chunk);
	return err;
}

int store_quarantine(struct store *s, uint64_t chunk, const char *reason)
{
	struct copy c;
	int err;

	err = index_claim(s, chunk, &c);
	if (err)
		return err;
	return quarantine_claimed(s, &c, reason);
}
