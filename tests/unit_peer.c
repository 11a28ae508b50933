/*
 * unit_peer -- several peers in one process on 127.0.0.x, with real stores
 * and sockets, and a fake tracker.
 */
#include "fake_tracker.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "counters.h"
#include "log.h"
#include "md5.h"
#include "peer.h"

#define PORT 26458
#define MUTE_CHUNKS 40	/* more than may be hedged */
#define PEERS 3
#define LIMIT_S 280
#define LEN 100000
#define READERS 40

static char root[64], key_file[96];
static struct peer *peer[PEERS + 1];	/* by the last digit less 10 */

/* ------------------------------------------------------------------ a swarm */

static void remove_all(const char *path)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", path);
	if (system(cmd))
		fail_msg("cannot remove %s", path);
}

static void store_path(int n, char out[96])
{
	snprintf(out, 96, "%s/store%d", root, n);
}

static int try_start(int n, uint64_t capacity, const char *ip, char why[512])
{
	struct peer_config cfg;
	char dir[96];

	memset(&cfg, 0, sizeof(cfg));
	store_path(n, dir);
	cfg.trackers[0] = ft.at;
	cfg.n_trackers = 1;
	assert_int_equal(addr_from_ip(ip, strlen(ip), PORT, &cfg.addr), 0);
	cfg.store_dir = dir;
	cfg.key_file = key_file;
	cfg.capacity = capacity;
	cfg.memory = 32 << 20;
	cfg.timeout_ms = 3000;
	return peer_start(&peer[n], &cfg, NULL, why, 512);
}

static void start_peer(int n, uint64_t capacity)
{
	char why[512], ip[32];

	snprintf(ip, sizeof(ip), "127.0.0.%d", 10 + n);
	if (try_start(n, capacity, ip, why))
		fail_msg("peer %d does not start: %s", n, why);
}

static void stop_peer(int n)
{
	peer_stop(peer[n]);
	peer[n] = NULL;
}

static int setup(void **state)
{
	FILE *f;

	(void)state;
	strcpy(root, "/tmp/pspfs-unit-peer-XXXXXX");
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
	memset(peer, 0, sizeof(peer));
	for (int n = 1; n <= PEERS; n++)
		start_peer(n, 64 << 20);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (int n = 1; n <= PEERS; n++)
		if (peer[n])
			stop_peer(n);
	ft_stop();
	remove_all(root);
	return 0;
}

/* ------------------------------------------------------- sending, reading */

struct sent {
	struct upload_job job;
	int done, err;
};

static void on_sent(struct upload_job *j, int err)
{
	struct sent *s = (struct sent *)j;

	s->err = err;
	__atomic_store_n(&s->done, 1, __ATOMIC_RELEASE);
}

#define DONE(p) __atomic_load_n(&(p)->done, __ATOMIC_ACQUIRE)

static void fill(uint8_t *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i * 31 + seed * 7 + (i >> 8));
}

static void send_begin(struct sent *s, int from, unsigned seed, int sync,
		       int more)
{
	memset(s, 0, sizeof(*s));
	s->job.data = buf_new(LEN + UPLOAD_TAIL);
	fill(s->job.data->data, LEN, seed);
	s->job.data->len = LEN;
	s->job.len = LEN;
	s->job.ino = 7;
	s->job.slot = seed;
	s->job.sync = sync;
	s->job.more = more;
	s->job.done = on_sent;
	upload_chunk(peer_upload(peer[from]), &s->job);
}

static void send_end(struct sent *s)
{
	struct ft_chunk *k;

	FT_UNTIL(DONE(s));
	buf_unref(s->job.data);
	if (s->err)
		return;
	/* As a commit would tell. */
	pthread_mutex_lock(&ft.lock);
	k = ft_chunk(s->job.chunk);
	k->len = LEN;
	memcpy(k->md5, s->job.md5, MD5_LEN);
	for (uint32_t i = 0; i < s->job.n_stored; i++)
		k->holders |= 1u << s->job.stored[i];
	pthread_mutex_unlock(&ft.lock);
}

static void send_one(struct sent *s, int from, unsigned seed, int sync)
{
	send_begin(s, from, seed, sync, 0);
	send_end(s);
}

struct got {
	int done, err, right;
	unsigned seed;
};

