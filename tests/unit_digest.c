/*
 * unit_digest -- who is asked for a file's MD5, by a core without sockets: the
 * test is its clients, its peers and its clock.
 */
#include "core_fixture.h"

#include <errno.h>

#include "log.h"
#include "status.h"

#define PEERS 4			/* connections 1 to 4; 5 and 6 are clients */
#define CLIENT 5

static uint32_t nums[PEERS + 1];

static void say_sum(const struct heard *q, uint16_t status, uint64_t version,
		    char c)
{
	struct m_sum_r r = { .version = version };
	struct wr w = WR_INIT;

	memset(r.md5, c, sizeof(r.md5));
	assert_int_equal(m_sum_r_encode(&w, &r), 0);
	begin();
	core_answer(core, q->conn, q->number, M_sum, status,
		    status ? NULL : w.p, status ? 0 : w.len);
	assert_int_equal(core_end(core), 0);
	wr_fini(&w);
}

/* ------------------------------------------------------------- its clients */

static void hello(uint64_t conn, uint8_t role)
{
	struct m_inventory inv = { .first = 1, .last = 1 };
	struct m_hello_r r = join(conn, role, 100 + conn,
				  (struct m_hello){ 0 });
	struct wr w = WR_INIT;

	if (role != ROLE_PEER)
		return;
	nums[conn] = r.num;
	assert_int_equal(m_inventory_encode(&w, &inv), 0);
	say(conn, M_inventory, &w);
	next(M_inventory_r);
}

/* A file of one chunk for each of the peers that @holders names ("1123"). */
static struct m_attr file(const char *name, const char *holders)
{
	struct m_mknod m = { .seq = ++seq, .ack = seq, .parent = 1,
			     .name = str_of(name), .mode = 0100644 };
	struct m_grant g = { .count = (uint32_t)strlen(holders) };
	struct m_push p[16] = { { 0 } };
	struct m_commit c = { .pushes = p, .n_pushes = g.count };
	struct arena a = ARENA_INIT;
	struct m_mknod_r mr;
	struct m_grant_r gr;
	struct m_commit_r cr;
	struct heard *h;
	struct wr w = WR_INIT;

	assert_int_equal(m_mknod_encode(&w, &m), 0);
	say(1, M_mknod, &w);
	h = next(M_mknod_r);
	assert_int_equal(m_mknod_r_decode(&mr, &a, h->body.p, h->body.len),
			 0);
	assert_int_equal(m_grant_encode(&w, &g), 0);
	say(1, M_grant, &w);
	h = next(M_grant_r);
	assert_int_equal(m_grant_r_decode(&gr, &a, h->body.p, h->body.len),
			 0);
	for (uint32_t i = 0; i < g.count; i++)
		p[i] = (struct m_push){
			.slot = i, .len = 10, .chunk_len = 10,
			.chunk = gr.chunks[i].id, .n_stored = 1,
			.stored = &nums[holders[i] - '0'],
		};
	c.seq = c.ack = ++seq;
	c.ino = mr.attr.ino;
	assert_int_equal(m_commit_encode(&w, &c), 0);
	say(1, M_commit, &w);
	h = next(M_commit_r);
	assert_int_equal(h->status, 0);
	assert_int_equal(m_commit_r_decode(&cr, &a, h->body.p, h->body.len),
			 0);
	arena_fini(&a);
	return cr.attr;
}

static void append(uint64_t ino)
{
	struct m_setattr m = { .seq = ++seq, .ack = seq, .ino = ino,
			       .set = SET_SIZE, .size = 100000 + seq };
	struct wr w = WR_INIT;

	assert_int_equal(m_setattr_encode(&w, &m), 0);
	say(1, M_setattr, &w);
	assert_int_equal(next(M_setattr_r)->status, 0);
}

static uint32_t want(uint64_t conn, uint64_t ino, int compute)
{
	struct m_digest m = { .ino = ino, .compute = (uint8_t)compute };
	struct wr w = WR_INIT;

	assert_int_equal(m_digest_encode(&w, &m), 0);
	return say(conn, M_digest, &w);
}

/* The answer that came to request @number: 0 not known, else its letter. */
static char got(uint64_t conn, uint32_t number)
{
	struct heard *h = next(M_digest_r);
	struct arena a = ARENA_INIT;
	struct m_digest_r r;

	assert_int_equal(h->conn, conn);
	assert_int_equal(h->number, number);
	assert_int_equal(h->status, 0);
	assert_int_equal(m_digest_r_decode(&r, &a, h->body.p, h->body.len),
			 0);
	arena_fini(&a);
	return r.known ? (char)r.md5[0] : 0;
}

