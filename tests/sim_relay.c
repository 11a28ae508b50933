/*
 * sim_relay -- the relay and its peers with a fake clock: datagrams are lost,
 * doubled and overtake each other, peers come and go, some bytes are wrong.
 *
 * Each peer begins with its part of a file and wants the rest; every one has
 * to get it, whatever the cache's size, and the cache must never be larger.
 *
 * PSPFS_SIM_SEED, PSPFS_SIM_ROUNDS: where to start, how many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "counters.h"
#include "log.h"
#include "relay.h"
#include "rng.h"

enum {
	PEERS_MAX = 50, CHUNKS_MAX = 200, CHUNK = 64,
	WINDOW = 12, STEP_MS = 2, LIMIT_MS = 600000,
	EVENTS_MAX = 1 << 16,
};

enum kind {
	WANT, WANT_R, SEEK, HERE, ABSENT,	/* datagrams */
	WANT_TCP, SEEK_TCP, FOUND, DELIVER, DELIVERED, NOWHERE,
	RESOLVED, CHECKED,
};

struct event {
	uint64_t at_ms;
	enum kind kind;
	uint32_t peer, chunk, life;
	int directed, good;
};

struct flying {
	int on, acked;
	uint32_t try;
	uint64_t next_ms;
};

struct peer {
	int up;
	uint32_t life;		/* counts its connections */
	uint8_t has[CHUNKS_MAX];
	struct flying want[CHUNKS_MAX];
	uint32_t n_has, n_flying;
};

struct setup {
	uint32_t peers, chunks, cache_chunks;
	unsigned loss, twice, rotten;	/* percent */
	int broadcast, kills;
};

static struct {
	struct setup s;
	struct relay *relay;
	struct peer peer[PEERS_MAX];
	struct event ev[EVENTS_MAX];
	uint32_t n_ev;
	uint64_t now_ms, rng, resent;
} w;

static uint64_t rnd(void)
{
	return rng_next(&w.rng);
}

static int chance(unsigned percent)
{
	return rnd() % 100 < percent;
}

/* -------------------------------------------------------------- network */

static void post(struct event e, uint64_t delay_ms)
{
	assert_true(w.n_ev < EVENTS_MAX);
	e.at_ms = w.now_ms + delay_ms;
	e.life = w.peer[e.peer].life;
	w.ev[w.n_ev++] = e;
}

static void send_tcp(struct event e)
{
	post(e, 1 + rnd() % 4);
}

static void send_dgram(struct event e)
{
	if (chance(w.s.loss))
		return;
	post(e, 1 + rnd() % (w.s.loss ? 20 : 4));	/* some overtake */
	if (chance(w.s.twice))
		post(e, 1 + rnd() % 60);
}

static struct event ev(enum kind k, uint32_t peer, uint32_t chunk)
{
	return (struct event){ .kind = k, .peer = peer, .chunk = chunk };
}

/* Ids on the relay's side are one higher: 0 is nobody. */
static uint32_t num(uint64_t id)
{
	return (uint32_t)id - 1;
}

/* ------------------------------------------------------- the relay's io */

static int io_resolve(void *arg, uint64_t chunk)
{
	(void)arg;
	post(ev(RESOLVED, 0, num(chunk)), 1 + rnd() % 3);
	return 0;
}

static void io_seek(void *arg, uint64_t peer, const struct relay_seek *s)
{
	struct event e = ev(s->by_tcp ? SEEK_TCP : SEEK, num(peer),
			    num(s->chunk));

	(void)arg;
	e.directed = s->directed;
	w.resent += s->try > 0;
	if (s->by_tcp)
		send_tcp(e);
	else
		send_dgram(e);
}

static int io_check(void *arg, const struct lru_entry *e)
{
	struct event x = ev(CHECKED, 0, num(e->id));

	(void)arg;
	x.good = e->buf->data[0] == 'g';
	post(x, 1 + rnd() % 3);
	return 0;
}

static int io_deliver(void *arg, uint64_t peer, const struct lru_entry *e)
{
	(void)arg;
	assert_int_equal(e->buf->data[0], 'g');
	send_tcp(ev(DELIVER, num(peer), num(e->id)));
	return 0;
}

