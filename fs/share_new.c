/*
 * share_new -- a new file.
 *
 * Happy path: a hidden name -> batches: read, hash, ids, store, commit -> its
 * size, if it ends with a hole -> its MD5 -> its name.
 * Failure: the hidden name goes, and with it all that was committed; what was
 * stored goes at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "layout.h"
#include "log.h"
#include "share_internal.h"

#define HIDDEN ".pspfs-share-"
#define NOREPLACE 1		/* m_rename.flags */

struct making {
	struct share_run *r;
	char hidden[sizeof(HIDDEN) + 16];
	const char *last;		/* of the name: behind the last '/' */
	uint64_t version;		/* of the content */
	uint64_t end;			/* of what is committed */
};

/* --------------------------------------------------------- in the tracker */

static int find_parent(struct share_run *r, const char **last)
{
	char *slash = strrchr(r->name, '/');
	struct m_attr at;
	int err;

	*last = slash ? slash + 1 : r->name;
	if (strlen(*last) > MSG_NAME_MAX)
		return share_why(r, -ENAMETOOLONG, "the name is longer than "
				 "%d bytes: give a shorter one", MSG_NAME_MAX);
	if (!strcmp(*last, ".") || !strcmp(*last, ".."))
		return share_why(r, -EINVAL, "%s is no name for a file",
				 *last);
	if (slash)
		*slash = 0;
	err = layout_find(&r->ask, slash ? r->name : "", &at);
	if (err == -ENOENT)
		err = share_why(r, err, "the directory %.255s does not exist: "
				"make it first, in a mounted folder", r->name);
	else if (err)
		err = share_why_asked(r, err, "look up", NULL);
	else if (!S_ISDIR(at.mode))
		err = share_why(r, -ENOTDIR, "%.255s is not a directory",
				r->name);
	if (slash)
		*slash = '/';
	r->dir = at.ino;
	return err;
}

static int make_hidden(struct making *k)
{
	struct share_run *r = k->r;
	struct m_mknod m = { .parent = r->dir, .excl = 1,
			     .name = str_of(k->hidden),
			     .mode = S_IFREG | (r->m->mode & 0777),
			     .uid = r->m->uid, .gid = r->m->gid,
			     .slot_size = r->m->slot_size };
	struct arena a = ARENA_INIT;
	struct wr w = WR_INIT;
	struct m_mknod_r mr;
	struct buf *body;
	int err;

	m_mknod_encode(&w, &m);		/* a failure shows in w.err */
	err = share_ask(r, M_mknod, &w, &body, "create");
	if (!err)
		err = m_mknod_r_decode(&mr, &a, body->data, body->len);
	if (!err) {
		r->ino = mr.attr.ino;
		r->slot_size = mr.attr.slot_size;
		k->version = mr.attr.version;
	}
	arena_fini(&a);
	buf_unref(body);
	return err;
}

static void remove_hidden(struct making *k)
{
	struct m_unlink m = { .parent = k->r->dir,
			      .name = str_of(k->hidden) };
	struct wr w = WR_INIT;
	struct buf *body = NULL;
	int err;

	m_unlink_encode(&w, &m);	/* as above */
	err = ask_call(&k->r->ask, M_unlink, &w, &body, NULL, 0);
	buf_unref(body);
	if (err)
		log_warn("%s cannot be removed (%s): delete it by hand",
			 k->hidden, strerror(-err));
	else
		link_release(k->r->env->parts->link, k->r->ino);
}

static int set_size(struct making *k, uint64_t size)
{
	struct m_setattr m = { .ino = k->r->ino, .set = SET_SIZE,
			       .size = size };
	struct arena a = ARENA_INIT;
	struct wr w = WR_INIT;
	struct m_setattr_r sr;
	struct buf *body;
	int err;

	m_setattr_encode(&w, &m);	/* as above */
	err = share_ask(k->r, M_setattr, &w, &body, "set the size of");
	if (!err)
		err = m_setattr_r_decode(&sr, &a, body->data, body->len);
	if (!err)
		k->version = sr.attr.version;
	arena_fini(&a);
	buf_unref(body);
	return err;
}

static int tell_digest(struct making *k, const uint8_t md5[MD5_LEN])
{
	struct m_digested m = { .ino = k->r->ino, .version = k->version };
	struct wr w = WR_INIT;
	struct buf *body;
	int err;

	memcpy(m.md5, md5, MD5_LEN);
	m_digested_encode(&w, &m);	/* as above */
	err = share_ask(k->r, M_digested, &w, &body, "tell the MD5 of");
	buf_unref(body);
	return err;
}

static int give_name(struct making *k)
{
	struct share_run *r = k->r;
	struct m_rename m = { .parent = r->dir, .name = str_of(k->hidden),
			      .newparent = r->dir, .newname = str_of(k->last),
			      .flags = NOREPLACE };
	struct wr w = WR_INIT;
	struct buf *body;
	int err;

	m_rename_encode(&w, &m);	/* as above */
	err = share_ask(r, M_rename, &w, &body, "give its name to");
	buf_unref(body);
	if (err == -EEXIST)
		return share_why(r, err, "somebody else created %.255s "
				 "meanwhile: share it again, to be compared",
				 r->name);
	return err;
}

