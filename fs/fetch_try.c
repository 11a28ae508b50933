/*
 * fetch_try -- a flight's course.  All of it on the flight's home loop.
 *
 * Happy path: the local store, or one peer, or the tracker, gives the bytes.
 * Failure: an attempt that fails is followed at once by the next source, one
 * that takes long by one at the same time, if the budget of such extra
 * requests allows; and so is, whatever the budget, one at a peer that is mute.
 * When no source is left and none is out but at mute peers, the round is over:
 * the tracker is asked who holds the chunk (at first at once, then after a
 * growing pause), and all of them may be asked again, until the flight's
 * deadline.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "counters.h"
#include "fetch_internal.h"
#include "log.h"
#include "via.h"

static void go_on(struct flight *f);

/* -------------------------------------------------------------- sources */

static struct source *find_source(struct flight *f, uint32_t num)
{
	for (unsigned i = 0; i < f->n_src; i++)
		if (f->src[i].num == num)
			return &f->src[i];
	return NULL;
}

static void add_source(struct flight *f, uint32_t num)
{
	if (!num || find_source(f, num) || f->n_src == MSG_HOLDERS_MAX)
		return;
	f->src[f->n_src++] = (struct source){ .num = num };
}

void flight_sources(struct flight *f, const uint32_t *holders, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		add_source(f, holders[i]);
}

static char *source_name(const struct flight *f, uint32_t num,
			 char out[ADDR_TEXT_MAX])
{
	if (num != FETCH_RELAY)
		return peers_name(f->fetch->parts->peers, num, out);
	snprintf(out, ADDR_TEXT_MAX, "the tracker");
	return out;
}

/* How the source is doing now. */
static void look_at(const struct flight *f, struct source *s, uint32_t us)
{
	struct peers_load load;

	if (s->num == FETCH_RELAY) {
		s->relay = 1;
		s->alive = via_is_up(f->fetch->parts->via) != 0;
		return;
	}
	peers_load(f->fetch->parts->peers, s->num, &load);
	s->alive = load.alive && s->num != us && f->how != VIA_TRACKER;
	s->away = load.away != 0;
	s->mute = load.mute != 0;
	s->outstanding = load.outstanding;
	s->usual_ms = load.usual_ms;
	s->bad = load.bad;
}

static struct source *choose(struct flight *f)
{
	struct link_info us;
	int i;

	link_info(f->fetch->parts->link, &us);
	for (unsigned k = 0; k < f->n_src; k++)
		look_at(f, &f->src[k], us.num);
	i = source_choose(f->src, f->n_src, &f->rng);
	return i < 0 ? NULL : &f->src[i];
}

/* -------------------------------------------------------------- failing */

static void give_up(struct flight *f, int err)
{
	char text[MSG_TEXT_MAX] = "", name[ADDR_TEXT_MAX];
	size_t at = 0;

	for (unsigned i = 0; i < f->n_src && at < sizeof(text); i++) {
		const struct source *s = &f->src[i];
		int n;

		n = snprintf(text + at, sizeof(text) - at,
			     "; %s failed %u times",
			     source_name(f, s->num, name), s->failures);
		at += n > 0 ? (size_t)n : 0;
	}
	if (err == -ECANCELED)
		;
	else if (f->want.timeout_ms)	/* whoever is so patient tries again */
		log_info("chunk %016" PRIx64 " cannot be had yet%s", f->id,
			 text);
	else
		log_error("chunk %016" PRIx64 " cannot be had: no good copy "
			  "here%s%s", f->id, text,
			  f->n_src ? "" : "; no live peer is known to hold it");
	flight_end(f, err, NULL);
}

/* ------------------------------------------------------ asking the tracker */

struct located {
	struct loop_work work;
	struct flight *flight;
	int err;		/* -ENOENT: no such chunk */
	uint32_t holders[MSG_HOLDERS_MAX];
	uint32_t n;
};

