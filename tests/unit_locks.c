/*
 * locks against a model: for each byte of a few inodes, who has it and how.
 *
 * The model does not know how the queue decides; it knows what must be true
 * whatever it decides: nobody is granted what another has; what locks_get()
 * says is so; the first in line cannot go on, nor can anybody in line who
 * holds a lock; nobody waits in a circle; a deadlock is told only where there
 * is one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "locks.h"
#include "rng.h"

enum { INODES = 3, SESSIONS = 3, OWNERS = 3, BYTES = 12, WAITS = 64,
       ALL = SESSIONS * OWNERS, STEPS = 20000, ROUNDS = 8 };

static struct locks *l;
static uint64_t rng;

struct pending {
	int used;
	uint64_t session, ticket, order;
	struct m_byte_lock k;
	int once;
};

static uint8_t has[INODES][2][ALL][BYTES];
static struct pending line[WAITS];
static uint64_t tickets, orders;
static int known[SESSIONS];	/* the table knows the session */
static unsigned n_decided, n_deadlocks;
static enum lk_state last_state;

static uint64_t rnd(uint64_t n)
{
	return rng_next(&rng) % n;
}

/* ------------------------------------------------------------------ model */

static int who(uint64_t session, uint64_t owner)
{
	return (int)((session - 1) * OWNERS + owner - 1);
}

static uint64_t last_byte(const struct m_byte_lock *k)
{
	return k->end == LOCKSET_END ? BYTES - 1 : k->end;
}

static int excludes(uint8_t a, uint8_t b)
{
	return a && b && (a == LK_WRITE || b == LK_WRITE);
}

static int in_the_way(int other, const struct m_byte_lock *k)
{
	const uint8_t *v = has[k->ino - 1][k->space][other];

	for (uint64_t i = k->start; i <= last_byte(k); i++)
		if (excludes(v[i], k->kind))
			return 1;
	return 0;
}

static int blocked(uint64_t session, const struct m_byte_lock *k)
{
	for (int o = 0; o < ALL; o++)
		if (o != who(session, k->owner) && in_the_way(o, k))
			return 1;
	return 0;
}

static void model_set(uint64_t session, const struct m_byte_lock *k)
{
	assert_true(k->kind == LK_NONE || !blocked(session, k));
	memset(&has[k->ino - 1][k->space][who(session, k->owner)][k->start],
	       k->kind, last_byte(k) - k->start + 1);
}

/* pid = 100 * session + owner: each owner is a process of its own. */
static int process_holds(uint64_t session, uint64_t owner)
{
	int w = who(session, owner);

	for (int i = 0; i < INODES; i++)
		for (int s = 0; s < 2; s++)
			for (int b = 0; b < BYTES; b++)
				if (has[i][s][w][b])
					return 1;
	return 0;
}

/* Can @from be reached from those that keep @k away? */
static int reaches(const struct m_byte_lock *k, int self, int from,
		   uint32_t *seen)
{
	for (int o = 0; o < ALL; o++) {
		if (o == self || !in_the_way(o, k))
			continue;
		if (o == from)
			return 1;
		if (*seen & 1u << o)
			continue;
		*seen |= 1u << o;
		for (int i = 0; i < WAITS; i++) {
			const struct pending *p = &line[i];

			if (!p->used || p->once || p->k.space != LK_FCNTL ||
			    who(p->session, p->k.owner) != o)
				continue;
			if (reaches(&p->k, o, from, seen))
				return 1;
		}
	}
	return 0;
}

static int circle(uint64_t session, const struct m_byte_lock *k)
{
	uint32_t seen = 0;
	int self = who(session, k->owner);

	return k->space == LK_FCNTL && reaches(k, self, self, &seen);
}

static struct pending *pending_of(uint64_t session, uint64_t ticket)
{
	for (int i = 0; i < WAITS; i++)
		if (line[i].used && line[i].session == session &&
		    line[i].ticket == ticket)
			return &line[i];
	return NULL;
}

static void note(struct pending *p, enum lk_state state)
{
	p->used = 0;
	if (state == LK_GRANTED)
		model_set(p->session, &p->k);
	else if (state == LK_DEADLOCK)
		assert_true(circle(p->session, &p->k));
	else
		assert_true(state == LK_REFUSED && p->once);
}

/* What is decided within a request follows from it: noted after it. */
static struct {
	struct pending *p;
	enum lk_state state;
} later[WAITS];
static unsigned n_later;
static int asking;

