/*
 * fuzz_store -- a store's directory as a crash, or somebody, left it.
 *
 * Input: files, each: where u8, length u16, its bytes; of a chunk also its id
 * u64 and 1 if its trailer is to fit, u8.  It opens or says why not; what it
 * lists can be read or is found corrupt, is counted, and is there again when
 * it is opened once more.
 */
#include <errno.h>
#include <inttypes.h>

#include "fuzz_file.h"
#include "md5.h"
#include "store_impl.h"

enum where { CHUNK, CACHED, SWARM, JOURNAL_0, JOURNAL_1, TMP, ODD, N_WHERE };
enum { FILES_MOST = 16, LIST_MOST = 64, ID = 0x1200 };

#define IDENTITY "pspfs store 1\n"                                           \
		 "swarm 000000000000feed\npeer 0000000000000ace\n"

static void put_chunk(int dir, enum where where, struct rd *r, size_t len)
{
	uint64_t id = ID + rd_u64(r) % 1024;
	int fits = rd_u8(r) & 1;
	struct chunk_meta m = { .chunk = id };
	char path[64];
	uint8_t *p;

	if (len > rd_left(r))
		len = rd_left(r);
	p = malloc(len + STORE_TRAILER);
	MUST(p);
	if (len)
		memcpy(p, rd_bytes(r, len), len);
	m.len = (uint32_t)len;
	md5_one(p, len, m.md5);
	store_trailer_write(p + len, 0xfeed, COPY_REPLICA, &m);
	snprintf(path, sizeof(path), "chunks/%02x", store_dir_of(id));
	mkdirat(dir, path, 0700);
	snprintf(path, sizeof(path), "chunks/%02x/%016" PRIx64 ".%s",
		 store_dir_of(id), id, where == CACHED ? "cached" : "chunk");
	fuzz_write_at(dir, path, p, fits ? len + STORE_TRAILER : len);
	free(p);
}

/* A name that no chunk has, from the bytes themselves. */
static void put_odd(int dir, const uint8_t *p, size_t n)
{
	char path[64] = "chunks/12/";
	size_t at = strlen(path);

	for (size_t i = 0; i < n && i < 30; i++)
		path[at++] = p[i] && p[i] != '/' ? (char)p[i] : '_';
	path[at] = 0;
	if (!strcmp(path + 10, "") || !strcmp(path + 10, ".") ||
	    !strcmp(path + 10, ".."))
		return;
	mkdirat(dir, "chunks/12", 0700);
	fuzz_write_at(dir, path, p, n);
}

static void put_file(int dir, struct rd *r)
{
	static const char *const names[N_WHERE] = {
		[SWARM] = "swarm", [JOURNAL_0] = "journal.0",
		[JOURNAL_1] = "journal.1", [TMP] = "tmp/x",
	};
	enum where where = rd_u8(r) % N_WHERE;
	size_t len = rd_u16(r);

	if (where == CHUNK || where == CACHED) {
		put_chunk(dir, where, r, len);
		return;
	}
	if (len > rd_left(r))
		len = rd_left(r);
	if (where == ODD)
		put_odd(dir, rd_bytes(r, len), len);
	else
		fuzz_write_at(dir, names[where], rd_bytes(r, len), len);
}

static void make(int dir, struct rd *r)
{
	mkdirat(dir, "chunks", 0700);
	mkdirat(dir, "tmp", 0700);
	fuzz_write_at(dir, "swarm", IDENTITY, sizeof(IDENTITY) - 1);
	for (int i = 0; i < FILES_MOST && rd_left(r); i++)
		put_file(dir, r);
}

/* What is listed can be read; the bytes that it takes. */
static uint64_t check_chunk(struct store *s, const struct m_held *h)
{
	struct chunk_meta m;
	struct buf *b;
	uint64_t size;
	int err;

	MUST(store_has(s, h->id) == h->kind);
	err = store_get(s, h->id, &m, &b);
	MUST(!err || err == -EBADMSG);
	if (err)
		return 0;
	size = m.len + (uint64_t)STORE_TRAILER;
	MUST(m.chunk == h->id && b->len == m.len && m.len);
	buf_unref(b);
	return size;
}

static size_t check_open(struct store *s)
{
	struct m_held list[LIST_MOST];
	uint64_t cursor = 0, bytes = 0;
	struct store_stat st;
	size_t n, all = 0;

	while ((n = store_list(s, &cursor, list, LIST_MOST))) {
		for (size_t i = 0; i < n; i++)
			bytes += check_chunk(s, &list[i]);
		all += n;
	}
	store_stat(s, &st);
	MUST(st.chunks == all && bytes <= st.used);
	return all;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char why[512] = "";
	struct store *s;
	struct rd r;
	size_t had, has;
	int dir;

	fuzz_quiet();
	dir = open(fuzz_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	MUST(dir >= 0);
	rd_init(&r, p, n);
	make(dir, &r);
	if (store_open(&s, fuzz_dir(), 1 << 20, NULL, why, sizeof(why))) {
		MUST(*why);
	} else {
		had = check_open(s);
		store_close(s);
		MUST(!store_open(&s, fuzz_dir(), 1 << 20, NULL, why,
				 sizeof(why)));
		has = check_open(s);
		MUST(has == had);
		store_close(s);
	}
	close(dir);
	fuzz_dir_clear();
	return 0;
}

/* ---------------------------------------------------------------- seeds */

static void file(struct wr *w, enum where where, const void *p, size_t n)
{
	wr_u8(w, where);
	wr_u16(w, (uint16_t)n);
	if (where == CHUNK || where == CACHED) {
		wr_u64(w, n);
		wr_u8(w, 1);
	}
	wr_bytes(w, p, n);
}

/* A journal of one record: as a store writes it. */
static void journal(struct wr *w, uint64_t chunk, const char *text)
{
	struct chunk_meta m = { .chunk = chunk, .len = (uint32_t)strlen(text) };
	uint8_t record[512] = "pspfsJNL";

	md5_one(text, m.len, m.md5);
	put_u64(record + 8, 5);
	store_trailer_write(record + 32, 0xfeed, COPY_REPLICA, &m);
	memcpy(record + 32 + STORE_TRAILER, text, m.len);
	file(w, JOURNAL_0, record, sizeof(record));
}

void fuzz_seeds(void)
{
	struct wr w = WR_INIT;

	fuzz_seed("empty", "", 0);
	file(&w, CHUNK, "one", 3);
	file(&w, CACHED, "three", 5);
	file(&w, CACHED, "two", 3);
	file(&w, TMP, "half", 4);
	fuzz_seed_wr("chunks", &w);
	file(&w, ODD, "0000000000001201.chunk", 22);
	file(&w, ODD, "0000000000001201.cached", 23);
	file(&w, ODD, "core", 4);
	fuzz_seed_wr("odd", &w);
	file(&w, SWARM, IDENTITY, sizeof(IDENTITY) - 2);
	fuzz_seed_wr("swarm", &w);
	file(&w, CHUNK, "one", 3);
	journal(&w, ID + 1, "made again");
	fuzz_seed_wr("journal", &w);
}
