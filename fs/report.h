/*
 * report -- the swarm at a glance, for people: what `pspfs status` and
 * .pspfs/status show.
 *
 * The overheads of replicating are named in three groups: communication,
 * computation, storage.  Each line is a name with its unit and a number, the
 * sum over all peers and the tracker; what is zero is left out.
 *
 * Threads: any.  report_fetch() blocks, as ask.
 */
#ifndef PSPFS_REPORT_H
#define PSPFS_REPORT_H

#include <stdio.h>

#include "ask.h"
#include "msg.h"
#include "text.h"

/* The tracker's status, decoded; strings live in *@body, lists in @a.  0 or
 * -errno, with the tracker's own words, or "", in @why. */
int report_fetch(const struct ask *ask, struct m_status_r *st,
		 struct arena *a, struct buf **body, char *why,
		 size_t why_len);

/* All of it / the table of peers, a line each. */
void report_print(FILE *to, const struct m_status_r *st);
void report_peers(FILE *to, const struct m_status_r *st);

/* "127.0.0.11:3457" of peer @num, or "peer 7" if it is not in @st. */
void report_peer_text(const struct m_status_r *st, uint32_t num,
		      char out[ADDR_TEXT_MAX]);
/* "active", "suspect", "gone" / "yes", "no", "unknown". */
const char *report_state(uint8_t state);
const char *report_reach(uint8_t reach);

/* Bytes of the tracker's database for each chunk / stored for each byte of
 * file; 0 where there is nothing to divide by. */
double report_metadata_per_chunk(const struct m_status_r *st);
double report_stored_per_byte(const struct m_status_r *st);

#endif
