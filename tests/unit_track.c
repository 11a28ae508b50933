/* track, plan: the tracker file made, written, read, damaged; what is next. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"
#include "track.h"

#define NOW 1800000000
#define SLOT 1000u

/* ----------------------------------------------------------------- a file */

static uint32_t both[] = { 1, 2 }, one[] = { 1 }, two[] = { 2, 9 };

static struct m_chunk chunks[] = {
	{ .id = 10, .len = 1000, .holders = both, .n_holders = 2 },
	{ .id = 11, .len = 1000, .holders = one, .n_holders = 1 },
	{ .id = 12, .len = 400, .holders = two, .n_holders = 2 },
	{ .id = 13, .len = 100 },
};

/* Slot 0; slot 1 with its middle overwritten; a hole; the end. */
static struct layout_piece pieces[] = {
	{ 0, 1000, 0, &chunks[0], 0 },
	{ 1000, 300, 0, &chunks[1], 1 },
	{ 1300, 400, 0, &chunks[2], 1 },
	{ 1700, 300, 700, &chunks[1], 1 },
	{ 3000, 100, 0, &chunks[3], 3 },
};

static const struct layout file = {
	.attr = { .ino = 7, .size = 3200, .version = 5, .slot_size = SLOT },
	.chunks = chunks, .n_chunks = 4, .pieces = pieces, .n_pieces = 5,
};

static const struct m_peer peers[] = {
	{ .num = 1, .id = 0xa, .addr = { "10.0.0.1", 8 }, .port = 3457,
	  .state = PEER_ALIVE, .silent_ms = 2500 },
	{ .num = 2, .id = 0xb, .addr = { "fd00::2", 7 }, .port = 3458,
	  .state = PEER_SUSPECT },
	{ .num = 9, .id = 0xc, .addr = { "10.0.0.9", 8 }, .port = 1,
	  .state = PEER_GONE },
};

static void make(struct track *t)
{
	for (unsigned i = 0; i < 4; i++)
		memset(chunks[i].md5, (int)i + 1, MD5_LEN);
	assert_int_equal(track_make(t, "//dir/a b%\n", &file, peers, 3, 0xfeed,
				    NOW), 0);
}

static char *render(const struct track *t)
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	assert_non_null(f);
	assert_int_equal(track_render(t, f), 0);
	fclose(f);
	return text;
}

static int parse_bytes(struct track *t, const char *text, size_t n, char *why)
{
	FILE *f = n ? fmemopen((void *)text, n, "r") : fopen("/dev/null", "r");
	int err;

	assert_non_null(f);
	err = track_parse(t, f, why, 512);
	fclose(f);
	return err;
}

static int parse(struct track *t, const char *text, char *why)
{
	return parse_bytes(t, text, strlen(text), why);
}

/* ------------------------------------------------------------------- tests */

static const char expected[] =
	"pspfs-track 1\n"
	"name /dir/a%20b%25%0A\n"
	"size 3200\n"
	"md5 -\n"
	"chunk-size 1000\n"
	"swarm 000000000000feed\n"
	"inode 7\n"
	"version 5\n"
	"written 2027-01-15T08:00:00Z\n"
	"holder 10.0.0.1:3457 1 000000000000000a 2027-01-15T07:59:58Z "
	"0-1300,1700-2000\n"
	"holder [fd00::2]:3458 2 000000000000000b 2027-01-15T08:00:00Z "
	"0-1000,1300-1700\n"
	"piece 0 1000 000000000000000a 1000 0 01010101010101010101010101010101\n"
	"piece 1000 300 000000000000000b 1000 0 "
	"02020202020202020202020202020202\n"
	"piece 1300 400 000000000000000c 400 0 03030303030303030303030303030303\n"
	"piece 1700 300 000000000000000b 1000 700 "
	"02020202020202020202020202020202\n"
	"piece 3000 100 000000000000000d 100 0 04040404040404040404040404040404\n"
	"end 5\n";

static void written_and_read(void **state)
{
	struct track t, again;
	char why[512], *text, *same;

	(void)state;
	make(&t);
	text = render(&t);
	assert_string_equal(text, expected);
	assert_int_equal(parse(&again, text, why), 0);
	assert_string_equal(again.name, "/dir/a b%\n");
	assert_int_equal(again.size, 3200);
	assert_int_equal(again.n_pieces, 5);
	assert_int_equal(again.n_holders, 2);
	assert_string_equal(again.holders[1].addr, "fd00::2");
	same = render(&again);
	assert_string_equal(same, text);
	free(same);
	free(text);
	track_fini(&again);
	t.has_md5 = 1;
	memset(t.md5, 0xab, MD5_LEN);
	text = render(&t);
	assert_int_equal(parse(&again, text, why), 0);
	assert_true(again.has_md5);
	assert_memory_equal(again.md5, t.md5, MD5_LEN);
	free(text);
	track_fini(&again);
	track_fini(&t);
	track_fini(&t);
}

