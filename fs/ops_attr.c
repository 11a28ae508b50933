/*
 * ops_attr -- attributes, symlinks' targets, and what room there is.
 */
#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "caller.h"
#include "kernel.h"
#include "ops_call.h"

/* --------------------------------------------------------------- getattr */

int call_getattr_done(struct call *c, struct answer *a, struct m_attr *out)
{
	struct m_getattr_r m;
	int err = ANSWER(a, getattr_r, &m);

	if (err) {
		call_fail(c, err);
		return err;
	}
	call_learned(c, &m.attr);
	*out = m.attr;
	return 0;
}

static void note_root(struct ops *o, const struct m_attr *attr)
{
	struct stat st;

	if (attr->ino != o->root)
		return;
	ops_stat(o, attr, &st);
	pthread_mutex_lock(&o->lock);
	o->root_stat = st;
	pthread_mutex_unlock(&o->lock);
}

/* umount(8) looks at what it is to unmount before it does: it shall not wait
 * for a tracker that is away.  The kernel believes none of it afterwards. */
static void reply_unmounter(fuse_req_t req)
{
	struct ops *o = ops_of(req);
	struct stat st;

	pthread_mutex_lock(&o->lock);
	st = o->root_stat;
	pthread_mutex_unlock(&o->lock);
	fuse_reply_attr(req, &st, 0);
}

static void getattr_done(struct call *c, struct answer *a)
{
	struct m_attr attr;

	if (call_getattr_done(c, a, &attr))
		return;
	note_root(c->ops, &attr);
	call_reply_attr(c, &attr);
}

void call_getattr(struct call *c, call_fn done)
{
	struct m_getattr m = { .ino = c->ino };
	struct wr w = WR_INIT;

	m_getattr_encode(&w, &m);
	call_send(c, M_getattr, &w, done);
}

void ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct ops *o = ops_of(req);
	uint64_t seen = told_now(o->told);
	struct m_attr attr;
	struct stat st;
	struct call *c;

	(void)fi;
	ops_refresh_asked(o, ops_ino(o, ino), fuse_req_ctx(req)->pid);
	if (!ops_cached(o, ops_ino(o, ino), &attr)) {
		note_root(o, &attr);
		ops_stat(o, &attr, &st);
		fuse_reply_attr(req, &st, ops_attr_told(o, attr.ino, seen));
		return;
	}
	if (ino == FUSE_ROOT_ID && caller_unmounts(fuse_req_ctx(req)->pid)) {
		reply_unmounter(req);
		return;
	}
	c = call_new(req);
	if (!c)
		return;
	c->ino = ops_ino(o, ino);
	call_getattr(c, getattr_done);
}

/* --------------------------------------------------------------- setattr */

static int in_group(struct call *c, gid_t gid)
{
	const struct fuse_ctx *who = fuse_req_ctx(c->req);

	return !who->uid || who->gid == gid || caller_in_group(who->pid, gid);
}

int call_in_group(struct call *c, const struct m_attr *a)
{
	return in_group(c, a->gid);
}

/* Only a set-group-ID bit makes it worth asking who is in which group. */
uint32_t call_kill_bits(struct call *c)
{
	if (!(c->attr.mode & S_ISGID) || call_in_group(c, &c->attr))
		return SET_KILL_SUID;
	return SET_KILL_SUID | SET_KILL_SGID;
}

static void know_got(struct call *c, struct answer *a)
{
	if (!call_getattr_done(c, a, &c->attr))
		c->known(c);
}

void call_know(struct call *c, void (*known)(struct call *c))
{
	c->known = known;
	if (!ops_cached(c->ops, c->ino, &c->attr))
		known(c);
	else
		call_getattr(c, know_got);
}

uint8_t call_clear_bits(struct call *c)
{
	return call_kill_bits(c) & SET_KILL_SGID ? CLEAR_SUID | CLEAR_SGID
						 : CLEAR_SUID;
}

static void setattr_flushed(void *arg, int err)
{
	struct call *c = arg;
	struct wr w = WR_INIT;

	/* What is cut off anyway may have been lost before. */
	if (err && !((c->set.set & SET_SIZE) && !c->set.size)) {
		call_fail(c, err);
		return;
	}
	tree_touch(c->ops->tree, c->ino);
	c->set.ino = c->ino;
	m_setattr_encode(&w, &c->set);
	call_send(c, M_setattr, &w, c->done);
}

