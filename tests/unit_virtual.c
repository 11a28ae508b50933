/* unit_virtual -- the nodes of .pspfs: look-ups and forgetting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "virtual.h"

#define TRACKERS VIRTUAL_INO(VIRTUAL_AT_TRACKERS)

static struct virtual *v;

static int up(void **state)
{
	(void)state;
	return virtual_new(&v);
}

static int down(void **state)
{
	(void)state;
	virtual_free(v);
	return 0;
}

static uint64_t enter(uint64_t parent, const char *name, uint64_t real,
		      enum virtual_kind kind)
{
	struct virtual_node n, again;

	assert_int_equal(virtual_enter(v, parent, name, kind, real, &n), 0);
	assert_int_equal(n.kind, kind);
	assert_int_equal(n.real, real);
	assert_int_equal(virtual_get(v, n.ino, &again), 0);
	assert_int_equal(again.ino, n.ino);
	assert_int_equal(again.real, real);
	assert_true(virtual_is(n.ino));
	return n.ino;
}

static void check_path(uint64_t ino, const char *want)
{
	char path[MSG_PATH_MAX];

	assert_int_equal(virtual_path(v, ino, path), 0);
	assert_string_equal(path, want);
}

static void check_gone(uint64_t ino)
{
	struct virtual_node n;
	char path[MSG_PATH_MAX];

	assert_int_equal(virtual_get(v, ino, &n), -ESTALE);
	assert_int_equal(virtual_path(v, ino, path), -ESTALE);
}

static void fixed_ones_stay(void **state)
{
	struct virtual_node n;

	(void)state;
	assert_int_equal(virtual_find("status", &n), 0);
	assert_int_equal(n.kind, VIRTUAL_STATUS);
	assert_int_equal(virtual_find("peers", &n), 0);
	assert_int_equal(n.kind, VIRTUAL_PEERS);
	assert_int_equal(virtual_find("trackers", &n), 0);
	assert_true(virtual_is_dir(&n));
	assert_int_equal(virtual_find("", &n), -ENOENT);
	assert_int_equal(virtual_find("statu", &n), -ENOENT);
	for (uint64_t at = VIRTUAL_AT_TOP; at <= VIRTUAL_AT_TRACKERS; at++) {
		virtual_forget(v, VIRTUAL_INO(at), 1000);
		assert_int_equal(virtual_get(v, VIRTUAL_INO(at), &n), 0);
		assert_int_equal(n.ino, VIRTUAL_INO(at));
	}
	assert_int_equal(virtual_count(v), 0);
	assert_false(virtual_is(1));
	assert_false(virtual_is(INT64_MAX));
	check_path(TRACKERS, "");
}

static void look_ups_are_counted(void **state)
{
	uint64_t a;

	(void)state;
	a = enter(TRACKERS, "a", 10, VIRTUAL_TRACK);
	assert_int_equal(enter(TRACKERS, "a", 10, VIRTUAL_TRACK), a);
	assert_int_equal(enter(TRACKERS, "a", 10, VIRTUAL_TRACK), a);
	assert_int_equal(virtual_count(v), 1);
	virtual_forget(v, a, 2);
	check_path(a, "/a");
	virtual_forget(v, a, 1);
	check_gone(a);
	assert_int_equal(virtual_count(v), 0);
	/* a number is never used again */
	assert_int_not_equal(enter(TRACKERS, "a", 10, VIRTUAL_TRACK), a);
	/* what is not known is not forgotten */
	virtual_forget(v, a, 1);
	virtual_forget(v, 10, 1);
	assert_int_equal(virtual_count(v), 1);
}

static void other_name_other_node(void **state)
{
	uint64_t a, b, c;

	(void)state;
	a = enter(TRACKERS, "a", 10, VIRTUAL_TRACK);
	b = enter(TRACKERS, "b", 10, VIRTUAL_TRACK);	/* a hard link */
	c = enter(TRACKERS, "a", 11, VIRTUAL_TRACK);	/* replaced */
	assert_true(a != b && b != c && a != c);
	check_path(a, "/a");
	check_path(b, "/b");
	check_path(c, "/a");
}

/* The kernel may forget a directory before what is in it. */
static void a_directory_stays_for_what_is_in_it(void **state)
{
	uint64_t d, e, f;

	(void)state;
	d = enter(TRACKERS, "d", 10, VIRTUAL_DIR);
	e = enter(d, "e", 11, VIRTUAL_DIR);
	f = enter(e, "f", 12, VIRTUAL_TRACK);
	virtual_forget(v, d, 1);
	virtual_forget(v, e, 1);
	check_path(f, "/d/e/f");
	assert_int_equal(virtual_count(v), 3);
	assert_int_equal(enter(TRACKERS, "d", 10, VIRTUAL_DIR), d);
	virtual_forget(v, f, 1);
	check_gone(f);
	check_gone(e);
	check_path(d, "/d");
	virtual_forget(v, d, UINT64_MAX);	/* more than it was told */
	check_gone(d);
	assert_int_equal(virtual_count(v), 0);
}

