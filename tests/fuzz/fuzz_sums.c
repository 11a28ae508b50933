/*
 * fuzz_sums -- checksums of blocks, from one start to the next.
 *
 * Input: 1 if magic and checksum are to be made right, u8; the file.  What is
 * loaded keeps to its bound, and is the same when it is saved and loaded again.
 */
#include "sums_file.c"

#include "fuzz_file.h"

enum { MOST = 16384 };

static void check_table(struct sums *s)
{
	struct chunk_sums *c;
	size_t n = 0, bytes = 0;

	TAILQ_FOREACH(c, &s->lru, lru) {
		bytes += sizeof(*c) + c->n * sizeof(c->sum[0]);
		n++;
	}
	MUST(bytes == s->bytes && bytes <= s->most);
	MUST(n == HASH_COUNT(s->table));
}

static void check_same(struct sums *a, struct sums *b)
{
	const struct chunk_sums *x, *y = TAILQ_FIRST(&b->lru);

	TAILQ_FOREACH(x, &a->lru, lru) {
		MUST(y && x->id == y->id && x->n == y->n);
		MUST(!memcmp(x->sum, y->sum, x->n * sizeof(x->sum[0])));
		y = TAILQ_NEXT(y, lru);
	}
	MUST(!y);
}

/* As a file it is smaller than in memory, so nothing gets lost. */
static void check_again(struct sums *s, int dir)
{
	struct sums *again;

	sums_save(s, dir);
	MUST(!sums_new(&again, MOST));
	sums_load(again, dir);
	check_same(s, again);
	sums_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	int dir = open(fuzz_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint8_t *file = malloc(n ? n : 1);
	size_t len = n ? n - 1 : 0;
	struct sums *s;

	MUST(dir >= 0 && file);
	if (len)
		memcpy(file, p + 1, len);
	if (n && (p[0] & 1) && len >= MAGIC_LEN + END_LEN) {
		memcpy(file, magic, MAGIC_LEN);
		put_u64(file + len - END_LEN, XXH3_64bits(file, len - END_LEN));
	}
	fuzz_write_at(dir, NAME, file, len);
	MUST(!sums_new(&s, MOST));
	sums_load(s, dir);
	MUST(faccessat(dir, NAME, F_OK, 0));	/* read once */
	check_table(s);
	check_again(s, dir);
	sums_free(s);
	free(file);
	close(dir);
	return 0;
}

void fuzz_seeds(void)
{
	static uint8_t data[3 * SUMS_BLOCK + 1];
	struct sums *s;
	uint8_t *file;
	size_t len;

	MUST(!sums_new(&s, MOST));
	sums_add(s, 0x1001, data, sizeof(data));
	sums_add(s, 0x1002, data, SUMS_BLOCK);
	sums_add(s, 0x1003, data, 0);
	len = size_of(s);
	file = malloc(1 + len);
	MUST(file);
	for (int mended = 0; mended < 2; mended++) {
		file[0] = (uint8_t)mended;
		encode(s, file + 1, len);
		fuzz_seed(mended ? "mended" : "good", file, 1 + len);
	}
	fuzz_seed("torn", file, len - 2);
	fuzz_seed("magic", "\1pspfsSUM", 9);
	free(file);
	sums_free(s);
}
