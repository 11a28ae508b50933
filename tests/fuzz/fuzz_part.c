/*
 * fuzz_part -- DEST.part, as an earlier download left it.
 *
 * Input: how many pieces u8; each: gap u8, length u16, offset in its chunk u8,
 * 1 if its MD5 is to be right, u8; then the file's bytes.  Counted as there
 * is exactly what has its MD5; holes read as zeros afterwards.
 */
#include <errno.h>

#include "fuzz_file.h"
#include "md5.h"
#include "part.h"

enum { PIECES_MOST = 40, TAIL = 10 };

static int no_step(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	MUST(done <= total);
	return 0;
}

struct plan {
	struct track t;
	struct track_piece pieces[PIECES_MOST];
	int right[PIECES_MOST];
};

static void plan_read(struct plan *pl, struct rd *r)
{
	size_t n = rd_u8(r) % (PIECES_MOST + 1);
	uint64_t at = 0;

	*pl = (struct plan){ .t = { .pieces = pl->pieces, .n_pieces = n } };
	for (size_t i = 0; i < n; i++) {
		struct track_piece *p = &pl->pieces[i];

		p->at = at + rd_u8(r);
		p->len = rd_u16(r) + 1u;
		p->off = rd_u8(r);
		p->chunk = i + 1;
		p->chunk_len = p->off + p->len;
		pl->right[i] = rd_u8(r) & 1;
		at = p->at + p->len;
	}
	pl->t.size = at + TAIL;
}

/* What the file would have of @p, zeros behind its end. */
static uint8_t *bytes_of(const struct track_piece *p, const uint8_t *file,
			 size_t n)
{
	uint8_t *b = calloc(1, p->len);

	MUST(b);
	if (p->at < n)
		memcpy(b, file + p->at,
		       n - p->at < p->len ? n - p->at : p->len);
	return b;
}

/* Gives the MD5s; @want: what is to be found. */
static void plan_sums(struct plan *pl, const uint8_t *file, size_t n,
		      uint8_t *want)
{
	for (size_t i = 0; i < pl->t.n_pieces; i++) {
		struct track_piece *p = &pl->pieces[i];
		uint8_t *b = bytes_of(p, file, n);

		md5_one(b, p->len, p->md5);
		free(b);
		p->md5[0] ^= !pl->right[i];
		want[i] = pl->right[i] && !p->off;
	}
}

static void check_hole(int fd, uint64_t at, uint64_t end)
{
	uint8_t bytes[UINT8_MAX];
	size_t n = end - at;

	MUST(n <= sizeof(bytes));
	MUST(pread(fd, bytes, n, (off_t)at) == (ssize_t)n);
	for (size_t i = 0; i < n; i++)
		MUST(!bytes[i]);
}

static void check_holes(int fd, const struct track *t)
{
	uint64_t at = 0;

	for (size_t i = 0; i < t->n_pieces; i++) {
		check_hole(fd, at, t->pieces[i].at);
		at = t->pieces[i].at + t->pieces[i].len;
	}
	check_hole(fd, at, t->size);
}

/* A piece of nothing but zeros may count as absent: the file may have none. */
static int is_zero(const struct track_piece *p, const uint8_t *file, size_t n)
{
	uint8_t *b = bytes_of(p, file, n);
	int zero = !b[0] && !memcmp(b, b + 1, p->len - 1);

	free(b);
	return zero;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	uint8_t have[PIECES_MOST], want[PIECES_MOST];
	char dest[160], path[180];
	const uint8_t *file;
	struct part part;
	struct plan pl;
	struct rd r;

	rd_init(&r, p, n);
	plan_read(&pl, &r);
	file = fuzz_rest(&r, &n);
	if (!file)
		return 0;
	plan_sums(&pl, file, n, want);
	snprintf(dest, sizeof(dest), "%s/dest", fuzz_dir());
	snprintf(path, sizeof(path), "%s" PART_SUFFIX, dest);
	fuzz_write_at(AT_FDCWD, path, file, n);
	MUST(!part_open(&part, &pl.t, dest));
	MUST(!part_check(&part, have, no_step, NULL));
	for (size_t i = 0; i < pl.t.n_pieces; i++)
		MUST(have[i] == want[i] ||
		     (!have[i] && is_zero(&pl.pieces[i], file, n)));
	if (n)
		check_holes(part.fd, &pl.t);
	part_close(&part);
	fuzz_dir_clear();
	return 0;
}

static void piece(struct wr *w, uint8_t gap, uint16_t len, uint8_t off,
		  uint8_t right)
{
	wr_u8(w, gap);
	wr_u16(w, (uint16_t)(len - 1));
	wr_u8(w, off);
	wr_u8(w, right);
}

void fuzz_seeds(void)
{
	static const char text[] = "bytes of an earlier download, some of them";
	struct wr w = WR_INIT;

	wr_u8(&w, 4);
	piece(&w, 0, 10, 0, 1);
	piece(&w, 5, 10, 0, 0);
	piece(&w, 0, 5, 2, 1);
	piece(&w, 1, 20, 0, 1);
	wr_bytes(&w, text, sizeof(text) - 1);
	fuzz_seed_wr("pieces", &w);
	wr_u8(&w, 1);
	piece(&w, 200, 100, 0, 1);
	wr_bytes(&w, text, sizeof(text) - 1);
	fuzz_seed_wr("short", &w);
	wr_u8(&w, 0);
	wr_bytes(&w, text, sizeof(text) - 1);
	fuzz_seed_wr("hole", &w);
	wr_u8(&w, 1);
	piece(&w, 0, 1, 0, 1);
	fuzz_seed_wr("new", &w);
}
