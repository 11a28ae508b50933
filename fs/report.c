/* report -- see report.h. */
#include "report.h"

#include <inttypes.h>

#include "counters.h"

/* Of each chunk's MD5 two copies travel: in the header, behind the bytes. */
#define MD5_SENT_BYTES (2 * MD5_LEN)

int report_fetch(const struct ask *ask, struct m_status_r *st,
		 struct arena *a, struct buf **body, char *why,
		 size_t why_len)
{
	struct m_status q = { 0 };
	struct wr w = WR_INIT;
	int err;

	m_status_encode(&w, &q);
	err = ask_call(ask, M_status, &w, body, why, why_len);
	return err ? err
		   : m_status_r_decode(st, a, (*body)->data, (*body)->len);
}

/* ----------------------------------------------------------------- words */

const char *report_state(uint8_t state)
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

const char *report_reach(uint8_t reach)
{
	switch (reach) {
	case REACH_YES:
		return "yes";
	case REACH_NO:
		return "no";
	default:
		return "unknown";
	}
}

void report_peer_text(const struct m_status_r *st, uint32_t num,
		      char out[ADDR_TEXT_MAX])
{
	struct addr a;
	uint32_t i;

	for (i = 0; i < st->n_peers; i++) {
		const struct m_peer *p = &st->peers[i];

		if (p->num == num &&
		    !addr_from_ip(p->addr.p, p->addr.len, p->port, &a)) {
			addr_text(&a, out);
			return;
		}
	}
	snprintf(out, ADDR_TEXT_MAX, "peer %u", num);
}

double report_metadata_per_chunk(const struct m_status_r *st)
{
	return st->chunks ? (double)st->metadata / (double)st->chunks : 0;
}

double report_stored_per_byte(const struct m_status_r *st)
{
	return st->bytes ? (double)st->used / (double)st->bytes : 0;
}

/* ------------------------------------------------------------- the peers */

static const char *folder_word(const struct m_peer *p)
{
	return p->guest ? "guest" : p->mounted ? "mounted" : "-";
}

static void print_peer(FILE *to, const struct m_status_r *st,
		       const struct m_peer *p)
{
	char at[ADDR_TEXT_MAX], cap[16], used[16];

	report_peer_text(st, p->num, at);
	fprintf(to, "%-22s %-8s %-7s %10s %10s %9" PRIu64 "%s\n", at,
		report_state(p->state), folder_word(p),
		size_text(p->capacity, cap), size_text(p->used, used),
		p->chunks, p->reach == REACH_NO ? "  behind NAT/firewall" : "");
}

void report_peers(FILE *to, const struct m_status_r *st)
{
	uint32_t i;

	fprintf(to, "%-22s %-8s %-7s %10s %10s %9s\n", "PEER", "STATE",
		"FOLDER", "LENDS", "USED", "CHUNKS");
	for (i = 0; i < st->n_peers; i++) {
		const struct m_peer *p = &st->peers[i];

		if (!p->guest || p->state != PEER_GONE)
			print_peer(to, st, p);
	}
}

/* ---------------------------------------------------------- the counters */

static const uint8_t communication[] = {
	CNT_HANDSHAKES, CNT_HANDSHAKE_US, CNT_HANDSHAKE_FAILED, CNT_LOOKUPS,
	CNT_RPCS, CNT_RETRIES, CNT_CHUNKS_SENT, CNT_BYTES_SENT,
	CNT_CHUNKS_RECEIVED, CNT_BYTES_RECEIVED, 0,
};

static const uint8_t computation[] = {
	CNT_MD5_CHECKED, CNT_MD5_BYTES, CNT_MD5_US, CNT_CORRUPT, CNT_RESENT,
	CNT_REFETCHED, CNT_QUARANTINED, 0,
};

static void add_up(uint64_t sum[CNT_MAX], const struct m_counter *c,
		   uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (c[i].which < CNT_MAX)
			sum[c[i].which] += c[i].value;
}