static void on_got(void *arg, int err, struct buf *b)
{
	struct got *g = arg;
	static const size_t len = LEN;
	uint8_t *want = malloc(len);

	fill(want, len, g->seed);
	g->err = err;
	g->right = b && b->len == len && !memcmp(b->data, want, len);
	/* The rule of the cache. */
	if (g->right) {
		uint8_t md5[MD5_LEN];

		md5_one(b->data, b->len, md5);
		g->right = b->cap >= len + MD5_LEN &&
			   !memcmp(b->data + len, md5, MD5_LEN);
	}
	free(want);
	__atomic_store_n(&g->done, 1, __ATOMIC_RELEASE);
}

/* @holders: bits; 0: those the fake knows. */
static void get_begin(struct got *g, int at, const struct sent *s,
		      uint32_t holders)
{
	uint32_t list[PEERS + 1], n = 0;	/* + 1: the odd one */
	struct fetch_want w = { .ino = 7, .slot = s->job.slot };

	memset(g, 0, sizeof(*g));
	g->seed = (unsigned)s->job.slot;
	pthread_mutex_lock(&ft.lock);
	if (!holders)
		holders = ft_chunk(s->job.chunk)->holders;
	pthread_mutex_unlock(&ft.lock);
	for (uint32_t i = 1; i <= PEERS + 1; i++)
		if (holders & 1u << i)
			list[n++] = i;
	w.chunk.id = s->job.chunk;
	w.chunk.len = LEN;
	memcpy(w.chunk.md5, s->job.md5, MD5_LEN);
	w.chunk.holders = list;
	w.chunk.n_holders = n;
	fetch_chunk(peer_fetch(peer[at]), &w, on_got, g);
}

static void get_well(int at, const struct sent *s, uint32_t holders)
{
	struct got g;

	get_begin(&g, at, s, holders);
	FT_UNTIL(DONE(&g));
	assert_int_equal(g.err, 0);
	assert_true(g.right);
}

static void forget(int at, const struct sent *s)
{
	cache_drop(peer_cache(peer[at]), s->job.chunk);
}

/* The file of a chunk in a store; 0 if it is there. */
static int chunk_file(int n, uint64_t id, char out[256])
{
	static const char *const ends[] = { "chunk", "cached" };
	char hex[17], dir[96];

	store_path(n, dir);
	snprintf(hex, sizeof(hex), "%016" PRIx64, id);
	for (int i = 0; i < 2; i++) {
		for (int d = 0; d < 256; d++) {
			snprintf(out, 256, "%s/chunks/%02x/%s.%s", dir, d, hex,
				 ends[i]);
			if (!access(out, F_OK))
				return 0;
		}
	}
	return -1;
}

static int has_file(int n, uint64_t id)
{
	char path[256];

	return !chunk_file(n, id, path);
}

static void spoil(int n, uint64_t id)
{
	char path[256], c;
	int fd;

	assert_int_equal(chunk_file(n, id, path), 0);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &c, 1, 500), 1);
	c = (char)~c;
	assert_int_equal(pwrite(fd, &c, 1, 500), 1);
	close(fd);
}

static int is_stored(const struct sent *s, uint32_t num)
{
	for (uint32_t i = 0; i < s->job.n_stored; i++)
		if (s->job.stored[i] == num)
			return 1;
	return 0;
}

/* ------------------------------------------------------------------- tests */

static void there_and_back(void **state)
{
	struct sent s;
	uint64_t fetches = counter_get(CNT_PEER_FETCHES);

	(void)state;
	send_one(&s, 1, 42, 0);
	assert_int_equal(s.err, 0);
	assert_int_equal(s.job.n_stored, 2);
	assert_true(is_stored(&s, 1) && is_stored(&s, 2));
	assert_true(has_file(1, s.job.chunk) && has_file(2, s.job.chunk));
	assert_false(has_file(3, s.job.chunk));
	get_well(1, &s, 0);	/* from memory */
	get_well(2, &s, 0);	/* from its store */
	assert_int_equal(counter_get(CNT_PEER_FETCHES), fetches);
	get_well(3, &s, 0);
	assert_int_equal(counter_get(CNT_PEER_FETCHES), fetches + 1);
	/* Now it has a copy of its own, and says so. */
	FT_UNTIL(ft_chunk(s.job.chunk)->holders == (2 | 4 | 8));
	assert_true(has_file(3, s.job.chunk));
}

static void many_at_once(void **state)
{
	static struct sent s[100];

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		send_begin(&s[i], 1, i, 0, i < 99);
	for (int i = 0; i < 100; i++) {
		send_end(&s[i]);
		assert_int_equal(s[i].err, 0);
		assert_int_equal(s[i].job.n_stored, 2);
	}
	for (int i = 0; i < 100; i++)
		get_well(3, &s[i], 0);
}

