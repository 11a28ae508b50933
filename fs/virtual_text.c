/*
 * virtual_text -- see virtual.h; here: what the files say.
 *
 * A text is written in full when its file is opened, into memory that grows
 * up to the limit, beyond which the stream fails.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "track.h"
#include "virtual_internal.h"

enum { ROOM_FIRST = 4096 };

/* ---------------------------------------------------------- a bounded stream */

struct sink {
	struct virtual_text *text;
	size_t room;
	int err;
};

static int grow(struct sink *s, size_t need)
{
	size_t room = s->room ? s->room : ROOM_FIRST;
	char *p;

	if (need > VIRTUAL_TEXT_MAX)
		return -EFBIG;
	while (room < need)
		room *= 2;
	p = realloc(s->text->p, room);
	if (!p)
		return -ENOMEM;
	s->text->p = p;
	s->room = room;
	return 0;
}

static ssize_t sink_write(void *arg, const char *p, size_t n)
{
	struct sink *s = arg;
	size_t need = s->text->n + n;

	if (!s->err && need > s->room)
		s->err = grow(s, need);
	if (s->err)
		return 0;	/* an error to stdio */
	memcpy(s->text->p + s->text->n, p, n);
	s->text->n = need;
	return (ssize_t)n;
}

/* ------------------------------------------------------------------ the texts */

static int write_status(FILE *to, const struct ask *ask, int all)
{
	struct arena a = ARENA_INIT;
	struct buf *body = NULL;
	struct m_status_r st;
	int err = report_fetch(ask, &st, &a, &body, NULL, 0);

	if (!err && all)
		report_print(to, &st);
	else if (!err)
		report_peers(to, &st);
	arena_fini(&a);
	buf_unref(body);
	return err;
}

static int write_track(FILE *to, const struct ask *ask, const char *path)
{
	struct ask brief = *ask;
	struct track t = { 0 };
	int err = track_gather(&t, ask, path);

	brief.timeout_ms = VIRTUAL_MD5_MS;
	if (!err)	/* what comes too late is known the next time */
		track_compute_md5(&t, &brief, NULL, 0);
	if (!err)
		err = track_render(&t, to);
	track_fini(&t);
	return err;
}

static int write_text(struct virtual *v, const struct virtual_node *n,
		      const char *top, const struct ask *ask, FILE *to)
{
	char path[MSG_PATH_MAX], whole[2 * MSG_PATH_MAX];
	int err;

	if (n->kind != VIRTUAL_TRACK)
		return write_status(to, ask, n->kind == VIRTUAL_STATUS);
	err = virtual_path(v, n->ino, path);
	if (err)
		return err;
	snprintf(whole, sizeof(whole), "%s%s", top, path);
	return strlen(whole) < MSG_PATH_MAX ? write_track(to, ask, whole)
					    : -ENAMETOOLONG;
}

/* The text, not yet counted. */
static int make(struct virtual *v, const struct virtual_node *n,
		const char *top, const struct ask *ask,
		struct virtual_text *text)
{
	const cookie_io_functions_t io = { .write = sink_write };
	struct sink s = { .text = text };
	FILE *to = fopencookie(&s, "w", io);
	int err;

	if (!to)
		return -ENOMEM;
	err = write_text(v, n, top, ask, to);
	if (fclose(to) && !err)
		err = -EIO;
	return s.err ? s.err : err;
}

static int count(struct virtual *v, size_t bytes)
{
	int fits;

	pthread_mutex_lock(&v->lock);
	fits = v->text_bytes + bytes <= VIRTUAL_TEXTS_MAX;
	if (fits)
		v->text_bytes += bytes;
	pthread_mutex_unlock(&v->lock);
	return fits ? 0 : -ENOMEM;
}

int virtual_text_open(struct virtual *v, const struct virtual_node *n,
		      const char *top, const struct ask *ask,
		      struct virtual_text **out)
{
	struct virtual_text *t = calloc(1, sizeof(*t));
	int err;

	if (!t)
		return -ENOMEM;
	err = make(v, n, top, ask, t);
	if (!err)
		err = count(v, t->n);
	if (err) {
		free(t->p);
		free(t);
		return err;
	}
	t->refs = 1;
	*out = t;
	return 0;
}

void virtual_text_ref(struct virtual *v, struct virtual_text *t)
{
	pthread_mutex_lock(&v->lock);
	t->refs++;
	pthread_mutex_unlock(&v->lock);
}

void virtual_text_close(struct virtual *v, struct virtual_text *t)
{
	unsigned left;

	pthread_mutex_lock(&v->lock);
	left = --t->refs;
	if (!left)
		v->text_bytes -= t->n;
	pthread_mutex_unlock(&v->lock);
	if (left)
		return;
	free(t->p);
	free(t);
}
