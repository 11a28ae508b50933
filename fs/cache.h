/*
 * cache -- verified chunks in memory, least recently used out first.
 *
 * Only bytes whose MD5 was checked go in, and the MD5 stands in the 16 bytes
 * behind them: data[len .. len+16), inside cap.  So a chunk can be sent to
 * another peer from here without hashing or copying.
 * Bounded: the sum of the buffers' capacities stays at most the limit given;
 * and the cache makes room for what is under way (dirty, coming in, being
 * sent): together with that, by buf_in_use(), at most the total.
 * Threads: any.  Memory: the cache holds a reference on each buf.
 */
#ifndef PSPFS_CACHE_H
#define PSPFS_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"

struct cache;

/* @total_bytes: less than the limit means as much. */
int cache_new(struct cache **out, size_t limit_bytes, size_t total_bytes);
void cache_free(struct cache *c);
/* A new reference, or NULL.  Counts as use. */
struct buf *cache_get(struct cache *c, uint64_t chunk);
/* Takes no reference from the caller (it makes its own). */
void cache_put(struct cache *c, uint64_t chunk, struct buf *b);
void cache_drop(struct cache *c, uint64_t chunk);
/* More is under way than there was: make room. */
void cache_trim(struct cache *c);
size_t cache_bytes(struct cache *c);

#endif
