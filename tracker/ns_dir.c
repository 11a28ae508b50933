#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "ns_internal.h"

/* --------------------------------------------------------------- entries */

int ns_entry_get(struct ns *ns, uint64_t dir, struct str name, uint64_t *ino)
{
	struct db_stmt *s;
	int got;

	s = ns_prep_named(ns, "SELECT ino FROM dentries "
			  "WHERE parent=?1 AND name=?2", dir, name);
	got = db_step(s);
	if (got != 1)
		return got ? got : -ENOENT;
	*ino = db_u64(s, 0);
	db_reset(s);
	return 0;
}

int ns_entry_add(struct ns *ns, uint64_t dir, struct str name, uint64_t ino)
{
	struct db_stmt *s;
	uint64_t cookie;
	int err;

	err = ns_seq_take(ns, &ns->cookie, &cookie);
	if (err)
		return err;
	s = ns_prep_named(ns, "INSERT INTO dentries VALUES(?1,?2,?3,?4)",
			  dir, name);
	db_bind_u64(s, 3, ino);
	db_bind_u64(s, 4, cookie);
	return db_run(s);
}

int ns_entry_set(struct ns *ns, uint64_t dir, struct str name, uint64_t ino)
{
	struct db_stmt *s;

	s = ns_prep_named(ns, "UPDATE dentries SET ino=?3 "
			  "WHERE parent=?1 AND name=?2", dir, name);
	db_bind_u64(s, 3, ino);
	return db_run(s);
}

int ns_entry_del(struct ns *ns, uint64_t dir, struct str name)
{
	struct db_stmt *s;

	s = ns_prep_named(ns, "DELETE FROM dentries "
			  "WHERE parent=?1 AND name=?2", dir, name);
	return db_run(s);
}

int ns_dir_empty(struct ns *ns, uint64_t dir)
{
	struct db_stmt *s;
	int got;

	s = db_prep(ns->db, "SELECT 1 FROM dentries WHERE parent=?1 LIMIT 1");
	db_bind_u64(s, 1, dir);
	got = ns_exists(s);
	return got == 1 ? -ENOTEMPTY : got;
}

void ns_dir_changed(struct ns_inode *dir, struct ns_now now)
{
	dir->a.mtime_s = now.s;
	dir->a.mtime_ns = now.ns;
	dir->a.version++;
	ns_set_ctime(dir, now);
}

static int orphan_add(struct ns *ns, uint64_t ino)
{
	struct db_stmt *s = db_prep(ns->db, "INSERT INTO orphans VALUES(?1)");

	db_bind_u64(s, 1, ino);
	return db_run(s);
}

static int orphan_del(struct ns *ns, uint64_t ino)
{
	struct db_stmt *s = db_prep(ns->db, "DELETE FROM orphans WHERE ino=?1");

	db_bind_u64(s, 1, ino);
	return db_run(s);
}

/* --------------------------------------------------------------- reading */

int ns_lookup(struct ns *ns, uint64_t parent, struct str name,
	      struct m_attr *out)
{
	struct ns_inode in;
	struct db_stmt *s;
	int got;

	got = ns_name_check(name);
	if (got)
		return got;
	s = ns_prep_named(ns, "SELECT " NS_INODE_COLS " FROM dentries d "
			  "CROSS JOIN inodes i ON i.ino=d.ino "
			  "WHERE d.parent=?1 AND d.name=?2",
			  parent, name);
	got = db_step(s);
	if (got < 0)
		return got;
	if (!got) {
		got = ns_dir_get(ns, parent, &in);
		return got ? got : -ENOENT;
	}
	ns_inode_read(s, &in);
	db_reset(s);
	*out = in.a;
	return 0;
}

static int entry_read(struct db_stmt *s, struct arena *a, struct m_entry *out)
{
	struct ns_inode in;
	const void *name;
	size_t len;

	ns_inode_read(s, &in);
	out->attr = in.a;
	out->cookie = db_u64(s, NS_INODE_N_COLS);
	name = db_blob(s, NS_INODE_N_COLS + 1, &len);
	return ns_str_dup(a, name, len, &out->name);
}

