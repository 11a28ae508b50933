#include <errno.h>

#include "core_internal.h"
#include "counters.h"

/*
 * Reading.  An answer that holds attributes gives a lease; one that says
 * "there is none" gives a lease on the directory that says so.
 */

int core_lease(struct core *c, struct session *s, uint64_t ino)
{
	if (s->light || !ino)
		return 0;
	return leases_grant(c->leases, &s->holder, ino);
}

int core_serve_lookup(struct core *c, struct req *r, struct wr *w)
{
	struct m_lookup m;
	struct m_lookup_r out;
	int err, found;

	err = m_lookup_decode(&m, &r->arena, r->body, r->len);
	if (err)
		return err;
	found = ns_lookup(c->ns, m.parent, m.name, &out.attr);
	if (found && found != -ENOENT)
		return found;
	err = core_lease(c, r->session, m.parent);
	if (!err && !found)
		err = core_lease(c, r->session, out.attr.ino);
	if (err || found)
		return err ? err : found;
	return m_lookup_r_encode(w, &out);
}

int core_serve_getattr(struct core *c, struct req *r, struct wr *w)
{
	struct m_getattr m;
	struct m_getattr_r out;
	int err;

	err = m_getattr_decode(&m, &r->arena, r->body, r->len);
	if (!err)
		err = ns_getattr(c->ns, m.ino, &out.attr);
	if (!err)
		err = core_lease(c, r->session, m.ino);
	return err ? err : m_getattr_r_encode(w, &out);
}

int core_serve_readdir(struct core *c, struct req *r, struct wr *w)
{
	struct m_readdir m;
	struct m_readdir_r out = { 0 };
	int err;

	err = m_readdir_decode(&m, &r->arena, r->body, r->len);
	if (!err)
		err = ns_readdir(c->ns, &r->arena, m.ino, m.after, m.most,
				 &out);
	if (!err)
		err = core_lease(c, r->session, m.ino);
	for (uint32_t i = 0; !err && i < out.n_entries; i++)
		err = core_lease(c, r->session, out.entries[i].attr.ino);
	return err ? err : m_readdir_r_encode(w, &out);
}

int core_serve_readlink(struct core *c, struct req *r, struct wr *w)
{
	struct m_readlink m;
	struct m_readlink_r out;
	int err;

	err = m_readlink_decode(&m, &r->arena, r->body, r->len);
	if (!err)
		err = ns_readlink(c->ns, &r->arena, m.ino, &out.target);
	return err ? err : m_readlink_r_encode(w, &out);
}

int core_serve_getxattr(struct core *c, struct req *r, struct wr *w)
{
	struct m_getxattr m;
	struct m_getxattr_r out;
	int err;

	err = m_getxattr_decode(&m, &r->arena, r->body, r->len);
	if (!err)
		err = ns_getxattr(c->ns, &r->arena, m.ino, m.name, &out.value);
	/* that there is none is known, too */
	if ((!err || err == -ENODATA) && core_lease(c, r->session, m.ino))
		return -ENOMEM;
	return err ? err : m_getxattr_r_encode(w, &out);
}

int core_serve_listxattr(struct core *c, struct req *r, struct wr *w)
{
	struct m_listxattr m;
	struct m_listxattr_r out;
	int err;

	err = m_listxattr_decode(&m, &r->arena, r->body, r->len);
	if (!err)
		err = ns_listxattr(c->ns, &r->arena, m.ino, &out);
	return err ? err : m_listxattr_r_encode(w, &out);
}

int core_serve_seekmap(struct core *c, struct req *r, struct wr *w)
{
	struct m_seekmap m;
	struct m_seekmap_r out;
	int err;

	err = m_seekmap_decode(&m, &r->arena, r->body, r->len);
	if (!err)
		err = ns_seek(c->ns, &m, &out);
	if (!err)
		err = core_lease(c, r->session, m.ino);
	return err ? err : m_seekmap_r_encode(w, &out);
}

int core_serve_accessed(struct core *c, struct req *r, struct wr *w)
{
	struct m_accessed m;
	int err;

	(void)w;
	err = m_accessed_decode(&m, &r->arena, r->body, r->len);
	for (uint32_t i = 0; !err && i < m.n_inos; i++)
		err = ns_accessed(c->ns, &m.inos[i]);
	return err;
}

int core_serve_getmap(struct core *c, struct req *r, struct wr *w)
{
	struct m_getmap m;
	struct m_getmap_r out;
	int err;

	err = m_getmap_decode(&m, &r->arena, r->body, r->len);
	if (!err)
		err = ns_getmap(c->ns, &r->arena, m.ino, m.first, m.count,
				&out);
	for (uint32_t i = 0; !err && i < out.n_chunks; i++)
		err = swarm_holders(c->swarm, &r->arena, &out.chunks[i]);
	if (!err)
		err = core_lease(c, r->session, m.ino);
	if (err)
		return err;
	counter_add(CNT_LOOKUPS, out.n_chunks);
	return m_getmap_r_encode(w, &out);
}
