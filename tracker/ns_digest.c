#include <string.h>

#include "ns_internal.h"

int ns_digest(struct ns *ns, uint64_t ino, struct m_digest_r *out)
{
	struct ns_inode in;
	struct db_stmt *s;
	const void *md5;
	size_t n;
	int got;

	got = ns_file_get(ns, ino, &in);
	if (got)
		return got;
	*out = (struct m_digest_r){ .version = in.a.version };
	s = db_prep(ns->db, "SELECT md5 FROM digests "
			    "WHERE ino=?1 AND version=?2");
	db_bind_u64(s, 1, ino);
	db_bind_u64(s, 2, in.a.version);
	got = db_step(s);
	if (got != 1)
		return got;
	md5 = db_blob(s, 0, &n);
	if (n == MD5_LEN) {
		memcpy(out->md5, md5, MD5_LEN);
		out->known = 1;
	}
	db_reset(s);
	return n == MD5_LEN ? 0 : ns_damaged("the MD5 of inode", ino);
}

int ns_digested(struct ns *ns, const struct m_digested *m, uint8_t *kept)
{
	struct ns_inode in;
	struct db_stmt *s;
	int err;

	*kept = 0;
	err = ns_file_get(ns, m->ino, &in);
	if (err || in.a.version != m->version)
		return err;
	s = db_prep(ns->db, "INSERT OR REPLACE INTO digests(ino,version,md5) "
			    "VALUES(?1,?2,?3)");
	db_bind_u64(s, 1, m->ino);
	db_bind_u64(s, 2, m->version);
	db_bind_blob(s, 3, m->md5, MD5_LEN);
	err = db_run(s);
	*kept = !err;
	return err;
}
