/* unit_ns -- names: lookup, readdir, mknod, link, unlink, rename. */
#include "ns_fixture.h"

/* ---------------------------------------------------------------- names */

static void names_are_checked(void **state)
{
	struct fix *f = *state;
	char name[300];
	struct m_attr a;

	assert_int_equal(fix_mknod(f, 1, "", S_IFREG), -ENOENT);
	assert_int_equal(fix_mknod(f, 1, ".", S_IFREG), -EINVAL);
	assert_int_equal(fix_mknod(f, 1, "..", S_IFREG), -EINVAL);
	assert_int_equal(fix_mknod(f, 1, "a/b", S_IFREG), -EINVAL);
	assert_int_equal(ns_lookup(f->ns, 1, STR_LIT("a\0b"), &a), -EINVAL);
	memset(name, 'n', sizeof(name));
	name[256] = 0;
	assert_int_equal(fix_mknod(f, 1, name, S_IFREG), -ENAMETOOLONG);
	name[255] = 0;
	fix_file(f, 1, name);
	assert_true(fix_lookup(f, 1, name) > 0);
	fix_file(f, 1, "...");
	fix_file(f, 1, "\xff\x01\n");	/* bytes, not text */
	assert_true(fix_lookup(f, 1, "\xff\x01\n") > 0);
	assert_int_equal(fix_lookup(f, 1, "\xff\x01"), -ENOENT);
}

static void parents_are_checked(void **state)
{
	struct fix *f = *state;
	uint64_t file = fix_file(f, 1, "file"), dir = fix_dir(f, 1, "dir");

	assert_int_equal(fix_mknod(f, file, "x", S_IFREG), -ENOTDIR);
	assert_int_equal(fix_lookup(f, file, "x"), -ENOTDIR);
	assert_int_equal(fix_mknod(f, 999, "x", S_IFREG), -ENOENT);
	assert_int_equal(fix_mknod(f, UINT64_MAX, "x", S_IFREG), -ENOENT);
	assert_int_equal(fix_mknod(f, 0, "x", S_IFREG), -ENOENT);
	assert_int_equal(fix_lookup(f, 999, "x"), -ENOENT);
	/* a directory that somebody has open, but that is removed */
	assert_int_equal(fix_unlink(f, 1, "dir", 1), 0);
	assert_int_equal(fix_mknod(f, dir, "x", S_IFREG), -ENOENT);
	assert_int_equal(fix_link(f, file, dir, "x"), -ENOENT);
	assert_int_equal(fix_rename(f, 1, "file", dir, "x", 0, NULL),
			 -ENOENT);
	assert_int_equal(fix_lookup(f, dir, "x"), -ENOENT);
	assert_int_equal(fix_attr(f, dir).nlink, 0);
}

/* ----------------------------------------------------------------- mknod */

static void mknod_makes_every_type(void **state)
{
	static const uint32_t types[] = { S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR,
					  S_IFBLK, S_IFDIR, S_IFLNK };
	struct fix *f = *state;
	struct m_attr a;
	char name[2] = "a";
	size_t i;

	for (i = 0; i < sizeof(types) / sizeof(*types); i++, name[0]++) {
		struct m_mknod m = {
			.parent = 1, .name = fix_str(name), .excl = 1,
			.mode = types[i] | 0640, .uid = 1, .gid = 2,
			.rdev = 0x801, .target = STR_LIT("to/there"),
		};
		struct m_mknod_r r;

		assert_int_equal(ns_mknod(f->ns, &m, fix_now(f), &r,
					  fix_t(f)), 0);
		assert_true(r.created && fix_was_touched(f, 1));
		assert_int_equal(r.attr.mode, S_ISLNK(types[i]) ?
				 S_IFLNK | 0777 : types[i] | 0640);
		assert_int_equal(r.attr.nlink, S_ISDIR(types[i]) ? 2 : 1);
		assert_int_equal(r.attr.rdev, S_ISCHR(types[i]) ||
				 S_ISBLK(types[i]) ? 0x801 : 0);
		assert_int_equal(r.attr.slot_size, FIX_SLOT);
		assert_int_equal(r.attr.mtime_ns, r.parent.mtime_ns);
		assert_int_equal(ns_lookup(f->ns, 1, m.name, &a), 0);
		fix_same_attr(&a, &r.attr);
		a = fix_attr(f, 1);
		fix_same_attr(&a, &r.parent);
	}
	assert_int_equal(fix_attr(f, 1).nlink, 3);
	assert_int_equal(fix_mknod(f, 1, "x", S_IFDIR | S_IFREG | 0xf000),
			 -EINVAL);
	assert_int_equal(fix_mknod(f, 1, "x", 0644), -EINVAL);
	assert_int_equal(fix_mknod(f, 1, "x", S_IFREG | 0x100000), -EINVAL);
}

