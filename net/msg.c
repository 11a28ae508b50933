/*
 * msg -- see msg.h.
 *
 * msg.def is included here four times: to compute how small and how large a
 * record can be, to encode, to decode, and to name the types.  A record is
 * preceded by its length (u16), so that a reader can step over fields that
 * it does not know; a list by its count (u32).
 */
#include "msg.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

struct str str_of(const char *z)
{
	return (struct str){ z, (uint32_t)strlen(z) };
}

int str_eq(struct str a, struct str b)
{
	return a.len == b.len && (!a.len || !memcmp(a.p, b.p, a.len));
}

/* ---------------------------------------------------------------- sizes */

/* MIN_name: the least bytes that a record or message takes on the wire. */
#define U8(f) +1
#define U16(f) +2
#define U32(f) +4
#define U64(f) +8
#define I64(f) +8
#define MD5(f) +MD5_LEN
#define STR(f, max) +4
#define REC(type, f) +MIN_##type
#define LIST(type, f, max) +4
#define LIST_U32(f, max) +4
#define LIST_U64(f, max) +4
#define REC_BEGIN(name) enum { MIN_##name = 2
#define REC_END(name) };
#define MSG_BEGIN(name, type) enum { MIN_##name = 0
#define MSG_END(name) };
#include "msg.def"
#include "msg_undef.h"