void call_setattr(struct call *c, call_fn done)
{
	c->done = done;
	files_flush_ino(c->ops->files, c->ino, setattr_flushed, c);
}

int call_setattr_done(struct call *c, struct answer *a,
		      struct m_setattr_r *m)
{
	int err = ANSWER(a, setattr_r, m);

	if (err)
		tree_touch(c->ops->tree, c->ino);
	else
		call_changed(c, &m->attr);
	return err;
}

static void setattr_done(struct call *c, struct answer *a)
{
	struct m_setattr_r m;
	struct stat st;
	int err = call_setattr_done(c, a, &m);

	if (err) {
		call_fail(c, err);
		return;
	}
	ops_stat(c->ops, &m.attr, &st);
	call_answered(c, fuse_reply_attr(c->req, &st, ops_attr_tick(c->ops)));
	call_free(c);
}

/* FUSE's bits as the protocol's; times are in @m already. */
static uint32_t set_bits(int to_set)
{
	static const struct {
		int fuse;
		uint32_t ours;
	} map[] = {
		{ FUSE_SET_ATTR_MODE, SET_MODE },
		{ FUSE_SET_ATTR_UID, SET_UID | SET_KILL_SUID },
		{ FUSE_SET_ATTR_GID, SET_GID | SET_KILL_SUID },
		{ FUSE_SET_ATTR_SIZE, SET_SIZE },
		{ FUSE_SET_ATTR_ATIME, SET_ATIME },
		{ FUSE_SET_ATTR_MTIME, SET_MTIME },
		{ FUSE_SET_ATTR_ATIME_NOW, SET_ATIME_NOW },
		{ FUSE_SET_ATTR_MTIME_NOW, SET_MTIME_NOW },
	};
	uint32_t set = 0;

	for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++)
		if (to_set & map[i].fuse)
			set |= map[i].ours;
	/* The kernel sends "now" together with the plain bit. */
	if (set & SET_ATIME_NOW)
		set &= ~(uint32_t)SET_ATIME;
	if (set & SET_MTIME_NOW)
		set &= ~(uint32_t)SET_MTIME;
	return set;
}

/*
 * chown(2) of neither user nor group: anybody may, unless it takes set-id
 * bits away.  The same comes before a write(2) that takes them away, which
 * whoever has the file open may: the kernel has asked nothing else of it.
 */
static void chown_none(struct call *c)
{
	uid_t uid = fuse_req_ctx(c->req)->uid;
	const struct m_attr *a = &c->attr;

	if (uid && uid != a->uid && !S_ISDIR(a->mode) &&
	    !files_has_handles(c->ops->files, c->ino) &&
	    ((a->mode & S_ISUID) ||
	     ((a->mode & S_ISGID) &&
	      ((a->mode & S_IXGRP) || !call_in_group(c, a))))) {
		call_fail(c, -EPERM);
		return;
	}
	c->set = (struct m_setattr){ .set = call_kill_bits(c) };
	call_setattr(c, setattr_done);
}

static int capable(struct call *c, int cap)
{
	return caller_capable(fuse_req_ctx(c->req)->pid, cap, c->attr.uid,
			      c->attr.gid);
}

/* What only an owner may set: the kernel has judged that, but by the owner
 * that it last heard of, and another mount may have changed it since. */
enum { SET_OWNERS = SET_MODE | SET_UID | SET_GID | SET_ATIME | SET_MTIME };

static int judge(struct call *c)
{
	uid_t uid = fuse_req_ctx(c->req)->uid;
	const struct m_attr *a = &c->attr;
	struct m_setattr *m = &c->set;
	int owner = uid == a->uid;

	if (!uid)
		return 0;
	if ((m->set & (SET_MODE | SET_ATIME | SET_MTIME)) && !owner &&
	    !capable(c, CAP_FOWNER))
		return -EPERM;
	if ((m->set & SET_UID) && !(owner && m->uid == a->uid) &&
	    !capable(c, CAP_CHOWN))
		return -EPERM;
	if ((m->set & SET_GID) &&
	    !(owner && (m->gid == a->gid || in_group(c, m->gid))) &&
	    !capable(c, CAP_CHOWN))
		return -EPERM;
	if ((m->set & SET_MODE) && (m->mode & S_ISGID) &&
	    !call_in_group(c, a) && !capable(c, CAP_FSETID))
		m->mode &= ~(uint32_t)S_ISGID;
	return 0;
}

