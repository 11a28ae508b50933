#include <errno.h>
#include <string.h>

#include "ns_internal.h"

/* ----------------------------------------------------------- references */

static int garbage_add(struct ns *ns, uint64_t id, struct ns_now now)
{
	struct db_stmt *s;
	int err;

	s = db_prep(ns->db, "INSERT INTO garbage VALUES(?1,?2,?3)");
	db_bind_u64(s, 1, id);
	db_bind_i64(s, 2, now.s);
	db_bind_u64(s, 3, now.ns);
	err = db_run(s);
	if (!err)
		ns->count.garbage++;
	return err;
}

static int garbage_del(struct ns *ns, uint64_t id)
{
	struct db_stmt *s;
	int err;

	s = db_prep(ns->db, "DELETE FROM garbage WHERE id=?1");
	db_bind_u64(s, 1, id);
	err = db_run(s);
	if (err)
		return err;
	if (db_changes(ns->db) != 1)
		return ns_damaged("chunk without slices that is no garbage",
				  id);
	ns->count.garbage--;
	return 0;
}

static int set_refs(struct ns *ns, uint64_t id, uint64_t refs)
{
	struct db_stmt *s;

	s = db_prep(ns->db, "UPDATE chunks SET refs=?2 WHERE id=?1");
	db_bind_u64(s, 1, id);
	db_bind_u64(s, 2, refs);
	return db_run(s);
}

/* Numbers of peers as bytes, each once; how many bytes. */
static size_t pack_peers(uint8_t *out, const uint32_t *peers, uint32_t n)
{
	size_t len = 0;
	uint32_t i, j;

	for (i = 0; i < n; i++) {
		for (j = 0; j < i && peers[j] != peers[i]; j++)
			;
		if (j < i)
			continue;
		put_u32(out + len, peers[i]);
		len += 4;
	}
	return len;
}

static int chunk_add(struct ns *ns, const struct m_push *p)
{
	uint8_t peers[4 * MSG_HOLDERS_MAX];
	struct db_stmt *s;
	int err;

	if (p->chunk >= ns->chunk_mark || !p->n_stored ||
	    p->n_stored > MSG_HOLDERS_MAX)
		return -EINVAL;
	s = db_prep(ns->db, "INSERT INTO chunks VALUES(?1,?2,?3,1,?4,?5)");
	db_bind_u64(s, 1, p->chunk);
	db_bind_u64(s, 2, p->chunk_len);
	db_bind_blob(s, 3, p->md5, MD5_LEN);
	db_bind_blob(s, 4, peers, pack_peers(peers, p->stored, p->n_stored));
	db_bind_u64(s, 5, p->copies);
	err = db_run(s);
	if (!err)
		ns->count.chunks++;
	return err;
}

int ns_chunk_ref(struct ns *ns, const struct m_push *p)
{
	struct db_stmt *s;
	const void *md5;
	uint64_t refs;
	size_t n;
	int got, same;

	if (!p->chunk)
		return 0;
	s = db_prep(ns->db, "SELECT refs,len,md5 FROM chunks WHERE id=?1");
	db_bind_u64(s, 1, p->chunk);
	got = db_step(s);
	if (got < 0)
		return got;
	if (!got)
		return chunk_add(ns, p);
	refs = db_u64(s, 0);
	md5 = db_blob(s, 2, &n);
	same = db_u64(s, 1) == p->chunk_len && n == MD5_LEN &&
	       !memcmp(md5, p->md5, MD5_LEN);
	db_reset(s);
	if (!same)
		return -EINVAL;
	if (!refs) {
		got = garbage_del(ns, p->chunk);
		if (got)
			return got;
		ns->count.chunks++;
	}
	return set_refs(ns, p->chunk, refs + 1);
}

int ns_chunk_share(struct ns *ns, uint64_t id)
{
	struct db_stmt *s;
	int err;

	s = db_prep(ns->db, "UPDATE chunks SET refs=refs+1 "
			    "WHERE id=?1 AND refs>0");
	db_bind_u64(s, 1, id);
	err = db_run(s);
	if (err)
		return err;
	return db_changes(ns->db) == 1 ?
	       0 : ns_damaged("no row, or no reference, of chunk", id);
}

int ns_chunk_unref(struct ns *ns, uint64_t id, struct ns_now now)
{
	struct db_stmt *s;
	uint64_t refs = 0;
	int got;

	if (!id)
		return 0;
	s = db_prep(ns->db, "SELECT refs FROM chunks WHERE id=?1");
	db_bind_u64(s, 1, id);
	got = db_step(s);
	if (got < 0)
		return got;
	if (got) {
		refs = db_u64(s, 0);
		db_reset(s);
	}
	if (!refs)
		return ns_damaged("no row, or no reference, of chunk", id);
	if (refs == 1) {
		got = garbage_add(ns, id, now);
		if (got)
			return got;
		ns->count.chunks--;
	}
	return set_refs(ns, id, refs - 1);
}

/* --------------------------------------------------------------- reading */

static int chunk_read(struct db_stmt *s, struct m_chunk *out)
{
	const void *md5;
	size_t n;

	*out = (struct m_chunk){
		.id = db_u64(s, 0), .len = (uint32_t)db_u64(s, 1),
	};
	md5 = db_blob(s, 2, &n);
	if (n != MD5_LEN)
		return ns_damaged("MD5 of chunk", out->id);
	memcpy(out->md5, md5, MD5_LEN);
	return 0;
}

int ns_chunk(struct ns *ns, uint64_t id, struct m_chunk *out)
{
	struct db_stmt *s;
	int got;

	s = db_prep(ns->db, "SELECT id,len,md5 FROM chunks WHERE id=?1");
	db_bind_u64(s, 1, id);
	got = db_step(s);
	if (got != 1)
		return got ? got : -ENOENT;
	got = chunk_read(s, out);
	db_reset(s);
	return got;
}

