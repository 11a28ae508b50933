/*
 * fetch_source -- one attempt at a chunk's bytes.
 *
 * Local: pool (read) -> hasher -> home; a corrupt copy goes by the pool once
 * more, to be quarantined.  Peer: its loop (answer) -> hasher -> home.  The
 * tracker: likewise, by via.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "counters.h"
#include "fetch_internal.h"
#include "log.h"
#include "via.h"

void attempt_free(struct attempt *a)
{
	buf_unref(a->buf);
	free(a);
}

static void on_home(struct loop_work *w)
{
	flight_result(container_of(w, struct attempt, work));
}

static void go_home(struct attempt *a, int err)
{
	a->err = err;
	a->work.fn = on_home;
	loop_post(a->flight->home, &a->work);
}

static struct attempt *attempt_new(struct flight *f, uint32_t num)
{
	struct attempt *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->flight = f;
	a->num = num;
	return a;
}

static void ignore(void *arg, int err, const struct rpc_answer *a)
{
	(void)arg;
	(void)err;
	(void)a;
}

void fetch_report_bad(struct fetch *ft, uint64_t chunk, uint32_t num)
{
	struct m_bad_copy m = { .chunk = chunk, .peer = num, .corrupt = 1 };
	struct wr w = WR_INIT;

	m_bad_copy_encode(&w, &m);	/* a failure shows in w.err */
	link_call(ft->parts->link, M_bad_copy, &w, ignore, NULL);
}

/* ------------------------------------------------------- checking bytes */

static void on_hashed(struct hash_job *j);

static void check(struct attempt *a)
{
	a->hash.job.data = a->buf->data;
	a->hash.job.len = a->buf->len;
	a->hash.patient = __atomic_load_n(&a->flight->want.patient,
					  __ATOMIC_RELAXED);
	a->hash.urgent = !a->hash.patient && flight_is_waited_for(a->flight);
	a->hash.done = on_hashed;
	hasher_submit(a->flight->fetch->parts->hasher, &a->hash);
}

static void quarantine(struct pool_work *w)
{
	struct attempt *a = container_of(w, struct attempt, pool);
	struct flight *f = a->flight;
	struct link_info us;

	link_info(f->fetch->parts->link, &us);
	f->spoilt = (uint8_t)store_has(f->fetch->parts->store, f->id);
	store_quarantine(f->fetch->parts->store, f->id, "wrong MD5");
	fetch_report_bad(f->fetch, f->id, us.num);
	go_home(a, -EBADMSG);
}

static void corrupt(struct attempt *a)
{
	a->corrupt = 1;
	counter_add(CNT_CORRUPT, 1);
	if (a->num) {
		go_home(a, -EBADMSG);
		return;
	}
	a->pool.fn = quarantine;
	pool_run(a->flight->fetch->parts->pool, &a->pool);
}

static void on_hashed(struct hash_job *j)
{
	struct attempt *a = container_of(j, struct attempt, hash);

	counter_add(CNT_MD5_CHECKED, 1);
	if (memcmp(j->job.md5, a->flight->want.chunk.md5, MD5_LEN))
		corrupt(a);
	else
		go_home(a, 0);
}

/* ---------------------------------------------------------------- local */

static void read_local(struct pool_work *w)
{
	struct attempt *a = container_of(w, struct attempt, pool);
	const struct m_chunk *want = &a->flight->want.chunk;
	struct chunk_meta m;
	int err;

	err = store_get(a->flight->fetch->parts->store, a->flight->id, &m,
			&a->buf);
	if (err == -EBADMSG) {
		corrupt(a);
	} else if (err) {
		go_home(a, err);
	} else if (m.len != want->len || memcmp(m.md5, want->md5, MD5_LEN)) {
		corrupt(a);
	} else {
		/* Nobody else has the buf yet. */
		memcpy(a->buf->data + m.len, m.md5, MD5_LEN);
		check(a);
	}
}

int attempt_local(struct flight *f)
{
	struct attempt *a = attempt_new(f, 0);

	if (!a)
		return -ENOMEM;
	a->pool.fn = read_local;
	pool_run(f->fetch->parts->pool, &a->pool);
	return 0;
}

/* ----------------------------------------------------------------- peers */

/* The three MD5s: of the header, behind the payload, and of the map. */
static int agree(const struct m_get_r *r, const struct buf *bulk,
		 const struct m_chunk *want)
{
	return r->chunk == want->id && r->len == want->len &&
	       bulk->len == (size_t)want->len + MD5_LEN &&
	       !memcmp(r->md5, want->md5, MD5_LEN) &&
	       !memcmp(bulk->data + want->len, want->md5, MD5_LEN);
}

static void take_busy(struct attempt *a, const struct m_get_r *r)
{
	a->n_busy = r->n_busy;
	for (uint32_t i = 0; i < r->n_busy; i++)
		a->busy[i] = r->busy[i];
	go_home(a, -EBUSY);
}

static void take_bytes(struct attempt *a, const struct m_get_r *r,
		       struct buf *bulk)
{
	const struct m_chunk *want = &a->flight->want.chunk;

	if (!agree(r, bulk, want)) {
		corrupt(a);
		return;
	}
	counter_add(CNT_CHUNKS_RECEIVED, 1);
	counter_add(CNT_BYTES_RECEIVED, want->len);
	a->buf = buf_view(bulk, 0, want->len);
	if (a->buf)
		check(a);
	else
		go_home(a, -ENOMEM);
}

static void on_get(void *arg, int err, const struct rpc_answer *an)
{
	struct attempt *a = arg;
	struct arena mem = ARENA_INIT;
	struct m_get_r r = { .n_busy = 0 };

	if (!err)
		err = m_get_r_decode(&r, &mem, an->body->data, an->body->len);
	if (err) {
		go_home(a, err);
	} else if (!an->bulk) {
		take_busy(a, &r);
	} else {
		take_bytes(a, &r, an->bulk);
	}
	arena_fini(&mem);
}

int attempt_peer(struct flight *f, const struct source *s)
{
	uint32_t asked[MSG_HOLDERS_MAX];
	struct m_get m = { .chunk = f->id, .asked = asked };
	struct attempt *a = attempt_new(f, s->num);
	struct wr w = WR_INIT;

	if (!a)
		return -ENOMEM;
	/* Again: then it is to name no one who was of no use. */
	for (unsigned i = 0; s->busy && i < f->n_src; i++)
		if (&f->src[i] != s && f->src[i].num != FETCH_RELAY)
			asked[m.n_asked++] = f->src[i].num;
	m_get_encode(&w, &m);	/* a failure shows in w.err */
	peers_call(f->fetch->parts->peers, s->num, M_get, 0, &w, NULL,
		   f->want.chunk.len, FETCH_GET_MS, on_get, a);
	return 0;
}

/* ----------------------------------------------------------- the tracker */

static void on_delivered(void *arg, int err, const struct m_deliver *m,
			 struct buf *bulk)
{
	struct attempt *a = arg;
	struct m_get_r r = { .chunk = m->chunk, .len = m->len };

	if (err) {
		go_home(a, err);
		return;
	}
	memcpy(r.md5, m->md5, MD5_LEN);
	take_bytes(a, &r, bulk);
}

int attempt_relay(struct flight *f)
{
	struct attempt *a = attempt_new(f, FETCH_RELAY);

	if (!a)
		return -ENOMEM;
	via_get(f->fetch->parts->via, f->id, f->want.chunk.len, FETCH_GET_MS,
		on_delivered, a);
	return 0;
}
