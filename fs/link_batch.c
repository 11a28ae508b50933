/*
 * link_batch -- what is told to the tracker in batches.
 *
 * Of each chunk only the last word counts (stored, or gone).  While the
 * tracker is away nothing is gathered: the inventory after the next hello
 * tells it all, since a store changes before link_have() or link_gone() say
 * so.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "counters.h"
#include "link_internal.h"
#include "log.h"

/* -------------------------------------------------------- have and gone */

static void changed(struct link *l, uint64_t chunk, uint8_t kind)
{
	struct link_change *c;

	pthread_mutex_lock(&l->lock);
	if (kind)
		young_add(&l->young, chunk, now_ms());
	if (!l->telling)
		goto out;
	HASH_FIND(hh, l->have, &chunk, sizeof(chunk), c);
	if (!c) {
		c = malloc(sizeof(*c));
		if (c) {
			c->chunk = chunk;
			HASH_ADD(hh, l->have, chunk, sizeof(c->chunk), c);
		}
		if (!c || !TABLE_ADDED(c)) {
			free(c);
			l->untold = 1;
			goto out;
		}
	}
	c->kind = kind;
out:
	pthread_mutex_unlock(&l->lock);
}

void link_have(struct link *l, uint64_t chunk, enum copy_kind kind)
{
	changed(l, chunk, (uint8_t)kind);
}

void link_gone(struct link *l, uint64_t chunk)
{
	changed(l, chunk, 0);
}

uint32_t link_batch_old(struct link *l, uint64_t *chunks, uint32_t n)
{
	uint64_t now = now_ms();
	uint32_t kept = 0;

	pthread_mutex_lock(&l->lock);
	for (uint32_t i = 0; i < n; i++)
		if (!young_has(&l->young, chunks[i], now))
			chunks[kept++] = chunks[i];
	pthread_mutex_unlock(&l->lock);
	return kept;
}

static void forget_changes(struct link *l)
{
	struct link_change *c, *next;

	HASH_ITER (hh, l->have, c, next) {
		HASH_DEL(l->have, c);
		free(c);
	}
}

/* Moves at most LINK_HAVE_BATCH changes into @m, whose lists are ready. */
static void take_changes(struct link *l, struct m_have *m)
{
	struct link_change *c, *next;
	uint32_t n = 0;

	pthread_mutex_lock(&l->lock);
	HASH_ITER (hh, l->have, c, next) {
		if (n++ == LINK_HAVE_BATCH)
			break;
		if (c->kind)
			m->added[m->n_added++] =
				(struct m_held){ c->chunk, c->kind };
		else
			m->gone[m->n_gone++] = c->chunk;
		HASH_DEL(l->have, c);
		free(c);
	}
	pthread_mutex_unlock(&l->lock);
}

static void on_told(void *arg, int err, const struct rpc_answer *a)
{
	struct link *l = arg;

	if (a && err && l->state == LINK_UP)
		link_break(l, "it refuses to hear what is stored here");
}

static void send_changes(struct link *l)
{
	struct m_held added[LINK_HAVE_BATCH];
	uint64_t gone[LINK_HAVE_BATCH];
	struct m_have m = { .added = added, .gone = gone };
	struct wr w = WR_INIT;

	take_changes(l, &m);
	if (!m.n_added && !m.n_gone)
		return;
	if (m_have_encode(&w, &m)) {
		wr_fini(&w);
		link_break(l, "no memory to tell what is stored here");
		return;
	}
	rpc_call(l->rpc, M_have, 0, &w, NULL, LINK_HELD_MS, on_told, l);
}

static unsigned n_changes(struct link *l, int *untold)
{
	unsigned n;

	pthread_mutex_lock(&l->lock);
	n = HASH_COUNT(l->have);
	*untold = l->untold;
	pthread_mutex_unlock(&l->lock);
	return n;
}

/* ------------------------------------------------------------- releases */

