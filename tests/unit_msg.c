/*
 * unit_msg -- every message of msg.def, filled with random values.
 *
 * Buffers are exactly as long as their contents, so that AddressSanitizer
 * sees every step beyond.  The seed is printed; PSPFS_SEED sets it.
 */
#include "msg.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "msg_kinds.h"

enum { ROUNDS = 8 };

/* Decode @n bytes from an allocation of just that size. */
static int decode_exact(const struct kind *k, const void *body, size_t n,
			const void *expect)
{
	struct arena a = ARENA_INIT;
	uint8_t *copy = malloc(n ? n : 1);
	void *m = malloc(k->size);
	int err;

	assert_non_null(copy);
	assert_non_null(m);
	memcpy(copy, body, n);
	err = k->decode(m, &a, n ? copy : NULL, n);
	assert_true(a.total <= n * 16);
	if (!err && expect)
		assert_true(k->same(m, expect));
	arena_fini(&a);
	free(m);
	free(copy);
	return err;
}

/* Call @check for every message, ROUNDS times, each with other values. */
static void for_all(void (*check)(const struct kind *k, const void *m))
{
	for (size_t i = 0; i < N_KINDS; i++)
		for (int round = 0; round < ROUNDS; round++) {
			struct arena a = ARENA_INIT;
			void *m = arena_alloc(&a, kinds[i].size);

			kinds[i].fill(m, &a);
			check(&kinds[i], m);
			arena_fini(&a);
		}
}

/* ---------------------------------------------------------------- tests */

static void check_round_trip(const struct kind *k, const void *m)
{
	struct wr w = WR_INIT, raw = WR_INIT;

	assert_int_equal(k->encode(&w, m), 0);
	k->raw(&raw, m);
	assert_int_equal(w.len, raw.len);
	assert_memory_equal(w.p, raw.p, w.len);
	assert_int_equal(decode_exact(k, w.p, w.len, m), 0);
	wr_fini(&w);
	wr_fini(&raw);
}

static void round_trips(void **state)
{
	(void)state;
	tweak.target = -1;
	for_all(check_round_trip);
}

static void check_truncations(const struct kind *k, const void *m)
{
	struct wr w = WR_INIT;

	assert_int_equal(k->encode(&w, m), 0);
	for (size_t n = 0; n < w.len; n++)
		assert_int_equal(decode_exact(k, w.p, n, NULL),
				 -EBADMSG);
	wr_fini(&w);
}

static void every_truncation_is_refused(void **state)
{
	(void)state;
	for_all(check_truncations);
}

/* What a newer peer sends: fields after those that we know. */
static void check_unknown_fields(const struct kind *k, const void *m)
{
	struct wr w = WR_INIT;

	tweak.target = -1;
	tweak.extend = (unsigned)(rnd() % 50);
	k->raw(&w, m);
	tweak.extend = 0;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(decode_exact(k, w.p, w.len, m), 0);
		wr_u32(&w, 0xffffffff);
	}
	wr_fini(&w);
}

static void unknown_fields_are_skipped(void **state)
{
	(void)state;
	for_all(check_unknown_fields);
}

/* Bytes that nobody would send must neither crash nor cost memory. */
static void check_flipped(const struct kind *k, const void *m)
{
	struct wr w = WR_INIT;

	assert_int_equal(k->encode(&w, m), 0);
	for (int i = 0; i < 50; i++) {
		size_t at = rnd() % w.len;
		uint8_t was = w.p[at];

		w.p[at] = (uint8_t)rnd();
		decode_exact(k, w.p, w.len, NULL);
		w.p[at] = was;
	}
	wr_fini(&w);
}

static void flipped_bytes_do_no_harm(void **state)
{
	(void)state;
	for_all(check_flipped);
}

/*
 * Encode a message whose lists have an element each, with the list or string
 * that is number @target changed as @how says.  0: there is no such number.
 */
