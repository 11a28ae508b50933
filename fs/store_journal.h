/*
 * store_journal -- the journal's records, as they are appended and replayed.
 *
 * A record: magic, generation of the half, offset in the file, 8 zeros; the
 * chunk's trailer; its payload; zeros up to a multiple of a sector, so that
 * no record is ever touched again by the next.  A trailer of length 0 says
 * that the chunk was deleted.  What is not of the half's first generation or
 * not at its place ends the half.
 */
#ifndef PSPFS_STORE_JOURNAL_H
#define PSPFS_STORE_JOURNAL_H

#include "store_impl.h"

#define JOURNAL_MAGIC "pspfsJNL"
#define JOURNAL_MAGIC_LEN 8

enum {
	JOURNAL_HALF_MAX = 8 << 20,	/* bytes of a half */
	JOURNAL_SECTOR = 512,

	JOURNAL_AT_MAGIC = 0, JOURNAL_AT_GEN = 8, JOURNAL_AT_AT = 16,
	JOURNAL_HEAD = 32,
	JOURNAL_BODY = JOURNAL_HEAD + STORE_TRAILER,	/* payload behind it */
};

static inline uint64_t journal_record_size(uint32_t len)
{
	return ((uint64_t)JOURNAL_BODY + len + JOURNAL_SECTOR - 1) /
	       JOURNAL_SECTOR * JOURNAL_SECTOR;
}

/* Both halves, opened, are replayed and then empty: 0 or -errno. */
int journal_replay(struct store *s);

#endif
