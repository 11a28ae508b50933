/*
 * buf -- see buf.h.
 *
 * The bookkeeping and the data are one allocation.  Large blocks are rounded
 * up to a size class (four to a power of two: at most a quarter is wasted,
 * in pages that nobody touches) and go on the class's free list, since the
 * kernel's zeroing of fresh pages costs more than receiving a chunk into
 * them.
 */
#include "buf.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

enum {
	ALIGN = 64,
	PAGE = 4096,		/* so that the disk can write straight into it */
	SMALLEST_LOG = 16,	/* what is below 64 KiB is malloc's business */
	LARGEST_LOG = 25,	/* above, one would be more than the pool */
	STEPS = 4,		/* classes to a power of two */
	N_CLASSES = (LARGEST_LOG - SMALLEST_LOG) * STEPS + 1,
	NOT_POOLED = -1,
};

struct block {			/* the data follow, see head_of() */
	_Alignas(ALIGN) struct buf buf;
	int class;		/* fixed after buf_new; or NOT_POOLED */
	SLIST_ENTRY(block) link;	/* guarded by pool.lock */
};

static struct {
	pthread_mutex_t lock;
	SLIST_HEAD(block_list, block) free[N_CLASSES];
	size_t bytes;		/* in all free lists */
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER };

static size_t in_use;		/* atomic */

size_t buf_in_use(void)
{
	return __atomic_load_n(&in_use, __ATOMIC_RELAXED);
}

/* The least class of at least @cap bytes; *cap becomes the class's size. */
static int class_of(size_t *cap)
{
	int log, class;
	size_t step;

	if (*cap < (size_t)1 << SMALLEST_LOG || *cap > (size_t)1 << LARGEST_LOG)
		return NOT_POOLED;
	log = 63 - __builtin_clzll(*cap);
	step = ((size_t)1 << log) / STEPS;
	class = (int)((*cap - ((size_t)1 << log) + step - 1) / step);
	*cap = ((size_t)1 << log) + (size_t)class * step;
	return (log - SMALLEST_LOG) * STEPS + class;
}

/* Bytes in front of the data, and how both are aligned. */
static size_t head_of(int class)
{
	return class == NOT_POOLED ? sizeof(struct block) : PAGE;
}

static uint8_t *data_of(struct block *b)
{
	return (uint8_t *)b + head_of(b->class);
}

static struct block *pool_get(int class)
{
	struct block *b;

	pthread_mutex_lock(&pool.lock);
	b = SLIST_FIRST(&pool.free[class]);
	if (b) {
		SLIST_REMOVE_HEAD(&pool.free[class], link);
		pool.bytes -= b->buf.cap;
	}
	pthread_mutex_unlock(&pool.lock);
	if (b)
		ASAN_UNPOISON_MEMORY_REGION(data_of(b), b->buf.cap);
	return b;
}

/* 0 when the pool is full. */
static int pool_put(struct block *b)
{
	int kept = 0;

	ASAN_POISON_MEMORY_REGION(data_of(b), b->buf.cap);
	pthread_mutex_lock(&pool.lock);
	if (b->buf.cap <= BUF_POOL_MAX - pool.bytes) {
		pool.bytes += b->buf.cap;
		SLIST_INSERT_HEAD(&pool.free[b->class], b, link);
		kept = 1;
	}
	pthread_mutex_unlock(&pool.lock);
	if (!kept)
		ASAN_UNPOISON_MEMORY_REGION(data_of(b), b->buf.cap);
	return kept;
}

struct buf *buf_new(size_t cap)
{
	int class = class_of(&cap);
	size_t head = head_of(class);
	struct block *b = class == NOT_POOLED ? NULL : pool_get(class);

	if (!b) {
		if (cap > SIZE_MAX - 2 * head)
			return NULL;
		if (posix_memalign((void **)&b, class == NOT_POOLED ? ALIGN
								    : PAGE,
				   head + cap))
			return NULL;
		b->class = class;
		b->buf.cap = cap;
	}
	__atomic_add_fetch(&in_use, b->buf.cap, __ATOMIC_RELAXED);
	b->buf.data = data_of(b);
	b->buf.len = 0;
	b->buf.refs = 1;
	b->buf.parent = NULL;
	return &b->buf;
}

struct buf *buf_view(struct buf *b, size_t off, size_t len)
{
	struct buf *v;

	assert(off <= b->cap && len <= b->cap - off);
	v = buf_new(0);
	if (!v)
		return NULL;
	v->data = b->data + off;
	v->len = len;
	v->cap = b->cap - off;
	v->parent = buf_ref(b->parent ? b->parent : b);
	return v;
}

struct buf *buf_dup(const void *p, size_t n)
{
	struct buf *b = buf_new(n);

	if (!b)
		return NULL;
	if (n)
		memcpy(b->data, p, n);
	b->len = n;
	return b;
}

struct buf *buf_ref(struct buf *b)
{
	int was = __atomic_fetch_add(&b->refs, 1, __ATOMIC_RELAXED);

	assert(was > 0);
	return b;
}

void buf_unref(struct buf *b)
{
	struct block *block = (struct block *)b;
	int was;

	if (!b)
		return;
	was = __atomic_fetch_sub(&b->refs, 1, __ATOMIC_ACQ_REL);
	assert(was > 0);
	if (was > 1)
		return;
	if (!b->parent)		/* a view has no bytes of its own */
		__atomic_sub_fetch(&in_use, b->cap, __ATOMIC_RELAXED);
	buf_unref(b->parent);
	if (block->class == NOT_POOLED || !pool_put(block))
		free(block);
}
