/*
 * link_push -- what the tracker asks of this peer.
 */
#include <errno.h>
#include <stdlib.h>

#include "container.h"
#include "counters.h"
#include "link_internal.h"
#include "log.h"

static int on_peers(struct link *l, struct rpc_req *q, struct arena *a)
{
	struct m_peers m;
	int err = m_peers_decode(&m, a, q->body->data, q->body->len);

	if (!err)
		l->ops.peers(l->arg, m.peers, m.n_peers);
	return err;
}

struct revoke {
	struct pool_work work;
	struct link *link;
	struct rpc_req *req;
};

static void answer_revoke(struct link *l, struct rpc_req *q)
{
	struct arena mem = ARENA_INIT;
	struct wr answer = WR_INIT;
	struct m_revoke m;
	struct m_revoke_r r;
	int err = m_revoke_decode(&m, &mem, q->body->data, q->body->len);

	if (!err) {
		counter_add(CNT_REVOKES, m.n_inos);
		r.n_open = l->ops.revoked(l->arg, m.inos, m.n_inos, m.also);
		r.open = m.inos;
		err = m_revoke_r_encode(&answer, &r);
	}
	if (err)
		rpc_fail(q, err, "revoke cannot be served");
	else
		rpc_reply(q, &answer, NULL);
	wr_fini(&answer);
	arena_fini(&mem);
}

static void run_revoke(struct pool_work *w)
{
	struct revoke *r = container_of(w, struct revoke, work);

	answer_revoke(r->link, r->req);
	free(r);
}

static void on_revoke(struct link *l, struct rpc_req *q)
{
	struct revoke *r = malloc(sizeof(*r));

	if (!r) {
		rpc_fail(q, -ENOMEM, "no memory");
		return;
	}
	*r = (struct revoke){ .work.fn = run_revoke, .link = l, .req = q };
	pool_run(l->revoker, &r->work);
}

static int on_drop(struct link *l, struct rpc_req *q, struct arena *a,
		   struct wr *answer)
{
	struct m_drop m;
	struct m_drop_r r = { 0 };
	int err = m_drop_decode(&m, a, q->body->data, q->body->len);

	if (err)
		return err;
	l->ops.drop(l->arg, m.chunks, m.n_chunks);
	return m_drop_r_encode(answer, &r);
}

/* Answered by the one who copies, when it is done. */
static void on_copy(struct link *l, struct rpc_req *q)
{
	struct arena mem = ARENA_INIT;
	struct m_copy m;

	if (m_copy_decode(&m, &mem, q->body->data, q->body->len))
		rpc_fail(q, -EBADMSG, "not a copy request");
	else
		l->ops.copy(l->arg, &m, q);
	arena_fini(&mem);
}

static void on_sum(struct link *l, struct rpc_req *q)
{
	struct arena mem = ARENA_INIT;
	struct m_sum m;

	if (m_sum_decode(&m, &mem, q->body->data, q->body->len))
		rpc_fail(q, -EBADMSG, "not a request for an MD5");
	else if (!l->ops.sum)
		rpc_fail(q, -EOPNOTSUPP, "no files are read here");
	else
		l->ops.sum(l->arg, &m, q);
	arena_fini(&mem);
}

static int on_locked(struct link *l, struct rpc_req *q, struct arena *a)
{
	struct m_locked m;
	int err = m_locked_decode(&m, a, q->body->data, q->body->len);

	if (!err && l->ops.locked)
		l->ops.locked(l->arg, &m);
	return err;
}

static int on_complete(struct link *l, struct rpc_req *q, struct arena *a,
		       struct wr *answer)
{
	struct m_complete m;
	struct m_complete_r r = { 0 };
	int err = m_complete_decode(&m, a, q->body->data, q->body->len);

	if (!err)
		err = l->ops.complete ? l->ops.complete(l->arg, &m)
				      : -EOPNOTSUPP;
	return err ? err : m_complete_r_encode(answer, &r);
}

void link_push(struct rpc *c, struct rpc_req *q, void *arg)
{
	struct link *l = arg;
	struct arena mem = ARENA_INIT;
	struct wr answer = WR_INIT;
	int err = -EOPNOTSUPP;

	(void)c;
	switch (q->type) {
	case M_copy:
		on_copy(l, q);
		return;
	case M_sum:
		on_sum(l, q);
		return;
	case M_revoke:
		on_revoke(l, q);
		return;
	case M_peers:
		err = on_peers(l, q, &mem);
		break;
	case M_locked:
		err = on_locked(l, q, &mem);
		break;
	case M_drop:
		err = on_drop(l, q, &mem, &answer);
		break;
	case M_complete:
		err = on_complete(l, q, &mem, &answer);
		break;
	}
	if (err && err != -EAGAIN && err != -ECANCELED)
		log_warn("the tracker's %s makes no sense here",
			 msg_name(q->type));
	if (!q->number)
		rpc_req_free(q);
	else if (err)
		rpc_fail(q, err, "%s cannot be served", msg_name(q->type));
	else
		rpc_reply(q, &answer, NULL);
	wr_fini(&answer);
	arena_fini(&mem);
}
