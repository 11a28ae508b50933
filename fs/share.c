/*
 * share -- see share.h; here: what is asked, is it possible, undoing.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"
#include "share_internal.h"

int share_why(struct share_run *r, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->why, SHARE_WHY_MAX, fmt, ap);
	va_end(ap);
	return err;
}

int share_why_asked(struct share_run *r, int err, const char *what,
		    const char *said)
{
	if (err == -ECANCELED)
		return share_why(r, err, "the peer is ending");
	if (err == -EIO && (!said || !*said))
		return share_why(r, err, "cannot %s %.255s: the tracker does "
				 "not answer: is it running?", what, r->name);
	return share_why(r, err, "cannot %s %.255s: %s", what, r->name,
			 said && *said ? said : strerror(-err));
}

int share_ask(struct share_run *r, uint16_t type, struct wr *body,
	      struct buf **out, const char *what)
{
	char said[MSG_TEXT_MAX / 4];
	int err;

	*out = NULL;
	err = ask_call(&r->ask, type, body, out, said, sizeof(said));
	return err ? share_why_asked(r, err, what, said) : 0;
}

int share_step(struct share_run *r, uint64_t bytes)
{
	r->done += bytes;
	if (gate_is_shut(r->env->gate))
		return share_why(r, -ECANCELED, "the peer is ending");
	if (r->env->progress &&
	    r->env->progress(r->env->arg, r->done, r->total))
		return share_why(r, -ECANCELED, "nobody waits for it any "
				 "more");
	return 0;
}

int share_unchanged(struct share_run *r)
{
	struct stat now;

	if (fstat(r->fd, &now))
		return share_why(r, -errno, "the file cannot be looked at: %s",
				 strerror(errno));
	if (now.st_size != r->st.st_size ||
	    now.st_mtim.tv_sec != r->st.st_mtim.tv_sec ||
	    now.st_mtim.tv_nsec != r->st.st_mtim.tv_nsec)
		return share_why(r, -ESTALE, "the file was changed while it "
				 "was read: share it again");
	return 0;
}

/* ------------------------------------------------------- storing, undoing */

static int note_put(struct share_run *r, uint64_t id)
{
	size_t cap = r->cap_puts ? 2 * r->cap_puts : 256;
	struct share_put *p;

	if (r->n_puts == r->cap_puts) {
		p = realloc(r->puts, cap * sizeof(*p));
		if (!p)
			return -ENOMEM;
		r->puts = p;
		r->cap_puts = cap;
	}
	r->puts[r->n_puts++] = (struct share_put){
		id, store_has(r->env->parts->store, id)
	};
	return 0;
}

int share_store(struct share_run *r, const struct share_piece *p, uint64_t id)
{
	struct chunk_meta m = { .chunk = id, .ino = r->ino, .slot = p->slot,
				.pos = p->pos, .len = p->len };
	int err = note_put(r, id);

	memcpy(m.md5, p->hash.job.md5, MD5_LEN);
	if (!err)
		err = store_put(r->env->parts->store, &m, p->b->data,
				COPY_REPLICA, 0);
	if (err == -ENOSPC)
		return share_why(r, err, "this peer's store is full: give it "
				 "more room with capacity=, or delete files");
	if (err)
		return share_why(r, err, "this peer's store does not take a "
				 "chunk: %s: see its log", strerror(-err));
	r->chunks++;
	r->bytes += p->len;
	return 0;
}

void share_undo_puts(struct share_run *r)
{
	const struct parts *parts = r->env->parts;

	while (r->n_puts) {
		const struct share_put *p = &r->puts[--r->n_puts];

		if (p->was == COPY_REPLICA)
			continue;
		if (p->was) {
			store_set_kind(parts->store, p->id, COPY_CACHED);
			link_have(parts->link, p->id, COPY_CACHED);
		} else if (!store_delete(parts->store, p->id)) {
			link_gone(parts->link, p->id);
		}
	}
}

/* ----------------------------------------------------------- what is asked */

static int take_name(struct share_run *r)
{
	const struct str *s = &r->m->name;

	if (!s->len || s->p[s->len - 1] == '/' || memchr(s->p, 0, s->len))
		return share_why(r, -EINVAL, "that is no name for a file: "
				 "give a path from the top of the swarm, such "
				 "as /films/film.mkv");
	memcpy(r->name, s->p, s->len);
	r->name[s->len] = 0;
	return 0;
}

static int take_range(struct share_run *r)
{
	const struct m_share *m = r->m;

	if (fstat(r->fd, &r->st))
		return share_why(r, -errno, "the file cannot be looked at: %s",
				 strerror(errno));
	if (!S_ISREG(r->st.st_mode))
		return share_why(r, -EINVAL, "it is not a regular file: only "
				 "those can be shared");
	if (m->end ? m->first >= m->end : m->first || m->part)
		return share_why(r, -EINVAL, "the range %" PRIu64 "-%" PRIu64
				 " makes no sense: it is FIRST-END, END not "
				 "in it", m->first, m->end);
	r->base = m->part ? m->first : 0;
	if (m->part && (uint64_t)r->st.st_size != m->end - m->first)
		return share_why(r, -EINVAL, "the file has %" PRIu64 " bytes, "
				 "the range %" PRIu64 ": it must hold the "
				 "range, or the whole file",
				 (uint64_t)r->st.st_size, m->end - m->first);
	return 0;
}

static int is_whole(const struct share_run *r)
{
	const struct m_share *m = r->m;

	return !m->part && (!m->end || (!m->first && m->end ==
					(uint64_t)r->st.st_size));
}

static int share(struct share_run *r, struct m_share_r *out)
{
	struct m_attr at;
	int err = take_name(r);

	if (!err)
		err = take_range(r);
	if (err)
		return err;
	err = layout_find(&r->ask, r->name, &at);
	if (err == -ENOENT && !is_whole(r))
		return share_why(r, -EPERM, "%.255s is not in the swarm, and "
				 "only a peer that has the whole file can "
				 "create it: share it whole first, without a "
				 "range", r->name);
	if (err == -ENOENT)
		return share_new(r, out);
	if (err)
		return share_why_asked(r, err, "look up", NULL);
	if (!S_ISREG(at.mode))
		return share_why(r, S_ISDIR(at.mode) ? -EISDIR : -EEXIST,
				 "%.255s is a %s in the swarm: give another "
				 "name", r->name, S_ISDIR(at.mode)
				 ? "directory" : "special file");
	r->ino = at.ino;
	return share_match(r, out);
}

int share_file(const struct share_env *env, const struct m_share *m, int fd,
	       struct m_share_r *out, char why[SHARE_WHY_MAX])
{
	struct share_run *r = calloc(1, sizeof(*r));
	int err;

	*why = 0;
	*out = (struct m_share_r){ 0 };
	if (!r)
		return -ENOMEM;
	r->env = env;
	r->m = m;
	r->fd = fd;
	r->why = why;
	r->ask = ask_link(env->parts->link);
	batch_init(&r->batch);
	err = share(r, out);
	batch_clear(r);
	if (err)
		share_undo_puts(r);
	batch_fini(&r->batch);
	free(r->puts);
	free(r);
	if (err && !*why)
		snprintf(why, SHARE_WHY_MAX, "%s", strerror(-err));
	return err;
}
