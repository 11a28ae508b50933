/*
 * file_do -- calls of fs/file.h that are waited for, and turning the knobs
 * of file_world.h.
 */
#ifndef PSPFS_FILE_DO_H
#define PSPFS_FILE_DO_H

#include "file_world.h"

static inline void world_hold(enum task_kind kind, int on)
{
	pthread_mutex_lock(&world.lock);
	world.hold[kind] = on;
	pthread_cond_signal(&world.wake);
	pthread_mutex_unlock(&world.lock);
}

static inline unsigned world_get(const unsigned *p)
{
	unsigned v;

	pthread_mutex_lock(&world.lock);
	v = *p;
	pthread_mutex_unlock(&world.lock);
	return v;
}

static inline uint32_t world_depth(uint64_t ino, uint64_t slot)
{
	uint32_t n;

	pthread_mutex_lock(&world.lock);
	n = world_file(ino)->slots[slot].n;
	pthread_mutex_unlock(&world.lock);
	return n;
}

static inline void world_set(unsigned *p, unsigned v)
{
	pthread_mutex_lock(&world.lock);
	*p = v;
	pthread_mutex_unlock(&world.lock);
}

static inline void set_term(uint64_t term)
{
	pthread_mutex_lock(&world.lock);
	world.term = term;
	pthread_mutex_unlock(&world.lock);
}

/* ---------------------------------------------- calls that are waited for */

struct call {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	int n, err;		/* answers; the last one's error */
	uint8_t *out;
	size_t len;
};

#define CALL_INIT { .lock = PTHREAD_MUTEX_INITIALIZER,                      \
		    .cond = PTHREAD_COND_INITIALIZER }

static inline void call_done(void *arg, int err)
{
	struct call *c = arg;

	pthread_mutex_lock(&c->lock);
	c->n++;
	c->err = err;
	pthread_cond_signal(&c->cond);
	pthread_mutex_unlock(&c->lock);
}

static inline void call_read(void *arg, int err, const struct iovec *iov,
			     int n)
{
	struct call *c = arg;

	for (int i = 0; i < n; i++) {
		memcpy(c->out + c->len, iov[i].iov_base, iov[i].iov_len);
		c->len += iov[i].iov_len;
	}
	call_done(c, err);
}

/* Until @n answers are there; the last one's error. */
static inline int call_wait(struct call *c, int n)
{
	struct timespec ts;
	int err = 0;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += LIMIT_S;
	pthread_mutex_lock(&c->lock);
	while (c->n < n && !err)
		err = pthread_cond_timedwait(&c->cond, &c->lock, &ts);
	CHECK(c->n >= n);
	err = c->err;
	pthread_mutex_unlock(&c->lock);
	return err;
}

static inline int call_count(struct call *c)
{
	int n;

	pthread_mutex_lock(&c->lock);
	n = c->n;
	pthread_mutex_unlock(&c->lock);
	return n;
}

static inline struct file_handle *do_open(uint64_t ino, int append)
{
	struct file_handle *h;
	struct m_attr a;

	pthread_mutex_lock(&world.lock);
	a = world_file(ino)->attr;
	pthread_mutex_unlock(&world.lock);
	CHECK(!file_open(world.fs, &a, append, &h));
	return h;
}

static inline int do_write(struct file_handle *h, uint64_t off,
			   const void *p, size_t n)
{
	struct call c = CALL_INIT;

	file_write(h, off, p, n, 0, call_done, &c);
	return call_wait(&c, 1);
}

static inline int do_flush(struct file_handle *h, int sync)
{
	struct call c = CALL_INIT;

	file_flush(h, sync, call_done, &c);
	return call_wait(&c, 1);
}

/* Bytes read, or -errno. */
static inline int do_read(struct file_handle *h, uint64_t off, void *out,
			  size_t n)
{
	struct call c = CALL_INIT;
	int err;

	c.out = out;
	file_read(h, off, n, call_read, &c);
	err = call_wait(&c, 1);
	return err ? err : (int)c.len;
}

/* Wait until *@p, guarded by world.lock, is at least @n. */
static inline void world_until(const unsigned *p, unsigned n)
{
	uint64_t end = now_ms() + LIMIT_S * 1000;

	while (world_get(p) < n) {
		CHECK(now_ms() < end);
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
}

/* -------------------------------------------------------- a test's frame */

static inline int up(void **state)
{
	(void)state;
	world_up(1);
	return 0;
}

static inline int down(void **state)
{
	(void)state;
	world_down();
	return 0;
}

/* A fresh set of files, as another mount would have it. */
static inline void again(uint64_t dirty_max, uint32_t flush_ms)
{
	files_free(world.fs);
	world_files(dirty_max, flush_ms);
}

static inline void check_content(uint64_t ino, uint64_t off, const void *p,
				 size_t n)
{
	struct file_handle *h = do_open(ino, 0);
	uint8_t *out = malloc(n + 1);

	assert_int_equal(do_read(h, off, out, n), n);
	assert_memory_equal(out, p, n);
	free(out);
	file_close(h);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, up, down)

#endif
