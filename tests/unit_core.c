/*
 * unit_core -- the tracker over cuts and restarts: what becomes of files
 * without a name and of answers that were lost, what is said of locks before
 * all who had some are back, numbers of jobs.
 */
#include "core_fixture.h"

#include <errno.h>
#include <sys/stat.h>

#include "core_internal.h"
#include "log.h"
#include "ns_internal.h"
#include "status.h"

/* One mount; each of its connections has a number of its own. */
struct who {
	uint64_t owner, conn;
	uint64_t session, epoch;
	uint64_t seq;
};

static struct who alice, bob;
static uint64_t conns;

/* Says hello, with a lock if it has one. */
static void enter(struct who *w, const struct m_byte_lock *lock)
{
	struct m_byte_lock list[1];
	struct m_hello m = { .session = w->session, .epoch = w->epoch };
	struct m_hello_r r;

	if (lock) {
		list[0] = *lock;
		m.locks = list;
		m.n_locks = 1;
	}
	w->conn = ++conns;
	r = join(w->conn, ROLE_PEER, w->owner, m);
	assert_int_equal(r.n_lost, 0);
	w->session = r.session;
	w->epoch = r.epoch;
}

static int setup(void **state)
{
	(void)state;
	alice = (struct who){ .owner = 101 };
	bob = (struct who){ .owner = 102 };
	return core_up_in_memory();
}

/* Nothing is heard of anybody for so long. */
static void pass(uint64_t span_ms)
{
	for (uint64_t until = ms + span_ms; ms < until;)
		tick();
}

/* ------------------------------------------------------ files without name */

static uint32_t say_tmpfile(struct who *w, uint64_t number)
{
	struct m_mknod m = { .seq = number, .ack = number, .parent = 1,
			     .mode = S_IFREG | 0600, .excl = 1, .tmpfile = 1 };
	struct wr b = WR_INIT;

	assert_int_equal(m_mknod_encode(&b, &m), 0);
	return say(w->conn, M_mknod, &b);
}

static uint64_t made(void)
{
	struct heard *h = next(M_mknod_r);
	struct arena a = ARENA_INIT;
	struct m_mknod_r r;

	assert_int_equal(h->status, ST_OK);
	assert_int_equal(m_mknod_r_decode(&r, &a, h->body.p, h->body.len), 0);
	arena_fini(&a);
	assert_true(r.created && !r.attr.nlink);
	return r.attr.ino;
}

static void release(struct who *w, uint64_t ino)
{
	struct m_release m = { .inos = &ino, .n_inos = 1 };
	struct wr b = WR_INIT;

	assert_int_equal(m_release_encode(&b, &m), 0);
	begin();
	core_request(core, w->conn, 0, M_release, b.p, b.len);
	assert_int_equal(core_end(core), 0);
	wr_fini(&b);
}

static uint64_t files(void)
{
	struct ns_count c;

	ns_count(core->ns, &c);
	return c.files - 1;	/* the root */
}

static int orphans(void)
{
	uint64_t list[8];

	return ns_orphans(core->ns, 0, list, 8);
}

/* What was put off until a revocation is answered: it is, "open". */
static void answer_revokes(struct who *w)
{
	while (seen < n_out && out[seen].type == M_revoke) {
		const struct heard *h = next(M_revoke);
		struct arena a = ARENA_INIT;
		struct wr b = WR_INIT;
		struct m_revoke m;
		struct m_revoke_r r;

		assert_int_equal(m_revoke_decode(&m, &a, h->body.p,
						 h->body.len), 0);
		r = (struct m_revoke_r){ .open = m.inos, .n_open = m.n_inos };
		assert_int_equal(m_revoke_r_encode(&b, &r), 0);
		begin();
		core_answer(core, w->conn, h->number, M_revoke, ST_OK, b.p,
			    b.len);
		assert_int_equal(core_end(core), 0);
		wr_fini(&b);
		arena_fini(&a);
	}
}

static void nobody_has_it_any_more(void **state)
{
	(void)state;
	enter(&alice, NULL);
	say_tmpfile(&alice, 1);
	made();
	core_restart();
	pass(5000);
	assert_int_equal(orphans(), 1);		/* it may come back yet */
	pass(6000);
	assert_int_equal(orphans(), 0);
	assert_int_equal(files(), 0);
}

