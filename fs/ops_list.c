/*
 * ops_list -- listing directories, a page of entries at a time.
 *
 * "." and ".." have the offsets 1 and 2; the tracker's cookies are larger.
 * What readdirplus hands out is the tree's, which knows whether it still
 * holds; where it does not, the entry goes out as a name only.
 *
 * Happy path: a read at offset 0 (open or rewinddir) finds the listing of
 * the whole directory in the tree, under its lease.  Else a page is asked
 * for.  The open directory holds either until it has another, so that a
 * listing shows one moment as far as it can.  Pages without a gap, from
 * offset 0 to the end, are the listing that the tree then has.  (Cookies are
 * the tracker's in both, and stay: any offset can be read from either.)
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ops_call.h"
#include "track.h"

enum {
	PAGE_ENTRIES = 1024,
	OFF_DOT = 1,
	OFF_DOTDOT = 2,
	/* A look-up each for what the tree does not know, or one page for
	 * all of it? */
	UNKNOWN_MOST = 1,
};

struct dir {
	LIST_ENTRY(dir) next;	/* in ops.dirs until releasedir */
	/* fixed after opendir */
	uint64_t ino;
	int tracks;		/* of .pspfs/trackers: see ops_opendir_as() */
	struct file_handle *handle;	/* it is open */
	pthread_mutex_t lock;
	/* guarded by lock */
	unsigned refs;		/* the handle, reads under way: one that was
				 * interrupted outlives the handle */
	struct pages pages;
	int kept;		/* the page was the tree's */
};

static struct dir *dir_get(struct dir *d)
{
	pthread_mutex_lock(&d->lock);
	d->refs++;
	pthread_mutex_unlock(&d->lock);
	return d;
}

