/* unit_repair_copies -- repair of chunks with a number of copies of their own. */
#include "ns_fixture.h"

#include "repair.h"

enum { PEERS = 5, COPIES = 2, CHUNKS = 4, SENT_MAX = 100 };

/* What the chunks of the file want; each is held by the first two peers. */
static const uint8_t wants[CHUNKS] = { 0, 1, 4, MSG_COPIES_ALL };

struct world {
	struct fix *f;
	struct swarm *swarm;
	struct garbage *garbage;
	struct repair *repair;
	struct peer *peers[PEERS + 1];
	uint64_t rng, now_ms, ino, first;
	struct {
		uint64_t chunk;
		uint32_t peer;
	} sent[SENT_MAX];
	uint32_t n_sent, n_answered;
};

static uint32_t send_copy(void *arg, struct peer *p, uint16_t type,
			  struct wr *body)
{
	struct world *w = arg;
	struct arena a = ARENA_INIT;
	struct m_copy m;

	assert_int_equal(type, M_copy);
	assert_true(w->n_sent < SENT_MAX);
	assert_int_equal(m_copy_decode(&m, &a, body->p, body->len), 0);
	w->sent[w->n_sent].chunk = m.chunk.id;
	w->sent[w->n_sent++].peer = p->num;
	arena_fini(&a);
	wr_fini(body);
	return w->n_sent;
}

static void join(struct world *w, unsigned i)
{
	const struct m_hello m = { .port = (uint16_t)(i + 1),
				   .capacity = 1u << 30 };

	assert_int_equal(swarm_join(w->swarm, &w->peers[i], i + 1, i + 1, &m,
				    STR_LIT("10.0.0.1"), w->now_ms), 0);
	w->peers[i]->told = 1;
}

static void make_chunks(struct world *w)
{
	w->ino = fix_file(w->f, 1, "f");
	for (unsigned i = 0; i < CHUNKS; i++) {
		struct m_push p = fix_push(w->f, i, 0, FIX_SLOT);
		uint32_t holders[] = { 1, 2 };

		p.copies = wants[i];
		p.stored = holders;
		w->first = i ? w->first : p.chunk;
		assert_int_equal(fix_commit(w->f, w->ino, &p, 1, NULL), 0);
		for (uint32_t num = 1; num <= 2; num++)
			assert_int_equal(locations_add(w->swarm->locations,
						       p.chunk, num, 1), 0);
	}
}

static int up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct core_time now = { .ms = 0 };
	struct repair_env env;
	void *f = NULL;

	fix_up(&f);
	w->f = f;
	assert_int_equal(db_commit(w->f->db, 0), 0);
	assert_int_equal(swarm_open(&w->swarm, w->f->db, 0), 0);
	assert_int_equal(db_begin(w->f->db), 0);
	assert_int_equal(garbage_new(&w->garbage, 1000, now), 0);
	env = (struct repair_env){ .ns = w->f->ns, .swarm = w->swarm,
				   .garbage = w->garbage, .copies = COPIES,
				   .gone_ms = 1000, .rng = &w->rng,
				   .send = send_copy, .arg = w };
	assert_int_equal(repair_new(&w->repair, &env), 0);
	for (unsigned i = 0; i < PEERS; i++)
		join(w, i);
	make_chunks(w);
	*state = w;
	return 0;
}

static int down(void **state)
{
	struct world *w = *state;
	void *f = w->f;

	repair_free(w->repair);
	garbage_free(w->garbage);
	swarm_close(w->swarm);
	free(w);
	return fix_down(&f);
}

/* Everything that is to be copied is, over as many walks as that takes. */
static void repair_all(struct world *w)
{
	for (int i = 0; i < 300; i++) {
		w->now_ms += 100;
		assert_int_equal(repair_tick(w->repair, w->now_ms), 0);
		while (w->n_answered < w->n_sent)
			assert_int_equal(repair_answered(w->repair,
							 ++w->n_answered, 1),
					 0);
	}
}

static unsigned replicas(struct world *w, unsigned i)
{
	return swarm_copies(w->swarm, w->first + i).replicas;
}

static unsigned under(struct world *w)
{
	struct repair_counts c;

	assert_int_equal(repair_count(w->repair, &c), 0);
	return (unsigned)c.under;
}

static void each_gets_its_number(void **state)
{
	struct world *w = *state;

	assert_int_equal(under(w), 2);
	repair_poke(w->repair);
	repair_all(w);
	assert_int_equal(replicas(w, 0), 2);
	assert_int_equal(replicas(w, 1), 2);	/* surplus is left alone */
	assert_int_equal(replicas(w, 2), 4);
	assert_int_equal(replicas(w, 3), PEERS);
	assert_int_equal(w->n_sent, 2 + PEERS - 2);
	assert_int_equal(under(w), 0);
	/* one more peer: only what wants to be everywhere goes there */
	join(w, PEERS);
	assert_int_equal(under(w), 1);
	repair_poke(w->repair);
	repair_all(w);
	assert_int_equal(w->n_sent, 2 + PEERS - 1);
	assert_int_equal(w->sent[w->n_sent - 1].chunk, w->first + 3);
	assert_int_equal(w->sent[w->n_sent - 1].peer, PEERS + 1);
}

/* One copy is enough for the one that says so, and its loss is seen. */
static void one_is_enough(void **state)
{
	struct world *w = *state;
	struct repair_counts c;

	swarm_leave(w->swarm, w->peers[1], w->now_ms);
	w->now_ms += 5000;
	repair_poke(w->repair);
	repair_all(w);
	assert_int_equal(replicas(w, 0), 2);	/* copied anew */
	assert_int_equal(replicas(w, 1), 1);
	swarm_leave(w->swarm, w->peers[0], w->now_ms);
	assert_int_equal(repair_count(w->repair, &c), 0);
	assert_int_equal(c.missing, 1);
}

static void a_new_number_counts_at_once(void **state)
{
	struct world *w = *state;
	uint64_t at = 0;

	assert_int_equal(ns_set_copies(w->f->ns, w->ino, &at, 3), 0);
	assert_int_equal(under(w), CHUNKS);
	repair_poke(w->repair);
	repair_all(w);
	for (unsigned i = 0; i < CHUNKS; i++)
		assert_int_equal(replicas(w, i), 3);
	at = 0;
	assert_int_equal(ns_set_copies(w->f->ns, w->ino, &at, 1), 0);
	assert_int_equal(under(w), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_gets_its_number, up, down),
		cmocka_unit_test_setup_teardown(one_is_enough, up, down),
		cmocka_unit_test_setup_teardown(a_new_number_counts_at_once,
						up, down),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
