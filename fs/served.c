/* served -- see served.h. */
#include "served.h"

#include <string.h>

void served_init(struct served *s)
{
	memset(s->slot, 0, sizeof(s->slot));
	pthread_mutex_init(&s->lock, NULL);
}

void served_fini(struct served *s)
{
	pthread_mutex_destroy(&s->lock);
}

/* Ids are given in sequence: neighbours fall into different slots. */
static struct served_slot *slot_of(struct served *s, uint64_t chunk)
{
	return &s->slot[chunk % SERVED_SLOTS];
}

void served_add(struct served *s, uint64_t chunk, uint32_t num)
{
	struct served_slot *e = slot_of(s, chunk);
	int i;

	if (!num)
		return;
	pthread_mutex_lock(&s->lock);
	if (e->chunk != chunk) {
		memset(e, 0, sizeof(*e));
		e->chunk = chunk;
	}
	for (i = 0; i < SERVED_EACH - 1; i++)
		if (e->nums[i] == num)
			break;
	memmove(e->nums + 1, e->nums, (size_t)i * sizeof(*e->nums));
	e->nums[0] = num;
	pthread_mutex_unlock(&s->lock);
}

uint32_t served_get(struct served *s, uint64_t chunk, uint32_t except,
		    uint32_t out[SERVED_EACH])
{
	struct served_slot *e = slot_of(s, chunk);
	uint32_t n = 0;

	pthread_mutex_lock(&s->lock);
	for (int i = 0; i < SERVED_EACH && e->chunk == chunk; i++)
		if (e->nums[i] && e->nums[i] != except)
			out[n++] = e->nums[i];
	pthread_mutex_unlock(&s->lock);
	return n;
}
