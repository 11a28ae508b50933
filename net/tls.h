/*
 * tls -- one TLS 1.3 connection over a non-blocking socket, with the PSK.
 *
 * The PSK is key_derive(key, identity); the identity, sent in clear by the
 * connecting side, is the text
 *
 *   "pspfs/1 ROLE ID TARGET_ROLE TARGET_ID"
 *
 * (roles decimal, ids 16 hexadecimal digits, TARGET_ID zero where it is not
 * known), so that a handshake is good for these two ends only.  The accepting
 * side refuses another role (of its one or two) or id than its own as the
 * target, and itself as the source (reflection).  PSK with (EC)DHE, TLS_AES_128_GCM_SHA256, no
 * certificates, no tickets.
 *
 * What is written is encrypted into a buffer of TLS_WIRE_MAX bytes (room for
 * it must be asked for), which tls_send() moves to the socket: many records
 * take one system call, and a write never has to be tried again.
 *
 * Threads: one at a time.
 * Errors:  0 or -errno; -EAGAIN wait for the socket, -EACCES the two ends
 *          have different keys or one refuses the other, -ECONNRESET the
 *          other end is gone, -EPROTO it does not speak TLS as agreed.
 */
#ifndef PSPFS_TLS_H
#define PSPFS_TLS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "rpc.h"

#define TLS_RECORD 16384		/* most bytes of one tls_write() */
#define TLS_RECORD_WIRE (TLS_RECORD + 64)
#define TLS_WIRE_MAX (8 * TLS_RECORD_WIRE)
#define TLS_READ_AHEAD (64 << 10)	/* bytes of one read from the socket */

struct tls;

/* @fd stays the caller's.  The connecting side wants @role and @id (0: any)
 * at the other end.  The accepting side uses @self until the handshake ends. */
int tls_connect(struct tls **out, int fd, const struct rpc_self *self,
		uint8_t role, uint64_t id);
int tls_accept(struct tls **out, int fd, const struct rpc_self *self);
void tls_free(struct tls *t);

/* Next step of the handshake; call tls_send() after each. */
int tls_handshake(struct tls *t);
/* Why the last call failed, for a log line. */
const char *tls_why(const struct tls *t);
/* Accepting side: the other end has shown that it has the key, though it may
 * only be repeating what another said. */
int tls_proven(const struct tls *t);
/* Who is at the other end; fixed once the handshake is done. */
void tls_peer(const struct tls *t, uint8_t *role, uint64_t *id);
uint8_t tls_own_role(const struct tls *t);	/* as who we were wanted */
int tls_export(struct tls *t, const char *label, uint8_t *out, size_t n);

/* Begin a round of reading: the socket is said to be readable. */
void tls_read_begin(struct tls *t);
/* Up to @n bytes; > 0, or -errno.  -EAGAIN ends the round. */
ssize_t tls_read(struct tls *t, void *p, size_t n);

int tls_has_room(const struct tls *t);		/* for one tls_write() */
/* Encrypts all of @n <= TLS_RECORD bytes. */
int tls_write(struct tls *t, const void *p, size_t n);
void tls_write_end(struct tls *t);		/* says goodbye */
size_t tls_unsent(const struct tls *t);		/* bytes in the buffer */
int tls_send(struct tls *t);			/* 0: all is gone */

#endif