/* More slots than one go at it deletes; killed between two. */
static void the_rest_of_a_half_deleted_one_goes_after_a_restart(void **state)
{
	static struct m_push p[MSG_PUSHES_MAX];
	uint32_t at = 1;
	struct arena a = ARENA_INIT;
	struct m_commit_r r;
	struct ns_touched t;
	uint64_t ino, id;

	(void)state;
	enter(&alice, NULL);
	say_tmpfile(&alice, 1);
	ino = made();
	begin();
	assert_int_equal(ns_reserve_ids(core->ns, 1, &id), 0);
	for (uint32_t n = 0; n < NS_REAP_SLOTS + 10; n += MSG_PUSHES_MAX) {
		struct m_commit m = { .ino = ino, .pushes = p,
				      .n_pushes = MSG_PUSHES_MAX };

		for (uint32_t i = 0; i < MSG_PUSHES_MAX; i++)
			p[i] = (struct m_push){ .slot = n + i, .len = 10,
						.chunk = id, .chunk_len = 10,
						.stored = &at, .n_stored = 1 };
		t.n = 0;
		assert_int_equal(ns_commit(core->ns, &a, &m,
					   core_ns_now(core), &r, &t), 0);
	}
	arena_fini(&a);
	assert_int_equal(core_end(core), 0);
	begin();
	assert_int_equal(ns_reap(core->ns, ino, core_ns_now(core)), 1);
	assert_int_equal(core_end(core), 0);
	core_restart();
	assert_int_equal(orphans(), 1);
	pass(11000);
	assert_int_equal(orphans(), 0);
	assert_int_equal(files(), 0);
}

/* Asked for again, a file that had no holder meanwhile must be there, once,
 * and go with its holder. */
static void answer_was_lost(void (*meanwhile)(void))
{
	uint64_t ino;
	struct m_attr attr;

	enter(&alice, NULL);
	say_tmpfile(&alice, 7);
	made();
	meanwhile();
	enter(&alice, NULL);
	tick();
	say_tmpfile(&alice, 7);
	ino = made();
	answer_revokes(&alice);
	tick();
	assert_int_equal(ns_getattr(core->ns, ino, &attr), 0);
	assert_int_equal(orphans(), 1);
	assert_int_equal(files(), 1);
	/* that was an answer like any other */
	core_down(core, alice.conn);
	enter(&alice, NULL);
	say_tmpfile(&alice, 7);
	assert_int_equal(made(), ino);
	answer_revokes(&alice);
	tick();
	assert_int_equal(orphans(), 1);
	release(&alice, ino);
	tick();
	assert_int_equal(orphans(), 0);
	assert_int_equal(files(), 0);
	nothing_more();
}

static void cut(void)
{
	core_down(core, alice.conn);
}

static void killed(void)
{
	core_restart();
}

static void away_for_long(void)
{
	core_down(core, alice.conn);
	pass(20000);
}

static void a_file_whose_answer_was_lost(void **state)
{
	(void)state;
	answer_was_lost(cut);
}

static void and_the_tracker_with_it(void **state)
{
	(void)state;
	answer_was_lost(killed);
}

static void and_the_lease(void **state)
{
	(void)state;
	answer_was_lost(away_for_long);
}

/* Nobody gets the answer to something else. */
static void a_number_that_another_change_has(void **state)
{
	struct m_setattr m = { .seq = 7, .ack = 7, .ino = 1, .set = 1,
			       .mode = 0700 };
	struct wr b = WR_INIT;
	uint64_t ino;

	(void)state;
	enter(&alice, NULL);
	say_tmpfile(&alice, 7);
	ino = made();
	assert_int_equal(m_setattr_encode(&b, &m), 0);
	say(alice.conn, M_setattr, &b);
	assert_int_equal(next(M_setattr_r)->status, ST_PROTO);
	say_tmpfile(&alice, 7);
	assert_int_equal(made(), ino);
}

/* ------------------------------------------------------------------- locks */

static const struct m_byte_lock mine = {
	.ino = 7, .space = LK_FCNTL, .kind = LK_WRITE, .owner = 5, .pid = 55,
	.start = 100, .end = 199,
};

/* Would that be in the way? */
static uint32_t say_get(struct who *w)
{
	struct m_lock m = { .op = LK_GET, .lock = mine };
	struct wr b = WR_INIT;

	m.lock.owner = 6;
	m.lock.start = 150;
	m.lock.end = 300;
	assert_int_equal(m_lock_encode(&b, &m), 0);
	return say(w->conn, M_lock, &b);
}

static void answers(const struct who *w, uint32_t number, uint8_t kind)
{
	struct heard *h = next(M_lock_r);
	struct arena a = ARENA_INIT;
	struct m_lock_r r;

	assert_int_equal(h->conn, w->conn);
	assert_int_equal(h->number, number);
	assert_int_equal(h->status, ST_OK);
	assert_int_equal(m_lock_r_decode(&r, &a, h->body.p, h->body.len), 0);
	arena_fini(&a);
	assert_int_equal(r.lock.kind, kind);
	if (kind == LK_NONE)
		return;
	assert_int_equal(r.lock.start, mine.start);
	assert_int_equal(r.lock.end, mine.end);
	assert_int_equal(r.lock.pid, mine.pid);
}

