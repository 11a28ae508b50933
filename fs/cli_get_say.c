/*
 * cli_get_say -- what pspfs get says at its end: see cli_get.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli_get.h"
#include "text.h"

#define RANGES_TOLD 8			/* missing ranges named in text */

/* ------------------------------------------------------- what is missing */

/* A file that was changed since its tracker file was written. */
static const char *stale_hint(struct get_cmd *g)
{
	struct ask ask = ask_link(peer_link(g->peer));
	struct m_getattr q = { .ino = g->track.ino };
	struct m_getattr_r r = { .attr.version = g->track.version };
	struct arena a = ARENA_INIT;
	struct buf *body = NULL;
	struct wr w = WR_INIT;
	int err = -ENOTCONN;

	if (g->result.unlike)
		return "the tracker file is not right: get it again";
	m_getattr_encode(&w, &q);	/* a failure shows in w.err */
	if (link_is_up(peer_link(g->peer)))
		err = ask_call(&ask, M_getattr, &w, &body, NULL, 0);
	else
		wr_fini(&w);
	if (!err)
		m_getattr_r_decode(&r, &a, body->data, body->len);
	arena_fini(&a);
	buf_unref(body);
	if (err == -ENOENT || (!err && r.attr.version != g->track.version))
		return g->track_file ? "the file has changed since: get its "
				       "tracker file again"
				     : "the file has changed meanwhile: run "
				       "the same command again";
	return "start a peer that has them and run the same command again";
}

int cli_get_missing(struct get_cmd *g)
{
	const struct get_result *r = &g->result;
	const char *hint = stale_hint(g);
	uint64_t bytes = 0;
	char size[16];

	for (size_t i = 0; i < r->n_missing; i++)
		bytes += r->missing[i].end - r->missing[i].at;
	fprintf(stderr, "pspfs: %s: no active peer has %s of it: bytes",
		g->track.name, size_text(bytes, size));
	for (size_t i = 0; i < r->n_missing && i < RANGES_TOLD; i++)
		fprintf(stderr, "%s %" PRIu64 "-%" PRIu64, i ? "," : "",
			r->missing[i].at, r->missing[i].end);
	if (r->n_missing > RANGES_TOLD)
		fprintf(stderr, " and %zu ranges more",
			r->n_missing - RANGES_TOLD);
	fprintf(stderr, "; all else is in %s: %s\n", g->part.path, hint);
	return CLI_FAILED;
}

/* ------------------------------------------------------------ the outcome */

static uint64_t from_receivers(const struct get_result *r)
{
	uint64_t n = 0;

	for (size_t i = 0; i < r->n_sources; i++)
		if (r->sources[i].num >= MSG_GUEST_FIRST)
			n += r->sources[i].bytes;
	return n;
}

int cli_get_json(const struct get_cmd *g, int code)
{
	const struct get_result *r = &g->result;
	json_t *sources = json_array(), *missing = json_array();
	char md5[2 * MD5_LEN + 1];

	for (size_t i = 0; i < r->n_sources; i++)
		json_array_append_new(
			sources,
			json_pack("{s:s s:I s:b}", "address",
				  r->sources[i].at, "bytes",
				  (json_int_t)r->sources[i].bytes, "receiver",
				  r->sources[i].num >= MSG_GUEST_FIRST));
	for (size_t i = 0; i < r->n_missing; i++)
		json_array_append_new(
			missing, json_pack("[I, I]",
					   (json_int_t)r->missing[i].at,
					   (json_int_t)r->missing[i].end));
	hex_text(g->track.md5, MD5_LEN, md5);
	return cli_print_json(json_pack(
		"{s:s s:s s:b s:I s:s? s:I s:I s:I s:I s:o s:o}", "name",
		g->track.name, "dest", g->dest, "complete", code == CLI_OK,
		"size", (json_int_t)g->track.size, "md5",
		g->track.has_md5 ? md5 : NULL, "bytes_resumed",
		(json_int_t)r->resumed, "bytes_fetched",
		(json_int_t)r->fetched, "bytes_from_receivers",
		(json_int_t)from_receivers(r), "milliseconds",
		(json_int_t)(now_ms() - g->begun_ms), "sources", sources,
		"missing", missing));
}

void cli_get_text(const struct get_cmd *g)
{
	const struct get_result *r = &g->result;
	uint64_t ms = now_ms() - g->begun_ms;
	char size[16], rate[16], bytes[16];

	printf("%s: %s in %.1f s", g->dest, size_text(g->track.size, size),
	       (double)ms / 1000);
	if (r->fetched)
		printf(" (%s/s)", size_text(r->fetched * 1000 / (ms ? ms : 1),
					    rate));
	if (r->resumed)
		printf(", %s of it was there", size_text(r->resumed, bytes));
	printf(", %s\n", g->track.has_md5
				 ? "MD5 of the whole checked"
				 : "checked chunk by chunk; nobody could tell "
				   "the whole file's MD5");
	for (size_t i = 0; i < r->n_sources; i++)
		printf("%10s from %s%s\n",
		       size_text(r->sources[i].bytes, bytes),
		       r->sources[i].at,
		       r->sources[i].num >= MSG_GUEST_FIRST ? " (a receiver)"
							    : "");
}
