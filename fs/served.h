/*
 * served -- whom a chunk was served to lately: other places to ask for it.
 *
 * A fixed table by the chunk's hash; what is newer overwrites what is older.
 * Threads: any.
 */
#ifndef PSPFS_SERVED_H
#define PSPFS_SERVED_H

#include <pthread.h>
#include <stdint.h>

#define SERVED_SLOTS 512
#define SERVED_EACH 4

struct served {
	pthread_mutex_t lock;
	struct served_slot {
		uint64_t chunk;
		uint32_t nums[SERVED_EACH];	/* newest first; 0: none */
	} slot[SERVED_SLOTS];		/* guarded by lock */
};

void served_init(struct served *s);
void served_fini(struct served *s);
void served_add(struct served *s, uint64_t chunk, uint32_t num);
/* Others than @except that have it; returns how many. */
uint32_t served_get(struct served *s, uint64_t chunk, uint32_t except,
		    uint32_t out[SERVED_EACH]);

#endif
