/*
 * ops_tmpfile -- open(2) with O_TMPFILE: a file that has no name yet.
 *
 * The tracker makes an orphan that counts as open here; its last close is
 * told like that of any file without a name.  linkat(2) gives it one.
 */
#include <sys/stat.h>

#include "ops_call.h"

static void tmpfile_done(struct call *c, struct answer *a)
{
	struct m_mknod_r m;
	int err = ANSWER(a, mknod_r, &m);

	if (err) {
		call_fail(c, err);
		return;
	}
	call_changed(c, &m.attr);
	call_reply_open(c, &m.attr, 1);
}

void ops_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode,
		 struct fuse_file_info *fi)
{
	const struct fuse_ctx *who = fuse_req_ctx(req);
	struct call *c = call_new(req);
	struct wr w = WR_INIT;
	struct m_mknod m;

	if (!c)
		return;
	c->fi = *fi;
	m = (struct m_mknod){
		.parent = ops_ino(c->ops, parent),
		.mode = S_IFREG | (mode & 07777),
		.uid = who->uid,
		.gid = who->gid,
		.excl = 1,
		.umask = who->umask,
		.tmpfile = 1,
	};
	m_mknod_encode(&w, &m);
	call_send(c, M_mknod, &w, tmpfile_done);
}
