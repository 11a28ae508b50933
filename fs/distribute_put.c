/*
 * distribute_put -- one piece: hasher -> put, on the peer's disk -> ready.
 *
 * As in upload_put: what was damaged on its way is sent again.  A peer that
 * has just registered may not take chunks yet (EAGAIN): it is asked again
 * after a while, by the thread that waits, as long as one put may last.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "distribute_internal.h"

static void on_put(void *arg, int err, const struct rpc_answer *a);

static void send_put(struct piece *p)
{
	const struct dist_config *cfg = &p->part->d->cfg;
	struct m_put m = {
		.chunk = p->push.chunk, .ino = cfg->ino, .slot = p->push.slot,
		.pos = p->push.pos, .len = p->len, .sync = 1,
		.kind = COPY_REPLICA,
	};
	struct buf *wire = buf_view(p->data, 0, (size_t)p->len + MD5_LEN);
	struct wr w = WR_INIT;

	p->tries++;
	if (!wire) {
		on_put(p, -ENOMEM, NULL);
		return;
	}
	memcpy(m.md5, p->push.md5, MD5_LEN);
	m_put_encode(&w, &m);	/* a failure shows in w.err */
	peers_call(cfg->member->peers, p->num, M_put, 0, &w, wire, p->len,
		   DISTRIBUTE_PUT_MS, on_put, p);
	buf_unref(wire);
}

/* What a person can do about it. */
static const char *mend(int err)
{
	if (err == -ENOSPC)
		return ": it has no room: make some there, or stop that peer";
	return ": see whether it runs and can be reached from here, or stop "
	       "it, and try again";
}

static void put_later(struct piece *p)
{
	struct distribute *d = p->part->d;

	pthread_mutex_lock(&d->lock);
	p->tries = 0;
	p->due_ms = now_ms() + DIST_AGAIN_MS;
	STAILQ_INSERT_TAIL(&d->later, p, next);
	pthread_mutex_unlock(&d->lock);
}

void dist_put_later(struct distribute *d, int all)
{
	struct piece *p;

	do {
		pthread_mutex_lock(&d->lock);
		p = STAILQ_FIRST(&d->later);
		if (p && !all && p->due_ms > now_ms())
			p = NULL;
		if (p)
			STAILQ_REMOVE_HEAD(&d->later, next);
		pthread_mutex_unlock(&d->lock);
		if (p)
			send_put(p);
	} while (p);
}

static void on_put(void *arg, int err, const struct rpc_answer *a)
{
	struct piece *p = arg;
	struct dist_part *t = p->part;
	struct distribute *d = t->d;

	if (a && err == -EAGAIN && now_ms() < p->until_ms) {
		put_later(p);
		return;
	}
	if ((a ? err == -EBADMSG : peers_broke(err, a)) &&
	    p->tries < DISTRIBUTE_TRIES) {
		send_put(p);
		return;
	}
	pthread_mutex_lock(&d->lock);
	buf_unref(p->data);
	p->data = NULL;
	t->out--;
	d->out--;
	d->out_bytes -= p->len;
	if (err) {
		dist_fail(d, err, "%s does not take its part: %s%s", t->name,
			  strerror(-err), mend(err));
		free(p);
	} else {
		t->done += p->len;
		t->ids[t->n_chunks] = p->push.chunk;
		t->lens[t->n_chunks++] = p->len;
		STAILQ_INSERT_TAIL(&d->ready, p, next);
		d->n_ready++;
	}
	pthread_cond_signal(&d->changed);
	pthread_mutex_unlock(&d->lock);
}

static void on_hashed(struct hash_job *j)
{
	struct piece *p = container_of(j, struct piece, hash);

	memcpy(p->push.md5, j->job.md5, MD5_LEN);
	memcpy(p->data->data + p->len, j->job.md5, MD5_LEN);
	p->until_ms = now_ms() + DISTRIBUTE_PUT_MS;
	send_put(p);
}

void dist_put(struct piece *p)
{
	struct distribute *d = p->part->d;

	p->hash.job.data = p->data->data;
	p->hash.job.len = p->len;
	p->hash.urgent = d->cfg.n_parts < MD5_BATCH / 2;
	p->hash.done = on_hashed;
	hasher_submit(d->cfg.member->hasher, &p->hash);
}
