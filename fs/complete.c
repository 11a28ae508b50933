/*
 * complete -- see complete.h.
 *
 * Happy path of a round, on the job's thread: the map -> what is not here as a
 * replica, shuffled -> for each: room in the window -> fetch (bulk loops) ->
 * the disk pool (store) -> the window.  Then the next round finds nothing
 * missing.
 */
#include "complete.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "container.h"
#include "counters.h"
#include "layout.h"
#include "log.h"
#include "shelf.h"

struct job {
	struct pool_work work;
	struct complete *c;
	uint64_t id, ino;
	uint8_t via;
	int used;		/* guarded by complete.lock */
	uint64_t told_ms;	/* job's thread only */
	struct m_part told;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* guarded by lock */
	unsigned out;		/* chunks under way */
	uint64_t out_bytes;
	struct m_part part;
};

struct complete {
	const struct parts *parts;	/* fixed after start */
	struct fetch *fetch;
	struct pool *pool;

	pthread_mutex_t lock;
	int shut;			/* guarded by lock */
	struct job jobs[COMPLETE_JOBS_MAX];
};

/* A chunk under way. */
struct piece {
	struct pool_work work;
	struct job *job;
	struct chunk_meta meta;
	struct buf *buf;
};

static int is_shut(struct complete *c)
{
	int shut;

	pthread_mutex_lock(&c->lock);
	shut = c->shut;
	pthread_mutex_unlock(&c->lock);
	return shut;
}

/* --------------------------------------------------------------- telling */

/* Tell the tracker, if it is time and there is news; @now: in any case. */
static void tell(struct job *j, int now)
{
	struct m_progress m = { .job = j->id };
	uint64_t since = now_ms() - j->told_ms;
	struct wr w = WR_INIT;

	pthread_mutex_lock(&j->lock);
	m.part = j->part;
	pthread_mutex_unlock(&j->lock);
	if (!now && (since < COMPLETE_TELL_MS ||
		     (since < COMPLETE_ALIVE_MS &&
		      !memcmp(&m.part, &j->told, sizeof(m.part)))))
		return;
	j->told = m.part;
	j->told_ms = now_ms();
	m_progress_encode(&w, &m);	/* a failure shows in w.err */
	link_send(j->c->parts->link, M_progress, &w);
}

/* Wait for a change, a little. */
static void wait_locked(struct job *j)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += COMPLETE_TELL_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&j->changed, &j->lock, &until);
}

/* ------------------------------------------------------------- one chunk */

static void piece_end(struct piece *p, int err)
{
	struct job *j = p->job;

	if (err && err != -ECANCELED)
		log_warn("chunk %016" PRIx64 " of inode %" PRIu64 " is not "
			 "here yet: %s", p->meta.chunk, j->ino,
			 strerror(-err));
	buf_unref(p->buf);
	pthread_mutex_lock(&j->lock);
	j->out--;
	j->out_bytes -= p->meta.len;
	if (!err) {
		j->part.done++;
		j->part.bytes += p->meta.len;
	}
	pthread_cond_signal(&j->changed);
	pthread_mutex_unlock(&j->lock);
	free(p);
}

static void keep(struct pool_work *w)
{
	struct piece *p = container_of(w, struct piece, work);
	const struct parts *parts = p->job->c->parts;
	int err;

	err = store_put(parts->store, &p->meta, p->buf->data, COPY_REPLICA, 0);
	if (!err)
		link_have(parts->link, p->meta.chunk, COPY_REPLICA);
	piece_end(p, err);
}

static void on_fetched(void *arg, int err, struct buf *b)
{
	struct piece *p = arg;

	if (err) {
		piece_end(p, err);
		return;
	}
	p->buf = buf_ref(b);
	p->work.fn = keep;
	pool_run(p->job->c->parts->pool, &p->work);
}

static void promote(struct pool_work *w)
{
	struct piece *p = container_of(w, struct piece, work);
	const struct parts *parts = p->job->c->parts;
	int err = store_set_kind(parts->store, p->meta.chunk, COPY_REPLICA);

	if (!err)
		link_have(parts->link, p->meta.chunk, COPY_REPLICA);
	piece_end(p, err);
}

static void on_checked(void *arg, int err, const struct chunk_meta *m,
		       struct buf *b)
{
	struct piece *p = arg;

	(void)b;
	if (!err && (m->len != p->meta.len ||
		     memcmp(m->md5, p->meta.md5, MD5_LEN)))
		err = -EBADMSG;
	if (err) {
		piece_end(p, err);
		return;
	}
	p->work.fn = promote;
	pool_run(p->job->c->parts->pool, &p->work);
}

/* The chunk is under way once there is room in the window; -ECANCELED: it is
 * not to be begun. */
