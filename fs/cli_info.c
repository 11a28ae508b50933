/* pspfs info PATH: which chunks a file is made of, and who holds them. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "layout.h"

static json_t *chunk_json(const struct m_status_r *st, const struct m_chunk *k)
{
	char id[17], md5[2 * MD5_LEN + 1], at[ADDR_TEXT_MAX];
	json_t *holders = json_array();
	uint32_t i;

	snprintf(id, sizeof(id), "%016" PRIx64, k->id);
	hex_text(k->md5, MD5_LEN, md5);
	for (i = 0; i < k->n_holders; i++) {
		cli_peer_text(st, k->holders[i], at);
		json_array_append_new(holders, json_string(at));
	}
	return json_pack("{s:s s:I s:s s:o}", "id", id, "length",
			 (json_int_t)k->len, "md5", md5, "holders", holders);
}

static json_t *slot_json(const struct m_slot *s)
{
	json_t *slices = json_array();
	char id[17];
	uint32_t i;

	for (i = 0; i < s->n_slices; i++) {
		const struct m_slice *p = &s->slices[i];

		snprintf(id, sizeof(id), "%016" PRIx64, p->chunk);
		json_array_append_new(
			slices, json_pack("{s:I s:I s:s s:I}", "position",
					  (json_int_t)p->pos, "length",
					  (json_int_t)p->len, "chunk", id,
					  "offset", (json_int_t)p->off));
	}
	return json_pack("{s:I s:I s:o}", "slot", (json_int_t)s->index,
			 "version", (json_int_t)s->version, "slices", slices);
}

static int print_json(const char *path, const struct layout *in,
		      const struct m_status_r *st)
{
	json_t *chunks = json_array(), *slots = json_array();
	size_t i;

	for (i = 0; i < in->n_chunks; i++)
		json_array_append_new(chunks, chunk_json(st, &in->chunks[i]));
	for (i = 0; i < in->n_slots; i++)
		json_array_append_new(slots, slot_json(&in->slots[i]));
	return cli_print_json(json_pack(
		"{s:s s:I s:I s:I s:o s:o}", "path", path, "inode",
		(json_int_t)in->attr.ino, "size", (json_int_t)in->attr.size,
		"chunk_size", (json_int_t)in->attr.slot_size, "slots", slots,
		"chunks", chunks));
}

static void print_slice(const struct layout *in, const struct m_status_r *st,
			const struct m_slot *s, const struct m_slice *p)
{
	uint64_t at = s->index * in->attr.slot_size + p->pos;
	const struct m_chunk *k = layout_chunk(in, p->chunk);
	char md5[2 * MD5_LEN + 1] = "-", who[ADDR_TEXT_MAX];
	uint32_t i;

	if (k)
		hex_text(k->md5, MD5_LEN, md5);
	printf("%8" PRIu64 " %12" PRIu64 " %9" PRIu32 "  %016" PRIx64
	       "  %-32s ", s->index, at, p->len, p->chunk, md5);
	for (i = 0; k && i < k->n_holders; i++) {
		cli_peer_text(st, k->holders[i], who);
		printf(" %s", who);
	}
	if (!p->chunk)
		printf(" (zeros)");
	else if (!k || !k->n_holders)
		printf(" nobody that is active");
	putchar('\n');
}

static void print_text(const char *path, const struct layout *in,
		       const struct m_status_r *st)
{
	char size[16], slot[16];
	size_t i;
	uint32_t n;

	printf("%s: inode %" PRIu64 ", %s, %zu chunks of up to %s\n", path,
	       in->attr.ino, size_text(in->attr.size, size), in->n_chunks,
	       size_text(in->attr.slot_size, slot));
	if (in->n_slots)
		printf("%8s %12s %9s  %-16s  %-32s  %s\n", "SLOT", "OFFSET",
		       "BYTES", "CHUNK", "MD5", "HELD BY");
	for (i = 0; i < in->n_slots; i++)
		for (n = 0; n < in->slots[i].n_slices; n++)
			print_slice(in, st, &in->slots[i],
				    &in->slots[i].slices[n]);
}

static int show(struct cli *c, const char *path, uint64_t ino)
{
	struct layout in = { 0 };
	struct ask ask = cli_ask(c);
	struct arena a = ARENA_INIT;
	struct buf *body = NULL;
	struct m_status_r st;
	int err, code;

	err = layout_load(&in, &ask, ino);
	if (err)
		return cli_say(CLI_FAILED, "%s: %s", path, strerror(-err));
	code = cli_fetch_status(c, &st, &a, &body);
	if (code == CLI_OK && c->json)
		code = print_json(path, &in, &st);
	else if (code == CLI_OK)
		print_text(path, &in, &st);
	layout_fini(&in);
	arena_fini(&a);
	buf_unref(body);
	return code;
}

int cli_info(struct cli *c, int argc, char **argv)
{
	struct m_attr attr;
	int code;

	if (argc != 2)
		return cli_say(CLI_USAGE, "info takes one PATH: see pspfs "
			       "--help");
	code = cli_find(c, argv[1], &attr);
	return code == CLI_OK ? show(c, argv[1], attr.ino) : code;
}
