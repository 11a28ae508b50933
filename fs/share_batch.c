/*
 * share_batch -- the descriptor's bytes, in batches of hashed chunks.
 *
 * Where the descriptor's file has a hole nothing is read.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "container.h"
#include "share_internal.h"

#define ZERO_STEP (1u << 20)

void batch_init(struct share_batch *b)
{
	b->n = 0;
	b->bytes = 0;
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->hashed, NULL);
}

void batch_fini(struct share_batch *b)
{
	pthread_cond_destroy(&b->hashed);
	pthread_mutex_destroy(&b->lock);
}

int batch_full(const struct share_batch *b, uint32_t next_len)
{
	return b->n && (b->n == SHARE_BATCH ||
			b->bytes + next_len > SHARE_BATCH_BYTES);
}

/* ---------------------------------------------------------------- reading */

static int read_all(struct share_run *r, void *out, size_t len, uint64_t off)
{
	size_t have = 0;

	while (have < len) {
		ssize_t n = pread(r->fd, (char *)out + have, len - have,
				  (off_t)(off + have));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return share_why(r, -errno, "the file cannot be read: "
					 "%s", strerror(errno));
		if (!n)
			return share_why(r, -ESTALE, "the file became shorter "
					 "while it was read: share it again");
		have += (size_t)n;
	}
	return 0;
}

/* Is [off, off + len) of the descriptor a hole, as its filesystem says? */
static int is_hole(struct share_run *r, uint64_t off, uint64_t len)
{
	off_t at;

	if (off >= r->data_at && off < r->hole_at)
		return 0;
	if (off < r->data_at && off + len <= r->data_at)
		return 1;
	at = lseek(r->fd, (off_t)off, SEEK_DATA);
	if (at < 0 && errno == ENXIO)
		at = r->st.st_size;	/* a hole up to the end */
	if (at < 0)
		return 0;
	r->data_at = r->hole_at = (uint64_t)at;
	at = lseek(r->fd, at, SEEK_HOLE);
	if (at > 0)
		r->hole_at = (uint64_t)at;
	return off + len <= r->data_at;
}

static int all_zeros(const uint8_t *p, size_t n)
{
	return !n || (!p[0] && !memcmp(p, p + 1, n - 1));
}

int batch_add(struct share_run *r, const struct share_piece *p)
{
	struct share_batch *b = &r->batch;
	struct share_piece *q = &b->v[b->n];
	uint64_t off = p->at - r->base;
	int err;

	*q = *p;
	q->run = r;
	q->b = NULL;
	b->n++;
	b->bytes += p->len;
	/* what must be a certain chunk is hashed, zeros or not */
	if (!p->chunk && is_hole(r, off, p->len))
		return 0;
	q->b = buf_new(p->len);
	if (!q->b)
		return -ENOMEM;
	q->b->len = p->len;
	err = read_all(r, q->b->data, p->len, off);
	if (!err && !p->chunk && all_zeros(q->b->data, p->len)) {
		buf_unref(q->b);
		q->b = NULL;
	}
	return err;
}

void batch_clear(struct share_run *r)
{
	struct share_batch *b = &r->batch;

	for (size_t i = 0; i < b->n; i++)
		buf_unref(b->v[i].b);
	b->n = 0;
	b->bytes = 0;
}

/* ---------------------------------------------------------------- hashing */

static void on_hashed(struct hash_job *h)
{
	struct share_piece *p = container_of(h, struct share_piece, hash);
	struct share_batch *b = &p->run->batch;

	pthread_mutex_lock(&b->lock);
	if (!--b->left)
		pthread_cond_signal(&b->hashed);
	pthread_mutex_unlock(&b->lock);
}

static void add_to_whole(struct share_run *r)
{
	for (size_t i = 0; i < r->batch.n; i++) {
		const struct share_piece *p = &r->batch.v[i];

		if (p->b)
			whole_add(r->whole, p->b->data, p->len);
		else
			whole_zeros(r->whole, p->len);
	}
}

void batch_hash(struct share_run *r)
{
	struct share_batch *b = &r->batch;
	struct hasher *h = r->env->parts->hasher;

	b->left = 0;
	for (size_t i = 0; i < b->n; i++)
		b->left += b->v[i].b != NULL;
	for (size_t i = 0; i < b->n; i++) {
		struct share_piece *p = &b->v[i];

		if (!p->b)
			continue;
		p->hash = (struct hash_job){
			.job = { .data = p->b->data, .len = p->len },
			.done = on_hashed,
		};
		hasher_submit(h, &p->hash);
	}
	hasher_hurry(h);
	if (r->whole)	/* meanwhile */
		add_to_whole(r);
	pthread_mutex_lock(&b->lock);
	while (b->left)
		pthread_cond_wait(&b->hashed, &b->lock);
	pthread_mutex_unlock(&b->lock);
}

static size_t first_other(const uint8_t *p, size_t n)
{
	size_t i = 0;

	while (i < n && !p[i])
		i++;
	return i;
}

int share_zeros(struct share_run *r, uint64_t at, uint64_t end,
		uint64_t *differs, uint64_t *until)
{
	struct buf *b = NULL;
	int err = 0;

	*differs = UINT64_MAX;
	while (!err && at < end && *differs == UINT64_MAX) {
		size_t n = end - at < ZERO_STEP ? (size_t)(end - at)
						: ZERO_STEP;

		if (is_hole(r, at - r->base, end - at))
			break;
		if (!b)
			b = buf_new(ZERO_STEP);
		err = b ? read_all(r, b->data, n, at - r->base) : -ENOMEM;
		if (!err && !all_zeros(b->data, n))
			*differs = at + first_other(b->data, n);
		if (!err)
			err = share_step(r, 0);
		at += n;
	}
	*until = at;
	buf_unref(b);
	return err;
}
