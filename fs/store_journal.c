/*
 * store_journal -- small chunks that were synced, once more in one file.
 *
 * To be durable a chunk's own file has to wait for the disk twice: for its
 * bytes and for its name.  A chunk of up to STORE_SMALL bytes is
 * appended to the journal instead, which is one wait, and one for all who
 * append at the same time; its own file is written, too, and the system
 * brings that to the disk when it likes.  After a power cut the next
 * store_open() makes again what is missing.
 *
 * Two files, the halves, take turns.  When one is full the other is begun,
 * and a thread empties the full one: everything in it has its own file by
 * then, so that one syncfs() does.  Until it is empty and the other full as
 * well, chunks are synced one by one.
 *
 * A record: magic, generation of the half, offset in the file, 8 zeros; the
 * chunk's trailer; its payload; zeros up to a multiple of a sector, so that
 * no record is ever touched again by the next.  A trailer of length 0 says
 * that the chunk was deleted.  What is not of the half's first generation or
 * not at its place ends the half.
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
#include "md5.h"
#include "store_impl.h"
#include "text.h"

enum {
	CHUNKS_MAX = 7 << 20,	/* bytes of a half that chunks may take, */
	HALF_MAX = 8 << 20,	/* and with them what was deleted */
	GROWTH = 512 << 10,	/* zeros written ahead: a file that does not
				 * grow is synced without the fs's journal */
	SECTOR = 512,

	AT_MAGIC = 0, AT_GEN = 8, AT_AT = 16, HEAD = 32,
	BODY = HEAD + STORE_TRAILER,
};

static const char magic[8] = { 'p', 's', 'p', 'f', 's', 'J', 'N', 'L' };
static const uint8_t zeros[GROWTH];

