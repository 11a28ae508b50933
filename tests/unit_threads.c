/*
 * unit_threads -- hasher, pool, buf and counters under several threads.
 *
 * Worth most under ThreadSanitizer.  An alarm ends a test that hangs.
 */
#include "buf.h"
#include "counters.h"
#include "hasher.h"
#include "pool.h"
#include "text.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { LIMIT_S = 60, THREADS = 4, JOBS = 500, WORKS = 1000 };

/* ----------------------------------------------------------------- pool */

struct counted {
	struct pool_work work;
	int *sum;
	int runs;
};

static void count_up(struct pool_work *w)
{
	struct counted *c = (struct counted *)w;

	c->runs++;
	__atomic_fetch_add(c->sum, 1, __ATOMIC_RELAXED);
}

static void pool_runs_everything_once(void **state)
{
	static struct counted works[WORKS];
	struct pool *p;
	int sum = 0;

	(void)state;
	memset(works, 0, sizeof(works));
	assert_int_equal(pool_new(&p, "a long name of a pool", 3), 0);
	for (int i = 0; i < WORKS; i++) {
		works[i].work.fn = count_up;
		works[i].sum = &sum;
		pool_run(p, &works[i].work);
	}
	pool_free(p);	/* waits for all of them */
	assert_int_equal(sum, WORKS);
	for (int i = 0; i < WORKS; i++)
		assert_int_equal(works[i].runs, 1);
	pool_free(NULL);
}

/* Two that wait for each other end only if they run at the same time. */
struct meeting {
	struct pool_work work;
	pthread_barrier_t *both;
};

static void meet(struct pool_work *w)
{
	pthread_barrier_wait(((struct meeting *)w)->both);
}

static void pool_runs_in_parallel(void **state)
{
	pthread_barrier_t both;
	struct meeting m[2] = { { { .fn = meet }, &both },
				{ { .fn = meet }, &both } };
	struct pool *p;

	(void)state;
	pthread_barrier_init(&both, NULL, 2);
	assert_int_equal(pool_new(&p, "two", 2), 0);
	pool_run(p, &m[0].work);
	pool_run(p, &m[1].work);
	pool_free(p);
	pthread_barrier_destroy(&both);
}

/* --------------------------------------------------------------- hasher */

struct done_count {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int n;
};

struct test_job {
	struct hash_job hash;
	struct done_count *count;
	uint8_t data[300];
};