static void io_nowhere(void *arg, uint64_t peer, uint64_t chunk)
{
	(void)arg;
	send_tcp(ev(NOWHERE, num(peer), num(chunk)));
}

/* ----------------------------------------------------------------- peers */

static uint64_t n_holders(uint32_t chunk, uint64_t out[PEERS_MAX])
{
	uint64_t n = 0;

	for (uint32_t p = 0; p < w.s.peers; p++)
		if (w.peer[p].has[chunk])
			out[n++] = p + 1;
	return n;
}

static void give(uint32_t peer, uint32_t chunk)
{
	struct lru_entry e = { .id = chunk + 1, .len = CHUNK,
			       .md5 = { 1 }, .buf = buf_new(CHUNK) };

	assert_non_null(e.buf);
	e.buf->data[0] = chance(w.s.rotten) ? 'b' : 'g';
	relay_found(w.relay, peer + 1, &e, w.now_ms);
	buf_unref(e.buf);
}

static void sought(const struct event *e)
{
	struct peer *p = &w.peer[e->peer];

	if (p->has[e->chunk]) {
		send_dgram(ev(HERE, e->peer, e->chunk));
		send_tcp(ev(FOUND, e->peer, e->chunk));
	} else if (e->directed) {
		send_dgram(ev(ABSENT, e->peer, e->chunk));
	}
}

static void met(struct peer *p, uint32_t chunk, int got)
{
	if (!p->want[chunk].on)
		return;
	p->want[chunk].on = 0;
	p->n_flying--;
	if (got && !p->has[chunk]) {
		p->has[chunk] = 1;
		p->n_has++;
	}
}

static void ask(uint32_t peer, uint32_t chunk)
{
	struct flying *f = &w.peer[peer].want[chunk];

	if (f->try >= RELAY_TRIES) {
		send_tcp(ev(WANT_TCP, peer, chunk));
		f->next_ms = w.now_ms + 3000;
		return;
	}
	w.resent += f->try > 0;
	send_dgram(ev(WANT, peer, chunk));
	f->next_ms = w.now_ms + (25u << f->try++);
}

static void peer_step(uint32_t peer)
{
	struct peer *p = &w.peer[peer];

	if (!p->up)
		return;
	for (uint32_t c = 0; c < w.s.chunks; c++) {
		struct flying *f = &p->want[c];

		if (f->on && f->next_ms <= w.now_ms) {
			f->try = f->acked ? 0 : f->try;
			f->acked = 0;
			ask(peer, c);
		}
	}
	for (uint32_t i = 0; i < 4 && p->n_flying < WINDOW; i++) {
		uint32_t c = (uint32_t)(rnd() % w.s.chunks);

		if (p->has[c] || p->want[c].on)
			continue;
		p->want[c] = (struct flying){ .on = 1 };
		p->n_flying++;
		ask(peer, c);
	}
}

/* Its connection breaks; what was on it is lost. */
static void cut(uint32_t peer)
{
	struct peer *p = &w.peer[peer];

	p->up = 0;
	p->life++;
	for (uint32_t c = 0; c < w.s.chunks; c++)
		relay_delivered(w.relay, peer + 1, c + 1, w.now_ms);
	relay_peer_down(w.relay, peer + 1, w.now_ms);
}

static void come_back(uint32_t peer)
{
	struct peer *p = &w.peer[peer];

	p->up = 1;
	assert_int_equal(relay_peer_up(w.relay, peer + 1), 0);
	for (uint32_t c = 0; c < w.s.chunks; c++) {
		p->want[c].try = 0;
		p->want[c].acked = 0;
		p->want[c].next_ms = w.now_ms;
	}
}

/* ---------------------------------------------------------------- events */