static int raw_tweaked(const struct kind *k, struct wr *w, int target, int how)
{
	struct arena a = ARENA_INIT;
	void *m = arena_alloc(&a, k->size);

	all_lists_of_one = 1;
	k->fill(m, &a);
	all_lists_of_one = 0;
	memset(&tweak, 0, sizeof(tweak));
	tweak.target = target;
	tweak.how = how;
	k->raw(w, m);
	tweak.target = -1;
	arena_fini(&a);
	assert_int_equal(w->err, 0);
	return tweak.hit;
}

/* What a decoder says of the message with that change; 1: no such target. */
static int decode_tweaked(const struct kind *k, int target, int how)
{
	struct wr w = WR_INIT;
	int err = 1;

	if (raw_tweaked(k, &w, target, how))
		err = decode_exact(k, w.p, w.len, NULL);
	wr_fini(&w);
	return err;
}

static void maxima_are_enforced(void **state)
{
	int limited = 0, err;

	(void)state;
	for (size_t i = 0; i < N_KINDS; i++) {
		const struct kind *k = &kinds[i];

		for (int target = 0;; target++) {
			err = decode_tweaked(k, target, ALL);
			if (err == 1)
				break;
			assert_int_equal(err, 0);
			err = decode_tweaked(k, target, ONE_MORE);
			assert_int_equal(err, -EBADMSG);
			limited++;
		}
	}
	assert_true(limited >= 50);
}

/* decode_exact() checks what they allocate. */
static void counts_without_elements_cost_nothing(void **state)
{
	int err;

	(void)state;
	for (size_t i = 0; i < N_KINDS; i++)
		for (int target = 0;; target++) {
			err = decode_tweaked(&kinds[i], target, COUNT_HUGE);
			if (err == 1)
				break;
			assert_int_equal(err, -EBADMSG);
			err = decode_tweaked(&kinds[i], target, COUNT_OF_MAX);
			assert_int_equal(err, -EBADMSG);
		}
}

static void encoders_check_maxima(void **state)
{
	static char text[MSG_PATH_MAX + 1];
	static uint32_t nums[MSG_HOLDERS_MAX + 1];
	static struct m_xname names[MSG_XATTRS_MAX + 1];
	struct m_lookup lookup = { .name = { text, MSG_NAME_MAX } };
	struct m_place_r place = { .targets = nums,
				   .n_targets = MSG_HOLDERS_MAX };
	struct m_listxattr_r list = { .names = names,
				      .n_names = MSG_XATTRS_MAX };
	struct wr w = WR_INIT;

	(void)state;
	assert_int_equal(m_lookup_encode(&w, &lookup), 0);
	assert_int_equal(m_place_r_encode(&w, &place), 0);
	assert_int_equal(m_listxattr_r_encode(&w, &list), 0);
	wr_fini(&w);
	lookup.name.len++;
	assert_int_equal(m_lookup_encode(&w, &lookup), -EMSGSIZE);
	assert_int_equal(m_place_r_encode(&w, &place), -EMSGSIZE);
	wr_fini(&w);
	place.n_targets++;
	assert_int_equal(m_place_r_encode(&w, &place), -EMSGSIZE);
	wr_fini(&w);
	list.n_names++;
	assert_int_equal(m_listxattr_r_encode(&w, &list), -EMSGSIZE);
	wr_fini(&w);
	list.n_names = 1;
	names[0].name = (struct str){ text, MSG_NAME_MAX + 1 };
	assert_int_equal(m_listxattr_r_encode(&w, &list), -EMSGSIZE);
	wr_fini(&w);
}

static void types_are_distinct_and_named(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_KINDS; i++) {
		assert_string_equal(msg_name(kinds[i].type), kinds[i].name);
		for (size_t j = 0; j < i; j++)
			assert_true(kinds[i].type != kinds[j].type);
	}
	assert_string_equal(msg_name(0x7fff), "?");
	assert_true(M_MUTATES(M_commit) && M_MUTATES(M_mknod));
	assert_false(M_MUTATES(M_getmap) || M_MUTATES(M_commit_r) ||
		     M_MUTATES(M_grant));
}

/* -------------------------------------------------------------- vectors */

