#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "ns_internal.h"

static int name_check(struct str name)
{
	if (!name.len || name.len > MSG_NAME_MAX)
		return -ERANGE;		/* as Linux says it */
	return memchr(name.p, 0, name.len) ? -EINVAL : 0;
}

/* The length of the value; -ENODATA. */
static int value_len(struct ns *ns, uint64_t ino, struct str name,
		     uint32_t *out)
{
	struct db_stmt *s;
	int got;

	s = ns_prep_named(ns, "SELECT length(value) FROM xattrs "
			  "WHERE ino=?1 AND name=?2", ino, name);
	got = db_step(s);
	if (got != 1)
		return got ? got : -ENODATA;
	*out = (uint32_t)db_u64(s, 0);
	db_reset(s);
	return 0;
}

int ns_getxattr(struct ns *ns, struct arena *a, uint64_t ino, struct str name,
		struct str *out)
{
	struct ns_inode in;
	struct db_stmt *s;
	const void *p;
	size_t n;
	int got;

	got = name_check(name);
	if (!got)
		got = ns_inode_get(ns, ino, &in);
	if (got)
		return got;
	s = ns_prep_named(ns, "SELECT value FROM xattrs "
			  "WHERE ino=?1 AND name=?2", ino, name);
	got = db_step(s);
	if (got != 1)
		return got ? got : -ENODATA;
	p = db_blob(s, 0, &n);
	got = ns_str_dup(a, p, n, out);
	db_reset(s);
	return got;
}

int ns_listxattr(struct ns *ns, struct arena *a, uint64_t ino,
		 struct m_listxattr_r *out)
{
	struct m_xname *v;
	struct ns_inode in;
	struct db_stmt *s;
	const void *p;
	uint32_t n = 0;
	size_t len;
	int err, got;

	err = ns_inode_get(ns, ino, &in);
	if (err)
		return err;
	v = arena_alloc(a, MSG_XATTRS_MAX * sizeof(*v));
	if (!v)
		return -ENOMEM;
	s = db_prep(ns->db, "SELECT name FROM xattrs WHERE ino=?1 LIMIT ?2");
	db_bind_u64(s, 1, ino);
	db_bind_u64(s, 2, MSG_XATTRS_MAX);
	while ((got = db_step(s)) == 1) {
		p = db_blob(s, 0, &len);
		err = ns_str_dup(a, p, len, &v[n++].name);
		if (err) {
			db_reset(s);
			return err;
		}
	}
	*out = (struct m_listxattr_r){ .names = v, .n_names = n };
	return got;
}

/* -------------------------------------------------------------- changing */

int ns_xattr_load(struct ns *ns, uint64_t ino, struct str name, void *out,
		  size_t room, size_t *len)
{
	struct db_stmt *s;
	const void *p;
	int got;

	s = ns_prep_named(ns, "SELECT value FROM xattrs "
			  "WHERE ino=?1 AND name=?2", ino, name);
	got = db_step(s);
	if (got != 1)
		return got ? got : -ENODATA;
	p = db_blob(s, 0, len);
	got = *len > room ? -ERANGE : 0;
	if (!got && *len)
		memcpy(out, p, *len);
	db_reset(s);
	return got;
}

int ns_xattr_del(struct ns *ns, struct ns_inode *in, struct str name)
{
	struct db_stmt *s;
	uint32_t len;
	int err;

	err = value_len(ns, in->a.ino, name, &len);
	if (err)
		return err;
	s = ns_prep_named(ns, "DELETE FROM xattrs WHERE ino=?1 AND name=?2",
			  in->a.ino, name);
	err = db_run(s);
	if (err)
		return err;
	in->xattrs--;
	in->xattr_bytes -= name.len + len;
	in->a.has_xattrs = in->xattrs != 0;
	return 0;
}

static int value_add(struct ns *ns, struct ns_inode *in, struct str name,
		     struct str value)
{
	struct db_stmt *s;
	int err;

	if (in->xattrs >= MSG_XATTRS_MAX ||
	    value.len > NS_XATTR_TOTAL - name.len ||
	    in->xattr_bytes > NS_XATTR_TOTAL - name.len - value.len)
		return -ENOSPC;
	s = ns_prep_named(ns, "INSERT INTO xattrs VALUES(?1,?2,?3)",
			  in->a.ino, name);
	db_bind_blob(s, 3, value.p, value.len);
	err = db_run(s);
	if (err)
		return err;
	in->xattrs++;
	in->xattr_bytes += name.len + value.len;
	in->a.has_xattrs = 1;
	return 0;
}

