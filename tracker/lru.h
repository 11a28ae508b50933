/*
 * lru -- the relay's cache: chunks in memory, least recently used out first,
 * never more than its limit.
 *
 * Room is taken before the bytes are there (lru_reserve), so that what is on
 * its way in counts too; what is being sent is pinned and does not leave.
 * Nothing of a chunk is held anywhere else in the tracker.
 *
 * Counted are payloads; the MD5 behind each and the table come on top (about
 * 150 bytes a chunk).
 * Threads: one.  Pure: no I/O, no clock.
 */
#ifndef PSPFS_LRU_H
#define PSPFS_LRU_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "msg.h"

struct lru;

/* A cached chunk, as deliver wants it. */
struct lru_entry {
	uint64_t id, ino, slot;
	uint32_t pos, len;
	uint8_t md5[MD5_LEN];
	struct buf *buf;	/* payload and its MD5 */
};

int lru_new(struct lru **out, uint64_t limit_bytes);
void lru_free(struct lru *l);

/* Make room for @len bytes that will come, evicting.  0; -EAGAIN: what is in
 * the way is pinned or on its way too; -EFBIG: it will never fit. */
int lru_reserve(struct lru *l, uint32_t len);
void lru_unreserve(struct lru *l, uint32_t len);
/* @e comes into the room that was reserved for it (a reference to its buf is
 * taken); the entry, or NULL: no memory, and the reservation is given back.
 * It must not be there yet. */
struct lru_entry *lru_put(struct lru *l, const struct lru_entry *e);
/* Look, and count it as a use; or NULL. */
struct lru_entry *lru_get(struct lru *l, uint64_t id);
void lru_pin(struct lru_entry *e);
void lru_unpin(struct lru_entry *e);

uint64_t lru_bytes(const struct lru *l);	/* held and reserved */
uint64_t lru_limit(const struct lru *l);
uint64_t lru_evicted(const struct lru *l);	/* so far */

#endif
