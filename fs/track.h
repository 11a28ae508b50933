/*
 * track -- the tracker file, NAME.track: a file's name, size and MD5, who
 * holds which bytes of it, and the MD5 of every piece.  Text for people and
 * for programs; net/PROTOCOL.md, "The tracker file", is the specification.
 *
 * A holder's ranges are half-open [at, end) and go over holes: a piece is
 * held by whoever has a range around it.  Pieces stand in the order of the
 * file and do not overlap; what no piece covers reads as zeros.
 *
 * Threads: any; track_gather() blocks as its ask does.
 * Memory:  track_fini() frees all; a zeroed one is fine too.  Bounded by
 *          LAYOUT_SLOTS_MAX and TRACK_FILE_MAX.
 */
#ifndef PSPFS_TRACK_H
#define PSPFS_TRACK_H

#include <stdio.h>

#include "ask.h"
#include "layout.h"

#define TRACK_FORMAT 1
#define TRACK_SUFFIX ".track"
#define TRACK_LINE_MAX 65536	/* a holder of more ranges has several lines */
#define TRACK_FILE_MAX (1u << 30)
#define TRACK_PIECES_MAX (4u * LAYOUT_SLOTS_MAX)

struct track_range {
	uint64_t at, end;
};

struct track_holder {
	uint32_t num;		/* the peer's number and id, as m_peer */
	uint64_t id;
	char addr[MSG_ADDR_MAX + 1];	/* its IP, in digits */
	uint16_t port;
	int64_t heard_s;	/* when it was last heard; seconds since 1970 */
	struct track_range *ranges;
	size_t n_ranges;
};

/* Bytes [at, at + len) are bytes [off, off + len) of a chunk. */
struct track_piece {
	uint64_t at, chunk;
	uint32_t len, off, chunk_len;
	uint8_t md5[MD5_LEN];	/* of the whole chunk */
};

struct track {
	char *name;		/* path from the top of the swarm, "/a/b" */
	uint64_t size, swarm, ino, version;
	uint32_t chunk_size;	/* slot size: pieces are at most so long */
	int has_md5;
	uint8_t md5[MD5_LEN];	/* of the whole content, if has_md5 */
	int64_t written_s;	/* seconds since 1970 */
	struct track_holder *holders;
	size_t n_holders;
	struct track_piece *pieces;
	size_t n_pieces;
};

/* All of it, asked of the tracker for what is at @path (from the top).  An
 * MD5 that the tracker does not know at once is left out.  0; -ENOENT,
 * -EISDIR, -EINVAL not a regular file, or as layout_load() and the asking. */
int track_gather(struct track *t, const struct ask *ask, const char *path);
/* Where the MD5 of the whole is not known yet: have a peer read the file and
 * compute it, which may take long.  0: t->has_md5; -ESTALE: the file is not
 * of t->version any more; or as the asking, with its words in @why. */
int track_compute_md5(struct track *t, const struct ask *ask, char *why,
		      size_t why_len);
/* The same from what is known already (pure): @peers are those of status_r,
 * whose silence is counted back from @now_s. */
int track_make(struct track *t, const char *path, const struct layout *l,
	       const struct m_peer *peers, uint32_t n_peers, uint64_t swarm,
	       int64_t now_s);

/* Write the text.  0 or -EIO. */
int track_render(const struct track *t, FILE *to);
/* Read the text.  0, -ENOMEM, -EIO, or -EINVAL with a sentence in @why that
 * names the line, what is wrong and the mend. */
int track_parse(struct track *t, FILE *from, char *why, size_t why_len);
void track_fini(struct track *t);

/* Does @h hold all of [at, at + len)? */
int track_holds(const struct track_holder *h, uint64_t at, uint32_t len);
/* "2026-11-25T10:12:00Z" and NUL; returns @out. */
char *track_time(int64_t s, char out[24]);

#endif
