/* source -- see source.h. */
#include "source.h"

#include "rng.h"

static int compare(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

/* Straight from where it lies; from there all the same; through the tracker;
 * only by good luck. */
static unsigned way(const struct source *s)
{
	return s->away || s->mute ? 3 : s->relay ? 2 : s->busy ? 1 : 0;
}

/* How long it will take, but for a factor: of what is asked at the same time
 * each waits for the others. */
static uint64_t wait(const struct source *s)
{
	return s->outstanding * (s->usual_ms + 1);
}

/* Negative: @a is the better one. */
static int rank(const struct source *a, const struct source *b)
{
	int d = compare(a->bad >= SOURCE_BAD_MAX, b->bad >= SOURCE_BAD_MAX);

	if (!d)
		d = compare(way(a), way(b));
	if (!d)
		d = compare(a->failures, b->failures);
	if (!d)
		d = compare(a->bad != 0, b->bad != 0);
	if (!d)
		d = compare(wait(a), wait(b));
	return d;
}

int source_choose(const struct source *s, size_t n, uint64_t *rng)
{
	int best = -1;
	unsigned equals = 0;

	for (size_t i = 0; i < n; i++) {
		int d;

		if (!s[i].alive || s[i].tried || s[i].asked)
			continue;
		d = best < 0 ? -1 : rank(&s[i], &s[best]);
		if (d < 0) {
			best = (int)i;
			equals = 1;
		} else if (!d && rng_next(rng) % ++equals == 0) {
			best = (int)i;
		}
	}
	return best;
}

uint32_t source_hedge_ms(const struct source *s)
{
	uint32_t usual = s->usual_ms ? s->usual_ms : SOURCE_USUAL_MS;

	if (usual > UINT32_MAX / 3)
		return UINT32_MAX;
	return usual * 3 > SOURCE_HEDGE_MIN_MS ? usual * 3
					       : SOURCE_HEDGE_MIN_MS;
}

int source_may_hedge(struct source_budget *b)
{
	uint64_t most = b->requests / 100 * SOURCE_HEDGE_PERCENT +
			SOURCE_HEDGE_BURST;

	if (b->hedges >= most)
		return 0;
	b->hedges++;
	return 1;
}

uint32_t source_round_ms(unsigned round, uint64_t *rng)
{
	uint32_t ms = SOURCE_ROUND_MAX_MS;

	if (round && round <= 5)
		ms = SOURCE_ROUND_MIN_MS << (round - 1);
	if (ms > SOURCE_ROUND_MAX_MS)
		ms = SOURCE_ROUND_MAX_MS;
	return ms / 2 + (uint32_t)(rng_next(rng) % (ms / 2 + 1));
}
