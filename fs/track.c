/* track -- see track.h: made from what the tracker says, and written. */
#include "track.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

char *track_time(int64_t s, char out[24])
{
	time_t t = (time_t)s;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(out, 24, "%Y-%m-%dT%H:%M:%SZ", &tm))
		strcpy(out, "1970-01-01T00:00:00Z");
	return out;
}

int track_holds(const struct track_holder *h, uint64_t at, uint32_t len)
{
	size_t low = 0, high = h->n_ranges;

	while (low < high) {	/* the first that ends behind @at */
		size_t mid = low + (high - low) / 2;

		if (h->ranges[mid].end > at)
			high = mid;
		else
			low = mid + 1;
	}
	return low < h->n_ranges && h->ranges[low].at <= at &&
	       h->ranges[low].end - at >= len;
}

void track_fini(struct track *t)
{
	for (size_t i = 0; i < t->n_holders; i++)
		free(t->holders[i].ranges);
	free(t->holders);
	free(t->pieces);
	free(t->name);
	memset(t, 0, sizeof(*t));
}

/* -------------------------------------------------------------- holders */

/* While they are gathered: where the holder's last range may go on. */
struct growing {
	struct track_holder *h;
	size_t cap, next_piece;
};

static int by_num(const void *a, const void *b)
{
	uint32_t x = ((const struct growing *)a)->h->num;
	uint32_t y = ((const struct growing *)b)->h->num;

	return (x > y) - (x < y);
}

static int extend(struct growing *g, size_t piece, const struct layout_piece *p)
{
	struct track_holder *h = g->h;
	struct track_range *more;

	if (h->n_ranges && g->next_piece == piece) {
		h->ranges[h->n_ranges - 1].end = p->at + p->len;
	} else if (!h->n_ranges || g->next_piece < piece) {
		if (h->n_ranges == g->cap) {
			g->cap = g->cap ? 2 * g->cap : 8;
			more = realloc(h->ranges, g->cap * sizeof(*more));
			if (!more)
				return -ENOMEM;
			h->ranges = more;
		}
		h->ranges[h->n_ranges++] =
			(struct track_range){ p->at, p->at + p->len };
	}
	g->next_piece = piece + 1;
	return 0;
}

static int add_ranges(const struct layout *l, struct growing *g, size_t n)
{
	int err = 0;

	for (size_t i = 0; !err && i < l->n_pieces; i++) {
		const struct m_chunk *c = l->pieces[i].chunk;

		for (uint32_t k = 0; !err && k < c->n_holders; k++) {
			struct track_holder key = { .num = c->holders[k] };
			struct growing want = { .h = &key }, *at;

			at = bsearch(&want, g, n, sizeof(*g), by_num);
			if (at)
				err = extend(at, i, &l->pieces[i]);
		}
	}
	return err;
}

static void name_holder(struct track_holder *h, const struct m_peer *p,
			int64_t now_s)
{
	h->num = p->num;
	h->id = p->id;
	h->port = p->port;
	h->heard_s = now_s - p->silent_ms / 1000;
	memcpy(h->addr, p->addr.p, p->addr.len);
	h->addr[p->addr.len] = 0;
}

/* Those without a range go. */
static void drop_idle(struct track *t)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->n_holders; i++)
		if (t->holders[i].n_ranges)
			t->holders[kept++] = t->holders[i];
	t->n_holders = kept;
}

static int add_holders(struct track *t, const struct layout *l,
		       const struct m_peer *peers, uint32_t n, int64_t now_s)
{
	struct growing *g = calloc(n + 1, sizeof(*g));
	int err = 0;

	t->holders = calloc(n + 1, sizeof(*t->holders));
	if (!t->holders || !g) {
		free(g);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < n; i++) {
		if (peers[i].state == PEER_GONE)
			continue;
		name_holder(&t->holders[t->n_holders], &peers[i], now_s);
		g[t->n_holders].h = &t->holders[t->n_holders];
		t->n_holders++;
	}
	qsort(g, t->n_holders, sizeof(*g), by_num);
	err = add_ranges(l, g, t->n_holders);
	free(g);
	drop_idle(t);
	return err;
}

/* --------------------------------------------------------------- the whole */

static int add_pieces(struct track *t, const struct layout *l)
{
	t->pieces = calloc(l->n_pieces + 1, sizeof(*t->pieces));
	if (!t->pieces)
		return -ENOMEM;
	for (size_t i = 0; i < l->n_pieces; i++) {
		const struct layout_piece *p = &l->pieces[i];
		struct track_piece *out = &t->pieces[t->n_pieces++];

		*out = (struct track_piece){
			.at = p->at, .len = p->len, .off = p->off,
			.chunk = p->chunk->id, .chunk_len = p->chunk->len,
		};
		memcpy(out->md5, p->chunk->md5, MD5_LEN);
	}
	return 0;
}

int track_make(struct track *t, const char *path, const struct layout *l,
	       const struct m_peer *peers, uint32_t n_peers, uint64_t swarm,
	       int64_t now_s)
{
	size_t skip = strspn(path, "/"), len = strlen(path + skip);
	int err;

	*t = (struct track){
		.name = malloc(len + 2), .size = l->attr.size,
		.swarm = swarm, .ino = l->attr.ino,
		.version = l->attr.version,
		.chunk_size = l->attr.slot_size, .written_s = now_s,
	};
	if (!t->name)
		return -ENOMEM;
	t->name[0] = '/';
	memcpy(t->name + 1, path + skip, len + 1);
	err = add_pieces(t, l);
	if (!err)
		err = add_holders(t, l, peers, n_peers, now_s);
	if (err)
		track_fini(t);
	return err;
}

