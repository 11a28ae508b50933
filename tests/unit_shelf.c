/*
 * unit_shelf -- a chunk's verified bytes from memory and disk, and verify over
 * the wire: two peers in one process, and a fake tracker.
 */
#include "fake_tracker.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "counters.h"
#include "log.h"
#include "md5.h"
#include "peer_internal.h"
#include "shelf.h"

#define PORT 26462
#define LEN 5000
#define WAIT_MS 10000

static char root[64], key_file[96];
static struct peer *peer[3];

static int setup(void **state)
{
	char why[512], ip[32], dir[96];
	struct peer_config cfg;
	FILE *f;

	(void)state;
	strcpy(root, "/tmp/pspfs-unit-shelf-XXXXXX");
	if (!mkdtemp(root))
		return -1;
	ft_start(PORT);
	snprintf(key_file, sizeof(key_file), "%s/key", root);
	umask(077);
	f = fopen(key_file, "w");
	for (int i = 0; i < KEY_LEN; i++)
		fprintf(f, "%02x", ft.self.key.secret[i]);
	fprintf(f, "\n");
	fclose(f);
	for (int n = 1; n <= 2; n++) {
		memset(&cfg, 0, sizeof(cfg));
		snprintf(dir, sizeof(dir), "%s/store%d", root, n);
		snprintf(ip, sizeof(ip), "127.0.0.%d", 10 + n);
		cfg.trackers[0] = ft.at;
		cfg.n_trackers = 1;
		assert_int_equal(addr_from_ip(ip, strlen(ip), PORT, &cfg.addr),
				 0);
		cfg.store_dir = dir;
		cfg.key_file = key_file;
		cfg.capacity = 64 << 20;
		cfg.memory = 8 << 20;
		cfg.timeout_ms = 3000;
		if (peer_start(&peer[n], &cfg, NULL, why, sizeof(why)))
			fail_msg("%s", why);
	}
	return 0;
}

static int teardown(void **state)
{
	char cmd[128];

	(void)state;
	peer_stop(peer[1]);
	peer_stop(peer[2]);
	ft_stop();
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", root);
	return system(cmd);
}

static void store_one(uint64_t chunk)
{
	struct chunk_meta m = { .chunk = chunk, .ino = 7, .slot = 3, .pos = 9,
				.len = LEN };
	uint8_t data[LEN];

	memset(data, (int)chunk, LEN);
	md5_one(data, LEN, m.md5);
	assert_int_equal(store_put(peer[1]->parts.store, &m, data,
				   COPY_REPLICA, 0), 0);
}

static void damage(uint64_t chunk)
{
	char path[192];
	int fd;

	snprintf(path, sizeof(path), "%s/store1/chunks/%02x/%016" PRIx64
		 ".chunk", root, (unsigned)(chunk >> 8 & 0xff), chunk);
	fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "!", 1, LEN / 2), 1);
	close(fd);
}

/* ---------------------------------------------------------------- the shelf */

struct got {
	int over, err;
	struct chunk_meta m;
	int right;
};

static void on_read(void *arg, int err, const struct chunk_meta *m,
		    struct buf *b)
{
	struct got *g = arg;
	uint8_t md5[MD5_LEN];

	g->err = err;
	g->m = *m;
	if (b) {
		md5_one(b->data, b->len, md5);
		g->right = b->len == LEN && m->len == LEN &&
			   !memcmp(md5, m->md5, MD5_LEN) &&
			   !memcmp(md5, b->data + LEN, MD5_LEN);
	}
	__atomic_store_n(&g->over, 1, __ATOMIC_RELEASE);
}

static struct got read_one(uint64_t chunk, unsigned flags)
{
	struct got g = { .over = 0 };

	shelf_read(&peer[1]->parts, chunk, flags, on_read, &g);
	FT_UNTIL(__atomic_load_n(&g.over, __ATOMIC_ACQUIRE));
	assert_int_equal(g.m.chunk, chunk);
	return g;
}

static void from_disk_then_from_memory(void **state)
{
	struct got g;

	(void)state;
	store_one(5);
	g = read_one(5, SHELF_DISK);
	assert_true(!g.err && g.right && g.m.slot == 3 && g.m.pos == 9);
	assert_int_equal(cache_bytes(peer[1]->parts.cache), 0);
	g = read_one(5, 0);
	assert_true(!g.err && g.right && g.m.slot == 3);
	g = read_one(5, 0);
	assert_true(!g.err && g.right && g.m.slot == 0);
	/* what memory has hides what became of the disk; not from who looks */
	damage(5);
	assert_true(read_one(5, 0).right);
	assert_int_equal(read_one(5, SHELF_DISK | SHELF_COLD).err, -EBADMSG);
	assert_int_equal(store_has(peer[1]->parts.store, 5), 0);
}

