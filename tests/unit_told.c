/*
 * unit_told -- what the kernel was told is found again when its lease ends;
 * and whether another's thread has gone on.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "thread.h"
#include "told.h"

enum {
	DIR_INO = 1, OTHER = 2, FILE_INO = 10, MOST = 8,
	NOW = 1000, UNTIL = 9000, TID = 77,
};

static int setup(void **state)
{
	struct told *t;

	assert_int_equal(told_new(&t, MOST), 0);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	told_free(*state);
	return 0;
}

static int entry(struct told *t, uint64_t dir, const char *name,
		 uint64_t ino, int locked, uint64_t now_ms, pid_t tid)
{
	struct told_answer a = { told_now(t), now_ms, now_ms + UNTIL - NOW,
				 tid };

	return told_entry(t, dir, str_of(name), ino, locked, &a);
}

static int attr(struct told *t, uint64_t ino)
{
	struct told_answer a = { told_now(t), NOW, UNTIL, 0 };

	return told_attr(t, ino, &a);
}

/* Revoke @ino: what has to be made known, as "dir/name dir/name:tid ino". */
static const char *revoked(struct told *t, uint64_t ino, uint64_t now_ms)
{
	static char text[512];
	struct told_next n = { .at = NULL };
	struct told_list l;
	size_t at = 0;

	told_list_init(&l);
	assert_int_equal(told_revoked(t, &ino, 1, now_ms, &l), 0);
	text[0] = '\0';
	while (told_list_next(&l, &n))
		at += (size_t)sprintf(text + at, n.tid ? "%d/%s:%d " : "%d/%s ",
				      (int)n.dir, n.name, (int)n.tid);
	for (size_t i = 0; i < l.n_attrs; i++)
		at += (size_t)sprintf(text + at, "%d(%d) ",
				      (int)l.attrs[i].ino,
				      (int)l.attrs[i].dir);
	told_list_fini(&l);
	return text;
}

static void test_found_again(void **state)
{
	struct told *t = *state;

	assert_int_equal(entry(t, DIR_INO, "a", FILE_INO, 1, NOW, 0),
			 TOLD_NAME | TOLD_ATTR);
	assert_string_equal(revoked(t, OTHER, NOW), "");
	assert_string_equal(revoked(t, FILE_INO, NOW), "10(1) ");
	assert_string_equal(revoked(t, FILE_INO, NOW), "");
	assert_int_equal(attr(t, FILE_INO), TOLD_ATTR);
	assert_string_equal(revoked(t, DIR_INO, NOW), "1/a ");
	assert_string_equal(revoked(t, DIR_INO, NOW), "");
	assert_string_equal(revoked(t, FILE_INO, NOW), "10(1) ");
}

static void test_revoked_since(void **state)
{
	struct told *t = *state;
	struct told_answer old = { told_now(t), NOW, UNTIL, 0 };

	revoked(t, FILE_INO, NOW);
	assert_int_equal(told_entry(t, DIR_INO, str_of("a"), FILE_INO, 1,
				    &old), TOLD_NAME);
	assert_int_equal(told_attr(t, FILE_INO, &old), 0);
	revoked(t, DIR_INO, NOW);
	assert_int_equal(told_entry(t, DIR_INO, str_of("b"), FILE_INO, 1,
				    &old), 0);
}

static void test_no_lease(void **state)
{
	struct told *t = *state;
	struct told_answer a = { told_now(t), NOW, NOW, 0 };

	assert_int_equal(told_entry(t, DIR_INO, str_of("a"), FILE_INO, 1, &a),
			 0);
	a.until_ms = 0;
	assert_int_equal(told_attr(t, FILE_INO, &a), 0);
	assert_string_equal(revoked(t, DIR_INO, NOW), "");
}

