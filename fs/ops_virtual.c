/*
 * ops_virtual -- .pspfs: looking it up, listing it, reading its files.
 *
 * Directories mirror real ones, with their owner and mode (but nobody may
 * write); so who cannot enter a directory cannot enter its mirror.  A text is
 * made when its file is opened, by the pool, which may wait for the tracker;
 * everything else goes as for real names and attributes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "ops_call.h"
#include "track.h"

enum { SUFFIX_LEN = sizeof(TRACK_SUFFIX) - 1 };

/* What @n mirrors, as the tracker counts it. */
static uint64_t real_ino(const struct ops *o, const struct virtual_node *n)
{
	return n->real ? n->real : o->root;
}

/* @n, whose mirror has the attributes @real. */
static void node_stat(const struct virtual_node *n, const struct m_attr *real,
		      struct stat *st)
{
	*st = (struct stat){
		.st_ino = n->ino,
		.st_mode = virtual_is_dir(n) ? S_IFDIR | (real->mode & 0555)
					     : S_IFREG | 0444,
		.st_nlink = 1,
		.st_uid = real->uid,
		.st_gid = real->gid,
		.st_atim = { real->atime_s, real->atime_ns },
		.st_mtim = { real->mtime_s, real->mtime_ns },
		.st_ctim = { real->ctime_s, real->ctime_ns },
	};
}

static void reply_entry(struct call *c, const struct m_attr *real)
{
	struct fuse_entry_param e = { .ino = c->node.ino, .generation = 1 };

	node_stat(&c->node, real, &e.attr);
	if (fuse_reply_entry(c->req, &e) == -ENOENT)
		virtual_forget(c->ops->virtual, e.ino, 1); /* interrupted */
	call_free(c);
}

/* A call about the node @ino; NULL: answered. */
static struct call *call_node(fuse_req_t req, fuse_ino_t ino)
{
	struct call *c = call_new(req);
	int err;

	if (!c)
		return NULL;
	err = virtual_get(c->ops->virtual, ino, &c->node);
	if (err) {
		call_fail(c, err);
		return NULL;
	}
	c->ino = real_ino(c->ops, &c->node);
	return c;
}

/* ----------------------------------------------------- attributes, fixed names */

static void attr_reply(struct call *c, const struct m_attr *real)
{
	struct stat st;

	node_stat(&c->node, real, &st);
	fuse_reply_attr(c->req, &st, 0);
	call_free(c);
}

static void attr_got(struct call *c, struct answer *a)
{
	struct m_attr real;

	if (!call_getattr_done(c, a, &real))
		attr_reply(c, &real);
}

static void entry_got(struct call *c, struct answer *a)
{
	struct m_attr real;

	if (!call_getattr_done(c, a, &real))
		reply_entry(c, &real);
}

void ops_virtual_getattr(fuse_req_t req, fuse_ino_t ino)
{
	struct call *c = call_node(req, ino);
	struct m_attr real;

	if (!c)
		return;
	if (!ops_cached(c->ops, c->ino, &real))
		attr_reply(c, &real);
	else
		call_getattr(c, attr_got);
}

/* c->node is found, one of those that are always there. */
static void enter_fixed(struct call *c)
{
	struct m_attr real;

	c->ino = real_ino(c->ops, &c->node);
	if (!ops_cached(c->ops, c->ino, &real))
		reply_entry(c, &real);
	else
		call_getattr(c, entry_got);
}

void ops_virtual_lookup_top(fuse_req_t req)
{
	struct call *c = call_node(req, VIRTUAL_INO(VIRTUAL_AT_TOP));

	if (c)
		enter_fixed(c);
}

/* ----------------------------------------------------------- names in trackers */

/*
 * NAME.track is the file NAME's tracker file, if there is such a file; else
 * it may be a directory that has that very name.  c->name is what is looked
 * for, c->newname what was asked, c->flags says if it is to be a file.
 */
static void found(struct call *c, int err, const struct m_attr *real);

static void looked(struct call *c, struct answer *a)
{
	struct m_attr real;
	int err = call_lookup_done(c, a, &real);

	found(c, err, &real);
}

static void look(struct call *c)
{
	struct m_attr real;
	int err = ops_cached_name(c->ops, c->parent, c->name, &real);

	if (err == -EAGAIN)
		call_lookup(c, looked);
	else
		found(c, err, &real);
}

static void enter(struct call *c, const struct m_attr *real)
{
	int err = virtual_enter(c->ops->virtual, c->node.ino, c->name,
				c->flags ? VIRTUAL_TRACK : VIRTUAL_DIR,
				real->ino, &c->node);

	if (err)
		call_fail(c, err);
	else
		reply_entry(c, real);
}

static void look_for_dir(struct call *c)
{
	c->flags = 0;
	memcpy(c->name, c->newname, sizeof(c->name));
	if (c->name[0] &&
	    (c->parent != c->ops->root || strcmp(c->name, VIRTUAL_NAME)))
		look(c);
	else
		call_fail(c, -ENOENT);
}

