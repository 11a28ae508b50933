/*
 * trouble -- sentences for people: why the tracker cannot be used, and the
 * mend.
 */
#ifndef PSPFS_TROUBLE_H
#define PSPFS_TROUBLE_H

#include <stddef.h>

/* @err: -errno of a connection or hello; @at: the tracker's HOST:PORT. */
void trouble_tracker(int err, const char *at, const char *key_file,
		     char *out, size_t n);

#endif
