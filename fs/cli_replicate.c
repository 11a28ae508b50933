/*
 * pspfs replicate PATH: so many copies of a file, or one at every peer.
 *
 * --all makes a job at the tracker, which goes on without us: here it is
 * watched, a bar for each peer, and counted up at its end.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bars.h"
#include "cli.h"
#include "counters.h"

#define POLL_MS 150		/* how often the job is looked at */
#define FRESH_MS 2300		/* peers report their counters every 2 s */
#define COPIES_MOST 16

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

struct replicate {
	struct cli *c;
	const char *path;
	unsigned copies;
	uint8_t via;
	int no_wait;
	uint64_t job;
	/* the job as it was last seen; lists live in the arena */
	struct m_job_r seen;
	struct arena arena;
	uint64_t before[CNT_MAX], after[CNT_MAX];
};

/* What a replication moves, in the order in which it is shown. */
static const uint16_t shown[] = {
	CNT_CHUNKS_SENT, CNT_BYTES_SENT, CNT_RELAY_REQUESTS, CNT_RELAY_RESENT,
	CNT_RELAY_BY_TCP, CNT_RELAY_HITS, CNT_RELAY_MISSES,
	CNT_RELAY_COALESCED, CNT_RELAY_DIRECTED, CNT_RELAY_BROADCASTS,
	CNT_RELAY_DUPLICATES, CNT_RELAY_NOWHERE, CNT_RELAY_EVICTED,
	CNT_RELAY_BYTES_IN, CNT_RELAY_BYTES_OUT,
};

/* ---------------------------------------------------------------- counters */

static void add_up(uint64_t sum[CNT_MAX], const struct m_counter *v,
		   uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (v[i].which < CNT_MAX)
			sum[v[i].which] += v[i].value;
}

/* The tracker's and all peers', added up. */
static int count(struct cli *c, uint64_t sum[CNT_MAX])
{
	struct arena a = ARENA_INIT;
	struct buf *body = NULL;
	struct m_status_r st;
	int code = cli_fetch_status(c, &st, &a, &body);

	memset(sum, 0, CNT_MAX * sizeof(*sum));
	if (code == CLI_OK) {
		add_up(sum, st.counters, st.n_counters);
		for (uint32_t i = 0; i < st.n_peers; i++)
			add_up(sum, st.peers[i].counters,
			       st.peers[i].n_counters);
	}
	arena_fini(&a);
	buf_unref(body);
	return code;
}

/* A peer that left took its counters along: never below nought. */
static uint64_t moved(const struct replicate *r, unsigned which)
{
	return r->after[which] > r->before[which]
		       ? r->after[which] - r->before[which]
		       : 0;
}

/* ------------------------------------------------------------------ asking */

static int ask_replicate(struct replicate *r, uint64_t ino)
{
	struct m_replicate m = { .ino = ino, .copies = (uint8_t)r->copies,
				 .via = r->via };
	struct arena a = ARENA_INIT;
	struct buf *body = NULL;
	struct m_replicate_r out;
	struct wr w = WR_INIT;
	char why[MSG_TEXT_MAX + 1];
	int err;

	m_replicate_encode(&w, &m);	/* a failure shows in w.err */
	err = cli_call(r->c, M_replicate, &w, &body, why, sizeof(why));
	if (!err)
		err = m_replicate_r_decode(&out, &a, body->data, body->len);
	arena_fini(&a);
	buf_unref(body);
	if (err)
		return cli_say(CLI_FAILED, "%s: %s", r->path,
			       why[0] ? why : strerror(-err));
	r->job = out.job;
	return CLI_OK;
}

static int ask_job(struct replicate *r)
{
	struct m_job m = { .job = r->job };
	struct buf *body = NULL;
	struct wr w = WR_INIT;
	char why[MSG_TEXT_MAX + 1];
	int err;

	arena_fini(&r->arena);
	r->seen = (struct m_job_r){ 0 };
	m_job_encode(&w, &m);	/* as above */
	err = cli_call(r->c, M_job, &w, &body, why, sizeof(why));
	if (!err)
		err = m_job_r_decode(&r->seen, &r->arena, body->data,
				     body->len);
	buf_unref(body);	/* there are no strings in it */
	if (err)
		return cli_say(CLI_FAILED, "%s: cannot see how far it is: %s",
			       r->path, why[0] ? why : strerror(-err));
	return CLI_OK;
}

/* ---------------------------------------------------------------- watching */

struct watch {
	struct m_status_r st;	/* for the names of peers */
	struct arena arena;
	struct buf *body;
	struct bars bars;
	struct bar_line *lines;
	char (*names)[ADDR_TEXT_MAX];
	uint32_t n;
};

static void watch_fini(struct watch *v)
{
	arena_fini(&v->arena);
	buf_unref(v->body);
	free(v->lines);
	free(v->names);
}

