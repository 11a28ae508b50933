/*
 * sum -- see sum.h.
 *
 * A ring of chunks that are fetched: the thread starts as many as the window
 * lets it, waits for the oldest, hashes it, and so on.  After a failure it
 * waits for what it started.
 */
#include "sum.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "gate.h"
#include "layout.h"
#include "log.h"
#include "whole.h"

#define HOLE_STEP (1u << 20)	/* of a hole, hashed between two looks */

struct sum {
	const struct parts *parts;
	struct fetch *fetch;
	struct pool *pool;
	struct gate gate;

	pthread_mutex_t lock;
	unsigned queued;		/* guarded by lock */
};

struct job {
	struct pool_work work;
	struct sum *sum;
	struct rpc_req *req;
	uint64_t ino;
	uint64_t until_ms;
};

struct reading;

struct ahead {			/* a chunk under way */
	struct reading *reading;
	int over, err;		/* guarded by reading.lock */
	struct buf *buf;
};

struct reading {
	const struct job *job;
	const struct layout *layout;
	struct whole whole;
	size_t next, head;	/* pieces: to be fetched, to be hashed */
	uint64_t bytes;		/* of those between */
	pthread_mutex_t lock;
	pthread_cond_t came;
	struct ahead ring[SUM_AHEAD];
};

/* --------------------------------------------------------------- fetching */

static void on_fetched(void *arg, int err, struct buf *b)
{
	struct ahead *a = arg;
	struct reading *r = a->reading;

	pthread_mutex_lock(&r->lock);
	a->err = err;
	a->buf = err ? NULL : buf_ref(b);
	a->over = 1;
	pthread_cond_signal(&r->came);
	pthread_mutex_unlock(&r->lock);
}

static void fetch_ahead(struct reading *r)
{
	const struct layout *l = r->layout;

	while (r->next < l->n_pieces && r->next - r->head < SUM_AHEAD) {
		const struct layout_piece *p = &l->pieces[r->next];
		struct ahead *a = &r->ring[r->next % SUM_AHEAD];
		struct fetch_want want = {
			.chunk = *p->chunk, .ino = l->attr.ino,
			.slot = p->slot, .no_keep = 1,
		};

		if (r->next > r->head &&
		    r->bytes + p->chunk->len > SUM_AHEAD_BYTES)
			return;
		r->bytes += p->chunk->len;
		r->next++;
		*a = (struct ahead){ .reading = r };
		fetch_chunk(r->job->sum->fetch, &want, on_fetched, a);
	}
}

/* Wait for the oldest; every fetch ends, within its own deadline. */
static int take_oldest(struct reading *r, struct buf **out)
{
	struct ahead *a = &r->ring[r->head % SUM_AHEAD];

	pthread_mutex_lock(&r->lock);
	while (!a->over)
		pthread_cond_wait(&r->came, &r->lock);
	pthread_mutex_unlock(&r->lock);
	r->bytes -= r->layout->pieces[r->head].chunk->len;
	r->head++;
	*out = a->buf;
	return a->err;
}

/* ---------------------------------------------------------------- hashing */

static int may_go_on(const struct reading *r)
{
	if (gate_is_shut(&r->job->sum->gate))
		return -ECANCELED;
	return now_ms() < r->job->until_ms ? 0 : -ETIMEDOUT;
}

static int add_hole(struct reading *r, uint64_t end)
{
	int err = 0;

	while (!err && r->whole.at < end) {
		uint64_t n = end - r->whole.at;

		whole_zeros(&r->whole, n < HOLE_STEP ? (size_t)n : HOLE_STEP);
		err = may_go_on(r);
	}
	return err;
}

static int add_piece(struct reading *r)
{
	const struct layout_piece *p = &r->layout->pieces[r->head];
	struct buf *b;
	int err = take_oldest(r, &b);

	if (!err && (p->off > b->len || p->len > b->len - p->off))
		err = -EBADMSG;
	if (!err)
		err = add_hole(r, p->at);
	if (!err)
		whole_add(&r->whole, b->data + p->off, p->len);
	buf_unref(b);
	return err;
}

