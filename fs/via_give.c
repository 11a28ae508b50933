/*
 * via_give -- chunks that the tracker seeks, given if they are here.
 *
 * seek -> seek_r the same way (these come; if it was directed: these are not
 * here) -> shelf (memory or disk, verified) -> found on the connection.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "counters.h"
#include "shelf.h"
#include "via_internal.h"

static void start_some(struct via *v);

static void give_free(struct give *g)
{
	struct via *v = g->via;

	HASH_DELETE(hh, v->gives, g);
	buf_unref(g->buf);
	free(g);
	gate_leave(&v->gate);
}

/* It was given, or not: the next. */
static void end_one(struct give *g)
{
	struct via *v = g->via;

	v->n_giving--;
	give_free(g);
	start_some(v);
}

static void on_found_r(void *arg, int err, const struct rpc_answer *a)
{
	(void)err;
	(void)a;
	end_one(arg);
}

static void send_found(struct give *g)
{
	struct via *v = g->via;
	struct m_found m = { .chunk = g->chunk, .ino = g->meta.ino,
			     .slot = g->meta.slot, .pos = g->meta.pos,
			     .len = g->meta.len };
	struct buf *wire = buf_view(g->buf, 0, (size_t)m.len + MD5_LEN);
	struct wr w = WR_INIT;

	if (!wire || !v->up) {
		buf_unref(wire);
		end_one(g);
		return;
	}
	memcpy(m.md5, g->meta.md5, MD5_LEN);
	m_found_encode(&w, &m);		/* a failure shows in w.err */
	counter_add(CNT_RELAY_FOUND, 1);
	rpc_call(v->rpc, M_found, 0, &w, wire, VIA_FOUND_MS, on_found_r, g);
	buf_unref(wire);
}

static void on_home(struct loop_work *w)
{
	struct give *g = container_of(w, struct give, work);

	if (g->err)
		end_one(g);	/* shelf has logged and reported it */
	else
		send_found(g);
}

static void on_read(void *arg, int err, const struct chunk_meta *m,
		    struct buf *b)
{
	struct give *g = arg;

	g->err = err;
	if (!err) {
		g->meta = *m;
		g->buf = buf_ref(b);
	}
	g->work.fn = on_home;
	loop_post(g->via->home, &g->work);
}

static void start_some(struct via *v)
{
	struct give *g;

	while (v->n_giving < VIA_GIVING_MAX && (g = TAILQ_FIRST(&v->sought))) {
		TAILQ_REMOVE(&v->sought, g, link);
		v->n_sought--;
		v->n_giving++;
		shelf_read(v->parts, g->chunk, 0, on_read, g);
	}
}

static int is_here(struct via *v, uint64_t chunk)
{
	struct buf *b;

	if (store_has(v->parts->store, chunk))
		return 1;
	b = cache_get(v->parts->cache, chunk);
	buf_unref(b);
	return b != NULL;
}

/* 1: it will be given (or is being). */
static int give_one(struct via *v, uint64_t chunk)
{
	struct give *g;

	HASH_FIND(hh, v->gives, &chunk, sizeof(chunk), g);
	if (g)
		return 1;
	if (!is_here(v, chunk) || v->n_sought >= VIA_SOUGHT_MAX)
		return 0;
	if (gate_enter(&v->gate))
		return 0;
	g = calloc(1, sizeof(*g));
	if (g) {
		g->chunk = chunk;
		g->via = v;
		HASH_ADD(hh, v->gives, chunk, sizeof(g->chunk), g);
	}
	if (!g || !TABLE_ADDED(g)) {
		free(g);
		gate_leave(&v->gate);
		return 0;
	}
	TAILQ_INSERT_TAIL(&v->sought, g, link);
	v->n_sought++;
	return 1;
}

void via_give(struct via *v, const struct m_seek *s, struct rpc_req *q)
{
	uint64_t here[MSG_WANT_MAX], absent[MSG_WANT_MAX];
	struct m_seek_r r = { .here = here, .absent = absent };
	struct wr w = WR_INIT;

	for (uint32_t i = 0; i < s->n_ids; i++) {
		if (!v->closing && v->up && give_one(v, s->ids[i]))
			here[r.n_here++] = s->ids[i];
		else if (s->directed)
			absent[r.n_absent++] = s->ids[i];
	}
	m_seek_r_encode(&w, &r);	/* a failure shows in w.err */
	if (q)
		rpc_reply(q, &w, NULL);
	else if (r.n_here || r.n_absent)
		link_dgram(v->parts->link, M_seek_r, &w);
	wr_fini(&w);
	start_some(v);
}

void via_give_end(struct via *v)
{
	struct give *g;

	while ((g = TAILQ_FIRST(&v->sought))) {
		TAILQ_REMOVE(&v->sought, g, link);
		v->n_sought--;
		give_free(g);
	}
}
