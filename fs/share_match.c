/*
 * share_match -- a file that is there already: this peer holds some of it.
 *
 * Happy path: its map; every chunk that lies wholly in the range, in order:
 * read, hashed, compared, stored; what is a hole is zeros; then, if the file
 * is still the same, they are announced.
 * Failure: the first place that differs is named; what was stored goes.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "layout.h"
#include "share_internal.h"

struct matching {
	struct share_run *r;
	struct layout l;
	uint64_t first, end;	/* the range, in bytes of the file */
	uint64_t skipped;	/* chunks that are not wholly there */
};

static int differs(struct share_run *r, uint64_t from, uint64_t end)
{
	return share_why(r, -EBADMSG, "bytes %" PRIu64 "-%" PRIu64 " differ "
			 "from %.255s in the swarm: it is another file, or "
			 "another version of it; share it under another name",
			 from, end - 1, r->name);
}

/* ----------------------------------------------------------------- sizes */

static int check_sizes(struct matching *k)
{
	struct share_run *r = k->r;
	const struct m_share *m = r->m;
	uint64_t size = k->l.attr.size, have = (uint64_t)r->st.st_size;

	k->first = m->first;
	k->end = m->end ? m->end : size;
	if (!m->part && have != size)
		return share_why(r, -EINVAL, "the file has %" PRIu64 " bytes, "
				 "%.255s in the swarm has %" PRIu64 ": it is "
				 "another file, or give the range that it "
				 "holds", have, r->name, size);
	if (k->end > size)
		return share_why(r, -EINVAL, "the range ends at byte %" PRIu64
				 ", but %.255s has only %" PRIu64, k->end,
				 r->name, size);
	r->total = k->end - k->first;
	return 0;
}

/* --------------------------------------------------------------- comparing */

static int flush(struct matching *k)
{
	struct share_run *r = k->r;
	uint64_t bytes = r->batch.bytes;
	int err = 0;

	batch_hash(r);
	for (size_t i = 0; !err && i < r->batch.n; i++) {
		const struct share_piece *p = &r->batch.v[i];

		if (memcmp(p->hash.job.md5, p->chunk->md5, MD5_LEN))
			err = differs(r, p->at, p->at + p->len);
		else
			err = share_store(r, p, p->chunk->id);
	}
	batch_clear(r);
	return err ? err : share_step(r, bytes);
}

/* Bytes [at, end) of the file are a hole. */
static int match_hole(struct matching *k, uint64_t at, uint64_t end)
{
	uint64_t bad, until;
	int err;

	if (at < k->first)
		at = k->first;
	if (end > k->end)
		end = k->end;
	if (at >= end)
		return 0;
	err = share_zeros(k->r, at, end, &bad, &until);
	if (err || bad == UINT64_MAX)
		return err ? err : share_step(k->r, end - at);
	err = flush(k);		/* something before it may differ */
	return err ? err : differs(k->r, bad, until);
}

static uint64_t overlap(const struct matching *k,
			const struct layout_piece *p)
{
	uint64_t from = p->at > k->first ? p->at : k->first;
	uint64_t end = p->at + p->len < k->end ? p->at + p->len : k->end;

	return end - from;
}

static int match_piece(struct matching *k, const struct layout_piece *lp)
{
	struct share_piece p = {
		.at = lp->at, .len = lp->len, .slot = lp->slot,
		.chunk = lp->chunk,
	};
	int err = 0;

	if (lp->off || lp->len != lp->chunk->len || lp->at < k->first ||
	    lp->at + lp->len > k->end) {
		if (lp->at >= k->end || lp->at + lp->len <= k->first)
			return 0;
		k->skipped++;
		return share_step(k->r, overlap(k, lp));
	}
	p.pos = (uint32_t)(lp->at - lp->slot * k->l.attr.slot_size);
	if (batch_full(&k->r->batch, p.len))
		err = flush(k);
	return err ? err : batch_add(k->r, &p);
}

static int match_all(struct matching *k)
{
	uint64_t at = 0;
	int err = 0;

	for (size_t i = 0; !err && i < k->l.n_pieces; i++) {
		const struct layout_piece *p = &k->l.pieces[i];

		err = match_hole(k, at, p->at);
		if (!err)
			err = match_piece(k, p);
		at = p->at + p->len;
	}
	if (!err)
		err = match_hole(k, at, k->l.attr.size);
	return err ? err : flush(k);
}

static int check_found(struct matching *k)
{
	struct share_run *r = k->r;

	if (r->chunks || !k->skipped)
		return 0;
	return share_why(r, -EINVAL, "no whole chunk of %.255s lies in the "
			 "range: its chunks have up to %" PRIu32 " bytes; "
			 "give a longer range", r->name, k->l.attr.slot_size);
}

/* ------------------------------------------------------------- announcing */

static int still_same(struct matching *k)
{
	struct share_run *r = k->r;
	struct m_getattr m = { .ino = r->ino };
	struct arena a = ARENA_INIT;
	struct wr w = WR_INIT;
	struct m_getattr_r gr;
	struct buf *body;
	int err = share_unchanged(r);

	if (err)
		return err;
	m_getattr_encode(&w, &m);	/* a failure shows in w.err */
	err = share_ask(r, M_getattr, &w, &body, "look again at");
	if (!err)
		err = m_getattr_r_decode(&gr, &a, body->data, body->len);
	if (!err && gr.attr.version != k->l.attr.version)
		err = share_why(r, -ESTALE, "%.255s was changed in the swarm "
				"meanwhile: share it again", r->name);
	arena_fini(&a);
	buf_unref(body);
	return err;
}

/* Up to MSG_HAVE_MAX of what was stored, from @from on. */
static int announce(struct share_run *r, size_t from, size_t n)
{
	struct arena a = ARENA_INIT;
	struct m_have m = { .added = arena_alloc(&a, n * sizeof(*m.added)) };
	struct wr w = WR_INIT;
	struct buf *body;
	int err;

	if (!m.added)
		return -ENOMEM;
	for (; m.n_added < n; m.n_added++) {
		uint64_t id = r->puts[from + m.n_added].id;

		m.added[m.n_added] = (struct m_held){ id, COPY_REPLICA };
		/* above all the last word on it, if another is under way */
		link_have(r->env->parts->link, id, COPY_REPLICA);
	}
	m_have_encode(&w, &m);	/* a failure shows in w.err */
	err = share_ask(r, M_have, &w, &body, "become a holder of");
	buf_unref(body);
	arena_fini(&a);
	return err;
}

/* The tracker knows of them when the one who asked is answered. */
static int announce_all(struct share_run *r)
{
	size_t n;
	int err = 0;

	for (size_t at = 0; !err && at < r->n_puts; at += n) {
		n = r->n_puts - at < MSG_HAVE_MAX ? r->n_puts - at
						  : MSG_HAVE_MAX;
		err = announce(r, at, n);
	}
	return err;
}

static int match(struct matching *k)
{
	int err = check_sizes(k);

	if (!err)
		err = match_all(k);
	if (!err)
		err = check_found(k);
	if (!err)
		err = still_same(k);
	return err ? err : announce_all(k->r);
}

int share_match(struct share_run *r, struct m_share_r *out)
{
	struct matching k = { .r = r };
	int err = layout_load(&k.l, &r->ask, r->ino);

	if (err)
		return share_why_asked(r, err, "read the map of", NULL);
	err = match(&k);
	if (!err)
		*out = (struct m_share_r){
			.ino = r->ino, .size = k.l.attr.size,
			.chunks = r->chunks, .bytes = r->bytes,
		};
	layout_fini(&k.l);
	return err;
}
