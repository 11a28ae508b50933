/*
 * upload_mute -- puts at peers that say nothing.
 *
 * While copies are out somebody looks every UPLOAD_TICK_MS which of them have
 * waited for UPLOAD_MUTE_MS without a sign of life of their peer.  For each of
 * those another peer is asked for.
 * Failure: a tick that comes late (this process did not run, either) says
 * nothing about others: all of them wait anew.
 */
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "log.h"
#include "upload_internal.h"

#define LOOK_AT_MAX 64		/* peers; more are looked at when those answer */
#define LATE_MS 1000

SLIST_HEAD(work_list, upload_work);

struct look {			/* what one tick sees */
	uint32_t num[LOOK_AT_MAX];
	uint64_t life_ms[LOOK_AT_MAX];
	uint32_t newly[LOOK_AT_MAX];	/* puts */
	unsigned n;
	struct work_list works;
};

/* -1: it is not among them. */
static int find(const struct look *l, uint32_t num)
{
	for (unsigned i = 0; i < l->n; i++)
		if (l->num[i] == num)
			return (int)i;
	return -1;
}

/* Whose life is of interest; 0: no copy is out. */
static int who(struct upload *u, struct look *l, uint64_t now)
{
	struct upload_copy *p;
	int any;

	pthread_mutex_lock(&u->lock);
	TAILQ_FOREACH(p, &u->copies, entry) {
		if (now > u->ticked_ms + LATE_MS)
			p->since_ms = now;
		if (!p->mute && now >= p->since_ms + PEERS_PROBE_MS &&
		    l->n < LOOK_AT_MAX && find(l, p->num) < 0)
			l->num[l->n++] = p->num;
	}
	any = !TAILQ_EMPTY(&u->copies);
	u->ticking = any;
	pthread_mutex_unlock(&u->lock);
	u->ticked_ms = now;
	return any;
}

/* Call with the lock held. */
static void make_mute(struct look *l, struct upload_copy *p)
{
	struct upload_work *w = p->work;

	p->mute = 1;
	w->mute++;
	upload_count_mute(w->u, p->num, 1);
	if (w->newly++)
		return;
	w->out++;		/* upload_replace() lets it go */
	SLIST_INSERT_HEAD(&l->works, w, next);
}

static void mark(struct upload *u, struct look *l, uint64_t now)
{
	struct upload_copy *p;
	uint64_t last;
	int i;

	pthread_mutex_lock(&u->lock);
	TAILQ_FOREACH(p, &u->copies, entry) {
		i = find(l, p->num);
		if (i < 0 || p->mute)
			continue;
		last = l->life_ms[i] > p->since_ms ? l->life_ms[i]
						   : p->since_ms;
		if (now < last + UPLOAD_MUTE_MS)
			continue;
		make_mute(l, p);
		l->newly[i]++;
	}
	pthread_mutex_unlock(&u->lock);
}

static void tick(void *arg)
{
	struct upload *u = arg;
	struct upload_work *w;
	struct look l = { .n = 0 };
	uint64_t now = now_ms();

	SLIST_INIT(&l.works);
	if (!who(u, &l, now)) {
		loop_timer_free(u->timer);
		u->timer = NULL;
		return;
	}
	for (unsigned i = 0; i < l.n; i++)
		l.life_ms[i] = peers_life_ms(u->parts->peers, l.num[i]);
	mark(u, &l, now);
	for (unsigned i = 0; i < l.n; i++)
		if (l.newly[i])
			upload_silent(u, l.num[i], l.newly[i]);
	while ((w = SLIST_FIRST(&l.works))) {
		SLIST_REMOVE_HEAD(&l.works, next);
		upload_replace(w);
	}
}

static void start(void *arg)
{
	struct upload *u = arg;

	u->ticked_ms = now_ms();
	if (!loop_every(u->parts->bulk[0], &u->timer, UPLOAD_TICK_MS, tick, u))
		return;
	pthread_mutex_lock(&u->lock);
	u->ticking = 0;		/* the next one tries */
	pthread_mutex_unlock(&u->lock);
}

static void stop(void *arg)
{
	struct upload *u = arg;

	loop_timer_free(u->timer);
	u->timer = NULL;
}

void upload_mute_stop(struct upload *u)
{
	loop_run(u->parts->bulk[0], stop, u);
}

/* Call with the lock held. */
static void speaks(struct upload_copy *p)
{
	if (!p->mute)
		return;
	p->mute = 0;
	p->work->mute--;
	upload_count_mute(p->work->u, p->num, -1);
}

int upload_watch(struct upload_copy *p)
{
	struct upload *u = p->work->u;
	int wanted, arm = 0;

	pthread_mutex_lock(&u->lock);
	wanted = !p->work->settled;
	if (wanted) {
		speaks(p);
		if (!p->since_ms)
			TAILQ_INSERT_TAIL(&u->copies, p, entry);
		p->since_ms = now_ms();
		arm = !u->ticking;
		u->ticking = 1;
	}
	pthread_mutex_unlock(&u->lock);
	if (arm && loop_call(u->parts->bulk[0], start, u)) {
		pthread_mutex_lock(&u->lock);
		u->ticking = 0;
		pthread_mutex_unlock(&u->lock);
	}
	return wanted;
}

void upload_unwatch(struct upload_copy *p)
{
	struct upload *u = p->work->u;

	pthread_mutex_lock(&u->lock);
	speaks(p);
	if (p->since_ms)
		TAILQ_REMOVE(&u->copies, p, entry);
	pthread_mutex_unlock(&u->lock);
}
