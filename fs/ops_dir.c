/*
 * ops_dir -- names: look-up, making, linking, renaming, removing.
 *
 * Every change follows the tree's protocol (tree.h): the tracker's new
 * attributes of each inode concerned come with the answer.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "ops_call.h"

/* A call about @name in @parent; NULL: answered. */
static struct call *call_name(fuse_req_t req, fuse_ino_t parent,
			      const char *name)
{
	struct call *c = call_new(req);
	int err;

	if (!c)
		return NULL;
	c->parent = ops_ino(c->ops, parent);
	err = ops_name(c->name, name);
	if (err) {
		call_fail(c, err);
		return NULL;
	}
	return c;
}

/* What a change of c->parent's entry c->name alters is not known from now
 * on: before it is sent, and again when it failed. */
static void touch(struct call *c)
{
	tree_touch(c->ops->tree, c->parent);
	tree_touch_name(c->ops->tree, c->parent, str_of(c->name));
}

/* c->parent's entry c->name is @ino now (0: gone). */
static void settle(struct call *c, const struct m_attr *parent, uint64_t ino)
{
	tree_settle_name(c->ops->tree, c->parent, str_of(c->name), ino,
			 c->asked);
	call_changed(c, parent);
	ops_kernel_changed(c->ops, c->parent);
}

/* --------------------------------------------------------------- look-up */

int call_lookup_done(struct call *c, struct answer *a, struct m_attr *out)
{
	struct m_lookup_r m;
	int err = ANSWER(a, lookup_r, &m);

	if (err == -ENOENT && a->heard)
		tree_put_name(c->ops->tree, c->parent, str_of(c->name), 0,
			      c->asked);
	if (err)
		return err;
	call_learned(c, &m.attr);
	tree_put_name(c->ops->tree, c->parent, str_of(c->name), m.attr.ino,
		      c->asked);
	*out = m.attr;
	return 0;
}

void call_lookup(struct call *c, call_fn done)
{
	struct m_lookup m = { .parent = c->parent, .name = str_of(c->name) };
	struct wr w = WR_INIT;

	m_lookup_encode(&w, &m);
	call_send(c, M_lookup, &w, done);
}

/*
 * When the kernel looks again for a name that it knew and gets an error, it
 * looks for it afresh, and the caller would wait twice as long as it has to.
 * So a second look right after one that nobody answered has its error, too.
 */
static struct late *late_of(struct call *c, struct late *key)
{
	*key = (struct late){ .parent = c->parent,
			      .tid = fuse_req_ctx(c->req)->pid,
			      .name_hash = 0 };
	for (const char *p = c->name; *p; p++)
		key->name_hash = key->name_hash * 31 + (uint8_t)*p;
	return &c->ops->late[(uint32_t)key->tid % OPS_LATE];
}

static void late_note(struct call *c)
{
	struct late key, *l = late_of(c, &key);

	key.until_ms = now_ms() + OPS_LATE_MS;
	pthread_mutex_lock(&c->ops->lock);
	*l = key;
	pthread_mutex_unlock(&c->ops->lock);
}

static int late_again(struct call *c)
{
	struct late key, *l = late_of(c, &key);
	int again;

	pthread_mutex_lock(&c->ops->lock);
	again = l->until_ms && l->parent == key.parent && l->tid == key.tid &&
		l->name_hash == key.name_hash && now_ms() < l->until_ms;
	l->until_ms = 0;
	pthread_mutex_unlock(&c->ops->lock);
	return again;
}

static void lookup_done(struct call *c, struct answer *a)
{
	struct m_attr attr;
	int err = call_lookup_done(c, a, &attr);

	if (err == -EIO && !a->heard)
		late_note(c);
	if (err)
		call_fail(c, err);
	else
		call_reply_entry(c, &attr, 0);
}

void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct call *c = call_name(req, parent, name);
	struct m_attr attr;
	int err;

	if (!c)
		return;
	err = ops_cached_name(c->ops, c->parent, c->name, &attr);
	if (!err) {
		call_reply_entry(c, &attr, 0);
		return;
	}
	if (err != -EAGAIN)
		call_fail(c, err);
	else if (late_again(c))
		call_fail(c, -EIO);
	else
		call_lookup(c, lookup_done);
}

