/*
 * pspfs list [DIR]: every file below DIR, and how well it can be had.
 *
 * A page of a directory at a time, a file's map at a time: what is kept is
 * the list of directories still to be read.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "layout.h"
#include "track.h"

#define PAGE 256		/* entries asked for at once */

struct dir {
	struct dir *next;
	uint64_t ino;
	char path[];		/* "" for the top, "/a/b" */
};

struct listing {
	struct cli *cli;
	struct ask ask;
	struct dir *dirs;	/* still to be read, the next one first */
	uint64_t files, bytes;
};

/* What can be had of a file now. */
struct health {
	unsigned percent;	/* of its bytes that some active peer holds */
	unsigned holders;	/* members that hold all of it */
};

/* ---------------------------------------------------------------- health */

static int holds(const struct m_chunk *c, uint32_t num)
{
	for (uint32_t i = 0; i < c->n_holders; i++)
		if (c->holders[i] == num)
			return 1;
	return 0;
}

static unsigned count_full(const struct layout *l)
{
	const struct m_chunk *first = l->n_pieces ? l->pieces[0].chunk : NULL;
	unsigned full = 0;

	for (uint32_t i = 0; first && i < first->n_holders; i++) {
		uint32_t num = first->holders[i];
		size_t k = 0;

		while (num < MSG_GUEST_FIRST && k < l->n_pieces &&
		       holds(l->pieces[k].chunk, num))
			k++;
		full += k == l->n_pieces;
	}
	return full;
}

static int look(struct listing *l, uint64_t ino, struct health *out)
{
	struct layout in = { 0 };
	uint64_t all = 0, held = 0;
	int err = layout_load(&in, &l->ask, ino);

	if (err)
		return err;
	for (size_t i = 0; i < in.n_pieces; i++) {
		all += in.pieces[i].len;
		if (in.pieces[i].chunk->n_holders)
			held += in.pieces[i].len;
	}
	*out = (struct health){
		.percent = all ? (unsigned)(held * 100.0 / (double)all) : 100,
		.holders = count_full(&in),
	};
	layout_fini(&in);
	return 0;
}

/* --------------------------------------------------------------- printing */

static int print_file(struct listing *l, const char *path,
		      const struct m_attr *a, const struct health *h)
{
	char when[24], size[16], holders[16] = "-", *text;
	json_t *j;

	track_time(a->mtime_s, when);
	if (!l->cli->json) {
		if (a->stored)
			snprintf(holders, sizeof(holders), "%u", h->holders);
		printf("%10s %4u%% %7s  %s  %s\n", size_text(a->size, size),
		       h->percent, holders, when, path);
		return 0;
	}
	j = json_pack("{s:s s:I s:i s:i s:s}", "path", path, "size",
		      (json_int_t)a->size, "available_percent",
		      (int)h->percent, "holders", (int)h->holders, "modified",
		      when);
	text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	json_decref(j);
	if (!text)		/* a name that is not UTF-8, or no memory */
		return cli_say(CLI_FAILED, "%s: the name cannot be written as "
			       "JSON: leave out --json", path);
	printf("%s\n    %s", l->files ? "," : "", text);
	free(text);
	return 0;
}

static int list_file(struct listing *l, const char *path,
		     const struct m_attr *a)
{
	struct health h;
	int code, err = look(l, a->ino, &h);

	if (err == -ENOENT)
		return CLI_OK;	/* deleted meanwhile */
	if (err)
		return cli_say(CLI_FAILED, "%s: %s", path, strerror(-err));
	code = print_file(l, path, a, &h);
	l->files++;
	l->bytes += a->size;
	return code;
}

/* ------------------------------------------------------------- directories */

static int push(struct listing *l, const char *path, uint64_t ino)
{
	struct dir *d = malloc(sizeof(*d) + strlen(path) + 1);

	if (!d)
		return cli_say(CLI_FAILED, "no memory");
	d->ino = ino;
	strcpy(d->path, path);
	d->next = l->dirs;
	l->dirs = d;
	return CLI_OK;
}