static void setattr_known(struct call *c)
{
	int err = judge(c);

	if (err) {
		call_fail(c, err);
		return;
	}
	if (c->flags)
		c->set.set |= call_kill_bits(c);
	call_setattr(c, setattr_done);
}

void ops_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set,
		 struct fuse_file_info *fi)
{
	uint32_t set = set_bits(to_set);
	int kills = (set & SET_KILL_SUID) ||
		    ((set & SET_SIZE) && kernel_kills_suid());
	struct call *c;

	(void)fi;
	c = call_new(req);
	if (!c)
		return;
	c->ino = ops_ino(c->ops, ino);
	if (!set) {
		call_know(c, chown_none);
		return;
	}
	c->set = (struct m_setattr){
		.set = set,
		.mode = st->st_mode & 07777,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.size = (uint64_t)st->st_size,
		.atime_s = st->st_atim.tv_sec,
		.atime_ns = (uint32_t)st->st_atim.tv_nsec,
		.mtime_s = st->st_mtim.tv_sec,
		.mtime_ns = (uint32_t)st->st_mtim.tv_nsec,
	};
	c->flags = (uint32_t)kills;
	if (kills || ((set & SET_OWNERS) && fuse_req_ctx(req)->uid))
		call_know(c, setattr_known);
	else
		call_setattr(c, setattr_done);
}

/* -------------------------------------------------------------- readlink */

static void readlink_done(struct call *c, struct answer *a)
{
	struct m_readlink_r m;
	char target[MSG_PATH_MAX + 1];
	int err = ANSWER(a, readlink_r, &m);

	if (err) {
		call_fail(c, err);
		return;
	}
	memcpy(target, m.target.p, m.target.len);
	target[m.target.len] = '\0';
	fuse_reply_readlink(c->req, target);
	call_free(c);
}

void ops_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct call *c = call_new(req);
	struct wr w = WR_INIT;
	struct m_readlink m;

	if (!c)
		return;
	m.ino = ops_ino(c->ops, ino);
	ops_accessed(c->ops, m.ino, 0);
	m_readlink_encode(&w, &m);
	call_send(c, M_readlink, &w, readlink_done);
}

/* ---------------------------------------------------------------- statfs */

enum {
	BLOCK = 4096,
	/* Where nothing limits the number of files df -i wants to see some. */
	FREE_FILES = 1 << 30,
};

static void statfs_done(struct call *c, struct answer *a)
{
	struct ops *o = c->ops;
	struct m_statfs_r m;
	struct statvfs st;
	uint64_t left = FREE_FILES;
	int err = ANSWER(a, statfs_r, &m);

	if (err) {
		call_fail(c, err);
		return;
	}
	if (m.files_max)
		left = m.files_max > m.files ? m.files_max - m.files : 0;
	st = (struct statvfs){
		.f_bsize = BLOCK,
		.f_frsize = BLOCK,
		.f_blocks = m.total / BLOCK,
		.f_bfree = m.free / BLOCK,
		.f_bavail = m.free / BLOCK,
		.f_files = m.files + left,
		.f_ffree = left,
		.f_favail = left,
		.f_namemax = MSG_NAME_MAX,
	};
	pthread_mutex_lock(&o->lock);
	o->statfs = st;
	o->statfs_ms = now_ms();
	pthread_mutex_unlock(&o->lock);
	fuse_reply_statfs(c->req, &st);
	call_free(c);
}

void ops_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct ops *o = ops_of(req);
	struct wr w = WR_INIT;
	struct m_statfs m = { 0 };
	struct statvfs st;
	struct call *c;
	int fresh;

	(void)ino;
	pthread_mutex_lock(&o->lock);
	fresh = o->statfs_ms && now_ms() - o->statfs_ms < OPS_STATFS_MS;
	st = o->statfs;
	pthread_mutex_unlock(&o->lock);
	/* umount(8) wants to know the type only, which the kernel adds. */
	if (fresh || caller_unmounts(fuse_req_ctx(req)->pid)) {
		fuse_reply_statfs(req, &st);
		return;
	}
	c = call_new(req);
	if (!c)
		return;
	m_statfs_encode(&w, &m);
	call_send(c, M_statfs, &w, statfs_done);
}