/* ---------------------------------------------------------------- making */

/* Into the tree: what was made, and where.  0 or -errno. */
static int made(struct call *c, struct answer *a, struct m_mknod_r *m)
{
	int err = ANSWER(a, mknod_r, m);

	if (err) {
		touch(c);
		return err;
	}
	if (S_ISDIR(m->attr.mode))
		tree_settle_empty(c->ops->tree, &m->attr, c->asked);
	else
		call_changed(c, &m->attr);
	settle(c, &m->parent, m->attr.ino);
	return 0;
}

static void mknod_done(struct call *c, struct answer *a)
{
	struct m_mknod_r m;
	int err = made(c, a, &m);

	if (err)
		call_fail(c, err);
	else
		call_reply_entry(c, &m.attr, 1);
}

static void make(struct call *c, mode_t mode, dev_t rdev, struct str target,
		 call_fn done)
{
	const struct fuse_ctx *who = fuse_req_ctx(c->req);
	struct m_mknod m = {
		.parent = c->parent,
		.name = str_of(c->name),
		.mode = mode,
		.uid = who->uid,
		.gid = who->gid,
		.rdev = (uint32_t)rdev,
		.excl = 1,
		.target = target,
		.umask = who->umask,
	};
	struct wr w = WR_INIT;

	touch(c);
	m_mknod_encode(&w, &m);
	call_send(c, M_mknod, &w, done);
}

void ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name,
	       mode_t mode, dev_t rdev)
{
	struct call *c = call_name(req, parent, name);

	if (c)
		make(c, mode, rdev, (struct str){ NULL, 0 }, mknod_done);
}

void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
	       mode_t mode)
{
	ops_mknod(req, parent, name, S_IFDIR | (mode & 07777), 0);
}

void ops_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
		 const char *name)
{
	struct call *c = call_name(req, parent, name);

	if (c)
		make(c, S_IFLNK | 0777, 0, str_of(target), mknod_done);
}

/*
 * The kernel asks for a file to be created when it found no such name.  If
 * another mount was faster, it must not be opened here, where nobody would
 * check its permissions: ESTALE makes the kernel look it up again and open
 * it as it opens any file.
 */
static void create_done(struct call *c, struct answer *a)
{
	struct m_mknod_r m;
	int err = made(c, a, &m);

	if (err == -EEXIST && !(c->fi.flags & O_EXCL))
		err = -ESTALE;
	if (err)
		call_fail(c, err);
	else
		call_reply_open(c, &m.attr, 1);
}

void ops_create(fuse_req_t req, fuse_ino_t parent, const char *name,
		mode_t mode, struct fuse_file_info *fi)
{
	struct call *c = call_name(req, parent, name);

	if (!c)
		return;
	c->fi = *fi;
	make(c, S_IFREG | (mode & 07777), 0, (struct str){ NULL, 0 },
	     create_done);
}

/* --------------------------------------------------------------- linking */

static void link_done(struct call *c, struct answer *a)
{
	struct m_link_r m;
	int err = ANSWER(a, link_r, &m);

	if (err) {
		touch(c);
		tree_touch(c->ops->tree, c->ino);
		call_fail(c, err);
		return;
	}
	call_changed(c, &m.attr);
	settle(c, &m.parent, m.attr.ino);
	call_reply_entry(c, &m.attr, 1);
}

void ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent,
	      const char *newname)
{
	struct call *c = call_name(req, newparent, newname);
	struct wr w = WR_INIT;
	struct m_link m;

	if (!c)
		return;
	c->ino = ops_ino(c->ops, ino);
	m = (struct m_link){ .ino = c->ino,
			     .parent = c->parent,
			     .name = str_of(c->name) };
	touch(c);
	tree_touch(c->ops->tree, c->ino);
	m_link_encode(&w, &m);
	call_send(c, M_link, &w, link_done);
}

/* -------------------------------------------------------------- removing */

static void unlink_done(struct call *c, struct answer *a)
{
	struct m_unlink_r m;
	int err = ANSWER(a, unlink_r, &m);

	if (err) {
		touch(c);
		if (c->ino)
			tree_touch(c->ops->tree, c->ino);
		call_fail(c, err);
		return;
	}
	c->ino = m.ino;
	tree_touch(c->ops->tree, m.ino);
	settle(c, &m.parent, 0);
	ops_name_gone(c->ops, m.ino, m.nlink);
	call_fail(c, 0);
}

