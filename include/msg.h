/*
 * msg -- the messages of the protocol as structs, their encoders, decoders.
 *
 * For each REC and MSG of msg.def there is a struct m_NAME and
 *
 *   int  m_NAME_encode(struct wr *w, const struct m_NAME *m);
 *   int  m_NAME_decode(struct m_NAME *m, struct arena *a,
 *                      const void *body, size_t len);      (messages only)
 *
 * and for each message the constant M_NAME, its type.
 *
 * Memory:  a decoded message points into @body (strings) and into @a (lists):
 *          both must outlive it.  Encoders copy.  Nothing else to free.
 * Errors:  encode 0, -ENOMEM or -EMSGSIZE (a field over its maximum);
 *          decode 0, -EBADMSG (truncated, over a maximum) or -ENOMEM.
 *          A decoder never reads outside [body, body+len), and allocates no
 *          more than len * 16 bytes.
 * Threads: any.
 * Source:  net/PROTOCOL.md.
 */
#ifndef PSPFS_MSG_H
#define PSPFS_MSG_H

#include <stddef.h>
#include <stdint.h>

#include "codec.h"

#define MSG_PROTOCOL 3

#define MSG_NAME_MAX 255	/* a name in a directory, bytes */
#define MSG_PATH_MAX 4096	/* a symlink's target */
#define MSG_TEXT_MAX 1024	/* an error's text */
#define MSG_ADDR_MAX 63		/* an IP in digits */
#define MSG_XATTR_MAX 65536	/* an xattr's value */
#define MSG_XATTRS_MAX 1024	/* xattrs of an inode */
#define MSG_SLICES_MAX 2048	/* of a slot: they must fit a record, 64 KiB */
#define MSG_SLOTS_MAX 1024	/* slots of one getmap */
#define MSG_CHUNKS_MAX 65536	/* chunks of one answer */
#define MSG_HOLDERS_MAX 255	/* peers of one chunk in one answer */
#define MSG_PUSHES_MAX 4096	/* slices of one commit */
#define MSG_GRANT_MAX 1024	/* chunk ids of one grant */
#define MSG_HAVE_MAX 65536	/* chunk ids of one inventory part */
#define MSG_INOS_MAX 65536
#define MSG_ENTRIES_MAX 4096	/* entries of one readdir */
#define MSG_PEERS_MAX 16384
#define MSG_COUNTERS_MAX 256
#define MSG_VERIFY_MAX 4096	/* chunks of one verify */
#define MSG_WANT_MAX 128	/* chunks of one want or seek: a datagram */
#define MSG_LOCKS_MAX 65536	/* locks of one session */
#define MSG_COPIES_ALL 255	/* copies: one at every peer */
#define MSG_GUEST_FIRST 0x40000000u	/* guests have numbers from here up */

enum { MD5_LEN = 16 };

/* ROLE_RELAY: the tracker, as the end of a relay connection. */
enum peer_role {
	ROLE_PEER = 1, ROLE_TRACKER = 2, ROLE_CLIENT = 3, ROLE_RELAY = 4,
};
enum peer_state { PEER_ALIVE = 1, PEER_SUSPECT = 2, PEER_GONE = 3 };
/* Can other members connect to it?  As the tracker found, trying. */
enum peer_reach { REACH_UNKNOWN = 0, REACH_YES = 1, REACH_NO = 2 };
/* How chunks travel: straight from peer to peer and, where that fails, through
 * the tracker; only the one; only the other. */
enum way { VIA_AUTO = 0, VIA_PEERS = 1, VIA_TRACKER = 2 };
enum copy_kind { COPY_REPLICA = 1, COPY_CACHED = 2 };

