/*
 * fuzz_dgram -- what a datagram must pass before anybody sees it.
 *
 * Input: datagrams, each: how u8, counter u64, length u16, that many bytes of
 * body.  @how says what is wrong with it: its HMAC, its session, or some bits.
 * Let through is exactly what a model of the window lets through, once each.
 */
#include "dgram.c"

#include "fuzz.h"

enum { SESSION = 77, MOST = 256 };
enum how { BAD_MAC = 1, BAD_SESSION = 2, BAD_BITS = 4, OUR_OWN = 8, NEAR = 16 };

static struct addr from = { .len = sizeof(from.ss) };

struct model {
	uint64_t seen[MOST], newest;
	size_t n;
};

/* A stranger, or one of an end that has @secret. */
static size_t make(uint8_t *p, uint64_t counter, unsigned how,
		   const uint8_t *body, size_t n, EVP_MAC_CTX *mac)
{
	put_u64(p, SESSION + !!(how & BAD_SESSION));
	put_u64(p + 8, counter);
	put_u16(p + 16, how);
	if (n)
		memcpy(p + HEADER, body, n);
	n += HEADER;
	MUST(!mac_run(mac, p, n, p + n));
	if (how & BAD_MAC)
		p[n + counter % MAC_LEN] ^= 1u << how % 8;
	if (how & BAD_BITS)
		p[counter % n] ^= 1u << how % 8;
	return n + MAC_LEN;
}

static int is_expected(const struct model *m, uint64_t counter, unsigned how,
		       size_t len)
{
	if (how & (BAD_MAC | BAD_SESSION | BAD_BITS | OUR_OWN))
		return 0;
	if (len > DGRAM_MAX || (counter <= m->newest &&
				m->newest - counter >= WINDOW))
		return 0;
	for (size_t i = 0; i < m->n; i++)
		if (m->seen[i] == counter)
			return 0;
	return 1;
}

static void one(struct dgram_sock *s, struct model *m, struct rd *r)
{
	static uint8_t p[UINT16_MAX + DGRAM_OVERHEAD];
	struct session *x = find(s, SESSION);
	unsigned how = rd_u8(r);
	uint64_t counter = rd_u64(r);
	size_t n = rd_u16(r);
	int good, want;

	if (how & NEAR)		/* else it would hardly ever be in the window */
		counter = m->newest + counter % (3 * WINDOW) - 2 * WINDOW;
	if (n > rd_left(r))
		n = rd_left(r);
	n = make(p, counter, how, rd_bytes(r, n), n,
		 how & OUR_OWN ? x->tx : x->rx);
	want = is_expected(m, counter, how, n);
	x->tokens = DGRAM_RATE;
	good = !examine(s, p, n, &from);
	MUST(good == want);
	if (!good)
		return;
	MUST(x->to.len == from.len);
	m->seen[m->n++] = counter;
	if (counter > m->newest)
		m->newest = counter;
	MUST(examine(s, p, n, &from));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct dgram_sock s = { .lock = PTHREAD_MUTEX_INITIALIZER };
	static const uint8_t secret[64] = { 1, 2, 3, [32] = 4, 5, 6 };
	struct model m = { .n = 0 };
	struct rd r;

	/* as it came: nobody has a key for it */
	MUST(examine(&s, p, n, &from));
	MUST(!dgram_join(&s, SESSION, secret, 1, NULL));
	MUST(examine(&s, p, n, &from));
	rd_init(&r, p, n);
	while (rd_left(&r) && m.n < MOST)
		one(&s, &m, &r);
	dgram_leave(&s, SESSION);
	MUST(!s.sessions);
	return 0;
}

static void put(struct wr *w, unsigned how, uint64_t counter, size_t n)
{
	static const uint8_t body[2 * DGRAM_MAX];

	wr_u8(w, (uint8_t)how);
	wr_u64(w, counter);
	wr_u16(w, (uint16_t)n);
	wr_bytes(w, body, n);
}

void fuzz_seeds(void)
{
	struct wr w = WR_INIT;

	put(&w, 0, 1, 10);
	put(&w, 0, 1, 10);
	put(&w, 0, 5, 0);
	put(&w, 0, 3, 1);
	put(&w, 0, 5 + WINDOW, 1);
	put(&w, 0, 5, 1);
	put(&w, 0, 6, 1);
	fuzz_seed_wr("window", &w);
	put(&w, BAD_MAC, 1, 10);
	put(&w, BAD_SESSION, 1, 10);
	put(&w, BAD_BITS, 1, 10);
	put(&w, OUR_OWN, 1, 10);
	put(&w, 0, 1, 10);
	fuzz_seed_wr("forged", &w);
	put(&w, 0, 1, DGRAM_BODY_MAX);
	put(&w, 0, 2, DGRAM_BODY_MAX + 1);
	fuzz_seed_wr("long", &w);
	put(&w, 0, UINT64_MAX, 1);
	put(&w, 0, UINT64_MAX - WINDOW, 1);
	put(&w, NEAR, 2 * WINDOW - 7, 1);
	fuzz_seed_wr("end", &w);
}