static void an_empty_file(void **state)
{
	static const struct layout none = { .attr = { .ino = 1 } };
	struct track t, again;
	char why[512], *text;

	(void)state;
	assert_int_equal(track_make(&t, "e", &none, NULL, 0, 1, NOW), 0);
	assert_string_equal(t.name, "/e");
	text = render(&t);
	assert_int_equal(parse(&again, text, why), 0);
	assert_int_equal(again.n_pieces + again.n_holders + again.size, 0);
	free(text);
	track_fini(&again);
	track_fini(&t);
}

static void ranges(void **state)
{
	struct track t;

	(void)state;
	make(&t);
	assert_true(track_holds(&t.holders[0], 0, 1300));
	assert_true(track_holds(&t.holders[0], 1299, 1));
	assert_false(track_holds(&t.holders[0], 1299, 2));
	assert_false(track_holds(&t.holders[0], 1300, 1));
	assert_true(track_holds(&t.holders[0], 1700, 300));
	assert_false(track_holds(&t.holders[0], 2000, 1));
	track_fini(&t);
}

/* So many ranges that a holder has several lines. */
static void many_ranges(void **state)
{
	enum { N = 5000 };
	struct layout_piece *v = calloc(N, sizeof(*v));
	struct layout big = { .attr = { .size = N * 10, .slot_size = 10 },
			      .pieces = v, .n_pieces = N };
	struct track t, again;
	char why[512], *text;

	(void)state;
	for (unsigned i = 0; i < N; i++)
		v[i] = (struct layout_piece){ i * 10, 10, 0,
					      &chunks[i % 2 ? 1 : 3], i };
	assert_int_equal(track_make(&t, "x", &big, peers, 3, 1, NOW), 0);
	assert_int_equal(t.n_holders, 1);
	assert_int_equal(t.holders[0].n_ranges, N / 2);
	text = render(&t);
	assert_int_equal(parse(&again, text, why), 0);
	assert_int_equal(again.n_holders, 1);
	assert_int_equal(again.holders[0].n_ranges, N / 2);
	free(text);
	track_fini(&again);
	track_fini(&t);
	free(v);
}

/* Replaces the first @from of the text by @to: refused, naming line @line. */
static void damaged(const char *from, const char *to, unsigned line)
{
	char text[4096], why[512], where[32];
	const char *at = strstr(expected, from);
	struct track t;

	assert_non_null(at);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - expected),
		 expected, to, at + strlen(from));
	if (parse(&t, text, why) != -EINVAL)
		fail_msg("'%s' for '%s' was taken", to, from);
	snprintf(where, sizeof(where), "line %u: ", line);
	if (strncmp(why, where, strlen(where)))
		fail_msg("'%s' for '%s': %s", to, from, why);
	assert_non_null(strstr(why, "again, with pspfs tracker"));
	assert_null(t.pieces);
}

static void every_damage(void **state)
{
	(void)state;
	damaged("pspfs-track", "pspfs-trick", 1);
	damaged("pspfs-track 1", "pspfs-track 2", 1);
	damaged("size 3200", "size 3200 ", 3);
	damaged("pspfs-track 1", "pspfs-track 1 x", 1);
	damaged("name /dir", "name dir", 2);
	damaged("name /", "nom /", 2);
	damaged("/a%20b%25%0A", "/", 2);
	damaged("/a%20b%25%0A", "/..", 2);
	damaged("/a%20b%25%0A", "/.", 2);
	damaged("%20", "%2 ", 2);
	damaged("%20", "%2g", 2);
	damaged("%20", "%00", 2);
	damaged("%20", "%zz", 2);
	damaged("%20", " ", 2);
	damaged("size 3200", "size 0x20", 3);
	damaged("size 3200", "size -1", 3);
	damaged("size 3200", "size 99999999999999999999", 3);
	damaged("size 3200", "size 9223372036854775808", 3);
	damaged("size 3200", "size", 3);
	damaged("size 3200", "size  3200", 3);
	damaged("size 3200", "size 1900", 10);
	damaged("md5 -", "md5 0123", 4);
	damaged("md5 -", "md5 zz230123012301230123012301230123", 4);
	damaged("md5 -", "md5 01230123012301230123012301230123 -", 4);
	damaged("chunk-size 1000", "chunk-size 99999999", 5);
	damaged("swarm 0", "swarm g", 6);
	damaged("inode 7\n", "", 7);
	damaged("version 5", "version five", 8);
	damaged("written 2027-01-15", "written 2027-13-15", 9);
	damaged("written 2027-01-15", "written 2027-02-30", 9);
	damaged("08:00:00Z\nholder 10", "08:00:00\nholder 10", 9);
}