/* The error that came. */
static uint16_t refused(const char *words)
{
	struct heard *h = next(M_digest_r);
	struct arena a = ARENA_INIT;
	char text[MSG_TEXT_MAX + 1];
	struct m_error e;

	assert_int_not_equal(h->status, 0);
	assert_int_equal(m_error_decode(&e, &a, h->body.p, h->body.len), 0);
	memcpy(text, e.text.p, e.text.len);
	text[e.text.len] = 0;
	if (!strstr(text, words))
		fail_msg("'%s' is not in '%s'", words, text);
	arena_fini(&a);
	return h->status;
}

static int setup(void **state)
{
	(void)state;
	config.lease_ms = 10000000;
	config.heartbeat_ms = 1000000;
	if (core_up_in_memory())
		return -1;
	for (uint64_t i = 1; i <= PEERS; i++)
		hello(i, ROLE_PEER);
	hello(CLIENT, ROLE_CLIENT);
	hello(CLIENT + 1, ROLE_CLIENT);
	return 0;
}

/* ------------------------------------------------------------------- tests */

static void who_holds_most_is_asked(void **state)
{
	struct m_attr f = file("f", "1223");
	struct arena a = ARENA_INIT;
	struct heard *q;
	struct m_sum m;
	uint32_t n, late;

	(void)state;
	n = want(CLIENT, f.ino, 0);
	assert_int_equal(got(CLIENT, n), 0);
	n = want(CLIENT, f.ino, 1);
	nothing_more();
	tick();
	q = next(M_sum);
	assert_int_equal(q->conn, 2);
	assert_int_equal(m_sum_decode(&m, &a, q->body.p, q->body.len), 0);
	assert_int_equal(m.ino, f.ino);
	assert_int_equal(m.version, f.version);
	/* who comes meanwhile waits for the same; who cannot wait need not */
	late = want(CLIENT + 1, f.ino, 1);
	assert_int_equal(got(3, want(3, f.ino, 0)), 0);
	tick();
	nothing_more();
	say_sum(q, 0, f.version, 'x');
	tick();
	assert_int_equal(got(CLIENT, n), 'x');
	assert_int_equal(got(CLIENT + 1, late), 'x');
	/* from now on it is known */
	assert_int_equal(got(CLIENT, want(CLIENT, f.ino, 1)), 'x');
	append(f.ino);
	assert_int_equal(got(CLIENT, want(CLIENT, f.ino, 0)), 0);
	arena_fini(&a);
}

static void told_meanwhile(void **state)
{
	struct m_attr f = file("f", "1");
	struct m_digested m = { .ino = f.ino, .version = f.version };
	struct wr w = WR_INIT;
	struct heard *q;
	uint32_t n = want(CLIENT, f.ino, 1);

	(void)state;
	memset(m.md5, 'm', sizeof(m.md5));
	assert_int_equal(m_digested_encode(&w, &m), 0);
	say(1, M_digested, &w);
	next(M_digested_r);
	tick();
	assert_int_equal(got(CLIENT, n), 'm');
	/* a client is not believed */
	assert_int_equal(m_digested_encode(&w, &m), 0);
	say(CLIENT, M_digested, &w);
	q = next(M_digested_r);
	assert_int_equal(q->status, ST_PERM);
	nothing_more();
}

static void another_is_asked(void **state)
{
	struct m_attr f = file("f", "2223");
	struct heard *q;
	uint32_t n = want(CLIENT, f.ino, 1);

	(void)state;
	tick();
	q = next(M_sum);
	assert_int_equal(q->conn, 2);
	say_sum(q, ST_IO, 0, 0);
	nothing_more();
	tick();
	q = next(M_sum);
	assert_int_equal(q->conn, 3);
	core_down(core, 3);		/* it leaves */
	say_sum(q, ST_NOTCONN, 0, 0);
	tick();
	q = next(M_sum);
	assert_true(q->conn == 1 || q->conn == 4);
	say_sum(q, 0, f.version, 'y');
	tick();
	assert_int_equal(got(CLIENT, n), 'y');
	nothing_more();
}

static void nobody_is_left(void **state)
{
	struct m_attr f = file("f", "1");
	uint32_t n = 0;

	(void)state;
	want(CLIENT, f.ino, 1);
	for (int i = 0; i < PEERS; i++) {
		tick();
		assert_int_not_equal(next(M_sum)->conn, n);
		n = (uint32_t)out[seen - 1].conn;
		say_sum(&out[seen - 1], ST_TIMEDOUT, 0, 0);
	}
	tick();
	assert_int_equal(refused("no peer that was asked"), ST_IO);
	for (uint64_t i = 2; i <= PEERS; i++)
		core_down(core, i);
	want(CLIENT, f.ino, 1);
	tick();
	say_sum(next(M_sum), ST_IO, 0, 0);
	tick();
	assert_int_equal(refused("no other peer"), ST_IO);
	core_down(core, 1);
	want(CLIENT, f.ino, 1);
	tick();
	assert_int_equal(refused("no peer is active"), ST_IO);
}

