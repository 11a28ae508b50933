/* Replicate: how many copies a file is to have, and how far its peers are. */
#include <errno.h>
#include <sys/stat.h>

#include "core_internal.h"

#define COPIES_MOST 16		/* short of one at every peer */

static int check(struct core *c, struct req *r, const struct m_replicate *m,
		 struct m_attr *attr)
{
	int err = ns_getattr(c->ns, m->ino, attr);

	if (err == -ENOENT)
		return core_refuse(r, ST_NOENT, "there is no such file (any "
				   "more)");
	if (err)
		return err;
	if (S_ISDIR(attr->mode))
		return core_refuse(r, ST_ISDIR, "it is a directory: name the "
				   "files in it");
	if (!S_ISREG(attr->mode))
		return core_refuse(r, ST_INVAL, "it is no regular file: there "
				   "is nothing to copy");
	if (!m->copies ||
	    (m->copies > COPIES_MOST && m->copies != MSG_COPIES_ALL))
		return core_refuse(r, ST_INVAL, "%u copies cannot be had: 1 "
				   "to %d, or one at every peer", m->copies,
				   COPIES_MOST);
	if (m->via > VIA_TRACKER)
		return core_refuse(r, ST_INVAL, "this tracker does not know "
				   "the way %u: install the same version of "
				   "pspfs", m->via);
	return 0;
}

int core_serve_replicate(struct core *c, struct req *r, struct wr *w)
{
	struct m_replicate_r out = { 0 };
	struct m_replicate m;
	struct m_attr attr;
	int err;

	err = m_replicate_decode(&m, &r->arena, r->body, r->len);
	if (!err)
		err = check(c, r, &m, &attr);
	if (err)
		return err;
	if (m.copies == MSG_COPIES_ALL)
		err = jobs_complete(c->jobs, m.ino, m.via, attr.stored,
				    &out.job);
	else
		err = jobs_copies(c->jobs, m.ino, m.copies);
	if (err == -EBUSY)
		return core_refuse(r, ST_BUSY, "%d files are being replicated "
				   "already: try again when one is done",
				   JOBS_MAX);
	return err ? err : m_replicate_r_encode(w, &out);
}

int core_serve_job(struct core *c, struct req *r, struct wr *w)
{
	struct m_job m;
	struct m_job_r out;
	int err;

	err = m_job_decode(&m, &r->arena, r->body, r->len);
	if (!err)
		err = jobs_get(c->jobs, m.job, &r->arena, &out);
	if (err == -ENOENT)
		return core_refuse(r, ST_NOENT, "this tracker does not know "
				   "the job (any more): if it was started "
				   "anew meanwhile, replicate again");
	return err ? err : m_job_r_encode(w, &out);
}

int core_serve_progress(struct core *c, struct req *r, struct wr *w)
{
	struct m_progress m;
	int err;

	(void)w;
	err = m_progress_decode(&m, &r->arena, r->body, r->len);
	if (!err)
		jobs_progress(c->jobs, r->session->peer->num, &m, c->now.ms);
	return err;
}

/* A step of the setting that is first in line.  A file that is gone, or was
 * replaced by something else, wants nothing more. */
static int set_some(struct core *c)
{
	struct jobs_set set;
	int more;

	if (!jobs_setting(c->jobs, &set))
		return 0;
	more = ns_set_copies(c->ns, set.ino, &set.at, set.copies);
	if (more == -ENOENT || more == -EISDIR || more == -EINVAL)
		more = 0;
	if (more < 0)
		return more;
	jobs_set_done(c->jobs, set.at, more, c->now.ms);
	if (!more)
		repair_poke(c->repair);
	return 0;
}

int core_jobs_tick(struct core *c)
{
	int err = jobs_tick(c->jobs, c->now.ms);

	return err ? err : set_some(c);
}
