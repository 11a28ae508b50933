/*
 * link -- the life of the connection to the tracker.
 *
 * Happy path: connect -> up -> hello -> hello_r -> registered: requests that
 * waited are sent, then the inventory, heartbeats begin.
 * Failure: whatever ends the connection comes through on_down(), which sets a
 * timer for the next attempt (at the next tracker of the list, if there are
 * several).  There is never more than one connection.  Leases go on until
 * their end, or until the next hello, by which the tracker forgets them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "link_internal.h"
#include "log.h"
#include "status.h"
#include "trouble.h"

static const struct rpc_ops rpc_ops;

static void tracker_text(const struct link *l, char out[ADDR_TEXT_MAX])
{
	addr_text(&l->cfg.trackers[l->tracker], out);
}

/* ------------------------------------------------------------- breaking */

void link_break(struct link *l, const char *why)
{
	char at[ADDR_TEXT_MAX];

	if (!l->rpc || l->state == LINK_CLOSING)
		return;
	tracker_text(l, at);
	log_warn("tracker %s: %s: connecting anew", at, why);
	rpc_close(l->rpc);
}

void link_session_ended(struct link *l)
{
	if (l->state != LINK_UP)
		return;
	link_lease_give_up(l);
	link_break(l, "it has ended this session");
}

static void on_retry(void *arg)
{
	struct link *l = arg;

	loop_timer_free(l->retry);
	l->retry = NULL;
	link_connect(l);
}

/* Half of it is chance, so that a swarm does not come back as one. */
static uint32_t backoff_ms(const struct link *l)
{
	unsigned round = l->failures / (unsigned)l->cfg.n_trackers;
	uint32_t ms = LINK_BACKOFF_MAX_MS;

	if (round < 6)
		ms = LINK_BACKOFF_MIN_MS << round;
	if (ms > LINK_BACKOFF_MAX_MS)
		ms = LINK_BACKOFF_MAX_MS;
	return ms / 2 + (uint32_t)(random_u64() % (ms / 2 + 1));
}

static void retry(struct link *l)
{
	uint32_t ms = backoff_ms(l);

	l->state = LINK_APART;
	l->failures++;
	l->tracker = (l->tracker + 1) % l->cfg.n_trackers;
	if (loop_after(l->loop, &l->retry, ms, on_retry, l))
		log_error("no memory for a timer: the tracker stays away");
}

static void note_failure(struct link *l, int err)
{
	char at[ADDR_TEXT_MAX], why[LINK_WHY_MAX];

	tracker_text(l, at);
	trouble_tracker(err, at, l->cfg.key_file, why, sizeof(why));
	link_note(l, err, err == -EACCES, "%s", why);
}

static void on_down(struct rpc *c, int err, void *arg)
{
	struct link *l = arg;
	char at[ADDR_TEXT_MAX];

	tracker_text(l, at);
	if (l->state == LINK_UP) {
		if (err != -ECANCELED)
			log_warn("lost the tracker at %s (%s): connecting anew",
				 at, strerror(-err));
		link_beat_stop(l);
		link_batch_lost(l);
	} else if (l->state != LINK_CLOSING && err != -ECANCELED) {
		note_failure(l, err);
	}
	link_note_down(l);
	l->rpc = NULL;
	rpc_unref(c);
	if (l->state == LINK_CLOSING)
		link_end(&l->close_work);
	else
		retry(l);
}

/* --------------------------------------------------------------- hello */

