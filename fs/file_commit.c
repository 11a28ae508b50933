/*
 * file_commit -- uploaded extents become slices at the tracker.
 *
 * One commit is under way per file, so that slices are pushed in the order
 * of sealing.  It takes what is uploaded from the front of the list.  It is
 * not worth one for each chunk of a stream: one is due when somebody waits
 * for all that is uploaded, when much is ready, or when memory is short.
 *
 * Happy path: file_commit_start() picks and encodes, file_commit_send()
 * sends, answered() puts the slices into the cached map, drops the extents
 * and lets file_advance() go on.
 * Failure: whether it was applied is unknown: map and extents are dropped,
 * the error is kept.  But -EBUSY is the tracker's word that a slot would have
 * had too many slices, and nothing was applied: the commit stays under way
 * while its slots are compacted, and is sent again, as a new request.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "counters.h"
#include "file_internal.h"
#include "log.h"

struct commit {
	struct file *f;
	struct wr body;
	int err;		/* it could not even be encoded */
	uint32_t n;		/* extents, from the front */
	int sync;
	uint64_t term;		/* of the lease, when it was made */
	uint64_t only;		/* the version it is for; 0: any */
	int clear_suid;

	/* it was refused, slots were full */
	unsigned tries;
	struct pieces *full;	/* which may be meant: its own slots */
	uint32_t n_full, at_full;
	uint64_t size;		/* of the file, as last heard; 0: not */
};

/* ------------------------------------------------------------------ when */

static uint64_t many_bytes(const struct files *fs)
{
	uint64_t quarter = fs->cfg.dirty_max / 4;

	return quarter < FILE_COMMIT_BYTES ? quarter : FILE_COMMIT_BYTES;
}

/* Does somebody wait for what is ready, and nothing else? */
static int is_waited_for(const struct file *f)
{
	uint64_t up_to = file_uploaded_to(f);
	uint64_t first = f->n_ready ? TAILQ_FIRST(&f->extents)->seq
				    : UINT64_MAX;
	const struct waiter *w;

	if (f->want_seq >= first && f->want_seq <= up_to)
		return 1;
	TAILQ_FOREACH(w, &f->waiters, next) {
		if (w->phase == W_COMMIT)
			return 1;
		if (w->phase == W_DATA && w->seq >= first && w->seq <= up_to)
			return 1;
	}
	return 0;
}

static int is_due(struct file *f)
{
	if (f->committing)
		return 0;
	if (f->n_ready && (f->n_ready >= FILE_COMMIT_MANY ||
			   f->ready_bytes >= many_bytes(f->fs)))
		return 1;
	return is_waited_for(f) || (f->n_ready && files_pressed(f->fs));
}

/* How many to take: a group of joined appends whole or not at all.  *@up_to:
 * with them all extents up to this one are committed. */
static uint32_t pick(const struct file *f, uint64_t *up_to)
{
	const struct extent *e = TAILQ_FIRST(&f->extents);
	uint32_t n = 0, whole = 0;

	*up_to = e ? e->seq - 1 : f->seq;
	for (; e && n < f->n_ready && n < MSG_PUSHES_MAX;
	     e = TAILQ_NEXT(e, all)) {
		if (whole == n && n >= FILE_COMMIT_MAX)
			break;
		n++;
		if (e->joined)
			continue;
		whole = n;
		*up_to = e->seq;
	}
	if (whole == f->n_ready)
		*up_to = file_uploaded_to(f);
	return whole;
}

/* -------------------------------------------------------------------- out */

static void to_push(const struct extent *e, struct m_push *p)
{
	*p = (struct m_push){
		.append = !e->slot,
		.slot = e->off / e->f->slot_size,
		.pos = e->off % e->f->slot_size,
		.len = e->len,
		.chunk = e->stored.chunk,
		.off = e->at,
		.chunk_len = e->stored.len,
		.stored = (uint32_t *)e->stored.nums,
		.n_stored = e->stored.n,
	};
	memcpy(p->md5, e->stored.md5, sizeof(p->md5));
}

/*
 * The lease under which it was written has ended (this machine was frozen, or
 * cut off): others did not wait for us, and what they wrote since is newer.
 * It may go only on top of what was there then.  Appends go behind whatever
 * is there.
 */
static uint64_t fence(const struct file *f, const struct commit *c)
{
	const struct extent *e = TAILQ_FIRST(&f->extents);

	if (c->term && c->term == f->term)
		return 0;
	for (uint32_t i = 0; i < c->n; i++, e = TAILQ_NEXT(e, all))
		if (e->slot)
			return f->base;
	return 0;
}

