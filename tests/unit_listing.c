/* unit_listing -- entries in the order of cookies; which listings are kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "listing.h"

enum { PARENT = 7, SOME = 100 };

/* Entries @first .. @first + @n - 1: cookie 10 * k, inode 1000 + k, "nK". */
static struct listing *page(unsigned first, unsigned n, int eof)
{
	struct m_entry *v = calloc(n + 1, sizeof(*v));
	char (*names)[16] = calloc(n + 1, sizeof(*names));
	struct m_readdir_r m = { .parent = PARENT, .eof = (uint8_t)eof,
				 .entries = v, .n_entries = n };
	struct listing *l;

	assert_true(v && names);
	for (unsigned i = 0; i < n; i++) {
		snprintf(names[i], sizeof(names[i]), "n%u", first + i);
		v[i].cookie = 10 * (first + i);
		v[i].name = str_of(names[i]);
		v[i].attr.ino = 1000 + first + i;
		v[i].attr.mode = S_IFREG | 0600;
	}
	l = listing_new(&m);
	free(v);
	free(names);
	assert_non_null(l);
	return l;
}

static void is_entry(const struct listing *l, uint32_t at, unsigned k)
{
	struct listed e;
	char name[16];

	snprintf(name, sizeof(name), "n%u", k);
	listing_at(l, at, &e);
	assert_true(str_eq(e.name, str_of(name)));
	assert_true(e.cookie == 10 * k && e.ino == 1000 + k);
	assert_true(e.mode == (S_IFREG | 0600));
}

static void test_a_page(void **state)
{
	struct listing *l = page(1, SOME, 0);

	(void)state;
	assert_int_equal(listing_count(l), SOME);
	assert_int_equal(listing_parent(l), PARENT);
	assert_false(listing_eof(l));
	for (unsigned i = 0; i < SOME; i++)
		is_entry(l, i, i + 1);
	assert_int_equal(listing_seek(l, 0), 0);
	assert_int_equal(listing_seek(l, 9), 0);
	assert_int_equal(listing_seek(l, 10), 1);
	assert_int_equal(listing_seek(l, 11), 1);
	assert_int_equal(listing_seek(l, 10 * SOME - 1), SOME - 1);
	assert_int_equal(listing_seek(l, 10 * SOME), SOME);
	assert_int_equal(listing_seek(l, UINT64_MAX), SOME);
	listing_unref(l);
	l = page(1, 0, 1);
	assert_true(listing_eof(l) && !listing_count(l));
	assert_int_equal(listing_seek(l, 0), 0);
	listing_unref(l);
	listing_unref(NULL);
}

static void test_joined(void **state)
{
	struct listing *a = page(1, SOME, 0), *b = page(SOME + 1, 3, 1);
	struct listing *none = page(0, 0, 1), *l, *same;

	(void)state;
	l = listing_join(a, b);
	same = listing_join(l, none);
	listing_unref(a);
	listing_unref(b);
	listing_unref(none);
	assert_true(l && same && listing_eof(l));
	assert_int_equal(listing_count(l), SOME + 3);
	assert_int_equal(listing_bytes(l), listing_bytes(same));
	for (unsigned i = 0; i < SOME + 3; i++) {
		is_entry(l, i, i + 1);
		is_entry(same, i, i + 1);
	}
	listing_unref(l);
	listing_unref(same);
}

/* What says what follows @after: how many entries; -1: nothing does. */
static int at(const struct pages *p, uint64_t after, uint64_t *end)
{
	struct listing *l = pages_at(p, after, end);
	int n = l ? (int)listing_count(l) : -1;

	listing_unref(l);
	return n;
}

static void test_pages(void **state)
{
	struct pages p = { 0 };
	struct listing *all;
	uint64_t end = 0;

	(void)state;
	assert_int_equal(at(&p, 0, &end), -1);
	assert_false(pages_take(&p, page(1, 10, 0), 0, 77, SIZE_MAX, &all));
	assert_null(all);
	assert_int_equal(at(&p, 0, &end), 10);
	assert_int_equal(end, 100);
	assert_int_equal(at(&p, 99, &end), 10);
	assert_int_equal(at(&p, 100, &end), -1);
	assert_false(pages_take(&p, page(11, 10, 0), 100, 78, SIZE_MAX, &all));
	assert_int_equal(at(&p, 99, &end), -1);
	assert_int_equal(at(&p, 100, &end), 10);
	assert_true(pages_take(&p, page(21, 5, 1), 200, 79, SIZE_MAX, &all));
	assert_int_equal(p.asked, 77);
	assert_int_equal(listing_count(all), 25);
	for (unsigned i = 0; i < 25; i++)
		is_entry(all, i, i + 1);
	/* after the last one there is nothing, which is known */
	assert_int_equal(at(&p, 250, &end), 5);
	assert_int_equal(at(&p, 199, &end), -1);
	pages_take_whole(&p, all);
	assert_int_equal(at(&p, 0, &end), 25);
	assert_int_equal(at(&p, 1000, &end), 25);
	pages_fini(&p);
}