/* ---------------------------------------------------------------- asking */

static int ask_md5(struct track *t, const struct ask *ask, int compute,
		   char *why, size_t why_len)
{
	struct m_digest q = { .ino = t->ino, .compute = (uint8_t)compute };
	struct arena a = ARENA_INIT;
	struct buf *body = NULL;
	struct wr w = WR_INIT;
	struct m_digest_r r = { .known = 0 };
	int err;

	m_digest_encode(&w, &q);	/* a failure shows in w.err */
	err = ask_call(ask, M_digest, &w, &body, why, why_len);
	if (!err)
		err = m_digest_r_decode(&r, &a, body->data, body->len);
	if (!err && r.version != t->version)
		err = -ESTALE;
	if (!err && !r.known)
		err = -ENODATA;
	if (!err) {
		t->has_md5 = 1;
		memcpy(t->md5, r.md5, MD5_LEN);
	}
	arena_fini(&a);
	buf_unref(body);
	return err;
}

int track_compute_md5(struct track *t, const struct ask *ask, char *why,
		      size_t why_len)
{
	if (why_len)
		why[0] = 0;
	return t->has_md5 ? 0 : ask_md5(t, ask, 1, why, why_len);
}

static int ask_status(const struct ask *ask, struct arena *a,
		      struct buf **body, struct m_status_r *out)
{
	struct m_status q = { 0 };
	struct wr w = WR_INIT;
	int err;

	m_status_encode(&w, &q);	/* as above */
	err = ask_call(ask, M_status, &w, body, NULL, 0);
	return err ? err
		   : m_status_r_decode(out, a, (*body)->data, (*body)->len);
}

int track_gather(struct track *t, const struct ask *ask, const char *path)
{
	struct layout l = { 0 };
	struct arena a = ARENA_INIT;
	struct buf *body = NULL;
	struct m_status_r st;
	struct m_attr attr;
	int64_t now_s;
	uint32_t ns;
	int err;

	memset(t, 0, sizeof(*t));
	err = layout_find(ask, path, &attr);
	if (!err && !S_ISREG(attr.mode))
		err = S_ISDIR(attr.mode) ? -EISDIR : -EINVAL;
	if (!err)
		err = layout_load(&l, ask, attr.ino);
	if (!err)
		err = ask_status(ask, &a, &body, &st);
	wall_time(&now_s, &ns);
	if (!err)
		err = track_make(t, path, &l, st.peers, st.n_peers, st.swarm,
				 now_s);
	if (!err)	/* a failure leaves it out: it is one check more */
		ask_md5(t, ask, 0, NULL, 0);
	layout_fini(&l);
	arena_fini(&a);
	buf_unref(body);
	return err;
}

/* --------------------------------------------------------------- writing */

#define RANGES_LINE 1024	/* ranges written in one line */

/* One line, printable: what is not, and '%', as %XX. */
static void put_name(FILE *to, const char *name)
{
	for (const unsigned char *p = (const unsigned char *)name; *p; p++)
		if (*p <= ' ' || *p == '%' || *p == 127)
			fprintf(to, "%%%02X", *p);
		else
			putc(*p, to);
}

static void put_holder(FILE *to, const struct track_holder *h)
{
	char when[24];
	struct addr a;
	char at[ADDR_TEXT_MAX];

	if (addr_from_ip(h->addr, strlen(h->addr), h->port, &a))
		return;		/* nobody could be asked there */
	track_time(h->heard_s, when);
	addr_text(&a, at);
	for (size_t i = 0; i < h->n_ranges; i++) {
		if (i % RANGES_LINE == 0)
			fprintf(to, "%sholder %s %" PRIu32 " %016" PRIx64
				" %s ", i ? "\n" : "", at, h->num, h->id, when);
		else
			putc(',', to);
		fprintf(to, "%" PRIu64 "-%" PRIu64, h->ranges[i].at,
			h->ranges[i].end);
	}
	putc('\n', to);
}

int track_render(const struct track *t, FILE *to)
{
	char when[24], md5[2 * MD5_LEN + 1] = "-";

	if (t->has_md5)
		hex_text(t->md5, MD5_LEN, md5);
	fprintf(to, "pspfs-track %d\nname ", TRACK_FORMAT);
	put_name(to, t->name);
	fprintf(to, "\nsize %" PRIu64 "\nmd5 %s\nchunk-size %" PRIu32
		"\nswarm %016" PRIx64 "\ninode %" PRIu64 "\nversion %" PRIu64
		"\nwritten %s\n", t->size, md5, t->chunk_size, t->swarm, t->ino,
		t->version, track_time(t->written_s, when));
	for (size_t i = 0; i < t->n_holders; i++)
		put_holder(to, &t->holders[i]);
	for (size_t i = 0; i < t->n_pieces; i++) {
		const struct track_piece *p = &t->pieces[i];

		hex_text(p->md5, MD5_LEN, md5);
		fprintf(to, "piece %" PRIu64 " %" PRIu32 " %016" PRIx64
			" %" PRIu32 " %" PRIu32 " %s\n", p->at, p->len,
			p->chunk, p->chunk_len, p->off, md5);
	}
	fprintf(to, "end %zu\n", t->n_pieces);
	return fflush(to) || ferror(to) ? -EIO : 0;
}