void link_release(struct link *l, uint64_t ino)
{
	pthread_mutex_lock(&l->lock);
	if (l->n_released == l->cap_released) {
		uint32_t cap = l->cap_released ? 2 * l->cap_released : 64;
		uint64_t *p = realloc(l->released, cap * sizeof(*p));

		if (!p)
			goto out;	/* told again by the next revoke_r */
		l->released = p;
		l->cap_released = cap;
	}
	l->released[l->n_released++] = ino;
out:
	pthread_mutex_unlock(&l->lock);
}

static uint64_t *take_releases(struct link *l, uint32_t *n)
{
	uint64_t *inos;

	pthread_mutex_lock(&l->lock);
	inos = l->released;
	*n = l->n_released;
	l->released = NULL;
	l->n_released = l->cap_released = 0;
	pthread_mutex_unlock(&l->lock);
	return inos;
}

/*
 * What is open again must not be released behind somebody's back: an orphan
 * would be gone.  Looking and sending are one turn of the loop; whoever opens
 * it after the look and then asks the tracker, or answers a revocation, comes
 * behind the release.
 */
static void send_releases(struct link *l)
{
	uint32_t n, kept = 0;
	uint64_t *inos = take_releases(l, &n);

	for (uint32_t i = 0; i < n; i++)
		if (!l->ops.still_open(l->arg, inos[i]))
			inos[kept++] = inos[i];
	for (uint32_t i = 0; i < kept; i += MSG_INOS_MAX) {
		struct m_release m = { .inos = inos + i, .n_inos = kept - i };
		struct wr w = WR_INIT;

		if (m.n_inos > MSG_INOS_MAX)
			m.n_inos = MSG_INOS_MAX;
		if (!m_release_encode(&w, &m))
			rpc_send(l->rpc, M_release, &w);
		wr_fini(&w);
	}
	free(inos);
}

/* The list of open inodes that goes with the next hello says it all. */
void link_batch_forget_releases(struct link *l)
{
	pthread_mutex_lock(&l->lock);
	l->n_released = 0;
	pthread_mutex_unlock(&l->lock);
}

/* ---------------------------------------------------------------- stats */

static void send_stats(struct link *l)
{
	struct m_counter c[CNT_MAX];
	struct m_stats m = { .counters = c };
	struct wr w = WR_INIT;

	for (uint16_t i = 1; i < CNT_MAX; i++) {
		uint64_t v = counter_get((enum counter_id)i);

		if (v)
			c[m.n_counters++] = (struct m_counter){ i, v };
	}
	if (!m_stats_encode(&w, &m))
		rpc_send(l->rpc, M_stats, &w);
	wr_fini(&w);
}

/* ------------------------------------------------------- for the others */

void link_batch_tick(struct link *l, uint64_t now)
{
	int untold;
	unsigned n = n_changes(l, &untold);

	if (untold) {		/* the next inventory will tell */
		link_break(l, "no memory to note what is stored here");
		return;
	}
	send_releases(l);
	/* Those gathered during the inventory wait for its end: it may list
	 * what is gone by now. */
	if (n && !l->holding &&
	    (n >= LINK_HAVE_BATCH || now >= l->have_due_ms)) {
		send_changes(l);
		l->have_due_ms = now + (l->cfg.guest ? LINK_HAVE_GUEST_MS
						     : LINK_HAVE_MS);
	}
	if (now >= l->stats_due_ms) {
		send_stats(l);
		l->stats_due_ms = now + LINK_STATS_MS;
	}
}

void link_batch_begin(struct link *l)
{
	pthread_mutex_lock(&l->lock);
	l->telling = 1;
	l->untold = 0;
	pthread_mutex_unlock(&l->lock);
}

void link_batch_lost(struct link *l)
{
	pthread_mutex_lock(&l->lock);
	l->telling = l->untold = 0;
	forget_changes(l);
	pthread_mutex_unlock(&l->lock);
}

void link_batch_fini(struct link *l)
{
	forget_changes(l);
	free(l->released);
}
