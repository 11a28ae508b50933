/*
 * jobs -- files that every peer is to have whole, and new numbers of copies.
 *
 * A job asks each live peer to complete a file (M_complete), counts what they
 * report (M_progress), and has ended when each has ended or left and the
 * file's chunks want a copy at every peer, so that repair goes on with those
 * who come later.  A peer that comes, or comes back, while it runs is asked
 * as well; one that is silent about it for JOBS_SILENT_MS is asked again, and
 * given up after JOBS_PATIENCE_MS.
 *
 * A setting is a new number of copies for the chunks of a file, given to them
 * a step at a tick: jobs_setting() says which, the caller does it in the
 * database, jobs_set_done() notes it.  What a batch noted counts only once it
 * is committed.
 *
 * In memory only: a tracker that starts anew has forgotten them.
 * Threads: one.  Errors: 0 or -errno.
 */
#ifndef PSPFS_JOBS_H
#define PSPFS_JOBS_H

#include "garbage.h"
#include "swarm.h"

#define JOBS_MAX 16		/* jobs and settings */
#define JOBS_KEEP_MS 600000	/* an ended job can be asked about so long */
#define JOBS_AGAIN_MS 1000	/* a peer that could not take it: pause */
#define JOBS_SILENT_MS 15000	/* a peer tells every few seconds */
#define JOBS_PATIENCE_MS 120000	/* silent so long, asked or not: it failed */

struct jobs;

struct jobs_env {
	struct swarm *swarm;
	uint64_t first;		/* the first job's number; not 0 */
	peer_send_fn send;
	void *arg;
};

int jobs_new(struct jobs **out, const struct jobs_env *env);
void jobs_free(struct jobs *js);

/* Every peer is to complete @ino, of @bytes; *@id: the job, which may be one
 * that runs already.  -EBUSY: JOBS_MAX are running. */
int jobs_complete(struct jobs *js, uint64_t ino, uint8_t via, uint64_t bytes,
		  uint64_t *id);
/* The chunks of @ino are to have @copies; of a job that runs this becomes
 * what it sets at its end.  -EBUSY. */
int jobs_copies(struct jobs *js, uint64_t ino, uint8_t copies);

void jobs_progress(struct jobs *js, uint32_t peer, const struct m_progress *m,
		   uint64_t now_ms);
/* The answer to an M_complete: @status as on the wire. */
void jobs_answered(struct jobs *js, uint32_t number, uint16_t status,
		   uint64_t now_ms);
/* -ENOENT: never heard of, or forgotten. */
int jobs_get(struct jobs *js, uint64_t id, struct arena *a,
	     struct m_job_r *out);

/* Asks who is to be asked, sees who left, forgets. */
int jobs_tick(struct jobs *js, uint64_t now_ms);

struct jobs_set {
	uint64_t ino;
	uint8_t copies;
	uint64_t at;		/* of ns_set_copies() */
};
/* The next step to be done: 1, or 0 if there is none. */
int jobs_setting(struct jobs *js, struct jobs_set *out);
/* It was done up to @at; @more: it is not over. */
void jobs_set_done(struct jobs *js, uint64_t at, int more, uint64_t now_ms);

void jobs_committed(struct jobs *js);
void jobs_rolled_back(struct jobs *js);

#endif
