/*
 * rpc_internal -- what the files of rpc share.
 *
 *   rpc.c         the life of a connection: start, handshake, up, down
 *   rpc_calls.c   our requests: numbers, window, deadlines, answers
 *   rpc_reqs.c    their requests: limits, replies
 *   rpc_in.c      frames from the wire
 *   rpc_out.c     frames to the wire
 *   rpc_listen.c  accepting
 *   rpc_members.c  how many of whom
 *
 * Frame: body length u32, bulk length u32, request number u32, type u16
 * (RPC_ANSWER set in answers), status or flags u16; body; bulk.
 *
 * Window: a connection never has more than RPC_INBOUND_MAX unanswered calls
 * or RPC_INBOUND_BYTES of them on the wire; more wait on our side.  The other
 * end stops reading at the first request beyond these limits, but reads on
 * past answers.  So two ends that both keep the window never wait for one
 * another, and one that does not is held at the door.  Until an answer has
 * come, also a late one, its call counts.  So both ends count the same, but
 * for answers that are larger than what they answer: who does not read those
 * is held at the door, too.
 *
 * Teardown: rpc_down() runs only from the outermost frame of an event's
 * callback, never from inside ops or done: those that find the connection
 * broken leave that to the event that will find it too, and rpc_close()
 * posts.  So no function need fear that a callback took its connection away.
 *
 * All functions here are for the connection's loop.
 */
#ifndef PSPFS_RPC_INTERNAL_H
#define PSPFS_RPC_INTERNAL_H

#include <event2/event.h>
#include <sys/queue.h>

#include "rpc.h"
#include "table.h"
#include "tls.h"

#define RPC_ANSWER 0x8000u
#define RPC_READ_BUDGET (256u << 10)	/* bytes of one turn of a connection */
#define RPC_FRAME_BUDGET 128		/* frames of one turn */
#define RPC_READ_LOW (16 << 10)		/* of a large frame: bytes worth waking */
#define RPC_WRITE_BUDGET (512u << 10)
#define RPC_UNSENT_MAX (128 << 10)	/* that the kernel takes ahead */
#define RPC_SLOW_MS 30000	/* in which a frame is to end, or to bring ... */
#define RPC_SLOW_BYTES 16384	/* ... so much */
#define RPC_STALL_MS 60000		/* sent, but not acknowledged by TCP */

struct rpc_frame {
	STAILQ_ENTRY(rpc_frame) next;
	uint8_t header[RPC_HEADER];
	uint8_t *body;			/* malloc */
	size_t body_len;
	struct buf *bulk;
	size_t bulk_len;
	size_t off;			/* bytes that have been written */
	/* It is written, or never will be; out of every queue. */
	void (*gone)(struct rpc *c, struct rpc_frame *f);
};

/* A frame as it comes in. */
struct rpc_in {
	uint8_t header[RPC_HEADER];
	uint32_t body_len, bulk_len, number;
	uint16_t type, word;		/* word: status or flags */
	size_t got;			/* bytes of the frame, header too */
	struct buf *body, *bulk;
	struct rpc_call *call;		/* whose answer this is */
	int parked;			/* a request that is over the limits */
	int timed;			/* c->setup watches over it */
	size_t seen;			/* of got, when that began */
};

STAILQ_HEAD(rpc_frame_list, rpc_frame);
TAILQ_HEAD(rpc_call_list, rpc_call);
TAILQ_HEAD(rpc_list, rpc);

struct rpc_calls {
	struct rpc_call_list waiting;	/* for up, or for the window */
	struct rpc_call_list flying;
	struct rpc_call_list late;	/* timed out, answer still to come */
	struct rpc_call *by_number;	/* flying and late; uthash */
	uint32_t last_number;
	uint32_t window_n;
	size_t window_bytes;
	uint64_t wake_ms;		/* when the timer fires; 0: not set */
	struct event *timer;
};

/* Requests of the other end that are not yet done with, and answers to them. */
struct rpc_load {
	uint32_t n;
	size_t bytes;
};

enum rpc_state { RPC_CONNECTING, RPC_HANDSHAKE, RPC_UP, RPC_DOWN };

