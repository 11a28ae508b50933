/* unit_ns_clone -- chunks that several files share. */
#include "ns_fixture.h"

static int clone(struct fix *f, uint64_t ino, uint64_t off, uint64_t from,
		 uint64_t from_off, uint64_t len, struct m_clone_r *out)
{
	struct m_clone m = { .ino = ino, .off = off, .from = from,
			     .from_off = from_off, .len = len };
	struct m_clone_r unused;

	return ns_clone(f->ns, &f->a, &m, fix_now(f), out ? out : &unused,
			fix_t(f));
}

static uint64_t full(struct fix *f, const char *name, uint32_t n)
{
	uint64_t ino = fix_file(f, 1, name);
	uint32_t i;

	for (i = 0; i < n; i++) {
		struct m_push p = fix_push(f, i, 0, FIX_SLOT);

		assert_int_equal(fix_commit(f, ino, &p, 1, NULL), 0);
	}
	return ino;
}

static uint64_t sized(struct fix *f, const char *name, uint32_t slot_size)
{
	struct m_mknod m = { .parent = 1, .name = fix_str(name), .excl = 1,
			     .mode = S_IFREG | 0644, .slot_size = slot_size };
	struct m_mknod_r r;

	assert_int_equal(ns_mknod(f->ns, &m, fix_now(f), &r, fix_t(f)), 0);
	return r.attr.ino;
}

static uint64_t chunks(struct fix *f)
{
	struct ns_count c;

	ns_count(f->ns, &c);
	return c.chunks;
}

static void reap(struct fix *f, const char *name)
{
	uint64_t ino = (uint64_t)fix_lookup(f, 1, name);

	assert_int_equal(fix_unlink(f, 1, name, 0), 0);
	assert_int_equal(ns_reap(f->ns, ino, fix_now(f)), 0);
}

static void a_whole_file_shares_all_its_chunks(void **state)
{
	struct fix *f = *state;
	uint64_t a = full(f, "a", 3), b = fix_file(f, 1, "b"), n = chunks(f);
	struct m_attr was = fix_attr(f, a), now = fix_attr(f, b);
	struct m_getmap_r x, y;
	struct m_clone_r r;
	uint32_t i;

	assert_int_equal(clone(f, b, 0, a, 0, INT64_MAX, &r), 0);
	assert_true(fix_was_touched(f, b) && !fix_was_touched(f, a));
	assert_int_equal(r.done, 3 * FIX_SLOT);
	assert_int_equal(r.more, 0);
	assert_int_equal(r.n_deep, 0);
	assert_int_equal(r.attr.size, 3 * FIX_SLOT);
	assert_int_equal(r.attr.stored, 3 * FIX_SLOT);
	assert_true(r.attr.version > now.version);
	assert_true(r.attr.mtime_ns > now.mtime_ns);
	assert_int_equal(fix_attr(f, a).version, was.version);
	assert_int_equal(chunks(f), n);
	x = fix_map(f, a);
	y = fix_map(f, b);
	assert_int_equal(y.n_slots, 3);
	for (i = 0; i < 3; i++)
		fix_check_slice(&y.slots[i].slices[0], 0, FIX_SLOT,
				x.slots[i].slices[0].chunk, 0);
}

static void either_file_keeps_the_chunks_alive(void **state)
{
	struct fix *f = *state;
	uint64_t a = full(f, "a", 3), b = fix_file(f, 1, "b");
	struct m_push p = fix_push(f, 1, 0, FIX_SLOT);
	uint64_t chunk = fix_map(f, a).slots[1].slices[0].chunk;

	assert_int_equal(clone(f, b, 0, a, 0, 3 * FIX_SLOT, NULL), 0);
	assert_int_equal(fix_commit(f, b, &p, 1, NULL), 0);
	assert_int_equal(fix_garbage(f), 0);
	assert_int_equal(fix_map(f, a).slots[1].slices[0].chunk, chunk);
	reap(f, "a");
	assert_int_equal(fix_garbage(f), 1);	/* what b has overwritten */
	assert_int_equal(fix_map(f, b).n_slots, 3);
	reap(f, "b");
	assert_int_equal(fix_garbage(f), 4);
}