/* Of a known inode an answer may be taken in without the lock. */
static void test_known(void **state)
{
	struct told *t = *state;

	assert_int_equal(entry(t, DIR_INO, "a", FILE_INO, 0, NOW, TID),
			 TOLD_NAME | TOLD_ATTR);
	assert_int_equal(entry(t, DIR_INO, "b", FILE_INO, 0, NOW, 0),
			 TOLD_ATTR);
	assert_int_equal(entry(t, DIR_INO, "c", FILE_INO, 0, NOW, TID),
			 TOLD_NAME | TOLD_ATTR);
	/* by another thread, while that one may be on its way */
	assert_int_equal(entry(t, DIR_INO, "c", FILE_INO, 0, NOW + 1,
			       TID + 1), TOLD_ATTR);
	assert_int_equal(entry(t, DIR_INO, "c", FILE_INO, 1, NOW + 1, 0),
			 TOLD_NAME | TOLD_ATTR);
	assert_string_equal(revoked(t, DIR_INO, NOW + 2), "1/c:77 1/a ");
}

static void test_known_taken_in(void **state)
{
	struct told *t = *state;
	uint64_t later = NOW + TOLD_TAKEN_MS;

	entry(t, DIR_INO, "a", FILE_INO, 1, NOW, 0);
	assert_int_equal(entry(t, DIR_INO, "a", FILE_INO, 0, NOW, TID),
			 TOLD_NAME | TOLD_ATTR);
	assert_int_equal(entry(t, DIR_INO, "a", FILE_INO, 0, later, TID + 1),
			 TOLD_NAME | TOLD_ATTR);
	assert_string_equal(revoked(t, DIR_INO, later + TOLD_TAKEN_MS),
			    "1/a ");
}

static void test_forgotten(void **state)
{
	struct told *t = *state;

	for (int i = 0; i < 3; i++)
		entry(t, DIR_INO, "a", FILE_INO, 1, NOW, 0);
	told_forget(t, FILE_INO, 2);
	assert_int_equal(attr(t, FILE_INO), TOLD_ATTR);
	told_forget(t, FILE_INO, 1);
	assert_int_equal(attr(t, FILE_INO), 0);
	assert_string_equal(revoked(t, FILE_INO, NOW), "");
	/* unknown again, so it is taken in under the lock */
	assert_int_equal(entry(t, DIR_INO, "a", FILE_INO, 0, NOW, 0),
			 TOLD_NAME | TOLD_ATTR);
}

static void test_contended(void **state)
{
	struct told *t = *state;

	entry(t, DIR_INO, "a", FILE_INO, 1, NOW, 0);
	revoked(t, DIR_INO, NOW);
	assert_int_equal(entry(t, DIR_INO, "a", FILE_INO, 1,
			       NOW + TOLD_CONTENDED_MS - 1, 0), TOLD_ATTR);
	assert_int_equal(entry(t, DIR_INO, "a", FILE_INO, 1,
			       NOW + TOLD_CONTENDED_MS, 0),
			 TOLD_NAME | TOLD_ATTR);
}

static void test_moved(void **state)
{
	struct told *t = *state;
	struct str a = STR_LIT("a"), b = STR_LIT("b");

	entry(t, DIR_INO, "a", FILE_INO, 1, NOW, 0);
	assert_int_equal(told_moved(t, DIR_INO, a, OTHER, b, 0), 0);
	assert_string_equal(revoked(t, DIR_INO, NOW), "");
	assert_string_equal(revoked(t, OTHER, NOW), "2/b ");
}

static void test_moved_over(void **state)
{
	struct told *t = *state;
	struct str a = STR_LIT("a"), b = STR_LIT("b");

	/* what replaces it was not told: nothing is */
	entry(t, OTHER, "b", FILE_INO, 1, NOW, 0);
	assert_int_equal(told_moved(t, DIR_INO, a, OTHER, b, 0), 0);
	assert_string_equal(revoked(t, OTHER, NOW), "");
}

static void test_exchanged(void **state)
{
	struct told *t = *state;
	struct str a = STR_LIT("a"), b = STR_LIT("b");

	entry(t, OTHER, "b", FILE_INO, 1, NOW, 0);
	assert_int_equal(told_moved(t, DIR_INO, a, OTHER, b, 1), 0);
	assert_string_equal(revoked(t, OTHER, NOW), "");
	assert_string_equal(revoked(t, DIR_INO, NOW), "1/a ");
}