static uint64_t record_size(uint32_t len)
{
	return ((uint64_t)BODY + len + SECTOR - 1) / SECTOR * SECTOR;
}

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
	uint64_t size = record_size(len);
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

	memcpy(body + AT_MAGIC, magic, sizeof(magic));
	store_trailer_write(body + HEAD, s->swarm, kind, m);
	pthread_mutex_lock(&j->lock);
	if (j->broken)
		err = -EIO;
	else if (j->half[j->now].used + record_size(m->len) > max)
		err = turn(s);
	h = &j->half[j->now];
	if (!err)
		err = grow(h, h->used + record_size(m->len));
	if (!err) {
		put_u64(body + AT_GEN, h->gen);
		put_u64(body + AT_AT, h->used);
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

/* -------------------------------------------------------------- replaying */

struct record {			/* a chunk that the journal has last */
	UT_hash_handle hh;
	struct chunk_meta m;
	enum copy_kind kind;
	const uint8_t *data;
};

struct replay {
	struct store *s;
	struct record *records;	/* uthash by m.chunk */
	uint8_t *bytes[2];	/* of the halves */
	size_t n_bytes[2];
	size_t restored;
	unsigned old;		/* the half that was begun before the other */
};

static int keep(struct replay *r, const struct record *new)
{
	struct record *rec;

	HASH_FIND(hh, r->records, &new->m.chunk, sizeof(new->m.chunk), rec);
	if (rec) {
		HASH_DEL(r->records, rec);
		free(rec);
	}
	if (!new->m.len)
		return 0;
	rec = malloc(sizeof(*rec));
	if (!rec)
		return -ENOMEM;
	*rec = *new;
	HASH_ADD(hh, r->records, m.chunk, sizeof(rec->m.chunk), rec);
	if (!TABLE_ADDED(rec)) {
		free(rec);
		return -ENOMEM;
	}
	return 0;
}

/* The record at @at of @p's @n bytes, of generation @gen (0: any): its size,
 * or 0 if there is none. */
static uint64_t parse(struct store *s, const uint8_t *p, size_t n, size_t at,
		      uint64_t gen, struct record *rec)
{
	uint64_t swarm;

	if (at > n || n - at < BODY)
		return 0;
	p += at;
	if (memcmp(p + AT_MAGIC, magic, sizeof(magic)) ||
	    get_u64(p + AT_AT) != at || (gen && get_u64(p + AT_GEN) != gen) ||
	    store_trailer_read(p + HEAD, &swarm, &rec->kind, &rec->m) ||
	    (swarm && swarm != s->swarm) || rec->m.len > n - at - BODY)
		return 0;
	rec->data = p + BODY;
	return record_size(rec->m.len);
}

/* The last may be torn; a whole one may have been damaged before. */
static int is_good(const struct record *rec)
{
	uint8_t md5[MD5_LEN];

	if (!rec->m.len)
		return 1;
	md5_one(rec->data, rec->m.len, md5);
	return !memcmp(md5, rec->m.md5, MD5_LEN);
}

static uint64_t first_gen(const struct replay *r, unsigned i)
{
	struct record rec;

	if (!parse(r->s, r->bytes[i], r->n_bytes[i], 0, 0, &rec))
		return 0;
	return get_u64(r->bytes[i] + AT_GEN);
}

static int replay_half(struct replay *r, unsigned i)
{
	uint64_t gen = first_gen(r, i), size;
	struct record rec;
	size_t at = 0;
	int err = 0;

	while (gen && !err) {
		size = parse(r->s, r->bytes[i], r->n_bytes[i], at, gen, &rec);
		if (!size)
			break;
		if (is_good(&rec))
			err = keep(r, &rec);
		at += size;
	}
	return err;
}

static int read_half(struct replay *r, unsigned i)
{
	ssize_t n;

	r->bytes[i] = malloc(HALF_MAX);
	if (!r->bytes[i])
		return -ENOMEM;
	while (r->n_bytes[i] < HALF_MAX) {
		n = pread(r->s->journal.half[i].fd, r->bytes[i] + r->n_bytes[i],
			  HALF_MAX - r->n_bytes[i], (off_t)r->n_bytes[i]);
		if (n < 0)
			return -errno;
		if (!n)
			break;
		r->n_bytes[i] += n;
	}
	return 0;
}

/* Does its own file have all that the journal has? */
static int is_there(struct store *s, const struct record *rec)
{
	struct copy c = { .id = rec->m.chunk, .len = rec->m.len,
			  .kind = rec->kind };
	uint64_t size = store_size(c.len);
	uint8_t *file;
	struct stat st;
	int fd, same;

	fd = io_open(s, &c);
	if (fd < 0)
		return 0;
	file = malloc(size);
	same = file && !fstat(fd, &st) && (uint64_t)st.st_size == size &&
	       !io_read_part(fd, 0, file, (uint32_t)size, 0) &&
	       !memcmp(file, rec->data, c.len);
	free(file);
	close(fd);
	return same;
}

static int restore(struct replay *r, const struct record *rec)
{
	struct copy other = {
		.id = rec->m.chunk,
		.kind = rec->kind == COPY_CACHED ? COPY_REPLICA : COPY_CACHED,
	};
	int err;

	if (!is_there(r->s, rec)) {
		err = io_put(r->s, &rec->m, rec->data, rec->kind, 0);
		if (err)
			return err;
		r->restored++;
	}
	return io_unlink(r->s, &other);
}

static int replay_all(struct replay *r)
{
	struct record *rec, *next;
	int err;

	err = read_half(r, 0);
	if (!err)
		err = read_half(r, 1);
	if (err)
		return err;
	r->old = first_gen(r, 0) > first_gen(r, 1);
	err = replay_half(r, r->old);
	if (!err)
		err = replay_half(r, !r->old);
	HASH_ITER(hh, r->records, rec, next)
		if (!err)
			err = restore(r, rec);
	if (!err && r->records && syncfs(r->s->chunks_fd))
		err = -errno;
	if (r->restored)
		log_warn("store: %zu small chunk%s made again from the journal: "
			 "the machine went down before %s written to the disk",
			 r->restored, r->restored == 1 ? "" : "s",
			 r->restored == 1 ? "it was" : "they were");
	return err;
}

/* The older half goes first: alone it would say what the newer has taken
 * back. */
static int clear_halves(struct store *s, unsigned old)
{
	struct half *half = s->journal.half;

	return ftruncate(half[old].fd, 0) || ftruncate(half[!old].fd, 0)
		? -errno : 0;
}

static int replay(struct store *s)
{
	struct replay r = { .s = s };
	struct record *rec, *next;
	int err = replay_all(&r);

	if (!err)
		err = clear_halves(s, r.old);
	HASH_ITER(hh, r.records, rec, next) {
		HASH_DEL(r.records, rec);
		free(rec);
	}
	free(r.bytes[0]);
	free(r.bytes[1]);
	return err;
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
		err = replay(s);
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