/* Peers came: read their names, make room for their lines. */
static int watch_grow(struct watch *v, struct replicate *r)
{
	uint32_t n = r->seen.n_parts;

	watch_fini(v);
	v->arena = ARENA_INIT;
	v->body = NULL;
	v->lines = calloc(n + 1, sizeof(*v->lines));
	v->names = calloc(n + 1, sizeof(*v->names));
	v->n = n;
	if (!v->lines || !v->names)
		return cli_say(CLI_FAILED, "no memory");
	return cli_fetch_status(r->c, &v->st, &v->arena, &v->body);
}

static const char *part_note(const struct m_part *p)
{
	if (p->failed)
		return "failed";
	return p->ended ? "done" : NULL;
}

static int draw(struct watch *v, struct replicate *r, int last)
{
	int code = CLI_OK;

	if (!v->lines || v->n != r->seen.n_parts)
		code = watch_grow(v, r);
	if (code != CLI_OK)
		return code;
	for (uint32_t i = 0; i < v->n; i++) {
		const struct m_part *p = &r->seen.parts[i];
		uint64_t total = r->seen.bytes;

		/* what was overwritten in part has bytes that nobody maps */
		if (p->bytes > total || (p->ended && !p->failed))
			total = p->bytes;
		cli_peer_text(&v->st, p->num, v->names[i]);
		v->lines[i] = (struct bar_line){
			.name = v->names[i], .done = p->bytes, .total = total,
			.note = part_note(p),
		};
	}
	bars_draw(&v->bars, v->lines, v->n, last);
	return CLI_OK;
}

static void pause_ms(uint32_t ms)
{
	struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);	/* a signal ends it early, as it should */
}

/* Until the job has ended, or somebody pressed Ctrl-C. */
static int watch_job(struct watch *v, struct replicate *r)
{
	int code;

	bars_init(&v->bars, r->c->json);
	for (;;) {
		code = ask_job(r);
		if (code == CLI_OK)
			code = draw(v, r, r->seen.ended || interrupted);
		if (code != CLI_OK || r->seen.ended || interrupted)
			return code;
		pause_ms(POLL_MS);
	}
}

/* ------------------------------------------------------------------ results */

/* The parts that did not come to a good end. */
static uint32_t failures(const struct replicate *r)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->seen.n_parts; i++)
		n += !r->seen.parts[i].ended || r->seen.parts[i].failed;
	return n;
}

static json_t *parts_json(const struct watch *v, const struct replicate *r)
{
	json_t *all = json_array();

	for (uint32_t i = 0; i < r->seen.n_parts; i++) {
		const struct m_part *p = &r->seen.parts[i];
		char at[ADDR_TEXT_MAX];

		cli_peer_text(&v->st, p->num, at);
		json_array_append_new(
			all,
			json_pack("{s:s s:I s:I s:I s:I s:b}", "peer", at,
				  "chunks", (json_int_t)p->chunks, "done",
				  (json_int_t)p->done, "bytes",
				  (json_int_t)p->bytes, "failed",
				  (json_int_t)p->failed, "ended",
				  (int)p->ended));
	}
	return all;
}

static int print_json(const struct watch *v, const struct replicate *r,
		      uint64_t took_ms)
{
	json_t *counters = json_object();

	for (size_t i = 0; i < sizeof(shown) / sizeof(*shown); i++)
		json_object_set_new(counters, counter_json(shown[i]),
				    json_integer((json_int_t)moved(r,
							      shown[i])));
	return cli_print_json(json_pack(
		"{s:s s:i s:I s:b s:I s:I s:I s:o s:o}", "path", r->path,
		"copies", (int)r->copies, "job", (json_int_t)r->job, "ended",
		(int)r->seen.ended, "chunks", (json_int_t)r->seen.chunks,
		"bytes", (json_int_t)r->seen.bytes, "took_ms",
		(json_int_t)took_ms, "peers", parts_json(v, r), "counters",
		counters));
}

static void print_text(const struct watch *v, const struct replicate *r,
		       uint64_t took_ms)
{
	char at[ADDR_TEXT_MAX], size[16];

	printf("%-22s %9s %12s %8s\n", "PEER", "CHUNKS", "BYTES", "FAILED");
	for (uint32_t i = 0; i < r->seen.n_parts; i++) {
		const struct m_part *p = &r->seen.parts[i];

		cli_peer_text(&v->st, p->num, at);
		printf("%-22s %9" PRIu64 " %12s %8" PRIu64 "%s\n", at,
		       p->done, size_text(p->bytes, size), p->failed,
		       p->ended ? "" : "  left");
	}
	printf("\n%" PRIu64 ".%03" PRIu64 " s; in the whole swarm meanwhile:\n",
	       took_ms / 1000, took_ms % 1000);
	for (size_t i = 0; i < sizeof(shown) / sizeof(*shown); i++)
		if (i < 2 || r->via == VIA_TRACKER || moved(r, shown[i]))
			printf("  %-34s %14" PRIu64 "\n",
			       counter_text(shown[i]), moved(r, shown[i]));
}