static void fetched_once(void **state)
{
	static struct got g[READERS];
	struct sent s;
	uint64_t fetches;

	(void)state;
	send_one(&s, 1, 3, 0);
	fetches = counter_get(CNT_PEER_FETCHES);
	for (int i = 0; i < READERS; i++)
		get_begin(&g[i], 3, &s, 0);
	for (int i = 0; i < READERS; i++) {
		FT_UNTIL(DONE(&g[i]));
		assert_true(g[i].right);
	}
	assert_int_equal(counter_get(CNT_PEER_FETCHES), fetches + 1);
}

/* Our own copy has rotted: another's is read, and heals it. */
static void corrupt_here(void **state)
{
	struct sent s;
	uint64_t bad = counter_get(CNT_CORRUPT);

	(void)state;
	send_one(&s, 1, 5, 0);
	forget(1, &s);
	spoil(1, s.job.chunk);
	get_well(1, &s, 0);
	assert_int_equal(counter_get(CNT_CORRUPT), bad + 1);
	FT_UNTIL(ft.bad_copies == 1);
	assert_int_equal(ft.bad_peer, 1);
	FT_UNTIL(has_file(1, s.job.chunk));
	forget(1, &s);
	get_well(1, &s, 0);
	assert_int_equal(counter_get(CNT_CORRUPT), bad + 1);
}

/* The copy of one holder has rotted: it says so, the next one is asked. */
static void corrupt_there(void **state)
{
	struct sent s;

	(void)state;
	send_one(&s, 1, 6, 0);
	spoil(2, s.job.chunk);
	get_well(3, &s, 4);	/* it knows of 2 only, at first */
	FT_UNTIL(ft.bad_copies == 1);
	assert_int_equal(ft.bad_peer, 2);
	assert_true(ft.locates >= 1);
	FT_UNTIL(!has_file(2, s.job.chunk));
}

static void nobody_has_it(void **state)
{
	struct sent s;
	struct got g;
	uint64_t t = now_ms();

	(void)state;
	send_one(&s, 1, 8, 0);
	forget(1, &s);
	spoil(1, s.job.chunk);
	spoil(2, s.job.chunk);
	get_begin(&g, 3, &s, 0);
	FT_UNTIL(DONE(&g));
	assert_int_equal(g.err, -EIO);
	assert_in_range(now_ms() - t, 2500, 10000);	/* timeout_ms */
	/* A chunk that the tracker never heard of is not waited for. */
	s.job.chunk = 999999;
	t = now_ms();
	get_begin(&g, 3, &s, 2);
	FT_SET(ft_forget_chunks());
	FT_UNTIL(DONE(&g));
	assert_int_equal(g.err, -EIO);
	assert_true(now_ms() - t < 2000);
}

/* A holder is gone without a word: the other one is asked. */
static void holder_away(void **state)
{
	struct sent s;

	(void)state;
	send_one(&s, 1, 9, 0);
	stop_peer(2);
	get_well(3, &s, 2 | 4);
}

static void target_away(void **state)
{
	struct sent first, s;

	(void)state;
	send_one(&first, 1, 10, 0);	/* now ids for 1 and 2 are granted */
	assert_true(is_stored(&first, 2));
	stop_peer(2);
	FT_UNTIL(!ft.peer[1].rpc);
	send_one(&s, 1, 11, 0);
	assert_int_equal(s.err, 0);
	assert_int_equal(s.job.n_stored, 2);
	assert_true(is_stored(&s, 1) && is_stored(&s, 3));
	assert_true(ft.places >= 1);
	/* With nobody else it succeeds with one. */
	stop_peer(3);
	FT_UNTIL(!ft.peer[2].rpc);
	send_one(&s, 1, 12, 0);
	assert_int_equal(s.err, 0);
	assert_int_equal(s.job.n_stored, 1);
}

static void full_peers(void **state)
{
	struct sent s;
	int n = 0;

	(void)state;
	for (int i = 1; i <= PEERS; i++)
		stop_peer(i);
	remove_all(root);
	assert_int_equal(mkdir(root, 0700), 0);
	{
		FILE *f = fopen(key_file, "w");

		for (int i = 0; i < KEY_LEN; i++)
			fprintf(f, "%02x", ft.self.key.secret[i]);
		fclose(f);
	}
	start_peer(1, 1 << 20);
	start_peer(2, 1 << 20);
	do {
		send_one(&s, 1, 13, 0);
		n++;
	} while (!s.err && n < 100);
	assert_int_equal(s.err, -ENOSPC);
	assert_in_range(n, 8, 24);
}

