/* young -- see young.h. */
#include "young.h"

#include <stdlib.h>
#include <string.h>

#include "table.h"

struct young_chunk {
	uint64_t id;
	UT_hash_handle hh;
};

void young_init(struct young *y, uint64_t now_ms)
{
	memset(y, 0, sizeof(*y));
	y->since_ms = now_ms;
}

static void clear(struct young *y, int g)
{
	struct young_chunk *c, *next;

	HASH_ITER (hh, y->set[g], c, next) {
		HASH_DEL(y->set[g], c);
		free(c);
	}
	y->overflow[g] = 0;
}

void young_fini(struct young *y)
{
	clear(y, 0);
	clear(y, 1);
}

static void age(struct young *y, uint64_t now_ms)
{
	uint64_t passed = now_ms - y->since_ms;

	if (passed < YOUNG_MS)
		return;
	clear(y, 1);
	if (passed < 2 * YOUNG_MS) {
		y->set[1] = y->set[0];
		y->overflow[1] = y->overflow[0];
		y->set[0] = NULL;
		y->overflow[0] = 0;
	} else {
		clear(y, 0);
	}
	y->since_ms = now_ms;
}

void young_add(struct young *y, uint64_t chunk, uint64_t now_ms)
{
	struct young_chunk *c = NULL;

	age(y, now_ms);
	HASH_FIND(hh, y->set[0], &chunk, sizeof(chunk), c);
	if (c)
		return;
	if (HASH_COUNT(y->set[0]) < YOUNG_MAX)
		c = malloc(sizeof(*c));
	if (!c) {
		y->overflow[0] = 1;
		return;
	}
	c->id = chunk;
	HASH_ADD(hh, y->set[0], id, sizeof(c->id), c);
	if (!TABLE_ADDED(c)) {
		free(c);
		y->overflow[0] = 1;
	}
}

int young_has(struct young *y, uint64_t chunk, uint64_t now_ms)
{
	struct young_chunk *c;

	age(y, now_ms);
	for (int g = 0; g < 2; g++) {
		if (y->overflow[g])
			return 1;
		HASH_FIND(hh, y->set[g], &chunk, sizeof(chunk), c);
		if (c)
			return 1;
	}
	return 0;
}
