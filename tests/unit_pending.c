/* unit_pending -- requests, interruptions and who is let go (pending.h). */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "pending.h"
#include "signals.h"
#include "text.h"

enum {
	TID = 77,
	LONG_MS = 10000,	/* more than anything takes */
	QUIET_MS = 1200,	/* when nothing is to happen */
};

/* A /proc of our own, and what was answered. */
static char proc[] = "/tmp/pspfs-unit-pending-XXXXXX";
static struct pending *p;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int n_answers, last_err;
static uint64_t last_unique;
static uint32_t last_written;

static void answer(void *arg, uint64_t unique, int err, uint32_t written)
{
	(void)arg;
	pthread_mutex_lock(&lock);
	n_answers++;
	last_unique = unique;
	last_err = err;
	last_written = written;
	pthread_mutex_unlock(&lock);
}

static int answers(void)
{
	int n;

	pthread_mutex_lock(&lock);
	n = n_answers;
	pthread_mutex_unlock(&lock);
	return n;
}

static void sleep_ms(long ms)
{
	nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

/* Wait for the @n-th answer; how long it took. */
static uint64_t await(int n)
{
	uint64_t start = now_ms();

	while (answers() < n && now_ms() - start < LONG_MS)
		sleep_ms(5);
	assert_int_equal(answers(), n);
	return now_ms() - start;
}

static void write_proc(const char *name, const char *text)
{
	char path[128], temp[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%d/%s", proc, TID, name);
	snprintf(temp, sizeof(temp), "%s/new", proc);
	f = fopen(temp, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(rename(temp, path), 0);
}

static void thread_has(uint64_t pnd, uint64_t caught)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "Name:\tx\nSigPnd:\t%016llx\nShdPnd:\t%016x\nSigBlk:\t%016x\n"
		 "SigIgn:\t%016x\nSigCgt:\t%016llx\n",
		 (unsigned long long)pnd, 0, 0, 0,
		 (unsigned long long)caught);
	write_proc("status", text);
}

static int setup(void **state)
{
	char path[128];

	(void)state;
	strcpy(proc + strlen(proc) - 6, "XXXXXX");
	assert_non_null(mkdtemp(proc));
	snprintf(path, sizeof(path), "%s/%d", proc, TID);
	assert_int_equal(mkdir(path, 0700), 0);
	thread_has(0, 0);
	write_proc("stat", "77 (x) S 1");
	n_answers = 0;
	return pending_new(&p, proc, answer, NULL);
}

static int teardown(void **state)
{
	char path[128];

	(void)state;
	pending_free(p);
	snprintf(path, sizeof(path), "%s/%d/status", proc, TID);
	unlink(path);
	snprintf(path, sizeof(path), "%s/%d/stat", proc, TID);
	unlink(path);
	snprintf(path, sizeof(path), "%s/%d", proc, TID);
	rmdir(path);
	return rmdir(proc);
}

/* Its handler runs. */
static void begun(uint32_t opcode, uint64_t unique, uint32_t tid)
{
	struct fuse_in_header h = { .len = sizeof(h), .opcode = opcode,
				    .unique = unique, .pid = tid };

	pending_seen(p, &h, sizeof(h));
}

static void request(uint32_t opcode, uint64_t unique, uint32_t tid)
{
	begun(opcode, unique, tid);
	pending_handled(p);
}

static void write_request(uint64_t unique, uint32_t flags, uint32_t how)
{
	struct {
		struct fuse_in_header h;
		struct fuse_write_in w;
	} in = { .h = { .opcode = FUSE_WRITE, .unique = unique, .pid = TID },
		 .w = { .size = 4096, .flags = flags, .write_flags = how } };

	pending_seen(p, &in, sizeof(in));
	pending_handled(p);
}

static void interrupt(uint64_t unique)
{
	struct {
		struct fuse_in_header h;
		struct fuse_interrupt_in i;
	} in = { .h = { .opcode = FUSE_INTERRUPT, .unique = unique | 1 },
		 .i.unique = unique };

	pending_seen(p, &in, sizeof(in));
}

#define BIT(sig) (UINT64_C(1) << ((sig) - 1))

static void test_count(void **state)
{
	(void)state;
	for (uint64_t u = 2; u <= 2000; u += 2)
		request(FUSE_GETATTR, u, TID);
	request(FUSE_FORGET, 3000, TID);
	request(FUSE_RELEASE, 3002, TID);
	request(FUSE_INIT, 3004, TID);
	request(FUSE_SETLKW, 3006, TID);
	write_request(3008, 0, FUSE_WRITE_CACHE);
	assert_int_equal(pending_count(p), 1000);
	for (uint64_t u = 2; u <= 2000; u += 2)
		pending_answered(p, u);
	pending_answered(p, 2);
	assert_int_equal(pending_count(p), 0);
	assert_int_equal(answers(), 0);
}

static void test_killed_soon(void **state)
{
	(void)state;
	thread_has(BIT(SIGKILL), 0);
	request(FUSE_LOOKUP, 10, TID);
	request(FUSE_LOOKUP, 12, TID);	/* nobody interrupts it */
	interrupt(10);
	assert_in_range(await(1), SIGNALS_KILL_MS, SIGNALS_STOP_MS + 2000);
	assert_int_equal(last_unique, 10);
	assert_int_equal(last_err, -EINTR);
	assert_int_equal(pending_count(p), 1);
	sleep_ms(QUIET_MS);
	assert_int_equal(answers(), 1);
}

static void test_caught_later(void **state)
{
	(void)state;
	thread_has(BIT(SIGINT), BIT(SIGINT));
	request(FUSE_OPEN, 10, TID);
	interrupt(10);
	assert_in_range(await(1), SIGNALS_STOP_MS, SIGNALS_STOP_MS + 3000);
	assert_int_equal(last_err, -EINTR);
}

/* The kernel tells of the first signal only: the next is seen all the same. */
static void test_second_signal(void **state)
{
	(void)state;
	thread_has(BIT(SIGCHLD), BIT(SIGCHLD));
	request(FUSE_OPEN, 10, TID);
	interrupt(10);
	sleep_ms(QUIET_MS);
	assert_int_equal(answers(), 0);
	thread_has(BIT(SIGCHLD) | BIT(SIGINT), BIT(SIGCHLD));
	await(1);
}

/* The signal was handled by another thread meanwhile. */
static void test_signal_gone(void **state)
{
	(void)state;
	thread_has(BIT(SIGINT), BIT(SIGINT));
	request(FUSE_OPEN, 10, TID);
	interrupt(10);
	sleep_ms(200);
	thread_has(0, BIT(SIGINT));
	sleep_ms(QUIET_MS);
	assert_int_equal(answers(), 0);
}

static void test_answered_first(void **state)
{
	(void)state;
	thread_has(BIT(SIGKILL), 0);
	request(FUSE_OPEN, 10, TID);
	interrupt(10);
	pending_answered(p, 10);
	sleep_ms(QUIET_MS);
	assert_int_equal(answers(), 0);
}

/* Another worker reads the interruption first. */
static void test_early(void **state)
{
	(void)state;
	thread_has(BIT(SIGKILL), 0);
	interrupt(10);
	assert_int_equal(pending_count(p), 0);
	request(FUSE_OPEN, 10, TID);
	assert_int_equal(pending_count(p), 1);
	await(1);
	/* of what was answered just before: forgotten */
	interrupt(12);
	sleep_ms(PENDING_EARLY_MS + 4 * PENDING_TICK_MS);
	request(FUSE_OPEN, 12, TID);
	sleep_ms(QUIET_MS);
	assert_int_equal(answers(), 1);
}

static void test_handler_runs(void **state)
{
	(void)state;
	thread_has(BIT(SIGKILL), 0);
	begun(FUSE_READ, 10, TID);
	interrupt(10);
	sleep_ms(QUIET_MS);
	assert_int_equal(answers(), 0);
	pending_handled(p);
	await(1);
}

static void test_hidden(void **state)
{
	(void)state;
	request(FUSE_OPEN, 10, 0);	/* of another pid namespace */
	interrupt(10);
	assert_in_range(await(1), SIGNALS_STOP_MS, SIGNALS_STOP_MS + 3000);
	request(FUSE_OPEN, 12, TID + 1);
	interrupt(12);
	await(2);
}

static void test_writes(void **state)
{
	(void)state;
	thread_has(BIT(SIGINT), BIT(SIGINT));
	write_request(10, O_WRONLY, 0);
	interrupt(10);
	await(1);
	assert_int_equal(last_err, -EINTR);
	write_request(12, O_WRONLY | O_APPEND, 0);
	interrupt(12);
	await(2);
	assert_int_equal(last_err, 0);
	assert_int_equal(last_written, 4096);
	thread_has(BIT(SIGKILL), 0);
	write_request(14, O_WRONLY | O_APPEND, 0);
	interrupt(14);
	await(3);
	assert_int_equal(last_err, -EINTR);
}

static void stat_says(unsigned flags, unsigned code)
{
	char line[512];
	int n = snprintf(line, sizeof(line), "77 (x) S 1 2 3 4 5 %u", flags);

	for (int i = 10; i < 52; i++)
		n += snprintf(line + n, sizeof(line) - (size_t)n, " 0");
	snprintf(line + n, sizeof(line) - (size_t)n, " %u\n", code);
	write_proc("stat", line);
}

/* Nobody interrupts the closes of a process that was killed. */
static void test_close_by_the_dead(void **state)
{
	(void)state;
	stat_says(4, 0);
	request(FUSE_FLUSH, 10, TID);
	sleep_ms(QUIET_MS);
	assert_int_equal(answers(), 0);	/* exit(0) waits */
	stat_says(4, SIGINT);
	await(1);
	assert_int_equal(last_unique, 10);
	request(FUSE_GETATTR, 12, TID);
	sleep_ms(QUIET_MS);
	assert_int_equal(answers(), 1);
}

static void test_short(void **state)
{
	struct fuse_in_header h = { .opcode = FUSE_WRITE, .unique = 2 };

	(void)state;
	for (size_t n = 0; n <= sizeof(h); n++)
		pending_seen(p, &h, n);
	h.opcode = FUSE_INTERRUPT;
	pending_seen(p, &h, sizeof(h));
	assert_int_equal(pending_count(p), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_count),	       T(test_killed_soon),
		T(test_caught_later),  T(test_second_signal),
		T(test_signal_gone),   T(test_answered_first),
		T(test_early),	       T(test_handler_runs),
		T(test_hidden),	       T(test_writes),
		T(test_close_by_the_dead), T(test_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
