/* unit_ns_range -- fallocate and lseek over the map. */
#include "ns_fixture.h"

#define PUNCH (ALLOCATE_PUNCH | ALLOCATE_KEEP_SIZE)
#define PIB (1ull << 50)

static int allocate(struct fix *f, uint64_t ino, uint64_t off, uint64_t len,
		    uint32_t mode, struct m_allocate_r *out)
{
	struct m_allocate m = { .ino = ino, .off = off, .len = len,
				.mode = mode };
	struct m_allocate_r unused;

	return ns_allocate(f->ns, &m, fix_now(f), out ? out : &unused,
			   fix_t(f));
}

/* A file of @n whole slots, each a chunk. */
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

static int64_t seek(struct fix *f, uint64_t ino, uint64_t off, int hole)
{
	struct m_seekmap m = { .ino = ino, .off = off, .hole = (uint8_t)hole };
	struct m_seekmap_r r;

	for (;;) {
		assert_int_equal(ns_seek(f->ns, &m, &r), 0);
		if (r.state != 2)
			return r.state ? (int64_t)r.off : -ENXIO;
		assert_true(r.off > m.off);
		m.off = r.off;
	}
}

static void a_punch_drops_slots_and_cuts_slices(void **state)
{
	struct fix *f = *state;
	uint64_t ino = full(f, "a", 4);
	struct m_attr was = fix_attr(f, ino), a;
	struct m_getmap_r map;
	struct m_allocate_r r;

	assert_int_equal(allocate(f, ino, 10, 3 * FIX_SLOT, PUNCH, &r), 0);
	assert_int_equal(r.done, 3 * FIX_SLOT);
	a = fix_attr(f, ino);
	fix_same_attr(&a, &r.attr);
	assert_int_equal(a.size, 4 * FIX_SLOT);
	assert_int_equal(a.stored, FIX_SLOT);
	assert_true(a.version > was.version);
	assert_true(a.mtime_ns > was.mtime_ns && a.ctime_ns > was.ctime_ns);
	assert_true(fix_was_touched(f, ino));
	assert_int_equal(fix_garbage(f), 2);
	map = fix_map(f, ino);
	assert_int_equal(map.n_slots, 2);
	assert_int_equal(map.slots[1].index, 3);
	fix_check_slice(&map.slots[0].slices[0], 0, 10,
			map.chunks[0].id, 0);
	fix_check_slice(&map.slots[1].slices[0], 10, FIX_SLOT - 10,
			map.chunks[1].id, 10);
}

static void a_punch_in_the_middle_makes_two_slices_of_a_chunk(void **state)
{
	struct fix *f = *state;
	uint64_t ino = full(f, "a", 1);
	struct m_getmap_r map;

	assert_int_equal(allocate(f, ino, 20, 8, PUNCH, NULL), 0);
	map = fix_map(f, ino);
	assert_int_equal(map.n_chunks, 1);
	assert_int_equal(map.slots[0].n_slices, 2);
	fix_check_slice(&map.slots[0].slices[0], 0, 20, map.chunks[0].id, 0);
	fix_check_slice(&map.slots[0].slices[1], 28, FIX_SLOT - 28,
			map.chunks[0].id, 28);
	assert_int_equal(map.attr.stored, FIX_SLOT - 8);
	assert_int_equal(fix_number(f, "SELECT refs FROM chunks"), 2);
	assert_int_equal(fix_garbage(f), 0);
	assert_int_equal(allocate(f, ino, 0, FIX_SLOT, PUNCH, NULL), 0);
	assert_int_equal(fix_garbage(f), 1);
	assert_int_equal(fix_attr(f, ino).stored, 0);
}

/* A compaction that read the slot before must not bring the bytes back. */
static void a_punch_refuses_compactions_under_way(void **state)
{
	struct fix *f = *state;
	uint64_t ino = full(f, "a", 1);
	struct m_compact m = { .ino = ino };
	struct m_compact_r r;

	m.expect = fix_map(f, ino).slots[0].version;
	m.push = fix_push(f, 0, 0, FIX_SLOT);
	assert_int_equal(allocate(f, ino, 20, 8, PUNCH, NULL), 0);
	assert_int_equal(ns_compact(f->ns, &m, fix_now(f), &r, fix_t(f)), 0);
	assert_int_equal(r.done, 0);
}

