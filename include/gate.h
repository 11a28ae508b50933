/*
 * gate -- counts what is under way, and waits until nothing is.
 *
 * Each piece of work enters before it touches what the gate guards, and
 * leaves as the last thing that it does.
 * Threads: any.
 */
#ifndef PSPFS_GATE_H
#define PSPFS_GATE_H

#include <pthread.h>

struct gate {
	pthread_mutex_t lock;
	pthread_cond_t empty;
	unsigned long inside;	/* guarded by lock */
	int shut;		/* guarded by lock */
};

void gate_init(struct gate *g);
/* 0, or -ECANCELED once the gate is shut. */
int gate_enter(struct gate *g);
/* For one who is inside already: never refused. */
void gate_enter_more(struct gate *g);
void gate_leave(struct gate *g);
/* Nobody enters any more. */
void gate_shut(struct gate *g);
int gate_is_shut(struct gate *g);
/* Shuts, and waits until all have left. */
void gate_wait(struct gate *g);
/* The same; then the gate is no more. */
void gate_fini(struct gate *g);

#endif
