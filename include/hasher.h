/*
 * hasher -- a thread that gathers MD5 work into batches.
 *
 * Waits until MD5_BATCH jobs are queued, or one of them has waited for as long
 * as it may (an urgent one not at all, or, while several come at a time, a few
 * times what a batch takes; a patient one HASHER_PATIENT_US, any other
 * HASHER_WAIT_US); then runs md5_many() over what is there and calls each job's
 * done.
 * Adds to the counters MD5_BYTES and MD5_US.
 * Threads: submit from any, without a lock that done takes; done runs on the
 *          hasher's thread and must be quick (post to a loop or a pool); for
 *          an urgent job of at most HASHER_INLINE bytes it runs before
 *          hasher_submit() returns.
 * Memory:  the job and its data belong to the caller until done is called.
 */
#ifndef PSPFS_HASHER_H
#define PSPFS_HASHER_H

#include <sys/queue.h>

#include "md5.h"

#define HASHER_WAIT_US 8000	/* at 500 MB/s eight chunks of 512 KiB */
#define HASHER_PATIENT_US 100000	/* at 20 MB/s four chunks of 512 KiB */
#define HASHER_INLINE 16384	/* bytes: less work than handing them over */

struct hash_job {
	struct md5_job job;
	int urgent;		/* somebody waits */
	int patient;		/* nobody will for a while */
	void (*done)(struct hash_job *j);
	STAILQ_ENTRY(hash_job) next;	/* the hasher's */
	uint64_t due_us;	/* the hasher's */
};

struct hasher;
int hasher_new(struct hasher **out);
void hasher_submit(struct hasher *h, struct hash_job *j);
/* Somebody waits now for a job that is queued: do not gather any longer. */
void hasher_hurry(struct hasher *h);
/* Runs what is queued, then ends the thread. */
void hasher_free(struct hasher *h);

#endif
