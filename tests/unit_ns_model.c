/*
 * unit_ns_model -- random commits, appends, truncates, holes, clones,
 * compactions of what was read long ago, batches that are rolled back and
 * restarts, against arrays of bytes.
 *
 * The seed is printed; `SEED=n unit_ns_model` repeats a run.  ROUNDS sets
 * how many operations are tried (default 4000 in memory and on disk each).
 */
#include <time.h>

#include "ns_fixture.h"
#include "rng.h"

enum { FILES = 3, SIZE = 16 * FIX_SLOT, CHUNKS = 20000, PUSHES = 5,
       MERGES = 6 };

struct file {
	uint64_t ino;
	uint32_t size;
	uint8_t bytes[SIZE];
};

struct chunk {
	uint32_t len;		/* 0: never named, or dropped */
	uint8_t bytes[FIX_SLOT];
};

/* A compaction that was computed, and has yet to reach the tracker. */
struct merge {
	struct m_compact m;	/* ino 0: none */
	enum { DONE, EITHER, REFUSED } want;
};

static struct file files[FILES], saved[FILES];	/* saved: last commit */
static struct merge merges[MERGES];
static struct chunk chunks[CHUNKS];
static uint64_t made;		/* chunks that have been made */
static uint64_t rng;

static uint32_t below(uint32_t n)
{
	return (uint32_t)(rng_next(&rng) % n);
}

/* ------------------------------------------------------------- comparing */

static void paint(uint8_t *to, const struct m_getmap_r *g)
{
	uint32_t i, j, k;

	for (i = 0; i < g->n_slots; i++) {
		const struct m_slot *s = &g->slots[i];

		for (j = 0; j < s->n_slices; j++) {
			const struct m_slice *v = &s->slices[j];

			for (k = 0; k < v->len; k++)
				to[s->index * FIX_SLOT + v->pos + k] =
					v->chunk ? chunks[v->chunk]
							.bytes[v->off + k] : 0;
		}
	}
}

static struct m_getmap_r compare(struct fix *f, const struct file *want)
{
	uint8_t got[SIZE] = { 0 };
	struct m_getmap_r g;
	uint32_t i, slices = 0;

	assert_int_equal(ns_getmap(f->ns, &f->a, want->ino, 0, 100, &g), 0);
	assert_int_equal(g.attr.size, want->size);
	paint(got, &g);
	assert_memory_equal(got, want->bytes, SIZE);
	for (i = 0; i < g.n_slots; i++)
		slices += g.slots[i].n_slices;
	assert_true(g.n_chunks <= slices);
	return g;
}

/* ------------------------------------------------------------ operations */

static struct m_push some_chunk(void)
{
	static uint32_t stored[] = { 1 };
	struct m_push p = { .stored = stored, .n_stored = 1 };
	uint32_t i;

	if (!below(5))
		return p;		/* zeros */
	p.chunk = made && !below(4) ? 1 + below((uint32_t)made) : 0;
	if (!p.chunk || !chunks[p.chunk].len) {
		assert_true(made + 1 < CHUNKS);
		p.chunk = ++made;
		chunks[p.chunk].len = 1 + below(FIX_SLOT);
		for (i = 0; i < chunks[p.chunk].len; i++)
			chunks[p.chunk].bytes[i] = (uint8_t)(1 + below(255));
	}
	p.chunk_len = chunks[p.chunk].len;
	memcpy(p.md5, &p.chunk, sizeof(p.chunk));
	return p;
}

static void write_model(struct file *m, uint32_t at, const struct m_push *p)
{
	if (p->chunk)
		memcpy(m->bytes + at, chunks[p->chunk].bytes + p->off, p->len);
	else
		memset(m->bytes + at, 0, p->len);
	if (m->size < at + p->len)
		m->size = at + p->len;
}

/* What happened to the slots [first, last] of a file after they were read:
 * how will a compaction fare? */
