/*
 * The content of files as a whole, at random, against an array of bytes.
 * A run is repeated by its seed: PSPFS_SEED=N.
 */
#include "file_do.h"

enum { SIZE = 40 * SLOT, STEPS = 400, SEEDS = 12, THREADS = 4 };

static unsigned first_seed = 1;

struct model {
	uint8_t data[SIZE];
	uint64_t size;
	unsigned seed;
};

static uint32_t below(struct model *m, uint32_t n)
{
	return (uint32_t)rand_r(&m->seed) % n;
}

static void pick(struct model *m, uint64_t *off, uint32_t *len)
{
	static const uint32_t most[] = { 16, 600, SLOT, 4 * SLOT };
	uint32_t n = most[below(m, 4)];

	*len = 1 + below(m, n);
	*off = below(m, SIZE - *len);
}

static void fill(struct model *m, uint8_t *p, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		p[i] = rand_r(&m->seed) >> 8;
}

static void model_write(struct model *m, uint64_t off, const void *p,
			uint32_t len)
{
	if (off > m->size)
		memset(m->data + m->size, 0, off - m->size);
	memcpy(m->data + off, p, len);
	if (m->size < off + len)
		m->size = off + len;
}

static void check_read(struct model *m, struct file_handle *h)
{
	uint8_t out[4 * SLOT];
	uint64_t off, want;
	uint32_t len;
	int n;

	pick(m, &off, &len);
	n = do_read(h, off, out, len);
	want = off >= m->size ? 0 : m->size - off;
	if (want > len)
		want = len;
	CHECK_EQ(n, (int)want);
	CHECK(!memcmp(out, m->data + off, want));
}

static void check_size(const struct model *m, uint64_t ino)
{
	struct m_attr a;

	pthread_mutex_lock(&world.lock);
	a = world_file(ino)->attr;
	pthread_mutex_unlock(&world.lock);
	files_overlay(world.fs, &a);
	CHECK(a.size == m->size);
}

/* As ops do: flush, setattr, tell. */
static void truncate_to(struct model *m, uint64_t ino, uint64_t size)
{
	struct call c = CALL_INIT;
	struct m_attr a;

	files_flush_ino(world.fs, ino, call_done, &c);
	CHECK(!call_wait(&c, 1));
	world_truncate(ino, size, &a);
	files_attr(world.fs, &a);
	if (size > m->size)
		memset(m->data + m->size, 0, size - m->size);
	m->size = size;
}

/* What is dirty here would lie above it: flushed before. */
static void remote_write(struct model *m, struct file_handle *h, uint64_t ino)
{
	uint8_t data[SLOT];
	uint64_t off;
	uint32_t len;

	CHECK(!do_flush(h, 0));
	do
		pick(m, &off, &len);
	while (len > SLOT);
	fill(m, data, len);
	world_remote(ino, off, data, len);
	model_write(m, off, data, len);
}

static void lose_leases(uint64_t ino)
{
	uint64_t *open;
	uint32_t n;

	files_lost(world.fs, &open, &n);
	CHECK(n == 1 && open[0] == ino);
	free(open);
}

static void one_step(struct model *m, struct file_handle **h, uint64_t ino)
{
	uint8_t data[4 * SLOT];
	uint64_t off;
	uint32_t len;

	switch (below(m, 40)) {
	case 0:
		CHECK(!do_flush(*h, below(m, 2)));
		break;
	case 1:
		truncate_to(m, ino, below(m, SIZE));
		break;
	case 2:
		remote_write(m, *h, ino);
		break;
	case 3:
		files_revoked(world.fs, &ino, 1);
		break;
	case 4:
		lose_leases(ino);
		break;
	case 5:
		CHECK(!do_flush(*h, 0));
		file_close(*h);
		*h = do_open(ino, 0);
		break;
	case 6:
		world_set(&world.unleased, below(m, 2) * 2);
		break;
	case 7:
		check_size(m, ino);
		break;
	default:
		if (below(m, 2)) {
			check_read(m, *h);
			break;
		}
		pick(m, &off, &len);
		fill(m, data, len);
		CHECK(!do_write(*h, off, data, len));
		model_write(m, off, data, len);
	}
}