static void test_pages_with_a_gap(void **state)
{
	struct pages p = { 0 };
	struct listing *all;

	(void)state;
	/* not from the beginning */
	assert_false(pages_take(&p, page(5, 5, 1), 40, 1, SIZE_MAX, &all));
	/* one is missing */
	assert_false(pages_take(&p, page(1, 10, 0), 0, 2, SIZE_MAX, &all));
	assert_false(pages_take(&p, page(21, 5, 0), 200, 3, SIZE_MAX, &all));
	assert_false(pages_take(&p, page(26, 5, 1), 250, 4, SIZE_MAX, &all));
	assert_null(all);
	/* some of it came from elsewhere */
	pages_take_whole(&p, page(1, 10, 1));
	assert_false(pages_take(&p, page(11, 5, 1), 100, 5, SIZE_MAX, &all));
	/* from the beginning again, and one that is asked for twice */
	assert_false(pages_take(&p, page(1, 10, 0), 0, 6, SIZE_MAX, &all));
	assert_false(pages_take(&p, page(1, 10, 0), 0, 7, SIZE_MAX, &all));
	assert_true(pages_take(&p, page(11, 1, 1), 100, 8, SIZE_MAX, &all));
	assert_int_equal(p.asked, 7);
	assert_int_equal(listing_count(all), 11);
	listing_unref(all);
	pages_fini(&p);
}

static void test_pages_too_large(void **state)
{
	struct pages p = { 0 };
	struct listing *all;

	(void)state;
	assert_false(pages_take(&p, page(1, SOME, 0), 0, 1, 1000, &all));
	assert_true(pages_take(&p, page(SOME + 1, 1, 1), 10 * SOME, 2, 1000,
			       &all));
	assert_null(all);
	pages_fini(&p);
}

static void put(struct listings *ls, uint64_t dir, unsigned n)
{
	struct listing *l = page(1, n, 1);

	listings_put(ls, dir, l);
	listing_unref(l);
}

/* How many entries are kept of @dir; -1: it is not. */
static int kept(struct listings *ls, uint64_t dir)
{
	struct listing *l = listings_get(ls, dir);
	int n = l ? (int)listing_count(l) : -1;

	listing_unref(l);
	return n;
}

static void test_kept(void **state)
{
	struct listing *l;
	struct listings ls;

	(void)state;
	listings_init(&ls, 1 << 20, 1 << 16);
	assert_int_equal(kept(&ls, 1), -1);
	put(&ls, 1, 5);
	put(&ls, 2, 6);
	assert_int_equal(kept(&ls, 1), 5);
	put(&ls, 1, 7);
	assert_int_equal(kept(&ls, 1), 7);
	/* who has it may go on with it */
	l = listings_get(&ls, 1);
	listings_drop(&ls, 1);
	listings_drop(&ls, 1);
	assert_int_equal(kept(&ls, 1), -1);
	is_entry(l, 6, 7);
	listing_unref(l);
	assert_int_equal(kept(&ls, 2), 6);
	listings_drop_all(&ls);
	assert_int_equal(kept(&ls, 2), -1);
	assert_int_equal(ls.bytes, 0);
	listings_fini(&ls);
}

static void test_bounded(void **state)
{
	struct listings ls;
	size_t one;

	(void)state;
	listings_init(&ls, SIZE_MAX, SIZE_MAX);
	put(&ls, 1, SOME);
	one = ls.bytes;
	listings_fini(&ls);

	listings_init(&ls, 3 * one, one);
	for (uint64_t dir = 1; dir <= 3; dir++)
		put(&ls, dir, SOME);
	assert_int_equal(kept(&ls, 1), SOME);
	put(&ls, 4, SOME);		/* in place of 2, not of 1 */
	assert_true(ls.bytes <= 3 * one);
	assert_int_equal(kept(&ls, 2), -1);
	assert_int_equal(kept(&ls, 1), SOME);
	assert_int_equal(kept(&ls, 3), SOME);
	assert_int_equal(kept(&ls, 4), SOME);
	/* a larger one pushes nobody out, and what was there is old */
	put(&ls, 4, 10 * SOME);
	assert_int_equal(kept(&ls, 4), -1);
	assert_int_equal(kept(&ls, 1), SOME);
	listings_fini(&ls);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_page), cmocka_unit_test(test_joined),
		cmocka_unit_test(test_pages),
		cmocka_unit_test(test_pages_with_a_gap),
		cmocka_unit_test(test_pages_too_large),
		cmocka_unit_test(test_kept), cmocka_unit_test(test_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
