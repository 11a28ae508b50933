/*
 * fuzz_map -- a page of a file's map, as the tracker answers it.
 *
 * Input: slot size u32, first slot u64, how many u8; what a commit of ours
 * then pushes: slot u8, pos u32, len u32; the answer's body.  Of a page that
 * is believed every slot can be resolved, and every chunk that a slice names
 * is known, also after the push.
 */
#include "file_map.c"

#include "fuzz.h"
#include "slices.h"

static void check_slot(const struct page *p, const struct mslot *s,
		       uint32_t slot_size)
{
	struct piece *v;
	size_t n;

	for (uint32_t i = 0; i < s->n; i++) {
		const struct m_slice *x = &s->v[i];

		MUST(x->len <= slot_size && x->pos <= slot_size - x->len);
		MUST(!x->chunk || file_map_chunk(p, x->chunk));
	}
	if (slices_resolve(s->v, s->n, 0, slot_size, &v, &n))
		return;		/* its read fails */
	MUST(n && v[n - 1].pos + v[n - 1].len == slot_size);
	free(v);
}

static void check_page(const struct page *p, uint32_t slot_size)
{
	for (uint32_t i = 0; i < p->count; i++)
		check_slot(p, &p->slots[i], slot_size);
}

/* As our own commits are: inside the slot, of a new chunk. */
static void push_one(struct page *p, uint32_t slot_size, uint8_t slot,
		     uint32_t pos, uint32_t len)
{
	struct m_slice s = { .chunk = UINT64_MAX };
	struct m_chunk c = { .id = UINT64_MAX };
	int err;

	s.pos = pos % slot_size;
	s.len = 1 + len % (slot_size - s.pos);
	c.len = s.len;
	err = push(p, p->first + slot % p->count, &s, &c);
	MUST(!err || err == -E2BIG);
}

static struct page *read_page(struct rd *r, uint32_t *slot_size)
{
	struct file f = { .slot_size = FILE_SLOT_MIN };
	struct map_req q = { .f = &f };
	struct arena a = ARENA_INIT;
	struct page *p = NULL;
	struct m_getmap_r m;
	const uint8_t *body;
	size_t n;

	f.slot_size += rd_u32(r) % (FILE_SLOT_MAX - FILE_SLOT_MIN + 1);
	q.first = rd_u64(r);
	q.count = 1 + rd_u8(r);
	*slot_size = f.slot_size;
	rd_bytes(r, 9);
	body = fuzz_rest(r, &n);
	if (body && !m_getmap_r_decode(&m, &a, body, n) &&
	    page_new(&p, &q, &m))
		p = NULL;
	arena_fini(&a);		/* it has copies of all */
	return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct page *page;
	uint32_t slot_size;
	struct rd r;

	rd_init(&r, p, n);
	page = read_page(&r, &slot_size);
	if (!page)
		return 0;
	check_page(page, slot_size);
	push_one(page, slot_size, p[13], get_u32(p + 14), get_u32(p + 18));
	check_page(page, slot_size);
	file_page_put(page);
	return 0;
}

static void seed(const char *name, uint64_t first, uint64_t unknown)
{
	uint32_t holders[] = { 1, 2 };
	struct m_slice low[] = { { 0, 1000, 10, 0 }, { 300, 100, 11, 50 } };
	struct m_slice high[] = { { 0, 200, 11, 0 }, { 900, 124, unknown, 0 } };
	struct m_slot slots[] = {
		{ .index = 4, .version = 1, .slices = low, .n_slices = 2 },
		{ .index = 6, .version = 1, .slices = high, .n_slices = 2 },
	};
	struct m_chunk chunks[] = {
		{ .id = 10, .len = 1000, .holders = holders, .n_holders = 2 },
		{ .id = 11, .len = 200 },
	};
	struct m_getmap_r r = { .slots = slots, .n_slots = 2,
				.chunks = chunks, .n_chunks = 2 };
	struct wr w = WR_INIT;

	wr_u32(&w, 0);
	wr_u64(&w, first);
	wr_u8(&w, 7);
	wr_u8(&w, 2);
	wr_u32(&w, 0);
	wr_u32(&w, 500);
	MUST(!m_getmap_r_encode(&w, &r));
	fuzz_seed_wr(name, &w);
}

void fuzz_seeds(void)
{
	seed("page", 0, 0);
	seed("unknown", 0, 12);
	seed("before", 5, 0);
	seed("after", UINT64_MAX - 3, 0);
}