static void on_located_home(struct loop_work *w)
{
	struct located *o = container_of(w, struct located, work);
	struct flight *f = o->flight;
	struct link_info us;

	f->out--;
	if (!f->ended && !o->err) {
		link_info(f->fetch->parts->link, &us);
		flight_sources(f, o->holders, o->n);
		for (unsigned i = 0; i < f->n_src; i++)
			f->src[i].tried = 0;
		/* It thinks that we have it, and we do not: say so. */
		if (find_source(f, us.num) &&
		    !store_has(f->fetch->parts->store, f->id))
			link_gone(f->fetch->parts->link, f->id);
	}
	if (!f->ended && o->err == -ENOENT)
		give_up(f, -EIO);
	else if (!f->ended)
		go_on(f);
	free(o);
	flight_free_if_idle(f);
}

static void on_located(void *arg, int err, const struct rpc_answer *a)
{
	struct located *o = arg;
	struct arena mem = ARENA_INIT;
	struct m_locate_r r = { .n_chunks = 0 };

	if (!err)
		err = m_locate_r_decode(&r, &mem, a->body->data, a->body->len);
	if (!err && (!r.n_chunks || r.chunks[0].id != o->flight->id))
		err = -ENOENT;
	if (!err) {
		o->n = r.chunks[0].n_holders;
		for (uint32_t i = 0; i < o->n; i++)
			o->holders[i] = r.chunks[0].holders[i];
	}
	o->err = err;
	arena_fini(&mem);
	loop_post(o->flight->home, &o->work);
}

static void locate(struct flight *f)
{
	struct located *o = calloc(1, sizeof(*o));
	struct m_locate m = { .ids = &f->id, .n_ids = 1 };
	struct wr w = WR_INIT;

	if (!o) {
		give_up(f, -ENOMEM);
		return;
	}
	o->flight = f;
	o->work.fn = on_located_home;
	f->out++;
	counter_add(CNT_LOOKUPS, 1);
	m_locate_encode(&w, &m);	/* a failure shows in w.err */
	link_call(f->fetch->parts->link, M_locate, &w, on_located, o);
}

/* ------------------------------------------------------ rounds and hedges */

static void on_round(void *arg)
{
	struct flight *f = arg;

	loop_timer_free(f->timer);
	f->timer = NULL;
	if (gate_is_shut(&f->fetch->gate))
		give_up(f, -ECANCELED);
	else
		locate(f);
	flight_free_if_idle(f);
}

static void next_round(struct flight *f)
{
	uint64_t now = now_ms();
	unsigned round = f->round++;

	if (gate_is_shut(&f->fetch->gate))
		give_up(f, -ECANCELED);
	else if (now >= f->deadline_ms)
		give_up(f, -EIO);
	else if (!round)
		locate(f);
	else if (loop_after(f->home, &f->timer, source_round_ms(round, &f->rng),
			    on_round, f))
		give_up(f, -ENOMEM);
}

static int ask(struct flight *f, struct source *s)
{
	struct fetch *ft = f->fetch;

	s->tried = s->asked = 1;
	pthread_mutex_lock(&ft->lock);
	ft->budget.requests++;
	pthread_mutex_unlock(&ft->lock);
	f->out++;
	return s->relay ? attempt_relay(f) : attempt_peer(f, s);
}

/* Is there anybody, or anything, out of which an answer can be hoped for?
 * choose() has just looked at the sources. */
static int is_hopeful(const struct flight *f)
{
	unsigned mute = 0;

	for (unsigned i = 0; i < f->n_src; i++)
		mute += f->src[i].asked && f->src[i].mute;
	return f->out > mute;
}

static void hedge(struct flight *f)
{
	struct fetch *ft = f->fetch;
	struct source *s = choose(f);
	int may = 0;

	f->hedge_ms = UINT64_MAX;	/* once */
	if (!s || s->busy || s->relay)
		return;
	pthread_mutex_lock(&ft->lock);
	may = source_may_hedge(&ft->budget);
	pthread_mutex_unlock(&ft->lock);
	if (may && ask(f, s)) {
		f->out--;
		s->asked = 0;
	}
}