static void holes_are_cloned_over_what_was_there(void **state)
{
	struct fix *f = *state;
	uint64_t a = fix_file(f, 1, "a"), b = full(f, "b", 5);
	struct m_push p[] = { fix_push(f, 0, 10, 4), fix_push(f, 3, 0, 6) };
	struct m_getmap_r map;
	struct m_clone_r r;

	assert_int_equal(fix_commit(f, a, p, 2, NULL), 0);
	assert_int_equal(fix_truncate(f, a, 4 * FIX_SLOT), 0);
	assert_int_equal(clone(f, b, 0, a, 0, 4 * FIX_SLOT, &r), 0);
	assert_int_equal(r.done, 4 * FIX_SLOT);
	assert_int_equal(r.attr.stored, 4 + 6 + FIX_SLOT);
	map = fix_map(f, b);
	assert_int_equal(map.n_slots, 3);
	assert_int_equal(map.slots[0].n_slices, 1);
	fix_check_slice(&map.slots[0].slices[0], 10, 4, p[0].chunk, 0);
	fix_check_slice(&map.slots[1].slices[0], 0, 6, p[1].chunk, 0);
	assert_int_equal(fix_garbage(f), 4);
	/* one behind all of the source's data */
	assert_int_equal(fix_truncate(f, a, 5 * FIX_SLOT), 0);
	assert_int_equal(clone(f, b, 4 * FIX_SLOT, a, 4 * FIX_SLOT, 100, &r),
			 0);
	assert_int_equal(r.done, FIX_SLOT);
	assert_int_equal(r.attr.stored, 4 + 6);
	assert_int_equal(fix_garbage(f), 5);
}

/* A hole at the end of the source makes the target grow all the same. */
static void a_hole_grows_the_file(void **state)
{
	struct fix *f = *state;
	uint64_t a = fix_file(f, 1, "a"), b = fix_file(f, 1, "b");
	struct m_clone_r r;

	assert_int_equal(fix_truncate(f, a, 1ull << 50), 0);
	assert_int_equal(clone(f, b, 7, a, 0, 1ull << 51, &r), 0);
	assert_int_equal(r.done, 1ull << 50);
	assert_int_equal(r.more, 0);
	assert_int_equal(fix_attr(f, b).size, (1ull << 50) + 7);
	assert_int_equal(fix_attr(f, b).stored, 0);
}

static void an_unaligned_range_is_cut_at_both_files_slots(void **state)
{
	struct fix *f = *state;
	uint64_t a = full(f, "a", 2), b = full(f, "b", 3);
	struct m_getmap_r x = fix_map(f, a), y;
	struct m_clone_r r;

	assert_int_equal(clone(f, b, 70, a, 50, 60, &r), 0);
	assert_int_equal(r.done, 60);
	assert_int_equal(r.attr.size, 3 * FIX_SLOT);
	assert_int_equal(r.attr.stored, 3 * FIX_SLOT);
	y = fix_map(f, b);
	assert_int_equal(y.slots[1].n_slices, 3);
	/* bytes 64..70 are b's own, 70..84 a's 50..64, 84..128 a's 64..108 */
	fix_check_slice(&y.slots[1].slices[1], 6, 14,
			x.slots[0].slices[0].chunk, 50);
	fix_check_slice(&y.slots[1].slices[2], 20, 44,
			x.slots[1].slices[0].chunk, 0);
	fix_check_slice(&y.slots[2].slices[1], 0, 2,
			x.slots[1].slices[0].chunk, 44);
}

static void within_one_file_and_slot(void **state)
{
	struct fix *f = *state;
	uint64_t a = full(f, "a", 1);
	uint64_t chunk = fix_map(f, a).slots[0].slices[0].chunk;
	struct m_getmap_r map;

	assert_int_equal(clone(f, a, 40, a, 0, 20, NULL), 0);
	map = fix_map(f, a);
	assert_int_equal(map.slots[0].n_slices, 3);
	fix_check_slice(&map.slots[0].slices[2], 40, 20, chunk, 0);
	assert_int_equal(clone(f, a, 64, a, 0, 64, NULL), 0);
	assert_int_equal(fix_attr(f, a).size, 128);
	assert_int_equal(chunks(f), 1);
	assert_int_equal(clone(f, a, 10, a, 0, 11, NULL), -EINVAL);
	assert_int_equal(clone(f, a, 0, a, 10, 11, NULL), -EINVAL);
	assert_int_equal(clone(f, a, 0, a, 0, 1, NULL), -EINVAL);
	assert_int_equal(clone(f, a, 0, a, 128, 11, NULL), 0);
}

