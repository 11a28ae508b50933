/*
 * fuzz_journal -- the store's journal after a power cut.
 *
 * Input: flags u8, length of the first half u32, both halves.  MEND: their
 * records are given right offsets, checksums and MD5s first.  What would be
 * made again is whole, is right by its MD5, and is the last that is said of
 * its chunk.
 */
#include "store_replay.c"

#include "fuzz.h"

enum { MEND = 1, SWARM = 0xfeed, RECORDS_MOST = 64 };

/* Records in the places where the reader looks; lengths that do not fit end
 * them, as there. */
static void mend(uint8_t *p, size_t n)
{
	size_t at = 0;

	for (int i = 0; i < RECORDS_MOST && n - at >= JOURNAL_BODY; i++) {
		struct chunk_meta m = {
			.chunk = get_u64(p + at + JOURNAL_HEAD + 24),
			.len = get_u32(p + at + JOURNAL_HEAD + 52),
		};

		if (m.len > n - at - JOURNAL_BODY)
			return;
		md5_one(p + at + JOURNAL_BODY, m.len, m.md5);
		memcpy(p + at, JOURNAL_MAGIC, JOURNAL_MAGIC_LEN);
		put_u64(p + at + JOURNAL_AT_GEN, get_u64(p + JOURNAL_AT_GEN));
		put_u64(p + at + JOURNAL_AT_AT, at);
		store_trailer_write(p + at + JOURNAL_HEAD, SWARM, COPY_REPLICA, &m);
		at += journal_record_size(m.len);
		if (at > n)
			return;
	}
}

static void check_record(const struct replay *r, const struct record *rec)
{
	uint8_t md5[MD5_LEN];
	int inside = 0;

	for (int i = 0; i < 2; i++) {
		const uint8_t *p = r->bytes[i];

		inside |= rec->data >= p + JOURNAL_BODY &&
			  rec->data + rec->m.len <= p + r->n_bytes[i];
	}
	MUST(inside && rec->m.len && rec->m.len <= STORE_CHUNK_MAX);
	md5_one(rec->data, rec->m.len, md5);
	MUST(!memcmp(md5, rec->m.md5, MD5_LEN));
}

/* No later record of half @i, which is good, speaks of the same chunk. */
static void check_last(const struct replay *r, const struct record *rec,
		       unsigned i)
{
	uint64_t gen = first_gen(r, i), size;
	struct record later;
	size_t at = 0;

	while (gen && (size = parse(r->s, r->bytes[i], r->n_bytes[i], at, gen,
				    &later))) {
		MUST(size % JOURNAL_SECTOR == 0 && size >= JOURNAL_BODY + later.m.len);
		if (later.m.chunk == rec->m.chunk && is_good(&later))
			MUST(later.data <= rec->data);
		at += size;
	}
}

static void replay_input(struct replay *r)
{
	struct record *rec, *next;
	unsigned old = first_gen(r, 0) > first_gen(r, 1);
	unsigned new = !old;

	MUST(!replay_half(r, old) && !replay_half(r, new));
	HASH_ITER(hh, r->records, rec, next) {
		check_record(r, rec);
		/* pointers within one half tell which is later */
		if (rec->data >= r->bytes[new] &&
		    rec->data < r->bytes[new] + r->n_bytes[new])
			check_last(r, rec, new);
		HASH_DEL(r->records, rec);
		free(rec);
	}
}

static uint8_t *take(struct rd *r, size_t n, int mended)
{
	uint8_t *p = malloc(n ? n : 1);

	MUST(p);
	if (n)
		memcpy(p, rd_bytes(r, n), n);
	if (mended && n)
		mend(p, n);
	return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct store s = { .swarm = SWARM };
	struct replay r = { .s = &s };
	struct rd in;
	int mended;

	rd_init(&in, p, n);
	mended = rd_u8(&in) & MEND;
	r.n_bytes[0] = rd_u32(&in);
	if (r.n_bytes[0] > rd_left(&in))
		r.n_bytes[0] = rd_left(&in);
	r.n_bytes[1] = rd_left(&in) - r.n_bytes[0];
	r.bytes[0] = take(&in, r.n_bytes[0], mended);
	r.bytes[1] = take(&in, r.n_bytes[1], mended);
	replay_input(&r);
	free(r.bytes[0]);
	free(r.bytes[1]);
	return 0;
}

/* ---------------------------------------------------------------- seeds */

static void record(struct wr *w, size_t begin, uint64_t gen, uint64_t chunk,
		   const char *text)
{
	size_t at = w->len - begin;
	struct chunk_meta m = { .chunk = chunk, .len = (uint32_t)strlen(text) };
	static const uint8_t zeros[JOURNAL_SECTOR];
	uint8_t body[JOURNAL_BODY] = { 0 };

	md5_one(text, m.len, m.md5);
	memcpy(body, JOURNAL_MAGIC, JOURNAL_MAGIC_LEN);
	put_u64(body + JOURNAL_AT_GEN, gen);
	put_u64(body + JOURNAL_AT_AT, at);
	store_trailer_write(body + JOURNAL_HEAD, SWARM, COPY_REPLICA, &m);
	wr_bytes(w, body, sizeof(body));
	wr_bytes(w, text, m.len);
	wr_bytes(w, zeros, journal_record_size(m.len) - JOURNAL_BODY - m.len);
}

static void seed(const char *name, int flags, int torn)
{
	struct wr w = WR_INIT;

	wr_u8(&w, (uint8_t)flags);
	wr_u32(&w, 3 * JOURNAL_SECTOR);
	record(&w, 5, 9, 0x1001, "one");
	record(&w, 5, 9, 0x1002, "two");
	record(&w, 5, 9, 0x1001, "");
	record(&w, 5 + 3 * JOURNAL_SECTOR, 10, 0x1003, "three");
	record(&w, 5 + 3 * JOURNAL_SECTOR, 10, 0x1002, "again");
	w.len -= (size_t)torn;
	fuzz_seed_wr(name, &w);
}

void fuzz_seeds(void)
{
	seed("both", 0, 0);
	seed("mended", MEND, 0);
	seed("torn", 0, JOURNAL_SECTOR - JOURNAL_BODY);
	fuzz_seed("empty", "\0\0\0\0\0", 5);
}
