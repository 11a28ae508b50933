/* unit_jobs -- jobs and settings, with a clock and a wire of the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jobs.h"
#include "status.h"

#define INO 42

static struct db *db;
static struct swarm *s;
static struct jobs *js;
static uint32_t sent[256];	/* to whom, in order */
static uint32_t n_sent;
static int deaf;

static uint32_t take(void *arg, struct peer *p, uint16_t type, struct wr *body)
{
	(void)arg;
	assert_int_equal(type, M_complete);
	wr_fini(body);
	if (deaf)
		return 0;
	sent[n_sent++] = p->num;
	return n_sent;		/* the request's number */
}

static int setup(void **state)
{
	struct jobs_env env = { .first = 1000, .send = take };
	char why[256];

	(void)state;
	n_sent = 0;
	deaf = 0;
	assert_int_equal(db_open(&db, ":memory:", why, sizeof(why)), 0);
	assert_int_equal(swarm_open(&s, db, 0), 0);
	assert_int_equal(db_begin(db), 0);
	env.swarm = s;
	return jobs_new(&js, &env);
}

static int teardown(void **state)
{
	(void)state;
	jobs_free(js);
	swarm_close(s);
	db_rollback(db);
	db_close(db);
	return 0;
}

static struct peer *join(uint64_t id, uint64_t conn)
{
	const struct m_hello m = { .port = (uint16_t)id, .capacity = 1000 };
	struct peer *p = NULL;

	assert_int_equal(swarm_join(s, &p, id, conn, &m, STR_LIT("10.0.0.1"),
				    100), 0);
	return p;
}

static void tick(uint64_t ms)
{
	assert_int_equal(jobs_tick(js, ms), 0);
	jobs_committed(js);
}

static uint64_t start(void)
{
	uint64_t id = 0;

	assert_int_equal(jobs_complete(js, INO, VIA_AUTO, 5000, &id), 0);
	jobs_committed(js);
	return id;
}

static void report(uint64_t job, uint32_t peer, uint64_t done, uint64_t failed,
		   int ended, uint64_t ms)
{
	struct m_progress m = {
		.job = job,
		.part = { .num = 99, .chunks = 10, .done = done,
			  .bytes = done * 100, .failed = failed,
			  .ended = (uint8_t)ended },
	};

	jobs_progress(js, peer, &m, ms);
}

static struct m_job_r look(uint64_t id)
{
	static struct m_part parts[16];
	struct arena a = ARENA_INIT;
	struct m_job_r r;

	assert_int_equal(jobs_get(js, id, &a, &r), 0);
	memcpy(parts, r.parts, r.n_parts * sizeof(*parts));
	r.parts = parts;
	arena_fini(&a);
	return r;
}

/* Set all numbers that are to be set; the last one's. */
static int set_all(uint64_t ms)
{
	struct jobs_set set = { .copies = 0 };

	while (jobs_setting(js, &set))
		jobs_set_done(js, set.at + 7, 0, ms);
	jobs_committed(js);
	return set.copies;
}

static void each_peer_completes_it(void **state)
{
	uint64_t id, again;
	struct m_job_r r;

	(void)state;
	join(1, 11);
	join(2, 12);
	id = start();
	assert_int_equal(id, 1000);
	assert_int_equal(jobs_complete(js, INO, VIA_AUTO, 1, &again), 0);
	assert_int_equal(again, id);
	tick(200);
	assert_int_equal(n_sent, 2);
	jobs_answered(js, 1, ST_OK, 201);
	jobs_answered(js, 2, ST_OK, 201);
	tick(300);
	assert_int_equal(n_sent, 2);	/* once */
	report(id, 1, 4, 0, 0, 310);
	r = look(id);
	assert_int_equal(r.ended, 0);
	assert_int_equal(r.chunks, 10);
	assert_int_equal(r.bytes, 5000);
	assert_int_equal(r.n_parts, 2);
	assert_true(r.parts[0].num == 1 && r.parts[0].done == 4 &&
		    r.parts[0].bytes == 400);
	report(id, 1, 10, 0, 1, 400);
	tick(410);
	assert_int_equal(set_all(410), 0);	/* one is at it still */
	report(id, 2, 9, 1, 1, 420);
	tick(430);
	assert_int_equal(look(id).ended, 0);
	assert_int_equal(set_all(430), MSG_COPIES_ALL);
	r = look(id);
	assert_int_equal(r.ended, 1);
	assert_int_equal(r.parts[1].failed, 1);
	report(id, 2, 0, 0, 0, 440);	/* too late to count */
	assert_int_equal(look(id).parts[1].done, 9);
}

static void who_leaves_is_not_waited_for(void **state)
{
	struct peer *b;
	uint64_t id;

	(void)state;
	join(1, 11);
	b = join(2, 12);
	id = start();
	tick(200);
	report(id, 1, 10, 0, 1, 210);
	jobs_answered(js, 2, ST_NOTCONN, 220);
	swarm_leave(s, b, 220);
	tick(230);
	assert_int_equal(set_all(230), MSG_COPIES_ALL);
	assert_int_equal(look(id).ended, 1);
	assert_int_equal(look(id).parts[1].ended, 0);
}

static void who_comes_is_asked(void **state)
{
	struct peer *b;
	uint64_t id;

	(void)state;
	join(1, 11);
	b = join(2, 12);
	id = start();
	tick(200);
	jobs_answered(js, 1, ST_OK, 201);
	jobs_answered(js, 2, ST_OK, 201);
	join(3, 13);
	tick(300);
	assert_int_equal(n_sent, 3);
	assert_int_equal(sent[2], 3);
	/* one comes back over a new connection, one had ended well */
	report(id, 1, 10, 0, 1, 310);
	swarm_leave(s, b, 320);
	tick(330);
	join(2, 22);
	join(1, 21);
	tick(2000);
	assert_int_equal(n_sent, 4);
	assert_int_equal(sent[3], 2);
	/* and one that had ended badly tries once more */
	jobs_answered(js, 4, ST_OK, 2001);
	report(id, 2, 3, 7, 1, 2100);
	tick(2200);
	assert_int_equal(n_sent, 4);
	join(2, 32);
	tick(4000);
	assert_int_equal(n_sent, 5);
	assert_int_equal(look(id).parts[1].ended, 0);
}