static void sizes_follow_the_mode(void **state)
{
	struct fix *f = *state;
	uint64_t ino = full(f, "a", 1);

	assert_int_equal(allocate(f, ino, 0, 100, ALLOCATE_KEEP_SIZE, NULL), 0);
	assert_int_equal(fix_attr(f, ino).size, FIX_SLOT);
	assert_int_equal(allocate(f, ino, 0, 100, 0, NULL), 0);
	assert_int_equal(fix_attr(f, ino).size, 100);
	assert_int_equal(allocate(f, ino, 0, 50, 0, NULL), 0);
	assert_int_equal(fix_attr(f, ino).size, 100);
	assert_int_equal(fix_attr(f, ino).stored, FIX_SLOT);
	assert_int_equal(allocate(f, ino, 30, 200,
				  ALLOCATE_ZERO | ALLOCATE_KEEP_SIZE, NULL), 0);
	assert_int_equal(fix_attr(f, ino).size, 100);
	assert_int_equal(fix_attr(f, ino).stored, 30);
	assert_int_equal(allocate(f, ino, 20, 200, ALLOCATE_ZERO, NULL), 0);
	assert_int_equal(fix_attr(f, ino).size, 220);
	assert_int_equal(fix_attr(f, ino).stored, 20);
	assert_int_equal(allocate(f, ino, 500, 20, PUNCH, NULL), 0);
	assert_int_equal(fix_attr(f, ino).size, 220);
}

static void what_cannot_be_is_refused(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "a");
	const uint64_t max = INT64_MAX;

	assert_int_equal(allocate(f, ino, 0, 0, 0, NULL), -EINVAL);
	assert_int_equal(allocate(f, ino, 0, 1, 4, NULL), -EINVAL);
	assert_int_equal(allocate(f, ino, 0, 1, ALLOCATE_PUNCH, NULL), -EINVAL);
	assert_int_equal(allocate(f, ino, 0, 1, PUNCH | ALLOCATE_ZERO, NULL),
			 -EINVAL);
	assert_int_equal(allocate(f, ino, max, 1, 0, NULL), -EFBIG);
	assert_int_equal(allocate(f, ino, 1, UINT64_MAX, 0, NULL), -EFBIG);
	assert_int_equal(allocate(f, ino, UINT64_MAX, 1, 0, NULL), -EFBIG);
	assert_int_equal(allocate(f, 1, 0, 1, 0, NULL), -EISDIR);
	assert_int_equal(allocate(f, 999, 0, 1, 0, NULL), -ENOENT);
	assert_int_equal(fix_attr(f, ino).size, 0);
	assert_int_equal(allocate(f, ino, 0, max, 0, NULL), 0);
	assert_int_equal(fix_attr(f, ino).size, max);
	assert_int_equal(allocate(f, ino, 0, max, PUNCH, NULL), 0);
}

static void suid_and_capabilities_go(void **state)
{
	struct fix *f = *state;
	int64_t ino = fix_mknod(f, 1, "a", S_IFREG | 06755);
	struct m_allocate m = { .ino = (uint64_t)ino, .len = 1,
				.mode = ALLOCATE_KEEP_SIZE };
	struct m_allocate_r r;

	assert_int_equal(ns_allocate(f->ns, &m, fix_now(f), &r, fix_t(f)), 0);
	assert_int_equal(r.attr.mode, S_IFREG | 06755);
	m.clear_suid = 1;
	assert_int_equal(ns_allocate(f->ns, &m, fix_now(f), &r, fix_t(f)), 0);
	assert_int_equal(r.attr.mode, S_IFREG | 0755);
	assert_int_equal(fix_also(f, (uint64_t)ino),
			 REVOKE_NAMES | REVOKE_OWNER);
}

/* More slots than one request may drop: in parts, then the size grows. */
static void a_long_range_is_done_in_parts(void **state)
{
	struct fix *f = *state;
	uint64_t ino = full(f, "a", NS_HOLE_SLOTS + 10), off = 5;
	uint64_t end = PIB, parts = 0;
	struct m_allocate_r r;

	while (off < end) {
		assert_int_equal(allocate(f, ino, off, end - off,
					  ALLOCATE_ZERO, &r), 0);
		assert_true(r.done > 0 && r.done <= end - off);
		off += r.done;
		parts++;
		assert_int_equal(r.attr.size, off < end ?
				 (NS_HOLE_SLOTS + 10) * FIX_SLOT : PIB);
	}
	assert_int_equal(parts, 2);
	assert_int_equal(fix_attr(f, ino).stored, 5);
}

/* A slot so deep that its pieces would not fit is hidden by zeros. */
static void a_deep_slot_is_punched_too(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "a");
	uint32_t i;

	for (i = 0; i < 300; i++) {
		struct m_push p = fix_push(f, 0, i % (FIX_SLOT - 1), 2);

		assert_int_equal(fix_commit(f, ino, &p, 1, NULL), 0);
	}
	assert_int_equal(allocate(f, ino, 5, 40, PUNCH, NULL), 0);
	assert_int_equal(seek(f, ino, 0, 1), 5);
	assert_int_equal(seek(f, ino, 5, 0), 45);
	assert_int_equal(fix_attr(f, ino).stored, FIX_SLOT - 40);
}

