/* get -- see get.h. */
#include "get.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ask.h"

struct coming {			/* a chunk being fetched */
	STAILQ_ENTRY(coming) next;
	struct get *get;
	uint32_t chunk, num;
	uint64_t sent_ms;
	int err;
	struct buf *buf;
};

STAILQ_HEAD(comings, coming);

struct get {
	struct peer *peer;
	struct part *part;
	struct plan plan;
	struct get_result *out;
	uint32_t timeout_ms;
	part_step step;
	void *arg;
	uint64_t done;			/* bytes that are there */
	unsigned flying;		/* fetches that have not come back */
	unsigned window;		/* so many may be */
	unsigned quick;			/* came quickly since it was set */
	uint64_t flying_bytes;
	uint64_t looked_up_ms, came_ms, again_ms;

	pthread_mutex_t lock;
	pthread_cond_t came;
	struct comings back;		/* guarded by lock */
};

void get_result_fini(struct get_result *r)
{
	free(r->sources);
	free(r->missing);
	memset(r, 0, sizeof(*r));
}

/* ------------------------------------------------------------- who has it */

static int locate(struct get *g, const uint64_t *ids, uint32_t n,
		  struct arena *a, struct m_locate_r *out)
{
	struct m_locate q = { .ids = (uint64_t *)ids, .n_ids = n };
	struct ask ask = ask_link(peer_link(g->peer));
	struct buf *body = NULL;
	struct wr w = WR_INIT;
	int err;

	m_locate_encode(&w, &q);	/* a failure shows in w.err */
	err = ask_call(&ask, M_locate, &w, &body, NULL, 0);
	if (!err)
		err = m_locate_r_decode(out, a, body->data, body->len);
	buf_unref(body);		/* there are no strings in it */
	return err;
}

/* A tracker file that is wrong must not make good copies look corrupt. */
static int is_like(struct get *g, uint32_t chunk, const struct m_chunk *c)
{
	const struct track_piece *p = plan_piece(&g->plan, chunk, 0);

	if (p->chunk_len == c->len && !memcmp(p->md5, c->md5, MD5_LEN))
		return 1;
	g->out->unlike = 1;
	return 0;
}

/* The answer leaves out chunks that the tracker does not know. */
static void take_located(struct get *g, const struct m_locate_r *r)
{
	uint32_t k = 0;

	for (size_t i = 0; i < g->plan.n_batch; i++) {
		uint32_t chunk = g->plan.batch[i].chunk;
		const struct m_chunk *c = NULL;

		if (k < r->n_chunks &&
		    r->chunks[k].id == g->plan.chunks[chunk].id)
			c = &r->chunks[k++];
		if (c && is_like(g, chunk, c))
			plan_known(&g->plan, i, c->holders, c->n_holders);
		else
			plan_known(&g->plan, i, NULL, 0);
	}
}

static void look_up(struct get *g)
{
	struct m_locate_r r = { .n_chunks = 0 };
	struct arena a = ARENA_INIT;
	uint64_t ids[PLAN_BATCH];
	int err = -ENOTCONN;

	for (size_t i = 0; i < g->plan.n_batch; i++)
		ids[i] = g->plan.chunks[g->plan.batch[i].chunk].id;
	if (link_is_up(peer_link(g->peer)))
		err = locate(g, ids, (uint32_t)g->plan.n_batch, &a, &r);
	if (!err)
		take_located(g, &r);
	for (size_t i = 0; err && i < g->plan.n_batch; i++)
		plan_known_from_track(&g->plan, i);
	plan_sort(&g->plan);
	arena_fini(&a);
	g->looked_up_ms = now_ms();
}

/* The batch, filled and with its holders as they are now. */
static void refresh(struct get *g)
{
	while (!g->plan.n_batch && g->plan.n_todo) {
		plan_fill(&g->plan);
		look_up(g);
	}
	if (g->plan.n_batch &&
	    now_ms() - g->looked_up_ms >= GET_LOOKUP_MS + g->plan.n_batch)
		look_up(g);
}

