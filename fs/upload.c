/*
 * upload -- a job's course.
 *
 * Happy path: hasher -> an id with its targets -> a put to each target at
 * once -> all have answered -> done.
 * Failure: a target that is not there, or fails, is replaced by asking the
 * tracker (place); what is left when nothing is out decides.
 * One that is mute is replaced, too, and then not waited for any more; but it
 * is if nobody else can take the copy, until the tracker has given it up or
 * it answers: there are never fewer copies than without looking for another.
 * What it stores after all is a copy more than the tracker wants.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "upload_internal.h"

static void dispatch(struct upload_work *w, const uint32_t *targets,
		     uint32_t n);

int upload_new(struct upload **out, const struct parts *p)
{
	struct upload *u = calloc(1, sizeof(*u));
	int err;

	if (!u)
		return -ENOMEM;
	u->parts = p;
	err = grants_new(&u->grants, p->link);
	if (err) {
		free(u);
		return err;
	}
	gate_init(&u->gate);
	pthread_mutex_init(&u->lock, NULL);
	TAILQ_INIT(&u->copies);
	*out = u;
	return 0;
}

void upload_shut(struct upload *u)
{
	gate_shut(&u->gate);
}

void upload_free(struct upload *u)
{
	if (!u)
		return;
	gate_fini(&u->gate);
	upload_mute_stop(u);
	grants_free(u->grants);
	upload_forget_all(u);
	upload_refusals_free(u);
	pthread_mutex_destroy(&u->lock);
	free(u);
}

/* ----------------------------------------------------------------- the end */

static int remember(struct upload_work *w)
{
	struct upload_job *j = w->job;
	struct buf *b = buf_view(j->data, 0, j->len);

	if (b)
		cache_put(w->u->parts->cache, j->chunk, b);
	buf_unref(b);
	return j->sync ? 0 : upload_remember(w->u, j);
}

/* The job is done; it is not touched any more. */
static void settle(struct upload_work *w, int err)
{
	struct upload *u = w->u;
	struct upload_job *j = w->job;

	if (!err && !j->n_stored)
		err = w->full ? -ENOSPC : w->err ? w->err : -EIO;
	if (!err)
		err = remember(w);
	if (!err)
		upload_stored(u);
	else if (err != -ECANCELED)
		upload_stored_nowhere(u, j, err);
	buf_unref(w->wire);
	w->wire = NULL;
	j->done(j, err);
}

static void work_free(struct upload_work *w)
{
	struct upload *u = w->u;

	free(w);
	gate_leave(&u->gate);
}

static void hold(struct upload_work *w)
{
	pthread_mutex_lock(&w->u->lock);
	w->out++;
	pthread_mutex_unlock(&w->u->lock);
}

/* Who was passed over, if nobody else has taken the copy; 0: none.  Call with
 * the lock held. */
static uint32_t take_spare(struct upload_work *w)
{
	if (w->settled || w->out > w->mute || !w->n_spare ||
	    w->job->n_stored + w->mute >= w->need ||
	    gate_is_shut(&w->u->gate))
		return 0;
	return w->spare[--w->n_spare];
}

/* Is the job done, whatever is still out?  Call with the lock held. */
static int is_over(const struct upload_work *w)
{
	return !w->settled &&
	       (!w->out || (w->out == w->mute && w->job->n_stored >= w->need));
}

static void let_go(struct upload_work *w)
{
	uint32_t spare;
	int over = 0, last;

	pthread_mutex_lock(&w->u->lock);
	w->out--;
	spare = take_spare(w);
	if (!spare)
		over = is_over(w);
	if (over)
		w->settled = 1;
	w->out += spare || over;
	last = !w->out;
	pthread_mutex_unlock(&w->u->lock);
	if (spare) {
		upload_put(w, spare, 0);
	} else if (over) {
		settle(w, 0);
		let_go(w);
	} else if (last) {
		work_free(w);
	}
}

/* ----------------------------------------------------------- other targets */

static void on_placed(void *arg, int err, const struct rpc_answer *a)
{
	struct upload_work *w = arg;
	struct arena mem = ARENA_INIT;
	struct m_place_r r;

	if (!err)
		err = m_place_r_decode(&r, &mem, a->body->data, a->body->len);
	if (!err) {
		/* cppcheck-suppress uninitStructMember ; decoded */
		dispatch(w, r.targets, r.n_targets);
	} else {
		pthread_mutex_lock(&w->u->lock);
		w->err = err;
		w->full |= err == -ENOSPC;
		pthread_mutex_unlock(&w->u->lock);
	}
	arena_fini(&mem);
	let_go(w);
}

