/*
 * container -- from a member back to the struct that holds it.
 *
 * Work, timers and waits are handed around as a small struct inside a larger
 * one; their callbacks get the small one and come back through this.
 */
#ifndef PSPFS_CONTAINER_H
#define PSPFS_CONTAINER_H

#include <stddef.h>

/* The @type whose @member @ptr points at. */
#define container_of(ptr, type, member)                                       \
	((type *)((char *)(ptr) - offsetof(type, member)))

#endif