static void registered(struct link *l, const struct m_hello_r *r)
{
	char at[ADDR_TEXT_MAX];
	int fresh = l->session && !r->resumed;

	tracker_text(l, at);
	log_info("registered at the tracker %s as peer %" PRIu32 "%s", at,
		 r->num, r->resumed ? " (resumed)" : "");
	if (fresh)
		log_warn("the session at the tracker %s is a new one: "
			 "changes that had no answer yet fail", at);
	l->session = r->session;
	l->epoch = r->epoch;
	l->swarm = r->swarm;
	l->lease_ms = r->lease_ms;
	l->heartbeat_ms = r->heartbeat_ms;
	l->heard_ms = now_ms();
	l->unsettled = 0;
	l->state = LINK_UP;
	if (link_beat_start(l, l->rpc)) {
		link_break(l, "no heartbeats can be sent");
		return;
	}
	pthread_mutex_lock(&l->lock);
	l->info = (struct link_info){
		.swarm = r->swarm, .session = r->session, .num = r->num,
		.copies = r->copies, .slot_size = r->slot_size,
	};
	if (fresh)
		l->leased_until_ms = 0;
	pthread_mutex_unlock(&l->lock);
	link_lease_until(l, l->hello_ms + r->lease_ms - LINK_LEASE_MARGIN_MS);
	link_note_up(l);
	if (l->ops.up)
		l->ops.up(l->arg, &l->cfg.trackers[l->tracker]);
	if (l->ops.locks_back)
		l->ops.locks_back(l->arg, r->lost, r->n_lost);
	for (uint32_t i = 0; i < r->n_lost; i++)
		link_calls_fence(l, r->lost[i]);
	if (fresh)
		link_calls_session_new(l);
	link_calls_send_all(l);
	link_held_start(l);
}

static int hello_is_sound(const struct m_hello_r *r)
{
	return r->protocol == MSG_PROTOCOL && r->session && r->num &&
	       r->lease_ms > LINK_LEASE_MARGIN_MS && r->heartbeat_ms &&
	       r->heartbeat_ms < r->lease_ms;
}

static void refused(struct link *l, int err, const struct rpc_answer *a)
{
	struct arena mem = ARENA_INIT;
	struct m_error e = { 0 };
	char at[ADDR_TEXT_MAX];

	tracker_text(l, at);
	if (m_error_decode(&e, &mem, a->body->data, a->body->len) ||
	    !e.text.len)
		e.text = str_of(strerror(-err));
	link_note(l, err, 1, "the tracker at %s refuses this peer: %.*s", at,
		  (int)e.text.len, e.text.p);
	log_error("the tracker at %s refuses this peer: %.*s", at,
		  (int)e.text.len, e.text.p);
	arena_fini(&mem);
}

static void on_hello(void *arg, int err, const struct rpc_answer *a)
{
	struct link *l = arg;
	struct arena mem = ARENA_INIT;
	struct m_hello_r r;

	if (l->state != LINK_HELLO)
		return;
	if (!a) {
		/* Its answer did not come in time, or the connection broke. */
		rpc_close(l->rpc);
		return;
	}
	if (err) {
		refused(l, err, a);
		rpc_close(l->rpc);
		return;
	}
	err = m_hello_r_decode(&r, &mem, a->body->data, a->body->len);
	if (err || !hello_is_sound(&r)) {
		link_note(l, -EPROTO, 0, "the tracker speaks another protocol:"
			  " use the same version of pspfs everywhere");
		rpc_close(l->rpc);
	} else {
		registered(l, &r);
	}
	arena_fini(&mem);
}

static void say_hello(struct link *l)
{
	char ip[ADDR_TEXT_MAX];
	struct m_hello m = {
		.protocol = MSG_PROTOCOL,
		.role = l->cfg.self.role,
		.swarm = l->swarm,
		.session = l->session,
		.port = addr_port(&l->cfg.addr),
		.mounted = l->cfg.mounted != 0,
		.guest = l->cfg.guest != 0,
		.epoch = l->epoch,
	};
	struct wr w = WR_INIT;
	uint64_t chunks, *open = NULL;
	struct m_byte_lock *locks = NULL;

	m.addr = str_of(addr_ip(&l->cfg.addr, ip));
	l->ops.space(l->arg, &m.capacity, &m.used, &chunks);
	if (l->session) {
		link_lease_give_up(l);
		link_batch_forget_releases(l);
		l->ops.lost(l->arg, &open, &m.n_open);
		m.open = open;
		if (l->ops.locks)
			l->ops.locks(l->arg, &locks, &m.n_locks);
		m.locks = locks;
	}
	if (m_hello_encode(&w, &m))
		log_error("cannot tell the tracker %" PRIu32 " open files and "
			  "%" PRIu32 " locks", m.n_open, m.n_locks);
	free(open);
	free(locks);
	l->hello_ms = now_ms();
	rpc_call(l->rpc, M_hello, 0, &w, NULL, LINK_HELLO_MS, on_hello, l);
}

