#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "log.h"
#include "ns_internal.h"
#include "text.h"

/* ------------------------------------------------------------ small things */

int ns_damaged(const char *what, uint64_t id)
{
	log_error("the database is damaged: %s %" PRIu64 ": restore a backup",
		  what, id);
	return -EIO;
}

uint64_t ns_min_i63(uint64_t v)
{
	return v > INT64_MAX ? INT64_MAX : v;
}

struct db_stmt *ns_prep_named(struct ns *ns, const char *sql, uint64_t ino,
			      struct str name)
{
	struct db_stmt *s = db_prep(ns->db, sql);

	db_bind_u64(s, 1, ino);
	db_bind_blob(s, 2, name.p, name.len);
	return s;
}

int ns_exists(struct db_stmt *s)
{
	int got = db_step(s);

	if (got == 1)
		db_reset(s);
	return got;
}

int ns_str_dup(struct arena *a, const void *p, size_t n, struct str *out)
{
	char *copy = arena_alloc(a, n ? n : 1);

	if (!copy)
		return -ENOMEM;
	if (n)
		memcpy(copy, p, n);
	*out = (struct str){ copy, (uint32_t)n };
	return 0;
}

int ns_name_check(struct str name)
{
	if (!name.len)
		return -ENOENT;
	if (name.len > MSG_NAME_MAX)
		return -ENAMETOOLONG;
	if (memchr(name.p, '/', name.len) || memchr(name.p, 0, name.len))
		return -EINVAL;
	if (str_eq(name, STR_LIT(".")) || str_eq(name, STR_LIT("..")))
		return -EINVAL;
	return 0;
}

void ns_touch_also(struct ns_touched *t, uint64_t ino, uint8_t also)
{
	unsigned i = 0;

	while (i < t->n && t->ino[i] != ino)
		i++;
	if (i == t->n) {
		assert(t->n < NS_TOUCHED_MAX);
		t->ino[t->n] = ino;
		t->also[t->n++] = 0;
	}
	t->also[i] |= also;
}

void ns_touch(struct ns_touched *t, uint64_t ino)
{
	ns_touch_also(t, ino, 0);
}

void ns_touch_attr(struct ns_touched *t, const struct m_attr *was,
		   const struct m_attr *is)
{
	const uint32_t bits = S_ISUID | S_ISGID | S_ISVTX;

	int owner = was->uid != is->uid || was->gid != is->gid ||
		    ((was->mode ^ is->mode) & bits);

	ns_touch_also(t, is->ino, owner ? REVOKE_NAMES | REVOKE_OWNER : 0);
}

/* ------------------------------------------------------------------ times */

int ns_time_ok(uint32_t nsec)
{
	return nsec < 1000000000;
}

void ns_set_ctime(struct ns_inode *in, struct ns_now now)
{
	in->a.ctime_s = now.s;
	in->a.ctime_ns = now.ns;
}

void ns_new_content(struct ns_inode *in, struct ns_now want)
{
	struct ns_now ctime = want;

	time_later(&want.s, &want.ns, in->a.mtime_s, in->a.mtime_ns);
	time_later(&ctime.s, &ctime.ns, in->a.ctime_s, in->a.ctime_ns);
	in->a.mtime_s = want.s;
	in->a.mtime_ns = want.ns;
	in->a.version++;
	ns_set_ctime(in, ctime);
}

/* ----------------------------------------------------------------- inodes */

void ns_inode_read(struct db_stmt *s, struct ns_inode *out)
{
	struct m_attr *a = &out->a;

	a->ino = db_u64(s, 0);
	a->mode = (uint32_t)db_u64(s, 1);
	a->nlink = (uint32_t)db_u64(s, 2);
	a->uid = (uint32_t)db_u64(s, 3);
	a->gid = (uint32_t)db_u64(s, 4);
	a->rdev = (uint32_t)db_u64(s, 5);
	a->slot_size = (uint32_t)db_u64(s, 6);
	a->size = db_u64(s, 7);
	a->stored = db_u64(s, 8);
	a->version = db_u64(s, 9);
	out->map = db_u64(s, 10);
	a->atime_s = db_i64(s, 11);
	a->atime_ns = (uint32_t)db_u64(s, 12);
	a->mtime_s = db_i64(s, 13);
	a->mtime_ns = (uint32_t)db_u64(s, 14);
	a->ctime_s = db_i64(s, 15);
	a->ctime_ns = (uint32_t)db_u64(s, 16);
	out->parent = db_u64(s, 17);
	out->xattrs = (uint32_t)db_u64(s, 18);
	out->xattr_bytes = (uint32_t)db_u64(s, 19);
	a->has_xattrs = out->xattrs != 0;
}

