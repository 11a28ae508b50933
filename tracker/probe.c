/* probe -- see probe.h. */
#include "probe.h"

#include <errno.h>
#include <stdlib.h>

#include "msg.h"

struct probe {
	struct gate *gate;
	uint64_t peer;
	int reach;
	probe_done done;
	void *arg;
};

static void on_up(struct rpc *c, void *arg)
{
	struct probe *p = arg;

	p->reach = REACH_YES;
	rpc_close(c);
}

static void on_down(struct rpc *c, int err, void *arg)
{
	struct probe *p = arg;

	(void)err;
	p->done(p->arg, p->peer, p->reach);
	rpc_unref(c);
	gate_leave(p->gate);
	free(p);
}

static const struct rpc_ops ops = { .up = on_up, .down = on_down };

int probe_start(struct loop *l, struct gate *g, const struct rpc_self *self,
		const struct addr *at, uint64_t peer, probe_done done,
		void *arg)
{
	struct probe *p;
	struct rpc *c;
	int err = gate_enter(g);

	if (err)
		return err;
	p = malloc(sizeof(*p));
	if (p)
		*p = (struct probe){ g, peer, REACH_NO, done, arg };
	err = p ? rpc_connect(&c, l, self, at, NULL, ROLE_PEER, peer, &ops, p)
		: -ENOMEM;
	if (err) {
		free(p);
		gate_leave(g);
	}
	return err;
}