static void who_cannot_now_is_asked_later(void **state)
{
	uint64_t id;

	(void)state;
	join(1, 11);
	id = start();
	deaf = 1;
	tick(200);
	deaf = 0;
	tick(300);
	assert_int_equal(n_sent, 0);
	tick(200 + JOBS_AGAIN_MS);
	assert_int_equal(n_sent, 1);
	jobs_answered(js, 1, ST_AGAIN, 1300);
	tick(1400);
	assert_int_equal(n_sent, 1);
	tick(1300 + JOBS_AGAIN_MS);
	assert_int_equal(n_sent, 2);
	/* it took it, and is never heard of again */
	jobs_answered(js, 2, ST_OK, 2400);
	tick(2400 + JOBS_SILENT_MS - 1);
	assert_int_equal(n_sent, 2);
	tick(2400 + JOBS_SILENT_MS);
	assert_int_equal(n_sent, 3);
	tick(2400 + JOBS_PATIENCE_MS);
	assert_int_equal(look(id).parts[0].ended, 1);
	assert_int_equal(look(id).parts[0].failed, 1);
	/* as is one that never learnt to */
	join(2, 12);
	id = 0;
	assert_int_equal(jobs_complete(js, 7, VIA_AUTO, 1, &id), 0);
	jobs_committed(js);
	n_sent = 10;
	tick(200000);
	jobs_answered(js, 11, ST_NOSYS, 200001);
	assert_int_equal(look(id).parts[0].ended, 1);
}

static void a_new_number_has_the_last_word(void **state)
{
	struct jobs_set set;
	uint64_t id;

	(void)state;
	join(1, 11);
	id = start();
	tick(200);
	assert_int_equal(jobs_copies(js, INO, 3), 0);
	assert_int_equal(set_all(210), 3);
	report(id, 1, 10, 0, 1, 220);
	tick(230);
	assert_int_equal(set_all(240), 3);
	assert_int_equal(look(id).ended, 1);
	/* and over one that is under way */
	assert_int_equal(jobs_copies(js, 7, 4), 0);
	jobs_set_done(js, 500, 1, 250);
	jobs_committed(js);
	assert_int_equal(jobs_copies(js, 7, 5), 0);
	assert_int_equal(jobs_setting(js, &set), 1);
	assert_true(set.ino == 7 && set.copies == 5 && set.at == 0);
	jobs_set_done(js, 500, 0, 260);
	assert_int_equal(jobs_setting(js, &set), 0);
}

static void a_batch_that_failed_never_was(void **state)
{
	struct arena a = ARENA_INIT;
	struct jobs_set set;
	struct m_job_r r;
	uint64_t id;

	(void)state;
	assert_int_equal(jobs_complete(js, INO, VIA_AUTO, 5000, &id), 0);
	jobs_rolled_back(js);
	assert_int_equal(jobs_get(js, id, &a, &r), -ENOENT);
	id = start();
	assert_int_equal(jobs_tick(js, 200), 0);	/* there are no peers */
	assert_int_equal(jobs_setting(js, &set), 1);
	jobs_committed(js);
	jobs_set_done(js, 1024, 1, 300);
	jobs_committed(js);
	jobs_set_done(js, 2048, 0, 300);
	jobs_rolled_back(js);
	assert_int_equal(look(id).ended, 0);
	assert_int_equal(jobs_setting(js, &set), 1);
	assert_int_equal(set.at, 1024);
}

static void they_are_bounded_and_forgotten(void **state)
{
	struct arena a = ARENA_INIT;
	struct m_job_r r;
	uint64_t id, first;

	(void)state;
	join(1, 11);
	first = start();
	for (uint64_t i = 1; i < JOBS_MAX; i++)
		assert_int_equal(jobs_complete(js, 100 + i, 0, 1, &id), 0);
	jobs_committed(js);
	assert_int_equal(jobs_complete(js, 500, 0, 1, &id), -EBUSY);
	assert_int_equal(jobs_copies(js, 500, 2), -EBUSY);
	tick(200);
	report(first, 1, 10, 0, 1, 300);
	tick(310);
	set_all(310);
	tick(310 + JOBS_KEEP_MS - 1);
	assert_int_equal(look(first).ended, 1);
	/* one that ended makes room */
	assert_int_equal(jobs_complete(js, 500, 0, 1, &id), 0);
	assert_int_equal(jobs_get(js, first, &a, &r), -ENOENT);
	jobs_committed(js);
	report(id - 1, 1, 10, 0, 1, 1000000);
	tick(1000001);
	set_all(1000002);
	tick(1000001 + JOBS_KEEP_MS);
	assert_int_equal(look(id - 1).ended, 1);
	tick(1000002 + JOBS_KEEP_MS);
	assert_int_equal(jobs_get(js, id - 1, &a, &r), -ENOENT);
	assert_int_equal(jobs_get(js, 0, &a, &r), -ENOENT);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(each_peer_completes_it),
		TEST(who_leaves_is_not_waited_for),
		TEST(who_comes_is_asked),
		TEST(who_cannot_now_is_asked_later),
		TEST(a_new_number_has_the_last_word),
		TEST(a_batch_that_failed_never_was),
		TEST(they_are_bounded_and_forgotten),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
