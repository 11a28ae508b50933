/*
 * bench -- the rows of `make bench`: what, how much, and of which ceiling.
 *
 *   store: put, 512 KiB         2,805 MB/s   1.09 x write+rename's 2,568
 *
 * tests/bench.py prints the same rows, for what it measures itself.
 */
#ifndef PSPFS_BENCH_H
#define PSPFS_BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define BENCH_S 0.4		/* a measurement takes so long */

static inline double bench_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Processor time of this process, all threads. */
static inline double bench_cpu(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
	       (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static inline void bench_must(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "bench: %s failed\n", what);
	exit(1);
}

/* 12345 as "12,345"; below 100 with a digit more. */
static inline const char *bench_digits(double v, char out[32])
{
	char plain[32];
	size_t n, at = 0;

	if (v < 100) {
		snprintf(out, 32, "%.1f", v);
		return out;
	}
	n = (size_t)snprintf(plain, sizeof(plain), "%.0f", v);
	for (size_t i = 0; i < n && at < 30; i++) {
		if (i && (n - i) % 3 == 0)
			out[at++] = ',';
		out[at++] = plain[i];
	}
	out[at] = 0;
	return out;
}

/* @ceiling 0: there is none; else it is called @of. */
static inline void bench_row(const char *what, double value, const char *unit,
			     double ceiling, const char *of)
{
	char a[32], b[32];

	printf("%-46s %12s ", what, bench_digits(value, a));
	if (ceiling > 0)
		printf("%-8s %5.2f x %s %s\n", unit, value / ceiling, of,
		       bench_digits(ceiling, b));
	else
		printf("%s\n", unit);
	fflush(stdout);
}

/* How often a second @fn does what it returns the number of. */
static inline double bench_rate(double (*fn)(void *arg), void *arg)
{
	double best = 0, began, took, n;

	for (int round = 0; round < 3; round++) {
		n = 0;
		began = bench_now();
		do {
			n += fn(arg);
			took = bench_now() - began;
		} while (took < BENCH_S / 2);
		if (n / took > best)
			best = n / took;
	}
	return best;
}

#endif
