/*
 * unit_faults_fs -- every allocation and every call to the disk that smaller
 * modules of a peer make fails once: what they still say is true, and they go
 * on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache.h"
#include "faults.h"
#include "held.h"
#include "md5.h"
#include "part.h"
#include "sums.h"
#include "told.h"
#include "track.h"
#include "tree.h"
#include "young.h"

enum { MANY = 40 };	/* more than a table begins with */

#define MEMORY FAULT_BIT(FAULT_MEMORY)

static char dir[64];

/* ----------------------------------------------------------------- memory */

static void cache_round(void *arg)
{
	struct cache *c;
	struct buf *b;
	int err;

	(void)arg;
	faults_on();
	err = cache_new(&c, 1 << 20, SIZE_MAX);
	if (!faults_off())
		assert_int_equal(err, 0);
	if (err)
		return;
	for (uint64_t i = 1; i <= MANY; i++) {
		b = buf_dup(&i, sizeof(i));
		faults_on();
		cache_put(c, i, b);
		if (!faults_off())
			assert_true(b->refs > 1);
		buf_unref(b);
	}
	for (uint64_t i = 1; i <= MANY; i++) {
		b = cache_get(c, i);
		if (b)
			assert_memory_equal(b->data, &i, sizeof(i));
		buf_unref(b);
	}
	b = buf_dup("x", 1);
	cache_put(c, 77777, b);
	buf_unref(b);
	b = cache_get(c, 77777);
	assert_non_null(b);
	buf_unref(b);
	cache_free(c);
}

static struct str name_of(uint64_t i, char out[16])
{
	snprintf(out, 16, "n%u", (unsigned)i);
	return str_of(out);
}

/* What it believes is so; a directory is whole only if all of it is there. */
static void tree_round(void *arg)
{
	struct m_attr d = { .ino = 1, .mode = S_IFDIR | 0755, .version = 1 };
	struct tree *t;
	char name[16];
	int err;

	(void)arg;
	faults_on();
	err = tree_new(&t, 1000);
	if (!err) {
		tree_settle_empty(t, &d, tree_now(t));
		for (uint64_t i = 1; i <= MANY; i++) {
			struct m_attr a = { .ino = 100 + i, .size = i,
					    .mode = S_IFREG | 0600,
					    .version = 1 };

			tree_settle(t, &a, tree_now(t));
			tree_settle_name(t, 1, name_of(i, name), 100 + i,
					 tree_now(t));
		}
	}
	if (!faults_off())
		assert_int_equal(err, 0);
	for (uint64_t i = 1; i <= MANY && !err; i++) {
		struct m_attr a;
		int got = tree_lookup(t, 1, name_of(i, name), &a);

		if (!got) {
			assert_int_equal(a.ino, 100 + i);
			assert_int_equal(a.size, i);
		} else {	/* never that it does not exist */
			assert_int_equal(got, -EAGAIN);
		}
	}
	if (!err)
		tree_free(t);
}

static void listing_round(void *arg)
{
	struct m_entry v[2] = {
		{ .cookie = 10, .name = STR_LIT("a"), .attr = { .ino = 5 } },
		{ .cookie = 20, .name = STR_LIT("b"), .attr = { .ino = 6 } },
	};
	struct m_readdir_r first = { .parent = 7, .entries = v,
				     .n_entries = 1 };
	struct m_readdir_r second = { .parent = 7, .entries = v + 1,
				      .n_entries = 1, .eof = 1 };
	struct listing *a = NULL, *b = NULL, *all = NULL;
	struct pages p = { 0 };
	struct listings ls;
	int whole = 0;

	(void)arg;
	listings_init(&ls, 1 << 20, 1 << 16);
	faults_on();
	a = listing_new(&first);
	if (a) {
		pages_take(&p, a, 0, 1, 1 << 16, &all);
		b = listing_new(&second);
	}
	if (b)
		whole = pages_take(&p, b, 10, 2, 1 << 16, &all);
	if (all)
		listings_put(&ls, 7, all);
	if (!faults_off())
		assert_true(whole && all);
	if (all)
		assert_int_equal(listing_count(all), 2);
	listing_unref(all);
	all = listings_get(&ls, 7);
	if (all)
		assert_int_equal(listing_count(all), 2);
	listing_unref(all);
	pages_fini(&p);
	listings_fini(&ls);
}

