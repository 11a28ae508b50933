/* How many copies a chunk is to have. */
#include <errno.h>

#include "ns_internal.h"

int ns_copies(struct ns *ns, uint64_t chunk, uint8_t *out)
{
	struct db_stmt *s;
	int got;

	s = db_prep(ns->db, "SELECT copies FROM chunks WHERE id=?1");
	db_bind_u64(s, 1, chunk);
	got = db_step(s);
	if (got != 1)
		return got ? got : -ENOENT;
	*out = (uint8_t)db_u64(s, 0);
	db_reset(s);
	return 0;
}

static unsigned as_number(const struct ns *ns, uint8_t copies)
{
	return copies ? copies : ns->cfg.copies;
}

int ns_most_copies(struct ns *ns, const struct ns_slice *v, uint32_t n,
		   uint8_t *copies)
{
	uint8_t most = *copies, one;
	int err, seen = most != 0;
	uint32_t i;

	for (i = 0; i < n; i++) {
		if (!v[i].s.chunk)
			continue;
		err = ns_copies(ns, v[i].s.chunk, &one);
		if (err)
			return err;
		/* of equal ones that which the swarm decides */
		if (!seen || as_number(ns, one) > as_number(ns, most) ||
		    (!one && as_number(ns, one) == as_number(ns, most)))
			most = one;
		seen = 1;
	}
	*copies = most;
	return 0;
}

/* --------------------------------------------------------- of a whole file */

static int set_one(struct ns *ns, uint64_t id, uint8_t copies)
{
	struct db_stmt *s;

	s = db_prep(ns->db, "UPDATE chunks SET copies=?2 "
			    "WHERE id=?1 AND copies<>?2");
	db_bind_u64(s, 1, id);
	db_bind_u64(s, 2, copies);
	return db_run(s);
}

/* The chunks of one row of the table slots: how many. */
static int set_row(struct ns *ns, struct db_stmt *row, uint64_t ino,
		   uint8_t copies)
{
	const void *blob;
	uint32_t i, n;
	size_t len;
	int err = 0;

	blob = db_blob(row, 1, &len);
	if (ns_slices_count(len, &n))
		return ns_damaged("a slot of inode", ino);
	for (i = 0; !err && i < n; i++) {
		uint64_t id = ns_slices_get(blob, i).s.chunk;

		if (id)
			err = set_one(ns, id, copies);
	}
	return err ? err : (int)n;
}

static int set_some(struct ns *ns, uint64_t ino, uint64_t *at, uint8_t copies)
{
	struct db_stmt *s;
	int got, n = 0;

	s = db_prep(ns->db, "SELECT slot,slices FROM slots "
			    "WHERE ino=?1 AND slot>=?2 ORDER BY slot");
	db_bind_u64(s, 1, ino);
	db_bind_u64(s, 2, ns_min_i63(*at));
	while ((got = db_step(s)) == 1) {
		got = set_row(ns, s, ino, copies);
		*at = db_u64(s, 0) + 1;
		n += got;
		if (got < 0 || n >= NS_COPIES_STEP) {
			db_reset(s);
			return got < 0 ? got : 1;
		}
	}
	return got;
}

int ns_set_copies(struct ns *ns, uint64_t ino, uint64_t *at, uint8_t copies)
{
	uint64_t next = *at;
	struct ns_inode in;
	struct ns_undo u;
	int err, more;

	err = ns_file_get(ns, ino, &in);
	if (!err)
		err = ns_op_begin(ns, &u, NULL);
	if (err)
		return err;
	more = set_some(ns, ino, &next, copies);
	err = ns_op_end(ns, &u, NULL, more < 0 ? more : 0);
	if (err)
		return err;
	*at = next;
	return more;
}
