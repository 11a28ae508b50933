/* unit_repair -- which chunks are copied again, in which order. */
#include "ns_fixture.h"

#include "repair.h"

enum {
	PEERS = 5, COPIES = 3, CHUNKS = 60, GONE_MS = 1000, SENT_MAX = 1000,
	TICKS_MAX = 10000,
};

/* Danger of a chunk of the fixture, by its place: every fourth has one live
 * copy, the one behind it all three, the others two. */
enum { ONE = 0, SOUND = 1, DANGERS = 4 };

struct world {
	struct fix *f;
	struct swarm *swarm;
	struct garbage *garbage;
	struct repair *repair;
	struct peer *peers[PEERS];
	uint64_t rng, now_ms;
	uint64_t first;			/* id of the first chunk */
	uint64_t sent[SENT_MAX];	/* chunks, in the order of requests */
	uint32_t n_sent, n_answered;
	int deaf;			/* requests cannot be sent */
};

static uint32_t send_copy(void *arg, struct peer *p, uint16_t type,
			  struct wr *body)
{
	struct world *w = arg;
	struct arena a = ARENA_INIT;
	struct m_copy m;

	(void)p;
	if (w->deaf)
		return 0;
	if (type != M_copy || w->n_sent == SENT_MAX ||
	    m_copy_decode(&m, &a, body->p, body->len))
		abort();
	w->sent[w->n_sent++] = m.chunk.id;
	arena_fini(&a);
	wr_fini(body);
	return w->n_sent;
}

static void answer_all(struct world *w, int ok)
{
	while (w->n_answered < w->n_sent)
		assert_int_equal(repair_answered(w->repair, ++w->n_answered,
						 ok), 0);
}

static void tick(struct world *w)
{
	w->now_ms += 100;
	assert_int_equal(repair_tick(w->repair, w->now_ms), 0);
}

static void join(struct world *w, unsigned i)
{
	const struct m_hello m = { .port = (uint16_t)(i + 1),
				   .capacity = 1u << 30 };

	assert_int_equal(swarm_join(w->swarm, &w->peers[i], i + 1, i + 1, &m,
				    STR_LIT("10.0.0.1"), w->now_ms), 0);
	w->peers[i]->told = 1;
}

static unsigned copies_of(unsigned chunk)
{
	switch (chunk % DANGERS) {
	case ONE:
		return 1;
	case SOUND:
		return COPIES;
	default:
		return 2;
	}
}

static void make_chunks(struct world *w)
{
	uint64_t ino = fix_file(w->f, 1, "f");

	for (unsigned i = 0; i < CHUNKS; i++) {
		struct m_push p = fix_push(w->f, i, 0, FIX_SLOT);

		if (!i)
			w->first = p.chunk;
		assert_int_equal(p.chunk, w->first + i);
		assert_int_equal(fix_commit(w->f, ino, &p, 1, NULL), 0);
		for (unsigned k = 0; k < copies_of(i); k++)
			assert_int_equal(locations_add(w->swarm->locations,
						       p.chunk,
						       w->peers[k]->num, 1),
					 0);
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
				   .gone_ms = GONE_MS, .rng = &w->rng,
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

static unsigned under(struct world *w)
{
	struct repair_counts c;

	assert_int_equal(repair_count(w->repair, &c), 0);
	return (unsigned)c.under;
}

/* ------------------------------------------------------------------ tests */

static int asked_before(const struct world *w, uint32_t at)
{
	for (uint32_t i = 0; i < at; i++)
		if (w->sent[i] == w->sent[at])
			return 1;
	return 0;
}

/* Each chunk with one copy was asked for before any that has two.  (The
 * second time it has two, like the others.) */
static void check_order(const struct world *w)
{
	uint32_t last_one = 0, first_safer = UINT32_MAX;

	for (uint32_t i = 0; i < w->n_sent; i++) {
		unsigned kind = (unsigned)(w->sent[i] - w->first) % DANGERS;

		assert_int_not_equal(kind, SOUND);
		if (kind == ONE && !asked_before(w, i))
			last_one = i;
		else if (kind != ONE && first_safer == UINT32_MAX)
			first_safer = i;
	}
	assert_true(last_one < first_safer);
}

static void repair_all(struct world *w)
{
	for (unsigned n = 0; under(w) && n < TICKS_MAX; n++) {
		tick(w);
		answer_all(w, 1);
	}
	assert_int_equal(under(w), 0);
}

static void one_copy_first(void **state)
{
	struct world *w = *state;

	assert_int_equal(under(w), CHUNKS * 3 / 4);
	repair_all(w);
	check_order(w);
	/* two for each that had one copy, one for each that had two */
	assert_int_equal(w->n_sent, CHUNKS / 4 * 2 + CHUNKS / 4 * 2);
}

static void failures_are_tried_again(void **state)
{
	struct world *w = *state;

	for (unsigned n = 0; n < 50; n++) {
		tick(w);
		answer_all(w, 0);
	}
	assert_true(w->n_sent > CHUNKS);
	assert_int_equal(under(w), CHUNKS * 3 / 4);
	check_order(w);
	repair_all(w);
}

/* A request that cannot be sent is no copy under way. */
static void unsendable(void **state)
{
	struct world *w = *state;

	w->deaf = 1;
	for (unsigned n = 0; n < 50; n++)
		tick(w);
	assert_int_equal(w->n_sent, 0);
	w->deaf = 0;
	repair_all(w);
}

/* No more copies are under way than may be, to one peer and altogether. */
static void flights_are_bounded(void **state)
{
	struct world *w = *state;

	for (unsigned n = 0; n < 100; n++)
		tick(w);
	assert_in_range(w->n_sent, 1, REPAIR_FLIGHT);
	assert_true(w->n_sent <= (PEERS - 1) * REPAIR_FLIGHT_PEER);
}

/* A peer that is away for less than gone_ms may come back with its copies. */
static void who_is_away_shortly_is_waited_for(void **state)
{
	struct world *w = *state;
	uint32_t keep[COPIES], before;
	unsigned n;

	repair_all(w);
	for (unsigned i = 0; i < COPIES; i++)
		keep[i] = w->peers[i]->num;
	for (unsigned i = SOUND; i < CHUNKS; i += DANGERS)
		assert_int_equal(ns_assign(w->f->ns, w->first + i, keep,
					   COPIES), 0);
	before = w->n_sent;
	swarm_leave(w->swarm, w->peers[2], w->now_ms);
	repair_poke(w->repair);
	for (n = 0; n < GONE_MS / 100 - 1; n++)
		tick(w);
	for (uint32_t i = before; i < w->n_sent; i++)
		assert_int_not_equal((w->sent[i] - w->first) % DANGERS, SOUND);
	repair_all(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_copy_first, up, down),
		cmocka_unit_test_setup_teardown(failures_are_tried_again, up,
						down),
		cmocka_unit_test_setup_teardown(unsendable, up, down),
		cmocka_unit_test_setup_teardown(flights_are_bounded, up, down),
		cmocka_unit_test_setup_teardown(
			who_is_away_shortly_is_waited_for, up, down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
