/*
 * distribute_verify -- every piece read again at its peer.
 *
 * All peers at once, each a batch at a time.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "distribute_internal.h"

static void on_verified(void *arg, int err, const struct rpc_answer *a);

/* How many chunks the next verify has; call with the lock held. */
static uint32_t batch(const struct dist_part *t, uint64_t *bytes)
{
	uint32_t n = 0;

	*bytes = 0;
	while (t->checked + n < t->n_chunks && n < MSG_VERIFY_MAX &&
	       (!n || *bytes + t->lens[t->checked + n] <=
			      DISTRIBUTE_VERIFY_BYTES))
		*bytes += t->lens[t->checked + n++];
	return n;
}

/* The next batch of @t goes out, if there is one. */
static void verify_next(struct dist_part *t)
{
	struct distribute *d = t->d;
	struct m_verify m = { .n_chunks = 0 };
	struct wr w = WR_INIT;
	uint64_t bytes;

	pthread_mutex_lock(&d->lock);
	if (!d->err && !*d->cfg.stop)
		m.n_chunks = batch(t, &bytes);
	m.chunks = t->ids + t->checked;
	t->checked += m.n_chunks;
	if (!m.n_chunks)
		d->out--;
	pthread_cond_signal(&d->changed);
	pthread_mutex_unlock(&d->lock);
	if (!m.n_chunks)
		return;
	m_verify_encode(&w, &m);	/* a failure shows in w.err */
	peers_call(d->cfg.member->peers, t->num, M_verify, 0, &w, NULL, 0,
		   DISTRIBUTE_VERIFY_MS, on_verified, t);
}

static void on_verified(void *arg, int err, const struct rpc_answer *an)
{
	struct dist_part *t = arg;
	struct distribute *d = t->d;
	struct arena a = ARENA_INIT;
	struct m_verify_r r = { .n_bad = 0 };

	if (!err)
		err = m_verify_r_decode(&r, &a, an->body->data,
					an->body->len);
	pthread_mutex_lock(&d->lock);
	if (err)
		dist_fail(d, err, "%s does not verify its part: %s: see "
			  "whether it runs and can be reached from here",
			  t->name, strerror(-err));
	else if (r.n_bad)
		dist_fail(d, -EBADMSG, "%s lacks %" PRIu32 " chunks of its "
			  "part, or has them corrupt: see whether its disk is "
			  "well", t->name, r.n_bad);
	else
		for (uint64_t i = 0, v = 0; i < t->checked; i++) {
			v += t->lens[i];
			t->verified = v;
		}
	pthread_mutex_unlock(&d->lock);
	arena_fini(&a);
	verify_next(t);
}

int distribute_verify(struct distribute *d, char *why, size_t why_len)
{
	uint32_t n = d->cfg.n_parts;

	pthread_mutex_lock(&d->lock);
	d->out += n;
	pthread_mutex_unlock(&d->lock);
	for (uint32_t i = 0; i < n; i++)
		verify_next(&d->cfg.parts[i]);
	pthread_mutex_lock(&d->lock);
	while (d->out && !d->err && !*d->cfg.stop) {
		dist_wait(d);
		pthread_mutex_unlock(&d->lock);
		dist_show(d, 1);
		pthread_mutex_lock(&d->lock);
	}
	if (*d->cfg.stop)
		dist_fail(d, -EINTR, "interrupted");
	n = d->out;
	pthread_mutex_unlock(&d->lock);
	if (n)		/* one has failed, or nobody waits any more */
		member_shut(d->cfg.member);
	pthread_mutex_lock(&d->lock);
	while (d->out)
		dist_wait(d);
	pthread_mutex_unlock(&d->lock);
	dist_show(d, 1);
	return dist_result(d, why, why_len);
}