static void foretell(uint64_t ino, uint64_t first, uint64_t last, int want)
{
	int i;

	for (i = 0; i < MERGES; i++) {
		const struct m_compact *m = &merges[i].m;

		if (m->ino == ino && m->push.slot >= first &&
		    m->push.slot <= last && (int)merges[i].want < want)
			merges[i].want = want;
	}
}

/* Some pushes; one time in eight the last is wrong and nothing happens. */
static void do_commit(struct fix *f, struct file *file)
{
	struct m_push p[PUSHES];
	struct file after = *file;
	uint32_t i, n = 1 + below(PUSHES), at[PUSHES];
	int wrong = !below(8);
	struct m_commit_r r;

	for (i = 0; i < n; i++) {
		uint32_t whole;

		p[i] = some_chunk();
		whole = p[i].chunk ? p[i].chunk_len : FIX_SLOT;
		p[i].len = below(4) ? 1 + below(whole) : whole;
		p[i].off = p[i].chunk ? below(whole - p[i].len + 1) : 0;
		p[i].append = !below(3);
		p[i].slot = i && below(2) ? p[i - 1].slot :
				below(SIZE / FIX_SLOT);
		p[i].pos = below(FIX_SLOT - p[i].len + 1);
		if (p[i].append && after.size + p[i].len > SIZE)
			p[i].append = 0;
		at[i] = p[i].append ? after.size :
			(uint32_t)p[i].slot * FIX_SLOT + p[i].pos;
		write_model(&after, at[i], &p[i]);
	}
	if (wrong)
		p[n - 1].len = FIX_SLOT + 1;
	assert_int_equal(fix_commit(f, file->ino, p, n, &r),
			 wrong ? -EINVAL : 0);
	if (wrong)
		return;
	for (i = 0; i < n; i++) {
		assert_int_equal(r.placed[i], at[i]);
		if (!p[i].chunk)	/* zeros may empty it */
			foretell(file->ino, at[i] / FIX_SLOT,
				 (at[i] + p[i].len - 1) / FIX_SLOT, EITHER);
	}
	*file = after;
}

static void do_truncate(struct fix *f, struct file *file)
{
	uint32_t size = below(4) ? below(SIZE) : below(2) * file->size;

	assert_int_equal(fix_truncate(f, file->ino, size), 0);
	if (size < file->size) {
		memset(file->bytes + size, 0, file->size - size);
		foretell(file->ino, size / FIX_SLOT, UINT64_MAX, REFUSED);
	}
	file->size = size;
}

static void do_allocate(struct fix *f, struct file *file)
{
	static const uint32_t modes[] = {
		0, ALLOCATE_KEEP_SIZE, ALLOCATE_ZERO,
		ALLOCATE_ZERO | ALLOCATE_KEEP_SIZE,
		ALLOCATE_PUNCH | ALLOCATE_KEEP_SIZE,
	};
	uint32_t off = below(SIZE), len = 1 + below(SIZE - off);
	struct m_allocate m = { .ino = file->ino, .off = off, .len = len };
	struct m_allocate_r r;

	if (below(2))
		m.len = len = 1 + below(len < FIX_SLOT ? len : FIX_SLOT);
	m.mode = modes[below(5)];
	assert_int_equal(ns_allocate(f->ns, &m, fix_now(f), &r, fix_t(f)), 0);
	assert_int_equal(r.done, len);
	if (m.mode & (ALLOCATE_ZERO | ALLOCATE_PUNCH)) {
		memset(file->bytes + off, 0, len);
		foretell(file->ino, off / FIX_SLOT,
			 (off + len - 1) / FIX_SLOT, EITHER);
	}
	if (!(m.mode & ALLOCATE_KEEP_SIZE) && file->size < off + len)
		file->size = off + len;
}

