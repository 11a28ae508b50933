/*
 * md5_avx2 -- sixteen messages as two groups of eight 32-bit lanes.
 *
 * The steps of a group wait for one another; those of the other group fill
 * the gaps.  The transposed words go through memory: there are registers
 * for the two states only.
 */
#include "md5_lanes.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx2")))
#define INLINE TARGET static inline __attribute__((always_inline))

/* x[k], lane i = word k of the 32 bytes at p[i] + off. */
INLINE void load_words(__m256i x[8], const uint8_t *const p[8], size_t off)
{
	__m256i t[8], u[8];

	/* Words 0-3 of messages i and i + 4, then words 4-7. */
#pragma GCC unroll 4
	for (int i = 0; i < 4; i++) {
		const uint8_t *lo = p[i] + off, *hi = p[i + 4] + off;

		t[i] = _mm256_loadu2_m128i((const void *)hi, (const void *)lo);
		t[i + 4] = _mm256_loadu2_m128i((const void *)(hi + 16),
					       (const void *)(lo + 16));
	}
#pragma GCC unroll 4
	for (int i = 0; i < 8; i += 2) {
		u[i] = _mm256_unpacklo_epi32(t[i], t[i + 1]);
		u[i + 1] = _mm256_unpackhi_epi32(t[i], t[i + 1]);
	}
#pragma GCC unroll 2
	for (int i = 0; i < 8; i += 4) {
		x[i] = _mm256_unpacklo_epi64(u[i], u[i + 2]);
		x[i + 1] = _mm256_unpackhi_epi64(u[i], u[i + 2]);
		x[i + 2] = _mm256_unpacklo_epi64(u[i + 1], u[i + 3]);
		x[i + 3] = _mm256_unpackhi_epi64(u[i + 1], u[i + 3]);
	}
}

/* RFC 1321's functions, in the forms with the shortest way from x. */
#define AND(x, y) _mm256_and_si256(x, y)
#define XOR(x, y) _mm256_xor_si256(x, y)
#define OR(x, y) _mm256_or_si256(x, y)
#define F(x, y, z) XOR(z, AND(x, XOR(y, z)))
#define G(x, y, z) OR(AND(x, z), _mm256_andnot_si256(z, y))
#define H(x, y, z) XOR(x, XOR(y, z))
#define I(x, y, z) XOR(y, OR(x, XOR(z, ones)))

#define ADD(x, y) _mm256_add_epi32(x, y)
#define ROL(x, s) OR(_mm256_slli_epi32(x, s), _mm256_srli_epi32(x, 32 - (s)))
#define STEP_OF(x, f, a, b, c, d, k, s, t)                                    \
	a = ADD(a, ADD(x[k], _mm256_set1_epi32((int)t)));                     \
	a = ADD(a, f(b, c, d));                                               \
	a = ADD(b, ROL(a, s));
#define STEP(f, a, b, c, d, k, s, t)                                          \
	STEP_OF(x, f, a, b, c, d, k, s, t)                                    \
	STEP_OF(y, f, a##_, b##_, c##_, d##_, k, s, t)

#define LOAD(v) _mm256_load_si256((const __m256i *)(v))
#define STORE(v, x) _mm256_store_si256((__m256i *)(v), x)

TARGET void md5_avx2_blocks(struct md5_lanes *l, size_t n)
{
	const __m256i ones = _mm256_set1_epi32(-1);
	__m256i a = LOAD(l->state[0]), a_ = LOAD(l->state[0] + 8);
	__m256i b = LOAD(l->state[1]), b_ = LOAD(l->state[1] + 8);
	__m256i c = LOAD(l->state[2]), c_ = LOAD(l->state[2] + 8);
	__m256i d = LOAD(l->state[3]), d_ = LOAD(l->state[3] + 8);

	for (size_t off = 0; off < n * 64; off += 64) {
		__m256i x[16], y[16];

		load_words(x, l->p, off);
		load_words(x + 8, l->p, off + 32);
		load_words(y, l->p + 8, off);
		load_words(y + 8, l->p + 8, off + 32);
		MD5_STEPS(STEP)
		STORE(l->state[0], a = ADD(a, LOAD(l->state[0])));
		STORE(l->state[1], b = ADD(b, LOAD(l->state[1])));
		STORE(l->state[2], c = ADD(c, LOAD(l->state[2])));
		STORE(l->state[3], d = ADD(d, LOAD(l->state[3])));
		STORE(l->state[0] + 8, a_ = ADD(a_, LOAD(l->state[0] + 8)));
		STORE(l->state[1] + 8, b_ = ADD(b_, LOAD(l->state[1] + 8)));
		STORE(l->state[2] + 8, c_ = ADD(c_, LOAD(l->state[2] + 8)));
		STORE(l->state[3] + 8, d_ = ADD(d_, LOAD(l->state[3] + 8)));
	}
}

#endif
