/*
 * store_journal -- small chunks that were synced, once more in one file.
 *
 * To be durable a chunk's own file has to wait for the disk twice: for its
 * bytes and for its name.  A chunk of up to STORE_SMALL bytes is
 * appended to the journal instead, which is one wait, and one for all who
 * append at the same time; its own file is written, too, and the system
 * brings that to the disk when it likes.  After a power cut the next
 * store_open() makes again what is missing (store_replay.c).
 *
 * Two files, the halves, take turns.  When one is full the other is begun,
 * and a thread empties the full one: everything in it has its own file by
 * then, so that one syncfs() does.  Until it is empty and the other full as
 * well, chunks are synced one by one.
 *
 * What a record is: store_journal.h.
 *
 * Failure: after a failed flush or syncfs() nothing is appended any more; what
 * was durable in the journal stays there for the next store_open().
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "codec.h"
#include "log.h"
#include "store_journal.h"
#include "text.h"

enum {
	CHUNKS_MAX = 7 << 20,	/* bytes of a half that chunks may take, */
	HALF_MAX = JOURNAL_HALF_MAX,	/* and with them what was deleted */
	GROWTH = 512 << 10,	/* zeros written ahead: a file that does not
				 * grow is synced without the fs's journal */
	BODY = JOURNAL_BODY,
};

static const uint8_t zeros[GROWTH];

static void complain(const char *what, int err)
{
	log_error("store: cannot sync %s: %s: small chunks are synced one by "
		  "one until the store is opened again", what, strerror(-err));
}

/* -------------------------------------------------------------- emptying */

/* The half that is to be emptied, or NULL.  Locked. */
static struct half *emptied_next(struct journal *j)
{
	struct half *other = &j->half[!j->now];

	return other->used && !other->flushing && !j->broken ? other : NULL;
}

static void *empty(void *arg)
{
	struct store *s = arg;
	struct journal *j = &s->journal;
	struct half *h;
	int err;

	pthread_mutex_lock(&j->lock);
	while (!j->stop) {
		h = emptied_next(j);
		if (!h) {
			pthread_cond_wait(&j->changed, &j->lock);
			continue;
		}
		pthread_mutex_unlock(&j->lock);
		err = syncfs(s->chunks_fd) ? -errno : 0;
		if (err)
			complain("its disk", err);
		pthread_mutex_lock(&j->lock);
		j->broken |= err != 0;
		if (!err)
			h->gen = h->used = h->flushed = 0;
		pthread_cond_broadcast(&j->changed);
	}
	pthread_mutex_unlock(&j->lock);
	return NULL;
}

/* ------------------------------------------------------------- appending */

/* Begin the other half, and let this one be emptied.  Locked. */
static int turn(struct store *s)
{
	struct journal *j = &s->journal;
	struct half *other = &j->half[!j->now];

	if (other->used)
		return -EAGAIN;
	if (!j->has_thread) {
		if (pthread_create(&j->thread, NULL, empty, s))
			return -EAGAIN;
		j->has_thread = 1;
	}
	j->now = !j->now;
	other->gen = ++j->gen;
	pthread_cond_broadcast(&j->changed);
	return 0;
}

static int grow(struct half *h, uint64_t size)
{
	ssize_t n;

	while (h->size < size) {
		n = pwrite(h->fd, zeros, GROWTH, (off_t)h->size);
		if (n <= 0)
			return n ? -errno : -EIO;
		h->size += n;
	}
	return 0;
}

static int write_record(struct half *h, const uint8_t body[BODY],
			const void *data, uint32_t len)
{
	uint64_t size = journal_record_size(len);
	struct iovec v[3] = {
		{ (void *)body, BODY },
		{ (void *)data, len },
		{ (void *)zeros, size - BODY - len },
	};
	ssize_t n = pwritev(h->fd, v, 3, (off_t)h->used);

	if (n < 0)
		return -errno;
	if ((uint64_t)n < size)
		return -EIO;
	h->used += size;
	return 0;
}

/* @data NULL: @m was deleted. */
static int append(struct store *s, const struct chunk_meta *m,
		  enum copy_kind kind, const void *data,
		  struct journal_mark *mark)
{
	uint64_t max = data ? CHUNKS_MAX : HALF_MAX;
	struct journal *j = &s->journal;
	uint8_t body[BODY] = { 0 };
	struct half *h;
	int err = 0;