int ns_readdir(struct ns *ns, struct arena *a, uint64_t ino, uint64_t after,
	       uint32_t most, struct m_readdir_r *out)
{
	struct ns_inode dir;
	struct db_stmt *s;
	int err, got;

	if (most < 1)
		most = 1;	/* or a walk would never end */
	if (most > MSG_ENTRIES_MAX)
		most = MSG_ENTRIES_MAX;
	err = ns_dir_get(ns, ino, &dir);
	if (err)
		return err;
	*out = (struct m_readdir_r){ .parent = dir.parent };
	out->entries = arena_alloc(a, most * sizeof(*out->entries));
	if (!out->entries)
		return -ENOMEM;
	s = db_prep(ns->db, "SELECT " NS_INODE_COLS ",d.cookie,d.name "
			    "FROM dentries d INDEXED BY dentries_cookie "
			    "CROSS JOIN inodes i ON i.ino=d.ino "
			    "WHERE d.parent=?1 AND d.cookie>?2 "
			    "ORDER BY d.cookie");
	db_bind_u64(s, 1, ino);
	db_bind_u64(s, 2, ns_min_i63(after));
	while ((got = db_step(s)) == 1) {
		err = out->n_entries == most ? 1 :
		      entry_read(s, a, &out->entries[out->n_entries]);
		if (err) {
			db_reset(s);
			return err < 0 ? err : 0;	/* 1: more to come */
		}
		out->n_entries++;
	}
	out->eof = 1;
	return got;
}

int ns_dir_inos(struct ns *ns, uint64_t dir, uint64_t *out, int most)
{
	struct db_stmt *s;
	int n = 0, got;

	s = db_prep(ns->db, "SELECT ino FROM dentries INDEXED BY "
			    "dentries_cookie WHERE parent=?1 ORDER BY cookie");
	db_bind_u64(s, 1, dir);
	while ((got = db_step(s)) == 1) {
		out[n++] = db_u64(s, 0);
		if (n == most) {
			db_reset(s);
			return n;
		}
	}
	return got < 0 ? got : n;
}

int ns_readlink(struct ns *ns, struct arena *a, uint64_t ino, struct str *out)
{
	struct ns_inode in;
	struct db_stmt *s;
	const void *p;
	size_t len;
	int got;

	got = ns_inode_get(ns, ino, &in);
	if (got)
		return got;
	if (!S_ISLNK(in.a.mode))
		return -EINVAL;
	s = db_prep(ns->db, "SELECT target FROM symlinks WHERE ino=?1");
	db_bind_u64(s, 1, ino);
	got = db_step(s);
	if (got != 1)
		return got ? got : ns_damaged("no target of symlink", ino);
	p = db_blob(s, 0, &len);
	got = ns_str_dup(a, p, len, out);
	db_reset(s);
	return got;
}

/* ----------------------------------------------------------------- mknod */

/* A file's own chunk size: a power of two between the limits; 0: the swarm's. */
static int slot_size_ok(uint32_t n)
{
	return !n || (n >= NS_SLOT_MIN && n <= NS_SLOT_MAX && !(n & (n - 1)));
}

static int mknod_check(const struct m_mknod *m)
{
	int err = m->tmpfile ? 0 : ns_name_check(m->name);

	if (err)
		return err;
	if (m->tmpfile && !S_ISREG(m->mode))
		return -EINVAL;
	if (m->mode & ~(uint32_t)(S_IFMT | 07777) || m->uid == UINT32_MAX ||
	    m->gid == UINT32_MAX || !slot_size_ok(m->slot_size))
		return -EINVAL;
	switch (m->mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		return 0;
	case S_IFLNK:
		if (!m->target.len)
			return -ENOENT;
		if (m->target.len >= MSG_PATH_MAX)
			return -ENAMETOOLONG;
		return memchr(m->target.p, 0, m->target.len) ? -EINVAL : 0;
	}
	return -EINVAL;
}

/* open(O_CREAT) without O_EXCL of something that is there. */
static int answer_existing(struct ns *ns, const struct m_mknod *m,
			   uint64_t ino, const struct ns_inode *dir,
			   struct m_mknod_r *out)
{
	struct ns_inode in;
	int err;