static void slots_of_different_sizes(void **state)
{
	struct fix *f = *state;
	uint64_t a = full(f, "a", 40), big = sized(f, "big", 8192), small;
	struct m_clone_r r;
	uint32_t i;

	small = sized(f, "small", 1024);
	/* 40 chunks of 64 bytes in a slot of 8192 */
	assert_int_equal(clone(f, big, 0, a, 0, 40 * FIX_SLOT, &r), 0);
	assert_int_equal(r.done, 40 * FIX_SLOT);
	assert_int_equal(r.n_deep, 1);
	assert_int_equal(r.deep[0], 0);
	assert_int_equal(r.attr.stored, 40 * FIX_SLOT);
	/* and once more behind: the slot would become too deep */
	assert_int_equal(clone(f, big, 40 * FIX_SLOT, a, 0, 40 * FIX_SLOT,
			       &r), 0);
	assert_int_equal(r.done, 24 * FIX_SLOT);
	assert_int_equal(r.more, 1);
	/* nothing at all can be done any more */
	assert_int_equal(clone(f, big, 0, a, 0, FIX_SLOT, &r), -EOPNOTSUPP);
	for (i = 0; i < 3; i++)
		assert_int_equal(clone(f, small, 1000 * i, big, 0, 1000, &r),
				 0);
	assert_int_equal(r.done, 1000);
	assert_int_equal(fix_attr(f, small).stored, 3000);
}

static void a_long_range_is_done_in_parts(void **state)
{
	struct fix *f = *state;
	uint32_t n = NS_CLONE_SLICES + 100;
	uint64_t a = full(f, "a", n), b = fix_file(f, 1, "b"), done = 0;
	struct m_clone_r r;
	int parts = 0;

	do {
		assert_int_equal(clone(f, b, done, a, done, INT64_MAX - done,
				       &r), 0);
		assert_true(r.done);
		done += r.done;
		parts++;
		assert_int_equal(r.attr.size, done);
	} while (r.more);
	assert_int_equal(done, n * FIX_SLOT);
	assert_int_equal(parts, 3);
	assert_int_equal(fix_attr(f, b).stored, n * FIX_SLOT);
}

static void what_cannot_be_is_refused(void **state)
{
	struct fix *f = *state;
	uint64_t a = full(f, "a", 1), b = fix_file(f, 1, "b");
	struct m_clone_r r;

	assert_int_equal(clone(f, 1, 0, a, 0, 1, NULL), -EISDIR);
	assert_int_equal(clone(f, b, 0, 1, 0, 1, NULL), -EISDIR);
	assert_int_equal(clone(f, b, 0, 999, 0, 1, NULL), -ENOENT);
	assert_int_equal(clone(f, b, INT64_MAX, a, 0, 1, NULL), -EFBIG);
	assert_int_equal(clone(f, b, UINT64_MAX, a, 0, 1, NULL), -EFBIG);
	assert_int_equal(clone(f, b, INT64_MAX - 64, a, 0, 65, &r), 0);
	assert_int_equal(r.done, 64);
	assert_int_equal(clone(f, b, 0, a, UINT64_MAX, UINT64_MAX, &r), 0);
	assert_int_equal(r.done, 0);
	assert_int_equal(fix_attr(f, b).size, INT64_MAX);
}

/* Nothing to do is no change: neither times nor version move. */
static void past_the_end_nothing_happens(void **state)
{
	struct fix *f = *state;
	uint64_t a = full(f, "a", 1), b = full(f, "b", 2);
	struct m_attr was = fix_attr(f, b), is;
	struct m_clone_r r;

	assert_int_equal(clone(f, b, 0, a, FIX_SLOT, 100, &r), 0);
	assert_int_equal(r.done, 0);
	assert_int_equal(r.more, 0);
	is = fix_attr(f, b);
	fix_same_attr(&was, &is);
	assert_int_equal(clone(f, b, 0, a, 60, 100, &r), 0);
	assert_int_equal(r.done, 4);
}

