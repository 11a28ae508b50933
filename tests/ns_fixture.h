/*
 * ns_fixture -- a namespace for a test, and the invariants of its database.
 *
 * Each test runs in a batch of its own, in memory or (fix_on_disk) in a file;
 * fix_down() checks every invariant that ns_internal.h states, so that each
 * test is also a test of them.
 */
#ifndef PSPFS_NS_FIXTURE_H
#define PSPFS_NS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ns_internal.h"

enum { FIX_SLOT = 64 };
#ifndef FIX_IDS
#define FIX_IDS 100000
#endif

struct fix {
	struct db *db;
	struct ns *ns;
	struct arena a;
	struct ns_touched t;	/* of the last operation */
	uint32_t tick;
	uint64_t next_id;	/* of chunks */
	char dir[64], path[80];
};

static int fix_on_disk;

/* Every call is a nanosecond later. */
static inline struct ns_now fix_now(struct fix *f)
{
	return (struct ns_now){ 1000000, ++f->tick };
}

static inline void fix_open(struct fix *f)
{
	struct ns_config cfg = { .slot_size = FIX_SLOT };
	char why[512];

	if (db_open(&f->db, f->path, why, sizeof(why)))
		fail_msg("%s", why);
	assert_int_equal(ns_open(&f->ns, f->db, &cfg, fix_now(f)), 0);
	assert_int_equal(db_begin(f->db), 0);
}

static inline void fix_close(struct fix *f)
{
	assert_int_equal(db_commit(f->db, 0), 0);
	ns_close(f->ns);
	db_close(f->db);
}

static inline int fix_up(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));

	strcpy(f->path, ":memory:");
	if (fix_on_disk) {
		strcpy(f->dir, "/tmp/unit_ns.XXXXXX");
		assert_non_null(mkdtemp(f->dir));
		snprintf(f->path, sizeof(f->path), "%s/db", f->dir);
	}
	fix_open(f);
	assert_int_equal(ns_reserve_ids(f->ns, FIX_IDS, &f->next_id), 0);
	*state = f;
	return 0;
}

/* ------------------------------------------------------------ invariants */

static inline uint64_t fix_number(struct fix *f, const char *sql)
{
	struct db_stmt *s = db_prep(f->db, sql);
	uint64_t n;

	assert_int_equal(db_step(s), 1);
	n = db_u64(s, 0);
	db_reset(s);
	return n;
}

/* Slices lie in their slot and file; count who names which chunk. */
static inline uint64_t fix_check_slots(struct fix *f, uint32_t *named)
{
	struct db_stmt *s = db_prep(f->db,
		"SELECT s.slices, s.slot, s.version, i.size, i.map, "
		"i.slot_size, s.base FROM slots s "
		"LEFT JOIN inodes i USING(ino)");
	uint64_t stored = 0;
	uint32_t i, n;
	size_t len;

	while (db_step(s) == 1) {
		uint64_t base = db_u64(s, 1) * db_u64(s, 5), sum = 0;
		uint64_t pushed = 0;
		const void *blob = db_blob(s, 0, &len);

		assert_int_equal(ns_slices_count(len, &n), 0);
		assert_int_not_equal(n, 0);
		assert_true(db_u64(s, 2) <= db_u64(s, 4));
		assert_true(db_u64(s, 6) <= db_u64(s, 2));
		assert_int_not_equal(ns_slices_get(blob, 0).s.chunk, 0);
		for (i = 0; i < n; i++) {
			struct ns_slice v = ns_slices_get(blob, i);

			assert_true(v.pushed >= pushed);
			pushed = v.pushed;
			assert_int_not_equal(v.s.len, 0);
			assert_true((uint64_t)v.s.pos + v.s.len <=
				    db_u64(s, 5));
			assert_true(base + v.s.pos + v.s.len <= db_u64(s, 3));
			assert_true(v.s.chunk <= FIX_IDS);
			named[v.s.chunk]++;
			sum += v.s.chunk ? v.s.len : 0;
		}
		assert_true(pushed <= db_u64(s, 2));
		stored += sum < db_u64(s, 5) ? sum : db_u64(s, 5);
	}
	return stored;
}

static inline void fix_check_chunks(struct fix *f)
{
	uint32_t *named = calloc(FIX_IDS + 1, sizeof(*named));
	uint64_t stored = fix_check_slots(f, named), id;
	struct ns_count c;
	struct db_stmt *s;

	ns_count(f->ns, &c);
	assert_int_equal(stored, c.bytes);
	assert_int_equal(stored, fix_number(f,
		"SELECT ifnull(sum(stored),0) FROM inodes"));
	s = db_prep(f->db, "SELECT id, refs, (SELECT count(*) FROM garbage g "
			   "WHERE g.id=c.id) FROM chunks c");
	while (db_step(s) == 1) {
		id = db_u64(s, 0);
		assert_true(id && id <= FIX_IDS);
		assert_int_equal(db_u64(s, 1), named[id]);
		assert_int_equal(db_u64(s, 2), !named[id]);
		named[id] = 0;
	}
	for (id = 1; id <= FIX_IDS; id++)
		assert_int_equal(named[id], 0);
	assert_int_equal(c.chunks, fix_number(f,
		"SELECT count(*) FROM chunks WHERE refs>0"));
	assert_int_equal(c.garbage, fix_number(f,
		"SELECT count(*) FROM garbage"));
	free(named);
}