static void to_relay(const struct event *e)
{
	uint64_t id = e->chunk + 1, ids[1] = { id }, holders[PEERS_MAX];
	static const uint8_t md5[MD5_LEN] = { 1 };

	switch (e->kind) {
	case WANT:
	case WANT_TCP:
		if (relay_want(w.relay, e->peer + 1, ids, 1, w.now_ms) &&
		    e->kind == WANT)
			send_dgram(ev(WANT_R, e->peer, e->chunk));
		break;
	case HERE:
		relay_here(w.relay, e->peer + 1, id, w.now_ms);
		break;
	case ABSENT:
		relay_absent(w.relay, e->peer + 1, id, w.now_ms);
		break;
	case FOUND:
		give(e->peer, e->chunk);
		break;
	case DELIVERED:
		relay_delivered(w.relay, e->peer + 1, id, w.now_ms);
		break;
	case RESOLVED:
		relay_resolved(w.relay, id, CHUNK, md5, holders,
			       (uint32_t)n_holders(e->chunk, holders),
			       w.now_ms);
		break;
	default:
		relay_checked(w.relay, id, e->good, w.now_ms);
	}
}

static void run(const struct event *e)
{
	struct peer *p = &w.peer[e->peer];

	if (e->kind != RESOLVED && e->kind != CHECKED &&
	    (!p->up || e->life != p->life))
		return;
	switch (e->kind) {
	case WANT_R:
		p->want[e->chunk].acked = 1;
		p->want[e->chunk].next_ms = w.now_ms + 3000;
		break;
	case SEEK:
	case SEEK_TCP:
		sought(e);
		break;
	case DELIVER:
		met(p, e->chunk, 1);
		send_tcp(ev(DELIVERED, e->peer, e->chunk));
		break;
	case NOWHERE:
		met(p, e->chunk, 0);
		break;
	default:
		to_relay(e);
	}
}

static void run_due(void)
{
	for (uint32_t i = 0; i < w.n_ev;) {
		struct event e = w.ev[i];

		if (e.at_ms > w.now_ms) {
			i++;
			continue;
		}
		w.ev[i] = w.ev[--w.n_ev];
		run(&e);
	}
}

/* ----------------------------------------------------------------- rounds */

static int all_done(void)
{
	for (uint32_t p = 0; p < w.s.peers; p++)
		if (w.peer[p].n_has < w.s.chunks)
			return 0;
	return 1;
}

static void kill_some(void)
{
	uint32_t p = (uint32_t)(rnd() % w.s.peers);

	if (w.now_ms % 300 || w.now_ms > 5000)
		return;
	if (w.peer[p].up)
		cut(p);
	for (p = 0; p < w.s.peers; p++)
		if (!w.peer[p].up && chance(50))
			come_back(p);
}

static void begin(const struct setup *s, uint64_t seed)
{
	const struct relay_config cfg = {
		.cache_bytes = (uint64_t)s->cache_chunks * CHUNK,
		.broadcast = s->broadcast, .seed = seed,
	};
	const struct relay_io io = { io_resolve, io_seek, io_check,
				     io_deliver, io_nowhere, NULL };

	memset(&w, 0, sizeof(w));
	w.s = *s;
	w.rng = seed;
	w.now_ms = 1;
	assert_int_equal(relay_new(&w.relay, &cfg, &io), 0);
	for (uint32_t c = 0; c < s->chunks; c++) {
		w.peer[c % s->peers].has[c] = 1;
		w.peer[c % s->peers].n_has++;
	}
	for (uint32_t p = 0; p < s->peers; p++)
		come_back(p);
}

/* Until everybody has everything. */
static void play(const struct setup *s, uint64_t seed)
{
	struct relay_stat st;

	begin(s, seed);
	while (!all_done()) {
		w.now_ms += STEP_MS;
		if (w.now_ms > LIMIT_MS)
			fail_msg("seed %" PRIu64 ": not done after %d s of "
				 "%u peers, %u chunks, cache %u, loss %u",
				 seed, LIMIT_MS / 1000, s->peers, s->chunks,
				 s->cache_chunks, s->loss);
		if (s->kills)
			kill_some();
		for (uint32_t p = 0; s->kills && w.now_ms > 5000 &&
				     p < s->peers; p++)
			if (!w.peer[p].up)
				come_back(p);
		for (uint32_t p = 0; p < s->peers; p++)
			peer_step(p);
		run_due();
		relay_tick(w.relay, w.now_ms);
		relay_stat(w.relay, &st);
		assert_true(st.cached <= st.limit);
	}
	relay_free(w.relay);
}

