/* unit_tree -- what the tree believes, and what it no longer believes. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tree.h"

enum { DIR_INO = 1, FILE_INO = 10, OTHER = 11, MOST = 64 };

static struct m_attr attr(uint64_t ino, uint64_t size)
{
	return (struct m_attr){ .ino = ino, .mode = S_IFREG | 0644,
				.nlink = 1, .size = size, .version = size };
}

static int setup(void **state)
{
	struct tree *t;

	assert_int_equal(tree_new(&t, MOST), 0);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	tree_free(*state);
	return 0;
}

static void put(struct tree *t, uint64_t ino, uint64_t size)
{
	struct m_attr a = attr(ino, size);

	tree_put(t, &a, tree_now(t));
}

static void put_name(struct tree *t, const char *name, uint64_t ino)
{
	tree_put_name(t, DIR_INO, str_of(name), ino, tree_now(t));
}

static int look(struct tree *t, const char *name)
{
	struct m_attr a;

	return tree_lookup(t, DIR_INO, str_of(name), &a);
}

static int known(struct tree *t, uint64_t ino)
{
	struct m_attr a;

	return !tree_attr(t, ino, &a);
}

static void settle_name(struct tree *t, const char *name, uint64_t ino,
			uint64_t asked)
{
	tree_settle_name(t, DIR_INO, str_of(name), ino, asked);
}

static void touch_name(struct tree *t, const char *name)
{
	tree_touch_name(t, DIR_INO, str_of(name));
}

static void test_empty(void **state)
{
	struct tree *t = *state;

	assert_false(known(t, FILE_INO));
	assert_int_equal(look(t, "a"), -EAGAIN);
}

static void test_put(void **state)
{
	struct tree *t = *state;
	struct m_attr a;

	put(t, FILE_INO, 7);
	put_name(t, "a", FILE_INO);
	put_name(t, "none", 0);
	assert_int_equal(tree_lookup(t, DIR_INO, STR_LIT("a"), &a), 0);
	assert_int_equal(a.ino, FILE_INO);
	assert_int_equal(a.size, 7);
	assert_int_equal(look(t, "none"), -ENOENT);
	assert_int_equal(look(t, "other"), -EAGAIN);
	assert_int_equal(tree_lookup(t, 2, STR_LIT("a"), &a), -EAGAIN);
	/* a name without the attributes of what it names is no answer */
	tree_touch(t, FILE_INO);
	assert_int_equal(look(t, "a"), -EAGAIN);
}

static void test_revoked(void **state)
{
	struct tree *t = *state;
	uint64_t file = FILE_INO, dir = DIR_INO;

	put(t, FILE_INO, 7);
	put_name(t, "a", FILE_INO);
	put_name(t, "none", 0);
	tree_revoked(t, &file, 1);
	assert_false(known(t, FILE_INO));
	assert_int_equal(look(t, "none"), -ENOENT);
	put(t, FILE_INO, 8);
	assert_int_equal(look(t, "a"), 0);
	tree_revoked(t, &dir, 1);
	assert_int_equal(look(t, "a"), -EAGAIN);
	assert_int_equal(look(t, "none"), -EAGAIN);
	assert_true(known(t, FILE_INO));
}

static void test_lost(void **state)
{
	struct tree *t = *state;
	uint64_t asked = tree_now(t);
	struct m_attr a = attr(FILE_INO, 7);

	put(t, FILE_INO, 7);
	put_name(t, "a", FILE_INO);
	tree_lost(t);
	assert_false(known(t, FILE_INO));
	assert_int_equal(look(t, "a"), -EAGAIN);
	/* nor is an answer to an older question believed */
	tree_put(t, &a, asked);
	tree_put_name(t, DIR_INO, STR_LIT("a"), FILE_INO, asked);
	assert_false(known(t, FILE_INO));
	put(t, FILE_INO, 7);
	assert_int_equal(look(t, "a"), -EAGAIN);
}

