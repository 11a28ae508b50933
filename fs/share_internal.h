/*
 * share_internal -- what the files of share share.
 *
 *   share.c        what is asked, is it possible, undoing
 *   share_batch.c  the descriptor's bytes, in batches of hashed chunks
 *   share_new.c    a new file
 *   share_match.c  a file that is there already
 */
#ifndef PSPFS_SHARE_INTERNAL_H
#define PSPFS_SHARE_INTERNAL_H

#include <sys/stat.h>

#include "ask.h"
#include "hasher.h"
#include "share.h"
#include "whole.h"

struct share_piece {		/* of the file, read */
	uint64_t at, slot;
	uint32_t len, pos;
	const struct m_chunk *chunk;	/* what it must be; NULL: new */
	struct buf *b;		/* NULL: zeros */
	struct hash_job hash;
	struct share_run *run;
};

struct share_batch {
	struct share_piece v[SHARE_BATCH];
	size_t n;
	uint64_t bytes;
	pthread_mutex_t lock;
	pthread_cond_t hashed;
	unsigned left;		/* guarded by lock: not hashed yet */
};

struct share_put {		/* what was stored */
	uint64_t id;
	int was;		/* as what it was there before: 0 not at all */
};

struct share_run {
	const struct share_env *env;
	const struct m_share *m;
	struct ask ask;
	char name[MSG_PATH_MAX + 1];
	char *why;

	int fd;
	struct stat st;		/* of fd, at the beginning */
	uint64_t base;		/* of the file: the descriptor's first byte */
	uint64_t data_at, hole_at;	/* of fd: data is in [data_at,
					   hole_at), as far as is known */
	uint64_t done, total;	/* bytes, for progress */

	uint64_t ino, dir;
	uint32_t slot_size;
	struct whole *whole;	/* NULL: nobody wants it */
	struct share_batch batch;
	struct share_put *puts;
	size_t n_puts, cap_puts;
	uint64_t chunks, bytes;	/* held, for the answer */
};

/* Sets the sentence; returns @err. */
int share_why(struct share_run *r, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The same for what the tracker answered: @what "cannot ...". */
int share_why_asked(struct share_run *r, int err, const char *what,
		    const char *said);
/* Count @bytes done; -ECANCELED: give up. */
int share_step(struct share_run *r, uint64_t bytes);
/* Store a piece as chunk @id, note it for undoing. */
int share_store(struct share_run *r, const struct share_piece *p,
		uint64_t id);
/* What was stored goes, unless it was there before. */
void share_undo_puts(struct share_run *r);
/* Is fd's file as it was at the beginning? */
int share_unchanged(struct share_run *r);
/* One request; *@out is the caller's to buf_unref(). */
int share_ask(struct share_run *r, uint16_t type, struct wr *body,
	      struct buf **out, const char *what);

/* share_batch.c */
void batch_init(struct share_batch *b);
void batch_fini(struct share_batch *b);
/* Does it hold as much as it may? */
int batch_full(const struct share_batch *b, uint32_t next_len);
/* Read [at, at + len) of the file, and add it. */
int batch_add(struct share_run *r, const struct share_piece *p);
/* MD5s of all in it, and onward with the whole's. */
void batch_hash(struct share_run *r);
void batch_clear(struct share_run *r);
/* Are bytes [at, end) zeros?  If not, *@differs is the first that is not, and
 * *@until where it was looked up to; else UINT64_MAX. */
int share_zeros(struct share_run *r, uint64_t at, uint64_t end,
		uint64_t *differs, uint64_t *until);

/* share_new.c, share_match.c */
int share_new(struct share_run *r, struct m_share_r *out);
int share_match(struct share_run *r, struct m_share_r *out);

#endif
