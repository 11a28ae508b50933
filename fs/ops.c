/* ops -- see ops.h; here: the tree's part, calls and answers. */
#include "ops_call.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernel.h"
#include "ops_lock.h"

enum {
	TREE_INODES = 200000,
	IO_SIZE = 128 << 10,	/* st_blksize: what programs read at once */
	TEXT_THREADS = 2,
};

/* ------------------------------------------------------------- lifecycle */

int ops_new(struct ops **out)
{
	struct ops *o = calloc(1, sizeof(*o));
	int err;

	if (!o)
		return -ENOMEM;
	pthread_mutex_init(&o->lock, NULL);
	pthread_cond_init(&o->idle, NULL);
	ask_stop_init(&o->stop);
	o->root = FUSE_ROOT_ID;
	o->root_stat = (struct stat){
		.st_ino = FUSE_ROOT_ID, .st_mode = S_IFDIR | 0755,
		.st_nlink = 2,
	};
	err = tree_new(&o->tree, TREE_INODES);
	if (!err)
		err = ops_told_init(o);
	if (!err)
		err = virtual_new(&o->virtual);
	if (!err)
		err = ops_lock_new(o);
	if (!err)
		err = pool_new(&o->pool, "texts", TEXT_THREADS);
	if (!err)
		err = ops_pages_init(o);
	if (err)
		ops_free(o);
	else
		*out = o;
	return err;
}

void ops_start(struct ops *o, struct link *link, struct files *files)
{
	pthread_mutex_lock(&o->lock);
	o->link = link;
	o->stop.link = link;
	o->files = files;
	pthread_mutex_unlock(&o->lock);
}

static void told(void *arg, const struct m_access *v, uint32_t n)
{
	struct ops *o = arg;

	for (uint32_t i = 0; i < n; i++)
		tree_accessed(o->tree, &v[i]);
}

int ops_note_reads(struct ops *o, struct loop *loop)
{
	return atimes_new(&o->atimes, o->link, loop, told, o);
}

static void user_add(struct ops *o)
{
	pthread_mutex_lock(&o->lock);
	o->users++;
	pthread_mutex_unlock(&o->lock);
}

void ops_files_done(struct ops *o)
{
	pthread_mutex_lock(&o->lock);
	if (!--o->users)
		pthread_cond_signal(&o->idle);
	pthread_mutex_unlock(&o->lock);
}

int ops_stop(struct ops *o, uint32_t ms)
{
	struct timespec end;
	int err = 0;

	atimes_free(o->atimes);
	o->atimes = NULL;
	ask_stop(&o->stop);
	if (o->link)
		lock_stop(o);
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += ms / 1000;
	pthread_mutex_lock(&o->lock);
	while (o->users && !err)
		err = pthread_cond_timedwait(&o->idle, &o->lock, &end);
	if (!o->users)
		o->files = NULL;
	pthread_mutex_unlock(&o->lock);
	return -err;
}

void ops_free(struct ops *o)
{
	if (!o)
		return;
	if (o->pool)
		pool_free(o->pool);
	ops_dirs_free(o);
	ops_lock_free(o);
	ops_pages_fini(o);
	virtual_free(o->virtual);
	ops_told_fini(o);
	tree_free(o->tree);
	ask_stop_fini(&o->stop);
	pthread_cond_destroy(&o->idle);
	pthread_mutex_destroy(&o->lock);
	free(o);
}

/* One look-up that somebody waits for. */
struct wait {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	/* guarded by lock */
	int over, err;
	struct m_lookup_r found;
};

static void waited(void *arg, int err, const struct rpc_answer *ra)
{
	struct wait *w = arg;
	struct arena a = ARENA_INIT;

	pthread_mutex_lock(&w->lock);
	w->err = err;
	if (!err)
		w->err = m_lookup_r_decode(&w->found, &a, ra->body->data,
					   ra->body->len);
	w->over = 1;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
	arena_fini(&a);
}

/* The directory @name of @dir; ends within link's timeout. */
static int step(struct ops *o, uint64_t dir, struct str name, uint64_t *out)
{
	struct m_lookup m = { .parent = dir, .name = name };
	struct wait w = { .lock = PTHREAD_MUTEX_INITIALIZER,
			  .cond = PTHREAD_COND_INITIALIZER };
	struct wr body = WR_INIT;
	int err = m_lookup_encode(&body, &m);

	if (err) {
		wr_fini(&body);
		return err;
	}
	link_call(o->link, M_lookup, &body, waited, &w);
	pthread_mutex_lock(&w.lock);
	while (!w.over)
		pthread_cond_wait(&w.cond, &w.lock);
	pthread_mutex_unlock(&w.lock);
	if (w.err)
		return w.err;
	if (!S_ISDIR(w.found.attr.mode))
		return -ENOTDIR;
	*out = w.found.attr.ino;
	return 0;
}