	memcpy(body + JOURNAL_AT_MAGIC, JOURNAL_MAGIC, JOURNAL_MAGIC_LEN);
	store_trailer_write(body + JOURNAL_HEAD, s->swarm, kind, m);
	pthread_mutex_lock(&j->lock);
	if (j->broken)
		err = -EIO;
	else if (j->half[j->now].used + journal_record_size(m->len) > max)
		err = turn(s);
	h = &j->half[j->now];
	if (!err)
		err = grow(h, h->used + journal_record_size(m->len));
	if (!err) {
		put_u64(body + JOURNAL_AT_GEN, h->gen);
		put_u64(body + JOURNAL_AT_AT, h->used);
		err = write_record(h, body, data, m->len);
	}
	*mark = (struct journal_mark){ h->gen, h->used };
	pthread_mutex_unlock(&j->lock);
	return err;
}

int journal_add(struct store *s, const struct chunk_meta *m,
		enum copy_kind kind, const void *data,
		struct journal_mark *mark)
{
	if (m->len > STORE_SMALL)
		return -EFBIG;
	return append(s, m, kind, data, mark);
}

/* Best effort: what does not fit any more, after thousands, is made again by
 * the next store_open(), and quarantined as unknown. */
void journal_forget(struct store *s, const struct copy *c)
{
	struct chunk_meta m = { .chunk = c->id };
	struct journal_mark mark;

	if (c->logged)
		(void)append(s, &m, c->kind, NULL, &mark);
}

/* Of half @h, which is @mark's; nobody else is at it.  Locked. */
static void flush_half(struct journal *j, struct half *h)
{
	uint64_t upto = h->used, gen = h->gen;
	int err;

	h->flushing = 1;
	pthread_mutex_unlock(&j->lock);
	err = fdatasync(h->fd) ? -errno : 0;
	if (err)
		complain("the journal", err);
	pthread_mutex_lock(&j->lock);
	h->flushing = 0;
	if (err)
		j->broken = 1;
	else if (h->gen == gen)		/* not emptied, begun anew meanwhile */
		h->flushed = upto;
	pthread_cond_broadcast(&j->changed);
}

int journal_flush(struct store *s, const struct journal_mark *mark)
{
	struct journal *j = &s->journal;
	struct half *h;
	int safe;

	pthread_mutex_lock(&j->lock);
	h = &j->half[j->half[1].gen == mark->gen];
	/* another generation: it was emptied, the chunk's own file is safe */
	while (h->gen == mark->gen && h->flushed < mark->end && !j->broken) {
		if (h->flushing)
			pthread_cond_wait(&j->changed, &j->lock);
		else
			flush_half(j, h);
	}
	safe = h->gen != mark->gen || h->flushed >= mark->end;
	pthread_mutex_unlock(&j->lock);
	return safe ? 0 : -EIO;
}

/* -------------------------------------------------------------- its course */

static int open_half(struct store *s, unsigned i, const char **name)
{
	int fd;

	*name = i ? "journal.1" : "journal.0";
	fd = openat(s->dir_fd, *name,
		    O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	s->journal.half[i].fd = fd;
	return fd < 0 ? -errno : 0;
}

void journal_init(struct store *s)
{
	struct journal *j = &s->journal;

	j->half[0].fd = j->half[1].fd = -1;
	pthread_mutex_init(&j->lock, NULL);
	pthread_cond_init(&j->changed, NULL);
}

int journal_open(struct store *s, const char **name)
{
	struct journal *j = &s->journal;
	int err;

	err = open_half(s, 0, name);
	if (!err)
		err = open_half(s, 1, name);
	if (!err) {
		*name = "the journal";
		err = journal_replay(s);
	}
	j->half[0].gen = j->gen = random_u64() >> 1 | 1;
	return err;
}

void journal_fini(struct store *s)
{
	struct journal *j = &s->journal;

	pthread_mutex_lock(&j->lock);
	j->stop = 1;
	pthread_cond_broadcast(&j->changed);
	pthread_mutex_unlock(&j->lock);
	if (j->has_thread)
		pthread_join(j->thread, NULL);
	for (unsigned i = 0; i < 2; i++)
		if (j->half[i].fd >= 0)
			close(j->half[i].fd);
	pthread_cond_destroy(&j->changed);
	pthread_mutex_destroy(&j->lock);
}
