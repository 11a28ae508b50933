/*
 * mountpoint -- may the folder be mounted there?
 *
 * Errors: 0 or -errno, with a sentence of cause and mend in @why.
 */
#ifndef PSPFS_MOUNTPOINT_H
#define PSPFS_MOUNTPOINT_H

#include <limits.h>
#include <stddef.h>
#include <stdio.h>

#define MOUNTPOINT_TYPE "fuse.pspfs"	/* in /proc/self/mountinfo */
#define MOUNTPOINT_TYPE_MAX 64

struct mounted {
	unsigned major, minor;	/* its device */
	char type[MOUNTPOINT_TYPE_MAX];
};

/* What is mounted at the absolute @path (the topmost); -ENOENT: nothing. */
int mountpoint_find(const char *path, struct mounted *out);
/* The same, from a file of that format. */
int mountpoint_find_in(FILE *f, const char *path, struct mounted *out);

/* A directory, not a live mount of ours, and FUSE is there.  What a crashed
 * mount left behind is taken away, unless @dry.  @out: the absolute path. */
int mountpoint_check(const char *path, int dry, char out[PATH_MAX], char *why,
		     size_t why_len);

#endif
