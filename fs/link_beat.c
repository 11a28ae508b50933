/*
 * link_beat -- heartbeats, and how long what is leased may be used.
 *
 * Each beat goes as a datagram.  When LINK_DGRAMS_LOST of them had no answer
 * it goes over the connection as well, until an answer comes by datagram
 * again.  The lease counts from the *sending* of what was answered: the
 * tracker's own count cannot have begun earlier.
 */
#include <errno.h>
#include <string.h>

#include "link_internal.h"
#include "log.h"

void link_lease_until(struct link *l, uint64_t until_ms)
{
	pthread_mutex_lock(&l->lock);
	if (now_ms() >= l->leased_until_ms)
		l->term++;
	if (until_ms > l->leased_until_ms)
		l->leased_until_ms = until_ms;
	pthread_mutex_unlock(&l->lock);
}

/*
 * A change that was given up may have been made: then the tracker believes
 * that a file which it made, or whose name it removed, is open here, and
 * nobody will ever close it.  A hello says what is.  Not while the tracker is
 * silent, for that ends what is leased; nor again and again when it is slow.
 */
static void settle_changes(struct link *l)
{
	if (l->unsettled && now_ms() - l->hello_ms >= l->cfg.timeout_ms)
		link_break(l, "a change had no answer in time, and may have "
			      "been made");
}

void link_lease_give_up(struct link *l)
{
	pthread_mutex_lock(&l->lock);
	l->given_up = 1;
	pthread_mutex_unlock(&l->lock);
}

static void beat_answered(struct link *l, const void *body, size_t len)
{
	struct arena mem = ARENA_INIT;
	struct m_heartbeat_r r;
	uint64_t until;
	int err;

	err = m_heartbeat_r_decode(&r, &mem, body, len);
	arena_fini(&mem);
	if (err || r.session != l->session || r.epoch != l->epoch)
		return;
	if (r.beat > l->beat || l->beat - r.beat >= LINK_BEATS)
		return;
	until = l->beat_sent_ms[r.beat % LINK_BEATS] + l->lease_ms -
		LINK_LEASE_MARGIN_MS;
	l->heard_ms = now_ms();
	link_lease_until(l, until);
	settle_changes(l);
}

void link_beat_dgram(const struct dgram *d, void *arg)
{
	struct link *l = arg;

	if (l->state != LINK_UP || d->session != l->session)
		return;
	if (d->type != M_heartbeat_r) {
		if (l->ops.dgram)
			l->ops.dgram(l->arg, d->type, d->body, d->len);
		return;
	}
	l->dgrams_lost = 0;
	beat_answered(l, d->body, d->len);
}

static void on_beat_answer(void *arg, int err, const struct rpc_answer *a)
{
	struct link *l = arg;

	if (!a || l->state != LINK_UP)
		return;
	if (err)
		link_session_ended(l);
	else
		beat_answered(l, a->body->data, a->body->len);
}

static void send_beat(struct link *l)
{
	struct m_heartbeat m = {
		.session = l->session, .epoch = l->epoch, .beat = ++l->beat,
	};
	struct wr w = WR_INIT;

	l->ops.space(l->arg, &m.capacity, &m.used, &m.chunks);
	if (m_heartbeat_encode(&w, &m)) {
		wr_fini(&w);
		return;
	}
	l->beat_sent_ms[l->beat % LINK_BEATS] = now_ms();
	dgram_send(l->dgram, l->session, M_heartbeat, w.p, w.len);
	if (l->dgrams_lost < LINK_DGRAMS_LOST)
		l->dgrams_lost++;
	else
		rpc_call(l->rpc, M_heartbeat, 0, &w, NULL, l->lease_ms,
			 on_beat_answer, l);
	wr_fini(&w);
}

static void on_beat_timer(void *arg)
{
	struct link *l = arg;

	if (l->state != LINK_UP)
		return;
	if (now_ms() - l->heard_ms >= l->lease_ms)
		link_break(l, "silent for as long as a lease");
	else
		send_beat(l);
}

int link_beat_start(struct link *l, struct rpc *c)
{
	uint8_t secret[64];
	int err;

	err = rpc_export(c, DGRAM_LABEL, secret, sizeof(secret));
	if (!err)
		err = dgram_join(l->dgram, l->session, secret, 0,
				 &l->cfg.trackers[l->tracker]);
	explicit_bzero(secret, sizeof(secret));
	if (err)
		return err;
	l->dgrams_lost = 0;
	err = loop_every(l->loop, &l->beat_timer, l->heartbeat_ms,
			 on_beat_timer, l);
	if (!err)
		send_beat(l);	/* it also tells where datagrams reach us */
	return err;
}

void link_beat_stop(struct link *l)
{
	if (l->beat_timer)
		loop_timer_free(l->beat_timer);
	l->beat_timer = NULL;
	dgram_leave(l->dgram, l->session);
}