static void suid_goes_and_a_digest_too(void **state)
{
	struct fix *f = *state;
	uint64_t a = full(f, "a", 1);
	int64_t b = fix_mknod(f, 1, "b", S_IFREG | 04755);
	struct m_clone m = { .ino = (uint64_t)b, .from = a, .len = 64,
			     .clear_suid = 1 };
	struct m_digested d = { .ino = (uint64_t)b, .version = 1 };
	struct m_digest_r known;
	struct m_clone_r r;
	uint8_t kept;

	d.version = fix_attr(f, (uint64_t)b).version;
	assert_int_equal(ns_digested(f->ns, &d, &kept), 0);
	assert_int_equal(kept, 1);
	assert_int_equal(ns_clone(f->ns, &f->a, &m, fix_now(f), &r, fix_t(f)),
			 0);
	assert_int_equal(r.attr.mode, S_IFREG | 0755);
	assert_int_equal(fix_also(f, (uint64_t)b),
			 REVOKE_NAMES | REVOKE_OWNER);
	assert_int_equal(ns_digest(f->ns, (uint64_t)b, &known), 0);
	assert_int_equal(known.known, 0);
}

/* A file's wish for copies holds for the chunks, whoever else has them. */
static void copies_are_the_chunks(void **state)
{
	struct fix *f = *state;
	uint64_t a = full(f, "a", 2), b = fix_file(f, 1, "b"), at = 0;
	uint8_t copies;

	assert_int_equal(clone(f, b, 0, a, 0, 128, NULL), 0);
	assert_int_equal(ns_set_copies(f->ns, b, &at, 3), 0);
	assert_int_equal(ns_copies(f->ns,
				   fix_map(f, a).slots[0].slices[0].chunk,
				   &copies), 0);
	assert_int_equal(copies, 3);
}

/* One file is compacted, the other keeps what it shares. */
static void compacting_one_leaves_the_other(void **state)
{
	struct fix *f = *state;
	uint64_t a = fix_file(f, 1, "a"), b = fix_file(f, 1, "b");
	struct m_push p[] = { fix_push(f, 0, 0, 64), fix_push(f, 0, 8, 8) };
	struct m_compact m = { .ino = a };
	struct m_compact_r r;

	assert_int_equal(fix_commit(f, a, p, 2, NULL), 0);
	assert_int_equal(clone(f, b, 0, a, 0, 64, NULL), 0);
	m.expect = fix_map(f, a).slots[0].version;
	m.push = fix_push(f, 0, 0, 64);
	assert_int_equal(ns_compact(f->ns, &m, fix_now(f), &r, fix_t(f)), 0);
	assert_int_equal(r.done, 1);
	assert_int_equal(fix_garbage(f), 0);
	assert_int_equal(fix_map(f, b).slots[0].n_slices, 3);
	m = (struct m_compact){ .ino = b, .push = fix_push(f, 0, 0, 64) };
	m.expect = fix_map(f, b).slots[0].version;
	assert_int_equal(ns_compact(f->ns, &m, fix_now(f), &r, fix_t(f)), 0);
	assert_int_equal(r.done, 1);
	assert_int_equal(fix_garbage(f), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIX_TEST(a_whole_file_shares_all_its_chunks),
		FIX_TEST(either_file_keeps_the_chunks_alive),
		FIX_TEST(holes_are_cloned_over_what_was_there),
		FIX_TEST(a_hole_grows_the_file),
		FIX_TEST(an_unaligned_range_is_cut_at_both_files_slots),
		FIX_TEST(within_one_file_and_slot),
		FIX_TEST(slots_of_different_sizes),
		FIX_TEST(a_long_range_is_done_in_parts),
		FIX_TEST(what_cannot_be_is_refused),
		FIX_TEST(past_the_end_nothing_happens),
		FIX_TEST(suid_goes_and_a_digest_too),
		FIX_TEST(copies_are_the_chunks),
		FIX_TEST(compacting_one_leaves_the_other),
	};

	alarm(120);
	return FIX_RUN(tests);
}