/* Ask the tracker for @count peers more.  The caller holds the work. */
static void place(struct upload_work *w, uint32_t count)
{
	uint32_t except[UPLOAD_TARGETS_MAX];
	struct m_place m = {
		.chunk = w->job->chunk, .len = w->job->len,
		.count = (uint8_t)count, .except = except,
	};
	struct wr body = WR_INIT;
	int enough;

	pthread_mutex_lock(&w->u->lock);
	enough = w->places >= UPLOAD_TARGETS_MAX ||
		 w->n_asked >= UPLOAD_TARGETS_MAX;
	w->places++;
	w->out += !enough;
	m.n_except = w->n_asked;
	memcpy(except, w->asked, w->n_asked * sizeof(*except));
	pthread_mutex_unlock(&w->u->lock);
	if (enough)
		return;
	m_place_encode(&body, &m);	/* a failure shows in body.err */
	link_call(w->u->parts->link, M_place, &body, on_placed, w);
}

void upload_replace(struct upload_work *w)
{
	unsigned n;

	pthread_mutex_lock(&w->u->lock);
	n = w->newly;
	w->newly = 0;
	pthread_mutex_unlock(&w->u->lock);
	place(w, n);
	let_go(w);
}

void upload_put_done(struct upload_work *w, uint32_t num, int err)
{
	struct upload_job *j = w->job;
	int wanted;

	pthread_mutex_lock(&w->u->lock);
	wanted = !w->settled;
	if (!err && wanted)
		j->stored[j->n_stored++] = num;
	w->full |= err == -ENOSPC;
	if (err)
		w->err = err == -ECANCELED ? err : -EIO;
	pthread_mutex_unlock(&w->u->lock);
	if (!err)
		upload_taken(w->u, num);
	else if (err != -ECANCELED)
		upload_refused(w->u, num, err);
	if (err && wanted && !gate_is_shut(&w->u->gate))
		place(w, 1);
	let_go(w);
}

/* 0 if @num has been asked already, or enough others. */
static int first_time(struct upload_work *w, uint32_t num)
{
	int first = 1;

	pthread_mutex_lock(&w->u->lock);
	for (uint32_t i = 0; i < w->n_asked; i++)
		if (w->asked[i] == num)
			first = 0;
	if (w->n_asked == UPLOAD_TARGETS_MAX)
		first = 0;
	if (first)
		w->asked[w->n_asked++] = num;
	pthread_mutex_unlock(&w->u->lock);
	return first;
}

/* Another is sought first. */
static void pass_over(struct upload_work *w, uint32_t num)
{
	pthread_mutex_lock(&w->u->lock);
	w->spare[w->n_spare++] = num;
	pthread_mutex_unlock(&w->u->lock);
}

/* The caller holds the work. */
static void dispatch(struct upload_work *w, const uint32_t *targets,
		     uint32_t n)
{
	struct link_info us;
	uint32_t missing = 0;

	link_info(w->u->parts->link, &us);
	for (uint32_t i = 0; i < n; i++) {
		int local = targets[i] == us.num;

		if (!first_time(w, targets[i])) {
			missing++;
		} else if (upload_avoids(w->u, targets[i]) ||
			   (!local && !peers_alive(w->u->parts->peers,
						   targets[i]))) {
			missing++;
		} else if (!local && upload_is_mute(w->u, targets[i])) {
			pass_over(w, targets[i]);
			missing++;
		} else {
			hold(w);
			upload_put(w, targets[i], local);
		}
	}
	if (missing)
		place(w, missing);
}

/* -------------------------------------------------------------- beginning */

static void on_grant(struct grants_wait *wait, int err, struct grant *g)
{
	struct upload_work *w = container_of(wait, struct upload_work, wait);
	struct link_info us;

	if (err) {
		settle(w, err);
		work_free(w);
		return;
	}
	link_info(w->u->parts->link, &us);
	w->need = g->n ? g->n : us.copies ? us.copies : 1;
	w->job->chunk = g->id;
	hold(w);
	if (g->n) {
		dispatch(w, g->targets, g->n);
	} else {
		/* Nobody had room when it was granted. */
		w->full = 1;
		place(w, w->need);
	}
	free(g);
	let_go(w);
}

static void on_hashed(struct hash_job *h)
{
	struct upload_work *w = container_of(h, struct upload_work, hash);
	struct upload_job *j = w->job;

	memcpy(j->md5, h->job.md5, MD5_LEN);
	memcpy(j->data->data + j->len, h->job.md5, MD5_LEN);
	w->wait.fn = on_grant;
	grants_take(w->u->grants, &w->wait);
}

void upload_chunk(struct upload *u, struct upload_job *j)
{
	struct upload_work *w = NULL;
	int err = gate_enter(&u->gate);

	j->chunk = 0;
	j->n_stored = 0;
	if (err) {
		j->done(j, err);
		return;
	}
	w = calloc(1, sizeof(*w));
	if (w)
		w->wire = buf_view(j->data, 0, (size_t)j->len + UPLOAD_TAIL);
	if (!w || !w->wire) {
		free(w);
		gate_leave(&u->gate);
		j->done(j, -ENOMEM);
		return;
	}
	w->u = u;
	w->job = j;
	w->hash.job.data = j->data->data;
	w->hash.job.len = j->len;
	w->hash.urgent = !j->more;
	w->hash.done = on_hashed;
	hasher_submit(u->parts->hasher, &w->hash);
}
