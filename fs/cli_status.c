/* pspfs status: the swarm at a glance. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "counters.h"
#include "report.h"

static json_t *counters_json(const struct m_counter *c, uint32_t n)
{
	json_t *o = json_object();
	uint32_t i;

	for (i = 0; i < n; i++)
		if (counter_json(c[i].which))
			json_object_set_new(
				o, counter_json(c[i].which),
				json_integer((json_int_t)c[i].value));
	return o;
}

static json_t *peer_json(const struct m_status_r *st, const struct m_peer *p)
{
	char at[ADDR_TEXT_MAX], id[17];

	cli_peer_text(st, p->num, at);
	snprintf(id, sizeof(id), "%016" PRIx64, p->id);
	return json_pack("{s:i s:s s:s s:s s:b s:b s:s s:I s:I s:I s:I s:o}",
			 "number", (int)p->num, "id", id, "address", at,
			 "state", report_state(p->state),
			 "mounted", (int)p->mounted, "guest", (int)p->guest,
			 "reachable", report_reach(p->reach),
			 "capacity_bytes", (json_int_t)p->capacity,
			 "used_bytes", (json_int_t)p->used,
			 "chunks", (json_int_t)p->chunks,
			 "silent_ms", (json_int_t)p->silent_ms, "counters",
			 counters_json(p->counters, p->n_counters));
}

static int print_json(const struct m_status_r *st)
{
	json_t *peers = json_array();
	char swarm[17];
	uint32_t i;

	for (i = 0; i < st->n_peers; i++)
		json_array_append_new(peers, peer_json(st, &st->peers[i]));
	snprintf(swarm, sizeof(swarm), "%016" PRIx64, st->swarm);
	return cli_print_json(json_pack(
		"{s:s s:i s:i s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:f s:f "
		"s:I s:I s:o s:o}",
		"swarm", swarm, "copies", (int)st->copies, "chunk_size",
		(int)st->slot_size, "uptime_ms", (json_int_t)st->uptime_ms,
		"files", (json_int_t)st->files, "chunks",
		(json_int_t)st->chunks, "file_bytes", (json_int_t)st->bytes,
		"capacity_bytes", (json_int_t)st->capacity, "used_bytes",
		(json_int_t)st->used, "under_replicated_chunks",
		(json_int_t)st->under_replicated, "missing_chunks",
		(json_int_t)st->missing, "garbage_chunks",
		(json_int_t)st->garbage, "metadata_bytes",
		(json_int_t)st->metadata, "metadata_bytes_per_chunk",
		report_metadata_per_chunk(st), "stored_bytes_per_file_byte",
		report_stored_per_byte(st), "relay_cached_bytes",
		(json_int_t)st->cached, "relay_cache_bytes",
		(json_int_t)st->cache, "peers", peers, "tracker_counters",
		counters_json(st->counters, st->n_counters)));
}

int cli_status(struct cli *c, int argc, char **argv)
{
	struct arena a = ARENA_INIT;
	struct buf *body = NULL;
	struct m_status_r st;
	int code;

	(void)argv;
	if (argc > 1)
		return cli_say(CLI_USAGE, "status takes no arguments");
	code = cli_open(c);
	if (code == CLI_OK)
		code = cli_fetch_status(c, &st, &a, &body);
	if (code == CLI_OK && c->json)
		code = print_json(&st);
	else if (code == CLI_OK)
		report_print(stdout, &st);
	arena_fini(&a);
	buf_unref(body);
	return code;
}