static void decided(void *arg, uint64_t session, uint64_t ticket,
		    const struct m_byte_lock *k, enum lk_state state)
{
	struct pending *p = pending_of(session, ticket);

	(void)arg;
	assert_non_null(p);
	assert_memory_equal(&p->k, k, sizeof(*k));
	n_decided++;
	last_state = state;
	if (!asking) {
		note(p, state);
		return;
	}
	later[n_later].p = p;
	later[n_later++].state = state;
}

static int is_first(const struct pending *p)
{
	for (int i = 0; i < WAITS; i++)
		if (line[i].used && line[i].k.ino == p->k.ino &&
		    line[i].k.space == p->k.space && line[i].order < p->order)
			return 0;
	return 1;
}

static void check(void)
{
	for (int i = 0; i < WAITS; i++) {
		const struct pending *p = &line[i];

		if (!p->used)
			continue;
		assert_false(p->once);
		assert_false(circle(p->session, &p->k));
		if (is_first(p) || process_holds(p->session, p->k.owner))
			assert_true(blocked(p->session, &p->k));
	}
}

/* --------------------------------------------------------------- at random */

static struct m_byte_lock any_lock(uint64_t *session)
{
	struct m_byte_lock k = { .ino = 1 + rnd(INODES),
				 .space = (uint8_t)!rnd(4),
				 .kind = (uint8_t)rnd(3),
				 .owner = 1 + rnd(OWNERS),
				 .end = LOCKSET_END };

	*session = 1 + rnd(SESSIONS);
	k.pid = (uint32_t)(100 * *session + k.owner);
	if (k.space == LK_FLOCK)
		return k;
	k.start = rnd(BYTES);
	if (rnd(5))
		k.end = k.start + rnd(BYTES - k.start);
	if (k.end == BYTES - 1)
		k.end = LOCKSET_END;	/* the model's last byte is the rest */
	return k;
}

static void flock_lets_go(uint64_t session, const struct m_byte_lock *k)
{
	struct m_byte_lock none = *k;
	uint8_t now = has[k->ino - 1][LK_FLOCK][who(session, k->owner)][0];

	none.kind = LK_NONE;
	if (k->space == LK_FLOCK && now && now != k->kind)
		model_set(session, &none);
}

static void ask(int grace)
{
	uint64_t session, ticket = ++tickets;
	struct m_byte_lock k = any_lock(&session);
	int wait = !rnd(3), is_circle, held, slot = 0;
	enum lk_state state;

	while (slot < WAITS && line[slot].used)
		slot++;
	if (slot == WAITS)
		return;
	flock_lets_go(session, &k);
	if (k.kind == LK_NONE)
		model_set(session, &k);	/* others may go on before it returns */
	line[slot] = (struct pending){ 0, session, ticket, ++orders, k, !wait };
	is_circle = circle(session, &k);
	held = process_holds(session, k.owner);
	asking = 1;
	state = locks_ask(l, session, ticket, &k, wait);
	asking = 0;
	known[session - 1] = 1;
	/* flock(2): who went on when the old lock was given up was first */
	if (state == LK_GRANTED && k.space == LK_FCNTL)
		model_set(session, &k);
	for (unsigned i = 0; i < n_later; i++)
		note(later[i].p, later[i].state);
	n_later = 0;
	if (state == LK_GRANTED && k.space == LK_FLOCK)
		model_set(session, &k);
	switch (state) {
	case LK_GRANTED:
		break;
	case LK_WAITS:
		assert_true(wait || grace);
		line[slot].used = 1;
		break;
	case LK_REFUSED:
		assert_false(wait);
		assert_true(blocked(session, &k) || !held);
		break;
	case LK_DEADLOCK:
		assert_true(wait && is_circle);
		n_deadlocks++;
		break;
	default:
		fail();
	}
}

static void get(void)
{
	struct m_byte_lock k, out;
	uint64_t session;

	k = any_lock(&session);
	locks_get(l, session, &k, &out);
	assert_int_equal(out.kind != LK_NONE, blocked(session, &k));
	if (out.kind == LK_NONE)
		return;
	assert_true(excludes(out.kind, k.kind));
	assert_true(out.start <= k.end && k.start <= out.end);
	assert_int_equal(has[k.ino - 1][k.space]
			    [who(out.pid / 100, out.owner)][out.start],
			 out.kind);
}

static void cancel(void)
{
	struct pending *p = &line[rnd(WAITS)];

	if (!p->used)
		return;
	p->used = 0;
	locks_cancel(l, p->session, p->ticket);
}

static void forget(uint64_t session, int locks_too)
{
	for (int i = 0; i < WAITS; i++)
		if (line[i].session == session)
			line[i].used = 0;
	for (int i = 0; locks_too && i < INODES; i++)
		for (int s = 0; s < 2; s++)
			memset(has[i][s][(session - 1) * OWNERS], 0,
			       OWNERS * BYTES);
}