/* Of one file into another, or within it. */
static void do_clone(struct fix *f, struct file *to, const struct file *from)
{
	uint32_t off = below(SIZE), from_off = below(SIZE);
	uint32_t room = SIZE - (off > from_off ? off : from_off), len;
	struct m_clone m = { .ino = to->ino, .off = off, .from = from->ino,
			     .from_off = from_off };
	uint32_t gap = off > from_off ? off - from_off : from_off - off;
	struct m_clone_r r;
	int err;

	m.len = 1 + below(room);
	len = from_off < from->size ? from->size - from_off : 0;
	if (len > m.len)
		len = (uint32_t)m.len;
	err = ns_clone(f->ns, &f->a, &m, fix_now(f), &r, fix_t(f));
	if (to == from && gap < len) {
		assert_int_equal(err, -EINVAL);
		return;
	}
	if (err == -EOPNOTSUPP)		/* too deep: compare() sees that
					 * nothing happened */
		return;
	assert_int_equal(err, 0);
	assert_true(r.done == len || (r.more && r.done < len));
	if (!r.done)
		return;
	memmove(to->bytes + off, from->bytes + from_off, r.done);
	if (to->size < off + r.done)
		to->size = off + (uint32_t)r.done;
	foretell(to->ino, off / FIX_SLOT, (off + r.done - 1) / FIX_SLOT,
		 EITHER);
}

/* What is skipped as a hole is zeros, and what is called one.  (Zeros may be
 * data: in a chunk that a slot with many small holes was merged to.) */
static void do_seek(struct fix *f, const struct file *file)
{
	struct m_seekmap m = { .ino = file->ino, .off = below(SIZE),
			       .hole = (uint8_t)below(2) };
	uint32_t at = (uint32_t)m.off, end;
	struct m_seekmap_r r;

	assert_int_equal(ns_seek(f->ns, &m, &r), 0);
	assert_true(r.state < 2);
	assert_int_equal(r.state && at >= file->size, 0);
	if (at >= file->size)
		return;
	end = r.state ? (uint32_t)r.off : file->size;
	assert_true(end >= at && end <= file->size);
	if (m.hole) {
		assert_int_equal(r.state, 1);
		assert_true(end == file->size || !file->bytes[end]);
		return;
	}
	while (at < end)
		assert_int_equal(file->bytes[at++], 0);
}

/* Merge a slot into one chunk, to its end or to that of what it has. */
static void do_merge(struct fix *f, const struct file *file, struct merge *to)
{
	struct m_getmap_r g = compare(f, file);
	static uint32_t stored[] = { 2 };
	uint32_t i, len = FIX_SLOT;
	const struct m_slot *s;

	if (!g.n_slots)
		return;
	s = &g.slots[below(g.n_slots)];
	if (below(2))
		for (i = len = 0; i < s->n_slices; i++)
			if (len < s->slices[i].pos + s->slices[i].len)
				len = s->slices[i].pos + s->slices[i].len;
	assert_true(made + 1 < CHUNKS);
	to->want = DONE;
	to->m = (struct m_compact){ .ino = file->ino, .expect = s->version };
	to->m.push = (struct m_push){ .slot = s->index, .len = len,
				      .chunk = ++made, .chunk_len = len,
				      .stored = stored, .n_stored = 1 };
	memcpy(to->m.push.md5, &to->m.push.chunk, sizeof(made));
	memcpy(chunks[made].bytes, file->bytes + s->index * FIX_SLOT, len);
}

static void do_compact(struct fix *f, struct merge *from)
{
	struct m_compact m = from->m;
	struct m_compact_r r;
	struct m_chunk c;

	from->m.ino = 0;
	assert_int_equal(ns_compact(f->ns, &m, fix_now(f), &r, fix_t(f)), 0);
	if (from->want != EITHER)
		assert_int_equal(r.done, from->want == DONE);
	if (r.done)
		foretell(m.ino, m.push.slot, m.push.slot, REFUSED);
	if (!ns_chunk(f->ns, m.push.chunk, &c)) {
		assert_int_equal(r.done, 1);
		chunks[m.push.chunk].len = m.push.len;
	}
}