/* Each counts rows that break a rule. */
static const char *const fix_rules[] = {
	"SELECT count(*) FROM inodes i WHERE (nlink=0) != "
	"  (ino IN (SELECT ino FROM orphans))",
	"SELECT count(*) FROM orphans WHERE ino NOT IN "
	"  (SELECT ino FROM inodes)",
	/* a file has as many links as names */
	"SELECT count(*) FROM inodes i WHERE (mode & 61440) != 16384 AND "
	"  nlink != (SELECT count(*) FROM dentries d WHERE d.ino=i.ino)",
	/* a directory has two and one for each directory in it */
	"SELECT count(*) FROM inodes i WHERE (mode & 61440) = 16384 AND "
	"  nlink != 0 AND nlink != 2 + (SELECT count(*) FROM dentries d JOIN "
	"  inodes k ON k.ino=d.ino WHERE d.parent=i.ino AND "
	"  (k.mode & 61440) = 16384)",
	"SELECT count(*) FROM dentries d JOIN inodes i ON i.ino=d.ino "
	"  WHERE (i.mode & 61440) = 16384 AND i.parent != d.parent",
	"SELECT count(*) FROM dentries d WHERE d.ino NOT IN "
	"  (SELECT ino FROM inodes WHERE nlink > 0) OR d.parent NOT IN "
	"  (SELECT ino FROM inodes WHERE nlink > 0 AND "
	"  (mode & 61440) = 16384)",
	"SELECT count(*) - count(DISTINCT cookie) FROM dentries",
	"SELECT count(*) FROM inodes i WHERE xattrs != "
	"  (SELECT count(*) FROM xattrs x WHERE x.ino=i.ino) OR "
	"  xattr_bytes != (SELECT ifnull(sum(length(name)+length(value)),0) "
	"  FROM xattrs x WHERE x.ino=i.ino)",
	"SELECT count(*) FROM xattrs WHERE ino NOT IN (SELECT ino FROM inodes)",
	"SELECT count(*) FROM slots WHERE ino NOT IN (SELECT ino FROM inodes)",
	"SELECT count(*) FROM digests WHERE ino NOT IN "
	"  (SELECT ino FROM inodes)",
	"SELECT count(*) FROM symlinks WHERE ino NOT IN "
	"  (SELECT ino FROM inodes WHERE (mode & 61440) = 40960)",
};

static inline void fix_check(struct fix *f)
{
	struct ns_count c;
	size_t i;

	for (i = 0; i < sizeof(fix_rules) / sizeof(*fix_rules); i++)
		if (fix_number(f, fix_rules[i]))
			fail_msg("broken rule: %s", fix_rules[i]);
	ns_count(f->ns, &c);
	assert_int_equal(c.files, fix_number(f, "SELECT count(*) FROM inodes"));
	fix_check_chunks(f);
}

static inline int fix_down(void **state)
{
	struct fix *f = *state;
	char wal[96];

	fix_check(f);
	fix_close(f);
	arena_fini(&f->a);
	if (fix_on_disk) {
		snprintf(wal, sizeof(wal), "%s-wal", f->path);
		assert_int_equal(access(wal, F_OK), -1);
		unlink(f->path);
		assert_int_equal(rmdir(f->dir), 0);
	}
	free(f);
	return 0;
}

/* ------------------------------------------------ operations, in short */

static inline struct ns_touched *fix_t(struct fix *f)
{
	f->t = (struct ns_touched){ .n = 0 };
	return &f->t;
}

static inline struct str fix_str(const char *z)
{
	return (struct str){ z, (uint32_t)strlen(z) };
}

/* -errno, else the new inode's number. */
static inline int64_t fix_mknod(struct fix *f, uint64_t parent,
				const char *name, uint32_t mode)
{
	struct m_mknod m = { .parent = parent, .name = fix_str(name),
			     .mode = mode, .uid = 10, .gid = 20, .excl = 1 };
	struct m_mknod_r r;
	int err;

	if (S_ISLNK(mode))
		m.target = STR_LIT("target");
	err = ns_mknod(f->ns, &m, fix_now(f), &r, fix_t(f));
	return err ? err : (int64_t)r.attr.ino;
}

static inline uint64_t fix_dir(struct fix *f, uint64_t parent,
			       const char *name)
{
	int64_t ino = fix_mknod(f, parent, name, S_IFDIR | 0755);

	assert_true(ino > 0);
	return (uint64_t)ino;
}

static inline uint64_t fix_file(struct fix *f, uint64_t parent,
				const char *name)
{
	int64_t ino = fix_mknod(f, parent, name, S_IFREG | 0644);

	assert_true(ino > 0);
	return (uint64_t)ino;
}

