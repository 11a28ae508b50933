/*
 * link_held -- after each hello: the whole list of what the store holds.
 *
 * In parts, each answered before the next is sent.  The last is empty, since
 * only then is it known that there are no more.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "link_internal.h"
#include "log.h"

static void send_part(struct link *l);

static void unknown(struct link *l, const struct m_inventory_r *r)
{
	uint32_t n = link_batch_old(l, r->unknown, r->n_unknown);

	if (n)
		l->ops.unknown(l->arg, r->unknown, n);
}

static void on_part(void *arg, int err, const struct rpc_answer *a)
{
	struct link *l = arg;
	struct arena mem = ARENA_INIT;
	struct m_inventory_r r;

	if (l->state != LINK_UP || !l->holding)
		return;
	if (!a) {
		/* Too slow, or the connection has broken by itself. */
		link_break(l, strerror(-err));
		return;
	}
	if (!err)
		err = m_inventory_r_decode(&r, &mem, a->body->data,
					   a->body->len);
	if (err) {
		link_break(l, "it refuses the list of what is stored here");
	} else {
		unknown(l, &r);
		if (l->held_last) {
			l->holding = 0;
			l->failures = 0;
			if (l->held_anew)
				link_held_start(l);
		} else {
			send_part(l);
		}
	}
	arena_fini(&mem);
}

static void send_part(struct link *l)
{
	struct m_held *part = malloc(LINK_HELD_PART * sizeof(*part));
	struct m_inventory m = { .first = l->held_first != 0, .chunks = part };
	struct wr w = WR_INIT;
	int err = part ? 0 : -ENOMEM;

	if (!err) {
		m.n_chunks = (uint32_t)l->ops.held(l->arg, &l->held_cursor,
						   part, LINK_HELD_PART);
		m.last = !m.n_chunks;
		err = m_inventory_encode(&w, &m);
	}
	free(part);
	if (err) {
		wr_fini(&w);
		link_break(l, "no memory to list what is stored here");
		return;
	}
	l->held_first = 0;
	l->held_last = m.last;
	rpc_call(l->rpc, M_inventory, 0, &w, NULL, LINK_HELD_MS, on_part, l);
}

struct anew {
	struct loop_work work;
	struct link *link;
};

static void on_anew(struct loop_work *w)
{
	struct anew *a = container_of(w, struct anew, work);
	struct link *l = a->link;

	/* one that is under way may have told what is not so any more */
	if (l->state == LINK_UP && l->holding)
		l->held_anew = 1;
	else if (l->state == LINK_UP)
		link_held_start(l);
	free(a);
}

void link_held_anew(struct link *l)
{
	struct anew *a = calloc(1, sizeof(*a));

	if (!a) {
		log_error("no memory to tell what is stored here");
		return;
	}
	a->link = l;
	a->work.fn = on_anew;
	loop_post(l->loop, &a->work);
}

void link_held_start(struct link *l)
{
	l->holding = 1;
	l->held_anew = 0;
	l->held_first = 1;
	l->held_last = 0;
	l->held_cursor = 0;
	link_batch_begin(l);
	send_part(l);
}
