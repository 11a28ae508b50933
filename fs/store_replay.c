/*
 * store_replay -- the journal after a power cut: what it says of each chunk
 * last is made true again.
 *
 * Happy path: both halves are read, the one that was begun first before the
 * other; chunks whose own files are not there, or not whole, are written
 * anew; the disk has them; the halves are cleared.
 * Failure: the halves stay as they are, for the next store_open().
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec.h"
#include "log.h"
#include "md5.h"
#include "store_journal.h"

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

	if (at > n || n - at < JOURNAL_BODY)
		return 0;
	p += at;
	if (memcmp(p + JOURNAL_AT_MAGIC, JOURNAL_MAGIC, JOURNAL_MAGIC_LEN) ||
	    get_u64(p + JOURNAL_AT_AT) != at ||
	    (gen && get_u64(p + JOURNAL_AT_GEN) != gen) ||
	    store_trailer_read(p + JOURNAL_HEAD, &swarm, &rec->kind, &rec->m) ||
	    (swarm && swarm != s->swarm) || rec->m.len > n - at - JOURNAL_BODY)
		return 0;
	rec->data = p + JOURNAL_BODY;
	return journal_record_size(rec->m.len);
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
	return get_u64(r->bytes[i] + JOURNAL_AT_GEN);
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

/* No more memory than there is to read: most halves are empty. */
static int read_half(struct replay *r, unsigned i)
{
	int fd = r->s->journal.half[i].fd;
	struct stat st;
	size_t size;
	ssize_t n;

	if (fstat(fd, &st))
		return -errno;
	size = st.st_size < JOURNAL_HALF_MAX ? (size_t)st.st_size :
					      JOURNAL_HALF_MAX;
	r->bytes[i] = malloc(size + 1);		/* not 0 */
	if (!r->bytes[i])
		return -ENOMEM;
	while (r->n_bytes[i] < size) {
		n = pread(fd, r->bytes[i] + r->n_bytes[i],
			  size - r->n_bytes[i], (off_t)r->n_bytes[i]);
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

int journal_replay(struct store *s)
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