/* A line's first two words; the rest is the values, for tests/test_vectors.py
 * and people.  0 at the end of the file. */
static int next_vector(FILE *f, char **line, size_t *cap, char **name,
		       char **hex)
{
	while (getline(line, cap, f) > 0) {
		*name = strtok(*line, " \n");
		if (!*name || **name == '#')
			continue;
		*hex = strtok(NULL, " \n");
		assert_non_null(*hex);
		return 1;
	}
	return 0;
}

static size_t unhex(const char *hex, uint8_t *out)
{
	size_t n = strlen(hex) / 2;

	for (size_t i = 0; i < n; i++)
		assert_int_equal(sscanf(hex + 2 * i, "%2hhx", &out[i]), 1);
	return n;
}

/* Decoded and encoded again it is the same; truncated it is refused. */
static void check_vector(const struct kind *k, const uint8_t *body, size_t n)
{
	struct arena a = ARENA_INIT;
	struct wr w = WR_INIT;
	void *m = malloc(k->size);

	assert_non_null(m);
	assert_int_equal(k->decode(m, &a, body, n), 0);
	assert_int_equal(k->encode(&w, m), 0);
	assert_int_equal(w.len, n);
	assert_memory_equal(w.p, body, n);
	for (size_t cut = 0; cut < n; cut++)
		assert_int_equal(decode_exact(k, body, cut, NULL),
				 -EBADMSG);
	wr_fini(&w);
	arena_fini(&a);
	free(m);
}

static void vectors_hold(void **state)
{
	const char *path = getenv("PSPFS_VECTORS");
	FILE *f = fopen(path ? path : "tests/vectors/msg.txt", "r");
	char *line = NULL, *name, *hex;
	uint8_t body[4096];
	size_t cap = 0, n;
	int count = 0;

	(void)state;
	assert_non_null(f);
	for (; next_vector(f, &line, &cap, &name, &hex); count++) {
		size_t i = 0;

		while (i < N_KINDS && strcmp(kinds[i].name, name))
			i++;
		assert_true(i < N_KINDS);
		assert_true(strlen(hex) <= 2 * sizeof(body));
		n = unhex(hex, body);
		check_vector(&kinds[i], body, n);
	}
	assert_true(count >= 12);
	free(line);
	fclose(f);
}

/* Two of the vectors, field by field, with the values as the file has them. */
static void vectors_mean_what_they_say(void **state)
{
	static const char lookup[] =
		"0000000000000001000000096e6f7465732e747874";
	static const char placed[] =
		"0000000200140000000000001001000000020000000300000001000c"
		"000000000000100200000000";
	uint8_t body[256];
	struct arena a = ARENA_INIT;
	struct m_lookup l;
	struct m_grant_r g;

	(void)state;
	assert_int_equal(m_lookup_decode(&l, &a, body, unhex(lookup, body)), 0);
	assert_true(l.parent == 1);
	assert_true(str_eq(l.name, STR_LIT("notes.txt")));
	assert_int_equal(m_grant_r_decode(&g, &a, body, unhex(placed, body)),
			 0);
	assert_int_equal(g.n_chunks, 2);
	assert_true(g.chunks[0].id == 4097 && g.chunks[1].id == 4098);
	assert_int_equal(g.chunks[0].n_targets, 2);
	assert_int_equal(g.chunks[0].targets[0], 3);
	assert_int_equal(g.chunks[0].targets[1], 1);
	assert_int_equal(g.chunks[1].n_targets, 0);
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trips),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(unknown_fields_are_skipped),
		cmocka_unit_test(flipped_bytes_do_no_harm),
		cmocka_unit_test(maxima_are_enforced),
		cmocka_unit_test(counts_without_elements_cost_nothing),
		cmocka_unit_test(encoders_check_maxima),
		cmocka_unit_test(types_are_distinct_and_named),
		cmocka_unit_test(vectors_hold),
		cmocka_unit_test(vectors_mean_what_they_say),
	};
	const char *given = getenv("PSPFS_SEED");

	seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
	printf("PSPFS_SEED=%" PRIu64 "\n", seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