int ns_xattr_put(struct ns *ns, struct ns_inode *in, struct str name,
		 struct str value)
{
	int err = in->xattrs ? ns_xattr_del(ns, in, name) : -ENODATA;

	return err && err != -ENODATA ? err : value_add(ns, in, name, value);
}

static int finish(struct ns *ns, struct ns_inode *in, struct ns_now now,
		  const struct m_attr *was, struct m_attr *out,
		  struct ns_touched *t)
{
	int err;

	ns_set_ctime(in, now);
	err = ns_inode_put(ns, in);
	if (err)
		return err;
	ns_touch_attr(t, was, &in->a);
	*out = in->a;
	return 0;
}

static int set_one(struct ns *ns, const struct m_setxattr *m,
		   struct ns_now now, struct m_attr *out,
		   struct ns_touched *t)
{
	struct ns_inode in;
	struct m_attr was;
	uint32_t len;
	int err;

	err = ns_inode_get(ns, m->ino, &in);
	if (err)
		return err;
	was = in.a;
	err = value_len(ns, in.a.ino, m->name, &len);
	if (!err && (m->flags & XATTR_CREATE))
		return -EEXIST;
	if (err == -ENODATA && !(m->flags & XATTR_REPLACE))
		err = 0;
	if (err)
		return err;
	if (m->flags & SETXATTR_KILL_SGID)
		in.a.mode &= ~(uint32_t)S_ISGID;
	if (ns_acl_is(m->name))
		err = ns_acl_set(ns, &in, m->name, m->value);
	else
		err = ns_xattr_put(ns, &in, m->name, m->value);
	return err ? err : finish(ns, &in, now, &was, out, t);
}

int ns_setxattr(struct ns *ns, const struct m_setxattr *m, struct ns_now now,
		struct m_attr *out, struct ns_touched *t)
{
	const uint32_t both = XATTR_CREATE | XATTR_REPLACE;
	struct ns_undo u;
	int err;

	err = name_check(m->name);
	if (err)
		return err;
	if ((m->flags & ~(both | SETXATTR_KILL_SGID)) || (m->flags & both) == both)
		return -EINVAL;
	if (m->value.len > MSG_XATTR_MAX)
		return -E2BIG;
	err = ns_op_begin(ns, &u, t);
	if (err)
		return err;
	return ns_op_end(ns, &u, t, set_one(ns, m, now, out, t));
}

static int remove_one(struct ns *ns, const struct m_removexattr *m,
		      struct ns_now now, struct m_attr *out,
		      struct ns_touched *t)
{
	struct ns_inode in;
	int err;

	err = ns_inode_get(ns, m->ino, &in);
	if (!err)
		err = ns_xattr_del(ns, &in, m->name);
	if (err == -ENODATA && ns_acl_is(m->name)) {
		*out = in.a;	/* the mode says it all */
		return 0;
	}
	return err ? err : finish(ns, &in, now, &in.a, out, t);
}

int ns_removexattr(struct ns *ns, const struct m_removexattr *m,
		   struct ns_now now, struct m_attr *out,
		   struct ns_touched *t)
{
	struct ns_undo u;
	int err;

	err = name_check(m->name);
	if (!err)
		err = ns_op_begin(ns, &u, t);
	if (err)
		return err;
	return ns_op_end(ns, &u, t, remove_one(ns, m, now, out, t));
}

int ns_xattrs_drop(struct ns *ns, uint64_t ino)
{
	struct db_stmt *s;

	s = db_prep(ns->db, "DELETE FROM xattrs WHERE ino=?1");
	db_bind_u64(s, 1, ino);
	return db_run(s);
}

/* ------------------------------------------- privileges a write takes away */

void ns_kill_suid(struct ns_inode *in, int all)
{
	if (S_ISDIR(in->a.mode))
		return;
	in->a.mode &= ~(uint32_t)S_ISUID;
	/* without group execution it marked mandatory locking, once */
	if (all || (in->a.mode & S_IXGRP))
		in->a.mode &= ~(uint32_t)S_ISGID;
}

int ns_kill_caps(struct ns *ns, struct ns_inode *in)
{
	int err;

	if (!in->xattrs || !S_ISREG(in->a.mode))
		return 0;
	err = ns_xattr_del(ns, in, STR_LIT("security.capability"));
	return err == -ENODATA ? 0 : err;
}
