/*
 * fetch_keep -- what was fetched from a peer is kept and announced, so that
 * every reader becomes a source.
 *
 * Only as far as one thread keeps up with what the machine has left: while
 * FETCH_KEEP_BYTES are being written a chunk is not kept.  One that replaces a
 * corrupt copy is, and as what that was.
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
	struct buf *buf;
	enum copy_kind kind;
};

static void kept(struct fetch *ft, uint32_t len)
{
	pthread_mutex_lock(&ft->lock);
	ft->keeping -= len;
	pthread_mutex_unlock(&ft->lock);
}

static void write_copy(struct pool_work *w)
{
	struct keep *k = container_of(w, struct keep, work);
	struct fetch *ft = k->fetch;
	uint64_t id = k->meta.chunk;
	int err, kind;

	err = store_put(ft->parts->store, &k->meta, k->buf->data, k->kind, 0);
	if (err && err != -ENOSPC)
		log_warn("chunk %016" PRIx64 " cannot be kept here: %s", id,
			 strerror(-err));
	kind = err ? 0 : store_has(ft->parts->store, id);
	if (kind)
		link_have(ft->parts->link, id, (enum copy_kind)kind);
	buf_unref(k->buf);
	kept(ft, k->meta.len);
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

static int may_keep(struct fetch *ft, uint32_t len, int must)
{
	int may;

	pthread_mutex_lock(&ft->lock);
	may = must || !ft->keeping || ft->keeping + len <= FETCH_KEEP_BYTES;
	ft->keeping += may ? len : 0;
	pthread_mutex_unlock(&ft->lock);
	return may;
}

void fetch_keep(struct flight *f, struct buf *buf)
{
	struct fetch *ft = f->fetch;
	struct keep *k;

	if (!may_keep(ft, f->want.chunk.len, f->spoilt))
		return;
	k = calloc(1, sizeof(*k));
	if (!k) {
		kept(ft, f->want.chunk.len);
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
	k->buf = buf_ref(buf);
	k->work.fn = write_copy;
	pool_run(ft->keeper, &k->work);
}