static void found(struct call *c, int err, const struct m_attr *real)
{
	if (err && err != -ENOENT)
		call_fail(c, err);
	else if (!err && (c->flags ? S_ISREG(real->mode)
				   : S_ISDIR(real->mode)))
		enter(c, real);
	else if (c->flags)
		look_for_dir(c);
	else
		call_fail(c, -ENOENT);
}

static void look_for_track(struct call *c, const char *name)
{
	size_t n = strlen(name);

	c->parent = c->ino;
	if (n <= MSG_NAME_MAX)	/* else only a file's name can be that long */
		memcpy(c->newname, name, n + 1);
	c->flags = n > SUFFIX_LEN && n - SUFFIX_LEN <= MSG_NAME_MAX &&
		   !strcmp(name + n - SUFFIX_LEN, TRACK_SUFFIX);
	if (!c->flags) {
		look_for_dir(c);
		return;
	}
	memcpy(c->name, name, n - SUFFIX_LEN);
	look(c);
}

void ops_virtual_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct call *c = call_node(req, parent);

	if (!c)
		return;
	if (c->node.kind == VIRTUAL_DIR)
		look_for_track(c, name);
	else if (c->node.kind != VIRTUAL_TOP)
		call_fail(c, -ENOTDIR);
	else if (virtual_find(name, &c->node))
		call_fail(c, -ENOENT);
	else
		enter_fixed(c);
}

/* --------------------------------------------------------------------- listing */

void ops_virtual_opendir(fuse_req_t req, fuse_ino_t ino,
			 struct fuse_file_info *fi)
{
	struct ops *o = ops_of(req);
	struct virtual_node n;
	int err = virtual_get(o->virtual, ino, &n);

	if (err) {
		fuse_reply_err(req, -err);
	} else if (n.kind == VIRTUAL_DIR) {
		ops_opendir_as(req, real_ino(o, &n), 1, fi);
	} else {
		fi->fh = 0;
		fuse_reply_open(req, fi);
	}
}

/* .pspfs itself; the offset is the place in the list. */
void ops_virtual_list(fuse_req_t req, size_t size, off_t off, int plus)
{
	static const struct {
		const char *name;
		mode_t type;
	} list[] = {
		{ ".", S_IFDIR },	{ "..", S_IFDIR },
		{ "status", S_IFREG },	{ "peers", S_IFREG },
		{ "trackers", S_IFDIR },
	};
	const off_t n = sizeof(list) / sizeof(list[0]);
	struct fuse_entry_param e = { 0 };
	char buf[1024];		/* enough for all */
	size_t used = 0, len;

	if (size > sizeof(buf))
		size = sizeof(buf);
	for (; off >= 0 && off < n; off++) {
		e.attr.st_mode = list[off].type;
		e.attr.st_ino = VIRTUAL_INO(VIRTUAL_AT_TOP);
		len = plus ? fuse_add_direntry_plus(req, buf + used,
						    size - used,
						    list[off].name, &e,
						    off + 1)
			   : fuse_add_direntry(req, buf + used, size - used,
					       list[off].name, &e.attr,
					       off + 1);
		if (len > size - used)
			break;
		used += len;
	}
	fuse_reply_buf(req, buf, used);
}

/* --------------------------------------------------------------------- reading */

static struct virtual_text *text_of(const struct fuse_file_info *fi)
{
	return (struct virtual_text *)(uintptr_t)fi->fh;
}

/* On the pool. */
static void make_text(struct pool_work *w)
{
	struct call *c = container_of(w, struct call, work);
	struct ops *o = c->ops;
	struct ask ask = ask_link_until(&o->stop);
	struct virtual_text *t;
	int err = virtual_text_open(o->virtual, &c->node, o->top, &ask, &t);

	if (err) {
		call_fail(c, err);
		return;
	}
	c->fi.fh = (uintptr_t)t;
	c->fi.direct_io = 1;	/* its size is not known before */
	if (fuse_reply_open(c->req, &c->fi) == -ENOENT)
		virtual_text_close(o->virtual, t);	/* interrupted */
	call_free(c);
}

void ops_virtual_open(fuse_req_t req, fuse_ino_t ino,
		      struct fuse_file_info *fi)
{
	struct call *c;

	if ((fi->flags & O_ACCMODE) != O_RDONLY || fi->flags & O_TRUNC) {
		fuse_reply_err(req, EROFS);
		return;
	}
	c = call_node(req, ino);
	if (!c)
		return;
	c->fi = *fi;
	c->work.fn = make_text;
	pool_run(c->ops->pool, &c->work);
}

void ops_virtual_read(fuse_req_t req, size_t size, off_t off,
		      struct fuse_file_info *fi)
{
	struct virtual *v = ops_of(req)->virtual;
	struct virtual_text *t = text_of(fi);
	size_t at = (size_t)off < t->n ? (size_t)off : t->n;

	/* Its release may come before the reply returns here. */
	virtual_text_ref(v, t);
	fuse_reply_buf(req, t->p + at, size < t->n - at ? size : t->n - at);
	virtual_text_close(v, t);
}

void ops_virtual_release(fuse_req_t req, struct fuse_file_info *fi)
{
	virtual_text_close(ops_of(req)->virtual, text_of(fi));
	fuse_reply_err(req, 0);
}