static int say_failures(const struct watch *v, const struct replicate *r)
{
	char at[ADDR_TEXT_MAX];

	for (uint32_t i = 0; i < r->seen.n_parts; i++) {
		const struct m_part *p = &r->seen.parts[i];

		cli_peer_text(&v->st, p->num, at);
		if (!p->ended)
			cli_say(CLI_FAILED, "%s left before it had all: it "
				"gets the rest when it comes back", at);
		else if (p->failed)
			cli_say(CLI_FAILED, "%s could not get %" PRIu64
				" chunks: see its log, whether it has room, "
				"and pspfs info %s, whether all chunks have a "
				"holder; then replicate again", at, p->failed,
				r->path);
	}
	return failures(r) ? CLI_FAILED : CLI_OK;
}

static int watch_all(struct replicate *r)
{
	struct watch v = { .n = 0 };
	uint64_t begun = now_ms(), took;
	int code = watch_job(&v, r);

	took = now_ms() - begun;
	if (code == CLI_OK && !r->seen.ended) {
		code = cli_say(CLI_FAILED, "%s: the peers go on without being "
			       "watched; the same command watches again",
			       r->path);
	} else if (code == CLI_OK) {
		pause_ms(FRESH_MS);
		code = count(r->c, r->after);
		if (code == CLI_OK && r->c->json)
			code = print_json(&v, r, took);
		else if (code == CLI_OK)
			print_text(&v, r, took);
		if (code == CLI_OK)
			code = say_failures(&v, r);
	}
	watch_fini(&v);
	return code;
}

static int print_started(const struct replicate *r)
{
	if (r->c->json)
		return cli_print_json(json_pack("{s:s s:i s:I}", "path",
						r->path, "copies",
						(int)r->copies, "job",
						(json_int_t)r->job));
	if (r->job)
		printf("%s: every peer completes it now\n", r->path);
	else
		printf("%s: %u %s wanted of each chunk: what is missing is "
		       "copied in the background\n", r->path, r->copies,
		       r->copies == 1 ? "copy" : "copies");
	return CLI_OK;
}

/* ----------------------------------------------------------- command line */

static int take_copies(struct replicate *r, const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (!strcmp(text, "all")) {
		r->copies = MSG_COPIES_ALL;
		return CLI_OK;
	}
	if (*text < '0' || *text > '9' || *end || !n || n > COPIES_MOST)
		return cli_say(CLI_USAGE, "--copies %s: give a number from 1 "
			       "to %d, or all", text, COPIES_MOST);
	r->copies = (unsigned)n;
	return CLI_OK;
}

static int take_via(struct replicate *r, const char *text)
{
	static const char *const names[] = { "auto", "peers", "tracker" };

	for (uint8_t i = 0; i < 3; i++)
		if (!strcmp(text, names[i])) {
			r->via = i;
			return CLI_OK;
		}
	return cli_say(CLI_USAGE, "--via %s: give auto, peers or tracker",
		       text);
}

static int take_options(struct replicate *r, int argc, char **argv)
{
	static const struct option own[] = {
		{ "all", no_argument, NULL, 'a' },
		{ "copies", required_argument, NULL, 'c' },
		{ "via", required_argument, NULL, 'v' },
		{ "no-wait", no_argument, NULL, 'n' },
		{ NULL, 0, NULL, 0 },
	};
	int opt, code = CLI_OK;

	while (code == CLI_OK &&
	       (opt = cli_option(r->c, argc, argv, own)) != -1) {
		if (opt == 'a')
			r->copies = MSG_COPIES_ALL;
		else if (opt == 'c')
			code = take_copies(r, optarg);
		else if (opt == 'v')
			code = take_via(r, optarg);
		else if (opt == 'n')
			r->no_wait = 1;
		else
			code = CLI_USAGE;
	}
	if (code != CLI_OK)
		return code;
	if (argc - optind != 1 || !r->copies)
		return cli_say(CLI_USAGE, "replicate takes a PATH, and --all "
			       "or --copies N");
	r->path = argv[optind];
	return CLI_OK;
}

int cli_replicate(struct cli *c, int argc, char **argv)
{
	struct sigaction catch = { .sa_handler = on_signal };
	struct replicate r = { .c = c };
	struct m_attr attr;
	int code = take_options(&r, argc, argv);

	if (code == CLI_OK)
		code = cli_find(c, r.path, &attr);
	if (code == CLI_OK)
		code = count(c, r.before);
	if (code == CLI_OK)
		code = ask_replicate(&r, attr.ino);
	if (code == CLI_OK && (!r.job || r.no_wait)) {
		code = print_started(&r);
	} else if (code == CLI_OK) {
		sigaction(SIGINT, &catch, NULL);
		sigaction(SIGTERM, &catch, NULL);
		code = watch_all(&r);
	}
	arena_fini(&r.arena);
	return code;
}