/* -------------------------------------------------------------- fetching */

static void on_from(void *arg, uint32_t num)
{
	((struct coming *)arg)->num = num;
}

static void on_fetched(void *arg, int err, struct buf *b)
{
	struct coming *c = arg;
	struct get *g = c->get;

	c->err = err;
	if (!err)
		c->buf = buf_ref(b);
	pthread_mutex_lock(&g->lock);
	STAILQ_INSERT_TAIL(&g->back, c, next);
	pthread_cond_signal(&g->came);
	pthread_mutex_unlock(&g->lock);
}

static int fetch_one(struct get *g, const struct plan_item *it)
{
	const struct track *t = g->plan.track;
	const struct track_piece *p = plan_piece(&g->plan, it->chunk, 0);
	struct coming *c = calloc(1, sizeof(*c));
	struct fetch_want w = {
		.chunk = { .id = p->chunk, .len = p->chunk_len,
			   .holders = (uint32_t *)it->holders,
			   .n_holders = it->n_holders },
		.ino = t->ino, .timeout_ms = GET_FLIGHT_MS,
		.slot = t->chunk_size ? p->at / t->chunk_size : 0,
		.from = on_from, .from_arg = c,
	};

	if (!c)
		return -ENOMEM;
	c->get = g;
	c->sent_ms = now_ms();
	c->chunk = it->chunk;
	memcpy(w.chunk.md5, p->md5, MD5_LEN);
	g->flying++;
	g->flying_bytes += p->chunk_len;
	fetch_chunk(peer_fetch(g->peer), &w, on_fetched, c);
	return 0;
}

static int fill_window(struct get *g)
{
	int err = 0;

	while (!err && g->flying < g->window &&
	       (!g->flying || g->flying_bytes < GET_WINDOW_BYTES)) {
		const struct plan_item *it;

		refresh(g);
		it = plan_next(&g->plan);
		if (!it)
			break;
		err = fetch_one(g, it);
	}
	return err;
}

/* ------------------------------------------------------------ what came */

