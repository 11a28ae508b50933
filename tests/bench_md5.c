/*
 * bench_md5 -- MD5 throughput of each engine on one core, beside OpenSSL's.
 *
 *   bench_md5              sixteen buffers of 512 KiB, then other sizes
 *   bench_md5 --lanes      fewer buffers than lanes: where an engine begins to
 *                          gain over OpenSSL (engines[].least in net/md5.c)
 *
 * Wanted: 4 times OpenSSL with AVX-512, twice with AVX2.
 */
#include "md5.h"

#include <sched.h>

#include "bench.h"

enum { LARGEST = 1 << 20 };

static const struct {
	enum md5_engine engine;
	const char *name;
	double wanted;		/* times OpenSSL */
} engines[] = {
	{ MD5_SCALAR, "OpenSSL", 0 },
	{ MD5_AVX2, "AVX2", 2 },
	{ MD5_AVX512, "AVX-512", 4 },
};

static uint8_t *bufs[MD5_BATCH];

struct batch {
	enum md5_engine engine;
	size_t n, len;
};

/* In MB. */
static double hash(void *arg)
{
	const struct batch *b = arg;
	struct md5_job jobs[MD5_BATCH];

	for (size_t i = 0; i < b->n; i++)
		jobs[i] = (struct md5_job){ .data = bufs[i], .len = b->len };
	bench_must(!md5_many_with(b->engine, jobs, b->n), "MD5");
	return (double)(b->n * b->len) / 1e6;
}

/* 0: this processor cannot. */
static double measure(enum md5_engine e, size_t n, size_t len)
{
	struct md5_job one = { .data = bufs[0], .len = 1 };
	struct batch b = { e, n, len };

	return md5_many_with(e, &one, 1) ? 0 : bench_rate(hash, &b);
}

static void rows(size_t n, size_t len, int judge)
{
	double plain = measure(MD5_SCALAR, n, len), v;
	char what[64], of[64], size[16];

	if (len >= 1024)
		snprintf(size, sizeof(size), "%zu KiB", len >> 10);
	else
		snprintf(size, sizeof(size), "%zu B", len);
	for (size_t i = 0; i < sizeof(engines) / sizeof(*engines); i++) {
		v = i ? measure(engines[i].engine, n, len) : plain;
		snprintf(what, sizeof(what), "md5: %zu x %s, %s", n, size,
			 engines[i].name);
		snprintf(of, sizeof(of), "OpenSSL");
		if (judge && i)
			snprintf(of, sizeof(of), "(%s %.0f) OpenSSL",
				 v >= engines[i].wanted * plain ? "wanted:"
				 : "TOO SLOW, wanted:", engines[i].wanted);
		if (v > 0)
			bench_row(what, v, "MB/s", i ? plain : 0, of);
		else
			printf("%-46s %12s\n", what, "not here");
	}
}

int main(int argc, char **argv)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);
	for (int i = 0; i < MD5_BATCH; i++) {
		bufs[i] = malloc(LARGEST);
		bench_must(bufs[i] != NULL, "malloc");
		memset(bufs[i], i, LARGEST);
	}
	if (argc > 1 && !strcmp(argv[1], "--lanes")) {
		for (size_t n = 1; n <= 8; n++) {
			rows(n, 256, 0);
			rows(n, 512 << 10, 0);
		}
		return 0;
	}
	rows(MD5_BATCH, 512 << 10, 1);
	rows(MD5_BATCH, 16 << 10, 0);
	rows(MD5_BATCH, 256, 0);
	return 0;
}
