/*
 * counters -- what happened, counted; shown by `pspfs status`.
 *
 * One set a process, each an atomic that any thread adds to.
 */
#ifndef PSPFS_COUNTERS_H
#define PSPFS_COUNTERS_H

#include <stdint.h>

/* COUNTER(NAME, number on the wire, "json name", "for people") */
#define COUNTERS                                                            \
	COUNTER(CHUNKS_SENT, 1, "chunks_sent", "chunks sent")                \
	COUNTER(CHUNKS_RECEIVED, 2, "chunks_received", "chunks received")    \
	COUNTER(BYTES_SENT, 3, "chunk_bytes_sent", "bytes of chunks sent")   \
	COUNTER(BYTES_RECEIVED, 4, "chunk_bytes_received",                   \
		"bytes of chunks received")                                  \
	COUNTER(MD5_CHECKED, 5, "md5_checked", "chunks MD5-checked")         \
	COUNTER(MD5_BYTES, 6, "md5_bytes", "bytes MD5-checked")              \
	COUNTER(MD5_US, 7, "md5_us", "time in MD5, us")                      \
	COUNTER(CORRUPT, 8, "chunks_corrupt", "corrupt chunks met")          \
	COUNTER(RESENT, 9, "chunks_resent", "chunks sent again")             \
	COUNTER(REFETCHED, 10, "chunks_refetched", "chunks fetched again")   \
	COUNTER(HANDSHAKES, 11, "handshakes", "TLS handshakes")              \
	COUNTER(HANDSHAKE_US, 12, "handshake_us", "time in handshakes, us")  \
	COUNTER(HANDSHAKE_FAILED, 13, "handshakes_failed",                   \
		"handshakes that failed")                                    \
	COUNTER(LOOKUPS, 14, "lookups", "look-ups of who holds a chunk")     \
	COUNTER(COMMITS, 15, "commits", "commits")                           \
	COUNTER(COMPACTIONS, 16, "compactions", "slots compacted")           \
	COUNTER(CACHE_HITS, 17, "cache_hits", "reads from the memory cache") \
	COUNTER(STORE_HITS, 18, "store_hits", "reads from the local store")  \
	COUNTER(PEER_FETCHES, 19, "peer_fetches", "reads from other peers")  \
	COUNTER(QUARANTINED, 20, "chunks_quarantined",                       \
		"chunks put in quarantine")                                  \
	COUNTER(EVICTED, 21, "chunks_evicted", "cached copies evicted")      \
	COUNTER(RPCS, 22, "requests", "requests to the tracker")             \
	COUNTER(RETRIES, 23, "request_retries", "requests sent again")       \
	COUNTER(REVOKES, 24, "leases_revoked", "leases revoked")             \
	COUNTER(DGRAMS_BAD, 25, "datagrams_refused", "datagrams refused")    \
	COUNTER(BATCHES, 26, "batches", "database transactions")             \
	COUNTER(DELETED, 27, "chunks_deleted", "chunks deleted as garbage")  \
	COUNTER(COPIED, 28, "chunks_copied", "chunks copied by repair")      \
	COUNTER(RELAY_WANTS, 29, "relay_wants",                              \
		"chunks asked of the tracker")                               \
	COUNTER(RELAY_FETCHES, 30, "relay_fetches",                          \
		"chunks that came through the tracker")                      \
	COUNTER(RELAY_FOUND, 31, "relay_found",                              \
		"chunks given to the tracker")                               \
	COUNTER(RELAY_RESENT, 32, "relay_retransmissions",                   \
		"datagrams sent again (retransmissions)")                    \
	COUNTER(RELAY_BY_TCP, 33, "relay_by_tcp",                            \
		"relay requests by TCP after lost datagrams")                \
	COUNTER(RELAY_REQUESTS, 34, "relay_requests",                        \
		"requests at the relay")                                     \
	COUNTER(RELAY_HITS, 35, "relay_hits", "hits in its cache")           \
	COUNTER(RELAY_MISSES, 36, "relay_misses", "misses")                  \
	COUNTER(RELAY_COALESCED, 37, "relay_coalesced",                      \
		"misses for what was sought already")                        \
	COUNTER(RELAY_DIRECTED, 38, "relay_directed",                        \
		"chunks asked of one holder")                                \
	COUNTER(RELAY_BROADCASTS, 39, "relay_broadcasts",                    \
		"broadcasts: chunks asked of every peer")                    \
	COUNTER(RELAY_DUPLICATES, 40, "relay_duplicates",                    \
		"duplicate answers dropped")                                 \
	COUNTER(RELAY_NOWHERE, 41, "relay_nowhere",                          \
		"chunks that nobody gave")                                   \
	COUNTER(RELAY_EVICTED, 42, "relay_evicted",                          \
		"chunks that left the relay's cache")                        \
	COUNTER(RELAY_BYTES_IN, 43, "relay_bytes_in",                        \
		"bytes of chunks into the relay")                            \
	COUNTER(RELAY_BYTES_OUT, 44, "relay_bytes_out",                      \
		"bytes of chunks out of the relay")                          \
	COUNTER(STRANGERS_AWAY, 45, "strangers_turned_away",                 \
		"strangers turned away, there being too many")               \
	COUNTER(DGRAMS_FORGED, 46, "datagrams_forged",                       \
		"datagrams not made with the key")                           \
	COUNTER(DGRAMS_REPLAYED, 47, "datagrams_replayed",                   \
		"datagrams seen before")                                     \
	COUNTER(FRAMES_BAD, 48, "connections_broken_off",                    \
		"connections broken off for what came on them")              \
	COUNTER(REQUESTS_BAD, 49, "requests_refused",                        \
		"requests that could not be read")                           \
	COUNTER(MEMBERS_AWAY, 50, "members_turned_away",                     \
		"connections turned away, their member having enough")

enum counter_id {
#define COUNTER(name, num, json, text) CNT_##name = num,
	COUNTERS
#undef COUNTER
	CNT_MAX = 64
};

void counter_add(enum counter_id c, uint64_t n);
uint64_t counter_get(enum counter_id c);
const char *counter_json(unsigned c);	/* NULL: unknown number */
const char *counter_text(unsigned c);

#endif