int ops_set_root(struct ops *o, const char *path)
{
	uint64_t ino = FUSE_ROOT_ID;
	size_t n, at = 0;
	int err;

	for (path += strspn(path, "/"); *path;
	     path += n, path += strspn(path, "/")) {
		n = strcspn(path, "/");
		if (n > MSG_NAME_MAX)
			return -ENAMETOOLONG;
		err = step(o, ino, (struct str){ path, (uint32_t)n }, &ino);
		if (err)
			return err;
		if (at + n + 2 > sizeof(o->top))
			return -ENAMETOOLONG;
		at += (size_t)snprintf(o->top + at, sizeof(o->top) - at,
				       "/%.*s", (int)n, path);
	}
	o->root = ino;
	ops_root_told(o);
	return 0;
}

/* ---------------------------------------------------------- leases' ends */

/* For a callback: the files, which stay until ops_files_done(); NULL: none. */
struct files *ops_files_use(struct ops *o)
{
	struct files *files;

	pthread_mutex_lock(&o->lock);
	files = o->files;
	o->users += files != NULL;
	pthread_mutex_unlock(&o->lock);
	return files;
}

/* What reads go by is of now before the kernel learns of a size: else it
 * would show zeros where the file has grown. */
uint32_t ops_revoked(void *arg, uint64_t *inos, uint32_t n, uint8_t also)
{
	struct ops *o = arg;
	struct files *files = ops_files_use(o);
	uint32_t open = 0;

	tree_revoked(o->tree, inos, n);
	if (files) {
		open = files_revoked(files, inos, n);
		ops_refresh(o, files, inos, n, also);
	}
	ops_kernel_revoked(o, inos, n, also);
	if (files) {
		if (ops_pages_gone(o, files, inos, open))
			ops_pages_wait(o);
		ops_files_done(o);
	}
	return open;
}

int ops_still_open(void *arg, uint64_t ino)
{
	struct ops *o = arg;
	struct files *files = ops_files_use(o);
	int open = 0;

	if (files) {
		open = files_is_open(files, ino);
		ops_files_done(o);
	}
	return open;
}

void ops_lost(void *arg, uint64_t **open, uint32_t *n_open)
{
	struct ops *o = arg;
	struct files *files = ops_files_use(o);

	tree_lost(o->tree);
	ops_refresh_lost(o);
	ops_kernel_lost(o);
	*open = NULL;
	*n_open = 0;
	if (files) {
		files_lost(files, open, n_open);
		ops_pages_gone(o, files, *open, *n_open);
		ops_files_done(o);
	}
}

void ops_attr(void *arg, const struct m_attr *a)
{
	struct ops *o = arg;
	struct files *files = ops_files_use(o);

	tree_update(o->tree, a);
	if (!files)
		return;
	ops_kernel_attr(o, a->ino, files_has_handles(files, a->ino));
	ops_files_done(o);
}

/* An orphan lives until each session said that it has it open no more: say
 * so, or let its last file_close() say so. */
void ops_name_gone(struct ops *o, uint64_t ino, uint32_t nlink)
{
	if (nlink || !ino)
		return;
	if (files_is_open(o->files, ino))
		files_revoked(o->files, &ino, 1);
	else
		link_release(o->link, ino);
}

/* ------------------------------------------------- what the kernel sees */

struct ops *ops_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

uint64_t ops_ino(const struct ops *o, fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? o->root : ino;
}

fuse_ino_t ops_fuse_ino(const struct ops *o, uint64_t ino)
{
	return ino == o->root ? FUSE_ROOT_ID : ino;
}

void ops_stat(struct ops *o, const struct m_attr *attr, struct stat *st)
{
	struct m_attr a = *attr;

	if (S_ISREG(a.mode))
		files_overlay(o->files, &a);
	atimes_overlay(o->atimes, &a);
	*st = (struct stat){
		.st_ino = ops_fuse_ino(o, a.ino),
		.st_mode = a.mode,
		.st_nlink = a.nlink,
		.st_uid = a.uid,
		.st_gid = a.gid,
		.st_rdev = a.rdev,
		.st_size = (off_t)a.size,
		.st_blksize = IO_SIZE,
		.st_blocks = (blkcnt_t)(a.stored / 512 + (a.stored % 512 > 0)),
		.st_atim = { a.atime_s, a.atime_ns },
		.st_mtim = { a.mtime_s, a.mtime_ns },
		.st_ctim = { a.ctime_s, a.ctime_ns },
	};
}

