/*
 * pspfs info PATH: which chunks a file is made of, and who holds them.
 *
 * A PATH in a mounted folder gives the inode by stat(2) and the tracker from
 * the mount's source; any other is walked from the top of the swarm.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"

#define SWARM_ROOT 1		/* the inode of the top */

#define SOURCE_PREFIX "pspfs:"
#define INFO_SLOTS_MAX 4194304	/* slots of one answer: 2 TiB at 512 KiB */

struct info {
	struct m_attr attr;
	struct m_slot *slots;
	struct m_chunk *chunks;
	size_t n_slots, n_chunks;
	struct arena arena;	/* all answers' lists */
};

/* Is @path in a mounted pspfs?  Its inode, and the mount's tracker (to be
 * freed).  0 or -errno; -ENODEV: it is in some other filesystem. */
static int local_inode(const char *path, uint64_t *ino, char **tracker)
{
	char real[PATH_MAX];
	struct mntent *m, *best = NULL;
	size_t best_len = 0;
	struct stat st;
	FILE *f;
	char *end;

	if (!realpath(path, real) || stat(real, &st))
		return -errno;
	f = setmntent("/proc/self/mounts", "r");
	if (!f)
		return -errno;
	while ((m = getmntent(f))) {
		size_t n = strlen(m->mnt_dir);

		if (strncmp(real, m->mnt_dir, n) ||
		    (n > 1 && real[n] && real[n] != '/') || n < best_len)
			continue;
		free(*tracker);
		*tracker = NULL;
		best = NULL;
		best_len = n;
		if (strstr(m->mnt_type, "pspfs") &&
		    !strncmp(m->mnt_fsname, SOURCE_PREFIX,
			     strlen(SOURCE_PREFIX))) {
			best = m;
			*tracker = strdup(m->mnt_fsname +
					  strlen(SOURCE_PREFIX));
		}
	}
	endmntent(f);
	if (!best || !*tracker)
		return -ENODEV;
	end = strstr(*tracker, ":/");	/* a mounted sub-directory */
	if (end)
		*end = 0;
	end = strchr(*tracker, ',');	/* the first of several */
	if (end)
		*end = 0;
	*ino = st.st_ino;
	return 0;
}

static int lookup(struct cli *c, uint64_t parent, struct str name,
		  uint64_t *ino)
{
	struct m_lookup q = { .parent = parent, .name = name };
	struct m_lookup_r r;
	struct arena a = ARENA_INIT;
	struct wr w = WR_INIT;
	struct buf *body = NULL;
	char why[MSG_TEXT_MAX + 1];
	int err;

	m_lookup_encode(&w, &q);
	err = cli_call(c, M_lookup, &w, &body, why, sizeof(why));
	if (!err)
		err = m_lookup_r_decode(&r, &a, body->data, body->len);
	if (!err)
		*ino = r.attr.ino;
	arena_fini(&a);
	buf_unref(body);
	return err;
}

/* Walk @path from the swarm's root. */
static int swarm_inode(struct cli *c, const char *path, uint64_t *ino)
{
	int err = 0;

	*ino = SWARM_ROOT;
	while (!err && *path) {
		size_t n = strcspn(path, "/");

		if (n > MSG_NAME_MAX)
			return -ENAMETOOLONG;
		if (n)
			err = lookup(c, *ino,
				     (struct str){ path, (uint32_t)n }, ino);
		path += n + (path[n] == '/');
	}
	return err;
}

static int grow(void **list, size_t have, size_t more, size_t size)
{
	void *p = realloc(*list, (have + more) * size + 1);

	if (!p)
		return -ENOMEM;
	*list = p;
	return 0;
}

/* One page of the map, appended; @bodies keep the strings alive (there are
 * none in it, so that the body can go at once). */
static int add_page(struct cli *c, struct info *in, uint64_t ino,
		    uint64_t first)
{
	struct m_getmap q = { .ino = ino, .first = first,
			      .count = MSG_SLOTS_MAX };
	struct m_getmap_r r;
	struct wr w = WR_INIT;
	struct buf *body = NULL;
	char why[MSG_TEXT_MAX + 1];
	int err;

	m_getmap_encode(&w, &q);
	err = cli_call(c, M_getmap, &w, &body, why, sizeof(why));
	if (!err)
		err = m_getmap_r_decode(&r, &in->arena, body->data, body->len);
	if (!err)
		err = grow((void **)&in->slots, in->n_slots, r.n_slots,
			   sizeof(*in->slots));
	if (!err)
		err = grow((void **)&in->chunks, in->n_chunks, r.n_chunks,
			   sizeof(*in->chunks));
	buf_unref(body);
	if (err)
		return err;
	in->attr = r.attr;
	memcpy(in->slots + in->n_slots, r.slots,
	       r.n_slots * sizeof(*in->slots));
	memcpy(in->chunks + in->n_chunks, r.chunks,
	       r.n_chunks * sizeof(*in->chunks));
	in->n_slots += r.n_slots;
	in->n_chunks += r.n_chunks;
	return 0;
}

static int fetch_info(struct cli *c, struct info *in, uint64_t ino)
{
	uint64_t first = 0, slots;
	int err;

	do {
		err = add_page(c, in, ino, first);
		if (err)
			return err;
		first += MSG_SLOTS_MAX;
		slots = in->attr.slot_size ?
			in->attr.size / in->attr.slot_size + 1 : 0;
	} while (first < slots && first < INFO_SLOTS_MAX);
	return 0;
}

static void info_fini(struct info *in)
{
	free(in->slots);
	free(in->chunks);
	arena_fini(&in->arena);
}

static const struct m_chunk *find_chunk(const struct info *in, uint64_t id)
{
	size_t i;

	for (i = 0; i < in->n_chunks; i++)
		if (in->chunks[i].id == id)
			return &in->chunks[i];
	return NULL;
}

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

static int print_json(const char *path, const struct info *in,
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

static void print_slice(const struct info *in, const struct m_status_r *st,
			const struct m_slot *s, const struct m_slice *p)
{
	uint64_t at = s->index * in->attr.slot_size + p->pos;
	const struct m_chunk *k = find_chunk(in, p->chunk);
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

static void print_text(const char *path, const struct info *in,
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

static int show(struct cli *c, const char *path, uint64_t ino, int walk)
{
	struct info in = { 0 };
	struct arena a = ARENA_INIT;
	struct buf *body = NULL;
	struct m_status_r st;
	int err = 0, code;

	if (walk)
		err = swarm_inode(c, path, &ino);
	if (!err)
		err = fetch_info(c, &in, ino);
	if (err) {
		info_fini(&in);
		return cli_say(CLI_FAILED, "%s: %s%s", path, strerror(-err),
			       err == -ENOENT ? ": neither in a mounted folder "
			       "nor in the swarm" : "");
	}
	code = cli_fetch_status(c, &st, &a, &body);
	if (code == CLI_OK && c->json)
		code = print_json(path, &in, &st);
	else if (code == CLI_OK)
		print_text(path, &in, &st);
	info_fini(&in);
	arena_fini(&a);
	buf_unref(body);
	return code;
}

int cli_info(struct cli *c, int argc, char **argv)
{
	char *tracker = NULL;
	uint64_t ino = 0;
	int err, code;

	if (argc != 2)
		return cli_say(CLI_USAGE, "info takes one PATH: see pspfs "
			       "--help");
	err = local_inode(argv[1], &ino, &tracker);
	if (!err && !c->tracker)
		c->tracker = tracker;
	code = cli_open(c);
	if (code == CLI_OK)
		code = show(c, argv[1], ino, err != 0);
	free(tracker);
	return code;
}
