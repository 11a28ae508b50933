/*
 * md5 -- MD5 of one buffer, or of up to sixteen at once in SIMD lanes.
 *
 * md5_many() picks at run time: AVX-512 (16 lanes), AVX2 (8 lanes), else
 * OpenSSL one by one; also for batches too small to gain.  Buffers may have
 * different lengths.  Source: RFC 1321; one message per 32-bit lane.
 * Threads: any.
 */
#ifndef PSPFS_MD5_H
#define PSPFS_MD5_H

#include <stddef.h>
#include <stdint.h>

#define MD5_BATCH 16

struct md5_job {
	const void *data;
	size_t len;
	uint8_t md5[16];	/* out */
};

enum md5_engine { MD5_AUTO, MD5_SCALAR, MD5_AVX2, MD5_AVX512 };

void md5_one(const void *data, size_t len, uint8_t out[16]);
/* Any @n; done in batches of MD5_BATCH. */
void md5_many(struct md5_job *jobs, size_t n);
/* For tests and benchmarks: 0, or -ENOTSUP if this CPU cannot. */
int md5_many_with(enum md5_engine e, struct md5_job *jobs, size_t n);
const char *md5_engine_name(void);	/* of MD5_AUTO: "avx512", ... */

#endif
