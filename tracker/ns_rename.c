/*
 * Everything is found and checked first (find, check), then written (move).
 * The two directories may be one: they are then one struct ns_inode, or the
 * second write would undo the first.
 */
#include <errno.h>
#include <sys/stat.h>

#include "ns_internal.h"

#define NOREPLACE 1u	/* RENAME_NOREPLACE */
#define EXCHANGE 2u	/* RENAME_EXCHANGE */
#define DEPTH_MAX 1000000	/* directories above one; more is a circle */

struct rename {
	struct ns *ns;
	const struct m_rename *m;
	struct ns_inode dir[2];
	struct ns_inode *from, *to;	/* the directories, maybe the same */
	struct ns_inode src, dst;
	int replaces;			/* there is a dst */
};

/* -EINVAL if @dir is @top or below it. */
static int check_not_below(struct ns *ns, uint64_t dir, uint64_t top)
{
	struct db_stmt *s;
	int depth, got;

	for (depth = 0; depth < DEPTH_MAX; depth++) {
		if (dir == top)
			return -EINVAL;
		if (dir == NS_ROOT)
			return 0;
		s = db_prep(ns->db, "SELECT parent FROM inodes WHERE ino=?1");
		db_bind_u64(s, 1, dir);
		got = db_step(s);
		if (got < 0)
			return got;
		if (!got)
			break;
		dir = db_u64(s, 0);
		db_reset(s);
	}
	return ns_damaged("parents of inode", dir);
}

static int find(struct rename *r)
{
	const struct m_rename *m = r->m;
	uint64_t ino;
	int err;

	err = ns_dir_get(r->ns, m->parent, &r->dir[0]);
	r->from = r->to = &r->dir[0];
	if (!err && m->parent != m->newparent) {
		r->to = &r->dir[1];
		err = ns_dir_get(r->ns, m->newparent, r->to);
	}
	if (!err)
		err = ns_entry_get(r->ns, m->parent, m->name, &ino);
	if (!err)
		err = ns_inode_get(r->ns, ino, &r->src);
	if (err)
		return err;
	err = ns_entry_get(r->ns, m->newparent, m->newname, &ino);
	if (err == -ENOENT)
		return 0;
	if (err)
		return err;
	r->replaces = 1;
	return ns_inode_get(r->ns, ino, &r->dst);
}

static int check_replaced(const struct rename *r)
{
	int src_dir = S_ISDIR(r->src.a.mode), dst_dir = S_ISDIR(r->dst.a.mode);

	if (src_dir && !dst_dir)
		return -ENOTDIR;
	if (!src_dir && dst_dir)
		return -EISDIR;
	return dst_dir ? ns_dir_empty(r->ns, r->dst.a.ino) : 0;
}

static int check(const struct rename *r)
{
	const struct m_rename *m = r->m;
	int err = 0;

	if (r->replaces && (m->flags & NOREPLACE))
		return -EEXIST;
	if (!r->replaces && (m->flags & EXCHANGE))
		return -ENOENT;
	if (r->from != r->to && S_ISDIR(r->src.a.mode))
		err = check_not_below(r->ns, m->newparent, r->src.a.ino);
	if (!err && r->from != r->to && (m->flags & EXCHANGE) &&
	    S_ISDIR(r->dst.a.mode))
		err = check_not_below(r->ns, m->parent, r->dst.a.ino);
	if (!err && r->replaces && !(m->flags & EXCHANGE))
		err = check_replaced(r);
	return err;
}

/* @in goes from one directory to another: its "..", their link counts. */
static void reparent(struct ns_inode *in, struct ns_inode *from,
		     struct ns_inode *to)
{
	if (!S_ISDIR(in->a.mode))
		return;
	from->a.nlink--;
	to->a.nlink++;
	in->parent = to->a.ino;
}

static int exchange(struct rename *r, struct ns_now now)
{
	const struct m_rename *m = r->m;
	int err;

	reparent(&r->src, r->from, r->to);
	reparent(&r->dst, r->to, r->from);
	ns_set_ctime(&r->dst, now);
	err = ns_entry_set(r->ns, m->parent, m->name, r->dst.a.ino);
	if (!err)
		err = ns_entry_set(r->ns, m->newparent, m->newname,
				   r->src.a.ino);
	return err ? err : ns_inode_put(r->ns, &r->dst);
}

static int move(struct rename *r, struct ns_now now)
{
	const struct m_rename *m = r->m;
	int err;

	reparent(&r->src, r->from, r->to);
	err = ns_entry_del(r->ns, m->parent, m->name);
	if (err)
		return err;
	if (!r->replaces)
		return ns_entry_add(r->ns, m->newparent, m->newname,
				    r->src.a.ino);
	if (S_ISDIR(r->dst.a.mode))
		r->to->a.nlink--;
	/* the name lives on, and so does its cookie */
	err = ns_entry_set(r->ns, m->newparent, m->newname, r->src.a.ino);
	return err ? err : ns_inode_unlinked(r->ns, &r->dst, now);
}

/* A directory that has another parent now. */
static uint8_t moved(const struct rename *r, const struct ns_inode *in)
{
	return r->from != r->to && S_ISDIR(in->a.mode) ? REVOKE_MOVED : 0;
}

static int change(struct rename *r, struct ns_now now, struct ns_touched *t)
{
	int err;

	err = r->m->flags & EXCHANGE ? exchange(r, now) : move(r, now);
	ns_set_ctime(&r->src, now);
	ns_dir_changed(r->from, now);
	if (r->from != r->to)
		ns_dir_changed(r->to, now);
	if (!err)
		err = ns_inode_put(r->ns, &r->src);
	if (!err)
		err = ns_inode_put(r->ns, r->from);
	if (!err && r->from != r->to)
		err = ns_inode_put(r->ns, r->to);
	ns_touch(t, r->m->parent);
	ns_touch(t, r->m->newparent);
	ns_touch_also(t, r->src.a.ino, moved(r, &r->src));
	if (r->replaces)
		ns_touch_also(t, r->dst.a.ino, r->m->flags & EXCHANGE
						       ? moved(r, &r->dst)
						       : 0);
	return err;
}

static void answer(const struct rename *r, int replaced,
		   struct m_rename_r *out)
{
	*out = (struct m_rename_r){
		.attr = r->src.a,
		.parent = r->from->a,
		.newparent = r->to->a,
	};
	if (replaced) {
		out->gone = r->dst.a.ino;
		out->gone_nlink = r->dst.a.nlink;
	}
}

int ns_rename(struct ns *ns, const struct m_rename *m, struct ns_now now,
	      struct m_rename_r *out, struct ns_touched *t)
{
	struct rename r = { .ns = ns, .m = m };
	struct ns_undo u;
	int err;

	if ((m->flags & ~(NOREPLACE | EXCHANGE)) ||
	    m->flags == (NOREPLACE | EXCHANGE))
		return -EINVAL;
	err = ns_name_check(m->name);
	if (!err)
		err = ns_name_check(m->newname);
	if (!err)
		err = find(&r);
	if (!err)
		err = check(&r);
	if (err)
		return err;
	if (r.replaces && r.src.a.ino == r.dst.a.ino) {
		answer(&r, 0, out);	/* two names of one: nothing happens */
		return 0;
	}
	err = ns_op_begin(ns, &u, t);
	if (err)
		return err;
	err = ns_op_end(ns, &u, t, change(&r, now, t));
	if (!err)
		answer(&r, r.replaces && !(m->flags & EXCHANGE), out);
	return err;
}