static void damaged_holders(void **state)
{
	(void)state;
	damaged("10.0.0.1:3457", "10.0.0.1", 10);
	damaged("10.0.0.1:3457", "10.0.0.1:0", 10);
	damaged("10.0.0.1:3457", "10.0.0.1:65536", 10);
	damaged("10.0.0.1:3457", "localhost:3457", 10);
	damaged("10.0.0.1:3457 1", "10.0.0.1:3457 0", 10);
	damaged("10.0.0.1:3457 1", "10.0.0.1:3457 4294967296", 10);
	damaged("0-1300,1700-2000", "", 10);
	damaged("0-1300,1700-2000", "0-1300,", 10);
	damaged("0-1300,1700-2000", "0-1300,1200-2000", 10);
	damaged("0-1300,1700-2000", "1300-0", 10);
	damaged("0-1300,1700-2000", "0-0", 10);
	damaged("0-1300,1700-2000", "0-3201", 10);
	damaged("0-1300,1700-2000", "0:1300", 10);
	damaged("0-1300,1700-2000", "0-1300 1700-2000", 10);
	damaged("holder [", "keeper [", 11);
}

static void damaged_pieces(void **state)
{
	(void)state;
	damaged("piece 0 1000", "piece 0 0", 12);
	damaged("piece 0 1000", "piece 0 1001", 12);
	damaged("piece 1000 300", "piece 999 300", 13);
	damaged("piece 3000 100", "piece 3101 100", 16);
	damaged("piece 3000 100", "piece 18446744073709551615 100", 16);
	damaged("000a 1000 0 01", "000a 999 0 01", 12);
	damaged("000b 1000 700 02", "000b 1000 701 02", 15);
	damaged("piece 0 1000 000000000000000a", "piece 0 1000 0", 12);
	damaged("0d 100 0 04", "0d 100 0 4", 16);
	damaged("piece 3000", "holder 3000", 16);
	damaged("piece 3000", "pieces 3000", 16);
	damaged("end 5\n", "end 4\n", 17);
	damaged("end 5\n", "end 5\nmore\n", 18);
	damaged("end 5\n", "", 17);
}

static void every_truncation(void **state)
{
	struct track t;
	char why[512];

	(void)state;
	for (size_t n = 0; n < sizeof(expected) - 1; n++) {
		assert_int_equal(parse_bytes(&t, expected, n, why), -EINVAL);
		assert_int_equal(strncmp(why, "line ", 5), 0);
	}
	assert_int_equal(parse(&t, expected, why), 0);
	track_fini(&t);
}

/* Any byte of it as another: taken only if it makes sense; never worse. */
static void every_flip(void **state)
{
	struct track t;
	char text[sizeof(expected)], why[512];

	(void)state;
	for (size_t i = 0; i < sizeof(expected) - 1; i++)
		for (int bit = 0; bit < 8; bit++) {
			memcpy(text, expected, sizeof(expected));
			text[i] = (char)(text[i] ^ 1 << bit);
			if (!parse_bytes(&t, text, sizeof(expected) - 1, why))
				track_fini(&t);
			else
				assert_int_not_equal(why[0], 0);
		}
}

static void long_lines(void **state)
{
	enum { N = 200000 };
	char *text = malloc(N + 1), why[512];
	struct track t;

	(void)state;
	memset(text, 'x', N);
	text[N] = 0;
	assert_int_equal(parse(&t, text, why), -EINVAL);
	assert_non_null(strstr(why, "line 1: the line is too long"));
	memcpy(text, "pspfs-track 1\nname /", 20);
	assert_int_equal(parse(&t, text, why), -EINVAL);
	assert_non_null(strstr(why, "line 2: the line is too long"));
	assert_int_equal(parse_bytes(&t, "pspfs-track 1\nna\0me /x\n", 23,
				     why), -EINVAL);
	assert_non_null(strstr(why, "line 2: there is a zero byte"));
	free(text);
}

/* -------------------------------------------------------------------- plan */