enum { BIG = 16384 };

/* -errno, or the slices of slot 1 after a write of a byte at @pos of it. */
static int write_at(struct fix *f, uint64_t ino, uint32_t pos)
{
	struct m_push p = fix_push(f, 1, pos, 1);
	int err = fix_commit(f, ino, &p, 1, NULL);

	return err ? err : (int)fix_map(f, ino).slots[0].n_slices;
}

/* Slot 0 is a hole, slot 1 a chunk. */
static uint64_t of_big_slots(struct fix *f)
{
	struct m_mknod m = { .parent = 1, .name = STR_LIT("a"), .excl = 1,
			     .mode = S_IFREG | 0644, .slot_size = BIG };
	struct m_push p = fix_push(f, 1, 0, BIG);
	struct m_mknod_r r;

	assert_int_equal(ns_mknod(f->ns, &m, fix_now(f), &r, fix_t(f)), 0);
	assert_int_equal(fix_commit(f, r.attr.ino, &p, 1, NULL), 0);
	return r.attr.ino;
}

/* A full stack takes no writes (-EBUSY), and no hole is worth that. */
static void holes_leave_room_for_writes(void **state)
{
	struct fix *f = *state;
	uint64_t ino = of_big_slots(f);
	uint32_t i;
	int err = 0, n;

	for (i = 0; !err && i < 4000; i++)
		err = allocate(f, ino, BIG + 4 * i + 1, 1, PUNCH, NULL);
	assert_int_equal(err, -EOPNOTSUPP);
	n = write_at(f, ino, 1);
	assert_true(n > 0 && n <= NS_STACK_MAX / 4 + 1);
	/* what makes it no deeper is always done */
	assert_int_equal(allocate(f, ino, BIG - 1, BIG - 100, PUNCH, NULL), 0);
}

/* Nor does a hole resolve what was written into many more pieces. */
static void a_hole_in_many_writes_leaves_room(void **state)
{
	struct fix *f = *state;
	uint64_t ino = of_big_slots(f);
	struct m_allocate_r r;
	uint32_t i;
	int n = 0;

	for (i = 0; i < 400; i++)
		n = write_at(f, ino, 4 * i + 2);
	assert_int_equal(n, 401);
	assert_int_equal(allocate(f, ino, BIG + 9001, 1, PUNCH, NULL), 0);
	assert_true(fix_map(f, ino).slots[0].n_slices < 500);
	assert_int_equal(seek(f, ino, BIG + 9000, 1), BIG + 9001);
	for (i = 400; i < 1000; i++)
		n = write_at(f, ino, 4 * i + 2);
	assert_int_equal(n, 1002);
	assert_int_equal(allocate(f, ino, BIG + 1, 1, PUNCH, NULL),
			 -EOPNOTSUPP);
	/* the part before it is done */
	assert_int_equal(allocate(f, ino, 0, BIG + 1, PUNCH, &r), 0);
	assert_int_equal(r.done, BIG);
	assert_true(write_at(f, ino, 1) > 0);
}

static void data_and_holes_are_found(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "a");
	struct m_push p[] = { fix_push(f, 0, 10, 20), fix_push(f, 2, 0, 64),
			      fix_push(f, 3, 0, 64), fix_push(f, 4, 0, 8) };

	assert_int_equal(seek(f, ino, 0, 0), -ENXIO);
	assert_int_equal(seek(f, ino, 0, 1), -ENXIO);
	assert_int_equal(fix_commit(f, ino, p, 4, NULL), 0);
	assert_int_equal(fix_truncate(f, ino, 1000), 0);
	assert_int_equal(seek(f, ino, 0, 0), 10);
	assert_int_equal(seek(f, ino, 12, 0), 12);
	assert_int_equal(seek(f, ino, 30, 0), 128);
	assert_int_equal(seek(f, ino, 264, 0), -ENXIO);
	assert_int_equal(seek(f, ino, 0, 1), 0);
	assert_int_equal(seek(f, ino, 10, 1), 30);
	assert_int_equal(seek(f, ino, 64, 1), 64);
	assert_int_equal(seek(f, ino, 130, 1), 264);
	assert_int_equal(seek(f, ino, 999, 1), 999);
	assert_int_equal(seek(f, ino, 1000, 1), -ENXIO);
	assert_int_equal(seek(f, ino, UINT64_MAX, 0), -ENXIO);
	assert_int_equal(fix_truncate(f, ino, 260), 0);
	assert_int_equal(seek(f, ino, 130, 1), 260);	/* the end is one */
}