/* What was told is in what is taken back, or the taking back says no. */
static void told_round(void *arg)
{
	struct told_answer a = { .now_ms = 1, .until_ms = 100000 };
	uint64_t inos[] = { 1, 101, 102, 103 };
	struct told_list out;
	struct told *t = NULL;
	char name[16];
	int err, told[4] = { 0 };

	(void)arg;
	told_list_init(&out);
	faults_on();
	err = told_new(&t, 1000);
	for (uint64_t i = 1; i < 4 && !err; i++) {
		a.seen = told_now(t);
		told[i] = told_entry(t, 1, name_of(i, name), 100 + i, 0, &a);
	}
	if (!err)
		err = told_revoked(t, inos, 4, 2, &out);
	if (!faults_off()) {
		assert_int_equal(err, 0);
		assert_int_equal(told[2], TOLD_NAME | TOLD_ATTR);
	}
	if (!err) {
		size_t names = 0, attrs = 0;

		for (int i = 1; i < 4; i++) {
			names += (told[i] & TOLD_NAME) != 0;
			attrs += (told[i] & TOLD_ATTR) != 0;
		}
		assert_true(out.n_names >= names);
		assert_true(out.n_attrs >= attrs);
	}
	told_list_fini(&out);
	if (t)
		told_free(t);
}

static void held_round(void *arg)
{
	struct m_byte_lock k = { .ino = 7, .space = LK_FCNTL, .owner = 1,
				 .kind = LK_WRITE, .pid = 1 };
	struct m_byte_lock *v = NULL;
	struct held_state s;
	struct held *h;
	uint64_t set = 0;
	uint32_t n = 0;
	int err;

	(void)arg;
	faults_on();
	err = held_new(&h);
	if (err) {
		faults_off();
		return;
	}
	for (uint64_t i = 0; i < MANY; i++) {
		k.start = k.end = 2 * i;
		if (!held_set(h, &k, 5))
			set |= 1ull << i;
	}
	err = held_list(h, &v, &n);
	if (!faults_off()) {
		assert_int_equal(err, 0);
		assert_int_equal(n, MANY);
	}
	free(v);
	/* just what it said */
	for (uint64_t i = 0; i < MANY; i++) {
		k.start = k.end = 2 * i;
		held_look(h, &k, &s);
		assert_int_equal(s.covered, set >> i & 1);
	}
	held_free(h);
}

static void young_round(void *arg)
{
	struct young y;

	(void)arg;
	young_init(&y, 1);
	faults_on();
	for (uint64_t i = 1; i <= MANY; i++)
		young_add(&y, i, 1);
	faults_off();
	for (uint64_t i = 1; i <= MANY; i++)
		assert_true(young_has(&y, i, 1));
	young_fini(&y);
}

static void test_memory(void **state)
{
	(void)state;
	faults_each(MEMORY, cache_round, NULL);
	faults_each(MEMORY, tree_round, NULL);
	faults_each(MEMORY, listing_round, NULL);
	faults_each(MEMORY, told_round, NULL);
	faults_each(MEMORY, held_round, NULL);
	faults_each(MEMORY, young_round, NULL);
}

/* ------------------------------------------------------------------- sums */

static uint8_t data[3 * SUMS_BLOCK + 100];

static void sums_round(void *arg)
{
	struct sums *s, *again;
	uint8_t other[sizeof(data)];
	int fd = open(dir, O_RDONLY | O_DIRECTORY), err;

	(void)arg;
	memcpy(other, data, sizeof(data));
	other[5] ^= 1;
	faults_on();
	err = sums_new(&s, 1 << 20);
	if (!err) {
		for (uint64_t i = 1; i <= MANY; i++)
			sums_add(s, i, data, sizeof(data));
		sums_save(s, fd);
	}
	if (!faults_off())
		assert_int_equal(err, 0);
	if (!err) {
		for (uint64_t i = 1; i <= MANY; i++)
			if (sums_has(s, i))
				assert_true(sums_match(s, i, 0, data,
						       sizeof(data)));
		sums_free(s);
	}
	assert_int_equal(sums_new(&again, 1 << 20), 0);
	faults_on();
	sums_load(again, fd);
	if (!faults_off() && !err)
		for (uint64_t i = 1; i <= MANY; i++)
			sums_has(again, i);
	/* whatever it has is right */
	for (uint64_t i = 1; i <= MANY; i++)
		if (sums_has(again, i)) {
			assert_true(sums_match(again, i, 0, data,
					       sizeof(data)));
			assert_false(sums_match(again, i, 0, other,
						sizeof(other)));
		}
	sums_free(again);
	close(fd);
}

static void test_sums(void **state)
{
	(void)state;
	faults_each(FAULTS_FILE, sums_round, NULL);
}

/* ------------------------------------------------- the tracker file, DEST */

enum { PIECE = 1000, PIECES = 5 };