/* As a session lists what it has, byte by byte, leaving out some. */
static uint32_t list(uint64_t session, struct m_byte_lock *v)
{
	uint32_t n = 0;

	for (uint64_t i = 0; i < INODES; i++)
		for (uint8_t s = 0; s < 2; s++)
			for (uint64_t o = 1; o <= OWNERS; o++) {
				uint8_t *b = has[i][s][who(session, o)];

				if (!rnd(8))
					memset(b, 0, BYTES);
				for (uint64_t at = 0; at < BYTES; at++) {
					if (!b[at] || (s && at))
						continue;
					v[n++] = (struct m_byte_lock){
						i + 1, s, b[at], o,
						(uint32_t)(100 * session + o),
						at,
						s || at == BYTES - 1
							? LOCKSET_END : at, 0 };
				}
			}
	return n;
}

static void resume(uint64_t session)
{
	struct m_byte_lock v[INODES * 2 * OWNERS * BYTES];
	uint64_t lost[INODES * 2 * OWNERS * BYTES];
	uint32_t n;

	forget(session, 0);
	n = list(session, v);
	n = locks_resume(l, session, 1, v, n, lost);
	assert_int_equal(n, 0);
}

static void drop(uint64_t session)
{
	forget(session, 1);
	locks_drop(l, session);
	known[session - 1] = 0;
}

static void step(int grace)
{
	uint64_t what = rnd(100), session = 1 + rnd(SESSIONS);

	if (what < 75)
		ask(grace);
	else if (what < 88)
		get();
	else if (what < 96)
		cancel();
	else if (what < 98 && known[session - 1])
		resume(session);
	else if (what == 99)
		drop(session);
}

static void start(void)
{
	const struct locks_ops ops = { decided, NULL };

	memset(has, 0, sizeof(has));
	memset(line, 0, sizeof(line));
	memset(known, 0, sizeof(known));
	n_decided = n_deadlocks = 0;
	assert_int_equal(locks_new(&l, &ops), 0);
}

static int setup(void **state)
{
	(void)state;
	start();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	memset(line, 0, sizeof(line));
	locks_free(l);
	return 0;
}

static void at_random(void **state)
{
	const char *s = getenv("PSPFS_SEED");
	uint64_t seed = s ? strtoull(s, NULL, 10) : (uint64_t)time(NULL);

	(void)state;
	for (uint64_t r = 0; r < ROUNDS; r++) {
		rng = seed + r;
		printf("seed %llu\n", (unsigned long long)rng);
		for (int i = 0; i < STEPS; i++) {
			step(0);
			check();
			if (rnd(1000))
				continue;
			/* a restart, as those see it who are still there */
			locks_grace(l, 1);
			for (uint64_t k = rnd(20); k; k--)
				step(1);
			locks_grace(l, 0);
			check();
		}
		assert_true(n_decided > STEPS / 50 && n_deadlocks > 10);
		teardown(NULL);
		start();
	}
}

/* ------------------------------------------------------------- by itself */

static struct m_byte_lock lk(uint64_t ino, uint8_t kind, uint64_t owner,
			     uint64_t start_at, uint64_t end)
{
	return (struct m_byte_lock){ ino, LK_FCNTL, kind, owner, 101, start_at,
				     end, 0 };
}

static void what_cannot_be(void **state)
{
	struct m_byte_lock k = lk(1, LK_READ, 1, 0, LOCKSET_END);

	(void)state;
	assert_true(locks_sound(&k));
	k.end++;
	assert_false(locks_sound(&k));
	k = lk(1, LK_READ, 1, 5, 4);
	assert_false(locks_sound(&k));
	k = lk(0, LK_READ, 1, 0, 0);
	assert_false(locks_sound(&k));
	k = lk(1, 3, 1, 0, 0);
	assert_false(locks_sound(&k));
	k = lk(1, LK_READ, 1, 0, 5);
	k.space = LK_FLOCK;
	assert_false(locks_sound(&k));
	k.space = 2;
	assert_false(locks_sound(&k));
}