int ns_chunks(struct ns *ns, struct arena *a, uint64_t after, uint32_t max,
	      struct ns_chunk_row **out, uint32_t *n)
{
	struct db_stmt *s;
	struct ns_chunk_row *v;
	uint32_t at = 0;
	int got;

	if (max > MSG_CHUNKS_MAX)
		max = MSG_CHUNKS_MAX;
	v = arena_alloc(a, ((size_t)max + 1) * sizeof(*v));
	if (!v)
		return -ENOMEM;
	s = db_prep(ns->db, "SELECT id,len,md5,copies FROM chunks "
			    "WHERE id>?1 AND refs>0 ORDER BY id LIMIT ?2");
	db_bind_u64(s, 1, ns_min_i63(after));
	db_bind_u64(s, 2, max);
	while ((got = db_step(s)) == 1) {
		v[at].copies = (uint8_t)db_u64(s, 3);
		got = chunk_read(s, &v[at++].chunk);
		if (got) {
			db_reset(s);
			return got;
		}
	}
	*out = v;
	*n = at;
	return got;
}

/* ------------------------------------------------------------ assignment */

int ns_assigned(struct ns *ns, struct arena *a, uint64_t chunk,
		uint32_t **peers, uint32_t *n)
{
	struct db_stmt *s;
	const uint8_t *p;
	uint32_t *v, i;
	size_t len;
	int got;

	s = db_prep(ns->db, "SELECT peers FROM chunks WHERE id=?1");
	db_bind_u64(s, 1, chunk);
	got = db_step(s);
	if (got != 1)
		return got ? got : -ENOENT;
	p = db_blob(s, 0, &len);
	v = arena_alloc(a, len + 1);
	for (i = 0; v && i < len / 4; i++)
		v[i] = get_u32(p + 4 * (size_t)i);
	db_reset(s);
	if (!v)
		return -ENOMEM;
	*peers = v;
	*n = (uint32_t)(len / 4);
	return 0;
}

int ns_assign(struct ns *ns, uint64_t chunk, const uint32_t *peers,
	      uint32_t n)
{
	uint8_t packed[4 * MSG_HOLDERS_MAX];
	struct db_stmt *s;
	int err;

	if (n > MSG_HOLDERS_MAX)
		return -EINVAL;
	s = db_prep(ns->db, "UPDATE chunks SET peers=?2 WHERE id=?1");
	db_bind_u64(s, 1, chunk);
	db_bind_blob(s, 2, packed, pack_peers(packed, peers, n));
	err = db_run(s);
	if (err)
		return err;
	return db_changes(ns->db) ? 0 : -ENOENT;
}

/* --------------------------------------------------------------- garbage */

static int ids_of(struct db_stmt *s, struct ns_now at, uint64_t *out, int max)
{
	int got, n = 0;

	db_bind_i64(s, 1, at.s);
	db_bind_u64(s, 2, at.ns);
	db_bind_i64(s, 3, max > 0 ? max : 0);
	while ((got = db_step(s)) == 1)
		out[n++] = db_u64(s, 0);
	return got ? got : n;
}

int ns_garbage_due(struct ns *ns, struct ns_now before, struct ns_now after,
		   uint64_t *out, int max)
{
	int n, more;

	n = ids_of(db_prep(ns->db, "SELECT id FROM garbage "
				   "WHERE (since_s,since_ns)<(?1,?2) "
				   "ORDER BY since_s,since_ns LIMIT ?3"),
		   before, out, max);
	if (n < 0 || n >= max)
		return n;
	more = ids_of(db_prep(ns->db, "SELECT id FROM garbage "
				      "WHERE (since_s,since_ns)>(?1,?2) "
				      "ORDER BY since_s,since_ns LIMIT ?3"),
		      after, out + n, max - n);
	return more < 0 ? more : n + more;
}

/* A chunk that is gone already is fine; one that is named again is not. */
static int drop_one(struct ns *ns, uint64_t id)
{
	struct db_stmt *s;
	int got;

	s = db_prep(ns->db, "DELETE FROM chunks WHERE id=?1 AND refs=0");
	db_bind_u64(s, 1, id);
	got = db_run(s);
	if (got)
		return got;
	if (db_changes(ns->db))
		return garbage_del(ns, id);
	s = db_prep(ns->db, "SELECT 1 FROM chunks WHERE id=?1");
	db_bind_u64(s, 1, id);
	got = ns_exists(s);
	return got == 1 ? -EBUSY : got;
}

int ns_garbage_drop(struct ns *ns, const uint64_t *chunks, int n)
{
	struct ns_undo u;
	int i, err;

	err = ns_op_begin(ns, &u, NULL);
	if (err)
		return err;
	for (i = 0; !err && i < n; i++)
		err = drop_one(ns, chunks[i]);
	return ns_op_end(ns, &u, NULL, err);
}

/* ------------------------------------------------------------------- ids */

static int reserve(struct ns *ns, uint64_t n, uint64_t *first)
{
	int err;

	if (!n)
		return -EINVAL;
	if (n > INT64_MAX - ns->chunk_mark)
		return -ENOSPC;
	err = ns_meta_set(ns, "next_chunk", ns->chunk_mark + n);
	if (err)
		return err;
	*first = ns->chunk_mark;
	ns->chunk_mark += n;
	return 0;
}

int ns_reserve_ids(struct ns *ns, uint64_t n, uint64_t *first)
{
	struct ns_undo u;
	int err;

	err = ns_op_begin(ns, &u, NULL);
	if (err)
		return err;
	return ns_op_end(ns, &u, NULL, reserve(ns, n, first));
}