static void symlinks_keep_their_target(void **state)
{
	struct fix *f = *state;
	char target[MSG_PATH_MAX + 1];
	struct m_mknod m = { .parent = 1, .name = STR_LIT("l"), .excl = 1,
			     .mode = S_IFLNK, .target = { target, 0 } };
	struct m_mknod_r r;
	struct str got;

	memset(target, 't', sizeof(target));
	assert_int_equal(ns_mknod(f->ns, &m, fix_now(f), &r, fix_t(f)),
			 -ENOENT);
	m.target.len = MSG_PATH_MAX;
	assert_int_equal(ns_mknod(f->ns, &m, fix_now(f), &r, fix_t(f)),
			 -ENAMETOOLONG);
	m.target.len = MSG_PATH_MAX - 1;
	assert_int_equal(ns_mknod(f->ns, &m, fix_now(f), &r, fix_t(f)), 0);
	assert_int_equal(r.attr.size, MSG_PATH_MAX - 1);
	assert_int_equal(ns_readlink(f->ns, &f->a, r.attr.ino, &got), 0);
	assert_true(str_eq(got, m.target));
	assert_int_equal(ns_readlink(f->ns, &f->a, 1, &got), -EINVAL);
	assert_int_equal(ns_readlink(f->ns, &f->a, 99, &got), -ENOENT);
	m.name = STR_LIT("nul");
	target[5] = 0;
	assert_int_equal(ns_mknod(f->ns, &m, fix_now(f), &r, fix_t(f)),
			 -EINVAL);
}

static void mknod_without_excl_finds_a_file(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f");
	struct m_mknod m = { .parent = 1, .name = STR_LIT("f"),
			     .mode = S_IFREG | 0600 };
	struct m_mknod_r r;

	fix_dir(f, 1, "d");
	assert_true(fix_mknod(f, 1, "l", S_IFLNK) > 0);
	assert_int_equal(ns_mknod(f->ns, &m, fix_now(f), &r, fix_t(f)), 0);
	assert_int_equal(r.created, 0);
	assert_int_equal(r.attr.ino, ino);
	assert_int_equal(r.attr.mode, S_IFREG | 0644);
	assert_int_equal(f->t.n, 0);
	m.name = STR_LIT("d");
	assert_int_equal(ns_mknod(f->ns, &m, fix_now(f), &r, fix_t(f)),
			 -EISDIR);
	m.name = STR_LIT("l");
	assert_int_equal(ns_mknod(f->ns, &m, fix_now(f), &r, fix_t(f)),
			 -EEXIST);
	assert_int_equal(fix_mknod(f, 1, "f", S_IFREG), -EEXIST);
	m.name = STR_LIT("f");
	m.mode = S_IFDIR;
	assert_int_equal(ns_mknod(f->ns, &m, fix_now(f), &r, fix_t(f)),
			 -EEXIST);
}

