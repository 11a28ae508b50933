/*
 * bench_md5 -- MD5 throughput of each engine on one core, MB/s.
 *
 *   bench_md5              sixteen buffers of 512 KiB, then other sizes
 *   bench_md5 --lanes      fewer buffers than lanes: where an engine begins to
 *                          gain over OpenSSL (engines[].least in net/md5.c)
 */
#include "md5.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LARGEST = 1 << 20, ROUND_US = 200000, ROUNDS = 5 };

static const enum md5_engine engines[] = { MD5_SCALAR, MD5_AVX2, MD5_AVX512 };
static uint8_t *bufs[MD5_BATCH];

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The best of a few rounds, in MB/s; 0 when the engine is not there. */
static double measure(enum md5_engine e, size_t n, size_t len)
{
	struct md5_job jobs[MD5_BATCH];
	double best = 0, began, took;
	size_t times;

	for (size_t i = 0; i < n; i++)
		jobs[i] = (struct md5_job){ .data = bufs[i], .len = len };
	for (int round = 0; round < ROUNDS; round++) {
		times = 0;
		began = now();
		do {
			if (md5_many_with(e, jobs, n))
				return 0;
			times++;
			took = now() - began;
		} while (took < ROUND_US / 1e6);
		if ((double)(times * n * len) / took / 1e6 > best)
			best = (double)(times * n * len) / took / 1e6;
	}
	return best;
}

static void line(size_t n, size_t len)
{
	printf("%2zu x %7zu B:", n, len);
	for (size_t e = 0; e < 3; e++)
		printf(" %8.0f", measure(engines[e], n, len));
	printf("\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static const size_t sizes[] = { 64, 1024, 4096, 65536, LARGEST };
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);
	for (int i = 0; i < MD5_BATCH; i++) {
		bufs[i] = malloc(LARGEST);
		if (!bufs[i])
			return 1;
		memset(bufs[i], i, LARGEST);
	}
	printf("MB/s, one core        openssl     avx2   avx512   (auto: %s)\n",
	       md5_engine_name());
	if (argc > 1 && !strcmp(argv[1], "--lanes")) {
		for (size_t n = 1; n <= 8; n++) {
			line(n, 256);
			line(n, 512 << 10);
		}
		return 0;
	}
	line(MD5_BATCH, 512 << 10);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		line(MD5_BATCH, sizes[i]);
	return 0;
}
