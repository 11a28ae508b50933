/*
 * grants -- see grants.h.
 *
 * One request at a time.  It is made when less than half of what is wanted is
 * left, so that a steady writer never waits; finding the pool empty doubles
 * what is wanted.
 */
#include "grants.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

STAILQ_HEAD(grant_list, grant);
STAILQ_HEAD(wait_list, grants_wait);

struct grants {
	struct link *link;		/* fixed after start */

	pthread_mutex_t lock;
	/* guarded by lock */
	struct grant_list pool;
	struct wait_list waiting;
	uint32_t n, n_waiting;
	uint32_t want;
	int asking;
};

int grants_new(struct grants **out, struct link *l)
{
	struct grants *gs = calloc(1, sizeof(*gs));

	if (!gs)
		return -ENOMEM;
	gs->link = l;
	gs->want = GRANTS_MIN;
	pthread_mutex_init(&gs->lock, NULL);
	STAILQ_INIT(&gs->pool);
	STAILQ_INIT(&gs->waiting);
	*out = gs;
	return 0;
}

void grants_free(struct grants *gs)
{
	struct grant *g;

	if (!gs)
		return;
	while ((g = STAILQ_FIRST(&gs->pool))) {
		STAILQ_REMOVE_HEAD(&gs->pool, next);
		free(g);
	}
	pthread_mutex_destroy(&gs->lock);
	free(gs);
}

/* How many to ask for now; 0: none.  Call with the lock held. */
static uint32_t lacking(struct grants *gs)
{
	uint32_t need = gs->want + gs->n_waiting;

	if (gs->asking || (!gs->n_waiting && gs->n >= gs->want / 2))
		return 0;
	gs->asking = 1;
	need -= gs->n < gs->want ? gs->n : gs->want;
	return need < MSG_GRANT_MAX ? need : MSG_GRANT_MAX;
}

static void on_granted(void *arg, int err, const struct rpc_answer *a);

static void ask(struct grants *gs, uint32_t count)
{
	struct m_grant m = { .count = count };
	struct wr w = WR_INIT;

	m_grant_encode(&w, &m);	/* a failure shows in w.err */
	link_call(gs->link, M_grant, &w, on_granted, gs);
}

static int add(struct grants *gs, const struct m_placed *p)
{
	struct grant *g;

	g = malloc(sizeof(*g) + p->n_targets * sizeof(*g->targets));
	if (!g)
		return -ENOMEM;
	g->id = p->id;
	g->n = p->n_targets;
	for (uint32_t i = 0; i < g->n; i++)
		g->targets[i] = p->targets[i];
	pthread_mutex_lock(&gs->lock);
	STAILQ_INSERT_TAIL(&gs->pool, g, next);
	gs->n++;
	pthread_mutex_unlock(&gs->lock);
	return 0;
}

/* The next one who waits, with an id unless @err; NULL: nobody, or no id. */
static struct grants_wait *next_served(struct grants *gs, int err,
				       struct grant **g)
{
	struct grants_wait *w;

	*g = NULL;
	pthread_mutex_lock(&gs->lock);
	w = STAILQ_FIRST(&gs->waiting);
	if (w && !err) {
		*g = STAILQ_FIRST(&gs->pool);
		if (*g) {
			STAILQ_REMOVE_HEAD(&gs->pool, next);
			gs->n--;
		} else {
			w = NULL;
		}
	}
	if (w) {
		STAILQ_REMOVE_HEAD(&gs->waiting, next);
		gs->n_waiting--;
	}
	pthread_mutex_unlock(&gs->lock);
	return w;
}

static void on_granted(void *arg, int err, const struct rpc_answer *a)
{
	struct grants *gs = arg;
	struct arena mem = ARENA_INIT;
	struct m_grant_r r = { .n_chunks = 0 };
	struct grants_wait *w;
	struct grant *g;
	uint32_t more;

	if (!err)
		err = m_grant_r_decode(&r, &mem, a->body->data, a->body->len);
	if (!err && !r.n_chunks)
		err = -ENOSPC;
	for (uint32_t i = 0; i < r.n_chunks && !err; i++)
		err = add(gs, &r.chunks[i]);
	arena_fini(&mem);
	while ((w = next_served(gs, err, &g)))
		w->fn(w, err, g);
	pthread_mutex_lock(&gs->lock);
	gs->asking = 0;
	more = gs->n_waiting ? lacking(gs) : 0;
	pthread_mutex_unlock(&gs->lock);
	if (more)
		ask(gs, more);
}

void grants_take(struct grants *gs, struct grants_wait *w)
{
	struct grant *g = NULL;
	uint32_t more;

	pthread_mutex_lock(&gs->lock);
	if (STAILQ_EMPTY(&gs->waiting))
		g = STAILQ_FIRST(&gs->pool);
	if (g) {
		STAILQ_REMOVE_HEAD(&gs->pool, next);
		gs->n--;
	} else {
		STAILQ_INSERT_TAIL(&gs->waiting, w, next);
		if (!gs->n_waiting++ && gs->want < GRANTS_MAX)
			gs->want *= 2;
	}
	more = lacking(gs);
	pthread_mutex_unlock(&gs->lock);
	if (more)
		ask(gs, more);
	if (g)
		w->fn(w, 0, g);
}
