/*
 * fuzz_msg -- every message of msg.def.
 *
 * Input: type u16, body.  What decodes is encoded again and then decodes to
 * the same; memory stays in proportion to the body.
 */
#include <errno.h>

#include "fuzz.h"
#include "../msg_kinds.h"

enum { ARENA_TIMES = 16 };	/* msg.h */

static const struct kind *kind_of(uint16_t type)
{
	for (size_t i = 0; i < N_KINDS; i++)
		if (kinds[i].type == type)
			return &kinds[i];
	return &kinds[type % N_KINDS];
}

static void round_trip(const struct kind *k, const void *m)
{
	struct arena a = ARENA_INIT;
	struct wr w = WR_INIT;
	void *again = malloc(k->size);

	MUST(again);
	MUST(!k->encode(&w, m));
	MUST(!k->decode(again, &a, w.p, w.len));
	MUST(k->same(m, again));
	arena_fini(&a);
	wr_fini(&w);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	const struct kind *k;
	struct arena a = ARENA_INIT;
	const uint8_t *body;
	struct rd r;
	void *m;
	int err;

	rd_init(&r, p, n);
	k = kind_of(rd_u16(&r));
	body = fuzz_rest(&r, &n);
	m = malloc(k->size);
	MUST(m);
	err = k->decode(m, &a, body, n);
	MUST(!err || err == -EBADMSG);
	MUST(a.total <= n * ARENA_TIMES);
	if (!err)
		round_trip(k, m);
	arena_fini(&a);
	free(m);
	return 0;
}

void fuzz_seeds(void)
{
	seed = 1;
	all_lists_of_one = 1;
	for (size_t i = 0; i < N_KINDS; i++) {
		struct arena a = ARENA_INIT;
		struct wr w = WR_INIT;
		void *m = calloc(1, kinds[i].size);

		MUST(m);
		kinds[i].fill(m, &a);
		wr_u16(&w, kinds[i].type);
		MUST(!kinds[i].encode(&w, m));
		fuzz_seed_wr(kinds[i].name, &w);
		arena_fini(&a);
		free(m);
	}
}
