/*
 * pspfs tracker NAME: its tracker file.
 *
 * An MD5 of the whole that the tracker does not know is computed by a peer,
 * which reads the file; it is told on a terminal what is waited for.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "track.h"

#define MD5_WAIT_MS 3600000	/* who waits can end it before */

static json_t *holder_json(const struct track_holder *h)
{
	char at[ADDR_TEXT_MAX] = "", heard[24], id[17];
	json_t *ranges = json_array();
	struct addr a;

	if (!addr_from_ip(h->addr, strlen(h->addr), h->port, &a))
		addr_text(&a, at);
	for (size_t i = 0; i < h->n_ranges; i++)
		json_array_append_new(
			ranges, json_pack("[I, I]", (json_int_t)h->ranges[i].at,
					  (json_int_t)h->ranges[i].end));
	snprintf(id, sizeof(id), "%016" PRIx64, h->id);
	return json_pack("{s:s s:I s:s s:s s:o}", "address", at, "number",
			 (json_int_t)h->num, "id", id, "heard",
			 track_time(h->heard_s, heard), "ranges", ranges);
}

static json_t *piece_json(const struct track_piece *p)
{
	char md5[2 * MD5_LEN + 1], id[17];

	hex_text(p->md5, MD5_LEN, md5);
	snprintf(id, sizeof(id), "%016" PRIx64, p->chunk);
	return json_pack("{s:I s:I s:s s:I s:I s:s}", "offset",
			 (json_int_t)p->at, "length", (json_int_t)p->len,
			 "chunk", id, "chunk_length", (json_int_t)p->chunk_len,
			 "offset_in_chunk", (json_int_t)p->off, "md5", md5);
}

static int print_json(const struct track *t)
{
	char md5[2 * MD5_LEN + 1], swarm[17], written[24];
	json_t *holders = json_array(), *pieces = json_array();

	for (size_t i = 0; i < t->n_holders; i++)
		json_array_append_new(holders, holder_json(&t->holders[i]));
	for (size_t i = 0; i < t->n_pieces; i++)
		json_array_append_new(pieces, piece_json(&t->pieces[i]));
	hex_text(t->md5, MD5_LEN, md5);
	snprintf(swarm, sizeof(swarm), "%016" PRIx64, t->swarm);
	return cli_print_json(json_pack(
		"{s:i s:s s:I s:s? s:I s:s s:I s:I s:s s:o s:o}", "format",
		TRACK_FORMAT, "name", t->name, "size", (json_int_t)t->size,
		"md5", t->has_md5 ? md5 : NULL, "chunk_size",
		(json_int_t)t->chunk_size, "swarm", swarm, "inode",
		(json_int_t)t->ino, "version", (json_int_t)t->version,
		"written", track_time(t->written_s, written), "holders",
		holders, "pieces", pieces));
}

int cli_gather(struct cli *c, const char *path, struct track *out)
{
	char name[MSG_PATH_MAX];
	struct ask ask;
	int err, code = cli_open_for(c, path, name, &ask);

	if (code != CLI_OK)
		return code;
	err = track_gather(out, &ask, name);
	switch (err) {
	case 0:
		return CLI_OK;
	case -ENOENT:
	case -ENOTDIR:
		return cli_say(CLI_FAILED, "%s: there is no such file in the "
			       "swarm: see pspfs list", path);
	case -EISDIR:
	case -EINVAL:
		return cli_say(CLI_FAILED, "%s is not a file: name one of "
			       "those that pspfs list shows", path);
	case -EAGAIN:
		return cli_say(CLI_FAILED, "%s is being written: wait until "
			       "that has ended", path);
	default:
		return cli_say(CLI_FAILED, "%s: the tracker does not say what "
			       "it is made of: %s", path, strerror(-err));
	}
}

/* A tracker file without it is as good for fetching. */
static void wait_for_md5(struct cli *c, struct track *t)
{
	struct ask ask = cli_ask(c);
	char why[MSG_TEXT_MAX + 1];
	int err;

	if (t->has_md5)
		return;
	if (!c->json && isatty(STDERR_FILENO))
		cli_say(0, "%s: waiting for a peer that reads the file and "
			"computes its MD5 (--no-md5 does not wait)", t->name);
	ask.timeout_ms = MD5_WAIT_MS;
	err = track_compute_md5(t, &ask, why, sizeof(why));
	if (err == -ESTALE)
		cli_say(0, "%s has changed meanwhile: its MD5 is left out",
			t->name);
	else if (err)
		cli_say(0, "%s: nobody could tell the MD5 of the whole file: "
			"%s", t->name, why[0] ? why : strerror(-err));
}

int cli_track(struct cli *c, int argc, char **argv)
{
	static const struct option options[] = {
		{ "no-md5", no_argument, NULL, 'n' },
		{ NULL, 0, NULL, 0 },
	};
	struct track t = { 0 };
	int code, opt, wait = 1;

	optind = 0;	/* begin anew */
	while ((opt = cli_option(c, argc, argv, options)) != -1) {
		if (opt != 'n')
			return CLI_USAGE;
		wait = 0;
	}
	if (optind != argc - 1)
		return cli_say(CLI_USAGE, "tracker takes one NAME: see pspfs "
			       "--help");
	code = cli_gather(c, argv[optind], &t);
	if (code == CLI_OK && wait)
		wait_for_md5(c, &t);
	if (code == CLI_OK && c->json)
		code = print_json(&t);
	else if (code == CLI_OK && track_render(&t, stdout))
		code = cli_say(CLI_FAILED, "cannot write the answer");
	track_fini(&t);
	return code;
}