static void setgid_directories_pass_their_group(void **state)
{
	struct fix *f = *state;
	uint64_t dir = fix_dir(f, 1, "d"), sub, file;
	struct m_setattr m = { .ino = dir, .set = SET_MODE | SET_GID,
			       .mode = 02775, .gid = 77 };
	struct m_attr a;

	assert_int_equal(ns_setattr(f->ns, &m, fix_now(f), &a, fix_t(f)), 0);
	sub = fix_dir(f, dir, "sub");
	file = fix_file(f, dir, "file");
	assert_int_equal(fix_attr(f, sub).gid, 77);
	assert_int_equal(fix_attr(f, sub).mode, S_IFDIR | 02755);
	assert_int_equal(fix_attr(f, file).gid, 77);
	assert_int_equal(fix_attr(f, file).mode, S_IFREG | 0644);
}

/* Also when the highest was deleted, and across a restart. */
static void inode_numbers_are_not_reused(void **state)
{
	struct fix *f = *state;
	uint64_t last = 0, ino;
	char name[2] = "a";
	int i;

	for (i = 0; i < 3; i++, name[0]++) {
		ino = fix_file(f, 1, name);
		assert_true(ino > last);
		last = ino;
		assert_int_equal(fix_unlink(f, 1, name, 0), 0);
		assert_int_equal(ns_reap(f->ns, ino, fix_now(f)), 0);
		if (fix_on_disk) {
			fix_close(f);
			fix_open(f);
		}
	}
	/* nor when a batch is rolled back in which numbers were reserved */
	for (i = 0; i < 2000; i++) {
		char many[16];

		snprintf(many, sizeof(many), "many%d", i);
		last = fix_file(f, 1, many);
		if (i % 500)
			continue;
		assert_int_equal(db_commit(f->db, 0), 0);
		assert_int_equal(db_begin(f->db), 0);
	}
	db_rollback(f->db);
	assert_int_equal(db_begin(f->db), 0);
	assert_int_equal(fix_lookup(f, 1, "many1999"), -ENOENT);
	ino = fix_file(f, 1, "after");
	assert_true(ino > last);
	if (fix_on_disk) {
		fix_close(f);
		fix_open(f);
		assert_true(fix_file(f, 1, "after restart") > ino);
	}
}

/* --------------------------------------------------------------- readdir */

static void readdir_goes_on_at_its_cookie(void **state)
{
	struct fix *f = *state;
	uint64_t dir = fix_dir(f, 1, "d"), after = 0;
	struct m_readdir_r r;
	char name[16];
	int i, seen = 0;

	for (i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "f%d", 99 - i);
		fix_file(f, dir, name);
	}
	do {
		assert_int_equal(ns_readdir(f->ns, &f->a, dir, after, 7, &r),
				 0);
		assert_int_equal(r.parent, 1);
		assert_true(r.n_entries == 7 || r.eof);
		for (i = 0; i < (int)r.n_entries; i++, seen++) {
			snprintf(name, sizeof(name), "f%d", 99 - seen);
			assert_true(str_eq(r.entries[i].name, fix_str(name)));
			assert_true(r.entries[i].cookie > after);
			assert_int_equal(r.entries[i].attr.mode,
					 S_IFREG | 0644);
			after = r.entries[i].cookie;
			/* what was seen may go, what was not stays */
			assert_int_equal(fix_unlink(f, dir, name, 0), 0);
		}
	} while (!r.eof);
	assert_int_equal(seen, 100);
	assert_int_equal(ns_readdir(f->ns, &f->a, dir, UINT64_MAX, 0, &r), 0);
	assert_true(r.eof && !r.n_entries);
	assert_int_equal(ns_readdir(f->ns, &f->a, fix_file(f, 1, "f"), 0, 9,
				    &r), -ENOTDIR);
	assert_int_equal(ns_readdir(f->ns, &f->a, 999, 0, 9, &r), -ENOENT);
	assert_int_equal(ns_readdir(f->ns, &f->a, 1, 0, 0, &r), 0);
	assert_true(!r.eof && r.n_entries == 1);
	/* exactly as many as are wanted is the end */
	assert_int_equal(ns_readdir(f->ns, &f->a, 1, 0, 2, &r), 0);
	assert_true(r.eof && r.n_entries == 2);
}

