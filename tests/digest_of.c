/*
 * digest_of -- asks the tracker for the MD5 of a whole file, for e2e tests.
 *
 * digest_of TRACKER KEY PATH known|compute: prints the MD5, or "unknown";
 * 2: failed, with the tracker's words.
 */
#include <stdio.h>
#include <string.h>

#include "cli.h"

int main(int argc, char **argv)
{
	struct m_digest m = { 0 };
	struct arena a = ARENA_INIT;
	struct cli c = { 0 };
	struct wr w = WR_INIT;
	char why[MSG_TEXT_MAX + 1], md5[2 * MD5_LEN + 1] = "unknown";
	struct buf *body = NULL;
	struct m_digest_r r;
	struct m_attr at;
	int err;

	if (argc != 5)
		return cli_say(CLI_USAGE, "TRACKER KEY PATH known|compute");
	c.tracker = argv[1];
	c.key_file = argv[2];
	err = cli_find(&c, argv[3], &at);
	if (err)
		return err;
	m.ino = at.ino;
	m.compute = !strcmp(argv[4], "compute");
	m_digest_encode(&w, &m);
	err = cli_call(&c, M_digest, &w, &body, why, sizeof(why));
	if (!err)
		err = m_digest_r_decode(&r, &a, body->data, body->len);
	if (!err && r.known)
		hex_text(r.md5, MD5_LEN, md5);
	if (err)
		cli_say(CLI_FAILED, "%s (%s)", why, strerror(-err));
	else
		puts(md5);
	buf_unref(body);
	arena_fini(&a);
	cli_close(&c);
	return err ? CLI_FAILED : CLI_OK;
}