static void on_synced(void *arg, int err)
{
	struct got *g = arg;

	g->err = err;
	__atomic_store_n(&g->done, 1, __ATOMIC_RELEASE);
}

static void synced(void **state)
{
	struct sent a, b;
	struct got g = { 0 };
	uint64_t ids[3];

	(void)state;
	send_one(&a, 1, 14, 0);
	send_one(&b, 1, 15, 1);
	ids[0] = a.job.chunk;
	ids[1] = b.job.chunk;
	ids[2] = 123456789;	/* not ours: skipped */
	upload_sync(peer_upload(peer[1]), ids, 3, on_synced, &g);
	FT_UNTIL(DONE(&g));
	assert_int_equal(g.err, 0);
	/* One holder is enough. */
	send_one(&a, 1, 16, 0);
	ids[0] = a.job.chunk;
	stop_peer(2);
	g.done = 0;
	upload_sync(peer_upload(peer[1]), ids, 1, on_synced, &g);
	FT_UNTIL(DONE(&g));
	assert_int_equal(g.err, 0);
}

static void copy_and_drop(void **state)
{
	struct m_copy c;
	struct m_drop d;
	uint32_t holders[] = { 1, 2 };
	struct sent s;
	struct wr w = WR_INIT;

	(void)state;
	send_one(&s, 1, 17, 0);
	memset(&c, 0, sizeof(c));
	c.chunk.id = s.job.chunk;
	c.chunk.len = LEN;
	memcpy(c.chunk.md5, s.job.md5, MD5_LEN);
	c.chunk.holders = holders;
	c.chunk.n_holders = 2;
	c.ino = 7;
	assert_int_equal(m_copy_encode(&w, &c), 0);
	ft_ask(3, M_copy, &w, ft_on_copy_r);
	FT_UNTIL(ft.copy_answers == 1);
	assert_int_equal(ft.copy_err, 0);
	assert_true(has_file(3, s.job.chunk));
	FT_UNTIL(ft_chunk(s.job.chunk)->holders == (2 | 4 | 8));
	d.chunks = &s.job.chunk;
	d.n_chunks = 1;
	assert_int_equal(m_drop_encode(&w, &d), 0);
	ft_ask(3, M_drop, &w, ft_on_copy_r);
	FT_UNTIL(ft.copy_answers == 2);
	FT_UNTIL(!has_file(3, s.job.chunk));
	assert_null(cache_get(peer_cache(peer[3]), s.job.chunk));
}

/* ------------------------------------------- a holder that is not one */

static struct {
	struct loop *loop;
	struct rpc_listener *listener;
	struct rpc_self self;
	uint32_t num;
	uint32_t busy;		/* 0: never answers; else: "ask this one" */
	int asked;
	struct rpc *conn[8];
	int n_conns;
	struct rpc_req *hung[MUTE_CHUNKS];
	int n_hung;
} odd;

static void odd_up(struct rpc *c, void *arg)
{
	(void)arg;
	FT_SET(odd.conn[odd.n_conns++] = rpc_ref(c));
}

static void odd_request(struct rpc *c, struct rpc_req *q, void *arg)
{
	struct m_get_r r = { .chunk = 1, .busy = &odd.busy, .n_busy = 1 };
	struct wr w = WR_INIT;

	(void)c;
	(void)arg;
	FT_SET(odd.asked++);	/* guarded by ft.lock, as all of odd */
	if (odd.busy) {
		m_get_r_encode(&w, &r);
		rpc_reply(q, &w, NULL);
	} else {
		FT_SET(odd.hung[odd.n_hung++] = q);
	}
}

static const struct rpc_ops odd_ops = {
	.up = odd_up, .request = odd_request,
};

static void odd_start(uint32_t busy)
{
	struct ft_peer *p;
	struct addr at;

	memset(&odd, 0, sizeof(odd));
	odd.self = ft.self;
	odd.self.role = ROLE_PEER;
	odd.self.id = 1234567;
	odd.busy = busy;
	addr_from_ip("127.0.0.14", 10, PORT, &at);
	assert_int_equal(loop_new(&odd.loop, "odd"), 0);
	assert_int_equal(rpc_listen(&odd.listener, &odd.loop, 1, &odd.self,
				    &at, &odd_ops, NULL), 0);
	/* Listed as alive, with a connection that is not its own. */
	pthread_mutex_lock(&ft.lock);
	p = ft_peer_for(odd.self.id);
	strcpy(p->ip, "127.0.0.14");
	p->port = PORT;
	p->rpc = ft.peer[0].rpc;
	odd.num = p->num;
	ft_push_peers();
	p->rpc = NULL;
	pthread_mutex_unlock(&ft.lock);
}