static void on_look(void *arg)
{
	struct flight *f = arg;

	loop_timer_free(f->timer);
	f->timer = NULL;
	choose(f);
	if (!is_hopeful(f))
		go_on(f);
	else if (now_ms() >= f->hedge_ms && flight_is_waited_for(f))
		hedge(f);
	/* Without a timer nobody looks again. */
	if (!f->ended && !f->timer)
		(void)loop_after(f->home, &f->timer, FETCH_LOOK_MS, on_look, f);
	flight_free_if_idle(f);
}

/* Asks the next source, or ends the round when there is none. */
static void go_on(struct flight *f)
{
	struct source *s;

	while ((s = choose(f))) {
		if (ask(f, s)) {
			f->out--;
			s->asked = 0;
			s->failures++;
			continue;
		}
		f->hedge_ms = now_ms() + source_hedge_ms(s);
		if (!f->timer)
			(void)loop_after(f->home, &f->timer, FETCH_LOOK_MS,
					 on_look, f);
		return;
	}
	if (is_hopeful(f))
		return;
	if (f->timer)
		loop_timer_free(f->timer);
	f->timer = NULL;
	next_round(f);
}

void flight_start(struct loop_work *w)
{
	struct flight *f = container_of(w, struct flight, work);

	if (store_has(f->fetch->parts->store, f->id)) {
		f->out++;
		if (!attempt_local(f))
			return;
		f->out--;
	}
	go_on(f);
	flight_free_if_idle(f);
}

/* --------------------------------------------------------------- results */

static void local_failed(struct flight *f, struct attempt *a)
{
	char name[ADDR_TEXT_MAX] = "other peers";
	struct source *s = choose(f);

	if (!a->corrupt) {
		if (a->err != -ENOENT)
			log_warn("chunk %016" PRIx64 " here cannot be read: "
				 "%s", f->id, strerror(-a->err));
		return;
	}
	if (s)
		source_name(f, s->num, name);
	log_warn("chunk %016" PRIx64 " here is corrupt: quarantined, "
		 "reading it from %s", f->id, name);
	counter_add(CNT_REFETCHED, 1);
}

static void peer_failed(struct flight *f, struct attempt *a)
{
	char name[ADDR_TEXT_MAX];
	struct source *s = find_source(f, a->num);

	if (s)
		s->asked = 0;
	if (s && a->n_busy) {
		s->busy = 1;	/* after those others it may be asked again */
		s->tried = 0;
	}
	if (s && s->failures < UINT8_MAX && !a->n_busy)
		s->failures++;
	flight_sources(f, a->busy, a->n_busy);
	if (a->corrupt) {
		log_warn("chunk %016" PRIx64 " came corrupt from %s: "
			 "fetching it elsewhere", f->id,
			 source_name(f, a->num, name));
	}
	if (a->corrupt && a->num != FETCH_RELAY) {
		peers_blame(f->fetch->parts->peers, a->num);
		fetch_report_bad(f->fetch, f->id, a->num);
	}
	if (a->corrupt || a->err == -EBADMSG)
		counter_add(CNT_REFETCHED, 1);
}

static void succeeded(struct flight *f, struct attempt *a)
{
	if (a->num != FETCH_RELAY)	/* via has counted it */
		counter_add(a->num ? CNT_PEER_FETCHES : CNT_STORE_HITS, 1);
	if (f->want.from)
		f->want.from(f->want.from_arg, a->num);
	/* before anybody asks for another part of it */
	if (__atomic_load_n(&f->want.prove, __ATOMIC_RELAXED))
		sums_add(f->fetch->parts->sums, f->id, a->buf->data, a->buf->len);
	flight_end(f, 0, a->buf);
	if (a->num && !f->want.no_keep)
		fetch_keep(f, a->buf);
}

void flight_result(struct attempt *a)
{
	struct flight *f = a->flight;

	f->out--;
	if (!a->err && !f->ended) {
		succeeded(f, a);
	} else if (a->err) {
		if (a->num)
			peer_failed(f, a);
		else
			local_failed(f, a);
		if (!f->ended)
			go_on(f);
	}
	attempt_free(a);
	flight_free_if_idle(f);
}
