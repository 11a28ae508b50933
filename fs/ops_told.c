/*
 * ops_told -- how long the kernel may believe an answer, and telling it when
 * that ends earlier (see told.h).
 *
 * Happy path: a revocation publishes what is new in the tree; then
 * ops_kernel_revoked() ends the kernel's belief in attributes (which waits
 * for nothing) and in names, and returns; then it is acknowledged.
 *
 * Ending the belief in a name takes the lock of its directory, which a change
 * of our own holds while it waits for the tracker, which may wait for another
 * mount's acknowledgement, which waits as we do: a circle.  So a thread of
 * its own takes the lock; when it has not come back in TELL_MS the kernel is
 * told to ask about every name again, which takes no lock, and the
 * acknowledgement goes.
 *
 * By the owner of a file the kernel refuses calls without asking.  It learns
 * a new one as it looks the file's name up: so when that has changed it is to
 * ask about every name again.
 *
 * An answer may be on its way into the kernel when its inode is revoked: the
 * kernel does not know the inode yet, and would take it in afterwards.  It
 * holds the directory's lock meanwhile: so we take that, and say it again.
 * And an answer that only makes sure of a known entry is taken in without
 * any lock: there the thread that asked is waited for.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "container.h"
#include "kernel.h"
#include "ops_call.h"
#include "text.h"
#include "thread.h"

enum {
	TOLD_MOST = 131072,	/* names, and inodes */
	TELL_MS = 100,
	TELL_ALL_MS = 1000,	/* when all leases are void */
};

/* A list on its way to the kernel. */
struct tell {
	struct pool_work work;
	struct ops *ops;
	struct told_list list;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	/* guarded by lock */
	int refs, over;
};

int ops_told_init(struct ops *o)
{
	int err = told_new(&o->told, TOLD_MOST);
	pthread_rwlockattr_t attr;

	/* a revocation is not to wait for ever new look-ups */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(
		&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&o->answering, &attr);
	pthread_rwlockattr_destroy(&attr);
	if (!err)
		err = pool_new(&o->teller, "teller", 1);
	return err;
}

void ops_told_fini(struct ops *o)
{
	if (o->teller)
		pool_free(o->teller);
	told_free(o->told);
	pthread_rwlock_destroy(&o->answering);
}

/* ------------------------------------------------------ what it may believe */

static struct told_answer answer_of(struct ops *o, uint64_t seen, pid_t tid)
{
	return (struct told_answer){ seen, now_ms(),
				     link_leased_until(o->link), tid };
}

static double seconds(const struct told_answer *a)
{
	return (double)(a->until_ms - a->now_ms) / 1e3;
}

void ops_entry_told(struct ops *o, uint64_t dir, struct str name, int locked,
		    uint64_t seen, pid_t tid, uint64_t ino,
		    struct fuse_entry_param *e)
{
	struct told_answer a = answer_of(o, seen, tid);
	int what = told_entry(o->told, dir, name, ino, locked, &a);

	ops_refresh_asked(o, ino, 0);
	e->entry_timeout = what & TOLD_NAME && kernel_takes_entries()
				   ? seconds(&a)
				   : 0;
	e->attr_timeout = what & TOLD_ATTR ? seconds(&a) : ops_attr_tick(o);
}

void ops_reply_entry(struct call *c, struct fuse_entry_param *e, int locked,
		     uint64_t ino)
{
	struct ops *o = c->ops;
	int err;

	pthread_rwlock_rdlock(&o->answering);
	ops_entry_told(o, c->parent, str_of(c->name), locked, c->seen,
		       fuse_req_ctx(c->req)->pid, ino, e);
	err = fuse_reply_entry(c->req, e);
	pthread_rwlock_unlock(&o->answering);
	if (err == -ENOENT)
		told_forget(o->told, ino, 1);
	call_answered(c, err);
}

/* Answers that were noted before are with the kernel after. */
static void answered(struct ops *o)
{
	pthread_rwlock_wrlock(&o->answering);
	pthread_rwlock_unlock(&o->answering);
}

int ops_attr_noted(struct ops *o, uint64_t ino, uint64_t seen)
{
	struct told_answer a = answer_of(o, seen, 0);

	return told_attr(o->told, ino, &a) != 0;
}

double ops_attr_told(struct ops *o, uint64_t ino, uint64_t seen)
{
	struct told_answer a = answer_of(o, seen, 0);

	return told_attr(o->told, ino, &a) ? seconds(&a) : ops_attr_tick(o);
}

double ops_attr_tick(const struct ops *o)
{
	return link_leased(o->link) ? OPS_ATTR_US / 1e6 : 0;
}

void ops_root_told(struct ops *o)
{
	const struct told_answer none = { 0 };

	told_entry(o->told, 0, str_of(""), o->root, 0, &none);
}

