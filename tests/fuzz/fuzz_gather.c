/*
 * fuzz_gather -- the tracker file, made of whatever the tracker answers.
 *
 * Input: answers, each: status u8 (0: none), length u16, body; they are given
 * in turn.  What is gathered is in order and in bounds, as those rely on who
 * fetch by it, and can be written.
 */
#include <errno.h>
#include <sys/stat.h>

#include "fuzz.h"
#include "status.h"
#include "store.h"
#include "track.h"

enum { ASKED_MOST = 64 };

struct answers {
	struct rd r;
	unsigned asked;
};

static int answer(const struct ask *ask, uint16_t type, struct wr *body,
		  struct buf **out, char *why, size_t why_len)
{
	struct answers *a = ask->arg;
	uint8_t status = rd_u8(&a->r);
	size_t n = rd_u16(&a->r);

	(void)type;
	MUST(!body->err);
	wr_fini(body);
	if (why_len)
		why[0] = 0;
	if (!rd_left(&a->r) || ++a->asked > ASKED_MOST)
		return -ENOTCONN;
	if (status)
		return status_to_errno(status);
	if (n > rd_left(&a->r))
		n = rd_left(&a->r);
	*out = buf_dup(rd_bytes(&a->r, n), n);
	return *out ? 0 : -ENOMEM;
}

/* Whoever fetches by it goes by this. */
static void check_pieces(const struct track *t)
{
	uint64_t at = 0;

	for (size_t i = 0; i < t->n_pieces; i++) {
		const struct track_piece *p = &t->pieces[i];

		MUST(p->len && p->at >= at && p->at <= t->size &&
		     p->len <= t->size - p->at);
		MUST(p->chunk_len <= STORE_CHUNK_MAX && p->off <= p->chunk_len &&
		     p->len <= p->chunk_len - p->off);
		at = p->at + p->len;
	}
}

static void check_holders(const struct track *t)
{
	for (size_t i = 0; i < t->n_holders; i++) {
		const struct track_holder *h = &t->holders[i];
		uint64_t at = 0;

		MUST(h->n_ranges && strlen(h->addr) <= MSG_ADDR_MAX);
		for (size_t k = 0; k < h->n_ranges; k++) {
			MUST(h->ranges[k].at >= at &&
			     h->ranges[k].end > h->ranges[k].at &&
			     h->ranges[k].end <= t->size);
			at = h->ranges[k].end;
		}
	}
}

/* Its text, if it is read at all (a lie may show only there). */
static void check_text(const struct track *t)
{
	char *text = NULL, why[512];
	struct track same;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	MUST(f && !track_render(t, f));
	fclose(f);
	f = fmemopen(text, n, "r");
	MUST(f);
	if (!track_parse(&same, f, why, sizeof(why))) {
		MUST(same.n_pieces == t->n_pieces && same.size == t->size);
		track_fini(&same);
	}
	fclose(f);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct answers a = { .asked = 0 };
	const struct ask ask = { .call = answer, .arg = &a };
	struct track t;

	rd_init(&a.r, p, n);
	if (!track_gather(&t, &ask, "/dir/file")) {
		check_pieces(&t);
		check_holders(&t);
		check_text(&t);
	}
	track_fini(&t);
	return 0;
}

/* ---------------------------------------------------------------- seeds */

static void put(struct wr *w, struct wr *body)
{
	MUST(!body->err);
	wr_u8(w, 0);
	wr_u16(w, (uint16_t)body->len);
	wr_bytes(w, body->p, body->len);
	wr_fini(body);
}

static void put_attr(struct wr *w, int lookup, const struct m_attr *attr)
{
	struct m_lookup_r l = { .attr = *attr };
	struct m_getattr_r g = { .attr = *attr };
	struct wr body = WR_INIT;

	if (lookup)
		m_lookup_r_encode(&body, &l);
	else
		m_getattr_r_encode(&body, &g);
	put(w, &body);
}

enum lie { NONE, OUTSIDE, ORDER, LARGE, FAR };

/* Slot 0, with its middle overwritten, and slot 2. */
static void put_map(struct wr *w, const struct m_attr *attr, enum lie lie)
{
	uint32_t holders[] = { 1, 2 };
	struct m_slice low[] = { { 0, 1000, 10, 0 }, { 300, 100, 11, 50 } };
	struct m_slice high[] = { { 0, 200, 12, lie == OUTSIDE } };
	struct m_slot slots[] = {
		{ .index = 0, .version = 1, .slices = low, .n_slices = 2 },
		{ .index = lie == ORDER ? 0 : 2, .version = 1, .slices = high,
		  .n_slices = 1 },
	};
	struct m_chunk chunks[] = {
		{ .id = 10, .len = 1000, .holders = holders, .n_holders = 2 },
		{ .id = 11, .len = 150, .holders = holders, .n_holders = 1 },
		{ .id = 12, .len = 200 },
	};
	struct m_getmap_r r = { .attr = *attr, .slots = slots, .n_slots = 2,
				.chunks = chunks, .n_chunks = 3 };
	struct wr body = WR_INIT;

	if (lie == LARGE)
		chunks[0].len = STORE_CHUNK_MAX + 1;
	if (lie == FAR)		/* its offset in the file wraps around */
		slots[1].index = UINT64_C(0xffffffffffffffff) / 1000 + 1;
	m_getmap_r_encode(&body, &r);
	put(w, &body);
}

static void put_status(struct wr *w)
{
	struct m_peer peers[] = {
		{ .num = 1, .id = 0xa, .addr = STR_LIT("10.0.0.1"),
		  .port = 3457, .state = PEER_ALIVE },
		{ .num = 2, .id = 0xb, .addr = STR_LIT("fd00::2"),
		  .port = 3457, .state = PEER_SUSPECT, .silent_ms = 5000 },
	};
	struct m_status_r s = { .swarm = 0xfeed, .peers = peers, .n_peers = 2 };
	struct m_digest_r d = { .version = 5, .known = 1 };
	struct wr body = WR_INIT;

	m_status_r_encode(&body, &s);
	put(w, &body);
	m_digest_r_encode(&body, &d);
	put(w, &body);
}

void fuzz_seeds(void)
{
	static const char *const names[] = {
		[NONE] = "file", [OUTSIDE] = "outside", [ORDER] = "order",
		[LARGE] = "large", [FAR] = "far",
	};
	struct m_attr dir = { .ino = 1, .mode = S_IFDIR | 0755 };
	struct m_attr attr = { .ino = 7, .mode = S_IFREG | 0644, .size = 2200,
			       .slot_size = 1000, .version = 5 };
	struct wr w = WR_INIT;

	for (enum lie lie = NONE; lie <= FAR; lie++) {
		put_attr(&w, 0, &dir);
		put_attr(&w, 1, &dir);
		put_attr(&w, 1, &attr);
		put_map(&w, &attr, lie);
		put_status(&w);
		fuzz_seed_wr(names[lie], &w);
	}
	put_attr(&w, 0, &dir);
	put_attr(&w, 1, &dir);
	put_attr(&w, 1, &dir);
	wr_u8(&w, 0);
	fuzz_seed_wr("directory", &w);
	wr_u8(&w, ST_NOENT);
	wr_u16(&w, 0);
	wr_u8(&w, 0);
	fuzz_seed_wr("refused", &w);
}