/* ------------------------------------------------------- link and unlink */

static void links_are_counted(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "a"), dir = fix_dir(f, 1, "d");
	struct m_attr before = fix_attr(f, ino);
	uint64_t out[4];

	assert_int_equal(fix_link(f, ino, dir, "b"), 0);
	assert_true(fix_was_touched(f, ino) && fix_was_touched(f, dir));
	assert_int_equal(fix_attr(f, ino).nlink, 2);
	assert_true(fix_attr(f, ino).ctime_ns > before.ctime_ns);
	assert_int_equal(fix_attr(f, ino).mtime_ns, before.mtime_ns);
	assert_int_equal(fix_attr(f, dir).mtime_ns,
			 fix_attr(f, ino).ctime_ns);
	assert_int_equal(fix_link(f, ino, dir, "b"), -EEXIST);
	assert_int_equal(fix_link(f, dir, 1, "x"), -EPERM);
	assert_int_equal(fix_link(f, 999, 1, "x"), -ENOENT);
	assert_int_equal(fix_link(f, ino, ino, "x"), -ENOTDIR);

	assert_int_equal(fix_unlink(f, 1, "a", 0), 0);
	assert_int_equal(fix_attr(f, ino).nlink, 1);
	assert_int_equal(ns_orphans(f->ns, 0, out, 4), 0);
	assert_int_equal(ns_reap(f->ns, ino, fix_now(f)), 0);	/* no orphan */
	assert_int_equal(fix_unlink(f, dir, "b", 0), 0);
	assert_true(fix_was_touched(f, ino) && fix_was_touched(f, dir));
	assert_int_equal(ns_orphans(f->ns, 0, out, 4), 1);
	assert_int_equal(out[0], ino);
	assert_int_equal(ns_orphans(f->ns, ino, out, 4), 0);
	assert_int_equal(fix_link(f, ino, 1, "back"), -ENOENT);
	assert_int_equal(fix_attr(f, ino).nlink, 0);	/* still there */
	assert_int_equal(ns_reap(f->ns, ino, fix_now(f)), 0);
	assert_int_equal(ns_getattr(f->ns, ino, &before), -ENOENT);
	assert_int_equal(ns_reap(f->ns, ino, fix_now(f)), 0);
}

static void links_have_a_maximum(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "a");
	struct ns_inode in;
	char name[16];
	int i;

	for (i = 1; i < 10; i++) {
		snprintf(name, sizeof(name), "l%d", i);
		assert_int_equal(fix_link(f, ino, 1, name), 0);
	}
	assert_int_equal(ns_inode_get(f->ns, ino, &in), 0);
	in.a.nlink = NS_LINK_MAX;
	assert_int_equal(ns_inode_put(f->ns, &in), 0);
	assert_int_equal(fix_link(f, ino, 1, "one more"), -EMLINK);
	in.a.nlink = 10;
	assert_int_equal(ns_inode_put(f->ns, &in), 0);
}

static void unlink_and_rmdir_mind_the_type(void **state)
{
	struct fix *f = *state;
	uint64_t dir = fix_dir(f, 1, "d"), out[4];

	fix_file(f, dir, "f");
	assert_int_equal(fix_unlink(f, 1, "d", 0), -EISDIR);
	assert_int_equal(fix_unlink(f, dir, "f", 1), -ENOTDIR);
	assert_int_equal(fix_unlink(f, 1, "d", 1), -ENOTEMPTY);
	assert_int_equal(fix_unlink(f, 1, "none", 0), -ENOENT);
	assert_int_equal(fix_unlink(f, 1, "none", 1), -ENOENT);
	assert_int_equal(f->t.n, 0);
	assert_int_equal(fix_unlink(f, dir, "f", 0), 0);
	assert_int_equal(fix_attr(f, 1).nlink, 3);
	assert_int_equal(fix_unlink(f, 1, "d", 1), 0);
	assert_int_equal(fix_attr(f, 1).nlink, 2);
	assert_int_equal(ns_orphans(f->ns, 0, out, 4), 2);
	assert_int_equal(ns_reap(f->ns, dir, fix_now(f)), 0);
	assert_int_equal(ns_orphans(f->ns, 0, out, 4), 1);
}

