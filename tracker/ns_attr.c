#include <errno.h>
#include <sys/stat.h>

#include "ns_internal.h"

#define SET_ALL (SET_MODE | SET_UID | SET_GID | SET_SIZE | SET_ATIME |      \
		 SET_MTIME | SET_ATIME_NOW | SET_MTIME_NOW | SET_KILL_SUID | \
		 SET_KILL_SGID)

int ns_getattr(struct ns *ns, uint64_t ino, struct m_attr *out)
{
	struct ns_inode in;
	int err = ns_inode_get(ns, ino, &in);

	if (!err)
		*out = in.a;
	return err;
}

static int check(const struct m_setattr *m, const struct ns_inode *in)
{
	if (m->set & ~(uint32_t)SET_ALL)
		return -EINVAL;
	if ((m->set & SET_ATIME) && !ns_time_ok(m->atime_ns))
		return -EINVAL;
	if ((m->set & SET_MTIME) && !ns_time_ok(m->mtime_ns))
		return -EINVAL;
	/* (uid_t)-1 means "as it was" to chown(2) and nobody to all others */
	if (((m->set & SET_UID) && m->uid == UINT32_MAX) ||
	    ((m->set & SET_GID) && m->gid == UINT32_MAX))
		return -EINVAL;
	if ((m->set & SET_MODE) && S_ISLNK(in->a.mode))
		return -EOPNOTSUPP;
	if (!(m->set & SET_SIZE))
		return 0;
	if (S_ISDIR(in->a.mode))
		return -EISDIR;
	if (!S_ISREG(in->a.mode))
		return -EINVAL;
	return m->size > NS_SIZE_MAX ? -EFBIG : 0;
}

/* An explicit mode in the same request has the last word over the bits that
 * a chown or a truncate takes away. */
static int set_owner_and_mode(struct ns *ns, struct ns_inode *in,
			      const struct m_setattr *m)
{
	int err;

	if (m->set & SET_UID)
		in->a.uid = m->uid;
	if (m->set & SET_GID)
		in->a.gid = m->gid;
	if (m->set & (SET_UID | SET_GID | SET_KILL_SUID))
		ns_kill_suid(in, m->set & SET_KILL_SGID);
	if (m->set & SET_MODE)
		in->a.mode = (in->a.mode & S_IFMT) | (m->mode & 07777);
	if ((m->set & SET_MODE) && (err = ns_acl_chmod(ns, in)))
		return err;
	if (m->set & (SET_UID | SET_GID | SET_SIZE | SET_KILL_SUID))
		return ns_kill_caps(ns, in);
	return 0;
}

static int set_size(struct ns *ns, struct ns_inode *in, uint64_t size,
		    struct ns_now now)
{
	int err = 0;

	if (size < in->a.size)
		err = ns_slots_cut(ns, in, size, now);
	in->a.size = size;
	ns_new_content(in, now);
	return err;
}

static void set_times(struct ns_inode *in, const struct m_setattr *m,
		      struct ns_now now)
{
	if (m->set & SET_ATIME_NOW) {
		in->a.atime_s = now.s;
		in->a.atime_ns = now.ns;
	} else if (m->set & SET_ATIME) {
		in->a.atime_s = m->atime_s;
		in->a.atime_ns = m->atime_ns;
	}
	if (m->set & SET_MTIME) {
		in->a.mtime_s = m->mtime_s;
		in->a.mtime_ns = m->mtime_ns;
	} else if ((m->set & SET_MTIME_NOW) && !(m->set & SET_SIZE)) {
		in->a.mtime_s = now.s;
		in->a.mtime_ns = now.ns;
	}
}

static int set_all(struct ns *ns, const struct m_setattr *m,
		   struct ns_now now, struct m_attr *out,
		   struct ns_touched *t)
{
	struct ns_inode in;
	struct m_attr was;
	int err;

	err = ns_inode_get(ns, m->ino, &in);
	if (!err)
		err = check(m, &in);
	if (!err && m->set) {
		was = in.a;
		err = set_owner_and_mode(ns, &in, m);
		if (!err && (m->set & SET_SIZE))
			err = set_size(ns, &in, m->size, now);
		set_times(&in, m, now);
		ns_set_ctime(&in, now);
		if (!err)
			err = ns_inode_put(ns, &in);
		ns_touch_attr(t, &was, &in.a);
	}
	if (!err)
		*out = in.a;
	return err;
}

int ns_setattr(struct ns *ns, const struct m_setattr *m, struct ns_now now,
	       struct m_attr *out, struct ns_touched *t)
{
	struct ns_undo u;
	int err;

	err = ns_op_begin(ns, &u, t);
	if (err)
		return err;
	return ns_op_end(ns, &u, t, set_all(ns, m, now, out, t));
}

int ns_accessed(struct ns *ns, const struct m_access *m)
{
	struct db_stmt *s;

	if (!ns_time_ok(m->atime_ns))
		return -EINVAL;
	s = db_prep(ns->db, "UPDATE inodes SET atime_s=?2,atime_ns=?3 "
			    "WHERE ino=?1 AND (ctime_s,ctime_ns)<(?2,?3) "
			    "AND (atime_s,atime_ns)<(?2,?3)");
	db_bind_u64(s, 1, m->ino);
	db_bind_i64(s, 2, m->atime_s);
	db_bind_u64(s, 3, m->atime_ns);
	return db_run(s);
}