static int list_entry(struct listing *l, const struct dir *d,
		      const struct m_entry *e)
{
	char path[MSG_PATH_MAX + MSG_NAME_MAX + 2];

	if (snprintf(path, sizeof(path), "%s/%.*s", d->path, (int)e->name.len,
		     e->name.p) >= MSG_PATH_MAX)
		return cli_say(CLI_FAILED, "%s: the path is too long", path);
	if (S_ISDIR(e->attr.mode))
		return push(l, path, e->attr.ino);
	return S_ISREG(e->attr.mode) ? list_file(l, path, &e->attr) : CLI_OK;
}

/* One page, after *@after; *@eof: there is none behind it. */
static int list_page(struct listing *l, const struct dir *d, uint64_t *after,
		     uint8_t *eof)
{
	struct m_readdir q = { .ino = d->ino, .after = *after, .most = PAGE };
	struct arena a = ARENA_INIT;
	struct buf *body = NULL;
	struct wr w = WR_INIT;
	struct m_readdir_r r = { .n_entries = 0 };
	int code = CLI_OK, err;

	m_readdir_encode(&w, &q);	/* a failure shows in w.err */
	err = ask_call(&l->ask, M_readdir, &w, &body, NULL, 0);
	if (!err)
		err = m_readdir_r_decode(&r, &a, body->data, body->len);
	*eof = r.eof || !r.n_entries;
	for (uint32_t i = 0; code == CLI_OK && i < r.n_entries; i++) {
		*after = r.entries[i].cookie;
		code = list_entry(l, d, &r.entries[i]);
	}
	arena_fini(&a);
	buf_unref(body);
	if (err && err != -ENOENT)	/* deleted meanwhile */
		code = cli_say(CLI_FAILED, "%s: %s", d->path, strerror(-err));
	return code;
}

static int list_all(struct listing *l)
{
	struct dir *d;
	int code = CLI_OK;

	while ((d = l->dirs)) {
		uint64_t after = 0;
		uint8_t eof = 0;

		l->dirs = d->next;
		while (code == CLI_OK && !eof)
			code = list_page(l, d, &after, &eof);
		free(d);
	}
	return code;
}

static int list_from(struct listing *l, const char *path,
		     const struct m_attr *top)
{
	char bytes[16];
	int code;

	if (l->cli->json)
		printf("{\n  \"files\": [");
	else
		printf("%10s %5s %7s  %-20s  %s\n", "SIZE", "THERE", "HOLDERS",
		       "MODIFIED", "NAME");
	code = S_ISDIR(top->mode) ? push(l, path, top->ino)
				  : list_file(l, path, top);
	if (code == CLI_OK)
		code = list_all(l);
	if (l->cli->json)
		printf("\n  ]\n}\n");
	else if (code == CLI_OK)
		printf("%" PRIu64 " files, %s\n", l->files,
		       size_text(l->bytes, bytes));
	if (fflush(stdout) || ferror(stdout))
		return cli_say(CLI_FAILED, "cannot write the answer");
	return code;
}

int cli_list(struct cli *c, int argc, char **argv)
{
	struct listing l = { .cli = c };
	const char *dir = argc > 1 ? argv[1] : "/";
	char path[MSG_PATH_MAX], *p;
	struct m_attr top;
	int code;

	if (argc > 2)
		return cli_say(CLI_USAGE, "list takes one DIR at most: see "
			       "pspfs --help");
	code = cli_find(c, dir, &top);
	if (code == CLI_OK)
		code = cli_swarm_path(c, dir, path);
	if (code != CLI_OK)
		return code;
	for (p = path + strlen(path); p > path && p[-1] == '/'; p--)
		p[-1] = 0;
	l.ask = cli_ask(c);
	return list_from(&l, path, &top);
}