static void odd_stop(void)
{
	rpc_listener_free(odd.listener);
	for (int i = 0; i < odd.n_hung; i++)
		rpc_req_free(odd.hung[i]);
	for (int i = 0; i < odd.n_conns; i++) {
		rpc_close(odd.conn[i]);
		rpc_unref(odd.conn[i]);
	}
	loop_free(odd.loop);
}

/* A holder that does not answer: after a while another one is asked. */
static void hedged(void **state)
{
	struct sent s[8];
	uint64_t t;
	int asked = 0;

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		send_one(&s[i], 1, 50 + i, 0);
	odd_start(0);
	assert_int_equal(odd.num, 4);
	usleep(200000);		/* the list of peers is on its way */
	t = now_ms();
	for (int i = 0; i < 8 && !asked; i++) {
		get_well(3, &s[i], 4 | 16);
		FT_SET(asked = odd.asked);
	}
	assert_true(asked > 0);
	assert_in_range(now_ms() - t, 90, 5000);
	assert_int_equal(ft.locates, 0);
	stop_peer(3);		/* ends what hangs */
	odd_stop();
}

/* One that says nothing at all holds nobody up, however much is asked of it. */
static void mute_holder(void **state)
{
	static struct sent s[MUTE_CHUNKS];
	static struct got g[MUTE_CHUNKS];
	uint64_t t;

	(void)state;
	for (unsigned i = 0; i < MUTE_CHUNKS; i++)
		send_one(&s[i], 1, 70 + i, 0);
	odd_start(0);
	usleep(200000);
	t = now_ms();
	for (unsigned i = 0; i < MUTE_CHUNKS; i++)
		get_begin(&g[i], 3, &s[i], 4 | 16);
	for (unsigned i = 0; i < MUTE_CHUNKS; i++) {
		FT_UNTIL(DONE(&g[i]));
		assert_int_equal(g[i].err, 0);
		assert_true(g[i].right);
	}
	assert_in_range(now_ms() - t, 0, 5000);
	stop_peer(3);
	odd_stop();
}

/* Who is asked for what is on its way there answers when it has come. */
static void asked_too_early(void **state)
{
	struct wr w = WR_INIT;
	struct m_drop d;
	struct sent s;
	struct got g;

	(void)state;
	send_one(&s, 1, 61, 0);
	d.chunks = &s.job.chunk;
	d.n_chunks = 1;
	assert_int_equal(m_drop_encode(&w, &d), 0);
	ft_ask(2, M_drop, &w, ft_on_copy_r);
	FT_UNTIL(ft.copy_answers == 1);
	FT_UNTIL(!has_file(2, s.job.chunk));
	odd_start(0);
	usleep(200000);
	get_begin(&g, 3, &s, 16);	/* of one that does not answer */
	usleep(20000);
	get_well(2, &s, 8);
	assert_true(DONE(&g) && g.right);
	assert_int_equal(ft.locates, 1);	/* that of peer 3 */
	stop_peer(3);
	odd_stop();
}

/* A holder that is busy names another. */
static void busy_holder(void **state)
{
	struct sent s;

	(void)state;
	send_one(&s, 1, 60, 0);
	odd_start(2);
	usleep(200000);
	get_well(3, &s, 16);
	assert_int_equal(odd.asked, 1);
	assert_int_equal(ft.locates, 0);
	stop_peer(3);
	odd_stop();
}

/* A stranger to link, but a member: puts bytes that are not what it says. */
struct put_answer {
	int done, err;
};

static void on_put(void *arg, int err, const struct rpc_answer *a)
{
	struct put_answer *p = arg;

	p->err = a ? err : -ENOTCONN;
	__atomic_store_n(&p->done, 1, __ATOMIC_RELEASE);
}

static int put_raw(struct rpc *c, struct m_put *m, struct buf *b)
{
	struct put_answer p = { 0 };
	struct wr w = WR_INIT;

	assert_int_equal(m_put_encode(&w, m), 0);
	rpc_call(c, M_put, 0, &w, b, FT_WAIT_MS, on_put, &p);
	FT_UNTIL(DONE(&p));
	return p.err;
}

