/*
 * peers -- the other members of the swarm, and the connections to them.
 *
 * A directory of the live peers by number, as the tracker last told it, and
 * for each up to one connection on every bulk loop, made when first needed,
 * from our own address, to whoever proves to have the peer's id.
 *
 * Failure: a connection that cannot be made ends its calls with the cause
 * (-ECONNREFUSED, -ETIMEDOUT, -EACCES, ...), and calls within the next
 * backoff (50 ms .. 2 s) end at once with the same cause.  One that the tracker
 * cannot connect to counts as away unless a connection to it is up: that is
 * tried now and then, without anybody waiting for it.  One from which not a
 * byte has come for PEERS_MUTE_MS, though it was asked for some, is mute: its
 * cable may have been pulled, or it is frozen; its calls go on.  A peer that the
 * tracker no longer lists as alive has its connections closed; a call to it
 * or to a number never heard of gives -EHOSTUNREACH.
 *
 * Threads: any; done runs on a bulk loop, or inside peers_call().
 */
#ifndef PSPFS_PEERS_H
#define PSPFS_PEERS_H

#include "msg.h"
#include "rpc.h"

#define PEERS_MUTE_MS 500
#define PEERS_PROBE_MS 500

struct peers;

int peers_new(struct peers **out, struct loop *const *loops, int n_loops,
	      const struct rpc_self *self, const struct addr *our_addr);
/* Ends all calls (-ECANCELED) and refuses new ones; waits for that. */
void peers_close(struct peers *ps);
void peers_free(struct peers *ps);	/* after peers_close() */

/* The list as the tracker pushed it: whole. */
void peers_update(struct peers *ps, const struct m_peer *list, uint32_t n);

/* How a peer is doing, for choosing among several. */
struct peers_load {
	int alive;
	int away;		/* in backoff: a call would fail at once */
	int mute;		/* it was asked, and says nothing */
	uint64_t outstanding;	/* bytes asked of it and not yet answered */
	uint32_t usual_ms;	/* a smoothed time of answers; 0: none yet */
	uint8_t bad;		/* bad digests it gave (peers_blame) */
};

void peers_load(struct peers *ps, uint32_t num, struct peers_load *out);
int peers_alive(struct peers *ps, uint32_t num);
/* now_ms() when @num last gave a sign of life; 0: none yet; now, if its calls
 * end by themselves.  If that is PEERS_PROBE_MS ago it is asked for one: ask
 * again a little later. */
uint64_t peers_life_ms(struct peers *ps, uint32_t num);
/* It gave a bad digest. */
void peers_blame(struct peers *ps, uint32_t num);
uint32_t peers_number(struct peers *ps, uint64_t id);	/* 0: unknown */
/* "127.0.0.12:3457", or "peer 7" when it is not known; returns @out. */
char *peers_name(struct peers *ps, uint32_t num, char out[ADDR_TEXT_MAX]);

/* Did the connection break under a call, rather than refuse it?  A call made
 * now goes over a new one. */
int peers_broke(int err, const struct rpc_answer *a);
/* As rpc_call().  @bytes: about how much it moves, both ways. */
void peers_call(struct peers *ps, uint32_t num, uint16_t type, uint16_t flags,
		struct wr *body, struct buf *bulk, uint32_t bytes,
		uint32_t timeout_ms, rpc_done done, void *arg);

#endif
