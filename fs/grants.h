/*
 * grants -- chunk ids with their placement, asked of the tracker ahead.
 *
 * Keeps between GRANTS_MIN and GRANTS_MAX ids, the more the faster they go.
 * The first taker starts it; who finds it empty waits for the tracker.
 *
 * Threads: any; the callback runs inside grants_take() or on the control
 *          loop.
 * Errors:  the tracker's; -ENOSPC when it grants none.
 */
#ifndef PSPFS_GRANTS_H
#define PSPFS_GRANTS_H

#include <sys/queue.h>

#include "link.h"

#define GRANTS_MIN 64
#define GRANTS_MAX 512

struct grant {
	STAILQ_ENTRY(grant) next;
	uint64_t id;
	uint32_t n;
	uint32_t targets[];	/* who is to store it */
};

struct grants_wait {
	/* Takes @g (free() it); NULL with @err. */
	void (*fn)(struct grants_wait *w, int err, struct grant *g);
	STAILQ_ENTRY(grants_wait) next;
};

struct grants;
int grants_new(struct grants **out, struct link *l);
void grants_free(struct grants *gs);	/* after link_close() */
/* @w belongs to the pool until its fn is called. */
void grants_take(struct grants *gs, struct grants_wait *w);

#endif
