/*
 * local -- the peer's own socket, for commands on the same machine.
 *
 * STORE/socket, a SOCK_SEQPACKET unix socket of mode 0600, made at start (a
 * stale one is replaced: the store's lock is held) and removed at the end.
 * A packet is type u16, status u16, body (PROTOCOL.md, 0x08xx); a request may
 * bring one descriptor (SCM_RIGHTS).  Only root and the peer's own user are
 * answered; LOCAL_CONNS at a time, the next is told ST_BUSY.  A client that
 * says nothing for LOCAL_IDLE_MS, or anything that is no packet of ours, is
 * cut off.
 *
 * Threads: one that accepts, and one for each connection, on which
 *          local_ops.request runs; it may block.
 * Memory:  what is received is bounded by LOCAL_PACKET_MAX.
 * Errors:  0 or -errno.
 */
#ifndef PSPFS_LOCAL_H
#define PSPFS_LOCAL_H

#include <sys/types.h>

#include "msg.h"

#define LOCAL_NAME "socket"	/* in the store's directory */
#define LOCAL_PACKET_MAX 8192	/* bytes, header and all */
#define LOCAL_HEADER 4
#define LOCAL_CONNS 8
#define LOCAL_IDLE_MS 10000	/* also for a packet to be taken */

struct local;
struct local_conn;

struct local_request {
	uint16_t type;
	const void *body;
	size_t len;
	int fd;			/* that came along, or -1; closed afterwards */
	uid_t uid;		/* who asks */
	gid_t gid;
};

struct local_ops {
	/* Answer with local_reply() or local_fail(), once. */
	void (*request)(void *arg, struct local_conn *c,
			const struct local_request *r);
	void *arg;
};

int local_open(struct local **out, const char *store_dir,
	       const struct local_ops *ops);
/* Nobody is let in any more and all connections are cut off; waits at most
 * @ms for requests under way to notice.  NULL is fine, here and below. */
void local_shut(struct local *l, uint32_t ms);
/* The same, without limit; then it is no more. */
void local_close(struct local *l);

/* Takes the bytes of @body.  -EPIPE: who asked has gone. */
int local_reply(struct local_conn *c, uint16_t type, struct wr *body);
/* Before the answer; one that would have to wait is left out. */
int local_progress(struct local_conn *c, uint16_t type, struct wr *body);
int local_fail(struct local_conn *c, uint16_t type, int err,
	       const char *text);

/* The client's side. */

/* A connected socket; -ENOENT no peer was ever there, -ECONNREFUSED none
 * runs now, -EACCES neither root nor its user. */
int local_connect(const char *store_dir);
/* @fd -1: none goes along.  Takes the bytes of @body. */
int local_send(int sock, uint16_t type, struct wr *body, int fd);

struct local_packet {
	uint16_t type, status;
	const uint8_t *body;	/* in bytes[] */
	size_t len;
	int fd;			/* the receiver's to close; -1: none */
	uint8_t bytes[LOCAL_PACKET_MAX];
};

/* 0; -EPIPE the other end is gone; -EBADMSG no packet of ours; -EAGAIN
 * nothing came in the time that the socket is set to. */
int local_receive(int sock, struct local_packet *p);

#endif