/* As somebody who has it open sees it. */
static void a_removed_directory_stays_until_it_is_reaped(void **state)
{
	struct fix *f = *state;
	uint64_t dir = fix_dir(f, 1, "d"), file = fix_file(f, 1, "f");
	struct m_setattr set = { .ino = dir, .set = SET_MODE, .mode = 0700 };
	struct m_readdir_r list;
	struct m_attr a;

	assert_int_equal(fix_unlink(f, 1, "d", 1), 0);
	assert_true(fix_was_touched(f, dir));
	assert_int_equal(fix_attr(f, dir).nlink, 0);
	assert_int_equal(ns_readdir(f->ns, &f->a, dir, 0, 10, &list),
			 -ENOENT);
	assert_int_equal(fix_lookup(f, dir, "x"), -ENOENT);
	assert_int_equal(fix_mknod(f, dir, "x", S_IFREG), -ENOENT);
	assert_int_equal(fix_mknod(f, dir, "x", S_IFDIR), -ENOENT);
	assert_int_equal(fix_link(f, file, dir, "x"), -ENOENT);
	assert_int_equal(fix_rename(f, 1, "f", dir, "x", 0, NULL), -ENOENT);
	assert_int_equal(fix_unlink(f, dir, "x", 0), -ENOENT);
	assert_int_equal(ns_setattr(f->ns, &set, fix_now(f), &a, fix_t(f)), 0);
	assert_true(S_ISDIR(a.mode) && (a.mode & 07777) == 0700 && !a.nlink);
	assert_int_equal(ns_reap(f->ns, dir, fix_now(f)), 0);
	assert_int_equal(ns_getattr(f->ns, dir, &a), -ENOENT);
}

/* ---------------------------------------------------------------- rename */

static void rename_moves(void **state)
{
	struct fix *f = *state;
	uint64_t a = fix_dir(f, 1, "a"), b = fix_dir(f, 1, "b");
	uint64_t sub = fix_dir(f, a, "sub"), file = fix_file(f, a, "file");
	struct m_attr was = fix_attr(f, file);
	struct m_rename_r r;

	assert_int_equal(fix_rename(f, a, "file", b, "new", 0, &r), 0);
	assert_int_equal(fix_lookup(f, a, "file"), -ENOENT);
	assert_int_equal(fix_lookup(f, b, "new"), file);
	assert_true(r.attr.ino == file && r.gone == 0);
	assert_true(r.parent.ino == a && r.newparent.ino == b);
	assert_true(fix_was_touched(f, a) && fix_was_touched(f, b) &&
		    fix_was_touched(f, file));
	assert_int_equal(fix_also(f, file), 0);
	assert_true(r.attr.ctime_ns > was.ctime_ns);
	assert_int_equal(r.attr.mtime_ns, was.mtime_ns);
	assert_int_equal(r.parent.mtime_ns, r.attr.ctime_ns);
	assert_int_equal(r.newparent.mtime_ns, r.attr.ctime_ns);

	assert_int_equal(fix_rename(f, a, "sub", b, "sub2", 0, &r), 0);
	assert_int_equal(fix_also(f, sub), REVOKE_MOVED);
	assert_int_equal(fix_also(f, b), 0);
	assert_int_equal(r.parent.nlink, 2);
	assert_int_equal(r.newparent.nlink, 3);
	assert_int_equal(fix_attr(f, a).nlink, 2);
	assert_int_equal(fix_attr(f, b).nlink, 3);
	/* within one directory */
	assert_int_equal(fix_rename(f, b, "sub2", b, "sub3", 0, &r), 0);
	assert_int_equal(fix_lookup(f, b, "sub3"), sub);
	assert_int_equal(fix_also(f, sub), 0);
	assert_int_equal(fix_attr(f, b).nlink, 3);
	assert_int_equal(fix_rename(f, b, "none", a, "x", 0, NULL), -ENOENT);
	assert_int_equal(fix_rename(f, file, "x", a, "x", 0, NULL), -ENOTDIR);
	assert_int_equal(fix_rename(f, b, "new", file, "x", 0, NULL),
			 -ENOTDIR);
}

