#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "swarm.h"

static struct db *db;
static struct swarm *s;

static int setup(void **state)
{
	char why[256];

	(void)state;
	assert_int_equal(db_open(&db, ":memory:", why, sizeof(why)), 0);
	assert_int_equal(swarm_open(&s, db, 0), 0);
	assert_int_equal(db_begin(db), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	swarm_close(s);
	db_rollback(db);
	db_close(db);
	return 0;
}

static struct peer *join(uint64_t id, uint16_t port)
{
	const struct m_hello m = { .port = port, .capacity = 1000 };
	struct peer *p = NULL;

	assert_int_equal(swarm_join(s, &p, id, id, &m, STR_LIT("10.0.0.1"),
				    100), 0);
	return p;
}

static void numbers_are_for_ever(void **state)
{
	struct peer *a, *b;

	(void)state;
	a = join(111, 1);
	b = join(UINT64_MAX, 2);
	assert_int_equal(a->num, 1);
	assert_int_equal(b->num, 2);
	swarm_leave(s, a, 200);
	assert_int_equal(join(111, 7)->num, 1);
	assert_int_equal(db_commit(db, 0), 0);
	swarm_close(s);
	assert_int_equal(swarm_open(&s, db, 300), 0);
	assert_int_equal(db_begin(db), 0);
	a = swarm_find(s, 111);
	assert_non_null(a);
	assert_int_equal(a->num, 1);
	assert_int_equal(a->port, 7);
	assert_string_equal(a->addr, "10.0.0.1");
	assert_false(peer_live(a));
	assert_int_equal(swarm_find(s, UINT64_MAX)->num, 2);
	assert_int_equal(join(5, 5)->num, 3);
}

/* A number that a rolled back batch gave is written with the next hello. */
static void rolled_back(void **state)
{
	(void)state;
	assert_int_equal(join(111, 1)->num, 1);
	db_rollback(db);
	swarm_rolled_back(s);
	assert_int_equal(db_begin(db), 0);
	assert_int_equal(join(222, 2)->num, 2);
	assert_int_equal(join(111, 1)->num, 1);
	assert_int_equal(db_commit(db, 0), 0);
	swarm_close(s);
	assert_int_equal(swarm_open(&s, db, 300), 0);
	assert_int_equal(db_begin(db), 0);
	assert_int_equal(swarm_find(s, 111)->num, 1);
}

static void states(void **state)
{
	const struct m_heartbeat beat = { .capacity = 7, .used = 3 };
	struct peer *p = join(1, 1);

	(void)state;
	s->changed = 0;
	swarm_tick(s, 6099, 6000);
	assert_int_equal(p->state, PEER_ALIVE);
	assert_false(s->changed);
	swarm_tick(s, 6100, 6000);
	assert_int_equal(p->state, PEER_SUSPECT);
	assert_true(peer_live(p));
	assert_true(s->changed);
	swarm_heard(s, p, &beat, 7000);
	assert_int_equal(p->state, PEER_ALIVE);
	assert_int_equal(p->capacity, 7);
	assert_int_equal(s->n_live, 1);
	swarm_leave(s, p, 8000);
	swarm_leave(s, p, 9000);
	assert_int_equal(s->n_live, 0);
	assert_int_equal(p->gone_ms, 8000);
}

static void an_address_has_one_peer(void **state)
{
	struct peer *p = join(1, 1);

	(void)state;
	assert_ptr_equal(swarm_at(s, STR_LIT("10.0.0.1"), 1, 2), p);
	assert_null(swarm_at(s, STR_LIT("10.0.0.1"), 1, 1));
	assert_null(swarm_at(s, STR_LIT("10.0.0.1"), 2, 2));
	assert_null(swarm_at(s, STR_LIT("10.0.0.2"), 1, 2));
	swarm_leave(s, p, 1);
	assert_null(swarm_at(s, STR_LIT("10.0.0.1"), 1, 2));
}

static void copies_of_the_gone_are_hidden(void **state)
{
	struct peer *a = join(1, 1), *b = join(2, 2);
	struct m_chunk c = { .id = 99 };
	struct arena arena = ARENA_INIT;
	struct copies n;

	(void)state;
	assert_int_equal(locations_add(s->locations, 99, a->num, 1), 0);
	assert_int_equal(locations_add(s->locations, 99, b->num, 0), 0);
	n = swarm_copies(s, 99);
	assert_int_equal(n.all, 2);
	assert_int_equal(n.replicas, 1);
	assert_int_equal(swarm_holds(s, a, 99), 2);
	assert_int_equal(swarm_holds(s, b, 99), 1);
	assert_int_equal(swarm_holds(s, b, 98), 0);
	swarm_leave(s, a, 1);
	n = swarm_copies(s, 99);
	assert_int_equal(n.all, 1);
	assert_int_equal(n.replicas, 0);
	assert_int_equal(swarm_holders(s, &arena, &c), 0);
	assert_int_equal(c.n_holders, 1);
	assert_int_equal(c.holders[0], b->num);
	arena_fini(&arena);
}

static void only_live_peers_with_room_are_chosen(void **state)
{
	struct peer *a = join(1, 1), *b = join(2, 2), *c = join(3, 3);
	uint32_t out[8];
	uint64_t rng = 1;

	(void)state;
	swarm_leave(s, a, 1);
	b->used = b->capacity;
	for (int i = 0; i < 50; i++) {
		assert_int_equal(swarm_place(s, 0, 1, 1, NULL, 0, 8, &rng, out),
				 1);
		assert_int_equal(out[0], c->num);
	}
	assert_int_equal(c->queued, 50);
	assert_int_equal(swarm_want(s, 2), 2);
	assert_int_equal(swarm_want(s, UINT8_MAX), 2);
}

static struct peer *visit(uint64_t id, uint16_t port)
{
	const struct m_hello m = { .port = port, .capacity = 9000, .guest = 1 };
	struct peer *p = NULL;

	assert_int_equal(swarm_join(s, &p, id, id, &m, STR_LIT("10.0.0.1"),
				    100), 0);
	return p;
}

static void guests_are_listed_and_count_for_nothing(void **state)
{
	struct peer *a = join(1, 1), *g = visit(50, 50), *h = visit(60, 60);
	struct arena arena = ARENA_INIT;
	struct m_chunk c = { .id = 99 };
	uint32_t out[8], n;
	struct m_peer *list;
	uint64_t rng = 1;

	(void)state;
	assert_int_equal(g->num, MSG_GUEST_FIRST);
	assert_int_equal(h->num, MSG_GUEST_FIRST + 1);
	assert_ptr_equal(swarm_num(s, g->num), g);
	assert_ptr_equal(swarm_find(s, 50), g);
	assert_ptr_equal(swarm_at(s, STR_LIT("10.0.0.1"), 50, 1), g);
	assert_int_equal(s->n_live, 1);
	assert_int_equal(swarm_want(s, UINT8_MAX), 1);
	assert_int_equal(swarm_room(s).capacity, 1000);
	assert_int_equal(swarm_place(s, g->num, 0, 1, NULL, 0, 8, &rng, out), 1);
	assert_int_equal(out[0], a->num);
	/* sources they are, and replicas never */
	assert_int_equal(locations_add(s->locations, 99, g->num, 1), 0);
	assert_int_equal(swarm_copies(s, 99).all, 1);
	assert_int_equal(swarm_copies(s, 99).replicas, 0);
	assert_int_equal(swarm_holders(s, &arena, &c), 0);
	assert_int_equal(c.holders[0], g->num);
	for (int all = 0; all < 2; all++) {
		assert_int_equal(swarm_list(s, &arena, all, 200, &list, &n), 0);
		assert_int_equal(n, 3);
		assert_int_equal(list[0].guest, 0);
		assert_int_equal(list[1].guest, 1);
		assert_int_equal(list[2].num, h->num);
	}
	swarm_tick(s, 9000, 6000);
	assert_int_equal(g->state, PEER_SUSPECT);
	arena_fini(&arena);
}

static void guests_are_forgotten(void **state)
{
	struct peer *g = visit(50, 50), *h = visit(60, 60), *p;
	const struct m_hello m = { .port = 60 };
	uint32_t num = g->num;

	(void)state;
	assert_int_equal(locations_add(s->locations, 99, num, 0), 0);
	assert_int_equal(locations_add(s->locations, 99, h->num, 0), 0);
	s->changed = 0;
	swarm_leave(s, g, 200);
	assert_true(s->changed);
	assert_null(swarm_num(s, num));
	assert_null(swarm_find(s, 50));
	assert_int_equal(locations_count(s->locations, 99), 1);
	/* its number is given to nobody, not even to itself */
	g = visit(50, 50);
	assert_int_equal(g->num, num + 2);
	/* one that says it is a member now, is not believed */
	assert_int_equal(swarm_join(s, &p, 60, 60, &m, STR_LIT("10.0.0.1"), 1),
			 -EEXIST);
	assert_int_equal(join(7, 7)->num, 1);
	/* and no row is left of it */
	assert_int_equal(db_commit(db, 0), 0);
	swarm_close(s);
	assert_int_equal(swarm_open(&s, db, 300), 0);
	assert_int_equal(db_begin(db), 0);
	assert_null(swarm_find(s, 50));
	assert_non_null(swarm_find(s, 7));
	assert_int_equal(s->n, 1);
}

/* The table against a plain model of it. */
static void locations_model(void **state)
{
	enum { CHUNKS = 300, PEERS = 40 };
	static uint8_t model[CHUNKS][PEERS + 1];	/* 1 cached, 2 replica */
	struct locations *l;
	unsigned r = 1;

	(void)state;
	memset(model, 0, sizeof(model));
	assert_int_equal(locations_new(&l), 0);
	for (int round = 0; round < 60000; round++) {
		uint32_t chunk, peer;

		r = r * 1103515245 + 12345;
		chunk = (r >> 8) % CHUNKS;
		peer = 1 + (r >> 20) % PEERS;
		if (r % 7 < 4) {
			model[chunk][peer] = 1 + (r >> 5) % 2;
			assert_int_equal(locations_add(l, chunk, peer,
					 model[chunk][peer] == 2), 0);
		} else if (r % 7 < 6) {
			model[chunk][peer] = 0;
			locations_remove(l, chunk, peer);
		} else if (round % 50 == 0) {
			memset(model[chunk], 0, PEERS + 1);
			locations_forget(l, chunk);
		} else if (round % 501 == 0) {
			for (int i = 0; i < CHUNKS; i++)
				model[i][peer] = 0;
			locations_forget_peer(l, peer);
		}
	}
	for (int i = 0; i < CHUNKS; i++) {
		size_t n = locations_count(l, (uint64_t)i), want = 0;

		for (int p = 1; p <= PEERS; p++)
			want += model[i][p] > 0;
		assert_int_equal(n, want);
		for (size_t k = 0; k < n; k++) {
			struct location at = locations_at(l, (uint64_t)i, k);

			assert_int_equal(model[i][at.peer], 1 + at.replica);
		}
	}
	for (uint32_t p = 1; p <= PEERS; p++)
		locations_forget_peer(l, p);
	assert_int_equal(locations_bytes(l), 0);
	locations_free(l);
}

static void a_million_chunks_are_small(void **state)
{
	struct locations *l;

	(void)state;
	assert_int_equal(locations_new(&l), 0);
	for (uint64_t id = 1; id <= 1000000; id++)
		for (uint32_t p = 1; p <= 2; p++)
			assert_int_equal(locations_add(l, id, p, 1), 0);
	assert_true(locations_bytes(l) < 24u << 20);
	locations_free(l);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(numbers_are_for_ever), TEST(rolled_back), TEST(states),
		TEST(an_address_has_one_peer),
		TEST(copies_of_the_gone_are_hidden),
		TEST(only_live_peers_with_room_are_chosen),
		TEST(guests_are_listed_and_count_for_nothing),
		TEST(guests_are_forgotten),
		TEST(locations_model), TEST(a_million_chunks_are_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