static void do_recreate(struct fix *f, struct file *file)
{
	char name[2] = { (char)('a' + (file - files)), 0 };
	int i;

	if (file->ino) {
		assert_int_equal(fix_unlink(f, 1, name, 0), 0);
		assert_int_equal(ns_reap(f->ns, file->ino, fix_now(f)), 0);
		for (i = 0; i < MERGES; i++)
			if (merges[i].m.ino == file->ino)
				merges[i].m.ino = 0;
	}
	*file = (struct file){ .ino = fix_file(f, 1, name) };
}

static void do_garbage(struct fix *f)
{
	const struct ns_now late = { 2000000, 0 };
	uint64_t out[5];
	int i, n;

	n = ns_garbage_due(f->ns, late, late, out, 5);
	assert_true(n >= 0);
	assert_int_equal(ns_garbage_drop(f->ns, out, n), 0);
	for (i = 0; i < n; i++)
		chunks[out[i]].len = 0;
}

/* Commit or lose the batch; now and then start anew. */
static void end_batch(struct fix *f)
{
	int i;

	if (below(4)) {
		assert_int_equal(db_commit(f->db, 0), 0);
		memcpy(saved, files, sizeof(saved));
	} else {
		db_rollback(f->db);
		memcpy(files, saved, sizeof(saved));
		/* nobody has read what was not committed */
		memset(merges, 0, sizeof(merges));
	}
	assert_int_equal(db_begin(f->db), 0);
	if (fix_on_disk && !below(10)) {
		fix_close(f);
		fix_open(f);
	}
	for (i = 0; i < FILES; i++)
		compare(f, &files[i]);
	fix_check(f);
	arena_fini(&f->a);
	f->a = ARENA_INIT;
}

static void random_operations(void **state)
{
	const char *rounds = getenv("PSPFS_ROUNDS");
	const char *seed = getenv("PSPFS_SEED");
	struct fix *f = *state;
	int i, left = rounds ? atoi(rounds) : 4000;

	rng = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
	printf("PSPFS_SEED=%llu\n", (unsigned long long)rng);
	made = 0;
	memset(chunks, 0, sizeof(chunks));
	memset(files, 0, sizeof(files));
	memset(merges, 0, sizeof(merges));
	for (i = 0; i < FILES; i++)
		do_recreate(f, &files[i]);
	assert_int_equal(db_commit(f->db, 0), 0);
	assert_int_equal(db_begin(f->db), 0);
	memcpy(saved, files, sizeof(saved));
	while (left-- > 0 && made + 100 < CHUNKS) {
		struct file *file = &files[below(FILES)];
		struct merge *merge = &merges[below(MERGES)];
		uint32_t what = below(100);

		if (what < 42)
			do_commit(f, file);
		else if (what < 48)
			do_allocate(f, file);
		else if (what < 56)
			do_clone(f, file, &files[below(FILES)]);
		else if (what < 60)
			do_seek(f, file);
		else if (what < 67)
			do_truncate(f, file);
		else if (what < 92 && merge->m.ino)
			do_compact(f, merge);
		else if (what < 92)
			do_merge(f, file, merge);
		else if (what < 93)
			do_recreate(f, file);
		else if (what < 95)
			end_batch(f);
		for (i = 0; i < FILES; i++)
			compare(f, &files[i]);
		/* a drop is durable before anybody hears of it: it has a
		 * batch of its own, which is not rolled back */
		if (what < 98)
			continue;
		assert_int_equal(db_commit(f->db, 0), 0);
		assert_int_equal(db_begin(f->db), 0);
		do_garbage(f);
		assert_int_equal(db_commit(f->db, 0), 0);
		assert_int_equal(db_begin(f->db), 0);
		memcpy(saved, files, sizeof(saved));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIX_TEST(random_operations),
	};

	alarm(300);
	return FIX_RUN(tests);
}
