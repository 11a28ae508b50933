/*
 * unit_faults_net -- every allocation and every call to the system of net/'s
 * modules fails once: an error is told, or it is done; a call ends, and the
 * next one works.
 */
#include "faults.h"

#define RIG_PORT 42220
#include "rpc_rig.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "daemon.h"
#include "dgram.h"
#include "hasher.h"
#include "pool.h"

static char dir[64];

static char *in_dir(const char *name)
{
	static char path[4][96];
	static unsigned at;
	char *p = path[at++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

/* ------------------------------------------------------------------ files */

/* Where unlink() failed its file is left. */
static void remove_sub(void)
{
	DIR *d = opendir(in_dir("sub"));
	struct dirent *e;

	while (d && (e = readdir(d)))
		unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	rmdir(in_dir("sub"));
}

static void key_round(void *arg)
{
	struct key first, second;
	int made = 0, err;

	(void)arg;
	remove_sub();
	faults_on();
	err = key_load_or_make(&first, in_dir("sub/key"), &made);
	if (!faults_off())
		assert_int_equal(err, 0);
	if (!err)
		assert_int_equal(made, 1);
	/* what was told is there; half a key never is */
	assert_int_equal(key_load_or_make(&second, in_dir("sub/key"), &made),
			 0);
	if (!err)
		assert_memory_equal(&first, &second, sizeof(first));
	faults_on();
	err = key_load(&first, in_dir("sub/key"));
	if (!faults_off())
		assert_int_equal(err, 0);
	if (!err)
		assert_memory_equal(&first, &second, sizeof(first));
}

static void test_key(void **state)
{
	(void)state;
	faults_each(FAULTS_FILE, key_round, NULL);
	remove_sub();
}

static long size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) ? 0 : (long)st.st_size;
}

/* A log that cannot be opened leaves the one before. */
static void log_round(void *arg)
{
	static int line;	/* many of one are told as one */
	int err;

	(void)arg;
	unlink(in_dir("log"));
	faults_on();
	err = log_open(in_dir("log"));
	log_at(LOG_ERROR, __FILE__, ++line, "a line");
	if (!err)
		err = log_reopen();
	if (!faults_off()) {
		assert_int_equal(err, 0);
		assert_true(size_of(in_dir("log")) > 6);
	}
	assert_int_equal(log_open(in_dir("log2")), 0);
	log_at(LOG_ERROR, __FILE__, ++line, "a line");
	assert_true(size_of(in_dir("log2")) > 6);
	assert_int_equal(log_open("/dev/null"), 0);
	unlink(in_dir("log"));
	unlink(in_dir("log2"));
}

static void pidfile_round(void *arg)
{
	char text[32] = "";
	int err, fd;

	(void)arg;
	faults_on();
	err = daemon_pidfile(in_dir("pid"));
	if (!faults_off())
		assert_int_equal(err, 0);
	fd = open(in_dir("pid"), O_RDONLY);
	if (!err) {
		assert_true(read(fd, text, sizeof(text) - 1) > 0);
		assert_int_equal(atoi(text), getpid());
	}
	if (fd >= 0)
		close(fd);
	unlink(in_dir("pid"));
}

static void test_files(void **state)
{
	(void)state;
	faults_each(FAULTS_FILE, log_round, NULL);
	faults_each(FAULTS_FILE, pidfile_round, NULL);
}

/* ----------------------------------------------------------------- memory */

/* A message with lists, there and back. */
static void msg_round(void *arg)
{
	uint32_t holders[] = { 1, 2, 3 };
	struct m_slice slices[40];
	struct m_chunk chunks[40];
	struct m_slot slots[] = { { 7, 3, slices, 20 }, { 9, 1, slices, 40 } };
	struct m_getmap_r m = { .slots = slots, .n_slots = 2,
				.chunks = chunks, .n_chunks = 40 }, back;
	struct arena a = ARENA_INIT;
	struct wr w = WR_INIT;
	int err;

	(void)arg;
	for (uint32_t i = 0; i < 40; i++) {
		slices[i] = (struct m_slice){ i, 1, i + 1, 0 };
		chunks[i] = (struct m_chunk){ .id = i + 1, .len = 1,
					      .holders = holders,
					      .n_holders = 3 };
	}
	faults_on();
	err = m_getmap_r_encode(&w, &m);
	if (!err)
		err = m_getmap_r_decode(&back, &a, w.p, w.len);
	if (!faults_off())
		assert_int_equal(err, 0);
	if (err) {
		assert_int_equal(err, -ENOMEM);
	} else {
		/* cppcheck-suppress uninitStructMember ; decoded */
		assert_int_equal(back.n_slots, 2);
		assert_int_equal(back.slots[1].n_slices, 40);
		assert_int_equal(back.slots[1].slices[39].chunk, 40);
		assert_int_equal(back.chunks[39].holders[2], 3);
	}
	arena_fini(&a);
	wr_fini(&w);
}

static void buf_round(void *arg)
{
	size_t size = *(size_t *)arg;
	struct buf *b, *v = NULL, *d = NULL;
	int failed;

	faults_on();
	b = buf_new(size);
	if (b)
		memset(b->data, 1, size);
	if (b && (v = buf_view(b, 10, 20)))
		d = buf_dup(v->data, v->len);
	failed = !d;
	buf_unref(b);
	if (v)
		assert_int_equal(v->data[5], 1);
	buf_unref(v);
	buf_unref(d);
	if (!faults_off())
		assert_false(failed);
}