void ops_entry_moved(struct ops *o, uint64_t dir, struct str name,
		     uint64_t newdir, struct str newname, int exchange)
{
	if (told_moved(o->told, dir, name, newdir, newname, exchange))
		kernel_entries_gone();
}

/* ----------------------------------------------------------- telling it */

static void tell_unref(struct tell *t)
{
	int refs;

	pthread_mutex_lock(&t->lock);
	refs = --t->refs;
	pthread_mutex_unlock(&t->lock);
	if (refs)
		return;
	told_list_fini(&t->list);
	pthread_cond_destroy(&t->cond);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

/* Names on their way into the kernel when it was told: again, once those who
 * asked have gone on. */
static void tell_again(struct tell *t)
{
	struct told_next n = { .at = NULL };
	int patience = TELL_MS;

	while (told_list_next(&t->list, &n)) {
		if (!n.tid)
			continue;
		if (!thread_goes_on(n.tid, &patience))
			kernel_entries_gone();
		kernel_entry_gone(ops_fuse_ino(t->ops, n.dir), n.name);
	}
}

static void tell_run(struct pool_work *w)
{
	struct tell *t = container_of(w, struct tell, work);
	struct told_next n = { .at = NULL };

	for (size_t i = 0; i < t->list.n_attrs; i++)
		kernel_attr_gone(ops_fuse_ino(t->ops, t->list.attrs[i].ino));
	while (told_list_next(&t->list, &n))
		kernel_entry_gone(ops_fuse_ino(t->ops, n.dir), n.name);
	tell_again(t);
	for (size_t i = 0; i < t->list.n_attrs; i++) {
		const struct told_attr *a = &t->list.attrs[i];

		if (!a->dir)
			continue;
		kernel_entry_gone(ops_fuse_ino(t->ops, a->dir), ".");
		kernel_attr_gone(ops_fuse_ino(t->ops, a->ino));
	}
	pthread_mutex_lock(&t->lock);
	t->over = 1;
	pthread_cond_signal(&t->cond);
	pthread_mutex_unlock(&t->lock);
	tell_unref(t);
}

static int tell_wait(struct tell *t, uint32_t ms)
{
	struct timespec end;
	int err = 0, over;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += ms / 1000;
	end.tv_nsec += (long)(ms % 1000) * 1000000;
	if (end.tv_nsec >= 1000000000) {
		end.tv_sec++;
		end.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&t->lock);
	while (!t->over && !err)
		err = pthread_cond_timedwait(&t->cond, &t->lock, &end);
	over = t->over;
	pthread_mutex_unlock(&t->lock);
	return over;
}

static struct tell *tell_new(struct ops *o, struct told_list *list)
{
	struct tell *t = calloc(1, sizeof(*t));
	pthread_condattr_t attr;

	if (!t)
		return NULL;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&t->cond, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&t->lock, NULL);
	t->work.fn = tell_run;
	t->ops = o;
	t->refs = 1;
	told_list_init(&t->list);
	STAILQ_CONCAT(&t->list.names, &list->names);
	t->list.n_names = list->n_names;
	t->list.attrs = list->attrs;
	t->list.n_attrs = list->n_attrs;
	told_list_init(list);
	return t;
}

/* Takes what is in @list; @ms 0: nobody waits. */
static void tell(struct ops *o, struct told_list *list, uint32_t ms)
{
	struct tell *t;

	if (!list->n_names && !list->n_attrs)
		return;
	t = tell_new(o, list);
	if (!t) {
		kernel_entries_gone();
		return;
	}
	t->refs += ms != 0;
	pool_run(o->teller, &t->work);
	if (!ms)
		return;
	if (!tell_wait(t, ms))
		kernel_entries_gone();
	tell_unref(t);
}

/* Of the attributes only those are left that the kernel does not know. */
static void attrs_gone(struct ops *o, const uint64_t *inos, uint32_t n,
		       struct told_list *list)
{
	size_t left = 0, at = 0;

	for (uint32_t i = 0; i < n; i++) {
		int err = kernel_attr_gone(ops_fuse_ino(o, inos[i]));

		/* the list has a part of @inos, in their order */
		if (at == list->n_attrs || list->attrs[at].ino != inos[i])
			continue;
		if (err == -ENOENT && list->attrs[at].dir)
			list->attrs[left++] = list->attrs[at];
		at++;
	}
	list->n_attrs = left;
}

/* ------------------------------------------------------- sizes, before that */

/*
 * A look that began after the last change returned, and is under way, is to
 * lose its answer, and goes by the size that the kernel has.
 *
 * Learned are the sizes of which nobody asked since: these need not be
 * learned again.  (Or else we would get the lease back each time, for
 * nobody.)
 */
static _Atomic uint64_t *learned(struct ops *o, uint64_t ino)
{
	return &o->learned[ino % OPS_LEARNED];
}

static int unlearn(struct ops *o, uint64_t ino)
{
	uint64_t was = ino;

	return *learned(o, ino) == ino &&
	       atomic_compare_exchange_strong(learned(o, ino), &was, 0);
}