static uint64_t first_seed;
static unsigned rounds = 3;

static void lossless(void **state)
{
	static const uint32_t peers[] = { 2, 5, 10, 50 };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct setup s = { .peers = peers[i], .chunks = 100,
				   .cache_chunks = 100 };

		play(&s, first_seed + i);
		assert_int_equal(w.resent, 0);
		s.broadcast = 1;
		play(&s, first_seed + i);
	}
}

static void lossy(void **state)
{
	static const unsigned loss[] = { 10, 30, 50 };

	(void)state;
	for (unsigned r = 0; r < rounds; r++)
		for (size_t i = 0; i < 3; i++) {
			struct setup s = {
				.peers = 2 + (uint32_t)(r * 7 % 12),
				.chunks = 60, .cache_chunks = 20 + 30 * r,
				.loss = loss[i], .twice = loss[i],
				.broadcast = (int)(r & 1),
			};

			play(&s, first_seed + r * 3 + i);
			assert_true(w.resent > 0);
		}
}

static void any_cache(void **state)
{
	static const uint32_t cache[] = { 1, 2, 3, 7, 1000 };

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		struct setup s = { .peers = 5, .chunks = 40, .loss = 10,
				   .cache_chunks = cache[i] };

		play(&s, first_seed + i);
	}
}

static void rotten_bytes_and_cuts(void **state)
{
	(void)state;
	for (unsigned r = 0; r < rounds; r++) {
		struct setup s = { .peers = 6, .chunks = 80, .loss = 20,
				   .cache_chunks = 4 + 20 * r, .rotten = 10,
				   .kills = 1, .broadcast = (int)(r & 1) };

		play(&s, first_seed + r);
	}
}

/* Fifty peers that want one chunk at once cause one broadcast. */
static void coalesced(void **state)
{
	struct setup s = { .peers = 50, .chunks = 1, .cache_chunks = 1,
			   .broadcast = 1 };
	uint64_t before = counter_get(CNT_RELAY_BROADCASTS);
	uint64_t requests = counter_get(CNT_RELAY_REQUESTS);

	(void)state;
	play(&s, first_seed);
	assert_int_equal(counter_get(CNT_RELAY_BROADCASTS) - before, 1);
	assert_int_equal(counter_get(CNT_RELAY_REQUESTS) - requests, 49);
}

/* Nobody has it: everybody is told, nothing is left. */
static void nowhere(void **state)
{
	struct setup s = { .peers = 5, .chunks = 2, .cache_chunks = 1,
			   .loss = 30 };
	struct relay_stat st;

	(void)state;
	begin(&s, first_seed);
	for (uint32_t p = 0; p < s.peers; p++)
		memset(w.peer[p].has, 0, sizeof(w.peer[p].has));
	for (uint32_t p = 0; p < s.peers; p++)
		peer_step(p);
	relay_stat(w.relay, &st);
	for (; w.now_ms < 30000; w.now_ms += STEP_MS) {
		run_due();
		relay_tick(w.relay, w.now_ms);
	}
	relay_stat(w.relay, &st);
	assert_int_equal(st.flights, 0);
	assert_int_equal(st.pending, 0);
	assert_int_equal(st.cached, 0);
	relay_free(w.relay);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lossless),
		cmocka_unit_test(lossy),
		cmocka_unit_test(any_cache),
		cmocka_unit_test(rotten_bytes_and_cuts),
		cmocka_unit_test(coalesced),
		cmocka_unit_test(nowhere),
	};
	const char *seed = getenv("PSPFS_SIM_SEED");
	const char *n = getenv("PSPFS_SIM_ROUNDS");

	log_init("sim_relay", LOG_ERROR);
	first_seed = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
	if (n)
		rounds = (unsigned)strtoul(n, NULL, 0);
	printf("PSPFS_SIM_SEED=%" PRIu64 "\n", first_seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