void ops_accessed(struct ops *o, uint64_t ino, int flags)
{
	struct m_attr a;

	if (o->atimes && !(flags & O_NOATIME) && !tree_attr(o->tree, ino, &a)) {
		if (S_ISREG(a.mode))
			files_overlay(o->files, &a);
		atimes_note(o->atimes, &a);
	}
}

/* The lease is looked at last: what was true then is true now. */
int ops_cached(struct ops *o, uint64_t ino, struct m_attr *out)
{
	int err = tree_attr(o->tree, ino, out);

	return link_leased(o->link) ? err : -EAGAIN;
}

int ops_cached_name(struct ops *o, uint64_t dir, const char *name,
		    struct m_attr *out)
{
	int err = tree_lookup(o->tree, dir, str_of(name), out);

	return link_leased(o->link) ? err : -EAGAIN;
}

struct listing *ops_cached_listing(struct ops *o, uint64_t dir)
{
	struct listing *l = tree_listing(o->tree, dir);

	if (link_leased(o->link))
		return l;
	listing_unref(l);
	return NULL;
}

int ops_name(char out[OPS_NAME], const char *name)
{
	size_t n = strlen(name);

	if (n > MSG_NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(out, name, n + 1);
	return 0;
}

/* ----------------------------------------------------------------- calls */

struct call *call_new(fuse_req_t req)
{
	struct call *c = calloc(1, sizeof(*c));

	if (!c) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	c->ops = ops_of(req);
	c->req = req;
	c->seen = told_now(c->ops->told);
	user_add(c->ops);
	return c;
}

void call_free(struct call *c)
{
	ops_files_done(c->ops);
	free(c);
}

static void answered(void *arg, int err, const struct rpc_answer *ra)
{
	struct call *c = arg;
	struct answer a = { .err = err, .heard = ra != NULL };

	c->unsure |= c->changes && err && !ra;
	if (!err)
		a.buf = ra->body;
	c->done(c, &a);
	arena_fini(&a.arena);
}

void call_send(struct call *c, uint16_t type, struct wr *w, call_fn done)
{
	c->done = done;
	c->changes = M_MUTATES(type);
	c->asked = tree_now(c->ops->tree);
	if (w->err) {
		int err = w->err;

		wr_fini(w);
		answered(c, err, NULL);
		return;
	}
	link_call(c->ops->link, type, w, answered, c);
}

int ops_errno(int err)
{
	switch (-err) {
	case ECANCELED:		/* we are going down */
	case EBADMSG:		/* the tracker speaks in tongues */
	case EPROTO:
	case ETIMEDOUT:
	case ENOTCONN:
		return EIO;
	default:
		return -err;
	}
}

void call_fail(struct call *c, int err)
{
	call_answered(c, fuse_reply_err(c->req, ops_errno(err)));
	call_free(c);
}

void call_reply_attr(struct call *c, const struct m_attr *a)
{
	struct stat st;

	ops_stat(c->ops, a, &st);
	fuse_reply_attr(c->req, &st, ops_attr_told(c->ops, a->ino, c->seen));
	call_free(c);
}

void ops_entry(struct ops *o, const struct m_attr *a,
	       struct fuse_entry_param *e)
{
	*e = (struct fuse_entry_param){ .ino = ops_fuse_ino(o, a->ino),
					.generation = 1 };
	ops_stat(o, a, &e->attr);
}

void call_reply_entry(struct call *c, const struct m_attr *a, int locked)
{
	struct fuse_entry_param e;

	held_named(c->ops->held, c->name, a->ino);
	ops_entry(c->ops, a, &e);
	ops_reply_entry(c, &e, locked, a->ino);
	call_free(c);
}

void call_learned(struct call *c, const struct m_attr *a)
{
	tree_put(c->ops->tree, a, c->asked);
	if (S_ISREG(a->mode))
		files_attr(c->ops->files, a);
}

void call_changed(struct call *c, const struct m_attr *a)
{
	tree_settle(c->ops->tree, a, c->asked);
	if (S_ISREG(a->mode))
		files_attr(c->ops->files, a);
}