static uint8_t bytes[PIECES * PIECE];
static struct m_chunk chunks[PIECES];
static struct layout_piece pieces[PIECES];
static uint32_t both[] = { 1, 2 };
static const struct m_peer peers[] = {
	{ .num = 1, .id = 0xa, .addr = { "10.0.0.1", 8 }, .port = 3457 },
	{ .num = 2, .id = 0xb, .addr = { "10.0.0.2", 8 }, .port = 3457 },
};
static struct layout file = {
	.attr = { .ino = 7, .size = sizeof(bytes), .version = 5,
		  .slot_size = PIECE },
	.chunks = chunks, .n_chunks = PIECES,
	.pieces = pieces, .n_pieces = PIECES,
};

static int make(struct track *t)
{
	int err = track_make(t, "/dir/file", &file, peers, 2, 1, 1800000000);

	if (!err) {
		md5_one(bytes, sizeof(bytes), t->md5);
		t->has_md5 = 1;
	}
	return err;
}

static void track_round(void *arg)
{
	char *text = arg, why[512] = "";
	struct track t, back;
	FILE *from;
	int err;

	faults_on();
	err = make(&t);
	if (!faults_off())
		assert_int_equal(err, 0);
	if (!err) {
		assert_int_equal(t.n_pieces, PIECES);
		assert_int_equal(t.n_holders, 2);
		track_fini(&t);
	}
	from = fmemopen(text, strlen(text), "r");
	assert_non_null(from);
	faults_on();
	err = track_parse(&back, from, why, sizeof(why));
	if (!faults_off())
		assert_int_equal(err, 0);
	fclose(from);
	if (!err) {
		assert_string_equal(back.name, "/dir/file");
		assert_int_equal(back.n_pieces, PIECES);
		assert_int_equal(back.n_holders, 2);
		track_fini(&back);
	}
}

static void test_track(void **state)
{
	char *text = NULL;
	struct track t;
	size_t n;
	FILE *to = open_memstream(&text, &n);

	(void)state;
	assert_int_equal(make(&t), 0);
	assert_non_null(to);
	assert_int_equal(track_render(&t, to), 0);
	fclose(to);
	track_fini(&t);
	faults_each(MEMORY, track_round, text);
	free(text);
}

static int no_step(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	(void)done;
	(void)total;
	return 0;
}

/* As `pspfs get` does it. */
static int download(const struct track *t, const char *dest)
{
	uint8_t have[PIECES];
	struct part p;
	int err;

	err = part_open(&p, t, dest);
	if (err)
		return err;
	err = part_check(&p, have, no_step, NULL);
	for (int i = 0; i < PIECES && !err; i++)
		if (!have[i])
			err = part_write(&p, &t->pieces[i],
					 bytes + i * PIECE);
	if (!err)
		err = part_verify(&p, no_step, NULL);
	if (!err)
		err = part_finish(&p, 1);
	part_close(&p);
	return err;
}

static void is_whole(const char *dest)
{
	uint8_t got[sizeof(bytes) + 1];
	int fd = open(dest, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(read(fd, got, sizeof(got)), sizeof(bytes));
	assert_memory_equal(got, bytes, sizeof(bytes));
	close(fd);
}

/* Interrupted by the fault it goes on, and ends well. */
static void part_round(void *arg)
{
	char dest[96], part[112];
	int err;

	snprintf(dest, sizeof(dest), "%s/dest", dir);
	snprintf(part, sizeof(part), "%s%s", dest, PART_SUFFIX);
	unlink(dest);
	unlink(part);
	faults_on();
	err = download(arg, dest);
	if (!faults_off())
		assert_int_equal(err, 0);
	if (!err)
		is_whole(dest);
	assert_int_equal(download(arg, dest), 0);
	is_whole(dest);
	assert_int_equal(access(part, F_OK), -1);
	unlink(dest);
}

static void test_part(void **state)
{
	struct track t;

	(void)state;
	assert_int_equal(make(&t), 0);
	faults_each(FAULTS_FILE, part_round, &t);
	track_fini(&t);
}

/* ----------------------------------------------------------------- frame */

static int remove_one(const char *path, const struct stat *st, int flag,
		      struct FTW *f)
{
	(void)st;
	(void)flag;
	(void)f;
	return remove(path);
}

static int up(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / SUMS_BLOCK);
	for (uint32_t i = 0; i < PIECES; i++) {
		memset(bytes + i * PIECE, (int)i + 1, PIECE);
		chunks[i] = (struct m_chunk){ .id = 10 + i, .len = PIECE,
					      .holders = both,
					      .n_holders = 2 };
		md5_one(bytes + i * PIECE, PIECE, chunks[i].md5);
		pieces[i] = (struct layout_piece){ i * PIECE, PIECE, 0,
						   &chunks[i], i };
	}
	snprintf(dir, sizeof(dir), "/tmp/unit_faults_fs.XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int down(void **state)
{
	faults_told(state);
	return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_memory), TEST(test_sums), TEST(test_track),
		TEST(test_part),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
