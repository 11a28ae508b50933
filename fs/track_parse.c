/*
 * track_parse -- the tracker file from its text (net/PROTOCOL.md).
 *
 * The reader takes what the writer writes and nothing else: a line at a
 * time, in order, every number in its bounds.  What is wrong is said with
 * the line's number.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "track.h"

struct reader {
	FILE *from;
	struct track *t;
	char *line, *p;		/* what is left of it */
	size_t cap_pieces, cap_holders;
	unsigned long number;
	uint64_t bytes;
	char *why;
	size_t why_len;
};

static int bad(struct reader *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static int bad(struct reader *r, const char *fmt, ...)
{
	char what[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(r->why, r->why_len, "line %lu: %s: get the tracker file "
		 "again, with pspfs tracker", r->number, what);
	return -EINVAL;
}

/* The next line, without its end. */
static int next_line(struct reader *r)
{
	size_t n;

	r->number++;
	r->line[0] = 0;
	if (!fgets(r->line, TRACK_LINE_MAX, r->from) && ferror(r->from))
		return -EIO;
	n = strlen(r->line);
	r->bytes += n;
	if (!n && feof(r->from))
		return bad(r, "the file ends too early");
	if (r->bytes > TRACK_FILE_MAX)
		return bad(r, "the file is longer than any tracker file");
	if (n == TRACK_LINE_MAX - 1 && r->line[n - 1] != '\n')
		return bad(r, "the line is too long");
	if (feof(r->from))
		return bad(r, "the file ends in the middle of a line");
	if (!n || r->line[n - 1] != '\n')
		return bad(r, "there is a zero byte in it");
	if (n > 1 && r->line[n - 2] == ' ')
		return bad(r, "a space stands at its end");
	r->line[n - 1] = 0;
	r->p = r->line;
	return 0;
}

/* The next word; "" when there is none. */
static char *word(struct reader *r)
{
	char *w = r->p, *end = strchr(w, ' ');

	if (end)
		*end++ = 0;
	r->p = end ? end : w + strlen(w);
	return w;
}

/* All of @s in @base digits, lower case, at most @most. */
static int number(const char *s, int base, uint64_t most, uint64_t *out)
{
	uint64_t v = 0;

	if (!*s)
		return -EINVAL;
	for (; *s; s++) {
		const char *digits = "0123456789abcdef";
		const char *d = strchr(digits, *s);

		if (!d || d - digits >= base ||
		    __builtin_mul_overflow(v, (uint64_t)base, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(d - digits), &v))
			return -EINVAL;
	}
	*out = v;
	return v > most ? -EINVAL : 0;
}

static int take_number(struct reader *r, const char *what, int base,
		       uint64_t most, uint64_t *out)
{
	const char *w = word(r);

	if (!number(w, base, most, out))
		return 0;
	return bad(r, "'%.40s' is no %s", w, what);
}

static int take_md5(struct reader *r, uint8_t out[MD5_LEN])
{
	const char *w = word(r);
	char pair[3] = "";
	uint64_t v;

	if (strlen(w) != 2 * MD5_LEN)
		return bad(r, "'%.40s' is no MD5", w);
	for (int i = 0; i < MD5_LEN; i++) {
		memcpy(pair, w + 2 * i, 2);
		if (number(pair, 16, 255, &v))
			return bad(r, "'%.40s' is no MD5", w);
		out[i] = (uint8_t)v;
	}
	return 0;
}

static int take_time(struct reader *r, int64_t *out)
{
	const char *w = word(r);
	char same[24];
	struct tm tm = { 0 };
	const char *end = strptime(w, "%Y-%m-%dT%H:%M:%SZ", &tm);

	*out = end && !*end ? (int64_t)timegm(&tm) : 0;
	if (!end || strcmp(track_time(*out, same), w))
		return bad(r, "'%.40s' is no time, such as "
			   "2026-01-31T12:00:00Z", w);
	return 0;
}

static int line_ends(struct reader *r)
{
	return *r->p ? bad(r, "'%.40s' was not expected there", r->p) : 0;
}

/* The line "@key ..." */
static int expect(struct reader *r, const char *key)
{
	int err = next_line(r);

	if (!err && strcmp(word(r), key))
		err = bad(r, "'%s' was expected", key);
	return err;
}

static int read_number(struct reader *r, const char *key, int base,
		       uint64_t most, uint64_t *out)
{
	int err = expect(r, key);

	if (!err)
		err = take_number(r, key, base, most, out);
	return err ? err : line_ends(r);
}

/* ---------------------------------------------------------------- the head */

/* A path from the top, to something that can be a file's name. */
static int is_name(const char *name)
{
	const char *own = strrchr(name, '/');

	return name[0] == '/' && strlen(name) < MSG_PATH_MAX && own[1] &&
	       strcmp(own, "/.") && strcmp(own, "/..");
}

static int read_name(struct reader *r)
{
	int err = expect(r, "name");
	char *out, *w;
	uint64_t v;

	if (err)
		return err;
	w = word(r);
	r->t->name = out = malloc(strlen(w) + 1);
	if (!out)
		return -ENOMEM;
	for (; *w; w++) {
		char hex[3] = "";

		if (*w != '%') {
			*out++ = *w;
			continue;
		}
		for (int i = 0; i < 2 && *++w; i++)
			hex[i] = (char)tolower((unsigned char)*w);
		if (strlen(hex) != 2 || number(hex, 16, 255, &v) || !v) {
			*out = 0;
			return bad(r, "a '%%' in the name is not followed by "
				   "two digits");
		}
		*out++ = (char)v;
	}
	*out = 0;
	if (!is_name(r->t->name))
		return bad(r, "that is no name of a file in a swarm");
	return line_ends(r);
}

static int read_md5(struct reader *r)
{
	int err = expect(r, "md5");

	if (err)
		return err;
	r->t->has_md5 = strcmp(r->p, "-") != 0;
	if (!r->t->has_md5)
		return 0;
	err = take_md5(r, r->t->md5);
	return err ? err : line_ends(r);
}

static int read_head(struct reader *r)
{
	struct track *t = r->t;
	uint64_t v = 0;
	int err = next_line(r);

	if (!err && (strcmp(word(r), "pspfs-track") ||
		     number(word(r), 10, UINT32_MAX, &v)))
		return bad(r, "this is no tracker file");
	if (!err && v != TRACK_FORMAT)
		return bad(r, "it is of format %" PRIu64 ", this program reads "
			   "%d", v, TRACK_FORMAT);
	if (!err)
		err = line_ends(r);
	if (!err)
		err = read_name(r);
	if (!err)
		err = read_number(r, "size", 10, INT64_MAX, &t->size);
	if (!err)
		err = read_md5(r);
	if (!err)
		err = read_number(r, "chunk-size", 10, 16u << 20, &v);
	t->chunk_size = (uint32_t)v;
	if (!err)
		err = read_number(r, "swarm", 16, UINT64_MAX, &t->swarm);
	if (!err)
		err = read_number(r, "inode", 10, UINT64_MAX, &t->ino);
	if (!err)
		err = read_number(r, "version", 10, UINT64_MAX, &t->version);
	if (!err)
		err = expect(r, "written");
	if (!err)
		err = take_time(r, &t->written_s);
	return err ? err : line_ends(r);
}

/* ----------------------------------------------------------------- holders */

static int read_ranges(struct reader *r, struct track_holder *h)
{
	char *w = word(r), *comma, *dash;
	size_t cap = h->n_ranges;

	do {
		uint64_t after = h->n_ranges ? h->ranges[h->n_ranges - 1].end
					     : 0;
		struct track_range v, *more;

		comma = strchr(w, ',');
		if (comma)
			*comma = 0;
		dash = strchr(w, '-');
		if (dash)
			*dash = 0;
		if (!dash || number(w, 10, r->t->size, &v.at) ||
		    number(dash + 1, 10, r->t->size, &v.end) ||
		    v.at >= v.end || v.at < after)
			return bad(r, "'%.20s%s%.20s' is no range, or not "
				   "behind the one before it", w,
				   dash ? "-" : "", dash ? dash + 1 : "");
		if (h->n_ranges == cap) {
			cap = cap ? 2 * cap : 8;
			more = realloc(h->ranges, cap * sizeof(*more));
			if (!more)
				return -ENOMEM;
			h->ranges = more;
		}
		h->ranges[h->n_ranges++] = v;
		w = comma ? comma + 1 : NULL;
	} while (w);
	return line_ends(r);
}

static int take_addr(struct reader *r, struct track_holder *h)
{
	const char *w = word(r), *colon = strrchr(w, ':');
	size_t n = colon ? (size_t)(colon - w) : 0;
	struct addr a;
	uint64_t port;

	if (n > 1 && w[0] == '[' && w[n - 1] == ']') {
		w++;
		n -= 2;
	}
	if (!n || n > MSG_ADDR_MAX || number(colon + 1, 10, UINT16_MAX, &port) ||
	    !port || addr_from_ip(w, n, (uint16_t)port, &a))
		return bad(r, "'%.60s' is no address of a holder", w);
	memcpy(h->addr, w, n);
	h->addr[n] = 0;
	h->port = (uint16_t)port;
	return 0;
}

static int read_holder(struct reader *r)
{
	struct track *t = r->t;
	struct track_holder h = { 0 }, *last, *more;
	uint64_t num = 0;
	int err = take_addr(r, &h);

	if (!err)
		err = take_number(r, "peer's number", 10, UINT32_MAX, &num);
	if (!err)
		err = take_number(r, "peer's id", 16, UINT64_MAX, &h.id);
	if (!err)
		err = take_time(r, &h.heard_s);
	if (err)
		return err;
	h.num = (uint32_t)num;
	last = t->n_holders ? &t->holders[t->n_holders - 1] : NULL;
	if (last && last->num == h.num)
		return read_ranges(r, last);
	if (!h.num || t->n_holders == MSG_PEERS_MAX)
		return bad(r, "there is no such peer");
	if (t->n_holders == r->cap_holders) {
		r->cap_holders = r->cap_holders ? 2 * r->cap_holders : 8;
		more = realloc(t->holders, r->cap_holders * sizeof(*more));
		if (!more)
			return -ENOMEM;
		t->holders = more;
	}
	t->holders[t->n_holders++] = h;
	return read_ranges(r, &t->holders[t->n_holders - 1]);
}

/* ------------------------------------------------------------------ pieces */

static int check_piece(struct reader *r, const struct track_piece *p)
{
	const struct track *t = r->t;
	const struct track_piece *before =
		t->n_pieces ? &t->pieces[t->n_pieces - 1] : NULL;

	if (!p->len || p->at > t->size || p->len > t->size - p->at)
		return bad(r, "the piece is empty or goes over the file's end");
	if (before && p->at < before->at + before->len)
		return bad(r, "the piece begins in the one before it");
	if (!p->chunk || p->off > p->chunk_len ||
	    p->len > p->chunk_len - p->off)
		return bad(r, "the piece is not inside its chunk");
	if (t->n_pieces == TRACK_PIECES_MAX)
		return bad(r, "there are too many pieces");
	return 0;
}

static int read_piece(struct reader *r)
{
	struct track *t = r->t;
	struct track_piece p = { 0 }, *more;
	uint64_t len = 0, chunk_len = 0, off = 0;
	int err = take_number(r, "offset", 10, INT64_MAX, &p.at);

	if (!err)
		err = take_number(r, "length", 10, 16u << 20, &len);
	if (!err)
		err = take_number(r, "chunk's id", 16, UINT64_MAX, &p.chunk);
	if (!err)
		err = take_number(r, "chunk's length", 10, 16u << 20,
				  &chunk_len);
	if (!err)
		err = take_number(r, "offset in the chunk", 10, 16u << 20,
				  &off);
	if (!err)
		err = take_md5(r, p.md5);
	p.len = (uint32_t)len;
	p.chunk_len = (uint32_t)chunk_len;
	p.off = (uint32_t)off;
	if (!err)
		err = line_ends(r);
	if (!err)
		err = check_piece(r, &p);
	if (!err && t->n_pieces == r->cap_pieces) {
		r->cap_pieces = r->cap_pieces ? 2 * r->cap_pieces : 64;
		more = realloc(t->pieces, r->cap_pieces * sizeof(*more));
		if (!more)
			return -ENOMEM;
		t->pieces = more;
	}
	if (!err)
		t->pieces[t->n_pieces++] = p;
	return err;
}

static int read_end(struct reader *r)
{
	uint64_t n;
	int err = take_number(r, "count of pieces", 10, TRACK_PIECES_MAX, &n);

	if (!err)
		err = line_ends(r);
	if (!err && n != r->t->n_pieces)
		return bad(r, "%zu pieces were read, not %" PRIu64,
			   r->t->n_pieces, n);
	if (!err && getc(r->from) != EOF) {
		r->number++;
		return bad(r, "something follows the end");
	}
	return err ? err : ferror(r->from) ? -EIO : 1;
}

/* 1 at the end. */
static int read_line(struct reader *r)
{
	int err = next_line(r);
	const char *key;

	if (err)
		return err;
	key = word(r);
	if (!strcmp(key, "end"))
		return read_end(r);
	if (!strcmp(key, "piece"))
		return read_piece(r);
	if (!strcmp(key, "holder") && !r->t->n_pieces)
		return read_holder(r);
	return bad(r, "'holder', 'piece' or 'end' was expected");
}

int track_parse(struct track *t, FILE *from, char *why, size_t why_len)
{
	struct reader r = { .from = from, .t = t, .why = why,
			    .why_len = why_len };
	int err;

	memset(t, 0, sizeof(*t));
	why[0] = 0;
	r.line = malloc(TRACK_LINE_MAX);
	if (!r.line)
		return -ENOMEM;
	err = read_head(&r);
	while (!err)
		err = read_line(&r);
	free(r.line);
	if (err > 0)
		return 0;
	track_fini(t);
	return err;
}