static void there_are_bounds(void **state)
{
	struct m_byte_lock k;

	(void)state;
	for (uint64_t i = 0; i < LOCKS_OWNER_MAX; i++) {
		k = lk(1, LK_READ, 1, 2 * i, 2 * i);
		assert_int_equal(locks_ask(l, 1, i, &k, 0), LK_GRANTED);
	}
	k = lk(1, LK_READ, 1, 4 * LOCKS_OWNER_MAX, LOCKSET_END);
	assert_int_equal(locks_ask(l, 1, 0, &k, 0), LK_FULL);
	k = lk(1, LK_WRITE, 1, 0, 2);	/* fewer than before */
	assert_int_equal(locks_ask(l, 1, 0, &k, 0), LK_GRANTED);
	k = lk(1, LK_NONE, 1, 0, LOCKSET_END);
	assert_int_equal(locks_ask(l, 1, 0, &k, 0), LK_GRANTED);
	k = lk(1, LK_WRITE, 1, 0, 0);
	assert_int_equal(locks_ask(l, 1, 0, &k, 0), LK_GRANTED);
	for (uint64_t i = 0; i < LOCKS_WAITS_MAX; i++) {
		line[0] = (struct pending){ 1, 2, 7 + i, 0, k, 0 };
		assert_int_equal(locks_ask(l, 2, 7 + i, &k, 1), LK_WAITS);
	}
	assert_int_equal(locks_ask(l, 2, 6, &k, 1), LK_FULL);
	assert_int_equal(locks_ask(l, 2, 7, &k, 1), LK_WAITS); /* again */
}

/* Its lease ended, another had the lock: it is not believed, not even when
 * the answer to its first hello was lost. */
static void lost_is_lost(void **state)
{
	struct m_byte_lock k = lk(9, LK_WRITE, 1, 0, 10);
	uint64_t lost[2];

	(void)state;
	assert_int_equal(locks_ask(l, 1, 1, &k, 0), LK_GRANTED);
	assert_int_equal(locks_resume(l, 1, 1, &k, 1, lost), 0);
	locks_drop(l, 1);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(locks_resume(l, 1, 1, &k, 1, lost), 1);
		assert_int_equal(lost[0], 9);
	}
	assert_int_equal(locks_ask(l, 2, 1, &k, 0), LK_GRANTED);
	assert_int_equal(locks_ask(l, 1, 2, &k, 0), LK_REFUSED);
}

/* After a restart: those who were live are believed, others are not, and
 * nobody gets anything new until that is settled. */
static void grace_ends(void **state)
{
	struct m_byte_lock k = lk(9, LK_WRITE, 1, 0, 10);
	uint64_t lost[2];

	(void)state;
	assert_int_equal(locks_expect(l, 1), 0);
	assert_int_equal(locks_expect(l, 3), 0);
	locks_grace(l, 1);
	line[0] = (struct pending){ 1, 2, 5, 0, k, 1 };
	assert_int_equal(locks_ask(l, 2, 5, &k, 0), LK_WAITS);
	assert_int_equal(locks_resume(l, 4, 1, &k, 1, lost), 1);
	assert_int_equal(locks_resume(l, 1, 1, &k, 1, lost), 0);
	/* it does not know of its last hello: what was in the answer? */
	assert_int_equal(locks_resume(l, 3, 0, &k, 1, lost), 1);
	assert_int_equal(n_decided, 0);
	locks_grace(l, 0);
	assert_int_equal(n_decided, 1);
	assert_int_equal(last_state, LK_REFUSED);
}

/* An OFD lock's owner is the number of an open file, which the next file, of
 * any process, may have before the close is told: that is no circle. */
static void a_number_used_again_is_no_circle(void **state)
{
	enum { NUMBER = 1, OTHER = 2 };
	struct m_byte_lock mine = lk(1, LK_WRITE, NUMBER, 0, 0),
			   others = lk(2, LK_WRITE, OTHER, 0, 0),
			   for_mine = lk(1, LK_WRITE, OTHER, 0, 0),
			   for_others = lk(2, LK_WRITE, NUMBER, 0, 0);

	(void)state;
	others.pid = for_mine.pid = 102;
	assert_int_equal(locks_ask(l, 1, 1, &mine, 1), LK_GRANTED);
	assert_int_equal(locks_ask(l, 1, 2, &others, 1), LK_GRANTED);
	assert_int_equal(locks_ask(l, 1, 3, &for_mine, 1), LK_WAITS);
	assert_int_equal(locks_ask(l, 1, 4, &for_others, 1), LK_DEADLOCK);
	for_others.pid = 103;
	assert_int_equal(locks_ask(l, 1, 5, &for_others, 1), LK_WAITS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(at_random, setup, teardown),
		cmocka_unit_test_setup_teardown(what_cannot_be, setup,
						teardown),
		cmocka_unit_test_setup_teardown(there_are_bounds, setup,
						teardown),
		cmocka_unit_test_setup_teardown(lost_is_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(grace_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_number_used_again_is_no_circle, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