static void zeros_are_holes(void **state)
{
	struct fix *f = *state;
	uint64_t ino = full(f, "a", 3);
	struct m_push p[] = { { .slot = 1, .pos = 0, .len = 30 },
			      { .slot = 1, .pos = 30, .len = 34 } };

	assert_int_equal(fix_commit(f, ino, p, 2, NULL), 0);
	assert_int_equal(seek(f, ino, 0, 1), 64);
	assert_int_equal(seek(f, ino, 64, 0), 128);
	assert_int_equal(seek(f, ino, 128, 1), 192);
}

static void far_away_data_is_found_at_once(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "a");
	struct m_push p[] = { fix_push(f, PIB / FIX_SLOT, 0, 8),
			      fix_push(f, (uint64_t)INT64_MAX / FIX_SLOT, 0,
				       63) };
	struct m_seekmap m = { .ino = ino };
	struct m_seekmap_r r;

	assert_int_equal(fix_commit(f, ino, p, 2, NULL), 0);
	assert_int_equal(ns_seek(f->ns, &m, &r), 0);
	assert_int_equal(r.state, 1);
	assert_int_equal(r.off, PIB);
	assert_int_equal(fix_attr(f, ino).size, INT64_MAX);
	assert_int_equal(seek(f, ino, PIB, 1), PIB + 8);
	assert_int_equal(seek(f, ino, PIB + 8, 0), INT64_MAX - 63);
	assert_int_equal(seek(f, ino, INT64_MAX - 1, 1), INT64_MAX);
	assert_int_equal(seek(f, ino, INT64_MAX, 1), -ENXIO);
}

/* More slots than one request looks at. */
static void a_long_row_of_data_is_walked_in_parts(void **state)
{
	struct fix *f = *state;
	uint64_t ino = full(f, "a", NS_SEEK_SLOTS + 5);
	struct m_seekmap m = { .ino = ino, .hole = 1 };
	struct m_seekmap_r r;

	assert_int_equal(ns_seek(f->ns, &m, &r), 0);
	assert_int_equal(r.state, 2);
	assert_int_equal(r.off, NS_SEEK_SLOTS * FIX_SLOT);
	assert_int_equal(seek(f, ino, 0, 1), (NS_SEEK_SLOTS + 5) * FIX_SLOT);
}

/* As long as it takes to look at many slots is what a few deep ones take. */
static void deep_slots_are_walked_in_more_parts(void **state)
{
	struct fix *f = *state;
	uint64_t ino = full(f, "a", 300);
	struct m_seekmap m = { .ino = ino, .hole = 1 };
	struct m_seekmap_r r;

	for (uint32_t i = 0; i < 200; i++)
		for (uint32_t k = 0; k < 63; k++) {
			struct m_push p = fix_push(f, i, k, 2);

			assert_int_equal(fix_commit(f, ino, &p, 1, NULL), 0);
		}
	assert_int_equal(ns_seek(f->ns, &m, &r), 0);
	assert_int_equal(r.state, 1);
	for (uint32_t i = 200; i < 300; i++)
		for (uint32_t k = 0; k < 63; k++) {
			struct m_push p = fix_push(f, i, k, 2);

			assert_int_equal(fix_commit(f, ino, &p, 1, NULL), 0);
		}
	assert_int_equal(ns_seek(f->ns, &m, &r), 0);
	assert_int_equal(r.state, 2);
	assert_true(r.off > 200 * FIX_SLOT);
	assert_int_equal(seek(f, ino, 0, 1), 300 * FIX_SLOT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIX_TEST(a_punch_drops_slots_and_cuts_slices),
		FIX_TEST(a_punch_in_the_middle_makes_two_slices_of_a_chunk),
		FIX_TEST(a_punch_refuses_compactions_under_way),
		FIX_TEST(sizes_follow_the_mode),
		FIX_TEST(what_cannot_be_is_refused),
		FIX_TEST(suid_and_capabilities_go),
		FIX_TEST(holes_leave_room_for_writes),
		FIX_TEST(a_hole_in_many_writes_leaves_room),
		FIX_TEST(a_long_range_is_done_in_parts),
		FIX_TEST(a_deep_slot_is_punched_too),
		FIX_TEST(data_and_holes_are_found),
		FIX_TEST(zeros_are_holes),
		FIX_TEST(far_away_data_is_found_at_once),
		FIX_TEST(a_long_row_of_data_is_walked_in_parts),
		FIX_TEST(deep_slots_are_walked_in_more_parts),
	};

	alarm(120);
	return FIX_RUN(tests);
}