int ops_refresh_asked(struct ops *o, uint64_t ino, pid_t pid)
{
	if (o->refresher && pid == refresher_pid(o->refresher))
		return 1;
	unlearn(o, ino);
	return 0;
}

/* The owner of what is reached without a name, too: by a descriptor, or as
 * the working directory. */
void ops_refresh(struct ops *o, struct files *files, const uint64_t *inos,
		 uint32_t n, uint8_t also)
{
	uint64_t until_ms = now_ms() + OPS_REFRESH_MS;
	int owner = also & REVOKE_OWNER;

	for (uint32_t i = 0; o->refresher && i < n; i++) {
		int pages = files_has_pages(files, inos[i]);

		if ((unlearn(o, inos[i]) || !pages) && !owner)
			continue;
		if (!refresher_attrs(o->refresher, ops_fuse_ino(o, inos[i]),
				     pages, until_ms) && pages)
			*learned(o, inos[i]) = inos[i];
	}
}

void ops_refresh_lost(struct ops *o)
{
	for (int i = 0; i < OPS_LEARNED; i++)
		o->learned[i] = 0;
}

void ops_use_refresher(struct ops *o, struct refresher *refresher)
{
	o->refresher = refresher;
}

/* A directory that is elsewhere now, among these. */
static void places_gone(struct ops *o, const uint64_t *inos, uint32_t n)
{
	uint64_t until_ms = now_ms() + OPS_REFRESH_MS;

	for (uint32_t i = 0; o->refresher && i < n; i++)
		refresher_place(o->refresher, ops_fuse_ino(o, inos[i]),
				until_ms);
}

void ops_kernel_revoked(struct ops *o, const uint64_t *inos, uint32_t n,
			uint8_t also)
{
	struct told_list list;

	told_list_init(&list);
	if (told_revoked(o->told, inos, n, now_ms(), &list) ||
	    (also & REVOKE_NAMES && kernel_takes_entries()))
		kernel_entries_gone();
	answered(o);
	attrs_gone(o, inos, n, &list);
	tell(o, &list, TELL_MS);
	told_list_fini(&list);
	if (also & REVOKE_MOVED)
		places_gone(o, inos, n);
}

/* The tracker may make a change yet that was given up.  Our own ends no lease
 * of ours: what it would alter is not believed from now on.  What is asked now
 * comes to the tracker after it. */
static void unsure(struct ops *o, uint64_t *inos, uint32_t n)
{
	struct files *files = ops_files_use(o);

	for (uint32_t i = 0; i < n; i++)
		tree_touch(o->tree, inos[i]);
	if (!files)
		return;
	files_revoked(files, inos, n);
	ops_files_done(o);
}

void ops_unsure(void *arg, uint64_t ino)
{
	struct told_list list;
	struct ops *o = arg;
	uint64_t its = ino;

	unsure(o, &its, 1);
	told_list_init(&list);
	if (told_revoked(o->told, &ino, 1, now_ms(), &list))
		kernel_entries_gone();
	tell(o, &list, 0);
	told_list_fini(&list);
}

void call_answered(struct call *c, int err)
{
	const uint64_t may[] = { c->ino, c->parent, c->newparent, c->moved };
	struct told_list list;
	uint64_t inos[4];
	size_t n = 0;

	if (err != -ENOENT && !c->unsure)
		return;
	for (size_t i = 0; i < 4; i++)
		if (may[i])
			inos[n++] = may[i];
	told_list_init(&list);
	if (told_revoked(c->ops->told, inos, n, now_ms(), &list))
		kernel_entries_gone();
	tell(c->ops, &list, 0);
	told_list_fini(&list);
	if (c->unsure)
		unsure(c->ops, inos, n);
}

void ops_kernel_lost(struct ops *o)
{
	struct told_list list;

	told_list_init(&list);
	if (told_all(o->told, now_ms(), &list))
		kernel_entries_gone();
	answered(o);
	tell(o, &list, TELL_ALL_MS);
	told_list_fini(&list);
}

void ops_kernel_changed(struct ops *o, uint64_t ino)
{
	kernel_attr_gone(ops_fuse_ino(o, ino));
}

void ops_kernel_attr(struct ops *o, uint64_t ino, int open)
{
	struct told_list list;

	/* The kernel keeps the inode of an open file: we cannot meet it as it
	 * goes, which would wait for reads that wait for this thread. */
	if (open) {
		kernel_attr_gone(ops_fuse_ino(o, ino));
		return;
	}
	if (!told_untell(o->told, ino))
		return;
	told_list_init(&list);
	list.attrs = malloc(sizeof(*list.attrs));
	if (list.attrs)
		list.attrs[list.n_attrs++] = (struct told_attr){ .ino = ino };
	tell(o, &list, 0);
	told_list_fini(&list);
}