static int enter(struct job *j, uint32_t len)
{
	pthread_mutex_lock(&j->lock);
	while (j->out && (j->out >= COMPLETE_CHUNKS ||
			  j->out_bytes + len > COMPLETE_BYTES)) {
		wait_locked(j);
		pthread_mutex_unlock(&j->lock);
		tell(j, 0);
		pthread_mutex_lock(&j->lock);
	}
	j->out++;
	j->out_bytes += len;
	pthread_mutex_unlock(&j->lock);
	return is_shut(j->c) ? -ECANCELED : 0;
}

static void begin(struct job *j, const struct m_chunk *k,
		  const struct chunk_meta *meta)
{
	struct fetch_want want = {
		.chunk = *k, .ino = meta->ino, .slot = meta->slot,
		.pos = meta->pos, .via = j->via, .no_keep = 1, .patient = 1,
	};
	struct piece *p = calloc(1, sizeof(*p));

	if (!p)
		return;		/* the next round comes by again */
	p->job = j;
	p->meta = *meta;
	if (enter(j, k->len))
		piece_end(p, -ECANCELED);
	else if (store_has(j->c->parts->store, k->id))
		shelf_read(j->c->parts, k->id, SHELF_DISK, on_checked, p);
	else
		fetch_chunk(j->c->fetch, &want, on_fetched, p);
}

/* ----------------------------------------------------------------- rounds */

/* What is to be had: a row for each chunk of the layout. */
struct list {
	struct chunk_meta *meta;	/* by the chunk's place in the layout */
	uint32_t *missing;		/* places, in the order to be fetched */
	size_t n_missing;
};

static void list_fini(struct list *v)
{
	free(v->meta);
	free(v->missing);
}

/* Where in the file each chunk is, for its trailer. */
static void note_places(const struct layout *l, struct list *v)
{
	for (size_t i = 0; i < l->n_chunks; i++) {
		const struct m_chunk *k = &l->chunks[i];

		v->meta[i] = (struct chunk_meta){
			.chunk = k->id, .ino = l->attr.ino, .len = k->len,
		};
		memcpy(v->meta[i].md5, k->md5, MD5_LEN);
	}
	for (size_t i = 0; i < l->n_slots; i++)
		for (uint32_t n = 0; n < l->slots[i].n_slices; n++) {
			const struct m_slice *s = &l->slots[i].slices[n];
			const struct m_chunk *k = layout_chunk(l, s->chunk);
			struct chunk_meta *m;

			if (!k)
				continue;
			m = &v->meta[k - l->chunks];
			m->slot = l->slots[i].index;
			m->pos = s->pos > s->off ? s->pos - s->off : 0;
		}
}

static void shuffle(uint32_t *v, size_t n)
{
	for (size_t i = n; i > 1; i--) {
		size_t k = random_u64() % i;
		uint32_t t = v[k];

		v[k] = v[i - 1];
		v[i - 1] = t;
	}
}

static int list_make(struct job *j, const struct layout *l, struct list *v)
{
	struct m_part part = { .chunks = l->n_chunks };

	*v = (struct list){ 0 };
	v->meta = malloc((l->n_chunks + 1) * sizeof(*v->meta));
	v->missing = malloc((l->n_chunks + 1) * sizeof(*v->missing));
	if (!v->meta || !v->missing) {
		list_fini(v);
		return -ENOMEM;
	}
	note_places(l, v);
	for (size_t i = 0; i < l->n_chunks; i++) {
		if (store_has(j->c->parts->store, l->chunks[i].id) !=
		    COPY_REPLICA) {
			v->missing[v->n_missing++] = (uint32_t)i;
			continue;
		}
		part.done++;
		part.bytes += l->chunks[i].len;
	}
	shuffle(v->missing, v->n_missing);
	pthread_mutex_lock(&j->lock);
	j->part = part;
	pthread_mutex_unlock(&j->lock);
	return 0;
}

static void wait_all(struct job *j)
{
	pthread_mutex_lock(&j->lock);
	while (j->out) {
		wait_locked(j);
		pthread_mutex_unlock(&j->lock);
		tell(j, 0);
		pthread_mutex_lock(&j->lock);
	}
	pthread_mutex_unlock(&j->lock);
}

/* How many chunks were missing at its beginning, or -errno. */
static int64_t run_round(struct job *j)
{
	struct ask ask = ask_link(j->c->parts->link);
	struct layout l;
	struct list v;
	int64_t missing;
	int err = layout_load(&l, &ask, j->ino);

	if (err)
		return err;
	err = list_make(j, &l, &v);
	if (err)
		goto out;
	tell(j, 0);
	for (size_t i = 0; i < v.n_missing && !is_shut(j->c); i++) {
		const struct m_chunk *k = &l.chunks[v.missing[i]];

		/* what nobody has now may come back for the next round */
		if (k->n_holders || store_has(j->c->parts->store, k->id))
			begin(j, k, &v.meta[v.missing[i]]);
	}
	wait_all(j);
	missing = (int64_t)v.n_missing;
	list_fini(&v);
out:
	layout_fini(&l);
	return err ? err : missing;
}