static void run_one(unsigned seed)
{
	static struct model m;
	struct file_handle *h;

	world_up(seed);
	m = (struct model){ .seed = seed * 7919 };
	world.delay_us = seed % 3 ? 300 : 3000;
	world.getmap_most = seed % 4 ? 0 : 64;
	h = do_open(1, 0);
	for (int i = 0; i < STEPS; i++)
		one_step(&m, &h, 1);
	CHECK(!do_flush(h, 1));
	CHECK(!world.not_durable);
	file_close(h);
	files_free(world.fs);
	world_files(1 << 20, 50);	/* what the tracker and peers have */
	h = do_open(1, 0);
	for (int i = 0; i < 50; i++)
		check_read(&m, h);
	file_close(h);
	world_down();
}

static void test_random(void **state)
{
	(void)state;
	for (unsigned seed = first_seed; seed < first_seed + SEEDS; seed++)
		run_one(seed);
}

/* --------------------------------------------------------------- threads */

/* Each thread has every fourth block of an odd size: they share slots, not
 * bytes.  The oracle is one array, since nobody reads another's blocks. */
enum { BLOCK = 700, BLOCKS = SIZE / BLOCK };

struct worker {
	pthread_t thread;
	unsigned id, seed;
	uint8_t *data;		/* shared oracle */
	int *written;
};

static void work_block(struct worker *w, struct file_handle *h)
{
	uint32_t b = rand_r(&w->seed) % (BLOCKS / THREADS) * THREADS + w->id;
	uint64_t off = (uint64_t)b * BLOCK;
	uint8_t out[BLOCK];
	uint32_t n = 1 + rand_r(&w->seed) % BLOCK;

	if (w->written[b] && rand_r(&w->seed) % 2) {
		CHECK_EQ(do_read(h, off, out, BLOCK), BLOCK);
		CHECK(!memcmp(out, w->data + off, BLOCK));
		return;
	}
	if (!w->written[b])
		n = BLOCK;
	for (uint32_t i = 0; i < n; i++)
		w->data[off + i] = rand_r(&w->seed) >> 8;
	w->written[b] = 1;
	CHECK(!do_write(h, off, w->data + off, n));
}

static void *worker(void *arg)
{
	struct worker *w = arg;
	struct file_handle *h = do_open(1, 0);

	for (int i = 0; i < STEPS; i++) {
		work_block(w, h);
		if (rand_r(&w->seed) % 50 == 0)
			CHECK(!do_flush(h, w->id == 0));
		if (rand_r(&w->seed) % 100 == 0) {
			CHECK(!do_flush(h, 0));
			file_close(h);
			h = do_open(1, 0);
		}
	}
	CHECK(!do_flush(h, w->id & 1));
	file_close(h);
	return NULL;
}

static void *revoker(void *arg)
{
	int *stop = arg;

	while (!__atomic_load_n(stop, __ATOMIC_RELAXED)) {
		uint64_t ino = 1, *open;
		uint32_t n;

		nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
		files_revoked(world.fs, &ino, 1);
		nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
		files_lost(world.fs, &open, &n);
		free(open);
	}
	return NULL;
}

static void run_threads(unsigned seed)
{
	static uint8_t data[SIZE], out[SIZE];
	static int written[BLOCKS];
	struct worker w[THREADS];
	struct file_handle *h;
	pthread_t r;
	int stop = 0;

	memset(data, 0, sizeof(data));
	memset(written, 0, sizeof(written));
	world_up(seed);
	files_free(world.fs);
	world_files(64 << 10, 20);	/* often at the bound */
	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct worker){ .id = i, .seed = seed * 31 + i,
					.data = data, .written = written };
		pthread_create(&w[i].thread, NULL, worker, &w[i]);
	}
	pthread_create(&r, NULL, revoker, &stop);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(w[i].thread, NULL);
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	pthread_join(r, NULL);
	h = do_open(1, 0);
	CHECK_EQ(do_read(h, 0, out, SIZE), (int)world.files[0].attr.size);
	CHECK(!memcmp(data, out, world.files[0].attr.size));
	file_close(h);
	world_down();
}

