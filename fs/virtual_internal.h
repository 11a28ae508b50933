/*
 * virtual_internal -- shared by virtual.c (nodes) and virtual_text.c.
 */
#ifndef PSPFS_VIRTUAL_INTERNAL_H
#define PSPFS_VIRTUAL_INTERNAL_H

#include <pthread.h>

#include "virtual.h"

struct node;

struct virtual {
	pthread_mutex_t lock;
	/* guarded by lock */
	struct node *by_ino, *by_key;	/* hashes */
	size_t n;
	uint64_t next;		/* the next node's number */
	size_t text_bytes;	/* of texts that are open */
};

#endif
