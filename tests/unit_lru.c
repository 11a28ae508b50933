/* unit_lru -- the relay's cache against a model: a list in order of use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lru.h"
#include "rng.h"

static uint64_t seed;

static uint64_t rnd(void)
{
	return rng_next(&seed);
}

/* ---------------------------------------------------------------- model */

enum { MODEL_MAX = 256 };

struct model {
	struct { uint64_t id; uint32_t len; int pinned; } v[MODEL_MAX];
	int n;			/* oldest first */
	uint64_t limit;
};

static uint64_t model_bytes(const struct model *m)
{
	uint64_t sum = 0;

	for (int i = 0; i < m->n; i++)
		sum += m->v[i].len;
	return sum;
}

static int model_find(const struct model *m, uint64_t id)
{
	for (int i = 0; i < m->n; i++)
		if (m->v[i].id == id)
			return i;
	return -1;
}

static void model_remove(struct model *m, int i)
{
	memmove(&m->v[i], &m->v[i + 1],
		(size_t)(m->n - i - 1) * sizeof(m->v[0]));
	m->n--;
}

static int model_room(struct model *m, uint32_t len)
{
	int i = 0;

	if (len > m->limit)
		return -EFBIG;
	while (i < m->n && model_bytes(m) + len > m->limit) {
		if (m->v[i].pinned)
			i++;
		else
			model_remove(m, i);
	}
	return model_bytes(m) + len > m->limit ? -EAGAIN : 0;
}

static void model_use(struct model *m, int i)
{
	__typeof__(m->v[0]) e = m->v[i];

	model_remove(m, i);
	m->v[m->n++] = e;
}

/* ---------------------------------------------------------------- tests */

static struct lru_entry *put(struct lru *l, uint64_t id, uint32_t len)
{
	struct lru_entry e = { .id = id, .len = len, .buf = buf_new(len) };
	struct lru_entry *p;

	assert_non_null(e.buf);
	p = lru_put(l, &e);
	buf_unref(e.buf);
	return p;
}

static void one_step(struct lru *l, struct model *m, uint32_t chunk)
{
	uint64_t id = 1 + rnd() % 40;
	uint32_t len = rnd() % 4 ? chunk : 1 + (uint32_t)(rnd() % chunk);
	struct lru_entry *e = lru_get(l, id);
	int i = model_find(m, id), err;

	assert_int_equal(e != NULL, i >= 0);
	if (e) {
		model_use(m, i);
		i = m->n - 1;
		assert_int_equal(e->len, m->v[i].len);
		if (m->v[i].pinned) {
			lru_unpin(e);
			m->v[i].pinned = 0;
		} else if (rnd() % 8 == 0) {
			lru_pin(e);
			m->v[i].pinned = 1;
		}
		return;
	}
	err = lru_reserve(l, len);
	assert_int_equal(err, model_room(m, len));
	if (!err && rnd() % 10 == 0) {
		lru_unreserve(l, len);	/* it never came */
	} else if (!err) {
		assert_non_null(put(l, id, len));
		m->v[m->n].id = id;
		m->v[m->n].len = len;
		m->v[m->n++].pinned = 0;
	}
}

/* From a cache of one chunk up. */
static void as_the_model(void **state)
{
	static const uint64_t chunks[] = { 1, 2, 3, 5, 8, 16, 39, 41 };
	const uint32_t chunk = 1024;

	(void)state;
	for (size_t k = 0; k < sizeof(chunks) / sizeof(*chunks); k++) {
		struct model m = { .limit = chunks[k] * chunk };
		struct lru *l;

		assert_int_equal(lru_new(&l, m.limit), 0);
		for (int i = 0; i < 20000; i++) {
			one_step(l, &m, chunk);
			assert_int_equal(lru_bytes(l), model_bytes(&m));
			assert_true(lru_bytes(l) <= m.limit);
		}
		lru_free(l);
	}
}

static void what_is_on_its_way_counts(void **state)
{
	struct lru *l;

	(void)state;
	assert_int_equal(lru_new(&l, 2048), 0);
	assert_int_equal(lru_reserve(l, 1024), 0);
	assert_int_equal(lru_reserve(l, 1024), 0);
	assert_int_equal(lru_reserve(l, 1), -EAGAIN);
	assert_int_equal(lru_reserve(l, 2049), -EFBIG);
	assert_int_equal(lru_bytes(l), 2048);
	assert_non_null(put(l, 7, 1024));
	assert_int_equal(lru_bytes(l), 2048);
	lru_unreserve(l, 1024);
	assert_int_equal(lru_bytes(l), 1024);
	assert_int_equal(lru_reserve(l, 2048), 0);	/* 7 goes */
	assert_null(lru_get(l, 7));
	assert_int_equal(lru_evicted(l), 1);
	lru_free(l);
}

static void what_is_pinned_stays(void **state)
{
	struct lru_entry *e;
	struct lru *l;

	(void)state;
	assert_int_equal(lru_new(&l, 1024), 0);
	assert_int_equal(lru_reserve(l, 1024), 0);
	e = put(l, 1, 1024);
	lru_pin(e);
	lru_pin(e);
	assert_int_equal(lru_reserve(l, 10), -EAGAIN);
	lru_unpin(e);
	assert_int_equal(lru_reserve(l, 10), -EAGAIN);
	lru_unpin(e);
	assert_int_equal(lru_reserve(l, 10), 0);
	assert_null(lru_get(l, 1));
	lru_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_the_model),
		cmocka_unit_test(what_is_on_its_way_counts),
		cmocka_unit_test(what_is_pinned_stays),
	};
	const char *given = getenv("PSPFS_SEED");

	seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
	printf("PSPFS_SEED=%" PRIu64 "\n", seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