struct rpc {
	int refs;			/* atomic */
	int closing;			/* atomic: rpc_close() was called */
	uint64_t heard_ms, sent_ms;	/* atomic: when bytes last came, went */
	uint64_t acked_ms;		/* atomic: when it was last seen that
					   some had arrived */
	int looking;			/* atomic: look_work is under way */
	struct loop_work look_work;
	struct loop_work start_work, close_work;
	struct loop *move_to;		/* when it is up; then NULL */

	/* fixed after start, but for rpc_move() */
	struct loop *loop;
	const struct rpc_ops *ops;
	struct addr peer;

	/* fixed after up */
	uint8_t peer_role, own_role;
	uint64_t peer_id;

	/* loop thread only */
	void *arg;
	enum rpc_state state;
	int err;			/* why it is down */
	int fd;
	struct tls *tls;
	struct rpc_listener *door;	/* accepted, not yet up */
	int unseen;			/* on its way from there to ops->up */
	struct rpc_host *host;		/* of door: whose stranger this is */
	struct rpc_members *members;	/* that count it; NULL: none */
	TAILQ_ENTRY(rpc) strangers;	/* of host */
	uint64_t handshake_us;		/* when it began */
	struct event *readable, *writable;
	struct event *again;		/* go on reading in the next round */
	struct event *setup;		/* deadline of connect and handshake,
					   then of a frame that comes in */
	struct rpc_in in;
	int low;			/* the socket's SO_RCVLOWAT; 0: as made */
	struct rpc_frame_list out;
	uint64_t sent_bytes, acked_bytes;	/* given to TCP; seen to have
						   arrived */
	int out_armed;			/* writable is sure to be called */
	struct rpc_calls calls;
	struct rpc_load load[2];	/* of one-way [0], of calls [1] */
};

/* rpc.c */
int rpc_new(struct rpc **out, struct loop *l, const struct rpc_ops *ops,
	    void *arg);
int rpc_events_open(struct rpc *c);
void rpc_socket_tune(int fd);
/* Of an accepted one: shake hands once the other end has begun. */
void rpc_handshake_expect(struct rpc *c);
void rpc_down(struct rpc *c, int err);

/* rpc_listen.c */
/* A stranger of @c->door has become a friend (or is gone: @err). */
void rpc_door_leave(struct rpc *c, int err);
int rpc_door_accept(struct rpc *c);	/* makes c->tls */
/* It has shown who it is: 0, or -EUSERS: it has enough here. */
int rpc_door_member(struct rpc *c);
/* Where the next friend goes. */
struct loop *rpc_door_loop(struct rpc_listener *l);

/* rpc_members.c */
struct rpc_members *rpc_members_new(void);
void rpc_members_put(struct rpc_members *m);
int rpc_members_enter(struct rpc_members *m, struct rpc *c);
void rpc_members_leave(struct rpc *c);

/* rpc_in.c */
int rpc_in_read(struct rpc *c);		/* 0, or why to go down */
void rpc_in_resume(struct rpc *c);	/* there may be room again */
int rpc_in_slow(struct rpc *c);		/* RPC_SLOW_MS later: as rpc_in_read */
void rpc_in_fini(struct rpc *c);

/* rpc_out.c */
/* Takes the bytes of @body, refs @bulk.  -EMSGSIZE, -ENOMEM, w->err. */
int rpc_frame_fill(struct rpc_frame *f, uint16_t type, uint16_t word,
		   struct wr *body, struct buf *bulk);
size_t rpc_frame_size(const struct rpc_frame *f);
void rpc_frame_fini(struct rpc_frame *f);
void rpc_out_queue(struct rpc *c, struct rpc_frame *f, uint32_t number);
int rpc_out_flush(struct rpc *c);	/* 0, or why to go down */
void rpc_out_arm(struct rpc *c);
void rpc_out_fini(struct rpc *c);

/* rpc_calls.c */
int rpc_calls_init(struct rpc *c);
void rpc_calls_pump(struct rpc *c);	/* send those that may be sent */
/* The call whose answer this is; NULL: none, the other end is mad. */
struct rpc_call *rpc_calls_find(struct rpc *c, uint32_t number, uint16_t type);
void rpc_calls_answer(struct rpc *c, struct rpc_call *call,
		      const struct rpc_answer *a);
void rpc_calls_fini(struct rpc *c);	/* ends them all with c->err */

/* rpc_reqs.c */
int rpc_reqs_room(const struct rpc *c, const struct rpc_in *in);
int rpc_reqs_deliver(struct rpc *c, struct rpc_in *in);

#endif
