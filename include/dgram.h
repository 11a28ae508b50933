/*
 * dgram -- authenticated datagrams between two ends of a TLS session.
 *
 * Datagram: {session u64, counter u64, type u16, body, HMAC-SHA256 truncated
 * to 16 bytes}; the key comes from rpc_export() of the control connection,
 * one for each direction.  A 1024-wide window drops replays; everything is
 * checked before anything is allocated; a stranger gets no answer; an answer
 * is never longer than its request (dgram_answer refuses); each session may
 * send DGRAM_RATE datagrams a second.
 *
 * Threads: a socket lives on one loop, where its callback runs; all functions
 *          from any thread.  dgram_close() waits for the loop (also fine from
 *          inside the callback); none may use the socket afterwards.
 */
#ifndef PSPFS_DGRAM_H
#define PSPFS_DGRAM_H

#include <stddef.h>
#include <stdint.h>

#include "loop.h"
#include "text.h"

#define DGRAM_MAX 1200		/* whole datagram, bytes */
#define DGRAM_OVERHEAD 34	/* 8 + 8 + 2 + 16 */
#define DGRAM_BODY_MAX (DGRAM_MAX - DGRAM_OVERHEAD)
#define DGRAM_RATE 4096
#define DGRAM_LABEL "EXPORTER-pspfs-datagram"	/* of rpc_export, 64 bytes */

struct dgram_sock;

/* One received and checked datagram; points into the socket's buffer. */
struct dgram {
	struct dgram_sock *sock;
	uint64_t session;
	uint16_t type;
	const uint8_t *body;
	size_t len;
	const struct addr *from;
};

typedef void (*dgram_fn)(const struct dgram *d, void *arg);

/* -EADDRINUSE, ... */
int dgram_open(struct dgram_sock **out, struct loop *l, const struct addr *at,
	       dgram_fn fn, void *arg);
void dgram_close(struct dgram_sock *s);

/* Join a session: @secret is the 64 bytes that rpc_export gave; @server says
 * which half is ours (the first is the client's to send with).  @to NULL:
 * learned from the last good datagram.  Joining again replaces. */
int dgram_join(struct dgram_sock *s, uint64_t session,
	       const uint8_t secret[64], int server, const struct addr *to);
void dgram_leave(struct dgram_sock *s, uint64_t session);

/* 0, -ENOENT no such session, -ENOTCONN no address yet, -EMSGSIZE. */
int dgram_send(struct dgram_sock *s, uint64_t session, uint16_t type,
	       const void *body, size_t len);
/* Inside the callback: to where it came from; -EMSGSIZE if it is longer. */
int dgram_answer(const struct dgram *d, uint16_t type, const void *body,
		 size_t len);

#endif