static int inode_write(struct db_stmt *s, const struct ns_inode *in)
{
	const struct m_attr *a = &in->a;

	db_bind_u64(s, 1, a->ino);
	db_bind_u64(s, 2, a->mode);
	db_bind_u64(s, 3, a->nlink);
	db_bind_u64(s, 4, a->uid);
	db_bind_u64(s, 5, a->gid);
	db_bind_u64(s, 6, a->rdev);
	db_bind_u64(s, 7, a->slot_size);
	db_bind_u64(s, 8, a->size);
	db_bind_u64(s, 9, a->stored);
	db_bind_u64(s, 10, a->version);
	db_bind_u64(s, 11, in->map);
	db_bind_i64(s, 12, a->atime_s);
	db_bind_u64(s, 13, a->atime_ns);
	db_bind_i64(s, 14, a->mtime_s);
	db_bind_u64(s, 15, a->mtime_ns);
	db_bind_i64(s, 16, a->ctime_s);
	db_bind_u64(s, 17, a->ctime_ns);
	db_bind_u64(s, 18, in->parent);
	db_bind_u64(s, 19, in->xattrs);
	db_bind_u64(s, 20, in->xattr_bytes);
	return db_run(s);
}

int ns_inode_add(struct ns *ns, const struct ns_inode *in)
{
	int err;

	err = inode_write(db_prep(ns->db,
		"INSERT INTO inodes VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,"
		"?11,?12,?13,?14,?15,?16,?17,?18,?19,?20)"), in);
	if (!err)
		ns->count.files++;
	return err;
}

int ns_inode_put(struct ns *ns, const struct ns_inode *in)
{
	return inode_write(db_prep(ns->db,
		"UPDATE inodes SET mode=?2,nlink=?3,uid=?4,gid=?5,rdev=?6,"
		"slot_size=?7,size=?8,stored=?9,version=?10,map=?11,"
		"atime_s=?12,atime_ns=?13,mtime_s=?14,mtime_ns=?15,"
		"ctime_s=?16,ctime_ns=?17,parent=?18,xattrs=?19,"
		"xattr_bytes=?20 WHERE ino=?1"), in);
}

int ns_inode_get(struct ns *ns, uint64_t ino, struct ns_inode *out)
{
	struct db_stmt *s;
	int got;

	s = db_prep(ns->db, "SELECT " NS_INODE_COLS
			    " FROM inodes i WHERE i.ino=?1");
	db_bind_u64(s, 1, ino);
	got = db_step(s);
	if (got != 1)
		return got ? got : -ENOENT;
	ns_inode_read(s, out);
	db_reset(s);
	return 0;
}

int ns_dir_get(struct ns *ns, uint64_t ino, struct ns_inode *out)
{
	int err = ns_inode_get(ns, ino, out);

	if (err)
		return err;
	if (!S_ISDIR(out->a.mode))
		return -ENOTDIR;
	return out->a.nlink ? 0 : -ENOENT;	/* removed, still open */
}

int ns_file_get(struct ns *ns, uint64_t ino, struct ns_inode *out)
{
	int err = ns_inode_get(ns, ino, out);

	if (err)
		return err;
	if (S_ISDIR(out->a.mode))
		return -EISDIR;
	return S_ISREG(out->a.mode) ? 0 : -EINVAL;
}

/* ---------------------------------------------------------- small numbers */

int ns_meta_get(struct ns *ns, const char *key, uint64_t *out)
{
	struct db_stmt *s;
	int got;

	s = db_prep(ns->db, "SELECT value FROM meta WHERE key=?1");
	db_bind_blob(s, 1, key, strlen(key));
	got = db_step(s);
	if (got != 1)
		return got ? got : -ENOENT;
	*out = db_u64(s, 0);
	db_reset(s);
	return 0;
}

int ns_meta_set(struct ns *ns, const char *key, uint64_t v)
{
	struct db_stmt *s;

	s = db_prep(ns->db, "REPLACE INTO meta VALUES(?1,?2)");
	db_bind_blob(s, 1, key, strlen(key));
	db_bind_u64(s, 2, v);
	return db_run(s);
}

int ns_seq_take(struct ns *ns, struct ns_seq *q, uint64_t *out)
{
	int err;

	if (q->next >= q->mark) {
		err = ns_meta_set(ns, q->key, q->next + NS_SEQ_STEP);
		if (err)
			return err;
		q->mark = q->next + NS_SEQ_STEP;
	}
	*out = q->next++;
	return 0;
}