/* Locks.  Two spaces that do not meet: fcntl(2)'s (POSIX and OFD), flock(2)'s. */
enum lk_space { LK_FCNTL = 0, LK_FLOCK = 1 };
enum lk_op {
	LK_GET = 0,		/* what is in the way? */
	LK_TRY = 1,		/* now or not at all; also to release */
	LK_WAIT = 2,		/* stand in line */
	LK_CANCEL = 3,		/* the ticket waits no more */
};
enum lk_state {
	LK_GRANTED = 0,
	LK_WAITS = 1,		/* `locked` follows */
	LK_REFUSED = 2,		/* EAGAIN */
	LK_DEADLOCK = 3,	/* EDEADLK */
	LK_FULL = 4,		/* ENOLCK: too many locks */
};

enum setattr_bits {
	SET_MODE = 1, SET_UID = 2, SET_GID = 4, SET_SIZE = 8,
	SET_ATIME = 16, SET_MTIME = 32, SET_ATIME_NOW = 64, SET_MTIME_NOW = 128,
	SET_KILL_SUID = 256,	/* as write(2), truncate(2) clear suid/sgid */
	SET_KILL_SGID = 512,	/* also sgid without group execution */
};

/* The same numbers as fallocate(2)'s modes. */
enum allocate_bits {
	ALLOCATE_KEEP_SIZE = 1, ALLOCATE_PUNCH = 2, ALLOCATE_ZERO = 16,
};

/* m_commit.clear_suid: as SET_KILL_SUID and SET_KILL_SGID. */
enum clear_bits { CLEAR_SUID = 1, CLEAR_SGID = 2 };

/* m_revoke.also, beside dropping what is cached: the kernel is to look names
 * up again, as with them it learns the owner, by which it refuses without
 * asking; is to learn the owner of what it reached without a name; is to
 * notice that a directory is elsewhere now, as it cannot while it renames. */
enum revoke_bits { REVOKE_NAMES = 1, REVOKE_OWNER = 2, REVOKE_MOVED = 4 };

/* m_setxattr.flags, beside XATTR_CREATE and XATTR_REPLACE: an ACL was set by
 * somebody who is not in the file's group. */
#define SETXATTR_KILL_SGID 0x100u

/* Bytes inside a frame; not NUL-terminated. */
struct str {
	const char *p;
	uint32_t len;
};

#define STR_LIT(s) ((struct str){ (s), sizeof(s) - 1 })
struct str str_of(const char *z);	/* z must outlive it */
int str_eq(struct str a, struct str b);

/* --- structs --- */
#define U8(f) uint8_t f;
#define U16(f) uint16_t f;
#define U32(f) uint32_t f;
#define U64(f) uint64_t f;
#define I64(f) int64_t f;
#define MD5(f) uint8_t f[MD5_LEN];
#define STR(f, max) struct str f;
#define REC(type, f) struct m_##type f;
#define LIST(type, f, max) struct m_##type *f; uint32_t n_##f;
#define LIST_U32(f, max) uint32_t *f; uint32_t n_##f;
#define LIST_U64(f, max) uint64_t *f; uint32_t n_##f;
#define REC_BEGIN(name) struct m_##name {
#define REC_END(name) };
#define MSG_BEGIN(name, type) struct m_##name {
#define MSG_END(name) };
#include "msg.def"
#include "msg_undef.h"

/* --- types --- */
enum msg_type {
#include "msg_nofields.h"
#define MSG_BEGIN(name, type) M_##name = type,
#define MSG_END(name)
#include "msg.def"
#include "msg_undef.h"
};
#define M_REPLY 0x8000u

/* Requests that change the namespace: their body begins with seq and ack. */
#define M_MUTATES(type) (((type) & 0xff00u) == 0x0200u)

/* --- functions --- */
#include "msg_nofields.h"
#define MSG_BEGIN(name, type)                                             \
	int m_##name##_encode(struct wr *w, const struct m_##name *m);     \
	int m_##name##_decode(struct m_##name *m, struct arena *a,         \
			      const void *body, size_t len);
#define MSG_END(name)
#include "msg.def"
#include "msg_undef.h"

/* A type's name ("lookup"), or "?". */
const char *msg_name(uint16_t type);

#endif