static void on_up(struct rpc *c, void *arg)
{
	struct link *l = arg;

	(void)c;
	if (l->state != LINK_CONNECTING)
		return;
	l->state = LINK_HELLO;
	say_hello(l);
}

static const struct rpc_ops rpc_ops = {
	.up = on_up,
	.request = link_push,
	.down = on_down,
};

void link_connect(struct link *l)
{
	struct addr from = l->cfg.addr;
	int err;

	/* Our address, so that the tracker sees who we say we are; any port. */
	addr_set_port(&from, 0);
	l->state = LINK_CONNECTING;
	err = rpc_connect(&l->rpc, l->loop, &l->cfg.self,
			  &l->cfg.trackers[l->tracker], &from, ROLE_TRACKER, 0,
			  &rpc_ops, l);
	if (err) {
		l->rpc = NULL;
		note_failure(l, err);
		retry(l);
	}
}

/* ------------------------------------------------------ begin and end */

static void on_tick(void *arg)
{
	struct link *l = arg;
	uint64_t now = now_ms();

	link_calls_tick(l, now);
	if (l->state == LINK_UP)
		link_batch_tick(l, now);
}

void link_begin(struct loop_work *w)
{
	struct link *l = container_of(w, struct link, start_work);
	struct addr at = l->cfg.addr;
	int err;

	addr_set_port(&at, 0);
	err = dgram_open(&l->dgram, l->loop, &at, link_beat_dgram, l);
	if (!err)
		err = loop_every(l->loop, &l->tick,
				 l->cfg.guest ? LINK_TICK_GUEST_MS
					      : LINK_TICK_MS, on_tick, l);
	if (err) {
		char text[ADDR_TEXT_MAX];

		link_note(l, err, 1, "cannot open a datagram socket on %s: %s",
			  addr_ip(&l->cfg.addr, text), strerror(-err));
		return;
	}
	link_connect(l);
}

static void on_bye(void *arg, int err, const struct rpc_answer *a)
{
	struct link *l = arg;

	(void)err;
	(void)a;
	if (l->rpc)
		rpc_close(l->rpc);
}

static void free_timer(struct loop_timer **t)
{
	if (*t)
		loop_timer_free(*t);
	*t = NULL;
}

/* Posted by link_close(); then, with a connection, by its end. */
void link_end(struct loop_work *w)
{
	struct link *l = container_of(w, struct link, close_work);
	struct m_bye m = { .session = l->session };
	struct wr body = WR_INIT;
	int was_up = l->state == LINK_UP;

	free_timer(&l->retry);
	free_timer(&l->tick);
	if (was_up)
		link_beat_stop(l);
	if (l->rpc) {
		l->state = LINK_CLOSING;
		link_lease_give_up(l);
		link_note_down(l);
		if (!was_up || m_bye_encode(&body, &m)) {
			wr_fini(&body);
			rpc_close(l->rpc);
		} else {
			rpc_call(l->rpc, M_bye, 0, &body, NULL, LINK_BYE_MS,
				 on_bye, l);
		}
		return;
	}
	l->state = LINK_CLOSED;
	if (l->dgram)
		dgram_close(l->dgram);
	l->dgram = NULL;
	link_calls_end(l, -ECANCELED);
	pthread_mutex_lock(&l->lock);
	l->closed = 1;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}
