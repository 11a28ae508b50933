/*
 * fuzz_slices -- stacks of slices as they may come in a getmap or a commit.
 *
 * Input: pos, len and to of the range, u32 each; then slices of 20 bytes:
 * pos, len, chunk (u64), off.  Pieces cover the range exactly, each is what
 * the newest slice there says; what is taken shows the same.
 */
#include <errno.h>

#include "fuzz.h"
#include "slices.h"

enum { SLICE_BYTES = 20, STACK_MAX = 64 };

static size_t read_stack(struct rd *r, struct m_slice v[STACK_MAX])
{
	size_t n = 0;

	for (; n < STACK_MAX && rd_left(r) >= SLICE_BYTES; n++) {
		v[n].pos = rd_u32(r);
		v[n].len = rd_u32(r);
		v[n].chunk = rd_u64(r);
		v[n].off = rd_u32(r);
	}
	return n;
}

/* Who shows byte @at: the newest slice over it. */
static uint32_t shown(const struct m_slice *v, size_t n, uint32_t at)
{
	while (n--)
		if (at >= v[n].pos && at - v[n].pos < v[n].len)
			return (uint32_t)n;
	return UINT32_MAX;
}

static void check_piece(const struct m_slice *v, size_t n,
			const struct piece *q, uint32_t at)
{
	uint32_t from = shown(v, n, at);

	MUST(q->from == from);
	if (from == UINT32_MAX || !v[from].chunk)
		MUST(!q->chunk && !q->off);
	else
		MUST(q->chunk == v[from].chunk &&
		     q->off + (at - q->pos) == v[from].off + (at - v[from].pos));
}

static void check_pieces(const struct m_slice *v, size_t n, uint32_t pos,
			 uint32_t len, const struct piece *q, size_t n_q)
{
	uint32_t at = pos;

	MUST(n_q <= 2 * n + 1);
	for (size_t i = 0; i < n_q; i++) {
		MUST(q[i].pos == at && q[i].len && q[i].len <= pos + len - at);
		check_piece(v, n, &q[i], q[i].pos);
		check_piece(v, n, &q[i], q[i].pos + q[i].len - 1);
		at += q[i].len;
	}
	MUST(at == pos + len);
}

/* @taken shows at @to what the pieces show at @pos. */
static void check_taken(const struct m_slice *taken, size_t n_t, uint32_t pos,
			uint32_t to, const struct piece *q, size_t n_q)
{
	uint32_t end = to;

	for (size_t i = 0; i < n_t; i++) {
		MUST(taken[i].chunk && taken[i].len && taken[i].pos >= end);
		end = taken[i].pos + taken[i].len;
	}
	for (size_t i = 0; i < n_q; i++) {
		uint32_t at = q[i].pos - pos + to;
		uint32_t k = shown(taken, n_t, at);

		MUST((k != UINT32_MAX) == (q[i].chunk != 0));
		if (k != UINT32_MAX)
			MUST(taken[k].chunk == q[i].chunk &&
			     taken[k].off + (at - taken[k].pos) == q[i].off);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct m_slice v[STACK_MAX], *taken;
	uint32_t pos, len, to;
	struct piece *q;
	size_t n_q, n_t;
	struct rd r;
	int err, took;

	rd_init(&r, p, n);
	pos = rd_u32(&r);
	len = rd_u32(&r);
	to = rd_u32(&r);
	n = read_stack(&r, v);
	slices_end(v, n);
	err = slices_resolve(v, n, pos, len, &q, &n_q);
	took = slices_take(v, n, pos, len, to, &taken, &n_t);
	MUST(!err || err == -EBADMSG);
	MUST(took == (len > UINT32_MAX - to ? -EBADMSG : err));
	if (!err)
		check_pieces(v, n, pos, len, q, n_q);
	if (!took)
		check_taken(taken, n_t, pos, to, q, n_q);
	if (!err)
		free(q);
	if (!took)
		free(taken);
	return 0;
}

static void range(struct wr *w, uint32_t pos, uint32_t len, uint32_t to)
{
	wr_u32(w, pos);
	wr_u32(w, len);
	wr_u32(w, to);
}

static void slice(struct wr *w, uint32_t pos, uint32_t len, uint64_t chunk,
		  uint32_t off)
{
	wr_u32(w, pos);
	wr_u32(w, len);
	wr_u64(w, chunk);
	wr_u32(w, off);
}

void fuzz_seeds(void)
{
	struct wr w = WR_INIT;

	range(&w, 5, 10, 0);
	fuzz_seed_wr("hole", &w);
	range(&w, 0, 120, 1000);
	slice(&w, 0, 100, 1, 1000);
	slice(&w, 40, 20, 2, 5);
	slice(&w, 50, 5, 0, 0);
	fuzz_seed_wr("stack", &w);
	range(&w, 100, 50, 100);
	slice(&w, 0, 110, 7, 0);
	slice(&w, 110, 90, 7, 110);
	fuzz_seed_wr("joined", &w);
	range(&w, UINT32_MAX - 4, 4, UINT32_MAX - 4);
	slice(&w, UINT32_MAX - 4, 4, 1, UINT32_MAX - 4);
	fuzz_seed_wr("end", &w);
	range(&w, 0, 1, 0);
	slice(&w, UINT32_MAX - 4, 5, 1, 0);
	fuzz_seed_wr("past", &w);
}