static void dir_free(struct dir *d)
{
	pages_fini(&d->pages);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

static void dir_put(struct dir *d)
{
	unsigned left;

	pthread_mutex_lock(&d->lock);
	left = --d->refs;
	pthread_mutex_unlock(&d->lock);
	if (left)
		return;
	file_close(d->handle);
	dir_free(d);
}

static void dir_close(struct ops *o, struct dir *d)
{
	pthread_mutex_lock(&o->lock);
	LIST_REMOVE(d, next);
	pthread_mutex_unlock(&o->lock);
	dir_put(d);
}

void ops_dirs_free(struct ops *o)
{
	struct dir *d;

	while ((d = LIST_FIRST(&o->dirs))) {
		LIST_REMOVE(d, next);
		dir_free(d);
	}
}

static uint64_t cookie_of(uint64_t off)
{
	return off <= OFF_DOTDOT ? 0 : off;
}

/* --------------------------------------------------------------- serving */

struct out {
	fuse_req_t req;
	struct ops *ops;
	char *p;
	size_t size, used;
	int plus;
	uint64_t seen;		/* told_now() before it looks in the tree */
};

/* Add one entry, whose successor is at @next; 0: there is no room. */
static int emit(struct out *out, const char *name,
		const struct fuse_entry_param *e, uint64_t next)
{
	size_t left = out->size - out->used, n;

	if (out->plus)
		n = fuse_add_direntry_plus(out->req, out->p + out->used, left,
					   name, e, (off_t)next);
	else
		n = fuse_add_direntry(out->req, out->p + out->used, left, name,
				      &e->attr, (off_t)next);
	if (n > left)
		return 0;
	out->used += n;
	return 1;
}

static int emit_dot(struct out *out, const char *name, uint64_t ino,
		    uint64_t next)
{
	struct fuse_entry_param e = { 0 };

	e.attr.st_ino = ops_fuse_ino(out->ops, ino);
	e.attr.st_mode = S_IFDIR;
	return emit(out, name, &e, next);
}

/* What nobody is shown in @d: a real .pspfs at the mount's top (made through
 * another mount, of a directory above), and what has no tracker file. */
static int hidden(const struct dir *d, const struct out *out,
		  const struct listed *e)
{
	if (d->ino == out->ops->root && str_eq(e->name, STR_LIT(VIRTUAL_NAME)))
		return 1;
	return d->tracks && !S_ISREG(e->mode) && !S_ISDIR(e->mode);
}

/* With all that is known of it: the kernel, which has the directory locked,
 * makes an entry of it. */
static int emit_known(const struct dir *d, struct out *out, const char *name,
		      const struct m_attr *a, uint64_t next)
{
	struct fuse_entry_param e;

	ops_entry(out->ops, a, &e);
	ops_entry_told(out->ops, d->ino, str_of(name), 1, out->seen, 0, a->ino,
		       &e);
	if (emit(out, name, &e, next))
		return 1;
	told_forget(out->ops->told, a->ino, 1);
	return 0;
}

static int emit_entry(const struct dir *d, struct out *out,
		      const struct listed *l)
{
	struct fuse_entry_param e = { 0 };
	char name[OPS_NAME + sizeof(TRACK_SUFFIX)];
	struct m_attr attr;

	memcpy(name, l->name.p, l->name.len);
	name[l->name.len] = '\0';
	if (!d->tracks && out->plus &&
	    !ops_cached_name(out->ops, d->ino, name, &attr))
		return emit_known(d, out, name, &attr, l->cookie);
	e.attr.st_ino = l->ino;
	e.attr.st_mode = l->mode;
	if (d->tracks && S_ISREG(l->mode))
		strcat(name, TRACK_SUFFIX);
	return emit(out, name, &e, l->cookie);
}

static void fill(const struct dir *d, struct out *out,
		 const struct listing *l, uint64_t off)
{
	/* Nobody sees above the root of the mount. */
	uint64_t up = d->ino == out->ops->root ? d->ino : listing_parent(l);
	struct listed e;
	uint32_t i;

	if (off < OFF_DOT && !emit_dot(out, ".", d->ino, OFF_DOT))
		return;
	if (off < OFF_DOTDOT && !emit_dot(out, "..", up, OFF_DOTDOT))
		return;
	for (i = listing_seek(l, cookie_of(off)); i < listing_count(l); i++) {
		listing_at(l, i, &e);
		if (!hidden(d, out, &e) && !emit_entry(d, out, &e))
			return;
	}
}

/* Of how many entries that an answer of @size bytes has are the attributes
 * to be asked for?  (No more than UNKNOWN_MOST + 1.) */
static int count_unknown(const struct dir *d, struct ops *o,
			 const struct listing *l, size_t size, uint64_t off)
{
	char name[OPS_NAME];
	struct m_attr attr;
	struct listed e;
	size_t need;
	int n = 0;

	for (uint32_t i = listing_seek(l, cookie_of(off));
	     i < listing_count(l) && n <= UNKNOWN_MOST; i++) {
		listing_at(l, i, &e);
		memcpy(name, e.name.p, e.name.len);
		name[e.name.len] = '\0';
		need = fuse_add_direntry_plus(NULL, NULL, 0, name, NULL, 0);
		if (need > size)
			break;
		size -= need;
		n += ops_cached_name(o, d->ino, name, &attr) != 0;
	}
	return n;
}

/* Answer from @l: 0, or -EAGAIN: it shows nothing, and more follows. */
static int emit_all(const struct dir *d, const struct listing *l,
		    fuse_req_t req, size_t size, uint64_t off, int plus)
{
	struct ops *o = ops_of(req);
	struct out out = { .req = req, .ops = o, .size = size, .plus = plus,
			   .seen = told_now(o->told) };

	out.p = malloc(size);
	if (!out.p) {
		fuse_reply_err(req, ENOMEM);
		return 0;
	}
	fill(d, &out, l, off);
	if (!out.used && !listing_eof(l)) {
		free(out.p);
		return -EAGAIN;
	}
	fuse_reply_buf(req, out.p, out.used);
	free(out.p);
	return 0;
}

/* From the page: 0, or -EAGAIN: it is the wrong one, or shows nothing (*@off
 * then follows it), or of what was kept too little is known by now. */
static int serve(struct dir *d, fuse_req_t req, size_t size, uint64_t *off,
		 int plus)
{
	uint64_t end = 0;
	int err = -EAGAIN, kept;
	struct listing *l;

	pthread_mutex_lock(&d->lock);
	l = pages_at(&d->pages, cookie_of(*off), &end);
	kept = d->kept;
	pthread_mutex_unlock(&d->lock);
	if (l && !(kept && plus && !d->tracks &&
		   count_unknown(d, ops_of(req), l, size, *off) >
			   UNKNOWN_MOST)) {
		err = emit_all(d, l, req, size, *off, plus);
		if (err)
			*off = end;
	}
	listing_unref(l);
	return err;
}

/* From what the tree has of the whole directory: 0, or -EAGAIN. */
static int serve_kept(struct dir *d, fuse_req_t req, size_t size,
		      uint64_t off, int plus)
{
	struct listing *l = ops_cached_listing(ops_of(req), d->ino);

	if (!l)
		return -EAGAIN;
	pthread_mutex_lock(&d->lock);
	pages_take_whole(&d->pages, l);
	d->kept = 1;
	pthread_mutex_unlock(&d->lock);
	return serve(d, req, size, &off, plus);
}

/* -------------------------------------------------------------- fetching */

static void page_learn(struct call *c, const struct m_readdir_r *page)
{
	for (uint32_t i = 0; i < page->n_entries; i++) {
		const struct m_entry *e = &page->entries[i];

		call_learned(c, &e->attr);
		tree_put_name(c->ops->tree, c->dir->ino, e->name, e->attr.ino,
			      c->asked);
	}
}

/* Takes @page. */
static void page_take(struct call *c, struct listing *page)
{
	struct dir *d = c->dir;
	struct listing *all;
	uint64_t asked;
	int whole;

	pthread_mutex_lock(&d->lock);
	d->kept = 0;
	whole = pages_take(&d->pages, page, cookie_of(c->off), c->asked,
			   TREE_LISTING_MAX, &all);
	asked = d->pages.asked;
	pthread_mutex_unlock(&d->lock);
	if (whole)
		tree_put_whole(c->ops->tree, d->ino, asked);
	if (all)
		tree_put_listing(c->ops->tree, d->ino, all, asked);
	listing_unref(all);
}

static void fetch_page(struct call *c);

static void readdir_done(struct call *c, struct answer *a)
{
	struct listing *page = NULL;
	struct m_readdir_r m;
	struct dir *d = c->dir;
	uint64_t off;
	int err = ANSWER(a, readdir_r, &m);

	/* A page that gets nowhere would be asked for again and again. */
	if (!err && !m.n_entries && !m.eof)
		err = -EBADMSG;
	if (!err) {
		page = listing_new(&m);
		err = page ? 0 : -ENOMEM;
	}
	if (err) {
		call_fail(c, err);
		dir_put(d);
		return;
	}
	page_learn(c, &m);
	page_take(c, page);
	off = c->off;
	if (serve(d, c->req, c->size, &c->off, c->plus)) {
		if (c->off != off) {
			fetch_page(c);
			return;
		}
		call_fail(c, -EIO);
	} else {
		call_free(c);
	}
	dir_put(d);
}

/* The page that follows c->off, to answer from. */
static void fetch_page(struct call *c)
{
	struct m_readdir m = { .ino = c->dir->ino,
			       .after = cookie_of(c->off),
			       .most = PAGE_ENTRIES };
	struct wr w = WR_INIT;

	m_readdir_encode(&w, &m);
	call_send(c, M_readdir, &w, readdir_done);
}

static void list(fuse_req_t req, struct dir *d, size_t size, uint64_t off,
		 int plus)
{
	struct call *c;

	ops_accessed(ops_of(req), d->ino, 0);
	if ((off && !serve(d, req, size, &off, plus)) ||
	    !serve_kept(d, req, size, off, plus))
		return;
	c = call_new(req);
	if (!c)
		return;
	c->dir = dir_get(d);
	c->size = size;
	c->off = off;
	c->plus = plus;
	fetch_page(c);
}

void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		 struct fuse_file_info *fi)
{
	(void)ino;
	list(req, (struct dir *)(uintptr_t)fi->fh, size, (uint64_t)off, 0);
}

