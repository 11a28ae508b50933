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
#define MOUNTPOINT_PROBE_MS 3000

struct mounted {
	unsigned major, minor;	/* its device */
	char type[MOUNTPOINT_TYPE_MAX];
};

/* What is mounted at the absolute @path (the topmost); -ENOENT: nothing. */
int mountpoint_find(const char *path, struct mounted *out);
/* The same, from a file of that format. */
int mountpoint_find_in(FILE *f, const char *path, struct mounted *out);

/* Is the topmost mount at the absolute @path one of ours without a daemon?
 * Asks it, MOUNTPOINT_PROBE_MS at most. */
int mountpoint_dead(const char *path);
/* A directory, not a live mount of ours, and FUSE is there.  What a crashed
 * mount left behind is taken away, also several on top of each other, unless
 * @dry.  @out: the absolute path. */
int mountpoint_check(const char *path, int dry, char out[PATH_MAX], char *why,
		     size_t why_len);

#endif
