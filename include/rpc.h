/*
 * rpc -- requests and answers over one TLS connection, both ways.
 *
 * A connection belongs to one loop, from when ops->up is called.  Frames carry a request number,
 * so that many requests are in flight at once, in both directions; a frame
 * has a body (a message of msg.h) and may have bulk (a chunk's bytes), which
 * is received straight into a buf and sent straight from one.
 *
 * Happy path: rpc_connect() or an accept -> TLS 1.3 handshake with the PSK ->
 * ops->up -> rpc_call()s and ops->request -> rpc_close() or ops->down.
 * Failure: ops->down is called once with the cause (-ECONNREFUSED,
 * -ECONNRESET, -ETIMEDOUT, -EACCES the key does not fit, -EPROTO, ...), after
 * every outstanding call was ended with that error.  No reconnecting here.
 *
 * Threads: ops and done callbacks run on the connection's loop.  rpc_call,
 *          rpc_send, rpc_reply*, rpc_close, rpc_ref and rpc_unref: any.  None
 *          of them calls back before it returns, but for rpc_call without
 *          memory (-ENOMEM).  A call to a connection that is down ends with
 *          the cause, from the loop.
 * Memory:  reference-counted.  rpc_connect returns one reference to the
 *          caller; the library holds its own until down.  @ops must outlive
 *          the connection; of @self a copy is kept.
 * Limits:  the constants below; a connection that breaks one is closed.
 */
#ifndef PSPFS_RPC_H
#define PSPFS_RPC_H

#include <stdint.h>

#include "buf.h"
#include "codec.h"
#include "key.h"
#include "loop.h"
#include "text.h"

#define RPC_HEADER 16		/* bytes of a frame's header */
#define RPC_BODY_MAX (8u << 20)
#define RPC_BULK_MAX ((16u << 20) + 16)
#define RPC_INBOUND_MAX 1024	/* unanswered requests from one connection */
#define RPC_INBOUND_BYTES (64u << 20)	/* their bytes, once answered their
					   answers' until those are written;
					   beyond: stop reading requests; our
					   own calls wait for room there */
#define RPC_HANDSHAKE_MS 5000
#define RPC_CONNECT_MS 5000
#define RPC_STRANGERS_MAX 256	/* connections not yet through the handshake:
				   beyond, the oldest of the address with the
				   most of them goes */

#define RPC_MEMBER_MAX 64	/* connections of one member (by its id) at a
				   listener: one more is closed; a peer has a
				   few at each other's */

/* Frame flags of requests (the status field of answers). */
#define RPC_MORE 1		/* more of the same batch follows at once */

/* Who a process is, for TLS: role and id are bound into the PSK. */
struct rpc_self {
	struct key key;
	uint8_t role;		/* enum peer_role */
	uint8_t also;		/* another role that it answers to; 0: none */
	uint64_t id;
};

struct rpc;

/* A request as it came, with a reference to its connection.  Ends exactly
 * once: rpc_reply(), rpc_fail() or rpc_req_free(). */
struct rpc_req {
	struct rpc *conn;
	uint16_t type, flags;
	uint32_t number;	/* 0: one-way, no answer is sent */
	struct buf *body;
	struct buf *bulk;	/* NULL if there was none */
};

#define RPC_BUDGET_SHARE 4

/* What the requests of many connections, and their answers as far as they
 * are not written, may take altogether, and each of them a quarter of it:
 * beyond that no more is read, but for one request of each at a time. */
struct rpc_budget {
	size_t most;		/* fixed */
	size_t bytes;		/* atomic */
};

struct rpc_ops {
	/* Of accepted connections on which nobody calls the other end.  NULL:
	 * RPC_INBOUND_BYTES each. */
	struct rpc_budget *budget;
	/* The handshake is done.  NULL is fine. */
	void (*up)(struct rpc *c, void *arg);
	/* Takes @req; NULL: all are answered -ENOSYS. */
	void (*request)(struct rpc *c, struct rpc_req *req, void *arg);
	/* The end, for any cause; -ECANCELED after rpc_close(); or NULL. */
	void (*down)(struct rpc *c, int err, void *arg);
};

struct rpc_answer {
	uint16_t status;	/* enum status, ST_OK if err == 0 */
	struct buf *body;	/* the callback's until it returns: buf_ref */
	struct buf *bulk;	/* or NULL; likewise */
};