/* MAX_name: the most; a record's length must fit its prefix. */
#define U8(f) +1
#define U16(f) +2
#define U32(f) +4
#define U64(f) +8
#define I64(f) +8
#define MD5(f) +MD5_LEN
#define STR(f, max) +4 + (max)
#define REC(type, f) +MAX_##type
#define LIST(type, f, max) +4 + (max) * MAX_##type
#define LIST_U32(f, max) +4 + (max) * 4
#define LIST_U64(f, max) +4 + (max) * 8
#define REC_BEGIN(name) enum { MAX_##name = 2
#define REC_END(name) }; \
	_Static_assert(MAX_##name - 2 <= UINT16_MAX, #name " is too large");
#define MSG_BEGIN(name, type) enum { MAX_##name = 0
#define MSG_END(name) };
#include "msg.def"
#include "msg_undef.h"

/* --------------------------------------------------------------- encode */

static void put_str(struct wr *w, struct str s, uint32_t max)
{
	if (s.len > max && !w->err)
		w->err = -EMSGSIZE;
	wr_u32(w, s.len);
	wr_bytes(w, s.p, s.len);
}

/* Writes the count; returns how many elements are to follow. */
static uint32_t put_count(struct wr *w, uint32_t n, uint32_t max)
{
	if (n > max && !w->err)
		w->err = -EMSGSIZE;
	wr_u32(w, n);
	return w->err ? 0 : n;
}

static size_t put_record(struct wr *w)
{
	size_t at = w->len;

	wr_u16(w, 0);
	return at;
}

static void end_record(struct wr *w, size_t at)
{
	if (w->err)
		return;
	assert(w->len - at - 2 <= UINT16_MAX);
	wr_patch_u16(w, at, (uint16_t)(w->len - at - 2));
}

#define PUT_EACH(f, max, put)                                                 \
	for (uint32_t i = 0, n = put_count(w, m->n_##f, max); i < n; i++)      \
		put;
#define U8(f) wr_u8(w, m->f);
#define U16(f) wr_u16(w, m->f);
#define U32(f) wr_u32(w, m->f);
#define U64(f) wr_u64(w, m->f);
#define I64(f) wr_u64(w, (uint64_t)m->f);
#define MD5(f) wr_bytes(w, m->f, MD5_LEN);
#define STR(f, max) put_str(w, m->f, max);
#define REC(type, f) put_##type(w, &m->f);
#define LIST(type, f, max) PUT_EACH(f, max, put_##type(w, &m->f[i]))
#define LIST_U32(f, max) PUT_EACH(f, max, wr_u32(w, m->f[i]))
#define LIST_U64(f, max) PUT_EACH(f, max, wr_u64(w, m->f[i]))
#define REC_BEGIN(name)                                                       \
	static void put_##name(struct wr *w, const struct m_##name *m)        \
	{                                                                     \
		size_t at = put_record(w);
#define REC_END(name)                                                         \
		end_record(w, at);                                            \
	}
#define MSG_BEGIN(name, type)                                                 \
	int m_##name##_encode(struct wr *w, const struct m_##name *m)         \
	{
#define MSG_END(name)                                                         \
		return w->err;                                                \
	}
#include "msg.def"
#include "msg_undef.h"

/* --------------------------------------------------------------- decode */

static void get_str(struct rd *r, struct str *s, uint32_t max)
{
	uint32_t n = rd_u32(r);

	if (n > max && !r->bad)
		r->bad = -EBADMSG;
	s->p = (const char *)rd_bytes(r, n);
	s->len = s->p ? n : 0;
}

static void get_md5(struct rd *r, uint8_t out[MD5_LEN])
{
	const uint8_t *p = rd_bytes(r, MD5_LEN);

	if (p)
		memcpy(out, p, MD5_LEN);
}

/* The record that starts here as a reader of its own; @r is moved past it. */
static struct rd get_record(struct rd *r)
{
	struct rd in;
	uint16_t n = rd_u16(r);
	const uint8_t *p = rd_bytes(r, n);

	rd_init(&in, p, p ? n : 0);
	in.bad = r->bad;
	return in;
}

/*
 * Reads the count of a list and allocates its elements, @size bytes each in
 * memory and at least @least on the wire.  The count is believed only as far
 * as there are bytes for it: memory is a small multiple of what was received.
 */
static void *get_list(struct rd *r, struct arena *a, uint32_t *count,
		      uint32_t max, size_t least, size_t size)
{
	uint32_t n = rd_u32(r);
	void *list;

	if (!r->bad && (n > max || n > rd_left(r) / least))
		r->bad = -EBADMSG;
	if (r->bad || !n)
		return NULL;
	list = arena_alloc(a, n * size);
	if (!list) {
		r->bad = -ENOMEM;
		return NULL;
	}
	*count = n;
	return list;
}

#define GET_EACH(f, max, least, get)                                          \
	m->f = get_list(r, a, &m->n_##f, max, least, sizeof(*m->f));          \
	for (uint32_t i = 0; i < m->n_##f && !r->bad; i++)                    \
		get;
#define U8(f) m->f = rd_u8(r);
#define U16(f) m->f = rd_u16(r);
#define U32(f) m->f = rd_u32(r);
#define U64(f) m->f = rd_u64(r);
#define I64(f) m->f = (int64_t)rd_u64(r);
#define MD5(f) get_md5(r, m->f);
#define STR(f, max) get_str(r, &m->f, max);
#define REC(type, f) get_##type(r, a, &m->f);
#define LIST(type, f, max)                                                    \
	GET_EACH(f, max, MIN_##type, get_##type(r, a, &m->f[i]))
#define LIST_U32(f, max) GET_EACH(f, max, 4, m->f[i] = rd_u32(r))
#define LIST_U64(f, max) GET_EACH(f, max, 8, m->f[i] = rd_u64(r))
#define REC_BEGIN(name)                                                       \
	static void get_##name(struct rd *outer,                              \
			       __attribute__((unused)) struct arena *a,       \
			       struct m_##name *m)                            \
	{                                                                     \
		struct rd in = get_record(outer), *r = &in;
#define REC_END(name)                                                         \
		outer->bad = in.bad;                                          \
	}
#define MSG_BEGIN(name, type)                                                 \
	int m_##name##_decode(struct m_##name *m,                             \
			      __attribute__((unused)) struct arena *a,        \
			      const void *body, size_t len)                   \
	{                                                                     \
		struct rd rd, *r = &rd;                                       \
                                                                              \
		rd_init(r, body, len);                                        \
		memset(m, 0, sizeof(*m));
#define MSG_END(name)                                                         \
		return r->bad;                                                \
	}
#include "msg.def"
#include "msg_undef.h"

/* ---------------------------------------------------------------- names */

const char *msg_name(uint16_t type)
{
	switch (type) {
#include "msg_nofields.h"
#define MSG_BEGIN(name, type) case M_##name: return #name;
#define MSG_END(name)
#include "msg.def"
#include "msg_undef.h"
	}
	return "?";
}