static void bad_puts(void **state)
{
	static const struct rpc_ops none;
	struct m_put m = { .chunk = 77, .len = 1000, .kind = COPY_REPLICA };
	struct buf *b = buf_new(1016);
	struct rpc_self self = ft.self;
	struct loop *loop;
	struct addr at;
	struct rpc *c;

	(void)state;
	self.role = ROLE_CLIENT;
	self.id = 31337;
	addr_from_ip("127.0.0.12", 10, PORT, &at);
	assert_int_equal(loop_new(&loop, "test"), 0);
	assert_int_equal(rpc_connect(&c, loop, &self, &at, NULL, ROLE_PEER, 0,
				     &none, NULL), 0);
	fill(b->data, 1000, 1);
	b->len = 1016;
	md5_one(b->data, 1000, m.md5);
	memcpy(b->data + 1000, m.md5, MD5_LEN);
	m.md5[0] ^= 1;				/* the header's */
	assert_int_equal(put_raw(c, &m, b), -EBADMSG);
	b->data[1000] ^= 1;			/* both, but not the sum */
	assert_int_equal(put_raw(c, &m, b), -EBADMSG);
	m.md5[0] ^= 1;				/* the trailer's */
	assert_int_equal(put_raw(c, &m, b), -EBADMSG);
	assert_false(has_file(2, 77));
	b->data[1000] ^= 1;
	m.len = 999;
	assert_int_equal(put_raw(c, &m, b), -EINVAL);
	m.len = UINT32_MAX;
	assert_int_equal(put_raw(c, &m, b), -EINVAL);
	assert_int_equal(put_raw(c, &m, NULL), -EINVAL);
	m.len = 1000;
	m.kind = 9;
	assert_int_equal(put_raw(c, &m, b), -EINVAL);
	m.kind = COPY_REPLICA;
	assert_int_equal(put_raw(c, &m, b), 0);
	assert_true(has_file(2, 77));
	buf_unref(b);
	rpc_close(c);
	rpc_unref(c);
	loop_free(loop);
}

static void cannot_start(void **state)
{
	struct peer *first = peer[1];
	char why[512], path[96];

	(void)state;
	stop_peer(3);
	assert_int_equal(try_start(3, 0, "127.0.0.12", why), -EADDRINUSE);
	assert_non_null(strstr(why, "cannot listen on 127.0.0.12:26458: "
				    "address already in use"));
	assert_int_equal(try_start(3, 0, "192.0.2.1", why), -EADDRNOTAVAIL);
	assert_non_null(strstr(why, "192.0.2.1 is not an address of this "
				    "machine"));
	assert_int_equal(try_start(1, 0, "127.0.0.14", why), -EBUSY);
	peer[1] = first;
	assert_true(why[0] != 0);
	snprintf(path, sizeof(path), "%s", key_file);
	strcpy(key_file, "/nowhere/key");
	assert_int_equal(try_start(3, 0, "127.0.0.13", why), -ENOENT);
	strcpy(key_file, path);
	assert_non_null(strstr(why, "/nowhere/key"));
	ft_away();
	assert_int_equal(try_start(3, 0, "127.0.0.13", why), -ECONNREFUSED);
	assert_non_null(strstr(why, "is psptrackerd running there?"));
	ft_listen();
	peer[3] = NULL;
}

/* What is under way when a peer stops ends, it does not hang. */
static void stops_amid_work(void **state)
{
	static struct sent s[50];
	static struct got g[50];
	struct sent one;

	(void)state;
	send_one(&one, 1, 18, 0);
	one.job.chunk = 5555;	/* nobody has it */
	FT_SET(ft_chunk(5555)->holders = 2);
	for (unsigned i = 0; i < 50; i++) {
		send_begin(&s[i], 3, i, 0, 1);
		get_begin(&g[i], 3, &one, 2);
	}
	stop_peer(3);
	for (int i = 0; i < 50; i++) {
		assert_true(DONE(&s[i]) && DONE(&g[i]));
		assert_int_not_equal(g[i].err, 0);
		buf_unref(s[i].job.data);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(there_and_back), T(many_at_once), T(fetched_once),
		T(corrupt_here), T(corrupt_there), T(nobody_has_it),
		T(holder_away), T(hedged), T(mute_holder),
		T(asked_too_early), T(busy_holder), T(target_away),
		T(full_peers), T(synced),
		T(copy_and_drop), T(bad_puts), T(cannot_start),
		T(stops_amid_work),
	};

	alarm(LIMIT_S);
	log_init("unit_peer", getenv("V") ? LOG_INFO : LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