static void unlink_send(fuse_req_t req, fuse_ino_t parent, const char *name,
			uint8_t dir)
{
	struct call *c = call_name(req, parent, name);
	struct wr w = WR_INIT;
	struct m_unlink m;
	struct m_attr there;

	if (!c)
		return;
	if (!tree_lookup(c->ops->tree, c->parent, str_of(c->name), &there))
		c->ino = there.ino;
	m = (struct m_unlink){ .parent = c->parent,
			       .name = str_of(c->name),
			       .dir = dir };
	touch(c);
	m_unlink_encode(&w, &m);
	call_send(c, M_unlink, &w, unlink_done);
}

void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	unlink_send(req, parent, name, 0);
}

void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	unlink_send(req, parent, name, 1);
}

/* -------------------------------------------------------------- renaming */

/* c->ino: what has the new name now, if that is known; else 0. */
static void rename_touch(struct call *c)
{
	touch(c);
	tree_touch(c->ops->tree, c->newparent);
	tree_touch_name(c->ops->tree, c->newparent, str_of(c->newname));
	if (c->ino)
		tree_touch(c->ops->tree, c->ino);
	if (c->moved)
		tree_touch(c->ops->tree, c->moved);
}

/*
 * After an exchange the old name is the other inode's, which the answer does
 * not tell; and of two names of one inode rename(2) keeps both.  Then the
 * old name is to be asked for.
 */
static void rename_settle(struct call *c, const struct m_rename_r *m)
{
	struct tree *t = c->ops->tree;

	if ((c->flags & RENAME_EXCHANGE) ||
	    (m->attr.nlink > 1 && !S_ISDIR(m->attr.mode)))
		tree_touch_name(t, c->parent, str_of(c->name));
	else
		tree_settle_name(t, c->parent, str_of(c->name), 0, c->asked);
	tree_settle_name(t, c->newparent, str_of(c->newname), m->attr.ino,
			 c->asked);
	call_changed(c, &m->attr);
	if (c->newparent != c->parent)
		call_changed(c, &m->newparent);
	call_changed(c, &m->parent);
	if (m->gone)
		tree_touch(t, m->gone);
	else if (c->ino)
		tree_touch(t, c->ino);
	ops_kernel_changed(c->ops, c->parent);
	if (c->newparent != c->parent)
		ops_kernel_changed(c->ops, c->newparent);
	ops_kernel_changed(c->ops, m->attr.ino);
}

static void rename_done(struct call *c, struct answer *a)
{
	struct m_rename_r m;
	int err = ANSWER(a, rename_r, &m);

	if (err) {
		rename_touch(c);
		call_fail(c, err);
		return;
	}
	rename_settle(c, &m);
	c->moved = m.attr.ino;
	ops_entry_moved(c->ops, c->parent, str_of(c->name), c->newparent,
			str_of(c->newname),
			(c->flags & RENAME_EXCHANGE) != 0);
	ops_name_gone(c->ops, m.gone, m.gone_nlink);
	call_fail(c, 0);
}

void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
		fuse_ino_t newparent, const char *newname, unsigned flags)
{
	struct call *c = call_name(req, parent, name);
	struct wr w = WR_INIT;
	struct m_rename m;
	struct m_attr there;
	int err;

	if (!c)
		return;
	c->newparent = ops_ino(c->ops, newparent);
	c->flags = flags;
	err = ops_name(c->newname, newname);
	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE))
		err = -EINVAL;
	if (err) {
		call_fail(c, err);
		return;
	}
	m = (struct m_rename){ .parent = c->parent,
			       .name = str_of(c->name),
			       .newparent = c->newparent,
			       .newname = str_of(c->newname),
			       .flags = flags };
	if (!tree_lookup(c->ops->tree, c->newparent, m.newname, &there))
		c->ino = there.ino;
	if (!tree_lookup(c->ops->tree, c->parent, m.name, &there))
		c->moved = there.ino;
	rename_touch(c);
	m_rename_encode(&w, &m);
	call_send(c, M_rename, &w, rename_done);
}