static void rename_replaces(void **state)
{
	struct fix *f = *state;
	uint64_t a = fix_dir(f, 1, "a"), empty = fix_dir(f, 1, "empty");
	uint64_t x = fix_file(f, 1, "x"), y = fix_file(f, a, "y");
	struct m_readdir_r before, after;
	struct m_rename_r r;

	assert_int_equal(ns_readdir(f->ns, &f->a, a, 0, 9, &before), 0);
	assert_int_equal(fix_rename(f, 1, "x", a, "y", 0, &r), 0);
	assert_int_equal(r.gone, y);
	assert_int_equal(r.gone_nlink, 0);
	assert_true(fix_was_touched(f, y));
	assert_int_equal(fix_lookup(f, a, "y"), x);
	assert_int_equal(fix_attr(f, y).nlink, 0);
	/* the name was there all the time: so was its cookie */
	assert_int_equal(ns_readdir(f->ns, &f->a, a, 0, 9, &after), 0);
	assert_int_equal(after.n_entries, 1);
	assert_int_equal(after.entries[0].cookie, before.entries[0].cookie);

	fix_file(f, 1, "f");
	assert_int_equal(fix_rename(f, 1, "f", 1, "a", 0, NULL), -EISDIR);
	assert_int_equal(fix_rename(f, 1, "a", 1, "f", 0, NULL), -ENOTDIR);
	assert_int_equal(fix_rename(f, 1, "empty", 1, "a", 0, NULL),
			 -ENOTEMPTY);
	assert_int_equal(fix_rename(f, 1, "a", 1, "empty", 0, &r), 0);
	assert_int_equal(r.gone, empty);
	assert_int_equal(fix_attr(f, empty).nlink, 0);
	assert_int_equal(fix_attr(f, 1).nlink, 3);
	/* a directory over its own parent */
	fix_dir(f, a, "deep");
	assert_int_equal(fix_rename(f, a, "deep", 1, "empty", 0, NULL),
			 -ENOTEMPTY);
}

static void rename_of_one_inode_does_nothing(void **state)
{
	struct fix *f = *state;
	uint64_t x = fix_file(f, 1, "x");
	struct m_attr root;
	struct m_rename_r r;

	assert_int_equal(fix_link(f, x, 1, "y"), 0);
	root = fix_attr(f, 1);
	assert_int_equal(fix_rename(f, 1, "x", 1, "y", 0, &r), 0);
	assert_int_equal(r.gone, 0);
	assert_int_equal(f->t.n, 0);
	assert_int_equal(fix_rename(f, 1, "x", 1, "x", 0, NULL), 0);
	assert_int_equal(fix_lookup(f, 1, "x"), x);
	assert_int_equal(fix_lookup(f, 1, "y"), x);
	assert_int_equal(fix_attr(f, x).nlink, 2);
	assert_int_equal(fix_attr(f, 1).mtime_ns, root.mtime_ns);
}