static void a_parent_that_is_gone(void **state)
{
	uint64_t d = enter(TRACKERS, "d", 10, VIRTUAL_DIR);
	struct virtual_node n;

	(void)state;
	virtual_forget(v, d, 1);
	assert_int_equal(virtual_enter(v, d, "x", VIRTUAL_TRACK, 11, &n),
			 -ESTALE);
	assert_int_equal(virtual_enter(v, VIRTUAL_INO(VIRTUAL_AT_TOP), "x",
				       VIRTUAL_TRACK, 11, &n), -ESTALE);
	assert_int_equal(virtual_count(v), 0);
}

static void a_path_has_its_limit(void **state)
{
	char name[MSG_NAME_MAX + 1], path[MSG_PATH_MAX];
	uint64_t at = TRACKERS;
	unsigned deep = 0;

	(void)state;
	memset(name, 'n', MSG_NAME_MAX);
	name[MSG_NAME_MAX] = '\0';
	for (; (deep + 1) * (MSG_NAME_MAX + 1) < MSG_PATH_MAX; deep++)
		at = enter(at, name, 100 + deep, VIRTUAL_DIR);
	assert_int_equal(virtual_path(v, at, path), 0);
	assert_int_equal(strlen(path), deep * (MSG_NAME_MAX + 1));
	at = enter(at, name, 99, VIRTUAL_DIR);
	assert_int_equal(virtual_path(v, at, path), -ENAMETOOLONG);
}

static void nodes_are_bounded(void **state)
{
	struct virtual_node n;
	char name[16];
	uint64_t first = 0;

	(void)state;
	for (uint64_t i = 0; i < VIRTUAL_NODES_MAX; i++) {
		snprintf(name, sizeof(name), "%u", (unsigned)i);
		assert_int_equal(virtual_enter(v, TRACKERS, name,
					       VIRTUAL_TRACK, i + 10, &n), 0);
		first = first ? first : n.ino;
	}
	assert_int_equal(virtual_enter(v, TRACKERS, "one more", VIRTUAL_TRACK,
				       5, &n), -ENFILE);
	/* who is known already, may come again */
	assert_int_equal(virtual_enter(v, TRACKERS, "0", VIRTUAL_TRACK, 10,
				       &n), 0);
	virtual_forget(v, first, 2);
	assert_int_equal(virtual_enter(v, TRACKERS, "one more", VIRTUAL_TRACK,
				       5, &n), 0);
	assert_int_equal(virtual_count(v), VIRTUAL_NODES_MAX);
}

/* ------------------------------------------------------------------- texts */

/* A tracker with so many peers. */
static uint32_t n_peers;

static int answer_status(const struct ask *a, uint16_t type,
			 struct wr *body, struct buf **out, char *why, size_t why_len)
{
	struct m_status_r r = { .swarm = 7, .n_peers = n_peers };
	struct wr w = WR_INIT;

	(void)a;
	(void)why;
	(void)why_len;
	wr_fini(body);
	if (type != M_status)
		return -EIO;
	r.peers = calloc(n_peers + 1, sizeof(*r.peers));
	for (uint32_t i = 0; i < n_peers; i++)
		r.peers[i] = (struct m_peer){ .num = i + 1, .state = PEER_ALIVE,
					      .addr = STR_LIT("10.0.0.1"),
					      .port = 3457 };
	m_status_r_encode(&w, &r);
	free(r.peers);
	*out = buf_new(w.len);
	memcpy((*out)->data, w.p, w.len);
	(*out)->len = w.len;
	wr_fini(&w);
	return 0;
}

static void texts_are_whole(void **state)
{
	struct ask ask = { .call = answer_status };
	struct virtual_text *t;
	struct virtual_node n;
	size_t lines = 0;

	(void)state;
	n_peers = 1000;
	assert_int_equal(virtual_find("peers", &n), 0);
	assert_int_equal(virtual_text_open(v, &n, "", &ask, &t), 0);
	for (size_t i = 0; i < t->n; i++)
		lines += t->p[i] == '\n';
	assert_int_equal(lines, 1 + n_peers);
	virtual_text_close(v, t);
	assert_int_equal(virtual_find("status", &n), 0);
	assert_int_equal(virtual_text_open(v, &n, "", &ask, &t), 0);
	assert_non_null(memmem(t->p, t->n, "1000 active peers", 17));
	virtual_text_close(v, t);
}

static int answer_nothing(const struct ask *a, uint16_t type, struct wr *body,
			  struct buf **out, char *why, size_t why_len)
{
	(void)a;
	(void)type;
	(void)out;
	(void)why;
	(void)why_len;
	wr_fini(body);
	return -ECANCELED;
}

static void an_error_is_the_asking_s(void **state)
{
	struct ask ask = { .call = answer_nothing };
	struct virtual_text *t = NULL;
	struct virtual_node n;

	(void)state;
	assert_int_equal(virtual_find("status", &n), 0);
	assert_int_equal(virtual_text_open(v, &n, "", &ask, &t), -ECANCELED);
	assert_int_equal(virtual_get(v, enter(TRACKERS, "f", 9, VIRTUAL_TRACK),
				     &n), 0);
	assert_int_equal(virtual_text_open(v, &n, "", &ask, &t), -ECANCELED);
	assert_null(t);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(fixed_ones_stay),
		TEST(look_ups_are_counted),
		TEST(other_name_other_node),
		TEST(a_directory_stays_for_what_is_in_it),
		TEST(a_parent_that_is_gone),
		TEST(a_path_has_its_limit),
		TEST(nodes_are_bounded),
		TEST(texts_are_whole),
		TEST(an_error_is_the_asking_s),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
