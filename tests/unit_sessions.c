#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sessions.h"

static char dir[32], path[64];
static struct db *db;
static struct sessions *t;
static struct arena arena;

static void open_all(void)
{
	char why[256];

	assert_int_equal(db_open(&db, path, why, sizeof(why)), 0);
	assert_int_equal(sessions_open(&t, db), 0);
}

static void close_all(void)
{
	sessions_close(t);
	db_close(db);
}

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/pspfs-unit-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/db", dir);
	arena = ARENA_INIT;
	open_all();
	return 0;
}

static int teardown(void **state)
{
	static const char *const ends[] = { "", "-wal", "-shm" };
	char file[80];

	(void)state;
	close_all();
	arena_fini(&arena);
	for (int i = 0; i < 3; i++) {
		snprintf(file, sizeof(file), "%s%s", path, ends[i]);
		unlink(file);
	}
	return rmdir(dir);
}

static void commit(void)
{
	assert_int_equal(sessions_flush(t), 0);
	assert_int_equal(db_commit(db, 0), 0);
	sessions_committed(t);
}

static void roll_back(void)
{
	db_rollback(db);
	sessions_rolled_back(t);
}

static struct session *make(uint64_t id, uint64_t owner)
{
	struct session *s = sessions_add(t, id, owner, 0);

	assert_non_null(s);
	s->live = 1;
	s->epoch = 1;
	assert_int_equal(sessions_save(t, s), 0);
	return s;
}

static int check(struct session *s, uint64_t seq, uint64_t ack,
		 struct reply *r)
{
	return sessions_check(t, s, seq, ack, &arena, r);
}

static void record(struct session *s, uint64_t seq, const char *body)
{
	const struct reply r = { 0x8201, 7, (const uint8_t *)body,
				 strlen(body) };

	assert_int_equal(sessions_record(t, s, seq, &r), 0);
}

static void the_same_answer_again(void **state)
{
	struct session *s;
	struct reply r;

	(void)state;
	assert_int_equal(db_begin(db), 0);
	s = make(1, 10);
	assert_int_equal(check(s, 1, 1, &r), SEQ_NEW);
	record(s, 1, "one");
	assert_int_equal(check(s, 3, 1, &r), SEQ_NEW);	/* 2 comes later */
	record(s, 3, "");
	commit();
	assert_int_equal(db_begin(db), 0);
	assert_int_equal(check(s, 1, 1, &r), SEQ_KNOWN);
	assert_int_equal(r.type, 0x8201);
	assert_int_equal(r.status, 7);
	assert_int_equal(r.len, 3);
	assert_memory_equal(r.body, "one", 3);
	assert_int_equal(check(s, 3, 1, &r), SEQ_KNOWN);
	assert_int_equal(r.len, 0);
	assert_int_equal(check(s, 2, 1, &r), SEQ_NEW);
	assert_int_equal(check(s, 2, 3, &r), SEQ_STALE);
	assert_int_equal(check(s, 0, 3, &r), SEQ_STALE);
	assert_int_equal(check(s, UINT64_MAX, 3, &r), SEQ_STALE);
	commit();
}

static void survives_a_restart(void **state)
{
	struct session *s;
	struct reply r;

	(void)state;
	assert_int_equal(db_begin(db), 0);
	s = make(UINT64_MAX - 5, UINT64_MAX);
	s->epoch = 9;
	assert_int_equal(sessions_save(t, s), 0);
	assert_int_equal(check(s, 4, 2, &r), SEQ_NEW);
	record(s, 4, "four");
	commit();
	close_all();
	open_all();
	s = sessions_find(t, UINT64_MAX - 5);
	assert_non_null(s);
	assert_int_equal(s->epoch, 9);
	assert_true(s->live);
	assert_true(s->owner == UINT64_MAX);
	assert_int_equal(check(s, 4, 2, &r), SEQ_KNOWN);
	assert_memory_equal(r.body, "four", 4);
	assert_int_equal(check(s, 5, 2, &r), SEQ_NEW);
}

/* What is not committed never was: it may be applied anew. */
static void rolled_back(void **state)
{
	struct session *s;
	struct reply r;

	(void)state;
	assert_int_equal(db_begin(db), 0);
	s = make(1, 10);
	record(s, 1, "one");
	commit();
	assert_int_equal(db_begin(db), 0);
	record(s, 2, "two");
	assert_int_equal(check(s, 2, 1, &r), SEQ_KNOWN);
	roll_back();
	assert_int_equal(db_begin(db), 0);
	assert_int_equal(check(s, 2, 1, &r), SEQ_NEW);
	assert_int_equal(check(s, 1, 1, &r), SEQ_KNOWN);
	roll_back();
}

static uint64_t replies_kept(void)
{
	struct db_stmt *q = db_prep(db, "SELECT count(*) FROM replies");
	uint64_t n;

	assert_int_equal(db_step(q), 1);
	n = db_u64(q, 0);
	db_reset(q);
	return n;
}

static void acknowledged_answers_go(void **state)
{
	struct session *s;
	struct reply r;

	(void)state;
	assert_int_equal(db_begin(db), 0);
	s = make(1, 10);
	for (uint64_t seq = 1; seq <= 100; seq++) {
		assert_int_equal(check(s, seq, 1, &r), SEQ_NEW);
		record(s, seq, "x");
	}
	commit();
	assert_int_equal(replies_kept(), 100);
	assert_int_equal(db_begin(db), 0);
	assert_int_equal(check(s, 101, 90, &r), SEQ_NEW);
	commit();
	assert_int_equal(replies_kept(), 11);
	close_all();
	open_all();
	s = sessions_find(t, 1);
	assert_int_equal(check(s, 50, 1, &r), SEQ_STALE);
	assert_int_equal(check(s, 95, 1, &r), SEQ_KNOWN);
}

static void erased(void **state)
{
	struct session *s;

	(void)state;
	assert_int_equal(db_begin(db), 0);
	s = make(1, 10);
	record(s, 1, "one");
	make(2, 20);
	commit();
	assert_int_equal(db_begin(db), 0);
	assert_int_equal(sessions_erase(t, s), 0);
	sessions_free(t, s);
	commit();
	assert_null(sessions_find(t, 1));
	assert_int_equal(replies_kept(), 0);
	close_all();
	open_all();
	assert_null(sessions_find(t, 1));
	assert_non_null(sessions_find(t, 2));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_same_answer_again), TEST(survives_a_restart),
		TEST(rolled_back), TEST(acknowledged_answers_go),
		TEST(erased),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