static void print_number(FILE *to, const char *name, uint64_t value)
{
	if (value)
		fprintf(to, "  %-40s %16" PRIu64 "\n", name, value);
}

static void print_ratio(FILE *to, const char *name, double value)
{
	if (value > 0)
		fprintf(to, "  %-40s %16.2f\n", name, value);
}

/* Prints a group's counters and strikes them from @sum. */
static void print_group(FILE *to, const uint8_t *which, uint64_t *sum)
{
	for (; *which; which++) {
		print_number(to, counter_text(*which), sum[*which]);
		sum[*which] = 0;
	}
}

static void print_communication(FILE *to, uint64_t *sum)
{
	uint64_t mean_us = sum[CNT_HANDSHAKES] ? sum[CNT_HANDSHAKE_US] /
						 sum[CNT_HANDSHAKES] : 0;
	uint64_t md5_bytes = sum[CNT_CHUNKS_SENT] * MD5_SENT_BYTES;

	fprintf(to, "\nCOMMUNICATION OVERHEAD, all together\n");
	print_group(to, communication, sum);
	print_number(to, "bytes of MD5s sent with chunks", md5_bytes);
	print_number(to, "time of one handshake (mean), us", mean_us);
}

static void print_storage(FILE *to, const struct m_status_r *st)
{
	fprintf(to, "\nSTORAGE OVERHEAD\n");
	print_ratio(to, "bytes stored per byte of file",
		    report_stored_per_byte(st));
	print_number(to, "bytes of metadata at the tracker", st->metadata);
	print_ratio(to, "bytes of metadata per chunk",
		    report_metadata_per_chunk(st));
	print_number(to, "bytes in the relay's cache", st->cached);
	print_number(to, "bytes that the relay's cache may hold", st->cache);
}

static void print_counters(FILE *to, const struct m_status_r *st)
{
	uint64_t sum[CNT_MAX] = { 0 };
	unsigned c;

	for (uint32_t i = 0; i < st->n_peers; i++)
		add_up(sum, st->peers[i].counters, st->peers[i].n_counters);
	add_up(sum, st->counters, st->n_counters);
	print_communication(to, sum);
	fprintf(to, "\nCOMPUTATION OVERHEAD, all together\n");
	print_group(to, computation, sum);
	print_storage(to, st);
	fprintf(to, "\nOTHER COUNTERS, all together\n");
	for (c = 0; c < CNT_MAX; c++)
		if (counter_text(c))
			print_number(to, counter_text(c), sum[c]);
}

/* ---------------------------------------------------------------- all of it */

void report_print(FILE *to, const struct m_status_r *st)
{
	char bytes[16], cap[16], used[16], slot[16];
	uint32_t i, active = 0, guests = 0;

	for (i = 0; i < st->n_peers; i++) {
		int here = st->peers[i].state != PEER_GONE;

		active += here && !st->peers[i].guest;
		guests += here && st->peers[i].guest;
	}
	fprintf(to, "swarm %016" PRIx64 ": %" PRIu64 " files, %s in %" PRIu64
		" chunks of up to %s, %u copies of each\n",
		st->swarm, st->files, size_text(st->bytes, bytes), st->chunks,
		size_text(st->slot_size, slot), st->copies);
	fprintf(to, "%u active %s lend %s, %s used\n", active,
		active == 1 ? "peer" : "peers", size_text(st->capacity, cap),
		size_text(st->used, used));
	if (guests)
		fprintf(to, "%u %s for a download or upload\n", guests,
			guests == 1 ? "guest is here" : "guests are here");
	if (st->under_replicated || st->missing)
		fprintf(to, "%" PRIu64 " chunks have too few copies, %" PRIu64
			" have none on an active peer\n",
			st->under_replicated, st->missing);
	else
		fprintf(to, "every chunk has its copies\n");
	if (st->garbage)
		fprintf(to, "%" PRIu64 " chunks wait to be deleted\n",
			st->garbage);
	fputc('\n', to);
	report_peers(to, st);
	print_counters(to, st);
}
