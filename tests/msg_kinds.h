/*
 * msg_kinds -- every message of msg.def behind void pointers, for tests.
 *
 * For each: fill it with random values, compare two, and encode it with an
 * encoder of the tests' own, which can also write what a correct one must not
 * or cannot yet: lists over their maximum, counts without elements, records
 * with fields that this version does not know.  Included by one .c a binary,
 * after cmocka.h.
 */
#ifndef PSPFS_TESTS_MSG_KINDS_H
#define PSPFS_TESTS_MSG_KINDS_H

#include <stdlib.h>
#include <string.h>

#include "msg.h"

static uint64_t seed;
static int all_lists_of_one;	/* fill: else of random lengths */

/* splitmix64 */
static uint64_t rnd(void)
{
	uint64_t z = seed += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

enum { LONGEST_LIST = 4, LONGEST_STR = 40 };

/* ----------------------------------------------------------------- fill */

static void *fill_list(struct arena *a, uint32_t *n, uint32_t max, size_t size)
{
	*n = (uint32_t)(rnd() % (LONGEST_LIST + 1));
	if (all_lists_of_one)
		*n = 1;
	if (*n > max)
		*n = max;
	return *n ? arena_alloc(a, *n * size) : NULL;
}

static struct str fill_str(struct arena *a, uint32_t max)
{
	uint32_t n = (uint32_t)(rnd() % (LONGEST_STR + 1));
	char *p = arena_alloc(a, LONGEST_STR);

	if (n > max)
		n = max;
	for (uint32_t i = 0; i < n; i++)
		p[i] = (char)rnd();
	return (struct str){ p, n };
}

static void fill_md5(uint8_t md5[MD5_LEN])
{
	for (int i = 0; i < MD5_LEN; i++)
		md5[i] = (uint8_t)rnd();
}

#define EACH(f, action)                                                       \
	for (uint32_t i = 0; i < m->n_##f; i++)                               \
		action;
#define U8(f) m->f = (uint8_t)rnd();
#define U16(f) m->f = (uint16_t)rnd();
#define U32(f) m->f = (uint32_t)rnd();
#define U64(f) m->f = rnd();
#define I64(f) m->f = (int64_t)rnd();
#define MD5(f) fill_md5(m->f);
#define STR(f, max) m->f = fill_str(a, max);
#define REC(type, f) fill_##type(&m->f, a);
#define LIST(type, f, max)                                                    \
	m->f = fill_list(a, &m->n_##f, max, sizeof(*m->f));                   \
	EACH(f, fill_##type(&m->f[i], a))
#define LIST_U32(f, max)                                                      \
	m->f = fill_list(a, &m->n_##f, max, sizeof(*m->f));                   \
	EACH(f, m->f[i] = (uint32_t)rnd())
#define LIST_U64(f, max)                                                      \
	m->f = fill_list(a, &m->n_##f, max, sizeof(*m->f));                   \
	EACH(f, m->f[i] = rnd())
#define REC_BEGIN(name)                                                       \
	static void fill_##name(struct m_##name *m, struct arena *a)          \
	{                                                                     \
		(void)a;
#define REC_END(name) }
#define MSG_BEGIN(name, type) REC_BEGIN(name)
#define MSG_END(name) }
#include "msg.def"
#include "msg_undef.h"

/* -------------------------------------------------------------- compare */

#define U8(f) && x->f == y->f
#define U16(f) && x->f == y->f
#define U32(f) && x->f == y->f
#define U64(f) && x->f == y->f
#define I64(f) && x->f == y->f
#define MD5(f) && !memcmp(x->f, y->f, MD5_LEN)
#define STR(f, max) && str_eq(x->f, y->f)
#define REC(type, f) && same_##type(&x->f, &y->f)
#define LIST(type, f, max)                                                    \
	&& x->n_##f == y->n_##f && ({                                         \
		uint32_t i = 0;                                               \
		while (i < x->n_##f && same_##type(&x->f[i], &y->f[i]))       \
			i++;                                                  \
		i == x->n_##f;                                                \
	})
#define LIST_U32(f, max)                                                      \
	&& x->n_##f == y->n_##f                                               \
	&& (!x->n_##f || !memcmp(x->f, y->f, x->n_##f * sizeof(*x->f)))
#define LIST_U64(f, max) LIST_U32(f, max)
#define REC_BEGIN(name)                                                       \
	static int same_##name(const struct m_##name *x,                      \
			       const struct m_##name *y)                      \
	{                                                                     \
		return 1
#define REC_END(name) ; }
#define MSG_BEGIN(name, type) REC_BEGIN(name)
#define MSG_END(name) ; }
#include "msg.def"
#include "msg_undef.h"

/* ------------------------------------------------- the tests' own encoder */

/* What the next encoding is to do wrong. */
static struct {
	unsigned extend;	/* unknown bytes at the end of each record */
	int target;		/* number of the list or string to change */
	enum { AS_IS, ALL, ONE_MORE, COUNT_OF_MAX, COUNT_HUGE } how;
	/* out */
	int n_limited;		/* lists and strings met */
	int hit;
} tweak;

/*
 * Writes the count of a list of @n, of which @max are allowed, and returns
 * how many elements are to follow, of which the first @n are real.
 */
static uint32_t raw_count(struct wr *w, uint32_t n, uint32_t max)
{
	uint32_t count = n, follow = n;

	if (tweak.n_limited++ == tweak.target) {
		tweak.hit = 1;
		switch (tweak.how) {
		case AS_IS:
			break;
		case ALL:
			count = follow = max;
			break;
		case ONE_MORE:
			count = follow = max + 1;
			break;
		case COUNT_OF_MAX:
			count = max;
			break;
		case COUNT_HUGE:
			count = UINT32_MAX;
			break;
		}
	}
	wr_u32(w, count);
	return follow;
}

static void raw_str(struct wr *w, struct str s, uint32_t max)
{
	uint32_t n = raw_count(w, s.len, max);

	wr_bytes(w, s.p, s.len);
	for (uint32_t i = s.len; i < n; i++)
		wr_u8(w, 'z');
}

#define RAW_EACH(f, max, real, more)                                          \
	for (uint32_t i = 0, n = raw_count(w, m->n_##f, max); i < n; i++) {   \
		if (i < m->n_##f)                                             \
			real;                                                 \
		else                                                          \
			more;                                                 \
	}
#define U8(f) wr_u8(w, m->f);
#define U16(f) wr_u16(w, m->f);
#define U32(f) wr_u32(w, m->f);
#define U64(f) wr_u64(w, m->f);
#define I64(f) wr_u64(w, (uint64_t)m->f);
#define MD5(f) wr_bytes(w, m->f, MD5_LEN);
#define STR(f, max) raw_str(w, m->f, max);
#define REC(type, f) raw_##type(w, &m->f);
#define LIST(type, f, max)                                                    \
	RAW_EACH(f, max, raw_##type(w, &m->f[i]),                             \
		 raw_##type(w, &(struct m_##type){ 0 }))
#define LIST_U32(f, max) RAW_EACH(f, max, wr_u32(w, m->f[i]), wr_u32(w, 5))
#define LIST_U64(f, max) RAW_EACH(f, max, wr_u64(w, m->f[i]), wr_u64(w, 5))
#define REC_BEGIN(name)                                                       \
	static void raw_##name(struct wr *w, const struct m_##name *m)        \
	{                                                                     \
		size_t at = w->len;                                           \
		wr_u16(w, 0);
#define REC_END(name)                                                         \
		for (unsigned i = 0; i < tweak.extend; i++)                   \
			wr_u8(w, 0xfe);                                       \
		wr_patch_u16(w, at, (uint16_t)(w->len - at - 2));             \
	}
#define MSG_BEGIN(name, type)                                                 \
	static void raw_##name(struct wr *w, const struct m_##name *m)        \
	{
#define MSG_END(name) }
#include "msg.def"
#include "msg_undef.h"

/* --------------------------------------------------- one entry a message */

#include "msg_nofields.h"

/* The same functions for all, behind void pointers. */
struct kind {
	const char *name;
	uint16_t type;
	size_t size;
	void (*fill)(void *m, struct arena *a);
	int (*same)(const void *x, const void *y);
	void (*raw)(struct wr *w, const void *m);
	int (*encode)(struct wr *w, const void *m);
	int (*decode)(void *m, struct arena *a, const void *body, size_t len);
};

#define MSG_BEGIN(name, type)                                                 \
	static void v_fill_##name(void *m, struct arena *a)                   \
	{                                                                     \
		fill_##name(m, a);                                            \
	}                                                                     \
	static int v_same_##name(const void *x, const void *y)                \
	{                                                                     \
		return same_##name(x, y);                                     \
	}                                                                     \
	static void v_raw_##name(struct wr *w, const void *m)                 \
	{                                                                     \
		raw_##name(w, m);                                             \
	}                                                                     \
	static int v_encode_##name(struct wr *w, const void *m)               \
	{                                                                     \
		return m_##name##_encode(w, m);                               \
	}                                                                     \
	static int v_decode_##name(void *m, struct arena *a,                  \
				   const void *body, size_t len)              \
	{                                                                     \
		return m_##name##_decode(m, a, body, len);                    \
	}
#define MSG_END(name)
#include "msg.def"
#undef MSG_BEGIN

static const struct kind kinds[] = {
#define MSG_BEGIN(name, type)                                                 \
	{ #name, type, sizeof(struct m_##name), v_fill_##name,                \
	  v_same_##name, v_raw_##name, v_encode_##name, v_decode_##name },
#include "msg.def"
#include "msg_undef.h"
};

#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

#endif
