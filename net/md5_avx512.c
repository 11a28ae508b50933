/*
 * md5_avx512 -- sixteen messages, one in each 32-bit lane.
 *
 * The four instructions of a step wait for one another (ternary logic, add,
 * rotate, add), so the 64 steps set the pace; transposing the next blocks
 * fits in the gaps.
 */
#include "md5_lanes.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f")))
#define INLINE TARGET static inline __attribute__((always_inline))

/* x[k], lane i = word k of message i's block.  In: x[i] = message i's block. */
INLINE void transpose(__m512i x[16])
{
	__m512i t[16];

#pragma GCC unroll 8
	for (int i = 0; i < 16; i += 2) {
		t[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
		t[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
	}
	/* x[i + j]: word j of each quarter, of messages i to i + 3 */
#pragma GCC unroll 4
	for (int i = 0; i < 16; i += 4) {
		x[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
		x[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
		x[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
		x[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
	}
	/* The quarters themselves: 4 x 4 of them, for each j */
#pragma GCC unroll 4
	for (int j = 0; j < 4; j++) {
		t[0] = _mm512_shuffle_i32x4(x[j], x[j + 4], 0x88);
		t[1] = _mm512_shuffle_i32x4(x[j], x[j + 4], 0xdd);
		t[2] = _mm512_shuffle_i32x4(x[j + 8], x[j + 12], 0x88);
		t[3] = _mm512_shuffle_i32x4(x[j + 8], x[j + 12], 0xdd);
		x[j] = _mm512_shuffle_i32x4(t[0], t[2], 0x88);
		x[j + 4] = _mm512_shuffle_i32x4(t[1], t[3], 0x88);
		x[j + 8] = _mm512_shuffle_i32x4(t[0], t[2], 0xdd);
		x[j + 12] = _mm512_shuffle_i32x4(t[1], t[3], 0xdd);
	}
}

/* The truth tables of RFC 1321's F, G, H and I. */
#define F(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0xca)
#define G(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0xe4)
#define H(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0x96)
#define I(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0x39)

#define ADD(x, y) _mm512_add_epi32(x, y)
#define STEP(f, a, b, c, d, k, s, t)                                          \
	a = ADD(a, ADD(x[k], _mm512_set1_epi32((int)t)));                     \
	a = ADD(b, _mm512_rol_epi32(ADD(a, f(b, c, d)), s));

TARGET void md5_avx512_blocks(struct md5_lanes *l, size_t n)
{
	__m512i a = _mm512_load_si512(l->state[0]);
	__m512i b = _mm512_load_si512(l->state[1]);
	__m512i c = _mm512_load_si512(l->state[2]);
	__m512i d = _mm512_load_si512(l->state[3]);

	for (size_t off = 0; off < n * 64; off += 64) {
		const __m512i a0 = a, b0 = b, c0 = c, d0 = d;
		__m512i x[16];

#pragma GCC unroll 16
		for (int i = 0; i < 16; i++)
			x[i] = _mm512_loadu_si512(l->p[i] + off);
		transpose(x);
		MD5_STEPS(STEP)
		a = ADD(a, a0);
		b = ADD(b, b0);
		c = ADD(c, c0);
		d = ADD(d, d0);
	}
	_mm512_store_si512(l->state[0], a);
	_mm512_store_si512(l->state[1], b);
	_mm512_store_si512(l->state[2], c);
	_mm512_store_si512(l->state[3], d);
}

#endif