/* What is still uncommitted lies on top of that commit. */
static void unfence(struct file *f, const struct commit *c,
		    const struct m_commit_r *m)
{
	if (!c->only && c->term != f->term)
		return;
	f->base = m->attr.version;
	f->term = c->term;
}

static int encode(struct file *f, struct commit *c)
{
	struct m_commit m = { .ino = f->ino, .sync = c->sync,
			      .clear_suid = (uint8_t)c->clear_suid };
	const struct extent *e = TAILQ_FIRST(&f->extents);
	int err;

	c->only = m.only = fence(f, c);
	m.pushes = calloc(c->n + 1, sizeof(*m.pushes));
	if (!m.pushes)
		return -ENOMEM;
	for (; m.n_pushes < c->n; e = TAILQ_NEXT(e, all)) {
		to_push(e, &m.pushes[m.n_pushes++]);
		m.mtime_s = e->mtime_s;
		m.mtime_ns = e->mtime_ns;
	}
	err = m_commit_encode(&c->body, &m);
	free(m.pushes);
	return err;
}

/* The fsyncs that this commit ends. */
static int take_fsyncs(struct file *f, uint64_t up_to)
{
	struct waiter *w;
	int any = 0;

	TAILQ_FOREACH(w, &f->waiters, next)
		if (w->phase == W_COMMIT && w->seq <= up_to) {
			w->phase = W_COMMITTING;
			any = 1;
		}
	return any;
}

static void forget_ready(struct file *f, uint32_t n)
{
	const struct extent *e = TAILQ_FIRST(&f->extents);

	f->n_ready -= n;
	for (; n; n--, e = TAILQ_NEXT(e, all))
		f->ready_bytes -= e->len;
}

/* ----------------------------------------------------------------- answer */

/* Those not yet committed are, tentatively, behind where it really went. */
static void shift_appends(struct file *f, int64_t by)
{
	struct extent *e;

	if (!by)
		return;
	TAILQ_FOREACH(e, &f->extents, all)
		if (!e->slot)
			e->off += by;
	f->append_off += by;
}

/* The map after the commit, if we know what it was before. */
static void follow(struct file *f, const struct commit *c,
		   const struct m_commit_r *m)
{
	struct extent *e = TAILQ_FIRST(&f->extents);

	if (m->attr.version <= f->attr.version && c->n)
		return;		/* a getmap that was answered later */
	if (m->before != f->attr.version) {
		file_attr_newer(f, &m->attr);
		return;
	}
	for (uint32_t i = 0; i < c->n; i++, e = TAILQ_NEXT(e, all))
		file_map_push(f, e, m->placed[i]);
	file_map_stamp(f, &m->attr);
}

static void drop_extents(struct file *f, const struct commit *c,
			 const uint64_t *placed, struct todo *t)
{
	struct extent *e;
	int64_t by = 0;

	for (uint32_t i = 0; i < c->n; i++) {
		e = TAILQ_FIRST(&f->extents);
		if (!e->slot && placed)
			by = (int64_t)(placed[i] - e->off);
		file_extent_end(e, &t->freed);
	}
	shift_appends(f, by);
	file_local_end(f);
}

static void end_fsyncs(struct file *f)
{
	struct waiter *w;

	TAILQ_FOREACH(w, &f->waiters, next)
		if (w->phase == W_COMMITTING)
			w->phase = W_DONE;
}

static void applied(struct file *f, const struct commit *c, int err,
		    const struct m_commit_r *m, struct todo *t)
{
	struct spell_end full;

	f->committing = 0;
	if (err) {
		/* the file has changed, or the session did: no such error of
		 * close(2) and fsync(2) */
		if (err == -ESTALE)
			err = -EIO;
		file_fail(f, err, c->only ? "another mount changed the file "
					    "while this one was away"
					  : "it could not be committed");
		file_map_drop(f);
		drop_extents(f, c, NULL, t);
	} else {
		counter_add(CNT_COMMITS, 1);
		if (c->n && spell_over(&f->fs->full, &full))
			log_info("files are written again: %u errors for want "
				 "of room, in %llu s", full.n, full.s);
		follow(f, c, m);
		unfence(f, c, m);
		drop_extents(f, c, m->placed, t);
		t->has_attr = 1;
		t->attr = m->attr;
	}
	end_fsyncs(f);
	file_advance(f, t);
}

/* Who waits is told; what it was about is lost. */
static void no_memory(struct file *f, struct todo *t)
{
	struct commit c = { .f = f };
	uint64_t up_to;

	c.n = pick(f, &up_to);
	if (!take_fsyncs(f, up_to) && !c.n)
		return;
	forget_ready(f, c.n);
	applied(f, &c, -ENOMEM, NULL, t);
}

