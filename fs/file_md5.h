/*
 * file_md5 -- the MD5 of a whole local file, on a thread of its own.
 *
 * Threads: begin and end on one; @fd is read with pread() meanwhile.
 * Errors:  0 or -errno; -EIO the file is shorter than @size.
 */
#ifndef PSPFS_FILE_MD5_H
#define PSPFS_FILE_MD5_H

#include <stdint.h>

struct file_md5;

int file_md5_begin(struct file_md5 **out, int fd, uint64_t size);
/* Tells it to give up, if it is not through; then wait with file_md5_end(). */
void file_md5_stop(struct file_md5 *f);
/* Waits for it; frees. */
int file_md5_end(struct file_md5 *f, uint8_t md5[16]);

#endif