static void test_late_answer(void **state)
{
	struct tree *t = *state;
	uint64_t asked = tree_now(t), file = FILE_INO, dir = DIR_INO;
	struct m_attr a = attr(FILE_INO, 7), b = attr(OTHER, 1);

	tree_revoked(t, &file, 1);
	tree_revoked(t, &dir, 1);
	tree_put(t, &a, asked);
	tree_put(t, &b, asked);
	tree_put_name(t, DIR_INO, STR_LIT("a"), OTHER, asked);
	tree_put_name(t, 2, STR_LIT("b"), OTHER, asked);
	assert_false(known(t, FILE_INO));
	assert_true(known(t, OTHER));
	assert_int_equal(look(t, "a"), -EAGAIN);
	assert_int_equal(tree_lookup(t, 2, STR_LIT("b"), &b), 0);
}

/* Create a name: unknown while under way, known when answered. */
static void test_change(void **state)
{
	struct tree *t = *state;
	struct m_attr a = attr(FILE_INO, 0);
	uint64_t asked, before = tree_now(t);

	put_name(t, "a", 0);
	touch_name(t, "a");
	asked = tree_now(t);
	assert_int_equal(look(t, "a"), -EAGAIN);
	tree_settle(t, &a, asked);
	settle_name(t, "a", FILE_INO, asked);
	assert_int_equal(look(t, "a"), 0);
	/* a look-up that was sent before the change */
	tree_put_name(t, DIR_INO, STR_LIT("a"), 0, before);
	assert_int_equal(look(t, "a"), 0);
	/* and one that was sent while it was under way */
	tree_put_name(t, DIR_INO, STR_LIT("a"), 0, asked);
	assert_int_equal(look(t, "a"), 0);
}

/* The answer that comes last need not be of the change that came last. */
static void test_overlap(void **state)
{
	struct tree *t = *state;
	struct m_attr a = attr(FILE_INO, 1), b = attr(FILE_INO, 2);
	uint64_t first, second;

	tree_touch(t, FILE_INO);
	first = tree_now(t);
	tree_touch(t, FILE_INO);
	second = tree_now(t);
	tree_settle(t, &b, second);
	tree_settle(t, &a, first);
	assert_false(known(t, FILE_INO));
	/* the other way round */
	tree_touch(t, FILE_INO);
	first = tree_now(t);
	tree_touch(t, FILE_INO);
	second = tree_now(t);
	tree_settle(t, &a, first);
	assert_false(known(t, FILE_INO));
	tree_settle(t, &b, second);
	assert_false(known(t, FILE_INO));
}

static void test_revoked_under_way(void **state)
{
	struct tree *t = *state;
	struct m_attr a = attr(FILE_INO, 1);
	uint64_t asked, file = FILE_INO, dir = DIR_INO;

	tree_touch(t, FILE_INO);
	touch_name(t, "a");
	asked = tree_now(t);
	tree_revoked(t, &file, 1);
	tree_revoked(t, &dir, 1);
	tree_settle(t, &a, asked);
	settle_name(t, "a", FILE_INO, asked);
	assert_false(known(t, FILE_INO));
	assert_int_equal(look(t, "a"), -EAGAIN);
}

static void make_dir(struct tree *t)
{
	struct m_attr d = attr(DIR_INO, 0);

	d.mode = S_IFDIR | 0755;
	tree_settle_empty(t, &d, tree_now(t));
}

static void test_whole(void **state)
{
	struct tree *t = *state;
	uint64_t asked, dir = DIR_INO;
	struct m_attr a = attr(FILE_INO, 1);

	make_dir(t);
	assert_int_equal(look(t, "a"), -ENOENT);
	touch_name(t, "a");
	asked = tree_now(t);
	assert_int_equal(look(t, "a"), -EAGAIN);
	assert_int_equal(look(t, "b"), -ENOENT);
	/* it failed for an unknown reason: still to be asked for */
	touch_name(t, "a");
	assert_int_equal(look(t, "a"), -EAGAIN);
	/* it was not believed: likewise */
	settle_name(t, "a", FILE_INO, asked);
	assert_int_equal(look(t, "a"), -EAGAIN);
	tree_put(t, &a, tree_now(t));
	put_name(t, "a", FILE_INO);
	assert_int_equal(look(t, "a"), 0);
	tree_revoked(t, &dir, 1);
	assert_int_equal(look(t, "b"), -EAGAIN);
}

