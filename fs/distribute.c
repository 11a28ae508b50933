/*
 * distribute -- the course of sending; see distribute.h.
 *
 * One thread reads the file, going round the parts, as long as there is room
 * in the windows; in between it commits what is stored and shows how far it
 * is.  An id is taken just before its piece goes out.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "distribute_internal.h"

int distribute_new(struct distribute **out, const struct dist_config *cfg)
{
	struct distribute *d = calloc(1, sizeof(*d));
	pthread_condattr_t attr;
	int err = 0;

	if (!d)
		return -ENOMEM;
	d->cfg = *cfg;
	d->ask = ask_link(cfg->member->link);
	STAILQ_INIT(&d->ready);
	STAILQ_INIT(&d->later);
	pthread_mutex_init(&d->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&d->changed, &attr);
	pthread_condattr_destroy(&attr);
	for (uint32_t i = 0; i < cfg->n_parts; i++) {
		struct dist_part *t = &d->cfg.parts[i];
		uint64_t n = parts_pieces(&t->range, cfg->slot_size);

		t->d = d;
		t->at = t->range.from;
		t->ids = malloc((n + 1) * sizeof(*t->ids));
		t->lens = malloc((n + 1) * sizeof(*t->lens));
		if (!t->ids || !t->lens)
			err = -ENOMEM;
	}
	if (err)
		distribute_free(d);
	else
		*out = d;
	return err;
}

void distribute_free(struct distribute *d)
{
	if (!d)
		return;
	for (uint32_t i = 0; i < d->cfg.n_parts; i++) {
		free(d->cfg.parts[i].ids);
		free(d->cfg.parts[i].lens);
		d->cfg.parts[i].ids = NULL;
		d->cfg.parts[i].lens = NULL;
	}
	pthread_cond_destroy(&d->changed);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

/* ---------------------------------------------------------------- failing */

void dist_fail(struct distribute *d, int err, const char *fmt, ...)
{
	va_list ap;

	if (d->err)
		return;
	d->err = err;
	va_start(ap, fmt);
	vsnprintf(d->why, sizeof(d->why), fmt, ap);
	va_end(ap);
}

static void fail(struct distribute *d, int err, const char *what,
		 const char *why)
{
	pthread_mutex_lock(&d->lock);
	dist_fail(d, err, "%s: %s", what,
		  why && why[0] ? why : strerror(-err));
	pthread_mutex_unlock(&d->lock);
}

int dist_result(struct distribute *d, char *why, size_t why_len)
{
	int err;

	pthread_mutex_lock(&d->lock);
	err = d->err;
	if (err)
		snprintf(why, why_len, "%s", d->why);
	pthread_mutex_unlock(&d->lock);
	return err;
}

void dist_show(struct distribute *d, int verified)
{
	pthread_mutex_lock(&d->lock);
	for (uint32_t i = 0; i < d->cfg.n_parts; i++) {
		struct dist_part *t = &d->cfg.parts[i];

		t->seen = verified ? t->verified : t->done;
	}
	pthread_mutex_unlock(&d->lock);
	d->cfg.progress(d->cfg.arg);
}

void dist_wait(struct distribute *d)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += DIST_TICK_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&d->changed, &d->lock, &until);
}

/* -------------------------------------------------------------------- ids */

static int ask_ids(struct distribute *d)
{
	struct m_grant m = { .count = DIST_GRANT };
	struct arena a = ARENA_INIT;
	struct buf *body = NULL;
	struct wr w = WR_INIT;
	struct m_grant_r r = { .n_chunks = 0 };
	char why[MSG_TEXT_MAX + 1];
	int err;

	m_grant_encode(&w, &m);	/* a failure shows in w.err */
	err = ask_call(&d->ask, M_grant, &w, &body, why, sizeof(why));
	if (!err)
		err = m_grant_r_decode(&r, &a, body->data, body->len);
	if (!err && (!r.n_chunks || r.n_chunks > DIST_GRANT))
		err = -EPROTO;
	d->id_at = d->n_ids = 0;
	for (uint32_t i = 0; !err && i < r.n_chunks; i++)
		d->ids[d->n_ids++] = r.chunks[i].id;
	arena_fini(&a);
	buf_unref(body);
	if (err)
		fail(d, err, "the tracker gives no chunk ids", why);
	return err;
}

