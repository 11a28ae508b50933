/*
 * fuzz_track -- the tracker file.
 *
 * Input: its text.  What is read is in bounds and in order, and its own text
 * is read back to the same text; what is not says why, with its line.
 */
#include <errno.h>

#include "fuzz.h"
#include "track.h"

static int parse(struct track *t, const void *p, size_t n, char why[512])
{
	FILE *f = n ? fmemopen((void *)p, n, "r") : fopen("/dev/null", "r");
	int err;

	MUST(f);
	err = track_parse(t, f, why, 512);
	fclose(f);
	return err;
}

static char *render(const struct track *t, size_t *n)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, n);

	MUST(f && !track_render(t, f));
	fclose(f);
	return text;
}

static void check_pieces(const struct track *t)
{
	uint64_t at = 0;

	for (size_t i = 0; i < t->n_pieces; i++) {
		const struct track_piece *p = &t->pieces[i];

		MUST(p->at >= at && p->len && p->at <= t->size &&
		     p->len <= t->size - p->at);
		MUST(p->off <= p->chunk_len && p->len <= p->chunk_len - p->off);
		at = p->at + p->len;
	}
}

static void check_holders(const struct track *t)
{
	for (size_t i = 0; i < t->n_holders; i++) {
		const struct track_holder *h = &t->holders[i];
		uint64_t at = 0;

		MUST(h->n_ranges && h->port && h->num);
		MUST(strlen(h->addr) <= MSG_ADDR_MAX);
		for (size_t k = 0; k < h->n_ranges; k++) {
			MUST(h->ranges[k].at >= at &&
			     h->ranges[k].end > h->ranges[k].at &&
			     h->ranges[k].end <= t->size);
			at = h->ranges[k].end;
		}
		MUST(track_holds(h, h->ranges[0].at, 1));
	}
}

static void check_again(const struct track *t)
{
	size_t n, n_again;
	char *text = render(t, &n), *again, why[512];
	struct track same;

	MUST(!parse(&same, text, n, why));
	again = render(&same, &n_again);
	MUST(n == n_again && !memcmp(text, again, n));
	MUST(same.n_pieces == t->n_pieces && same.n_holders == t->n_holders);
	track_fini(&same);
	free(text);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct track t;
	char why[512];
	int err = parse(&t, p, n, why);

	if (err) {
		MUST(err == -EINVAL && !strncmp(why, "line ", 5));
		MUST(!t.name && !t.pieces && !t.holders);
		return 0;
	}
	MUST(t.name[0] == '/' && strlen(t.name) < MSG_PATH_MAX);
	check_pieces(&t);
	check_holders(&t);
	check_again(&t);
	track_fini(&t);
	return 0;
}

static void seed(const char *name, const struct track *t)
{
	size_t n;
	char *text = render(t, &n);

	fuzz_seed(name, text, n);
	free(text);
}

void fuzz_seeds(void)
{
	struct track_range some[] = { { 0, 1000 }, { 2000, 3200 } };
	struct track_holder holders[] = {
		{ 1, 0xa, "10.0.0.1", 3457, 1800000000, some, 2 },
		{ 2, 0xb, "fd00::2", 3458, 1800000000, some, 1 },
	};
	struct track_piece pieces[] = {
		{ 0, 10, 1000, 0, 1000, { 1 } },
		{ 1000, 11, 300, 0, 1000, { 2 } },
		{ 1300, 12, 400, 100, 500, { 3 } },
	};
	struct track t = {
		.name = (char *)"/dir/a b%\n", .size = 3200, .swarm = 0xfeed,
		.ino = 7, .version = 5, .chunk_size = 1000,
		.written_s = 1800000000,
	};

	seed("empty", &t);
	t.pieces = pieces;
	t.n_pieces = 3;
	seed("nobody", &t);
	t.has_md5 = 1;
	t.holders = holders;
	t.n_holders = 2;
	seed("whole", &t);
	fuzz_seed("version", "pspfs-track 2\n", 14);
}
