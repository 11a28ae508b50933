/*
 * hidden -- a file of the swarm that is made under a hidden name beside its
 * own, and renamed when it is whole.
 *
 * What fails is told in a sentence on stderr.  All but hidden_remove() return
 * a CLI_ code.  Blocks, as ask does.
 */
#ifndef PSPFS_HIDDEN_H
#define PSPFS_HIDDEN_H

#include <sys/stat.h>

#include "cli.h"

struct hidden {
	char path[MSG_PATH_MAX];	/* its own */
	char name[MSG_NAME_MAX + 1];
	char temporary[64];
	uint64_t parent;
	uint64_t ino;		/* 0: it was not made */
};

/* Where @path is, or @base in it if that is a directory; refused if there is
 * something already. */
int hidden_place(struct hidden *h, const struct ask *ask, const char *path,
		 const char *base);
/* Make it, empty: @like's permissions, of whoever runs this. */
int hidden_make(struct hidden *h, const struct ask *ask, uint32_t slot_size,
		const struct stat *like);
/* It gets its name, durably; refused if somebody took that meanwhile. */
int hidden_show(struct hidden *h, const struct ask *ask);
void hidden_remove(struct hidden *h, const struct ask *ask);

#endif