static void job_done(struct hash_job *j)
{
	struct done_count *c = ((struct test_job *)j)->count;

	pthread_mutex_lock(&c->lock);
	c->n++;
	pthread_cond_signal(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

static void wait_done(struct done_count *c, int n)
{
	pthread_mutex_lock(&c->lock);
	while (c->n < n)
		pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

static void job_init(struct test_job *j, struct done_count *c, unsigned seed)
{
	*j = (struct test_job){ .hash.done = job_done, .count = c };
	for (size_t i = 0; i < sizeof(j->data); i++)
		j->data[i] = (uint8_t)(seed = seed * 1103515245 + 12345);
	j->hash.job.data = j->data;
	j->hash.job.len = seed % sizeof(j->data);
	j->hash.urgent = seed % 50 == 0;
}

static void job_check(const struct test_job *j)
{
	uint8_t expect[16];

	md5_one(j->hash.job.data, j->hash.job.len, expect);
	assert_memory_equal(j->hash.job.md5, expect, 16);
}

struct submitter {
	pthread_t thread;
	struct hasher *h;
	struct test_job jobs[JOBS];
};

static void *submit_all(void *arg)
{
	struct submitter *s = arg;

	for (int i = 0; i < JOBS; i++)
		hasher_submit(s->h, &s->jobs[i].hash);
	return NULL;
}

static void hasher_serves_many_threads(void **state)
{
	static struct submitter subs[THREADS];
	struct done_count count = { PTHREAD_MUTEX_INITIALIZER,
				    PTHREAD_COND_INITIALIZER, 0 };
	uint64_t bytes = counter_get(CNT_MD5_BYTES), sum = 0;
	struct hasher *h;

	(void)state;
	assert_int_equal(hasher_new(&h), 0);
	for (int t = 0; t < THREADS; t++) {
		subs[t].h = h;
		for (int i = 0; i < JOBS; i++) {
			job_init(&subs[t].jobs[i], &count,
				 (unsigned)(t * JOBS + i));
			sum += subs[t].jobs[i].hash.job.len;
		}
		pthread_create(&subs[t].thread, NULL, submit_all, &subs[t]);
	}
	for (int t = 0; t < THREADS; t++)
		pthread_join(subs[t].thread, NULL);
	wait_done(&count, THREADS * JOBS);
	hasher_free(h);
	assert_int_equal(count.n, THREADS * JOBS);
	for (int t = 0; t < THREADS; t++)
		for (int i = 0; i < JOBS; i++)
			job_check(&subs[t].jobs[i]);
	assert_true(counter_get(CNT_MD5_BYTES) - bytes == sum);
}

static const uint8_t large[HASHER_INLINE + 1];

/* How long @j takes behind an idle one that waits for company. */
static uint64_t urgent_us(struct hasher *h, struct test_job j[2])
{
	struct done_count count = { PTHREAD_MUTEX_INITIALIZER,
				    PTHREAD_COND_INITIALIZER, 0 };
	uint64_t began = now_us();

	for (unsigned i = 0; i < 2; i++) {
		job_init(&j[i], &count, i);
		j[i].hash.urgent = i == 1;
		if (i == 1) {	/* too large to be done at once */
			j[i].hash.job.data = large;
			j[i].hash.job.len = sizeof(large);
		}
		hasher_submit(h, &j[i].hash);
		usleep(100);	/* it is asleep by now, mostly */
	}
	wait_done(&count, 2);
	return now_us() - began;
}

/* A lone job waits for company, but not for ever; an urgent one does not. */
static void hasher_waits_its_time(void **state)
{
	struct done_count count = { PTHREAD_MUTEX_INITIALIZER,
				    PTHREAD_COND_INITIALIZER, 0 };
	uint64_t began, fastest = UINT64_MAX;
	struct test_job j, pair[2];
	struct hasher *h;

	(void)state;
	assert_int_equal(hasher_new(&h), 0);
	job_init(&j, &count, 1);
	j.hash.urgent = 0;
	began = now_us();
	hasher_submit(h, &j.hash);
	wait_done(&count, 1);
	assert_true(now_us() - began >= HASHER_WAIT_US);
	job_check(&j);
	for (int i = 0; i < 50; i++) {
		uint64_t us = urgent_us(h, pair);

		if (us < fastest)
			fastest = us;
		job_check(&pair[0]);
		job_check(&pair[1]);
	}
	assert_true(fastest < HASHER_WAIT_US);
	hasher_free(h);
}

/* Does a large urgent job, alone at the hasher, wait nevertheless? */
static int urgent_waits(struct hasher *h, const struct test_job *like)
{
	struct done_count count = { PTHREAD_MUTEX_INITIALIZER,
				    PTHREAD_COND_INITIALIZER, 0 };
	struct test_job j = *like;
	uint64_t began = now_us();

	j.count = &count;
	hasher_submit(h, &j.hash);
	wait_done(&count, 1);
	return now_us() - began >= HASHER_WAIT_US / 2;
}

/* Two at a time, of which one is urgent, and then a lone urgent one: does that
 * one wait for company? */
static int gathers(struct hasher *h, struct test_job *lone)
{
	static uint8_t data[4 << 20];	/* its hash takes a while */
	struct done_count count = { PTHREAD_MUTEX_INITIALIZER,
				    PTHREAD_COND_INITIALIZER, 0 };
	struct test_job pair[2];

	for (int i = 0; i < 2; i++) {
		job_init(&pair[i], &count, 0);
		pair[i].hash.job.data = data;
		pair[i].hash.job.len = sizeof(data);
		pair[i].hash.urgent = i;
		hasher_submit(h, &pair[i].hash);	/* the first waits */
	}
	*lone = pair[1];
	lone->hash.job.len = HASHER_INLINE + 1;
	wait_done(&count, 2);
	return urgent_waits(h, lone);
}

/* While several come at a time, those who follow are gathered, though each of
 * them is urgent; a lone one is not.  The machine may be busy: any of our
 * submissions may come too late. */
static void hasher_gathers_a_stream(void **state)
{
	struct test_job lone;
	struct hasher *h;
	int tries = 0;

	(void)state;
	assert_int_equal(hasher_new(&h), 0);
	while (!gathers(h, &lone))
		assert_true(++tries < 50);
	for (tries = 0; urgent_waits(h, &lone); )
		assert_true(++tries < 50);
	hasher_free(h);
}

static void note_thread(struct hash_job *j)
{
	struct test_job *t = (struct test_job *)j;

	t->data[0] = pthread_equal(*(pthread_t *)t->count, pthread_self()) != 0;
}

/* Small and urgent: done before hasher_submit() returns, on our thread. */
static void hasher_does_small_ones_at_once(void **state)
{
	pthread_t me = pthread_self();
	struct test_job j;
	struct hasher *h;
	uint8_t expect[16];

	(void)state;
	assert_int_equal(hasher_new(&h), 0);
	j = (struct test_job){ .count = (struct done_count *)&me };
	j.hash = (struct hash_job){ .urgent = 1, .done = note_thread,
				    .job = { .data = large,
					     .len = HASHER_INLINE } };
	hasher_submit(h, &j.hash);
	assert_int_equal(j.data[0], 1);
	md5_one(large, HASHER_INLINE, expect);
	assert_memory_equal(j.hash.job.md5, expect, 16);
	hasher_free(h);
}

static void hasher_free_runs_what_is_queued(void **state)
{
	struct done_count count = { PTHREAD_MUTEX_INITIALIZER,
				    PTHREAD_COND_INITIALIZER, 0 };
	static struct test_job jobs[40];
	struct hasher *h;

	(void)state;
	assert_int_equal(hasher_new(&h), 0);
	for (unsigned i = 0; i < 40; i++) {
		job_init(&jobs[i], &count, i);
		hasher_submit(h, &jobs[i].hash);
	}
	hasher_free(h);
	assert_int_equal(count.n, 40);
	for (int i = 0; i < 40; i++)
		job_check(&jobs[i]);
	hasher_free(NULL);
}

/* ------------------------------------------------------------------ buf */

static void buf_sizes(void **state)
{
	(void)state;
	for (size_t cap = 0; cap <= 40u << 20; cap = cap * 5 / 3 + 1) {
		struct buf *b = buf_new(cap);

		assert_non_null(b);
		assert_true(b->cap >= cap);
		assert_true(b->cap <= cap + cap / 4);
		assert_int_equal(b->len, 0);
		assert_int_equal(b->refs, 1);
		assert_int_equal((uintptr_t)b->data % 64, 0);
		if (cap)
			b->data[0] = b->data[cap - 1] = 1;
		buf_unref(b);
	}
	assert_null(buf_new(SIZE_MAX));
	assert_null(buf_new(SIZE_MAX - 64));
	buf_unref(NULL);
}

static void buf_reuses_large_blocks(void **state)
{
	struct buf *b = buf_new((512 << 10) + 16), *other;
	const uint8_t *data = b->data;

	(void)state;
	other = buf_ref(b);
	assert_ptr_equal(other, b);
	buf_unref(b);
	other->data[0] = 1;	/* still ours */
	other->len = 9;
	buf_unref(other);
	/* Many times what the pool may hold. */
	for (int i = 0; i < 300; i++) {
		b = buf_new((512 << 10) + 1);
		assert_ptr_equal(b->data, data);
		assert_int_equal(b->len, 0);
		buf_unref(b);
	}
}

static void buf_dup_copies(void **state)
{
	struct buf *b = buf_dup("hello", 5);

	(void)state;
	assert_int_equal(b->len, 5);
	assert_memory_equal(b->data, "hello", 5);
	buf_unref(b);
	b = buf_dup(NULL, 0);
	assert_int_equal(b->len, 0);
	buf_unref(b);
}

/* Allocate, share, drop, from several threads at once. */
static void *buf_churn(void *arg)
{
	struct buf *shared = arg;

	for (size_t i = 0; i < 2000; i++) {
		struct buf *b = buf_new((size_t)1 << (10 + i % 9));

		b->data[0] = (uint8_t)i;
		b->data[b->cap - 1] = (uint8_t)i;
		buf_unref(buf_ref(shared));
		if (b->data[0] != (uint8_t)i)
			abort();
		buf_unref(b);
		counter_add(CNT_EVICTED, 1);
	}
	buf_unref(shared);
	return NULL;
}

static void buf_many_threads(void **state)
{
	struct buf *shared = buf_dup("x", 1);
	pthread_t threads[THREADS];

	(void)state;
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, buf_churn, buf_ref(shared));
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(shared->refs, 1);
	assert_memory_equal(shared->data, "x", 1);
	buf_unref(shared);
	assert_true(counter_get(CNT_EVICTED) == THREADS * 2000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pool_runs_everything_once),
		cmocka_unit_test(pool_runs_in_parallel),
		cmocka_unit_test(hasher_serves_many_threads),
		cmocka_unit_test(hasher_waits_its_time),
		cmocka_unit_test(hasher_gathers_a_stream),
		cmocka_unit_test(hasher_does_small_ones_at_once),
		cmocka_unit_test(hasher_free_runs_what_is_queued),
		cmocka_unit_test(buf_sizes),
		cmocka_unit_test(buf_reuses_large_blocks),
		cmocka_unit_test(buf_dup_copies),
		cmocka_unit_test(buf_many_threads),
	};

	alarm(LIMIT_S);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
