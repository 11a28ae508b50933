/*
 * complete -- have the whole of a file here, as replicas.
 *
 * What the tracker asks with M_complete: every chunk of the file that is not
 * here is fetched and stored, a cached copy is checked and promoted, and the
 * tracker is told how far it is (M_progress), at most five times a second and
 * at the end.  The order is each peer's own (random), so that peers who
 * complete the same file at the same time have different things to give each
 * other.
 *
 * A file that changes meanwhile, and chunks that could not be had: the map is
 * read again, COMPLETE_ROUNDS times at most; then what is missing has failed.
 * Limits: COMPLETE_JOBS_MAX jobs; of each COMPLETE_CHUNKS chunks and
 * COMPLETE_BYTES (or one chunk) under way.
 *
 * Threads: complete_start() any; a thread for each job that runs.
 */
#ifndef PSPFS_COMPLETE_H
#define PSPFS_COMPLETE_H

#include "fetch.h"
#include "parts.h"

#define COMPLETE_JOBS_MAX 4
#define COMPLETE_CHUNKS 64
#define COMPLETE_BYTES (16u << 20)
#define COMPLETE_ROUNDS 8
#define COMPLETE_PAUSE_MS 500	/* before a round that tries again */
#define COMPLETE_TELL_MS 200
#define COMPLETE_ALIVE_MS 2000	/* tell, even if nothing has changed */

struct complete;

int complete_new(struct complete **out, const struct parts *p,
		 struct fetch *f);
/* 0, also if that job is under way; -EAGAIN too many are; -ECANCELED. */
int complete_start(struct complete *c, const struct m_complete *m);
/* What is under way ends soon, what comes gets -ECANCELED. */
void complete_shut(struct complete *c);
/* Waits for that: shut it and the fetch, close peers and link before. */
void complete_free(struct complete *c);

#endif
