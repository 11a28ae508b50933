/*
 * codec -- integers, bytes and strings to and from the wire (big-endian).
 *
 * struct wr grows as it is written and fails stickily (wr.err); struct rd
 * reads from a fixed range and fails stickily (rd.bad): a decoder is a
 * straight list of fields ended by one check.  struct arena holds the lists
 * of decoded messages and is freed at once.
 *
 * Memory:  wr_init() owns nothing until the first write; wr_fini() frees;
 *          wr_take() hands the bytes to the caller (free()), or NULL and 0
 *          when nothing was written or w->err is set; the writer is empty.
 * Threads: one at a time for each object.
 */
#ifndef PSPFS_CODEC_H
#define PSPFS_CODEC_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define WR_MAX (16u << 20)	/* no body is ever longer */

struct wr {
	uint8_t *p;
	size_t len, cap;
	int err;		/* 0, -ENOMEM or -EMSGSIZE; sticky */
};

#define WR_INIT ((struct wr){ 0 })

void wr_init(struct wr *w);
void wr_fini(struct wr *w);
uint8_t *wr_take(struct wr *w, size_t *len);
void wr_u8(struct wr *w, uint8_t v);
void wr_u16(struct wr *w, uint16_t v);
void wr_u32(struct wr *w, uint32_t v);
void wr_u64(struct wr *w, uint64_t v);
void wr_bytes(struct wr *w, const void *p, size_t n);
/* Overwrite at @at, which must have been written already. */
void wr_patch_u16(struct wr *w, size_t at, uint16_t v);

struct rd {
	const uint8_t *p, *end;
	int bad;		/* 0 or -errno; sticky: then reads give 0 */
};

void rd_init(struct rd *r, const void *p, size_t n);
size_t rd_left(const struct rd *r);
uint8_t rd_u8(struct rd *r);
uint16_t rd_u16(struct rd *r);
uint32_t rd_u32(struct rd *r);
uint64_t rd_u64(struct rd *r);
/* A pointer to the next @n bytes, which are skipped; NULL when bad. */
const uint8_t *rd_bytes(struct rd *r, size_t n);

/* Raw big-endian access, for headers and trailers. */
void put_u16(uint8_t *p, uint16_t v);
void put_u32(uint8_t *p, uint32_t v);
void put_u64(uint8_t *p, uint64_t v);
uint16_t get_u16(const uint8_t *p);
uint32_t get_u32(const uint8_t *p);
uint64_t get_u64(const uint8_t *p);

struct arena {
	SLIST_HEAD(arena_blocks, arena_block) blocks;
	size_t total;		/* bytes handed out */
};

#define ARENA_INIT ((struct arena){ 0 })

/* @n zeroed bytes, aligned to 16; NULL when there is no memory. */
void *arena_alloc(struct arena *a, size_t n);
void arena_fini(struct arena *a);

#endif