static int read_all(struct reading *r)
{
	struct buf *b;
	int err = may_go_on(r);

	while (!err && r->head < r->layout->n_pieces) {
		fetch_ahead(r);
		err = add_piece(r);
		if (!err)
			err = may_go_on(r);
	}
	while (r->head < r->next) {
		take_oldest(r, &b);
		buf_unref(b);
	}
	return err ? err : add_hole(r, r->layout->attr.size);
}

static int sum_layout(const struct job *j, const struct layout *l,
		      uint8_t md5[MD5_LEN])
{
	struct reading *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	r->job = j;
	r->layout = l;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->came, NULL);
	whole_init(&r->whole);
	err = read_all(r);
	if (!err)
		err = whole_end(&r->whole, md5);
	whole_fini(&r->whole);
	pthread_cond_destroy(&r->came);
	pthread_mutex_destroy(&r->lock);
	free(r);
	return err;
}

/* -------------------------------------------------------------------- jobs */

static int sum_file(const struct job *j, struct m_sum_r *out)
{
	struct ask ask = ask_link(j->sum->parts->link);
	struct layout l;
	int err = layout_load(&l, &ask, j->ino);

	if (err)
		return err;
	out->version = l.attr.version;
	err = sum_layout(j, &l, out->md5);
	layout_fini(&l);
	return err;
}

static void give_place(struct sum *s)
{
	pthread_mutex_lock(&s->lock);
	s->queued--;
	pthread_mutex_unlock(&s->lock);
}

static void run(struct pool_work *w)
{
	struct job *j = container_of(w, struct job, work);
	struct sum *s = j->sum;
	struct m_sum_r r = { 0 };
	struct wr body = WR_INIT;
	int err = gate_is_shut(&s->gate) ? -ECANCELED : sum_file(j, &r);

	if (!err)
		err = m_sum_r_encode(&body, &r);
	if (err) {
		log_warn("the MD5 of inode %" PRIu64 ", which the tracker "
			 "wants, cannot be computed here: %s", j->ino,
			 strerror(-err));
		wr_fini(&body);
		rpc_fail(j->req, err, "inode %" PRIu64 " was not read: %s",
			 j->ino, strerror(-err));
	} else {
		rpc_reply(j->req, &body, NULL);
	}
	give_place(s);
	free(j);
	gate_leave(&s->gate);
}

static int take_place(struct sum *s)
{
	int free_place;

	pthread_mutex_lock(&s->lock);
	free_place = s->queued < SUM_QUEUE_MAX;
	s->queued += free_place != 0;
	pthread_mutex_unlock(&s->lock);
	return free_place ? 0 : -EBUSY;
}

void sum_ask(struct sum *s, const struct m_sum *m, struct rpc_req *req)
{
	struct job *j = NULL;
	int err = take_place(s);

	if (err) {
		rpc_fail(req, err, "too many files wait to be read here");
		return;
	}
	err = gate_enter(&s->gate);
	if (!err) {
		j = malloc(sizeof(*j));
		if (!j)
			gate_leave(&s->gate);
	}
	if (!j) {
		give_place(s);
		rpc_fail(req, err ? err : -ENOMEM, "not now");
		return;
	}
	*j = (struct job){ .work.fn = run, .sum = s, .req = req,
			   .ino = m->ino, .until_ms = now_ms() + SUM_MS };
	pool_run(s->pool, &j->work);
}

int sum_new(struct sum **out, const struct parts *p, struct fetch *f)
{
	struct sum *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	s->parts = p;
	s->fetch = f;
	err = pool_new(&s->pool, "sum", 1);
	if (err) {
		free(s);
		return err;
	}
	gate_init(&s->gate);
	pthread_mutex_init(&s->lock, NULL);
	*out = s;
	return 0;
}

void sum_shut(struct sum *s)
{
	if (s)
		gate_shut(&s->gate);
}

void sum_free(struct sum *s)
{
	if (!s)
		return;
	gate_fini(&s->gate);
	pool_free(s->pool);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
