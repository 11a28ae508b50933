#include <sys/stat.h>

#include "ns_internal.h"

static int row_del(struct ns *ns, const char *sql, uint64_t ino)
{
	struct db_stmt *s = db_prep(ns->db, sql);

	db_bind_u64(s, 1, ino);
	return db_run(s);
}

static int inode_del(struct ns *ns, const struct ns_inode *in)
{
	uint64_t ino = in->a.ino;
	int err = 0;

	if (in->xattrs)
		err = ns_xattrs_drop(ns, ino);
	if (!err && S_ISLNK(in->a.mode))
		err = row_del(ns, "DELETE FROM symlinks WHERE ino=?1", ino);
	if (!err && S_ISREG(in->a.mode))
		err = row_del(ns, "DELETE FROM digests WHERE ino=?1", ino);
	if (!err)
		err = row_del(ns, "DELETE FROM orphans WHERE ino=?1", ino);
	if (!err)
		err = row_del(ns, "DELETE FROM inodes WHERE ino=?1", ino);
	if (!err)
		ns->count.files--;
	return err;
}

/* A part at a time: a terabyte must not hold up everybody's operations. */
static int reap(struct ns *ns, uint64_t ino, struct ns_now now)
{
	struct ns_inode in;
	uint64_t first = 0;
	int err, n = 0;

	err = ns_inode_get(ns, ino, &in);
	if (err)
		return err;
	if (S_ISREG(in.a.mode))
		n = ns_slots_drop(ns, &in, &first, UINT64_MAX,
				  NS_REAP_SLOTS, now);
	if (n < 0)
		return n;
	if (n < NS_REAP_SLOTS)
		return inode_del(ns, &in);
	in.map++;
	in.parent = 0;		/* what is left of it gets no name any more */
	err = ns_inode_put(ns, &in);
	return err ? err : 1;
}

int ns_reap(struct ns *ns, uint64_t ino, struct ns_now now)
{
	struct ns_undo u;
	struct db_stmt *s;
	int got;

	s = db_prep(ns->db, "SELECT 1 FROM orphans WHERE ino=?1");
	db_bind_u64(s, 1, ino);
	got = ns_exists(s);
	if (got != 1)
		return got;
	got = ns_op_begin(ns, &u, NULL);
	return got ? got : ns_op_end(ns, &u, NULL, reap(ns, ino, now));
}

int ns_orphans(struct ns *ns, uint64_t after, uint64_t *out, int max)
{
	struct db_stmt *s;
	int got, n = 0;

	s = db_prep(ns->db, "SELECT ino FROM orphans WHERE ino>?1 "
			    "ORDER BY ino LIMIT ?2");
	db_bind_u64(s, 1, ns_min_i63(after));
	db_bind_i64(s, 2, max > 0 ? max : 0);
	while ((got = db_step(s)) == 1)
		out[n++] = db_u64(s, 0);
	return got ? got : n;
}