static int take_id(struct distribute *d, uint64_t *id)
{
	int err = d->id_at == d->n_ids ? ask_ids(d) : 0;

	if (!err)
		*id = d->ids[d->id_at++];
	return err;
}

/* ---------------------------------------------------------------- sending */

/* Call with the lock held. */
static int has_room(const struct distribute *d, const struct dist_part *t)
{
	uint32_t len = parts_piece(&t->range, d->cfg.slot_size, t->at);

	return t->at < t->range.end &&
	       (t->out < DISTRIBUTE_WINDOW ||
		(uint64_t)t->out * d->cfg.slot_size < DISTRIBUTE_SMALL) &&
	       (!d->out || d->out_bytes + len <= DISTRIBUTE_BYTES);
}

/* The next part that has a piece to send, and room for it; or NULL. */
static struct dist_part *next_part(struct distribute *d)
{
	struct dist_part *t;

	for (uint32_t i = 0; i < d->cfg.n_parts; i++) {
		t = &d->cfg.parts[(d->turn + i) % d->cfg.n_parts];
		if (!has_room(d, t))
			continue;
		d->turn = (d->turn + i + 1) % d->cfg.n_parts;
		return t;
	}
	return NULL;
}

static int read_piece(struct distribute *d, struct piece *p)
{
	uint32_t done = 0;

	while (done < p->len) {
		ssize_t n = pread(d->cfg.fd, p->data->data + done,
				  p->len - done, (off_t)(p->at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			fail(d, n ? -errno : -EIO, "the file cannot be read",
			     n ? NULL : "it has become shorter");
			return -EIO;
		}
		done += (uint32_t)n;
	}
	p->data->len = p->len;
	return 0;
}

static struct piece *piece_new(struct distribute *d, struct dist_part *t)
{
	uint32_t slot = d->cfg.slot_size;
	struct piece *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->part = t;
	p->num = t->num;
	p->at = t->at;
	p->len = parts_piece(&t->range, slot, t->at);
	p->push = (struct m_push){
		.slot = p->at / slot, .pos = (uint32_t)(p->at % slot),
		.len = p->len, .chunk_len = p->len, .stored = &p->num,
		.n_stored = 1, .copies = 1,
	};
	p->data = buf_new((size_t)p->len + MD5_LEN);
	if (p->data)
		return p;
	free(p);
	return NULL;
}

static int send_one(struct distribute *d, struct dist_part *t)
{
	struct piece *p = piece_new(d, t);
	int err = p ? 0 : -ENOMEM;

	if (!p)
		fail(d, err, "cannot send", NULL);
	if (!err)
		err = read_piece(d, p);
	if (!err)
		err = take_id(d, &p->push.chunk);
	if (err) {
		if (p)
			buf_unref(p->data);
		free(p);
		return err;
	}
	pthread_mutex_lock(&d->lock);
	t->at += p->len;
	t->out++;
	d->out++;
	d->out_bytes += p->len;
	pthread_mutex_unlock(&d->lock);
	dist_put(p);
	return 0;
}

/* -------------------------------------------------------------- committing */

static void take_ready(struct distribute *d, struct pieces *v, uint32_t *n)
{
	pthread_mutex_lock(&d->lock);
	for (*n = 0; *n < DIST_COMMIT && d->n_ready; ++*n) {
		struct piece *p = STAILQ_FIRST(&d->ready);

		STAILQ_REMOVE_HEAD(&d->ready, next);
		STAILQ_INSERT_TAIL(v, p, next);
		d->n_ready--;
	}
	pthread_mutex_unlock(&d->lock);
}

static int commit(struct distribute *d, struct m_push *v, uint32_t n, int sync)
{
	struct m_commit m = {
		.ino = d->cfg.ino, .sync = sync != 0, .pushes = v,
		.n_pushes = n, .mtime_s = d->cfg.mtime.tv_sec,
		.mtime_ns = (uint32_t)d->cfg.mtime.tv_nsec,
	};
	struct arena a = ARENA_INIT;
	struct buf *body = NULL;
	struct wr w = WR_INIT;
	struct m_commit_r r;
	char why[MSG_TEXT_MAX + 1];
	int err;

	m_commit_encode(&w, &m);	/* a failure shows in w.err */
	err = ask_call(&d->ask, M_commit, &w, &body, why, sizeof(why));
	if (!err)
		err = m_commit_r_decode(&r, &a, body->data, body->len);
	if (!err)
		d->version = r.attr.version;
	else
		fail(d, err, "the tracker does not take the parts", why);
	arena_fini(&a);
	buf_unref(body);
	return err;
}

/* Up to DIST_COMMIT pieces that are stored; how many, or -errno. */
static int commit_some(struct distribute *d, int sync)
{
	struct pieces v = STAILQ_HEAD_INITIALIZER(v);
	struct m_push pushes[DIST_COMMIT];
	struct piece *p;
	uint32_t n, i = 0;
	int err;

	take_ready(d, &v, &n);
	STAILQ_FOREACH (p, &v, next)
		pushes[i++] = p->push;
	err = n || sync ? commit(d, pushes, n, sync) : 0;
	while ((p = STAILQ_FIRST(&v))) {
		STAILQ_REMOVE_HEAD(&v, next);
		free(p);
	}
	return err ? err : (int)n;
}

static int commit_all(struct distribute *d)
{
	int n;

	do
		n = commit_some(d, 0);
	while (n == DIST_COMMIT);
	return n < 0 ? n : commit_some(d, 1);
}

/* ------------------------------------------------------------- the course */

enum next { SEND, COMMIT, WAIT, OVER };

static enum next what_next(struct distribute *d, struct dist_part **t)
{
	enum next next = WAIT;
	int left = 0;

	pthread_mutex_lock(&d->lock);
	if (*d->cfg.stop)
		dist_fail(d, -EINTR, "interrupted");
	for (uint32_t i = 0; i < d->cfg.n_parts; i++)
		left |= d->cfg.parts[i].at < d->cfg.parts[i].range.end;
	*t = next_part(d);
	if (d->err || (!left && !d->out))
		next = OVER;
	else if (d->n_ready >= DIST_COMMIT)
		next = COMMIT;
	else if (*t)
		next = SEND;
	else
		dist_wait(d);
	pthread_mutex_unlock(&d->lock);
	return next;
}

/* Calls end soon: their deadline, or the member's end. */
static void wait_all(struct distribute *d)
{
	pthread_mutex_lock(&d->lock);
	while (d->out) {
		pthread_mutex_unlock(&d->lock);
		dist_put_later(d, 1);
		pthread_mutex_lock(&d->lock);
		if (d->out)
			dist_wait(d);
	}
	pthread_mutex_unlock(&d->lock);
}

int distribute_send(struct distribute *d, uint64_t *version, char *why,
		    size_t why_len)
{
	struct dist_part *t;
	enum next next;
	int err;

	while ((next = what_next(d, &t)) != OVER) {
		if (next == SEND)
			send_one(d, t);
		else if (next == COMMIT)
			commit_some(d, 0);
		dist_put_later(d, 0);
		dist_show(d, 0);
	}
	if (dist_result(d, why, why_len))
		member_shut(d->cfg.member);
	wait_all(d);
	err = commit_all(d);
	dist_show(d, 0);
	*version = d->version;
	return dist_result(d, why, why_len) ? d->err : err;
}