/* -errno or the inode's number. */
static inline int64_t fix_lookup(struct fix *f, uint64_t parent,
				 const char *name)
{
	struct m_attr a;
	int err = ns_lookup(f->ns, parent, fix_str(name), &a);

	return err ? err : (int64_t)a.ino;
}

static inline struct m_attr fix_attr(struct fix *f, uint64_t ino)
{
	struct m_attr a;

	assert_int_equal(ns_getattr(f->ns, ino, &a), 0);
	return a;
}

/* As the wire shows them: a struct has padding. */
static inline void fix_same_attr(const struct m_attr *a,
				 const struct m_attr *b)
{
	struct m_getattr_r ma = { .attr = *a }, mb = { .attr = *b };
	struct wr x = WR_INIT, y = WR_INIT;

	assert_int_equal(m_getattr_r_encode(&x, &ma), 0);
	assert_int_equal(m_getattr_r_encode(&y, &mb), 0);
	assert_int_equal(x.len, y.len);
	assert_memory_equal(x.p, y.p, x.len);
	wr_fini(&x);
	wr_fini(&y);
}

static inline int fix_unlink(struct fix *f, uint64_t parent, const char *name,
			     int dir)
{
	struct m_unlink m = { .parent = parent, .name = fix_str(name),
			      .dir = (uint8_t)dir };
	struct m_unlink_r r;

	return ns_unlink(f->ns, &m, fix_now(f), &r, fix_t(f));
}

static inline int fix_link(struct fix *f, uint64_t ino, uint64_t parent,
			   const char *name)
{
	struct m_link m = { .ino = ino, .parent = parent,
			    .name = fix_str(name) };
	struct m_link_r r;

	return ns_link(f->ns, &m, fix_now(f), &r, fix_t(f));
}

static inline int fix_rename(struct fix *f, uint64_t p, const char *name,
			     uint64_t np, const char *newname, uint32_t flags,
			     struct m_rename_r *r)
{
	struct m_rename m = { .parent = p, .name = fix_str(name),
			      .newparent = np, .newname = fix_str(newname),
			      .flags = flags };
	struct m_rename_r unused;

	return ns_rename(f->ns, &m, fix_now(f), r ? r : &unused, fix_t(f));
}

static inline int fix_truncate(struct fix *f, uint64_t ino, uint64_t size)
{
	struct m_setattr m = { .ino = ino, .set = SET_SIZE, .size = size };
	struct m_attr out;

	return ns_setattr(f->ns, &m, fix_now(f), &out, fix_t(f));
}

static inline int fix_was_touched(const struct fix *f, uint64_t ino)
{
	unsigned i;

	for (i = 0; i < f->t.n; i++)
		if (f->t.ino[i] == ino)
			return 1;
	return 0;
}

/* The enum revoke_bits with which it was. */
static inline uint8_t fix_also(const struct fix *f, uint64_t ino)
{
	for (unsigned i = 0; i < f->t.n; i++)
		if (f->t.ino[i] == ino)
			return f->t.also[i];
	return 0;
}

/* A slice of a new chunk of just its bytes; its MD5 is made of its id. */
static inline struct m_push fix_push(struct fix *f, uint64_t slot,
				     uint32_t pos, uint32_t len)
{
	static uint32_t stored[] = { 7, 9 };
	struct m_push p = { .slot = slot, .pos = pos, .len = len,
			    .chunk = f->next_id++, .chunk_len = len,
			    .stored = stored, .n_stored = 2 };

	memcpy(p.md5, &p.chunk, sizeof(p.chunk));
	return p;
}

static inline int fix_commit(struct fix *f, uint64_t ino, struct m_push *p,
			     uint32_t n, struct m_commit_r *r)
{
	struct m_commit m = { .ino = ino, .pushes = p, .n_pushes = n };
	struct m_commit_r unused;

	return ns_commit(f->ns, &f->a, &m, fix_now(f), r ? r : &unused,
			 fix_t(f));
}

static inline struct m_getmap_r fix_map(struct fix *f, uint64_t ino)
{
	struct m_getmap_r r;

	assert_int_equal(ns_getmap(f->ns, &f->a, ino, 0, MSG_SLOTS_MAX, &r),
			 0);
	return r;
}

static inline uint64_t fix_garbage(struct fix *f)
{
	struct ns_count c;

	ns_count(f->ns, &c);
	return c.garbage;
}

static inline void fix_check_slice(const struct m_slice *s, uint32_t pos,
				   uint32_t len, uint64_t chunk, uint32_t off)
{
	assert_int_equal(s->pos, pos);
	assert_int_equal(s->len, len);
	assert_int_equal(s->chunk, chunk);
	assert_int_equal(s->off, off);
}

#define FIX_TEST(fn) cmocka_unit_test_setup_teardown(fn, fix_up, fix_down)
/* The tests once in memory and once on disk, as main() returns it. */
#define FIX_RUN(tests)                                                     \
	({                                                                 \
		int failed_ = cmocka_run_group_tests_name("in memory",     \
							  tests, NULL, NULL); \
		fix_on_disk = 1;                                           \
		failed_ + cmocka_run_group_tests_name("on disk", tests,    \
						      NULL, NULL);         \
	})

#endif