	if (m->excl || !S_ISREG(m->mode))
		return -EEXIST;
	err = ns_inode_get(ns, ino, &in);
	if (err)
		return err;
	if (!S_ISREG(in.a.mode))
		return S_ISDIR(in.a.mode) ? -EISDIR : -EEXIST;
	*out = (struct m_mknod_r){ .attr = in.a, .parent = dir->a };
	return 0;
}

static void fill_new(const struct ns *ns, const struct m_mknod *m,
		     const struct ns_inode *dir, struct ns_now now,
		     struct ns_inode *in)
{
	*in = (struct ns_inode){
		.a = {
			.mode = m->mode, .nlink = 1,
			.uid = m->uid, .gid = m->gid,
			.slot_size = m->slot_size ? m->slot_size
						  : ns->cfg.slot_size,
			.version = 1,
			.atime_s = now.s, .atime_ns = now.ns,
			.mtime_s = now.s, .mtime_ns = now.ns,
			.ctime_s = now.s, .ctime_ns = now.ns,
		},
	};
	if (dir->a.mode & S_ISGID)
		in->a.gid = dir->a.gid;
	if (S_ISDIR(m->mode)) {
		in->a.nlink = 2;
		in->a.mode |= dir->a.mode & S_ISGID;
		in->parent = dir->a.ino;
	} else if (S_ISLNK(m->mode)) {
		in->a.mode = S_IFLNK | 0777;
		in->a.size = m->target.len;
	} else if (S_ISCHR(m->mode) || S_ISBLK(m->mode)) {
		in->a.rdev = m->rdev;
	}
}

static int symlink_add(struct ns *ns, uint64_t ino, struct str target)
{
	struct db_stmt *s;

	s = db_prep(ns->db, "INSERT INTO symlinks VALUES(?1,?2)");
	db_bind_u64(s, 1, ino);
	db_bind_blob(s, 2, target.p, target.len);
	return db_run(s);
}

/* Its directory does not change. */
static int make_nameless(struct ns *ns, struct ns_inode *in)
{
	int err;

	in->a.nlink = 0;
	in->parent = in->a.ino;
	err = ns_inode_add(ns, in);
	return err ? err : orphan_add(ns, in->a.ino);
}

static int make(struct ns *ns, const struct m_mknod *m, struct ns_now now,
		struct ns_inode *dir, struct ns_inode *in)
{
	int err;

	fill_new(ns, m, dir, now, in);
	err = ns_seq_take(ns, &ns->ino, &in->a.ino);
	if (!err)
		err = ns_acl_inherit(ns, dir, m->umask, in);
	if (!err && m->tmpfile)
		return make_nameless(ns, in);
	if (!err)
		err = ns_inode_add(ns, in);
	if (!err && S_ISLNK(m->mode))
		err = symlink_add(ns, in->a.ino, m->target);
	if (!err)
		err = ns_entry_add(ns, dir->a.ino, m->name, in->a.ino);
	if (S_ISDIR(m->mode))
		dir->a.nlink++;
	ns_dir_changed(dir, now);
	return err ? err : ns_inode_put(ns, dir);
}

int ns_mknod(struct ns *ns, const struct m_mknod *m, struct ns_now now,
	     struct m_mknod_r *out, struct ns_touched *t)
{
	struct ns_inode dir, in;
	struct ns_undo u;
	uint64_t there;
	int err;

	err = mknod_check(m);
	if (!err)
		err = ns_dir_get(ns, m->parent, &dir);
	if (err)
		return err;
	err = m->tmpfile ? -ENOENT
			 : ns_entry_get(ns, m->parent, m->name, &there);
	if (err != -ENOENT)
		return err ? err : answer_existing(ns, m, there, &dir, out);
	err = ns_op_begin(ns, &u, t);
	if (err)
		return err;
	err = ns->cfg.files_max && ns->count.files >= ns->cfg.files_max
		      ? -ENOSPC : make(ns, m, now, &dir, &in);
	if (!m->tmpfile)
		ns_touch(t, m->parent);
	err = ns_op_end(ns, &u, t, err);
	if (!err)
		*out = (struct m_mknod_r){ .attr = in.a, .created = 1,
					   .parent = dir.a };
	return err;
}