/* @err: 0; -errno of the answer's status (then @a is its error body); or a
 * failure of the connection or deadline, with @a NULL. */
typedef void (*rpc_done)(void *arg, int err, const struct rpc_answer *a);

/* Connect from @bind_to (NULL: any address).  @expect_role/_id: who must be
 * there (id 0: whichever).  Returns at once; calls may be made at once and
 * wait for up.  0 or -errno. */
int rpc_connect(struct rpc **out, struct loop *l, const struct rpc_self *self,
		const struct addr *to, const struct addr *bind_to,
		uint8_t expect_role, uint64_t expect_id,
		const struct rpc_ops *ops, void *arg);

struct rpc_listener;
/* Accept on @at, on a thread of its own; those that have passed the handshake
 * go round @loops.  ops->up is called for each
 * that passes the handshake with arg = @arg; rpc_set_arg() may change it.
 * -EADDRINUSE, -EADDRNOTAVAIL, ... */
int rpc_listen(struct rpc_listener **out, struct loop **loops, int n_loops,
	       const struct rpc_self *self, const struct addr *at,
	       const struct rpc_ops *ops, void *arg);
/* Where it listens, with the port that it was given for port 0. */
int rpc_listener_addr(const struct rpc_listener *l, struct addr *out);
/* Its connections stay, strangers go.  Waits for @loops (so not from one of
 * them): afterwards there is no further ops->up. */
void rpc_listener_free(struct rpc_listener *l);

/* now_ms() when the other end's TCP was last seen to have taken more, which
 * says nothing of its process; 0: not yet.  Looked at when it is asked for, and
 * told the next time.  Any thread. */
uint64_t rpc_acked_ms(struct rpc *c);
void rpc_set_arg(struct rpc *c, void *arg);	/* on the loop, as in ops->up */
/* Proven by the PSK, from up on.  On the connecting side what was expected
 * (so the id is 0 where any would do). */
uint8_t rpc_peer_role(const struct rpc *c);
uint64_t rpc_peer_id(const struct rpc *c);
/* On the accepting side: as which of our roles we were wanted. */
uint8_t rpc_own_role(const struct rpc *c);
const struct addr *rpc_peer_addr(const struct rpc *c);
struct loop *rpc_loop(const struct rpc *c);
/* now_ms() when bytes last came, when TCP last took some; 0: none yet.  Any
 * thread. */
uint64_t rpc_heard_ms(const struct rpc *c);
uint64_t rpc_sent_ms(const struct rpc *c);
/* Only from inside ops->up, before anything is sent: the rest of its life is
 * on @l, with @ops and @arg; their up() comes there. */
void rpc_move(struct rpc *c, struct loop *l, const struct rpc_ops *ops,
	      void *arg);
/* TLS exporter (RFC 8446 7.5); only after up, on the loop.  0 or -errno. */
int rpc_export(struct rpc *c, const char *label, uint8_t *out, size_t n);

/* Send a request and have @done called once, within @timeout_ms (-ETIMEDOUT).
 * Takes the bytes of @body (left empty); refs @bulk; each may be NULL. */
void rpc_call(struct rpc *c, uint16_t type, uint16_t flags, struct wr *body,
	      struct buf *bulk, uint32_t timeout_ms, rpc_done done, void *arg);
/* One-way. */
void rpc_send(struct rpc *c, uint16_t type, struct wr *body);

/* Answer; frees @req.  rpc_fail sends an error body, rpc_req_free the error
 * -ECANCELED.  Of a one-way request they just let go. */
void rpc_reply(struct rpc_req *req, struct wr *body, struct buf *bulk);
/* Likewise; then @gone is called once, on the connection's loop, when all of
 * the answer has been handed to TCP, or never will be. */
void rpc_reply_then(struct rpc_req *req, struct wr *body, struct buf *bulk,
		    void (*gone)(void *arg), void *arg);
/* The same with a status of one's own (enum status) and its body. */
void rpc_reply_status(struct rpc_req *req, uint16_t status, struct wr *body);
void rpc_fail(struct rpc_req *req, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void rpc_req_free(struct rpc_req *req);

void rpc_close(struct rpc *c);
struct rpc *rpc_ref(struct rpc *c);
void rpc_unref(struct rpc *c);

#endif
