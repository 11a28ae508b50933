/*
 * fetch_keep -- what was fetched from a peer is kept and announced, so that
 * every reader becomes a source.
 *
 * By one thread, with what the machine has left.  While FETCH_KEEP_BYTES wait
 * for it, further chunks are only noted: when their turn comes they are kept
 * if the memory cache still has them.  What replaces a corrupt copy is always
 * kept, and as what that was.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "container.h"
#include "fetch_internal.h"
#include "log.h"

struct keep {
	struct pool_work work;
	struct fetch *fetch;
	struct chunk_meta meta;
	struct buf *buf;	/* NULL: only noted */
	enum copy_kind kind;
};

enum wait { WAIT_NOT, WAIT_NOTED, WAIT_WHOLE };

/* What waits grows by a chunk: how may it? */
static enum wait may_wait(struct fetch *ft, uint32_t len, int must)
{
	enum wait may = WAIT_NOT;

	pthread_mutex_lock(&ft->lock);
	if (must || !ft->keeping || ft->keeping + len <= FETCH_KEEP_BYTES) {
		ft->keeping += len;
		may = WAIT_WHOLE;
	} else if (ft->noted < FETCH_NOTED_MAX) {
		ft->noted++;
		may = WAIT_NOTED;
	}
	pthread_mutex_unlock(&ft->lock);
	return may;
}

static void waits_no_more(struct fetch *ft, uint32_t len, enum wait was)
{
	pthread_mutex_lock(&ft->lock);
	if (was == WAIT_NOTED)
		ft->noted--;
	else if (was == WAIT_WHOLE)
		ft->keeping -= len;
	pthread_mutex_unlock(&ft->lock);
}

static void write_copy(struct keep *k, const struct buf *b)
{
	struct fetch *ft = k->fetch;
	uint64_t id = k->meta.chunk;
	int err, kind;

	err = store_put(ft->parts->store, &k->meta, b->data, k->kind, 0);
	if (err && err != -ENOSPC)
		log_warn("chunk %016" PRIx64 " cannot be kept here: %s", id,
			 strerror(-err));
	kind = err ? 0 : store_has(ft->parts->store, id);
	if (kind)
		link_have(ft->parts->link, id, (enum copy_kind)kind);
}

static void on_turn(struct pool_work *w)
{
	struct keep *k = container_of(w, struct keep, work);
	struct fetch *ft = k->fetch;
	struct buf *b = k->buf;

	if (!b && !gate_is_shut(&ft->gate))
		b = cache_get(ft->parts->cache, k->meta.chunk);
	if (b && b->len == k->meta.len)
		write_copy(k, b);
	buf_unref(b);
	waits_no_more(ft, k->meta.len, k->buf ? WAIT_WHOLE : WAIT_NOTED);
	free(k);
	gate_leave(&ft->gate);
}

/* The machine is first for those who wait.  Of this thread alone, on Linux;
 * it works without, too. */
static void stand_back(struct pool_work *w)
{
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), FETCH_KEEP_NICE);
	free(w);
}

int fetch_keep_start(struct fetch *ft)
{
	struct pool_work *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	err = pool_new(&ft->keeper, "keep", 1);
	if (err) {
		free(w);
		return err;
	}
	w->fn = stand_back;
	pool_run(ft->keeper, w);
	return 0;
}

void fetch_keep(struct flight *f, struct buf *buf)
{
	struct fetch *ft = f->fetch;
	enum wait may = may_wait(ft, f->want.chunk.len, f->spoilt);
	struct keep *k = may == WAIT_NOT ? NULL : calloc(1, sizeof(*k));

	if (!k) {
		waits_no_more(ft, f->want.chunk.len, may);
		return;
	}
	gate_enter_more(&ft->gate);
	k->fetch = ft;
	k->meta = (struct chunk_meta){
		.chunk = f->id, .ino = f->want.ino, .slot = f->want.slot,
		.pos = f->want.pos, .len = f->want.chunk.len,
	};
	memcpy(k->meta.md5, f->want.chunk.md5, MD5_LEN);
	k->kind = f->spoilt ? (enum copy_kind)f->spoilt : COPY_CACHED;
	k->buf = may == WAIT_NOTED ? NULL : buf_ref(buf);
	k->work.fn = on_turn;
	pool_run(ft->keeper, &k->work);
}