static int seq_load(struct ns *ns, struct ns_seq *q)
{
	int err = ns_meta_get(ns, q->key, &q->mark);

	if (err == -ENOENT) {
		q->mark = 0;	/* a new database */
		err = 0;
	}
	if (q->next < q->mark)
		q->next = q->mark;
	return err;
}

/* ------------------------------------------------------- counts and undo */

static int count_of(struct ns *ns, const char *sql, uint64_t *out)
{
	struct db_stmt *s = db_prep(ns->db, sql);
	int got = db_step(s);

	if (got != 1)
		return got ? got : -EIO;
	*out = db_u64(s, 0);
	db_reset(s);
	return 0;
}

/* Read again what is known in memory, if a batch was rolled back since. */
static int refresh(struct ns *ns)
{
	uint64_t rollbacks = db_rollbacks(ns->db);
	struct ns_count c;
	int err;

	if (ns->rollbacks == rollbacks)
		return 0;
	err = count_of(ns, "SELECT count(*) FROM inodes", &c.files);
	if (!err)
		err = count_of(ns, "SELECT ifnull(sum(stored),0) FROM inodes",
			       &c.bytes);
	if (!err)
		err = count_of(ns, "SELECT count(*) FROM chunks WHERE refs>0",
			       &c.chunks);
	if (!err)
		err = count_of(ns, "SELECT count(*) FROM garbage",
			       &c.garbage);
	if (!err)
		err = seq_load(ns, &ns->ino);
	if (!err)
		err = seq_load(ns, &ns->cookie);
	if (!err)
		err = ns_meta_get(ns, "next_chunk", &ns->chunk_mark);
	if (err == -ENOENT) {
		ns->chunk_mark = 1;
		err = 0;
	}
	if (err)
		return err;
	ns->count = c;
	ns->rollbacks = rollbacks;
	return 0;
}

void ns_count(struct ns *ns, struct ns_count *out)
{
	refresh(ns);	/* if that fails the old counts are the best there is */
	*out = ns->count;
}

int ns_op_begin(struct ns *ns, struct ns_undo *u, const struct ns_touched *t)
{
	int err = refresh(ns);

	if (err)
		return err;
	*u = (struct ns_undo){
		.count = ns->count,
		.ino_mark = ns->ino.mark,
		.cookie_mark = ns->cookie.mark,
		.chunk_mark = ns->chunk_mark,
		.touched = t ? t->n : 0,
	};
	return db_op_begin(ns->db);
}

int ns_op_end(struct ns *ns, const struct ns_undo *u, struct ns_touched *t,
	      int err)
{
	int end = db_op_end(ns->db, err >= 0);

	if (err >= 0 && end)
		err = end;
	if (err >= 0)
		return err;
	ns->count = u->count;
	ns->ino.mark = u->ino_mark;
	ns->cookie.mark = u->cookie_mark;
	ns->chunk_mark = u->chunk_mark;
	if (t)
		t->n = u->touched;
	return err;
}

/* ---------------------------------------------------------------- opening */

static int make_root(struct ns *ns, struct ns_now now)
{
	struct ns_inode root = {
		.a = {
			.ino = NS_ROOT, .mode = S_IFDIR | 01777, .nlink = 2,
			.slot_size = ns->cfg.slot_size, .version = 1,
			.atime_s = now.s, .atime_ns = now.ns,
			.mtime_s = now.s, .mtime_ns = now.ns,
			.ctime_s = now.s, .ctime_ns = now.ns,
		},
		.parent = NS_ROOT,
	};

	return ns_inode_add(ns, &root);
}

int ns_open(struct ns **out, struct db *db, const struct ns_config *cfg,
	    struct ns_now now)
{
	struct ns_inode root;
	struct ns *ns;
	int err;

	ns = calloc(1, sizeof(*ns));
	if (!ns)
		return -ENOMEM;
	ns->db = db;
	ns->cfg = *cfg;
	ns->ino = (struct ns_seq){ "next_ino", NS_ROOT + 1, 0 };
	ns->cookie = (struct ns_seq){ "next_cookie", 16, 0 };
	ns->rollbacks = UINT64_MAX;	/* nothing is known yet */
	err = db_begin(db);
	if (err)
		goto out_free;
	err = refresh(ns);
	if (!err)
		err = ns_inode_get(ns, NS_ROOT, &root);
	if (err == -ENOENT)
		err = make_root(ns, now);
	if (err)
		db_rollback(db);
	else
		err = db_commit(db, 1);
	if (err)
		goto out_free;
	*out = ns;
	return 0;
out_free:
	free(ns);
	return err;
}

void ns_close(struct ns *ns)
{
	free(ns);
}
