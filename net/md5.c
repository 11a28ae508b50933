/*
 * md5 -- see md5.h.
 *
 * A batch goes through the lanes of an engine together.  A message is its
 * whole blocks in place, then one or two padded blocks in struct lane; the
 * engine runs for as long as no lane changes from one to the other or ends.
 * A lane without work repeats another's, which costs nothing.
 */
#include "md5_lanes.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "log.h"

enum { BLOCK = 64 };

struct engine {
	const char *name;
	md5_blocks_fn blocks;	/* NULL: not on this CPU */
	/* A batch gains when it has the work of this many equal messages;
	 * tests/bench_md5.c measures it. */
	size_t least;
};

/* Fixed after once. */
static EVP_MD *openssl_md5;
static struct engine engines[] = {
	[MD5_SCALAR] = { "openssl", NULL, 0 },
	[MD5_AVX2] = { "avx2", NULL, 3 },
	[MD5_AVX512] = { "avx512", NULL, 2 },
};
static enum md5_engine best = MD5_SCALAR;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void start(void)
{
	openssl_md5 = EVP_MD_fetch(NULL, "MD5", NULL);
	if (!openssl_md5) {
		log_error("this OpenSSL has no MD5 (FIPS mode?)");
		abort();
	}
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx2")) {
		engines[MD5_AVX2].blocks = md5_avx2_blocks;
		best = MD5_AVX2;
	}
	if (__builtin_cpu_supports("avx512f")) {
		engines[MD5_AVX512].blocks = md5_avx512_blocks;
		best = MD5_AVX512;
	}
#endif
}

void md5_one(const void *data, size_t len, uint8_t out[16])
{
	pthread_once(&once, start);
	if (EVP_Digest(data, len, out, NULL, openssl_md5, NULL) != 1) {
		log_error("MD5 failed: out of memory");
		abort();
	}
}

struct lane {
	struct md5_job *job;	/* NULL: done */
	size_t left;		/* blocks, of this part */
	int in_tail;
	uint8_t tail[2 * BLOCK];
	size_t tail_blocks;
};

static void put_le(uint8_t *p, uint64_t v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

/* RFC 1321 3.1-3.3: pad, append the length in bits, set the state. */
static void lane_start(struct lane *lane, struct md5_lanes *l, size_t i,
		       struct md5_job *job)
{
	static const uint32_t initial[4] = { 0x67452301, 0xefcdab89,
					     0x98badcfe, 0x10325476 };
	size_t rest = job->len % BLOCK, whole = job->len - rest;

	lane->job = job;
	lane->left = whole / BLOCK;
	lane->in_tail = 0;
	lane->tail_blocks = rest < BLOCK - 8 ? 1 : 2;
	memset(lane->tail, 0, sizeof(lane->tail));
	if (rest)
		memcpy(lane->tail, (const uint8_t *)job->data + whole, rest);
	lane->tail[rest] = 0x80;
	put_le(lane->tail + lane->tail_blocks * BLOCK - 8,
	       (uint64_t)job->len * 8, 8);
	l->p[i] = job->data;
	for (int j = 0; j < 4; j++)
		l->state[j][i] = initial[j];
}

/* Goes to the next part when one has ended; 0 when the message has. */
static int lane_turn(struct lane *lane, struct md5_lanes *l, size_t i)
{
	if (!lane->job || lane->left)
		return lane->job != NULL;
	if (!lane->in_tail) {
		lane->in_tail = 1;
		lane->left = lane->tail_blocks;
		l->p[i] = lane->tail;
		return 1;
	}
	for (int j = 0; j < 4; j++)
		put_le(lane->job->md5 + 4 * j, l->state[j][i], 4);
	lane->job = NULL;
	return 0;
}

/* Turns every lane; how many blocks all can do now, 0 when all are done. */
static size_t lanes_turn(struct lane lanes[], struct md5_lanes *l)
{
	const uint8_t *busy = NULL;
	size_t run = 0;

	for (size_t i = 0; i < MD5_BATCH; i++)
		if (lane_turn(&lanes[i], l, i)) {
			if (!busy || lanes[i].left < run)
				run = lanes[i].left;
			busy = l->p[i];
		}
	for (size_t i = 0; i < MD5_BATCH; i++)
		if (!lanes[i].job)
			l->p[i] = busy;
	return run;
}

static void run_lanes(md5_blocks_fn blocks, struct md5_job *jobs[], size_t n)
{
	struct lane lanes[MD5_BATCH] = { 0 };
	struct md5_lanes l = { 0 };
	size_t run;

	for (size_t i = 0; i < n; i++)
		lane_start(&lanes[i], &l, i, jobs[i]);
	while ((run = lanes_turn(lanes, &l))) {
		blocks(&l, run);
		for (size_t i = 0; i < MD5_BATCH; i++)
			if (lanes[i].job) {
				lanes[i].left -= run;
				l.p[i] += run * BLOCK;
			}
	}
}

static size_t blocks_of(const struct md5_job *j)
{
	return j->len / BLOCK + 1;
}

static int longest_first(const void *a, const void *b)
{
	const struct md5_job *const *x = a, *const *y = b;

	return ((*x)->len < (*y)->len) - ((*x)->len > (*y)->len);
}

/*
 * The lanes are busy for as long as the longest message.  While the batch's
 * whole work does not fill enough of them for that, the longest goes alone.
 */
static void run_batch(const struct engine *e, struct md5_job *jobs, size_t n)
{
	struct md5_job *sorted[MD5_BATCH] = { NULL };
	size_t total = 0, alone = 0;

	for (size_t i = 0; i < n; i++) {
		sorted[i] = &jobs[i];
		total += blocks_of(&jobs[i]);
	}
	qsort(sorted, n, sizeof(sorted[0]), longest_first);
	while (alone < n && total / e->least < blocks_of(sorted[alone])) {
		struct md5_job *j = sorted[alone++];

		md5_one(j->data, j->len, j->md5);
		total -= blocks_of(j);
	}
	if (alone < n)
		run_lanes(e->blocks, sorted + alone, n - alone);
}

int md5_many_with(enum md5_engine e, struct md5_job *jobs, size_t n)
{
	pthread_once(&once, start);
	if (e == MD5_AUTO)
		e = best;
	if (e != MD5_SCALAR && !engines[e].blocks)
		return -ENOTSUP;
	while (n) {
		size_t now = n < MD5_BATCH ? n : MD5_BATCH;

		if (e == MD5_SCALAR)
			for (size_t i = 0; i < now; i++)
				md5_one(jobs[i].data, jobs[i].len, jobs[i].md5);
		else
			run_batch(&engines[e], jobs, now);
		jobs += now;
		n -= now;
	}
	return 0;
}

void md5_many(struct md5_job *jobs, size_t n)
{
	md5_many_with(MD5_AUTO, jobs, n);
}

const char *md5_engine_name(void)
{
	pthread_once(&once, start);
	return engines[best].name;
}