static void rarest_first(void **state)
{
	static const uint8_t have[5] = { 0, 0, 0, 0, 0 };
	const struct plan_item *it;
	struct track_range *missing;
	struct track t;
	struct plan p;
	size_t n;

	(void)state;
	make(&t);
	assert_int_equal(plan_init(&p, &t, have, 1), 0);
	assert_int_equal(p.n_chunks, 4);
	plan_fill(&p);
	assert_int_equal(p.n_batch, 4);
	for (size_t i = 0; i < p.n_batch; i++)
		plan_known_from_track(&p, i);
	plan_sort(&p);
	/* nobody holds the last; 11 and 12 are at one, 10 at two */
	assert_int_equal(p.n_aside, 1);
	assert_int_equal(p.n_batch, 3);
	for (size_t i = 0; i < p.n_batch; i++)	/* 11 is at many by now */
		if (p.chunks[p.batch[i].chunk].id == 11)
			plan_known(&p, i, (uint32_t[]){ 1, 2, 3 }, 3);
	plan_sort(&p);
	it = plan_next(&p);
	assert_int_equal(p.chunks[it->chunk].id, 12);
	plan_aside(&p, it->chunk);
	it = plan_next(&p);
	assert_int_equal(p.chunks[it->chunk].id, 10);
	assert_int_equal(it->n_holders, 2);
	it = plan_next(&p);
	assert_int_equal(p.chunks[it->chunk].id, 11);
	assert_int_equal(p.chunks[it->chunk].n, 2);
	assert_int_equal(plan_piece(&p, it->chunk, 1)->at, 1700);
	assert_null(plan_next(&p));
	assert_int_equal(plan_missing(&p, &missing, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(missing[0].at, 1300);
	assert_int_equal(missing[0].end, 1700);
	assert_int_equal(missing[1].at, 3000);
	free(missing);
	plan_again(&p);
	plan_fill(&p);
	assert_int_equal(p.n_batch, 2);
	assert_int_equal(p.n_aside, 0);
	plan_fini(&p);
	track_fini(&t);
}

static void what_is_there_is_not_planned(void **state)
{
	static const uint8_t have[5] = { 1, 1, 0, 0, 1 };
	struct track t;
	struct plan p;

	(void)state;
	make(&t);
	assert_int_equal(plan_init(&p, &t, have, 1), 0);
	assert_int_equal(p.n_chunks, 2);
	assert_int_equal(p.chunks[0].id, 11);
	assert_int_equal(p.chunks[0].n, 1);
	plan_fini(&p);
	assert_int_equal(plan_init(&p, &t, (uint8_t[5]){ 1, 1, 1, 1, 1 }, 1),
			 0);
	plan_fill(&p);
	assert_null(plan_next(&p));
	plan_fini(&p);
	track_fini(&t);
}

/* Each chunk comes once, through all batches; equals in another order for
 * another seed. */
static void batches(void **state)
{
	enum { N = 3 * PLAN_BATCH + 7 };
	static uint8_t have[N], seen[N];
	struct track t = { .size = N, .n_pieces = N, .name = strdup("/x"),
			   .pieces = calloc(N, sizeof(*t.pieces)) };
	const struct plan_item *it;
	uint32_t first[2];
	struct plan p;

	(void)state;
	for (unsigned i = 0; i < N; i++)
		t.pieces[i] = (struct track_piece){ .at = i, .len = 1,
						    .chunk = 100 + i,
						    .chunk_len = 1 };
	for (unsigned seed = 0; seed < 2; seed++) {
		size_t n = 0;

		memset(seen, 0, sizeof(seen));
		assert_int_equal(plan_init(&p, &t, have, seed), 0);
		while (p.n_todo) {
			plan_fill(&p);
			for (size_t i = 0; i < p.n_batch; i++)
				plan_known(&p, i, (uint32_t[]){ 1, 2 },
					   i % 2 + 1);
			plan_sort(&p);
			while ((it = plan_next(&p))) {
				first[seed] = n ? first[seed] : it->chunk;
				assert_int_equal(seen[it->chunk]++, 0);
				n++;
			}
		}
		assert_int_equal(n, N);
		plan_fini(&p);
	}
	assert_int_not_equal(first[0], first[1]);
	track_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(written_and_read),
		cmocka_unit_test(an_empty_file),
		cmocka_unit_test(ranges),
		cmocka_unit_test(many_ranges),
		cmocka_unit_test(every_damage),
		cmocka_unit_test(damaged_holders),
		cmocka_unit_test(damaged_pieces),
		cmocka_unit_test(every_truncation),
		cmocka_unit_test(every_flip),
		cmocka_unit_test(long_lines),
		cmocka_unit_test(rarest_first),
		cmocka_unit_test(what_is_there_is_not_planned),
		cmocka_unit_test(batches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
