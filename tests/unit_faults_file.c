/*
 * unit_faults_file -- every allocation that reading and writing a file makes
 * fails once: an error is told, or all is there; nobody waits for ever, and
 * the file goes on.
 */
#include "faults.h"

#define WORLD_SPARE(on) faults_spare(on)
#include "file_do.h"

#include <unistd.h>

enum { BASE = 3 * SLOT + 50, DEEP = 12 };

static char base[BASE], more[2 * SLOT + 700];

static void begin(void)
{
	struct file_handle *h;

	world_up(1);
	world.delay_us = 50;
	h = do_open(1, 0);
	assert_int_equal(do_write(h, 0, base, BASE), 0);
	assert_int_equal(do_flush(h, 1), 0);
	file_close(h);
}

/* Not before all that is under way has met its faults. */
static void quiet(void)
{
	int idle = 0, empty;

	while (idle < 3) {
		pthread_mutex_lock(&world.lock);
		empty = TAILQ_EMPTY(&world.tasks);
		pthread_mutex_unlock(&world.lock);
		idle = empty ? idle + 1 : 0;
		usleep(100);
	}
}

/* The file can be written and read; then what another mount sees. */
static void still_works(uint64_t at, const char *wanted)
{
	struct file_handle *h;

	h = do_open(1, 0);
	assert_int_equal(do_write(h, 8 * SLOT + 10, "after", 5), 0);
	assert_int_equal(do_flush(h, 1), 0);
	file_close(h);
	again(1 << 20, 50);
	check_content(1, 8 * SLOT + 10, "after", 5);
	check_content(1, 0, base, at);
	if (wanted)
		check_content(1, at, wanted, sizeof(more));
	/* an fsync that failed is not made good by the next */
	if (wanted)
		assert_int_equal(world_get(&world.not_durable), 0);
	world_down();
}

struct write_case {
	int append, sync;
	uint64_t at;
};

static void write_round(void *arg)
{
	const struct write_case *c = arg;
	struct file_handle *h;
	int err;

	begin();
	h = do_open(1, c->append);
	faults_on();
	err = do_write(h, c->at, more, sizeof(more));
	if (!err)
		err = do_flush(h, c->sync);
	quiet();
	if (!faults_off())
		assert_int_equal(err, 0);
	file_close(h);
	still_works(c->at, err ? NULL : more);
}

static void test_write(void **state)
{
	static const struct write_case cases[] = {
		{ 0, 0, SLOT + 100 }, { 0, 1, SLOT + 100 }, { 1, 1, BASE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		faults_each(FAULT_BIT(FAULT_MEMORY), write_round,
			    (void *)&cases[i]);
}

/* Small writes, one upon the other: sealed, committed, put together. */
static void deep_round(void *arg)
{
	char want[40], got[40];
	struct file_handle *h;
	int err = 0;

	(void)arg;
	memcpy(want, base + 7, sizeof(want));
	begin();
	h = do_open(1, 0);
	faults_on();
	for (int i = 0; i < DEEP && !err; i++) {
		memset(want + i, 'a' + i, 20);
		err = do_write(h, 7 + i, want + i, 20);
		if (!err)
			err = do_flush(h, i & 1);
	}
	file_close(h);
	quiet();
	if (!faults_off())
		assert_int_equal(err, 0);
	if (!err) {
		h = do_open(1, 0);
		assert_int_equal(do_read(h, 7, got, sizeof(got)), sizeof(got));
		assert_memory_equal(got, want, sizeof(got));
		file_close(h);
		again(1 << 20, 50);
		check_content(1, 7, want, sizeof(want));
	}
	still_works(7, NULL);
}

static void test_deep(void **state)
{
	(void)state;
	faults_each(FAULT_BIT(FAULT_MEMORY), deep_round, NULL);
}

/* It leaves by the clock, as a file that is not closed does. */
static void timer_round(void *arg)
{
	struct file_handle *h;
	int err;

	(void)arg;
	begin();
	again(1 << 20, 2);
	h = do_open(1, 0);
	faults_on();
	err = do_write(h, SLOT + 100, more, sizeof(more));
	usleep(4000);
	quiet();
	if (!faults_off())
		assert_int_equal(err, 0);
	if (!err)
		err = do_flush(h, 0);
	file_close(h);
	still_works(SLOT + 100, err ? NULL : more);
}

static void test_timer(void **state)
{
	(void)state;
	faults_each(FAULT_BIT(FAULT_MEMORY), timer_round, NULL);
}

static void read_round(void *arg)
{
	static char out[BASE];
	struct file_handle *h;
	struct m_attr a;
	int got;

	(void)arg;
	begin();
	again(1 << 20, 50);
	a = world_file(1)->attr;
	faults_on();
	got = file_open(world.fs, &a, 0, &h);
	if (!got) {
		got = do_read(h, 0, out, BASE);
		quiet();
	} else {
		h = NULL;
	}
	if (!faults_off())
		assert_int_equal(got, BASE);
	if (got >= 0) {
		assert_int_equal(got, BASE);
		assert_memory_equal(out, base, BASE);
	}
	if (h) {
		memset(out, 0, sizeof(out));
		assert_int_equal(do_read(h, 0, out, BASE), BASE);
		assert_memory_equal(out, base, BASE);
		file_close(h);
	}
	still_works(SLOT, NULL);
}

static void test_read(void **state)
{
	(void)state;
	faults_each(FAULT_BIT(FAULT_MEMORY), read_round, NULL);
}

static int fill(void **state)
{
	(void)state;
	for (int i = 0; i < BASE; i++)
		base[i] = (char)(i * 7 + i / SLOT);
	for (size_t i = 0; i < sizeof(more); i++)
		more[i] = (char)(i * 5 + 1);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_read, faults_told),
		cmocka_unit_test_teardown(test_write, faults_told),
		cmocka_unit_test_teardown(test_deep, faults_told),
		cmocka_unit_test_teardown(test_timer, faults_told),
	};

	return cmocka_run_group_tests(tests, fill, NULL);
}