/* Bob has a lock, as far as he knows, and the tracker starts anew. */
static void after_a_restart(void)
{
	struct m_lock m = { .op = LK_TRY, .lock = mine };
	struct wr b = WR_INIT;

	enter(&alice, NULL);
	enter(&bob, NULL);
	answers(&alice, say_get(&alice), LK_NONE);
	assert_int_equal(m_lock_encode(&b, &m), 0);
	say(bob.conn, M_lock, &b);
	next(M_lock_r);
	answers(&alice, say_get(&alice), LK_WRITE);
	core_restart();
	enter(&alice, NULL);
}

static void who_is_to_come_back_may_have_it(void **state)
{
	uint32_t number;

	(void)state;
	after_a_restart();
	number = say_get(&alice);
	pass(1000);
	nothing_more();
	enter(&bob, &mine);
	answers(&alice, number, LK_WRITE);
	answers(&alice, say_get(&alice), LK_WRITE);
}

static void who_does_not_come_back_has_nothing(void **state)
{
	uint32_t number;

	(void)state;
	after_a_restart();
	pass(8000);
	core_down(core, alice.conn);
	enter(&alice, NULL);	/* she is heard of */
	number = say_get(&alice);
	nothing_more();
	pass(3000);
	answers(&alice, number, LK_NONE);
	enter(&bob, NULL);
}

static void what_is_known_is_said_at_once(void **state)
{
	struct who carol = { .owner = 103 };

	(void)state;
	enter(&carol, NULL);
	after_a_restart();
	enter(&bob, &mine);
	answers(&alice, say_get(&alice), LK_WRITE);
	/* and who went meanwhile gets no answer */
	core_down(core, bob.conn);
	bob.epoch++;
	enter(&bob, NULL);
	say_get(&alice);
	core_down(core, alice.conn);
	enter(&carol, NULL);
	nothing_more();
}

/* -------------------------------------------------------------------- jobs */

static uint64_t job(void)
{
	struct m_mknod m = { .seq = ++alice.seq, .ack = alice.seq,
			     .parent = 1, .name = STR_LIT("f"),
			     .mode = S_IFREG | 0600 };
	struct m_replicate q = { .copies = MSG_COPIES_ALL };
	struct arena a = ARENA_INIT;
	struct wr b = WR_INIT;
	struct m_mknod_r file;
	struct m_replicate_r r;
	struct heard *h;

	assert_int_equal(m_mknod_encode(&b, &m), 0);
	say(alice.conn, M_mknod, &b);
	h = next(M_mknod_r);
	assert_int_equal(m_mknod_r_decode(&file, &a, h->body.p, h->body.len),
			 0);
	q.ino = file.attr.ino;
	assert_int_equal(m_replicate_encode(&b, &q), 0);
	say(alice.conn, M_replicate, &b);
	h = next(M_replicate_r);
	assert_int_equal(h->status, ST_OK);
	assert_int_equal(m_replicate_r_decode(&r, &a, h->body.p, h->body.len),
			 0);
	arena_fini(&a);
	assert_true(r.job && r.job <= INT64_MAX);	/* JSON's numbers */
	return r.job;
}

/* Peers may still tell of a job that the tracker had before. */
static void jobs_have_new_numbers_whatever_the_clock(void **state)
{
	uint64_t id[3];

	(void)state;
	for (int i = 0; i < 3; i++) {
		if (i)
			core_restart();
		enter(&alice, NULL);
		id[i] = job();
		wall_s -= 3600 * (i == 1);	/* or it stands still */
		for (int k = 0; k < i; k++)
			assert_true(id[i] - id[k] > 1 << 20 &&
				    id[k] - id[i] > 1 << 20);
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, core_teardown)
	const struct CMUnitTest tests[] = {
		TEST(nobody_has_it_any_more),
		TEST(the_rest_of_a_half_deleted_one_goes_after_a_restart),
		TEST(a_file_whose_answer_was_lost),
		TEST(and_the_tracker_with_it), TEST(and_the_lease),
		TEST(a_number_that_another_change_has),
		TEST(who_is_to_come_back_may_have_it),
		TEST(who_does_not_come_back_has_nothing),
		TEST(what_is_known_is_said_at_once),
		TEST(jobs_have_new_numbers_whatever_the_clock),
	};

	log_init("unit_core", LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