static int all_here(struct job *j)
{
	int all;

	pthread_mutex_lock(&j->lock);
	all = j->part.done == j->part.chunks;
	pthread_mutex_unlock(&j->lock);
	return all;
}

static void pause_before_next(struct job *j)
{
	uint64_t until = now_ms() + COMPLETE_PAUSE_MS;

	while (now_ms() < until && !is_shut(j->c)) {
		pthread_mutex_lock(&j->lock);
		wait_locked(j);
		pthread_mutex_unlock(&j->lock);
		tell(j, 0);
	}
}

static void report_end(struct job *j, int err)
{
	struct m_part end;

	pthread_mutex_lock(&j->lock);
	j->part.failed = j->part.chunks - j->part.done;
	if (err && !j->part.failed)
		j->part.failed = 1;
	j->part.ended = 1;
	end = j->part;
	pthread_mutex_unlock(&j->lock);
	tell(j, 1);
	if (err || end.failed)
		log_warn("inode %" PRIu64 " is not complete here: %" PRIu64
			 " of %" PRIu64 " chunks could not be had%s%s",
			 j->ino, end.failed, end.chunks, err ? ": " : "",
			 err ? strerror(-err) : "");
	else
		log_info("inode %" PRIu64 " is complete here: %" PRIu64
			 " chunks", j->ino, end.chunks);
}

static void run_job(struct pool_work *w)
{
	struct job *j = container_of(w, struct job, work);
	struct complete *c = j->c;
	int64_t missing = 1;

	for (int i = 0; missing && i < COMPLETE_ROUNDS && !is_shut(c); i++) {
		if (i && (missing < 0 || !all_here(j)))
			pause_before_next(j);
		missing = run_round(j);
		if (missing == -ENOENT || missing == -EISDIR)
			break;	/* it was deleted: trying again is no use */
	}
	if (!is_shut(c))
		report_end(j, missing < 0 ? (int)missing : 0);
	pthread_mutex_lock(&c->lock);
	j->used = 0;
	pthread_mutex_unlock(&c->lock);
}

/* ------------------------------------------------------ beginning and end */

int complete_new(struct complete **out, const struct parts *p,
		 struct fetch *f)
{
	struct complete *c = calloc(1, sizeof(*c));
	pthread_condattr_t attr;
	int err;

	if (!c)
		return -ENOMEM;
	err = pool_new(&c->pool, "complete", COMPLETE_JOBS_MAX);
	if (err) {
		free(c);
		return err;
	}
	c->parts = p;
	c->fetch = f;
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	for (int i = 0; i < COMPLETE_JOBS_MAX; i++) {
		c->jobs[i].c = c;
		pthread_mutex_init(&c->jobs[i].lock, NULL);
		pthread_cond_init(&c->jobs[i].changed, &attr);
	}
	pthread_condattr_destroy(&attr);
	*out = c;
	return 0;
}

static void prepare(struct job *j, const struct m_complete *m)
{
	j->used = 1;
	j->id = m->job;
	j->ino = m->ino;
	j->via = m->via;
	j->told_ms = 0;
	pthread_mutex_lock(&j->lock);
	memset(&j->part, 0, sizeof(j->part));
	pthread_mutex_unlock(&j->lock);
	j->work.fn = run_job;
}

int complete_start(struct complete *c, const struct m_complete *m)
{
	struct job *idle = NULL;
	int err = 0, same = 0;

	pthread_mutex_lock(&c->lock);
	for (int i = 0; i < COMPLETE_JOBS_MAX; i++) {
		if (!c->jobs[i].used)
			idle = &c->jobs[i];
		else if (c->jobs[i].id == m->job)
			same = 1;
	}
	if (c->shut)
		err = -ECANCELED;
	else if (!same && !idle)
		err = -EAGAIN;
	else if (!same) {
		prepare(idle, m);
		pool_run(c->pool, &idle->work);
	}
	pthread_mutex_unlock(&c->lock);
	return err;
}

void complete_shut(struct complete *c)
{
	pthread_mutex_lock(&c->lock);
	c->shut = 1;
	pthread_mutex_unlock(&c->lock);
}

void complete_free(struct complete *c)
{
	if (!c)
		return;
	complete_shut(c);
	pool_free(c->pool);
	for (int i = 0; i < COMPLETE_JOBS_MAX; i++) {
		pthread_cond_destroy(&c->jobs[i].changed);
		pthread_mutex_destroy(&c->jobs[i].lock);
	}
	pthread_mutex_destroy(&c->lock);
	free(c);
}