static void what_is_not_there(void **state)
{
	struct got g;

	(void)state;
	g = read_one(99, 0);
	assert_int_equal(g.err, -ENOENT);
	assert_false(g.right);
}

static void a_corrupt_one_is_reported(void **state)
{
	(void)state;
	store_one(6);
	damage(6);
	assert_int_equal(read_one(6, 0).err, -EBADMSG);
	FT_UNTIL(ft.bad_copies == 1);
	assert_int_equal(read_one(6, 0).err, -ENOENT);
}

/* ------------------------------------------------------------------- verify */

struct answer {
	int over, err;
	uint32_t n;
	uint64_t bad[MSG_VERIFY_MAX];
};

static void on_answer(void *arg, int err, const struct rpc_answer *a)
{
	struct answer *v = arg;
	struct arena mem = ARENA_INIT;
	struct m_verify_r r = { .n_bad = 0 };

	if (!err)
		err = m_verify_r_decode(&r, &mem, a->body->data, a->body->len);
	v->err = err;
	v->n = r.n_bad;
	for (uint32_t i = 0; i < r.n_bad; i++)
		v->bad[i] = r.bad[i];
	arena_fini(&mem);
	__atomic_store_n(&v->over, 1, __ATOMIC_RELEASE);
}

static void ask(struct answer *v, uint64_t *ids, uint32_t n)
{
	struct m_verify m = { .chunks = ids, .n_chunks = n };
	struct wr w = WR_INIT;
	struct link_info to;

	v->over = 0;
	link_info(peer[1]->parts.link, &to);
	FT_UNTIL(peers_alive(peer[2]->parts.peers, to.num));
	assert_int_equal(m_verify_encode(&w, &m), 0);
	peers_call(peer[2]->parts.peers, to.num, M_verify, 0, &w, NULL, 0,
		   WAIT_MS, on_answer, v);
}

static void wait_for(struct answer *v)
{
	FT_UNTIL(__atomic_load_n(&v->over, __ATOMIC_ACQUIRE));
}

static int has(const struct answer *v, uint64_t id)
{
	int n = 0;

	for (uint32_t i = 0; i < v->n; i++)
		n += v->bad[i] == id;
	return n;
}

static void verify_names_the_bad(void **state)
{
	static struct answer v;
	uint64_t ids[202];

	(void)state;
	for (uint64_t i = 0; i < 200; i++) {
		ids[i] = 1000 + i;
		store_one(ids[i]);
	}
	ids[200] = 77;		/* is not there */
	ids[201] = 1000;	/* twice is fine */
	ask(&v, ids, 202);
	wait_for(&v);
	assert_true(!v.err && v.n == 1 && v.bad[0] == 77);
	damage(1003);
	damage(1199);
	ask(&v, ids, 202);
	wait_for(&v);
	assert_int_equal(v.n, 3);
	assert_true(has(&v, 77) && has(&v, 1003) && has(&v, 1199));
	FT_UNTIL(ft.bad_copies == 2);
	ask(&v, ids, 0);
	wait_for(&v);
	assert_true(!v.err && !v.n);
}

static void many_that_are_not_there(void **state)
{
	static struct answer v;
	static uint64_t ids[MSG_VERIFY_MAX];

	(void)state;
	for (int i = 0; i < MSG_VERIFY_MAX; i++)
		ids[i] = 100000 + (uint64_t)i;
	ask(&v, ids, MSG_VERIFY_MAX);
	wait_for(&v);
	assert_int_equal(v.n, MSG_VERIFY_MAX);
}

static void one_after_the_other(void **state)
{
	static struct answer v[30];
	uint64_t ids[50];

	(void)state;
	for (uint64_t i = 0; i < 50; i++) {
		ids[i] = 2000 + i;
		store_one(ids[i]);
	}
	ids[7] = 77;
	for (int i = 0; i < 30; i++)
		ask(&v[i], ids, i % 3 ? 50 : 5);
	for (int i = 0; i < 30; i++) {
		wait_for(&v[i]);
		assert_true(!v[i].err && v[i].n == (i % 3 ? 1 : 0));
	}
}

/* The teardown stops it in the middle, and must not wait for all of it. */
static void stops_amid_work(void **state)
{
	static struct answer v[20];
	static uint64_t ids[MSG_VERIFY_MAX];

	(void)state;
	store_one(3000);
	for (int i = 0; i < MSG_VERIFY_MAX; i++)
		ids[i] = 3000;
	for (int i = 0; i < 20; i++)
		ask(&v[i], ids, MSG_VERIFY_MAX);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(from_disk_then_from_memory),
		TEST(what_is_not_there),
		TEST(a_corrupt_one_is_reported),
		TEST(verify_names_the_bad),
		TEST(many_that_are_not_there),
		TEST(one_after_the_other),
		TEST(stops_amid_work),
	};

	alarm(100);
	log_init("unit_shelf", LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
