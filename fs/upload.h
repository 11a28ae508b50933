/*
 * upload -- a new chunk to every peer that the tracker names.
 *
 * Ids and placement come from a pool that the tracker granted ahead.  The
 * MD5 is computed in batches, appended to the payload and sent separately in
 * the header; the local store and the remote peers are written in parallel.
 * A copy answered as corrupt is sent again, up to UPLOAD_TRIES times; then,
 * and when a peer cannot be reached or is full, another is asked for
 * (place).  With fewer live peers than copies the upload succeeds with what
 * there is (at least one).
 *
 * Threads: any; done may run on any thread.
 * Errors:  -ENOSPC every peer is full; -EIO no peer took it; -ENOMEM;
 *          -ESTALE, -ETIMEDOUT from the tracker.
 */
#ifndef PSPFS_UPLOAD_H
#define PSPFS_UPLOAD_H

#include "buf.h"
#include "msg.h"

#define UPLOAD_TRIES 3
#define UPLOAD_TAIL MD5_LEN	/* room needed after the payload */

struct upload;
struct parts;

int upload_new(struct upload **out, const struct parts *p);
/* What is under way ends soon with -ECANCELED, what comes likewise. */
void upload_shut(struct upload *u);
/* Waits until nothing is under way: shut it, close peers and link before. */
void upload_free(struct upload *u);

struct upload_job {
	/* in: the payload is data->data[0..len); data->cap >= len + 16; the
	 * uploader writes the MD5 behind it.  Nobody else writes data. */
	struct buf *data;	/* the caller's reference */
	uint32_t len;
	uint64_t ino, slot;
	uint32_t pos;
	int sync;		/* on the disks before done */
	int more;		/* more jobs of this batch follow at once */
	void (*done)(struct upload_job *j, int err);
	/* out */
	uint64_t chunk;
	uint8_t md5[MD5_LEN];
	uint32_t stored[MSG_HOLDERS_MAX];
	uint32_t n_stored;
};

/* The job belongs to the uploader until done. */
void upload_chunk(struct upload *u, struct upload_job *j);

/* Make chunks that were uploaded without sync durable wherever they were
 * stored.  What this process did not upload, or what is durable already, is
 * skipped.  @ids is copied. */
void upload_sync(struct upload *u, const uint64_t *ids, uint32_t n,
		 void (*done)(void *arg, int err), void *arg);

#endif