/* Threads that do not start. */
static void threads_round(void *arg)
{
	struct hasher *h = NULL;
	struct pool *p = NULL;
	struct loop *l = NULL;
	int err;

	(void)arg;
	faults_on();
	err = loop_new(&l, "test");
	if (!err)
		err = pool_new(&p, "test", 4);
	if (!err)
		err = hasher_new(&h);
	if (!faults_off())
		assert_int_equal(err, 0);
	if (h)
		hasher_free(h);
	if (p)
		pool_free(p);
	if (l)
		loop_free(l);
}

static void test_memory(void **state)
{
	static size_t small = 100, large = 1 << 20;

	(void)state;
	faults_each(FAULT_BIT(FAULT_MEMORY), msg_round, NULL);
	faults_each(FAULT_BIT(FAULT_MEMORY), buf_round, &small);
	faults_each(FAULT_BIT(FAULT_MEMORY), buf_round, &large);
	faults_each(FAULT_BIT(FAULT_MEMORY), threads_round, NULL);
}

/* -------------------------------------------------------------- datagrams */

static void on_dgram(const struct dgram *d, void *arg)
{
	(void)d;
	sem_post(arg);
}

static void dgram_round(void *arg)
{
	static const uint8_t secret[64] = { 1 };
	struct dgram_sock *a = NULL, *b = NULL;
	struct addr at[2];
	struct loop *l;
	sem_t came;
	int err;

	(void)arg;
	sem_init(&came, 0, 0);
	assert_int_equal(loop_new(&l, "test"), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(addr_from_ip(RIG_IP, sizeof(RIG_IP) - 1,
					      (uint16_t)(RIG_PORT + 1 + i),
					      &at[i]), 0);
	faults_on();
	err = dgram_open(&a, l, &at[0], on_dgram, &came);
	if (!err)
		err = dgram_open(&b, l, &at[1], on_dgram, &came);
	for (uint64_t i = 1; i < 20 && !err; i++)
		err = dgram_join(a, i, secret, 0, &at[1]);
	if (!err)
		err = dgram_join(b, 1, secret, 1, NULL);
	if (!err)
		(void)dgram_send(a, 1, 5, "hello", 5);	/* may be lost */
	if (!faults_off())
		assert_int_equal(err, 0);
	if (!err) {	/* another is not */
		assert_int_equal(dgram_send(a, 1, 5, "hello", 5), 0);
		must_wait(&came);
	}
	if (a)
		dgram_close(a);
	if (b)
		dgram_close(b);
	loop_free(l);
}

static void test_dgram(void **state)
{
	(void)state;
	faults_each(FAULTS_NET, dgram_round, NULL);
}

/* ------------------------------------------------------------------ calls */

static void rpc_round(void *arg)
{
	struct wr w = WR_INIT, again = WR_INIT;
	struct buf *bulk = bulk_of(100000, 3);
	struct result r[3];
	struct client k = { 0 }, k2;
	uint16_t type = *(uint16_t *)arg;
	int err;

	rig_open(&rig, RIG_PORT);
	sem_init(&k.up, 0, 0);
	sem_init(&k.down, 0, 0);
	wr_u64(&w, 7);
	faults_on();
	err = rpc_connect(&k.conn, rig.client_loop, &rig.client, &rig.at, NULL,
			  ROLE_TRACKER, 0, &client_ops, &k);
	if (!err) {
		for (int i = 0; i < 3; i++)
			call_start(&k, &r[i], type, i ? &again : &w,
				   i ? NULL : bulk, 3000);
		for (int i = 0; i < 3; i++)
			must_wait(&r[i].over);
	}
	if (!faults_off()) {
		assert_int_equal(err, 0);
		assert_int_equal(r[0].err, 0);
	}
	for (int i = 0; i < 3 && !err; i++) {
		assert_int_equal(r[i].calls, 1);
		if (!r[i].err && !i)
			assert_true(same_bytes(r[i].bulk, bulk));
		result_fini(&r[i]);
	}
	if (!err) {
		rpc_close(k.conn);
		client_end(&k);
	}
	wr_fini(&w);
	/* another finds all in order */
	client_open(&k2, &rig);
	assert_int_equal(call_once(&k2, T_ECHO, 5000), 0);
	client_close(&k2);
	rig_close(&rig);
	buf_unref(bulk);
}

static void test_rpc(void **state)
{
	static uint16_t echo_type = T_ECHO, back = T_BACK;

	(void)state;
	faults_each(FAULTS_NET, rpc_round, &echo_type);
	faults_each(FAULT_BIT(FAULT_MEMORY), rpc_round, &back);
}

static void listen_round(void *arg)
{
	struct rpc_listener *l = NULL;
	struct rpc_self self = { .role = ROLE_TRACKER, .id = 1 };
	struct loop *loops[2];
	struct addr at;
	int err;

	(void)arg;
	assert_int_equal(addr_from_ip(RIG_IP, sizeof(RIG_IP) - 1, RIG_PORT,
				      &at), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(loop_new(&loops[i], "test"), 0);
	faults_on();
	err = rpc_listen(&l, loops, 2, &self, &at, &rig_ops, &rig);
	if (!faults_off())
		assert_int_equal(err, 0);
	if (!err)
		rpc_listener_free(l);
	assert_int_equal(rpc_listen(&l, loops, 2, &self, &at, &rig_ops, &rig),
			 0);
	rpc_listener_free(l);
	for (int i = 0; i < 2; i++)
		loop_free(loops[i]);
}

static void test_listen(void **state)
{
	(void)state;
	faults_each(FAULTS_NET, listen_round, NULL);
}

static int dir_up(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/unit_faults_net.XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int dir_down(void **state)
{
	faults_told(state);
	return rmdir(dir);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, dir_up, dir_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_key),	  TEST(test_files), TEST(test_memory),
		TEST(test_dgram), TEST(test_listen), TEST(test_rpc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