static void rename_makes_no_circle(void **state)
{
	struct fix *f = *state;
	uint64_t a = fix_dir(f, 1, "a"), b = fix_dir(f, a, "b");
	uint64_t c = fix_dir(f, b, "c");

	assert_int_equal(fix_rename(f, 1, "a", a, "x", 0, NULL), -EINVAL);
	assert_int_equal(fix_rename(f, 1, "a", c, "x", 0, NULL), -EINVAL);
	assert_int_equal(fix_rename(f, 1, "a", b, "c", 0, NULL), -EINVAL);
	assert_int_equal(fix_rename(f, 1, "a", b, "c", 2, NULL), -EINVAL);
	assert_int_equal(fix_rename(f, b, "c", 1, "a", 2, NULL), -EINVAL);
	fix_file(f, c, "f");
	assert_int_equal(fix_rename(f, c, "f", 1, "a", 2, NULL), -EINVAL);
	assert_int_equal(fix_rename(f, b, "c", 1, "c", 0, NULL), 0);
	assert_int_equal(fix_rename(f, 1, "a", c, "a", 0, NULL), 0);
	assert_int_equal(fix_rename(f, 1, "c", b, "c", 0, NULL), -EINVAL);
}

static void rename_flags(void **state)
{
	struct fix *f = *state;
	uint64_t a = fix_dir(f, 1, "a"), b = fix_dir(f, 1, "b");
	uint64_t x = fix_file(f, a, "x"), sub = fix_dir(f, b, "sub");
	struct m_rename_r r;

	fix_dir(f, sub, "full");
	assert_int_equal(fix_rename(f, a, "x", b, "sub", 1, NULL), -EEXIST);
	assert_int_equal(fix_rename(f, a, "x", a, "x", 1, NULL), -EEXIST);
	assert_int_equal(fix_rename(f, a, "x", b, "y", 3, NULL), -EINVAL);
	assert_int_equal(fix_rename(f, a, "x", b, "y", 4, NULL), -EINVAL);
	assert_int_equal(fix_rename(f, a, "x", b, "y", 2, NULL), -ENOENT);
	assert_int_equal(fix_lookup(f, a, "x"), x);

	assert_int_equal(fix_rename(f, a, "x", b, "sub", 2, &r), 0);
	assert_int_equal(r.gone, 0);
	assert_int_equal(r.parent.nlink, 3);
	assert_int_equal(r.newparent.nlink, 2);
	assert_true(fix_was_touched(f, sub) && fix_was_touched(f, x));
	assert_int_equal(fix_lookup(f, a, "x"), sub);
	assert_int_equal(fix_lookup(f, b, "sub"), x);
	assert_int_equal(fix_attr(f, x).ctime_ns, fix_attr(f, sub).ctime_ns);
	assert_int_equal(fix_rename(f, a, "x", b, "moved", 1, NULL), 0);
	assert_int_equal(fix_lookup(f, b, "moved"), sub);
	assert_int_equal(fix_rename(f, b, "moved", b, "sub", 2, NULL), 0);
	assert_int_equal(fix_lookup(f, b, "sub"), sub);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIX_TEST(names_are_checked),
		FIX_TEST(parents_are_checked),
		FIX_TEST(mknod_makes_every_type),
		FIX_TEST(symlinks_keep_their_target),
		FIX_TEST(mknod_without_excl_finds_a_file),
		FIX_TEST(setgid_directories_pass_their_group),
		FIX_TEST(inode_numbers_are_not_reused),
		FIX_TEST(readdir_goes_on_at_its_cookie),
		FIX_TEST(links_are_counted),
		FIX_TEST(links_have_a_maximum),
		FIX_TEST(unlink_and_rmdir_mind_the_type),
		FIX_TEST(a_removed_directory_stays_until_it_is_reaped),
		FIX_TEST(rename_moves),
		FIX_TEST(rename_replaces),
		FIX_TEST(rename_of_one_inode_does_nothing),
		FIX_TEST(rename_makes_no_circle),
		FIX_TEST(rename_flags),
	};

	alarm(120);
	return FIX_RUN(tests);
}