static void changed_while_it_was_read(void **state)
{
	struct m_attr f = file("f", "222");
	uint32_t n = want(CLIENT, f.ino, 1);
	struct heard *q;

	(void)state;
	tick();
	q = next(M_sum);
	append(f.ino);
	say_sum(q, 0, f.version, 'o');
	tick();
	q = next(M_sum);
	assert_int_equal(q->conn, 2);	/* it did nothing wrong */
	/* it read it after the question: what counts is the content now */
	append(f.ino);
	say_sum(q, 0, f.version + 2, 'n');
	tick();
	assert_int_equal(got(CLIENT, n), 'n');
	/* again and again */
	append(f.ino);
	want(CLIENT, f.ino, 1);
	for (int i = 0; i < 4; i++) {
		tick();
		say_sum(next(M_sum), 0, 1, 'o');
	}
	tick();
	assert_int_equal(refused("changed each time"), ST_AGAIN);
}

static void nonsense_is_a_failure(void **state)
{
	struct m_attr f = file("f", "222");
	struct heard *q;

	(void)state;
	want(CLIENT, f.ino, 1);
	tick();
	q = next(M_sum);
	begin();
	core_answer(core, q->conn, q->number, M_sum, 0, "x", 1);
	core_answer(core, q->conn, q->number, M_sum, 0, "x", 1); /* twice */
	assert_int_equal(core_end(core), 0);
	tick();
	assert_int_not_equal(next(M_sum)->conn, q->conn);
}

static void the_file_goes(void **state)
{
	struct m_attr f = file("f", "12");
	struct m_unlink m = { .seq = ++seq, .ack = seq, .parent = 1,
			      .name = STR_LIT("f") };
	struct m_release rel = { &f.ino, 1 };
	struct wr w = WR_INIT;
	struct heard *q;

	(void)state;
	want(CLIENT, f.ino, 1);
	tick();
	q = next(M_sum);
	assert_int_equal(m_unlink_encode(&w, &m), 0);
	say(1, M_unlink, &w);
	next(M_unlink_r);
	assert_int_equal(m_release_encode(&w, &rel), 0);
	say(1, M_release, &w);
	if (seen < n_out)
		next(M_release | M_REPLY);
	tick();
	say_sum(q, 0, f.version, 'x');
	tick();
	assert_int_equal(refused("gone"), ST_NOENT);
	want(CLIENT, f.ino, 1);
	assert_int_equal(next(M_digest_r)->status, ST_NOENT);
	want(CLIENT, 1, 1);
	assert_int_equal(next(M_digest_r)->status, ST_ISDIR);
}

static void who_asked_has_gone(void **state)
{
	struct m_attr f = file("f", "1");
	uint32_t n;
	struct heard *q;

	(void)state;
	want(CLIENT, f.ino, 1);
	n = want(CLIENT + 1, f.ino, 1);
	tick();
	q = next(M_sum);
	core_down(core, CLIENT);
	say_sum(q, 0, f.version, 'z');
	tick();
	assert_int_equal(got(CLIENT + 1, n), 'z');
	nothing_more();
}

static void bounded(void **state)
{
	struct m_attr f = file("f", "1");
	uint32_t n = 0;

	(void)state;
	for (int i = 0; i < 1024; i++)
		n = want(CLIENT, f.ino, 1);
	want(CLIENT, f.ino, 1);
	assert_int_equal(refused("too many"), ST_BUSY);
	tick();
	say_sum(next(M_sum), 0, f.version, 'b');
	tick();
	for (int i = 0; i < 1024; i++)
		assert_int_equal(got(CLIENT, n - 1023 + (uint32_t)i), 'b');
	for (int i = 0; i < 256; i++) {
		char name[16];

		snprintf(name, sizeof(name), "n%d", i);
		want(CLIENT, file(name, "1").ino, 1);
	}
	want(CLIENT, file("one-more", "1").ino, 1);
	assert_int_equal(refused("too many"), ST_BUSY);
	tick();
	for (int i = 0; i < 256; i++)
		next(M_sum);
	nothing_more();
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, core_teardown)
	const struct CMUnitTest tests[] = {
		TEST(who_holds_most_is_asked), TEST(told_meanwhile),
		TEST(another_is_asked), TEST(nobody_is_left),
		TEST(changed_while_it_was_read), TEST(nonsense_is_a_failure),
		TEST(the_file_goes), TEST(who_asked_has_gone), TEST(bounded),
	};

	log_init("unit_digest", LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