void file_commit_start(struct file *f, struct todo *t)
{
	struct commit *c;
	uint64_t up_to;

	if (!is_due(f))
		return;
	c = calloc(1, sizeof(*c));
	if (!c) {
		if (is_waited_for(f))
			no_memory(f, t);
		return;		/* else the clock tries again */
	}
	c->f = f;
	c->term = t->term;
	c->n = pick(f, &up_to);
	c->sync = take_fsyncs(f, up_to);
	if (!c->n && !c->sync) {
		free(c);
		return;
	}
	file_get(f);
	c->clear_suid = f->kill_suid;
	c->err = f->fenced ? -EIO : encode(f, c);
	f->kill_suid = 0;
	f->committing = 1;
	forget_ready(f, c->n);
	t->commit = c;
}

/* ------------------------------------------------------------- full slots */

static void full_add(struct commit *c, uint64_t slot)
{
	for (uint32_t i = c->n_full; i; i--)
		if (c->full[i - 1].slot == slot) {
			c->full[i - 1].slices++;
			return;
		}
	c->full[c->n_full++] = (struct pieces){ slot, 1, 1 };
}

/* The slots that it goes to, as far as is known where the file ends. */
static int full_list(struct commit *c)
{
	const struct extent *e = TAILQ_FIRST(&c->f->extents);
	uint64_t size = c->size ? c->size : c->f->attr.size, at, first, last;

	c->full = calloc(2 * (size_t)c->n, sizeof(*c->full));
	if (!c->full)
		return -ENOMEM;
	c->n_full = c->at_full = 0;
	for (uint32_t i = 0; i < c->n; i++, e = TAILQ_NEXT(e, all)) {
		at = e->slot ? e->off : size;
		first = at / c->f->slot_size;
		last = (at + e->len - 1) / c->f->slot_size;
		full_add(c, first);
		if (last != first)
			full_add(c, last);
		if (size < at + e->len)
			size = at + e->len;
	}
	return 0;
}

/* The extents are the same, but it may have to be fenced meanwhile. */
static void send_again(struct commit *c)
{
	struct file *f = c->f;
	uint64_t term = link_term(f->fs->cfg.link);

	free(c->full);
	c->full = NULL;
	pthread_mutex_lock(&f->lock);
	c->term = term;
	c->err = f->fenced ? -EIO : encode(f, c);
	pthread_mutex_unlock(&f->lock);
	file_commit_send(c);
}

/* One after the other.  That one could not be compacted need not matter: it
 * was another that was full, or somebody else did it. */
static void make_room(void *arg, uint64_t size)
{
	struct commit *c = arg;

	if (size)
		c->size = size;
	if (c->at_full < c->n_full)
		file_compact_full(c->f, &c->full[c->at_full++], make_room, c);
	else
		send_again(c);
}

/* 1: it will be sent again. */
static int was_full(struct commit *c, int err)
{
	if (err != -EBUSY || !c->n || c->tries == FILE_COMMIT_TRIES)
		return 0;
	c->tries++;
	pthread_mutex_lock(&c->f->lock);
	err = full_list(c);
	pthread_mutex_unlock(&c->f->lock);
	if (err)
		return 0;
	make_room(c, 0);
	return 1;
}

/* ---------------------------------------------------------------- the end */

static void answered(void *arg, int err, const struct rpc_answer *a)
{
	struct arena arena = ARENA_INIT;
	struct m_commit_r m = { 0 };
	struct commit *c = arg;
	struct file *f = c->f;
	struct todo t;

	if (was_full(c, err))
		return;
	if (!err)
		err = m_commit_r_decode(&m, &arena, a->body->data,
					a->body->len);
	if (!err && (m.n_placed != c->n || m.attr.ino != f->ino ||
		     m.attr.slot_size != f->slot_size))
		err = -EBADMSG;
	file_todo_init(f, &t);
	t.unsure = err && !a;
	pthread_mutex_lock(&f->lock);
	applied(f, c, err, &m, &t);
	m.n_deep = err ? 0 : file_pieces_due(f, m.deep, m.n_deep);
	pthread_mutex_unlock(&f->lock);
	file_todo_run(f, &t);
	if (m.n_deep)
		file_compact(f, m.deep, m.n_deep);
	arena_fini(&arena);
	file_put(f);
	free(c);
}

void file_commit_send(struct commit *c)
{
	if (c->err) {
		wr_fini(&c->body);
		answered(c, c->err, NULL);
		return;
	}
	link_call(c->f->fs->cfg.link, M_commit, &c->body, answered, c);
}
