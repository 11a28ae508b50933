/* atimes -- see atimes.h. */
#include "atimes.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "table.h"

enum { DAY_S = 86400 };

struct note {
	struct m_access at;
	UT_hash_handle hh;
};

struct atimes {
	struct link *link;	/* fixed after atimes_new(), and the next */
	struct loop *loop;
	atimes_told told;
	void *arg;
	struct loop_timer *timer;	/* loop thread only */
	pthread_mutex_t lock;
	/* guarded by lock */
	struct note *notes;
	int armed;
};

static int later(int64_t a_s, uint32_t a_ns, int64_t b_s, uint32_t b_ns)
{
	return a_s > b_s || (a_s == b_s && a_ns > b_ns);
}

int atimes_due(const struct m_attr *a, int64_t now_s)
{
	return !later(a->atime_s, a->atime_ns, a->mtime_s, a->mtime_ns) ||
	       !later(a->atime_s, a->atime_ns, a->ctime_s, a->ctime_ns) ||
	       (a->atime_s < now_s && a->atime_s <= now_s - DAY_S);
}

/* ----------------------------------------------------------------- telling */

/* All notes, as a list; the table is empty then. */
static struct m_access *take(struct atimes *t, uint32_t *n)
{
	struct note *e, *next;
	struct m_access *v;

	*n = 0;
	pthread_mutex_lock(&t->lock);
	v = malloc((HASH_COUNT(t->notes) + 1) * sizeof(*v));
	HASH_ITER (hh, t->notes, e, next) {
		if (v)
			v[(*n)++] = e->at;
		HASH_DELETE(hh, t->notes, e);
		free(e);
	}
	t->armed = 0;
	pthread_mutex_unlock(&t->lock);
	return v;
}

static void tell(struct atimes *t)
{
	struct m_accessed m = { 0 };
	struct wr w = WR_INIT;

	m.inos = take(t, &m.n_inos);
	if (m.inos && m.n_inos) {
		t->told(t->arg, m.inos, m.n_inos);
		if (!m_accessed_encode(&w, &m))
			link_send(t->link, M_accessed, &w);
		else
			wr_fini(&w);
	}
	free(m.inos);
}

static void disarm(void *arg)
{
	struct atimes *t = arg;

	if (t->timer)
		loop_timer_free(t->timer);
	t->timer = NULL;
}

static void late(void *arg)
{
	disarm(arg);
	tell(arg);
}

static void arm(void *arg)
{
	struct atimes *t = arg;

	if (!t->timer && loop_after(t->loop, &t->timer, ATIMES_LATE_MS, late,
				    t))
		tell(t);
}

/* ------------------------------------------------------------------ noting */

/* Locked; the note of @ino, or a new one if there is room.  *@how: 1, it is
 * the first: the timer is to be set; 2: there is no room. */
static struct note *note_of(struct atimes *t, uint64_t ino, int *how)
{
	struct note *e;

	HASH_FIND(hh, t->notes, &ino, sizeof(ino), e);
	if (e)
		return e;
	if (HASH_COUNT(t->notes) >= ATIMES_MOST) {
		*how = 2;
		return NULL;
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->at.ino = ino;
	HASH_ADD(hh, t->notes, at.ino, sizeof(e->at.ino), e);
	if (!TABLE_ADDED(e)) {
		free(e);
		return NULL;
	}
	*how = !t->armed;
	t->armed = 1;
	return e;
}

void atimes_note(struct atimes *t, const struct m_attr *a)
{
	struct m_attr as = *a;
	struct timespec now;
	struct note *e;
	int how = 0;

	if (!t)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	atimes_overlay(t, &as);
	if (!atimes_due(&as, now.tv_sec))
		return;
	/* clocks differ: later than the last change it is for certain */
	if (!later(now.tv_sec, (uint32_t)now.tv_nsec, a->ctime_s, a->ctime_ns)) {
		now.tv_sec = a->ctime_s + (a->ctime_ns >= 999999999);
		now.tv_nsec = a->ctime_ns >= 999999999 ? 0 : a->ctime_ns + 1;
	}
	pthread_mutex_lock(&t->lock);
	e = note_of(t, a->ino, &how);
	if (e) {
		e->at.atime_s = now.tv_sec;
		e->at.atime_ns = (uint32_t)now.tv_nsec;
	}
	pthread_mutex_unlock(&t->lock);
	if (how == 2)
		tell(t);
	else if (how == 1 && loop_call(t->loop, arm, t))
		tell(t);
}

void atimes_overlay(struct atimes *t, struct m_attr *a)
{
	struct note *e;

	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	HASH_FIND(hh, t->notes, &a->ino, sizeof(a->ino), e);
	if (e && later(e->at.atime_s, e->at.atime_ns, a->ctime_s, a->ctime_ns)) {
		a->atime_s = e->at.atime_s;
		a->atime_ns = e->at.atime_ns;
	}
	pthread_mutex_unlock(&t->lock);
}

/* --------------------------------------------------------------- lifecycle */

int atimes_new(struct atimes **out, struct link *link, struct loop *loop,
	       atimes_told told, void *arg)
{
	struct atimes *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->link = link;
	t->loop = loop;
	t->told = told;
	t->arg = arg;
	pthread_mutex_init(&t->lock, NULL);
	*out = t;
	return 0;
}

void atimes_free(struct atimes *t)
{
	if (!t)
		return;
	loop_run(t->loop, disarm, t);
	tell(t);
	pthread_mutex_destroy(&t->lock);
	free(t);
}