static void test_listed(void **state)
{
	struct tree *t = *state;
	struct m_attr d = attr(DIR_INO, 0);
	uint64_t asked, dir = DIR_INO;

	tree_put(t, &d, tree_now(t));
	asked = tree_now(t);
	put_name(t, "a", FILE_INO);
	tree_put_whole(t, DIR_INO, asked);
	assert_int_equal(look(t, "b"), -ENOENT);
	assert_int_equal(look(t, "a"), -EAGAIN);	/* no attributes */
	/* revoked during the listing */
	asked = tree_now(t);
	tree_revoked(t, &dir, 1);
	tree_put(t, &d, tree_now(t));
	tree_put_whole(t, DIR_INO, asked);
	assert_int_equal(look(t, "b"), -EAGAIN);
	/* a name was removed here during the listing */
	asked = tree_now(t);
	put_name(t, "a", FILE_INO);
	touch_name(t, "a");
	tree_put_whole(t, DIR_INO, asked);
	assert_int_equal(look(t, "a"), -EAGAIN);
	assert_int_equal(look(t, "b"), -EAGAIN);
}

/* By chance a name shares its stamp with something that was changed during
 * the listing, and is not believed: then it is not known not to exist. */
static void test_listed_but_not_believed(void **state)
{
	struct tree *t = *state;
	struct m_attr d = attr(DIR_INO, 0);
	uint64_t asked;

	tree_put(t, &d, tree_now(t));
	asked = tree_now(t);
	for (uint64_t ino = 1000; ino < 101000; ino++)
		tree_touch(t, ino);
	tree_put_name(t, DIR_INO, str_of("a"), FILE_INO, asked);
	tree_put_whole(t, DIR_INO, asked);
	assert_int_equal(look(t, "a"), -EAGAIN);
	asked = tree_now(t);
	tree_put_name(t, DIR_INO, str_of("a"), FILE_INO, asked);
	tree_put_whole(t, DIR_INO, asked);
	assert_int_equal(look(t, "b"), -ENOENT);
}

static void test_update(void **state)
{
	struct tree *t = *state;
	struct m_attr a = attr(FILE_INO, 5), got;
	uint64_t asked = tree_now(t);

	/* revoked or never known: not taken */
	tree_update(t, &a);
	assert_false(known(t, FILE_INO));
	put(t, FILE_INO, 4);
	tree_update(t, &a);
	assert_int_equal(tree_attr(t, FILE_INO, &got), 0);
	assert_int_equal(got.size, 5);
	/* an older one shows that something is out of order */
	a.version = 3;
	tree_update(t, &a);
	assert_false(known(t, FILE_INO));
	/* a setattr that the commit overtook is not believed */
	tree_settle(t, &a, asked);
	assert_false(known(t, FILE_INO));
}

static void test_bounded(void **state)
{
	struct tree *t = *state;
	char name[16];
	unsigned n = 0;

	put_name(t, "keep", FILE_INO);
	put(t, FILE_INO, 1);
	for (unsigned i = 0; i < 10 * MOST; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		put(t, 1000 + i, i);
		put_name(t, name, 1000 + i);
		assert_int_equal(look(t, "keep"), 0);	/* in use: stays */
	}
	for (unsigned i = 0; i < 10 * MOST; i++)
		n += known(t, 1000 + i);
	assert_in_range(n, MOST / 2, MOST);
}

static void test_bounded_names(void **state)
{
	struct tree *t = *state;
	char name[16];
	unsigned n = 0;

	for (unsigned i = 0; i < 10 * MOST; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		put_name(t, name, 0);
		assert_int_equal(look(t, name), -ENOENT);
	}
	for (unsigned i = 0; i < 10 * MOST; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		n += look(t, name) == -ENOENT;
	}
	assert_int_equal(n, 2 * MOST);
}

/* A whole directory that loses a name for lack of room is whole no more. */
static void test_bounded_whole(void **state)
{
	struct tree *t = *state;
	char name[16];

	make_dir(t);
	for (unsigned i = 0; i < 3 * MOST; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		put_name(t, name, FILE_INO);
	}
	assert_int_equal(look(t, "n0"), -EAGAIN);
}