static void test_bounded(void **state)
{
	struct told *t = *state;
	char name[16];

	for (int i = 0; i < MOST; i++) {
		sprintf(name, "n%d", i);
		assert_int_equal(entry(t, DIR_INO, name, 100 + (uint64_t)i, 0,
				       NOW, 0), TOLD_NAME | TOLD_ATTR);
	}
	assert_int_equal(entry(t, DIR_INO, "more", 200, 1, NOW, 0), 0);
	/* ones that it has may be told again */
	assert_int_equal(entry(t, DIR_INO, "n0", 100, 1, NOW, 0),
			 TOLD_NAME | TOLD_ATTR);
	/* 200 is known to it, but not recorded: so nobody is unknown */
	told_forget(t, 101, 1);
	revoked(t, DIR_INO, 1);
	assert_int_equal(entry(t, OTHER, "x", 300, 0, NOW, 0), TOLD_ATTR);
	told_forget(t, 200, 1);
	told_forget(t, 300, 1);
	assert_int_equal(entry(t, OTHER, "x", 300, 0, NOW, 0),
			 TOLD_NAME | TOLD_ATTR);
}

/* The room of names whose time is over is used again. */
static void test_over(void **state)
{
	struct told *t = *state;
	char name[16];

	for (int i = 0; i < 3 * MOST; i++) {
		sprintf(name, "n%d", i);
		assert_true(entry(t, DIR_INO, name, FILE_INO, 1,
				  NOW + (uint64_t)i * UNTIL, 0) & TOLD_NAME);
	}
}

static void test_all(void **state)
{
	struct told *t = *state;
	struct told_answer old = { told_now(t), NOW, UNTIL, 0 };
	struct told_list l;

	entry(t, DIR_INO, "a", FILE_INO, 1, NOW, 0);
	entry(t, OTHER, "b", FILE_INO + 1, 1, NOW, 0);
	assert_true(told_untell(t, FILE_INO + 1));
	assert_false(told_untell(t, FILE_INO + 1));
	told_list_init(&l);
	assert_int_equal(told_all(t, NOW, &l), 0);
	assert_int_equal(l.n_names, 2);
	assert_int_equal(l.n_attrs, 1);
	told_list_fini(&l);
	assert_int_equal(told_attr(t, FILE_INO, &old), 0);
	assert_int_equal(attr(t, FILE_INO), TOLD_ATTR);
}

/* ----------------------------------------------------------------- thread */

static atomic_int go, tid;

static void *busy(void *arg)
{
	volatile unsigned *n = arg;

	tid = gettid();
	while (!go)
		(*n)++;
	return NULL;
}

static void *asleep(void *arg)
{
	tid = gettid();
	while (!go)
		usleep(100000);
	return arg;
}

static pid_t start(pthread_t *thread, void *(*fn)(void *), void *arg)
{
	go = tid = 0;
	assert_int_equal(pthread_create(thread, NULL, fn, arg), 0);
	while (!tid)
		usleep(1000);
	return tid;
}

static void test_thread(void **state)
{
	unsigned n = 0;
	int patience = 2000;
	pthread_t thread;
	pid_t who;

	(void)state;
	who = start(&thread, busy, &n);
	assert_true(thread_goes_on(who, &patience));
	go = 1;
	pthread_join(thread, NULL);
	who = start(&thread, asleep, &n);
	assert_true(thread_goes_on(who, &patience));
	go = 1;
	pthread_join(thread, NULL);
	assert_true(patience > 0);
	/* it has ended; its number is not soon used again */
	assert_true(thread_goes_on(who, &patience));
}

/* Itself is running, and spends no time but in the kernel. */
static void test_thread_stays(void **state)
{
	int patience = 0;

	(void)state;
	assert_false(thread_goes_on(gettid(), &patience));
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_found_again),
		TEST(test_revoked_since),
		TEST(test_no_lease),
		TEST(test_known),
		TEST(test_known_taken_in),
		TEST(test_forgotten),
		TEST(test_contended),
		TEST(test_moved),
		TEST(test_moved_over),
		TEST(test_exchanged),
		TEST(test_bounded),
		TEST(test_over),
		TEST(test_all),
		cmocka_unit_test(test_thread),
		cmocka_unit_test(test_thread_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