/* ------------------------------------------------------------------ link */

static int link_check(struct ns *ns, const struct m_link *m,
		      struct ns_inode *in, struct ns_inode *dir)
{
	uint64_t there;
	int err;

	err = ns_name_check(m->name);
	if (!err)
		err = ns_inode_get(ns, m->ino, in);
	if (!err)
		err = ns_dir_get(ns, m->parent, dir);
	if (err)
		return err;
	if (S_ISDIR(in->a.mode))
		return -EPERM;
	if (!in->a.nlink && !in->parent)
		return -ENOENT;		/* its content is about to go */
	err = ns_entry_get(ns, m->parent, m->name, &there);
	if (err != -ENOENT)
		return err ? err : -EEXIST;
	return in->a.nlink < NS_LINK_MAX ? 0 : -EMLINK;
}

int ns_link(struct ns *ns, const struct m_link *m, struct ns_now now,
	    struct m_link_r *out, struct ns_touched *t)
{
	struct ns_inode in, dir;
	struct ns_undo u;
	int err;

	err = link_check(ns, m, &in, &dir);
	if (!err)
		err = ns_op_begin(ns, &u, t);
	if (err)
		return err;
	if (!in.a.nlink)
		err = orphan_del(ns, m->ino);
	in.parent = 0;
	in.a.nlink++;
	ns_set_ctime(&in, now);
	ns_dir_changed(&dir, now);
	if (!err)
		err = ns_entry_add(ns, m->parent, m->name, m->ino);
	if (!err)
		err = ns_inode_put(ns, &in);
	if (!err)
		err = ns_inode_put(ns, &dir);
	ns_touch(t, m->ino);
	ns_touch(t, m->parent);
	err = ns_op_end(ns, &u, t, err);
	if (!err)
		*out = (struct m_link_r){ .attr = in.a, .parent = dir.a };
	return err;
}

/* ---------------------------------------------------------------- unlink */

int ns_inode_unlinked(struct ns *ns, struct ns_inode *in, struct ns_now now)
{
	int err = 0;

	in->a.nlink = S_ISDIR(in->a.mode) ? 0 : in->a.nlink - 1;
	ns_set_ctime(in, now);
	if (!in->a.nlink)
		err = orphan_add(ns, in->a.ino);
	return err ? err : ns_inode_put(ns, in);
}

static int unlink_check(struct ns *ns, const struct m_unlink *m,
			struct ns_inode *in, struct ns_inode *dir)
{
	uint64_t ino;
	int err;

	err = ns_name_check(m->name);
	if (!err)
		err = ns_dir_get(ns, m->parent, dir);
	if (!err)
		err = ns_entry_get(ns, m->parent, m->name, &ino);
	if (!err)
		err = ns_inode_get(ns, ino, in);
	if (err)
		return err;
	if (!m->dir)
		return S_ISDIR(in->a.mode) ? -EISDIR : 0;
	if (!S_ISDIR(in->a.mode))
		return -ENOTDIR;
	return ns_dir_empty(ns, ino);
}

int ns_unlink(struct ns *ns, const struct m_unlink *m, struct ns_now now,
	      struct m_unlink_r *out, struct ns_touched *t)
{
	struct ns_inode in, dir;
	struct ns_undo u;
	int err;

	err = unlink_check(ns, m, &in, &dir);
	if (!err)
		err = ns_op_begin(ns, &u, t);
	if (err)
		return err;
	if (m->dir)
		dir.a.nlink--;
	ns_dir_changed(&dir, now);
	err = ns_entry_del(ns, m->parent, m->name);
	if (!err)
		err = ns_inode_unlinked(ns, &in, now);
	if (!err)
		err = ns_inode_put(ns, &dir);
	ns_touch(t, m->parent);
	ns_touch(t, in.a.ino);
	err = ns_op_end(ns, &u, t, err);
	if (!err)
		*out = (struct m_unlink_r){ .ino = in.a.ino,
					    .nlink = in.a.nlink,
					    .parent = dir.a };
	return err;
}
