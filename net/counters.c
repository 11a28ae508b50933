/* counters -- see counters.h. */
#include "counters.h"

#include <assert.h>
#include <stddef.h>

static uint64_t counts[CNT_MAX];

static const struct {
	const char *json, *text;
} names[CNT_MAX] = {
#define COUNTER(name, num, j, t) [num] = { j, t },
	COUNTERS
#undef COUNTER
};

void counter_add(enum counter_id c, uint64_t n)
{
	assert(c < CNT_MAX);
	__atomic_fetch_add(&counts[c], n, __ATOMIC_RELAXED);
}

uint64_t counter_get(enum counter_id c)
{
	assert(c < CNT_MAX);
	return __atomic_load_n(&counts[c], __ATOMIC_RELAXED);
}

const char *counter_json(unsigned c)
{
	return c < CNT_MAX ? names[c].json : NULL;
}

const char *counter_text(unsigned c)
{
	return c < CNT_MAX ? names[c].text : NULL;
}
