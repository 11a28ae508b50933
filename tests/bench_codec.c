/* bench_codec -- messages a second of those that are sent most, one thread. */
#include "msg.h"

#include <sys/stat.h>

#include "bench.h"

enum { MANY = 100, SLICES = 8, ENTRIES = 100 };

static uint32_t holders[] = { 1, 2 };
static struct m_chunk chunks[SLICES];
static struct m_slice slices[SLICES];
static struct m_slot slots[SLICES];
static struct m_entry entries[ENTRIES];
static struct m_push pushes[SLICES];

static struct m_attr attr = { .ino = 77, .mode = S_IFREG | 0644, .nlink = 1,
			      .size = 4 << 20, .version = 9,
			      .slot_size = 512 << 10 };

static struct m_getattr_r getattr_r;
static struct m_lookup lookup = { .parent = 1, .name = STR_LIT("file-0001") };
static struct m_commit commit = { .seq = 5, .ino = 77, .pushes = pushes,
				  .n_pushes = SLICES };
static struct m_getmap_r getmap_r = { .slots = slots, .n_slots = SLICES,
				      .chunks = chunks, .n_chunks = SLICES };
static struct m_readdir_r readdir_r = { .parent = 1, .eof = 1,
					.entries = entries,
					.n_entries = ENTRIES };

struct kind {
	const char *name;
	int (*encode)(struct wr *w, const void *m);
	int (*decode)(void *m, struct arena *a, const void *p, size_t n);
	const void *message;
};

#define KIND(m, text)                                                      \
	{ text, (int (*)(struct wr *, const void *))m_##m##_encode,        \
	  (int (*)(void *, struct arena *, const void *, size_t))          \
		  m_##m##_decode, &m }

static const struct kind kinds[] = {
	KIND(lookup, "lookup"),
	KIND(getattr_r, "getattr's answer"),
	KIND(commit, "commit of 8 chunks"),
	KIND(getmap_r, "getmap's answer, 8 chunks"),
	KIND(readdir_r, "readdir's answer, 100 entries"),
};

static double encode(void *arg)
{
	const struct kind *k = arg;

	for (int i = 0; i < MANY; i++) {
		struct wr w = WR_INIT;

		bench_must(!k->encode(&w, k->message), k->name);
		wr_fini(&w);
	}
	return MANY;
}

static struct wr encoded;

static double decode(void *arg)
{
	const struct kind *k = arg;
	union {
		struct m_lookup a;
		struct m_getattr_r b;
		struct m_commit c;
		struct m_getmap_r d;
		struct m_readdir_r e;
	} m;

	for (int i = 0; i < MANY; i++) {
		struct arena a = ARENA_INIT;

		bench_must(!k->decode(&m, &a, encoded.p, encoded.len),
			   k->name);
		arena_fini(&a);
	}
	return MANY;
}

static void fill(void)
{
	getattr_r.attr = attr;
	getmap_r.attr = attr;
	for (uint32_t i = 0; i < SLICES; i++) {
		chunks[i] = (struct m_chunk){ .id = 1000 + i, .len = 512 << 10,
					      .holders = holders,
					      .n_holders = 2 };
		slices[i] = (struct m_slice){ 0, 512 << 10, 1000 + i, 0 };
		slots[i] = (struct m_slot){ i, 1, &slices[i], 1 };
		pushes[i] = (struct m_push){ .slot = i, .len = 512 << 10,
					     .chunk = 1000 + i,
					     .chunk_len = 512 << 10,
					     .stored = holders,
					     .n_stored = 2 };
	}
	for (uint32_t i = 0; i < ENTRIES; i++)
		entries[i] = (struct m_entry){ .cookie = i + 1,
					       .name = STR_LIT("file-00000042"),
					       .attr = attr };
}

int main(void)
{
	char what[80];

	fill();
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		void *k = (void *)&kinds[i];

		encoded = WR_INIT;
		bench_must(!kinds[i].encode(&encoded, kinds[i].message),
			   kinds[i].name);
		snprintf(what, sizeof(what), "codec: encode %s",
			 kinds[i].name);
		bench_row(what, bench_rate(encode, k), "/s", 0, NULL);
		snprintf(what, sizeof(what), "codec: decode %s",
			 kinds[i].name);
		bench_row(what, bench_rate(decode, k), "/s", 0, NULL);
		wr_fini(&encoded);
	}
	return 0;
}
