/*
 * peer_share -- what commands on this machine want of this peer.
 *
 * Each comes on a thread of its own (local.h), which may wait for the
 * tracker and the disk.
 */
#include <errno.h>
#include <string.h>

#include "log.h"
#include "peer_internal.h"
#include "share.h"

#define PROGRESS_MS 200		/* between two words of how far it is */

struct sharing {
	struct peer *peer;
	struct local_conn *conn;
	uint64_t next_ms;
};

static void on_changed(void *arg, uint64_t *inos, uint32_t n)
{
	const struct sharing *s = arg;
	const struct peer_folder *f = &s->peer->folder;

	if (f->revoked)
		f->revoked(f->arg, inos, n, 0);
}

static int on_progress(void *arg, uint64_t done, uint64_t total)
{
	struct m_sharing m = { .done = done, .total = total };
	struct sharing *s = arg;
	struct wr w = WR_INIT;

	if (now_ms() < s->next_ms)
		return 0;
	s->next_ms = now_ms() + PROGRESS_MS;
	m_sharing_encode(&w, &m);	/* a failure shows in w.err */
	return local_progress(s->conn, M_sharing, &w);
}

static int run(struct sharing *s, const struct local_request *r,
	       struct m_share *m, struct m_share_r *out,
	       char why[SHARE_WHY_MAX])
{
	const struct share_env env = {
		.parts = &s->peer->parts, .gate = &s->peer->gate,
		.changed = on_changed, .progress = on_progress, .arg = s,
	};

	if (r->fd < 0) {
		strcpy(why, "the file's descriptor did not come along");
		return -EINVAL;
	}
	if (r->uid) {		/* root may make files for others */
		m->uid = r->uid;
		m->gid = r->gid;
	}
	return share_file(&env, m, r->fd, out, why);
}

static void share(struct peer *p, struct local_conn *c,
		  const struct local_request *r, struct m_share *m)
{
	struct sharing s = { .peer = p, .conn = c };
	char why[SHARE_WHY_MAX] = "";
	struct m_share_r out;
	struct wr w = WR_INIT;
	int err = run(&s, r, m, &out, why);

	if (err) {
		log_info("sharing %.*s: %s", (int)m->name.len, m->name.p, why);
		local_fail(c, M_share_r, err, why);
		return;
	}
	log_info("shared %.*s: %llu bytes are held here", (int)m->name.len,
		 m->name.p, (unsigned long long)out.bytes);
	m_share_r_encode(&w, &out);	/* a failure shows in w.err */
	local_reply(c, M_share_r, &w);
}

static void on_request(void *arg, struct local_conn *c,
		       const struct local_request *r)
{
	struct arena a = ARENA_INIT;
	struct peer *p = arg;
	struct m_share m;

	if (r->type != M_share)
		local_fail(c, r->type | M_REPLY, -ENOSYS, "this peer does not "
			   "know that: install the same version of pspfs");
	else if (m_share_decode(&m, &a, r->body, r->len))
		local_fail(c, M_share_r, -EBADMSG, "that makes no sense here: "
			   "install the same version of pspfs");
	else
		share(p, c, r, &m);
	arena_fini(&a);
}

void peer_local_start(struct peer *p, const char *store_dir)
{
	const struct local_ops ops = { on_request, p };
	int err = local_open(&p->local, store_dir, &ops);

	if (err)
		log_warn("%s/" LOCAL_NAME " cannot be made (%s): pspfs share "
			 "will not find this peer", store_dir, strerror(-err));
}
