/* file_md5 -- see file_md5.h. */
#include "file_md5.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "whole.h"

#define STEP (256 << 10)	/* bytes read at once */

struct file_md5 {
	pthread_t thread;
	int fd, err;
	int stop;		/* atomic */
	uint64_t size;
	struct whole sum;
	uint8_t buf[STEP];
};

static int read_all(struct file_md5 *f)
{
	uint64_t at = 0;

	while (at < f->size) {
		uint64_t left = f->size - at;
		ssize_t n = pread(f->fd, f->buf, left < STEP ? left : STEP,
				  (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		if (__atomic_load_n(&f->stop, __ATOMIC_RELAXED))
			return -ECANCELED;
		whole_add(&f->sum, f->buf, (size_t)n);
		at += (uint64_t)n;
	}
	return 0;
}

static void *run(void *arg)
{
	struct file_md5 *f = arg;

	f->err = read_all(f);
	return NULL;
}

int file_md5_begin(struct file_md5 **out, int fd, uint64_t size)
{
	struct file_md5 *f = malloc(sizeof(*f));
	int err;

	if (!f)
		return -ENOMEM;
	f->fd = fd;
	f->size = size;
	f->err = 0;
	f->stop = 0;
	whole_init(&f->sum);
	err = -pthread_create(&f->thread, NULL, run, f);
	if (err) {
		whole_fini(&f->sum);
		free(f);
		return err;
	}
	*out = f;
	return 0;
}

void file_md5_stop(struct file_md5 *f)
{
	__atomic_store_n(&f->stop, 1, __ATOMIC_RELAXED);
}

int file_md5_end(struct file_md5 *f, uint8_t md5[16])
{
	int err;

	pthread_join(f->thread, NULL);
	err = f->err;
	if (!err)
		err = whole_end(&f->sum, md5);
	whole_fini(&f->sum);
	free(f);
	return err;
}
