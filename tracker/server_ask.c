/*
 * server_ask -- what the core asks of peers, and of the relay.
 *
 * core_io.send -> rpc_call -> on_done -> job -> run_done -> core_answer;
 * core_io.probe -> relayd -> on_probed -> job -> run_probed -> core_probed.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "msg.h"
#include "server_internal.h"
#include "status.h"

struct asked {
	struct meta_job job;
	struct server *server;
	uint64_t link;
	uint32_t number;
	uint16_t type, status;
	struct buf *body;
};

static void run_done(struct meta_job *j, struct core *c)
{
	struct asked *a = container_of(j, struct asked, job);

	core_answer(c, a->link, a->number, a->type, a->status,
		    a->body ? a->body->data : NULL,
		    a->body ? a->body->len : 0);
	buf_unref(a->body);
	free(a);
}

static void on_done(void *arg, int err, const struct rpc_answer *answer)
{
	struct asked *a = arg;

	a->status = answer ? answer->status : status_of_errno(err);
	if (answer && answer->body)
		a->body = buf_ref(answer->body);
	meta_post(a->server->meta, &a->job);
}

static uint32_t patience(const struct server *s, uint16_t type)
{
	if (type == M_revoke)
		return s->lease_ms;
	if (type == M_sum)
		return SERVER_SUM_MS;
	return type == M_copy ? SERVER_COPY_MS : SERVER_ASK_MS;
}

void server_send(void *arg, uint64_t conn, uint32_t number, uint16_t type,
		 struct wr *body)
{
	struct server *s = arg;
	struct link *k = server_link(s, conn);
	struct asked *a;

	assert(k);		/* the core knows when it is down */
	if (!number) {
		rpc_send(k->rpc, type, body);
		return;
	}
	a = calloc(1, sizeof(*a));
	if (!a) {
		wr_fini(body);
		core_answer(s->core, conn, number, type, ST_NOMEM, NULL, 0);
		return;
	}
	a->job.run = run_done;
	a->server = s;
	a->link = conn;
	a->number = number;
	a->type = type;
	rpc_call(k->rpc, type, 0, body, NULL, patience(s, type), on_done, a);
}

void server_close_link(void *arg, uint64_t conn, const char *why)
{
	struct link *k = server_link(arg, conn);

	(void)why;
	if (k)
		rpc_close(k->rpc);
}

void server_cache(void *arg, uint64_t *bytes, uint64_t *limit)
{
	struct server *s = arg;

	relayd_stat(s->relayd, bytes, limit);
}

/* ----------------------------------------------------------------- probes */

struct probed {
	struct meta_job job;
	struct server *server;
	uint64_t peer;
	int reach;
};

static void run_probed(struct meta_job *j, struct core *c)
{
	struct probed *p = container_of(j, struct probed, job);

	core_probed(c, p->peer, (uint8_t)p->reach);
	free(p);
}

static void on_probed(void *arg, uint64_t peer, int reach)
{
	struct server *s = arg;
	struct probed *p = malloc(sizeof(*p));

	if (!p)
		return;		/* it is tried again */
	*p = (struct probed){ { .run = run_probed }, s, peer, reach };
	meta_post(s->meta, &p->job);
}

void server_probe(void *arg, uint64_t peer, const char *ip, uint16_t port)
{
	struct server *s = arg;
	struct addr at;

	if (!addr_from_ip(ip, strlen(ip), port, &at))
		relayd_probe(s->relayd, peer, &at, on_probed, s);
}