static void test_threads(void **state)
{
	(void)state;
	for (unsigned seed = first_seed; seed < first_seed + 4; seed++)
		run_threads(seed);
}

/* --------------------------------------------------------------- appends */

enum { RECORDS = 120, RECORD_MOST = 3 * SLOT };

static uint32_t record_len(unsigned id, unsigned i)
{
	unsigned seed = id * 1000 + i;

	if (i % 16 || id == THREADS)	/* a remote one fits a slot */
		return 8 + rand_r(&seed) % 300;
	return 8 + rand_r(&seed) % (RECORD_MOST - 8);
}

/* {id, number, length} and a filling that says the same. */
static void record_make(uint8_t *p, unsigned id, unsigned i)
{
	uint32_t len = record_len(id, i);

	memset(p, (int)(id * 50 + i), len);
	put_u16(p, id);
	put_u16(p + 2, i);
	put_u32(p + 4, len);
}

static void *appender(void *arg)
{
	struct worker *w = arg;
	struct file_handle *h = do_open(1, 1);
	uint8_t rec[RECORD_MOST];

	for (unsigned i = 0; i < RECORDS; i++) {
		record_make(rec, w->id, i);
		CHECK(!do_write(h, 0, rec, record_len(w->id, i)));
		if (rand_r(&w->seed) % 20 == 0)
			CHECK(!do_flush(h, 0));
	}
	CHECK(!do_flush(h, 0));
	file_close(h);
	return NULL;
}

static void check_records(const uint8_t *p, uint64_t size, unsigned n_ids)
{
	unsigned next[THREADS + 1] = { 0 };
	static uint8_t rec[RECORD_MOST];

	for (uint64_t at = 0, len; at < size; at += len) {
		unsigned id = get_u16(p + at), i = get_u16(p + at + 2);

		CHECK(id < n_ids && i == next[id]++ && i < RECORDS);
		len = record_len(id, i);
		CHECK(len <= size - at);
		record_make(rec, id, i);
		CHECK(!memcmp(p + at, rec, len));
	}
	for (unsigned id = 0; id < n_ids; id++)
		CHECK(next[id] == RECORDS);
}

/* Another mount appends meanwhile: one thread of these is remote. */
static void run_appends(unsigned seed)
{
	static uint8_t out[4 << 20], rec[RECORD_MOST];
	struct worker w[THREADS];
	struct file_handle *h;
	uint64_t size;

	world_up(seed);
	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct worker){ .id = i, .seed = seed + i };
		pthread_create(&w[i].thread, NULL, appender, &w[i]);
	}
	for (unsigned i = 0; i < RECORDS; i++) {
		record_make(rec, THREADS, i);
		world_remote(1, UINT64_MAX, rec, record_len(THREADS, i));
		nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(w[i].thread, NULL);
	size = world.files[0].attr.size;
	h = do_open(1, 0);
	CHECK(size < sizeof(out) && do_read(h, 0, out, size) == (int)size);
	check_records(out, size, THREADS + 1);
	file_close(h);
	world_down();
}

static void test_appends(void **state)
{
	(void)state;
	for (unsigned seed = first_seed; seed < first_seed + 3; seed++)
		run_appends(seed);
}

int main(void)
{
	const char *given = getenv("PSPFS_SEED");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_appends),
	};

	if (given)
		first_seed = (unsigned)strtoul(given, NULL, 10);
	log_init("unit_file_random", LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