void ops_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	(void)ino;
	list(req, (struct dir *)(uintptr_t)fi->fh, size, (uint64_t)off, 1);
}

/* ----------------------------------------------------------- the handles */

static void opened(struct call *c, const struct m_attr *a)
{
	struct dir *d = calloc(1, sizeof(*d));

	if (!d) {
		file_close(c->handle);
		call_fail(c, -ENOMEM);
		return;
	}
	d->ino = a->ino;
	d->tracks = (int)c->flags;
	d->handle = c->handle;
	d->refs = 1;
	pthread_mutex_init(&d->lock, NULL);
	c->fi.fh = (uintptr_t)d;
	pthread_mutex_lock(&c->ops->lock);
	LIST_INSERT_HEAD(&c->ops->dirs, d, next);
	pthread_mutex_unlock(&c->ops->lock);
	if (fuse_reply_open(c->req, &c->fi) == -ENOENT)
		dir_close(c->ops, d);	/* interrupted: there is no releasedir */
	call_free(c);
}

static void open_with(struct call *c, const struct m_attr *a)
{
	if (S_ISDIR(a->mode))
		call_hold(c, a, opened);
	else
		call_fail(c, -ENOTDIR);
}

static void open_got(struct call *c, struct answer *a)
{
	struct m_attr attr;

	if (!call_open_getattr(c, a, &attr))
		open_with(c, &attr);
}

void ops_opendir_as(fuse_req_t req, uint64_t ino, int tracks,
		    struct fuse_file_info *fi)
{
	struct call *c = call_new(req);
	struct m_attr attr;

	if (!c)
		return;
	c->ino = ino;
	c->fi = *fi;
	c->flags = (uint32_t)tracks;
	if (!ops_cached(c->ops, ino, &attr))
		open_with(c, &attr);
	else
		call_getattr(c, open_got);
}

void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	ops_opendir_as(req, ops_ino(ops_of(req), ino), 0, fi);
}

void ops_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	dir_close(ops_of(req), (struct dir *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}

static void fsyncdir_done(struct call *c, struct answer *a)
{
	struct m_commit_r m;

	call_fail(c, ANSWER(a, commit_r, &m));
}

/* Changes of the namespace are in the database already; this one waits until
 * the database is on the disk. */
void ops_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync,
		  struct fuse_file_info *fi)
{
	struct call *c = call_new(req);
	struct wr w = WR_INIT;
	struct m_commit m = { .sync = 1 };

	(void)datasync;
	(void)fi;
	if (!c)
		return;
	m.ino = ops_ino(c->ops, ino);
	m_commit_encode(&w, &m);
	call_send(c, M_commit, &w, fsyncdir_done);
}
