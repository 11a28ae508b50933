/*
 * distribute -- the bytes of a local file, each part to one peer.
 *
 * Happy path: distribute_send() reads, hashes and puts every piece at its
 * peer, on the peer's disk, and commits them to the inode, all peers at the
 * same time; distribute_verify() has each peer read and hash its pieces again.
 * Failure: what is under way ends; what peers have stored is committed all the
 * same, so that it is deleted with the inode.  @why says who and what.
 *
 * Threads: the caller's, which waits; answers come on the member's loops.
 * Memory:  DISTRIBUTE_WINDOW (small ones: more) chunks of each peer and DISTRIBUTE_BYTES (or one
 *          chunk) altogether under way; 8 bytes for each piece.
 */
#ifndef PSPFS_DISTRIBUTE_H
#define PSPFS_DISTRIBUTE_H

#include <signal.h>
#include <sys/stat.h>

#include "member.h"
#include "parts_plan.h"

#define DISTRIBUTE_WINDOW 4	/* or, if small, what makes ..._SMALL bytes */
#define DISTRIBUTE_SMALL (128u << 10)
#define DISTRIBUTE_BYTES (64u << 20)
#define DISTRIBUTE_TRIES 3	/* of a put that was damaged on its way */
#define DISTRIBUTE_PUT_MS 30000
#define DISTRIBUTE_VERIFY_MS 60000
#define DISTRIBUTE_VERIFY_BYTES (256u << 20)	/* of one verify */

struct distribute;

/* A peer and its part. */
struct dist_part {
	uint32_t num;
	char name[ADDR_TEXT_MAX];
	struct part_range range;
	uint64_t seen;		/* bytes done (then verified), for progress() */
	/* guarded by the distribute's lock while it is at work */
	uint64_t at;		/* sent up to here */
	uint64_t done, verified;	/* bytes */
	uint64_t n_chunks;	/* stored */
	uint64_t *ids;		/* of them, and their lengths */
	uint32_t *lens;
	unsigned out;
	uint64_t checked;	/* chunks that were verified or are asked */
	struct distribute *d;
};

struct dist_config {
	struct member *member;
	int fd;			/* the file, of @size bytes */
	uint64_t size, ino;
	uint32_t slot_size;
	struct timespec mtime;	/* of the content */
	struct dist_part *parts;	/* num, name and range filled in */
	uint32_t n_parts;
	const volatile sig_atomic_t *stop;	/* set by a signal: end soon */
	/* Now and then, from the caller's thread. */
	void (*progress)(void *arg);
	void *arg;
};

int distribute_new(struct distribute **out, const struct dist_config *cfg);
void distribute_free(struct distribute *d);

/* 0 or -errno; *@version: the content's, at the end. */
int distribute_send(struct distribute *d, uint64_t *version, char *why,
		    size_t why_len);
int distribute_verify(struct distribute *d, char *why, size_t why_len);

#endif
