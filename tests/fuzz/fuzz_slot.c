/*
 * fuzz_slot -- a slot's stack of slices as the database has it.
 *
 * Input: how many zero slices come first u16, then the rest of a row's blob.
 * What is read is packed again to the same bytes; a blob of a wrong length, or
 * too long, is refused.
 */
#include "ns_slot.c"

#include "fuzz.h"

static void check_packed(const uint8_t *p, size_t n)
{
	struct ns_slice *v;
	uint8_t *again;
	uint32_t count;
	int err = ns_slices_count(n, &count);

	MUST(!err == (n % NS_SLICE_BYTES == 0 &&
		      n / NS_SLICE_BYTES <= NS_STACK_MAX));
	if (err)
		return;
	v = calloc(count + 1, sizeof(*v));
	again = malloc(n + 1);
	MUST(v && again);
	for (uint32_t i = 0; i < count; i++)
		v[i] = ns_slices_get(p, i);
	pack(again, v, count);
	MUST(!n || !memcmp(p, again, n));
	free(again);
	free(v);
}

/* What a stack does with slices that may reach past its slot. */
static void check_stack(const uint8_t *p, size_t n)
{
	struct ns_stack st = { 0 };
	struct m_slice *all, *taken = NULL;
	size_t n_taken = 0;
	uint32_t count;

	if (ns_slices_count(n, &count) || stack_room(&st, count))
		return;
	for (uint32_t i = 0; i < count; i++)
		st.v[i] = ns_slices_get(p, i);
	st.n = count;
	MUST(ns_stack_bytes(&st, 1000) <= 1000);
	drop_bottom_zeros(&st);
	MUST(!st.n || st.v[0].s.chunk);
	all = ns_stack_slices(&st);
	MUST(all);
	if (!slices_take(all, st.n, 0, 1000, 0, &taken, &n_taken))
		free(taken);
	is_covered(st.v, st.n, 10, 500);
	free(all);
	ns_stack_fini(&st);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	size_t zeros, rest;
	uint8_t *blob;
	struct rd r;

	rd_init(&r, p, n);
	zeros = rd_u16(&r) % (2 * NS_STACK_MAX) * (size_t)NS_SLICE_BYTES;
	p = fuzz_rest(&r, &rest);
	blob = calloc(1, zeros + rest + 1);
	MUST(blob);
	if (rest)
		memcpy(blob + zeros, p, rest);
	check_packed(blob, zeros + rest);
	check_stack(blob, zeros + rest);
	free(blob);
	return 0;
}

static void slice(struct wr *w, uint32_t pos, uint32_t len, uint64_t chunk,
		  uint32_t off, uint64_t pushed)
{
	struct ns_slice s = { { pos, len, chunk, off }, pushed };
	uint8_t p[NS_SLICE_BYTES];

	pack(p, &s, 1);
	wr_bytes(w, p, sizeof(p));
}

void fuzz_seeds(void)
{
	struct wr w = WR_INIT;

	wr_u16(&w, 0);
	slice(&w, 0, 100, 0, 0, 1);
	slice(&w, 0, 1000, 10, 0, 2);
	slice(&w, 300, 100, 11, 50, 3);
	slice(&w, 350, 10, 0, 0, 4);
	fuzz_seed_wr("stack", &w);
	wr_u16(&w, 1);
	slice(&w, UINT32_MAX, UINT32_MAX, 1, UINT32_MAX, UINT64_MAX);
	fuzz_seed_wr("far", &w);
	wr_u16(&w, 0);
	slice(&w, 0, 1, 1, 0, 1);
	w.len--;
	fuzz_seed_wr("cut", &w);
	wr_u16(&w, NS_STACK_MAX);
	fuzz_seed_wr("full", &w);
	wr_u16(&w, NS_STACK_MAX);
	slice(&w, 0, 1, 1, 0, 1);
	fuzz_seed_wr("over", &w);
}