/* One entry, as if it had been asked for at @asked. */
static void put_listing(struct tree *t, uint64_t dir, uint64_t asked)
{
	struct m_entry e = { .cookie = 9, .name = str_of("a"),
			     .attr = attr(FILE_INO, 1) };
	struct m_readdir_r page = { .eof = 1, .entries = &e, .n_entries = 1 };
	struct listing *l = listing_new(&page);

	assert_non_null(l);
	tree_put_listing(t, dir, l, asked);
	listing_unref(l);
}

static int has_listing(struct tree *t, uint64_t dir)
{
	struct listing *l = tree_listing(t, dir);

	listing_unref(l);
	return l != NULL;
}

/* What ends a listing: if it is kept, and if it is on its way. */
static void ends_listing(struct tree *t, void (*change)(struct tree *t))
{
	uint64_t asked = tree_now(t);

	put_listing(t, DIR_INO, asked);
	put_listing(t, OTHER, asked);
	assert_true(has_listing(t, DIR_INO));
	change(t);
	assert_false(has_listing(t, DIR_INO));
	put_listing(t, DIR_INO, asked);
	assert_false(has_listing(t, DIR_INO));
	put_listing(t, DIR_INO, tree_now(t));
	assert_true(has_listing(t, DIR_INO));
}

static void l_touch(struct tree *t)
{
	tree_touch(t, DIR_INO);
}

static void l_touch_name(struct tree *t)
{
	touch_name(t, "b");
}

static void l_settle(struct tree *t)
{
	struct m_attr a = attr(DIR_INO, 1);

	tree_settle(t, &a, tree_now(t));
}

static void l_settle_name(struct tree *t)
{
	settle_name(t, "b", 0, tree_now(t));
}

static void l_revoked(struct tree *t)
{
	uint64_t ino = DIR_INO;

	tree_revoked(t, &ino, 1);
}

static void test_listing(void **state)
{
	struct tree *t = *state;
	struct m_attr a = attr(FILE_INO, 2);
	uint64_t ino = FILE_INO;

	assert_false(has_listing(t, DIR_INO));
	ends_listing(t, l_touch);
	ends_listing(t, l_touch_name);
	ends_listing(t, l_settle);
	ends_listing(t, l_settle_name);
	ends_listing(t, l_revoked);
	assert_true(has_listing(t, OTHER));
	ends_listing(t, tree_lost);
	/* what is in it may change */
	put(t, DIR_INO, 1);
	tree_settle(t, &a, tree_now(t));
	tree_revoked(t, &ino, 1);
	tree_put(t, &a, tree_now(t));
	put_name(t, "c", 0);
	assert_true(has_listing(t, DIR_INO));
}

static void *churn(void *arg)
{
	struct tree *t = arg;
	char name[16];

	for (unsigned i = 0; i < 5000; i++) {
		uint64_t ino = 100 + i % 97, asked;
		struct m_attr a = attr(ino, i);

		snprintf(name, sizeof(name), "n%u", i % 50);
		touch_name(t, name);
		asked = tree_now(t);
		tree_settle(t, &a, asked);
		settle_name(t, name, i % 3 ? ino : 0, asked);
		look(t, name);
		put_listing(t, DIR_INO, asked);
		put_listing(t, ino, tree_now(t));
		has_listing(t, DIR_INO);
		if (!(i % 500))
			tree_lost(t);
		if (!(i % 100))
			tree_revoked(t, &ino, 1);
		if (!(i % 70))
			make_dir(t);
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t th[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&th[i], NULL, churn, *state),
				 0);
	for (int i = 0; i < 4; i++)
		pthread_join(th[i], NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_empty), TEST(test_put), TEST(test_revoked),
		TEST(test_lost), TEST(test_late_answer), TEST(test_change),
		TEST(test_overlap), TEST(test_revoked_under_way),
		TEST(test_whole), TEST(test_listed),
		TEST(test_listed_but_not_believed), TEST(test_update),
		TEST(test_bounded), TEST(test_bounded_names),
		TEST(test_bounded_whole), TEST(test_listing),
		TEST(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
