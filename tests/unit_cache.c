/*
 * unit_cache -- the memory cache, against a plain model of LRU.
 *
 * The seed is printed; PSPFS_SEED=N repeats a run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cache.h"

#define IDS 40
#define STEPS 50000
#define LIMIT 10000
#define LIMIT_S 120

static unsigned seed;

static unsigned below(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static struct buf *make(uint64_t id, size_t n)
{
	struct buf *b = buf_new(n);

	assert_non_null(b);
	b->len = n;
	memset(b->data, (int)id, n);
	return b;
}

static void put(struct cache *c, uint64_t id, size_t n)
{
	struct buf *b = make(id, n);

	cache_put(c, id, b);
	buf_unref(b);
}

static int has(struct cache *c, uint64_t id)
{
	struct buf *b = cache_get(c, id);

	if (!b)
		return 0;
	assert_int_equal(b->data[0], (uint8_t)id);
	buf_unref(b);
	return 1;
}

static void test_oldest_goes(void **state)
{
	struct cache *c;

	(void)state;
	assert_int_equal(cache_new(&c, 300, SIZE_MAX), 0);
	put(c, 1, 100);
	put(c, 2, 100);
	put(c, 3, 100);
	assert_true(has(c, 1));
	put(c, 4, 100);
	assert_false(has(c, 2));
	assert_true(has(c, 1));
	assert_true(has(c, 3));
	assert_true(has(c, 4));
	assert_int_equal(cache_bytes(c), 300);
	cache_drop(c, 3);
	cache_drop(c, 99);
	assert_false(has(c, 3));
	assert_int_equal(cache_bytes(c), 200);
	cache_free(c);
	cache_free(NULL);
}

/* A reader's buf outlives its eviction; one too large is not taken. */
static void test_references(void **state)
{
	struct buf *b = make(1, 100), *held;
	struct cache *c;

	(void)state;
	assert_int_equal(cache_new(&c, 150, SIZE_MAX), 0);
	cache_put(c, 1, b);
	assert_int_equal(b->refs, 2);
	held = cache_get(c, 1);
	assert_ptr_equal(held, b);
	put(c, 2, 100);
	assert_false(has(c, 1));
	assert_int_equal(b->refs, 2);
	put(c, 3, 151);
	assert_false(has(c, 3));
	assert_true(has(c, 2));
	buf_unref(held);
	cache_free(c);
	assert_int_equal(b->refs, 1);
	buf_unref(b);
}

/* What others have of memory the cache does without. */
static void test_room_for_what_is_under_way(void **state)
{
	const size_t size = 1 << 20, before = buf_in_use();
	struct buf *dirty[8];
	struct cache *c;

	(void)state;
	assert_int_equal(cache_new(&c, 6 * size, before + 8 * size + 8192), 0);
	for (uint64_t id = 1; id <= 6; id++)
		put(c, id, size);
	assert_int_equal(cache_bytes(c), 6 * size);
	for (int i = 0; i < 4; i++)
		dirty[i] = make(0, size);
	cache_trim(c);
	assert_int_equal(cache_bytes(c), 4 * size);
	assert_false(has(c, 2));
	assert_true(has(c, 3));
	for (int i = 4; i < 8; i++)
		dirty[i] = make(0, size);
	put(c, 7, size);
	assert_int_equal(cache_bytes(c), 0);
	for (int i = 0; i < 8; i++)
		buf_unref(dirty[i]);
	for (uint64_t id = 1; id <= 9; id++)
		put(c, id, size);
	assert_int_equal(cache_bytes(c), 6 * size);
	cache_free(c);
	assert_int_equal(buf_in_use(), before);
}

/* Most recent first. */
struct model {
	struct {
		uint64_t id;
		size_t cap;
	} e[IDS];
	size_t n, bytes;
};

static int model_take(struct model *m, uint64_t id, size_t *cap)
{
	for (size_t i = 0; i < m->n; i++) {
		if (m->e[i].id != id)
			continue;
		*cap = m->e[i].cap;
		m->bytes -= *cap;
		memmove(&m->e[i], &m->e[i + 1],
			(--m->n - i) * sizeof(m->e[0]));
		return 1;
	}
	return 0;
}

static void model_push(struct model *m, uint64_t id, size_t cap)
{
	memmove(&m->e[1], &m->e[0], m->n++ * sizeof(m->e[0]));
	m->e[0].id = id;
	m->e[0].cap = cap;
	m->bytes += cap;
}

static void model_put(struct model *m, uint64_t id, size_t cap)
{
	size_t old;

	if (cap > LIMIT)
		return;
	model_take(m, id, &old);
	while (m->bytes + cap > LIMIT)
		m->bytes -= m->e[--m->n].cap;
	model_push(m, id, cap);
}

static void test_model(void **state)
{
	struct model m = { .n = 0 };
	struct cache *c;

	(void)state;
	assert_int_equal(cache_new(&c, LIMIT, SIZE_MAX), 0);
	for (int i = 0; i < STEPS; i++) {
		uint64_t id = 1 + below(IDS);
		size_t cap;

		switch (below(4)) {
		case 0: {
			struct buf *b = make(id, 1 + below(LIMIT / 8));

			if (!below(50)) {
				buf_unref(b);
				b = make(id, LIMIT + 1);
			}
			b->len = 1;	/* what counts is the room */
			cache_put(c, id, b);
			model_put(&m, id, b->cap);
			buf_unref(b);
			break;
		}
		case 1:
			cache_drop(c, id);
			model_take(&m, id, &cap);
			break;
		default:
			if (model_take(&m, id, &cap)) {
				model_push(&m, id, cap);
				assert_true(has(c, id));
			} else {
				assert_false(has(c, id));
			}
		}
		assert_int_equal(cache_bytes(c), m.bytes);
		assert_true(cache_bytes(c) <= LIMIT);
	}
	for (size_t i = 0; i < m.n; i++)
		assert_true(has(c, m.e[i].id));
	cache_free(c);
}

static void *hammer(void *arg)
{
	struct cache *c = arg;
	unsigned mine = 7;

	for (int i = 0; i < 5000; i++) {
		uint64_t id = 1 + (unsigned)rand_r(&mine) % IDS;
		struct buf *b = cache_get(c, id);

		if (b && b->data[b->len - 1] != (uint8_t)id)
			return c;
		buf_unref(b);
		if (rand_r(&mine) % 2) {
			b = buf_new(500);
			if (!b)
				return c;
			b->len = 500;
			memset(b->data, (int)id, 500);
			cache_put(c, id, b);
			buf_unref(b);
		} else if (!(rand_r(&mine) % 4)) {
			cache_drop(c, id);
		}
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t t[8];
	struct cache *c;

	(void)state;
	assert_int_equal(cache_new(&c, LIMIT, SIZE_MAX), 0);
	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&t[i], NULL, hammer, c), 0);
	for (int i = 0; i < 8; i++) {
		void *bad;

		pthread_join(t[i], &bad);
		assert_null(bad);
	}
	assert_true(cache_bytes(c) <= LIMIT);
	cache_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_oldest_goes),
		cmocka_unit_test(test_references),
		cmocka_unit_test(test_room_for_what_is_under_way),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_threads),
	};
	const char *given = getenv("PSPFS_SEED");

	alarm(LIMIT_S);
	seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
	print_message("seed %u\n", seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
