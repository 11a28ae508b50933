/* pspfs status: the swarm at a glance. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "counters.h"

static const char *state_word(uint8_t state)
{
	switch (state) {
	case PEER_ALIVE:
		return "active";
	case PEER_SUSPECT:
		return "suspect";
	default:
		return "gone";
	}
}

static const char *folder_word(const struct m_peer *p)
{
	return p->guest ? "guest" : p->mounted ? "mounted" : "-";
}

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
	return json_pack("{s:i s:s s:s s:s s:b s:b s:I s:I s:I s:I s:o}",
			 "number", (int)p->num, "id", id, "address", at,
			 "state", state_word(p->state),
			 "mounted", (int)p->mounted,
			 "guest", (int)p->guest,
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
		"{s:s s:i s:i s:I s:I s:I s:I s:I s:I s:I s:I s:I s:o s:o}",
		"swarm", swarm, "copies", (int)st->copies, "chunk_size",
		(int)st->slot_size, "uptime_ms", (json_int_t)st->uptime_ms,
		"files", (json_int_t)st->files, "chunks",
		(json_int_t)st->chunks, "file_bytes", (json_int_t)st->bytes,
		"capacity_bytes", (json_int_t)st->capacity, "used_bytes",
		(json_int_t)st->used, "under_replicated_chunks",
		(json_int_t)st->under_replicated, "missing_chunks",
		(json_int_t)st->missing, "garbage_chunks",
		(json_int_t)st->garbage, "peers", peers, "tracker_counters",
		counters_json(st->counters, st->n_counters)));
}

static void print_peers(const struct m_status_r *st)
{
	char at[ADDR_TEXT_MAX], cap[16], used[16];
	uint32_t i;

	printf("\n%-22s %-8s %-7s %10s %10s %9s\n", "PEER", "STATE", "FOLDER",
	       "LENDS", "USED", "CHUNKS");
	for (i = 0; i < st->n_peers; i++) {
		const struct m_peer *p = &st->peers[i];

		cli_peer_text(st, p->num, at);
		printf("%-22s %-8s %-7s %10s %10s %9" PRIu64 "\n", at,
		       state_word(p->state), folder_word(p),
		       size_text(p->capacity, cap), size_text(p->used, used),
		       p->chunks);
	}
}

/* The peers' counters, added up, and the tracker's. */
static void print_counters(const struct m_status_r *st)
{
	uint64_t sum[CNT_MAX] = { 0 };
	uint32_t i, k;
	unsigned c;

	for (i = 0; i < st->n_peers; i++)
		for (k = 0; k < st->peers[i].n_counters; k++)
			if (st->peers[i].counters[k].which < CNT_MAX)
				sum[st->peers[i].counters[k].which] +=
					st->peers[i].counters[k].value;
	for (k = 0; k < st->n_counters; k++)
		if (st->counters[k].which < CNT_MAX)
			sum[st->counters[k].which] += st->counters[k].value;
	printf("\nCOUNTERS, all together\n");
	for (c = 0; c < CNT_MAX; c++)
		if (counter_text(c) && sum[c])
			printf("  %-34s %14" PRIu64 "\n", counter_text(c),
			       sum[c]);
}

static void print_text(const struct m_status_r *st)
{
	char bytes[16], cap[16], used[16], slot[16];
	uint32_t i, active = 0, guests = 0;

	for (i = 0; i < st->n_peers; i++) {
		guests += st->peers[i].guest;
		active += !st->peers[i].guest &&
			  st->peers[i].state != PEER_GONE;
	}
	printf("swarm %016" PRIx64 ": %" PRIu64 " files, %s in %" PRIu64
	       " chunks of up to %s, %u copies of each\n",
	       st->swarm, st->files, size_text(st->bytes, bytes), st->chunks,
	       size_text(st->slot_size, slot), st->copies);
	printf("%u active %s lend %s, %s used\n", active,
	       active == 1 ? "peer" : "peers", size_text(st->capacity, cap),
	       size_text(st->used, used));
	if (guests)
		printf("%u %s for a download or upload\n", guests,
		       guests == 1 ? "guest is here" : "guests are here");
	if (st->under_replicated || st->missing)
		printf("%" PRIu64 " chunks have too few copies, %" PRIu64
		       " have none on an active peer\n",
		       st->under_replicated, st->missing);
	else
		printf("every chunk has its copies\n");
	if (st->garbage)
		printf("%" PRIu64 " chunks wait to be deleted\n", st->garbage);
	print_peers(st);
	print_counters(st);
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
		print_text(&st);
	arena_fini(&a);
	buf_unref(body);
	return code;
}