static int credit(struct get *g, uint32_t num, uint64_t bytes)
{
	struct get_result *r = g->out;
	struct get_source *more;
	size_t i;

	if (!num)
		return 0;
	for (i = 0; i < r->n_sources; i++)
		if (r->sources[i].num == num)
			break;
	if (i == r->n_sources) {
		more = realloc(r->sources, (i + 1) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		r->sources = more;
		more[i] = (struct get_source){ .num = num };
		peer_name(g->peer, num, more[i].at);
		r->n_sources++;
	}
	r->sources[i].bytes += bytes;
	return 0;
}

static void set_window(struct get *g, uint64_t took_ms)
{
	g->quick += took_ms < GET_QUICK_MS;
	if (took_ms > GET_SLOW_MS && g->window > GET_WINDOW_MIN)
		g->window--;
	else if (g->quick >= g->window && g->window < GET_WINDOW_MAX)
		g->window++;
	else
		return;
	g->quick = 0;
}

static int take(struct get *g, struct coming *c)
{
	const struct plan_chunk *k = &g->plan.chunks[c->chunk];
	uint64_t bytes = 0;
	int err = 0;

	g->flying--;
	g->flying_bytes -= k->len;
	if (c->err) {
		plan_aside(&g->plan, c->chunk);
		return 0;
	}
	for (uint32_t i = 0; !err && i < k->n; i++) {
		const struct track_piece *p = plan_piece(&g->plan, c->chunk, i);

		err = part_write(g->part, p, c->buf->data);
		bytes += p->len;
	}
	if (!err)
		err = credit(g, c->num, bytes);
	g->done += bytes;
	g->out->fetched += bytes;
	g->came_ms = now_ms();
	set_window(g, g->came_ms - c->sent_ms);
	return err;
}

static void coming_free(struct coming *c)
{
	buf_unref(c->buf);
	free(c);
}

static struct timespec soon(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += GET_STEP_MS * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

/* All that came back, waiting a little if nothing has. */
static int take_all(struct get *g)
{
	struct comings back = STAILQ_HEAD_INITIALIZER(back);
	struct timespec until = soon();
	struct coming *c;
	int err = 0;

	pthread_mutex_lock(&g->lock);
	if (STAILQ_EMPTY(&g->back))
		pthread_cond_timedwait(&g->came, &g->lock, &until);
	STAILQ_CONCAT(&back, &g->back);
	pthread_mutex_unlock(&g->lock);
	while ((c = STAILQ_FIRST(&back))) {
		int e = take(g, c);

		STAILQ_REMOVE_HEAD(&back, next);
		coming_free(c);
		err = err ? err : e;
	}
	return err;
}

/* -------------------------------------------------------------- the course */

/* All are through but those that nobody had: once more, for a while. */
static int try_again(struct get *g)
{
	uint64_t now = now_ms();

	if (g->plan.n_batch || g->plan.n_todo || g->flying)
		return 0;
	if (now - g->came_ms >= g->timeout_ms)
		return -ENODATA;
	if (now >= g->again_ms) {
		plan_again(&g->plan);
		g->again_ms = now + GET_AGAIN_MS;
	}
	return 0;
}

static int run(struct get *g)
{
	int err = 0;

	g->came_ms = now_ms();
	while (!err) {
		if (g->step(g->arg, g->done, g->plan.track->size))
			return -ECANCELED;
		err = fill_window(g);
		if (!g->flying && !g->plan.n_batch && !g->plan.n_todo &&
		    !g->plan.n_aside)
			break;
		if (!err)
			err = try_again(g);
		if (!err)
			err = take_all(g);
	}
	return err;
}

/* What is still under way comes back, shortly. */
static void settle(struct get *g)
{
	if (g->flying)
		peer_halt(g->peer);
	while (g->flying) {
		struct coming *c;

		pthread_mutex_lock(&g->lock);
		while (STAILQ_EMPTY(&g->back))	/* flights have deadlines */
			pthread_cond_wait(&g->came, &g->lock);
		c = STAILQ_FIRST(&g->back);
		STAILQ_REMOVE_HEAD(&g->back, next);
		pthread_mutex_unlock(&g->lock);
		take(g, c);	/* what comes late is as good */
		coming_free(c);
	}
}

static uint64_t bytes_there(const struct track *t, const uint8_t *have)
{
	uint64_t n = 0;

	for (size_t i = 0; i < t->n_pieces; i++)
		n += have[i] ? t->pieces[i].len : 0;
	return n;
}

int get_run(struct get_result *out, struct peer *peer, struct part *part,
	    const uint8_t *have, uint32_t timeout_ms, part_step step,
	    void *arg)
{
	struct get g = { .peer = peer, .part = part, .out = out,
			 .timeout_ms = timeout_ms, .step = step, .arg = arg,
			 .window = GET_WINDOW_MIN };
	pthread_condattr_t monotonic;
	int err;

	memset(out, 0, sizeof(*out));
	err = plan_init(&g.plan, part->track, have, random_u64());
	if (err)
		return err;
	STAILQ_INIT(&g.back);
	pthread_mutex_init(&g.lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&g.came, &monotonic);
	pthread_condattr_destroy(&monotonic);
	g.done = out->resumed = bytes_there(part->track, have);
	err = run(&g);
	settle(&g);
	if (err == -ENODATA &&
	    plan_missing(&g.plan, &out->missing, &out->n_missing))
		err = -ENOMEM;
	plan_fini(&g.plan);
	pthread_cond_destroy(&g.came);
	pthread_mutex_destroy(&g.lock);
	return err;
}