/* ------------------------------------------------------------------ chunks */

static int get_ids(struct share_run *r, struct arena *a, uint32_t n,
		   struct m_grant_r *out)
{
	struct m_grant m = { .count = n };
	struct wr w = WR_INIT;
	struct buf *body;
	int err;

	m_grant_encode(&w, &m);		/* as above */
	err = share_ask(r, M_grant, &w, &body, "get chunks for");
	if (!err)
		err = m_grant_r_decode(out, a, body->data, body->len);
	buf_unref(body);	/* there are no strings in it */
	return !err && out->n_chunks < n ? -ENOSPC : err;
}

static int commit(struct making *k, struct m_push *pushes, uint32_t n)
{
	struct m_commit m = { .ino = k->r->ino, .pushes = pushes,
			      .n_pushes = n };
	struct arena a = ARENA_INIT;
	struct wr w = WR_INIT;
	struct m_commit_r cr;
	struct buf *body;
	int err;

	wall_time(&m.mtime_s, &m.mtime_ns);
	m_commit_encode(&w, &m);	/* as above */
	err = share_ask(k->r, M_commit, &w, &body, "commit to");
	if (!err)
		err = m_commit_r_decode(&cr, &a, body->data, body->len);
	if (!err)
		k->version = cr.attr.version;
	arena_fini(&a);
	buf_unref(body);
	return err;
}

static uint32_t count_data(const struct share_batch *b)
{
	uint32_t n = 0;

	for (size_t i = 0; i < b->n; i++)
		n += b->v[i].b != NULL;
	return n;
}

/* Store what is no hole, and say so. */
static int store_and_commit(struct making *k, const struct m_grant_r *ids)
{
	struct share_run *r = k->r;
	struct m_push push[SHARE_BATCH];
	struct link_info us;
	uint32_t n = 0;
	int err = 0;

	link_info(r->env->parts->link, &us);
	for (size_t i = 0; !err && i < r->batch.n; i++) {
		const struct share_piece *p = &r->batch.v[i];

		if (!p->b)
			continue;
		push[n] = (struct m_push){
			.slot = p->slot, .len = p->len,
			.chunk = ids->chunks[n].id, .chunk_len = p->len,
			.stored = &us.num, .n_stored = 1,
			.copies = r->m->copies,
		};
		memcpy(push[n].md5, p->hash.job.md5, MD5_LEN);
		err = share_store(r, p, push[n].chunk);
		if (!err)
			link_have(r->env->parts->link, push[n].chunk,
				  COPY_REPLICA);
		n++;
		k->end = p->at + p->len;
	}
	return err ? err : commit(k, push, n);
}

static int flush(struct making *k)
{
	struct share_run *r = k->r;
	uint64_t bytes = r->batch.bytes;
	struct arena a = ARENA_INIT;
	struct m_grant_r ids;
	uint32_t n;
	int err = 0;

	batch_hash(r);
	n = count_data(&r->batch);
	if (n)
		err = get_ids(r, &a, n, &ids);
	if (n && !err)
		err = store_and_commit(k, &ids);
	arena_fini(&a);
	batch_clear(r);
	return err ? err : share_step(r, bytes);
}

static int copy_all(struct making *k)
{
	struct share_run *r = k->r;
	uint64_t size = (uint64_t)r->st.st_size, at = 0;
	int err = 0;

	while (!err && at < size) {
		struct share_piece p = { .at = at, .slot = at / r->slot_size };

		p.len = size - at < r->slot_size ? (uint32_t)(size - at)
						 : r->slot_size;
		if (batch_full(&r->batch, p.len))
			err = flush(k);
		if (!err)
			err = batch_add(r, &p);
		at += p.len;
	}
	if (!err)
		err = flush(k);
	if (!err)
		err = share_unchanged(r);
	return !err && k->end < size ? set_size(k, size) : err;
}

/* Hidden, it is filled and named. */
static int fill(struct making *k, struct m_share_r *out)
{
	struct share_run *r = k->r;
	struct whole whole;
	int err;

	whole_init(&whole);
	r->whole = &whole;
	err = copy_all(k);
	r->whole = NULL;
	if (!err)
		err = whole_end(&whole, out->md5);
	whole_fini(&whole);
	if (!err)
		err = tell_digest(k, out->md5);
	return err ? err : give_name(k);
}

int share_new(struct share_run *r, struct m_share_r *out)
{
	struct making k = { .r = r };
	uint64_t inos[2];
	int err;

	snprintf(k.hidden, sizeof(k.hidden), HIDDEN "%016" PRIx64,
		 random_u64());
	r->total = (uint64_t)r->st.st_size;
	err = find_parent(r, &k.last);
	if (!err)
		err = make_hidden(&k);
	if (err)
		return err;
	err = fill(&k, out);
	if (err)
		remove_hidden(&k);
	inos[0] = r->dir;
	inos[1] = r->ino;
	r->env->changed(r->env->arg, inos, 2);
	if (err)
		return err;
	out->created = 1;
	out->ino = r->ino;
	out->size = (uint64_t)r->st.st_size;
	out->chunks = r->chunks;
	out->bytes = r->bytes;
	return 0;
}
