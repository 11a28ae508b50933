/*
 * file_world -- what lies below fs/file, faked: a tracker's map, a store of
 * chunks, and a thread that answers everything late, in any order, sometimes
 * with an error.  For unit_file*.c; included by one file of a program.
 *
 * A request is run (it takes effect) and then answered, each after a random
 * delay of up to delay_us.  What is held (hold_*) waits until it is not.
 */
#ifndef PSPFS_FILE_WORLD_H
#define PSPFS_FILE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "counters.h"
#include "file.h"
#include "log.h"
#include "loop.h"
#include "text.h"

/* What is faked here meets no faults (faults.h), what it calls does. */
#ifndef WORLD_SPARE
#define WORLD_SPARE(on) ((void)(on))
#endif

#define CHECK(x)                                                            \
	do {                                                                \
		if (!(x)) {                                                 \
			fprintf(stderr, "%s:%d: not so: %s (seed %u)\n",    \
				__FILE__, __LINE__, #x, world.seed0);       \
			abort();                                            \
		}                                                           \
	} while (0)

#define CHECK_EQ(x, y)                                                      \
	do {                                                                \
		long long is_ = (x);                                        \
		if (is_ != (y))                                             \
			fprintf(stderr, "it is %lld\n", is_);               \
		CHECK(is_ == (y));                                          \
	} while (0)

enum {
	SLOT = 4096,
	WORLD_FILES = 4,
	WORLD_SLOTS = 600,
	WORLD_DEEP = 8,
	LIMIT_S = 60,		/* no wait is longer */
};

struct wchunk {
	uint8_t *data;
	uint32_t len;
	int durable;
};

struct wslot {
	uint64_t version;
	struct m_slice *v;
	uint32_t n;
};

struct wfile {
	struct m_attr attr;
	struct wslot slots[WORLD_SLOTS];
};

enum task_kind { T_GETMAP, T_COMMIT, T_COMPACT, T_UPLOAD, T_FETCH, T_SYNC };

struct task {
	TAILQ_ENTRY(task) next;
	enum task_kind kind;
	uint64_t due_us;
	int ran, err;
	struct wr body;		/* of the request, then of the answer */
	rpc_done rpc;
	fetch_done fetch;
	void (*sync)(void *arg, int err);
	void *arg;
	struct upload_job *job;
	struct fetch_want want;
	uint32_t part_at, part_len;	/* 0: all of the chunk */
	uint64_t *ids;
	uint32_t n_ids;
};

static struct world {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* guarded by lock */
	TAILQ_HEAD(, task) tasks;
	unsigned seed0, seed;
	unsigned delay_us;
	int ending;
	unsigned unleased;	/* one in so many times; 0: never */
	uint64_t term;		/* of the lease */
	int hold[T_SYNC + 1];
	/* one in so many fails; 0: none */
	unsigned fail_upload, fail_commit, fail_fetch;
	unsigned stack_most;	/* a slot takes no more slices; 0: any */
	unsigned refused;	/* commits, for that */
	unsigned getmap_most;	/* beyond so many slots: -E2BIG; 0: none */
	struct wfile files[WORLD_FILES];
	struct wchunk *chunks;	/* id - 1 */
	uint64_t n_chunks;
	unsigned ran[T_SYNC + 1];
	unsigned synced_commits, ahead, released;
	unsigned not_durable;	/* a synced commit found such a chunk */
	struct cache *cache;
	struct loop *loop;
	struct files *fs;
} world;

static inline uint32_t world_below(uint32_t n)
{
	return (uint32_t)rand_r(&world.seed) % n;
}

static inline int world_unlucky(unsigned one_in)
{
	return one_in && !world_below(one_in);
}

/* ------------------------------------------------------------ the tracker */

static inline struct wfile *world_file(uint64_t ino)
{
	CHECK(ino >= 1 && ino <= WORLD_FILES);
	return &world.files[ino - 1];
}

static inline uint64_t world_chunk(const void *p, uint32_t len, int durable)
{
	struct wchunk *c;

	world.chunks = realloc(world.chunks,
			       (world.n_chunks + 1) * sizeof(*c));
	c = &world.chunks[world.n_chunks++];
	c->data = malloc(len);
	memcpy(c->data, p, len);
	c->len = len;
	c->durable = durable;
	return world.n_chunks;
}

/* @len bytes of @chunk, from its byte @at on, lie at @off. */
static inline void world_push(struct wfile *f, uint64_t off, uint32_t len,
			      uint64_t chunk, uint32_t at)
{
	for (uint32_t done = 0, n; done < len; done += n, off += n) {
		struct wslot *s = &f->slots[off / SLOT];

		CHECK(off / SLOT < WORLD_SLOTS);
		n = SLOT - off % SLOT;
		if (n > len - done)
			n = len - done;
		s->v = realloc(s->v, (s->n + 1) * sizeof(*s->v));
		s->v[s->n++] = (struct m_slice){ off % SLOT, n, chunk,
						 at + done };
		s->version++;
	}
	if (f->attr.size < off)
		f->attr.size = off;
}

/* Would a slot have too many slices? */
static inline int world_full(const struct m_commit *m)
{
	struct wfile *f = world_file(m->ino);
	uint64_t end = f->attr.size;
	uint32_t n[WORLD_SLOTS] = { 0 };
	int full = 0;

	for (uint32_t i = 0; i < m->n_pushes; i++) {
		const struct m_push *p = &m->pushes[i];
		uint64_t at = p->append ? end : p->slot * SLOT + p->pos;

		if (end < at + p->len)
			end = at + p->len;
		for (uint64_t k = at / SLOT; k * SLOT < at + p->len; k++)
			full |= f->slots[k].n + ++n[k] > world.stack_most;
	}
	full &= world.stack_most != 0;
	world.refused += full;
	return full;
}

static inline void world_commit(const struct m_commit *m,
				struct m_commit_r *r)
{
	struct wfile *f = world_file(m->ino);

	r->before = f->attr.version;
	f->attr.version += !!m->n_pushes;
	for (uint32_t i = 0; i < m->n_pushes; i++) {
		const struct m_push *p = &m->pushes[i];
		uint64_t at = p->append ? f->attr.size
					: p->slot * SLOT + p->pos;

		CHECK(p->chunk <= world.n_chunks && p->chunk_len <= SLOT);
		CHECK(p->chunk_len == world.chunks[p->chunk - 1].len);
		CHECK(p->len <= p->chunk_len &&
		      p->off <= p->chunk_len - p->len);
		CHECK(p->len && p->len <= SLOT);
		CHECK(p->append || p->pos <= SLOT - p->len);
		r->placed[i] = at;
		world_push(f, at, p->len, p->chunk, p->off);
		if (f->slots[at / SLOT].n > WORLD_DEEP &&
		    (!r->n_deep || r->deep[r->n_deep - 1] != at / SLOT))
			r->deep[r->n_deep++] = at / SLOT;
	}
	r->n_placed = m->n_pushes;
	if (m->n_pushes) {
		f->attr.mtime_s = m->mtime_s;
		f->attr.mtime_ns = m->mtime_ns;
	}
	r->attr = f->attr;
	if (!m->sync)
		return;
	world.synced_commits++;
	for (uint64_t i = 0; i < WORLD_SLOTS; i++)
		for (uint32_t k = 0; k < f->slots[i].n; k++) {
			uint64_t id = f->slots[i].v[k].chunk;

			if (id && !world.chunks[id - 1].durable)
				world.not_durable = 1;
		}
}

static inline void run_commit(struct task *t)
{
	struct arena a = ARENA_INIT;
	struct m_commit_r r = { 0 };
	struct m_commit m;

	CHECK(!m_commit_decode(&m, &a, t->body.p, t->body.len));
	r.placed = arena_alloc(&a, (m.n_pushes + 1) * 8);
	r.deep = arena_alloc(&a, (m.n_pushes + 1) * 8);
	wr_fini(&t->body);
	t->err = world_unlucky(world.fail_commit) ? -ENOSPC : 0;
	if (m.only && m.only != world_file(m.ino)->attr.version)
		t->err = -ESTALE;
	else if (world_full(&m))
		t->err = -EBUSY;
	if (!t->err) {
		world_commit(&m, &r);
		CHECK(!m_commit_r_encode(&t->body, &r));
	}
	arena_fini(&a);
}

static inline void run_getmap(struct task *t)
{
	static uint32_t holder = 1;
	struct arena a = ARENA_INIT;
	struct m_getmap_r r = { 0 };
	struct m_getmap m;
	struct wfile *f;
	uint32_t n = 0;

	CHECK(!m_getmap_decode(&m, &a, t->body.p, t->body.len));
	wr_fini(&t->body);
	f = world_file(m.ino);
	if (world.getmap_most && m.count > world.getmap_most)
		t->err = -E2BIG;
	r.attr = f->attr;
	r.slots = arena_alloc(&a, (m.count + 1) * sizeof(*r.slots));
	for (uint64_t i = m.first; i < m.first + m.count; i++) {
		struct wslot *s = &f->slots[i];

		if (i >= WORLD_SLOTS || !s->n)
			continue;
		n += s->n;
		r.slots[r.n_slots++] = (struct m_slot){ i, s->version, s->v,
							s->n };
	}
	r.chunks = arena_alloc(&a, (n + 1) * sizeof(*r.chunks));
	for (uint32_t i = 0; i < r.n_slots; i++)
		for (uint32_t k = 0; k < r.slots[i].n_slices; k++) {
			uint64_t id = r.slots[i].slices[k].chunk;

			if (id)
				r.chunks[r.n_chunks++] = (struct m_chunk){
					.id = id, .holders = &holder,
					.len = world.chunks[id - 1].len,
					.n_holders = 1 };
		}
	if (!t->err)
		CHECK(!m_getmap_r_encode(&t->body, &r));
	arena_fini(&a);
}

static inline void run_compact(struct task *t)
{
	struct arena a = ARENA_INIT;
	struct m_compact_r r = { 0 };
	struct m_compact m;
	struct wfile *f;
	struct wslot *s;

	CHECK(!m_compact_decode(&m, &a, t->body.p, t->body.len));
	wr_fini(&t->body);
	f = world_file(m.ino);
	s = &f->slots[m.push.slot];
	r.done = s->version == m.expect;
	if (r.done) {
		t->ids = malloc(s->n * sizeof(*t->ids));
		for (uint32_t i = 0; i < s->n; i++)	/* not if shared */
			if (s->v[i].chunk && s->v[i].len ==
			    world.chunks[s->v[i].chunk - 1].len)
				t->ids[t->n_ids++] = s->v[i].chunk;
		s->n = 0;
		world_push(f, m.push.slot * SLOT + m.push.pos, m.push.len,
			   m.push.chunk, 0);
	}
	r.attr = f->attr;
	CHECK(!m_compact_r_encode(&t->body, &r));
	arena_fini(&a);
}

/* Somebody else's truncate, or our own after a flush. */
static inline void world_truncate(uint64_t ino, uint64_t size,
				  struct m_attr *out)
{
	struct wfile *f = world_file(ino);

	pthread_mutex_lock(&world.lock);
	for (uint64_t i = size / SLOT; i < WORLD_SLOTS; i++) {
		struct wslot *s = &f->slots[i];
		uint32_t cut = i == size / SLOT ? size % SLOT : 0, n = 0;

		for (uint32_t k = 0; k < s->n; k++) {
			struct m_slice v = s->v[k];

			if (v.pos >= cut)
				continue;
			if (v.len > cut - v.pos)
				v.len = cut - v.pos;
			s->v[n++] = v;
		}
		s->version += s->n ? 1 : 0;
		s->n = n;
	}
	f->attr.size = size;
	f->attr.version++;
	*out = f->attr;
	pthread_mutex_unlock(&world.lock);
}

/* Another mount writes: done once our lease is revoked. */
static inline void world_remote(uint64_t ino, uint64_t off, const void *p,
				uint32_t len)
{
	struct wfile *f = world_file(ino);

	CHECK(len <= SLOT);
	pthread_mutex_lock(&world.lock);
	f->attr.version++;
	world_push(f, off == UINT64_MAX ? f->attr.size : off, len,
		   world_chunk(p, len, 1), 0);
	pthread_mutex_unlock(&world.lock);
	files_revoked(world.fs, &ino, 1);
}

/* ------------------------------------------------------------- the thread */

static inline void world_later(struct task *t)
{
	t->due_us = now_us() + (world.delay_us ? world_below(world.delay_us)
					       : 0);
	TAILQ_INSERT_TAIL(&world.tasks, t, next);
	pthread_cond_signal(&world.wake);
}

static inline void run_upload(struct task *t)
{
	struct upload_job *j = t->job;

	t->err = world_unlucky(world.fail_upload) ? -ENOSPC : 0;
	if (t->err)
		return;
	CHECK(j->len && j->data->cap >= j->len + UPLOAD_TAIL);
	j->chunk = world_chunk(j->data->data, j->len, j->sync);
	memset(j->data->data + j->len, 0x5a, UPLOAD_TAIL);
	j->stored[0] = 1;
	j->n_stored = 1;
}

/* It takes effect.  Locked. */
static inline void world_run(struct task *t)
{
	t->ran = 1;
	world.ran[t->kind]++;
	WORLD_SPARE(1);
	switch (t->kind) {
	case T_GETMAP:
		run_getmap(t);
		break;
	case T_COMMIT:
		run_commit(t);
		break;
	case T_COMPACT:
		run_compact(t);
		break;
	case T_UPLOAD:
		run_upload(t);
		break;
	case T_SYNC:
		for (uint32_t i = 0; i < t->n_ids; i++)
			world.chunks[t->ids[i] - 1].durable = 1;
		break;
	case T_FETCH:
		t->err = world_unlucky(world.fail_fetch) ? -EIO : 0;
		break;
	}
	WORLD_SPARE(0);
}

static inline void answer_fetch(struct task *t)
{
	const struct wchunk *c;
	struct buf *b = NULL;

	pthread_mutex_lock(&world.lock);
	c = &world.chunks[t->want.chunk.id - 1];
	if (!c->len)
		t->err = -EIO;
	WORLD_SPARE(1);
	if (!t->err)
		b = buf_dup(c->data, c->len);
	WORLD_SPARE(0);
	if (b && t->part_len && world_below(2)) {
		CHECK(t->part_len <= b->len &&
		      t->part_at <= b->len - t->part_len);
		memmove(b->data, b->data + t->part_at, t->part_len);
		b->len = t->part_len;
	} else if (b && world_below(2)) {
		cache_put(world.cache, t->want.chunk.id, b);
	}
	pthread_mutex_unlock(&world.lock);
	if (t->fetch)
		t->fetch(t->arg, t->err, b);
	buf_unref(b);
}

/* What a compaction replaced goes once that is answered. */
static inline void drop_chunks(struct task *t)
{
	pthread_mutex_lock(&world.lock);
	for (uint32_t i = 0; i < t->n_ids; i++)
		world.chunks[t->ids[i] - 1].len = 0;
	pthread_mutex_unlock(&world.lock);
}

/* Its caller is told.  Not locked. */
static inline void world_answer(struct task *t)
{
	struct buf *b;

	if (t->kind == T_UPLOAD) {
		t->job->done(t->job, t->err);
	} else if (t->kind == T_FETCH) {
		answer_fetch(t);
	} else if (t->kind == T_SYNC) {
		t->sync(t->arg, t->err);
	} else {
		WORLD_SPARE(1);
		b = buf_dup(t->body.p, t->body.len);
		WORLD_SPARE(0);
		t->rpc(t->arg, t->err, &(struct rpc_answer){ .body = b });
		buf_unref(b);
		drop_chunks(t);
	}
	wr_fini(&t->body);
	free(t->ids);
	free(t);
}

/* The first task that is due and not held; *@wait: microseconds else. */
static inline struct task *world_due(uint64_t *wait)
{
	uint64_t now = now_us();
	struct task *t, *first = NULL;

	*wait = 100000;
	TAILQ_FOREACH(t, &world.tasks, next)
		if ((t->ran || !world.hold[t->kind]) &&
		    (!first || t->due_us < first->due_us))
			first = t;
	if (first && first->due_us > now) {
		if (first->due_us - now < *wait)
			*wait = first->due_us - now;
		first = NULL;
	}
	return first;
}

static inline void *world_thread(void *arg)
{
	struct timespec ts;
	struct task *t;
	uint64_t wait;

	(void)arg;
	pthread_mutex_lock(&world.lock);
	while (!world.ending || !TAILQ_EMPTY(&world.tasks)) {
		t = world_due(&wait);
		if (!t) {
			clock_gettime(CLOCK_REALTIME, &ts);
			ts.tv_nsec += wait * 1000;
			ts.tv_sec += ts.tv_nsec / 1000000000;
			ts.tv_nsec %= 1000000000;
			pthread_cond_timedwait(&world.wake, &world.lock, &ts);
			continue;
		}
		TAILQ_REMOVE(&world.tasks, t, next);
		if (!t->ran) {
			world_run(t);
			world_later(t);
			continue;
		}
		pthread_mutex_unlock(&world.lock);
		world_answer(t);
		pthread_mutex_lock(&world.lock);
	}
	pthread_mutex_unlock(&world.lock);
	return NULL;
}

static inline void world_add(struct task *t)
{
	pthread_mutex_lock(&world.lock);
	world_later(t);
	pthread_mutex_unlock(&world.lock);
}

/* ---------------------------------------------- link, fetch, upload, faked */
/* Without memory each says so before it returns, as the real ones do. */

void link_call(struct link *l, uint16_t type, struct wr *body, rpc_done done,
	       void *arg)
{
	struct task *t = calloc(1, sizeof(*t));

	(void)l;
	if (!t || body->err) {
		free(t);
		wr_fini(body);
		done(arg, -ENOMEM, NULL);
		return;
	}
	t->kind = type == M_getmap ? T_GETMAP
		: type == M_commit ? T_COMMIT : T_COMPACT;
	CHECK(t->kind != T_COMPACT || type == M_compact);
	t->body = *body;
	*body = WR_INIT;
	t->rpc = done;
	t->arg = arg;
	world_add(t);
}

uint64_t link_term(struct link *l)
{
	uint64_t term;

	(void)l;
	pthread_mutex_lock(&world.lock);
	term = world.term;
	pthread_mutex_unlock(&world.lock);
	return term;
}

int link_leased(struct link *l)
{
	int yes;

	(void)l;
	pthread_mutex_lock(&world.lock);
	yes = !world_unlucky(world.unleased);
	pthread_mutex_unlock(&world.lock);
	return yes;
}

void link_release(struct link *l, uint64_t ino)
{
	(void)l;
	pthread_mutex_lock(&world.lock);
	world.released |= 1u << ino;
	pthread_mutex_unlock(&world.lock);
}

static void world_fetch(const struct fetch_want *w, uint32_t at, uint32_t len,
			fetch_done done, void *arg)
{
	struct task *t = calloc(1, sizeof(*t));

	CHECK(w->chunk.n_holders == 1 && w->chunk.holders[0] == 1);
	if (!t) {
		if (done)
			done(arg, -ENOMEM, NULL);
		return;
	}
	t->kind = T_FETCH;
	t->want = *w;
	t->part_at = at;
	t->part_len = len;
	t->fetch = done;
	t->arg = arg;
	pthread_mutex_lock(&world.lock);
	world.ahead += !done;
	pthread_mutex_unlock(&world.lock);
	world_add(t);
}

void fetch_chunk(struct fetch *f, const struct fetch_want *w, fetch_done done,
		 void *arg)
{
	(void)f;
	world_fetch(w, 0, 0, done, arg);
}

/* At times just the part, at times all. */
void fetch_part(struct fetch *f, const struct fetch_want *w, uint32_t at,
		uint32_t len, fetch_done done, void *arg)
{
	(void)f;
	CHECK(len && len <= w->chunk.len && at <= w->chunk.len - len);
	world_fetch(w, at, len, done, arg);
}

void upload_chunk(struct upload *u, struct upload_job *j)
{
	struct task *t = calloc(1, sizeof(*t));

	(void)u;
	if (!t) {
		j->done(j, -ENOMEM);
		return;
	}
	t->kind = T_UPLOAD;
	t->job = j;
	world_add(t);
}

void upload_sync(struct upload *u, const uint64_t *ids, uint32_t n,
		 void (*done)(void *arg, int err), void *arg)
{
	struct task *t = calloc(1, sizeof(*t));

	(void)u;
	if (!t) {
		done(arg, -ENOMEM);
		return;
	}
	t->kind = T_SYNC;
	WORLD_SPARE(1);
	t->ids = malloc(n * sizeof(*ids));
	WORLD_SPARE(0);
	memcpy(t->ids, ids, n * sizeof(*ids));
	t->n_ids = n;
	t->sync = done;
	t->arg = arg;
	world_add(t);
}

/* ------------------------------------------------------------ up and down */

static inline void world_files(uint64_t dirty_max, uint32_t flush_ms)
{
	struct files_config cfg = {
		.cache = world.cache, .dirty_max = dirty_max,
		.readahead = 4, .flush_ms = flush_ms, .loop = world.loop,
	};

	CHECK(!files_new(&world.fs, &cfg));
}

static inline void world_up(unsigned seed)
{
	world = (struct world){ .seed0 = seed, .seed = seed,
				.delay_us = 500, .term = 1 };
	pthread_mutex_init(&world.lock, NULL);
	pthread_cond_init(&world.wake, NULL);
	TAILQ_INIT(&world.tasks);
	for (uint64_t i = 0; i < WORLD_FILES; i++)
		world.files[i].attr = (struct m_attr){
			.ino = i + 1, .mode = 0100644, .nlink = 1,
			.slot_size = SLOT, .version = 1 };
	CHECK(!cache_new(&world.cache, 256 << 10, SIZE_MAX));
	CHECK(!loop_new(&world.loop, "test"));
	CHECK(!pthread_create(&world.thread, NULL, world_thread, NULL));
	world_files(1 << 20, 50);
}

static inline void world_down(void)
{
	files_free(world.fs);
	pthread_mutex_lock(&world.lock);
	world.ending = 1;
	pthread_cond_signal(&world.wake);
	pthread_mutex_unlock(&world.lock);
	pthread_join(world.thread, NULL);
	loop_free(world.loop);
	cache_free(world.cache);
	for (int i = 0; i < WORLD_FILES; i++)
		for (int k = 0; k < WORLD_SLOTS; k++)
			free(world.files[i].slots[k].v);
	for (uint64_t i = 0; i < world.n_chunks; i++)
		free(world.chunks[i].data);
	free(world.chunks);
	pthread_cond_destroy(&world.wake);
	pthread_mutex_destroy(&world.lock);
}

#endif
