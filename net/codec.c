/* codec -- see codec.h. */
#include "codec.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	WR_FIRST = 256,		/* the first allocation of a writer */
	ARENA_FIRST = 1024,	/* blocks double from here ... */
	ARENA_LAST = 64 << 10,	/* ... to here */
	ARENA_ALIGN = 16,
};

struct arena_block {
	SLIST_ENTRY(arena_block) link;
	size_t used, cap;
	_Alignas(ARENA_ALIGN) uint8_t data[];
};

void put_u16(uint8_t *p, uint16_t v)
{
	p[0] = v >> 8;
	p[1] = v & 0xff;
}

void put_u32(uint8_t *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, sizeof(v));
}

void put_u64(uint8_t *p, uint64_t v)
{
	v = __builtin_bswap64(v);
	memcpy(p, &v, sizeof(v));
}

uint16_t get_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

uint32_t get_u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap32(v);
}

uint64_t get_u64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap64(v);
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "put_ and get_ swap unconditionally");

void wr_init(struct wr *w)
{
	*w = WR_INIT;
}

void wr_fini(struct wr *w)
{
	free(w->p);
	*w = WR_INIT;
}

uint8_t *wr_take(struct wr *w, size_t *len)
{
	uint8_t *p = w->p;

	if (w->err) {
		free(p);
		p = NULL;
		w->len = 0;
	}
	*len = w->len;
	*w = WR_INIT;
	return p;
}

/* Room for @n bytes at the end, which count as written; NULL: w->err. */
static uint8_t *wr_more(struct wr *w, size_t n)
{
	size_t cap = w->cap ? w->cap : WR_FIRST;
	uint8_t *p;

	if (w->err)
		return NULL;
	if (n > WR_MAX - w->len) {
		w->err = -EMSGSIZE;
		return NULL;
	}
	while (cap - w->len < n)
		cap *= 2;
	if (cap != w->cap) {
		p = realloc(w->p, cap);
		if (!p) {
			w->err = -ENOMEM;
			return NULL;
		}
		w->p = p;
		w->cap = cap;
	}
	p = w->p + w->len;
	w->len += n;
	return p;
}

void wr_u8(struct wr *w, uint8_t v)
{
	uint8_t *p = wr_more(w, 1);

	if (p)
		*p = v;
}

void wr_u16(struct wr *w, uint16_t v)
{
	uint8_t *p = wr_more(w, 2);

	if (p)
		put_u16(p, v);
}

void wr_u32(struct wr *w, uint32_t v)
{
	uint8_t *p = wr_more(w, 4);

	if (p)
		put_u32(p, v);
}

void wr_u64(struct wr *w, uint64_t v)
{
	uint8_t *p = wr_more(w, 8);

	if (p)
		put_u64(p, v);
}

void wr_bytes(struct wr *w, const void *src, size_t n)
{
	uint8_t *p = wr_more(w, n);

	if (p && n)
		memcpy(p, src, n);
}

void wr_patch_u16(struct wr *w, size_t at, uint16_t v)
{
	if (w->err)
		return;
	assert(w->len >= 2 && at <= w->len - 2);
	put_u16(w->p + at, v);
}

void rd_init(struct rd *r, const void *p, size_t n)
{
	r->p = p;
	r->end = n ? r->p + n : r->p;
	r->bad = 0;
}

size_t rd_left(const struct rd *r)
{
	return r->bad ? 0 : (size_t)(r->end - r->p);
}

const uint8_t *rd_bytes(struct rd *r, size_t n)
{
	const uint8_t *p = r->p;

	if (r->bad)
		return NULL;
	if (n > (size_t)(r->end - p)) {
		r->bad = -EBADMSG;
		return NULL;
	}
	if (n)
		r->p += n;
	return p;
}

uint8_t rd_u8(struct rd *r)
{
	const uint8_t *p = rd_bytes(r, 1);

	return p ? *p : 0;
}

uint16_t rd_u16(struct rd *r)
{
	const uint8_t *p = rd_bytes(r, 2);

	return p ? get_u16(p) : 0;
}

uint32_t rd_u32(struct rd *r)
{
	const uint8_t *p = rd_bytes(r, 4);

	return p ? get_u32(p) : 0;
}

uint64_t rd_u64(struct rd *r)
{
	const uint8_t *p = rd_bytes(r, 8);

	return p ? get_u64(p) : 0;
}

/* A fresh block with room for @n, in front of the others. */
static struct arena_block *arena_grow(struct arena *a, size_t n)
{
	struct arena_block *b = SLIST_FIRST(&a->blocks);
	size_t cap = b ? b->cap * 2 : ARENA_FIRST;

	if (cap > ARENA_LAST)
		cap = ARENA_LAST;
	if (cap < n)
		cap = n;
	if (cap > SIZE_MAX - sizeof(*b))
		return NULL;
	b = calloc(1, sizeof(*b) + cap);
	if (!b)
		return NULL;
	b->cap = cap;
	SLIST_INSERT_HEAD(&a->blocks, b, link);
	return b;
}

void *arena_alloc(struct arena *a, size_t n)
{
	struct arena_block *b = SLIST_FIRST(&a->blocks);
	void *p;

	if (n > SIZE_MAX - (ARENA_ALIGN - 1))
		return NULL;
	n = (n + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
	if (!b || n > b->cap - b->used) {
		b = arena_grow(a, n);
		if (!b)
			return NULL;
	}
	p = b->data + b->used;
	b->used += n;
	a->total += n;
	return p;
}

void arena_fini(struct arena *a)
{
	struct arena_block *b;

	while ((b = SLIST_FIRST(&a->blocks))) {
		SLIST_REMOVE_HEAD(&a->blocks, link);
		free(b);
	}
	*a = ARENA_INIT;
}
