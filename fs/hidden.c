/* hidden -- see hidden.h. */
#include "hidden.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "layout.h"

#define NOREPLACE 1		/* RENAME_NOREPLACE, as in m_rename.flags */

static int say(const struct hidden *h, int err, const char *why)
{
	return cli_say(CLI_FAILED, "%s: %s", h->path,
		       why && why[0] ? why : strerror(-err));
}

static int say_taken(const struct hidden *h)
{
	return cli_say(CLI_FAILED, "%s exists already: give another NAME, or "
		       "remove it first", h->path);
}

/* Splits h->path: the directory's path is in @dir. */
static int split(struct hidden *h, char dir[MSG_PATH_MAX])
{
	const char *slash = strrchr(h->path, '/');
	const char *name = slash ? slash + 1 : h->path;

	if (!*name || !strcmp(name, ".") || !strcmp(name, "..") ||
	    strlen(name) > MSG_NAME_MAX)
		return cli_say(CLI_FAILED, "%s: that is no name for a file",
			       h->path);
	strcpy(h->name, name);
	memcpy(dir, h->path, (size_t)(name - h->path));
	dir[name - h->path] = 0;
	return CLI_OK;
}

int hidden_place(struct hidden *h, const struct ask *ask, const char *path,
		 const char *base)
{
	char dir[MSG_PATH_MAX];
	struct m_attr attr;
	size_t n = strlen(path);
	int err = layout_find(ask, path, &attr), code;

	if (!err && S_ISDIR(attr.mode)) {
		while (n && path[n - 1] == '/')
			n--;
		if (snprintf(h->path, sizeof(h->path), "%.*s/%s", (int)n, path,
			     base) >= (int)sizeof(h->path))
			return cli_say(CLI_FAILED, "%s: too long", path);
		err = layout_find(ask, h->path, &attr);
	} else {
		snprintf(h->path, sizeof(h->path), "%s", path);
	}
	if (!err)
		return say_taken(h);
	if (err != -ENOENT)
		return say(h, err, NULL);
	code = split(h, dir);
	if (code != CLI_OK)
		return code;
	err = layout_find(ask, dir, &attr);
	if (!err && !S_ISDIR(attr.mode))
		err = -ENOTDIR;
	if (err)
		return cli_say(CLI_FAILED, "%s: %s: make the directory first",
			       dir, strerror(-err));
	h->parent = attr.ino;
	return CLI_OK;
}

int hidden_make(struct hidden *h, const struct ask *ask, uint32_t slot_size,
		const struct stat *like)
{
	struct m_mknod m = {
		.parent = h->parent, .excl = 1, .slot_size = slot_size,
		.mode = S_IFREG | (like->st_mode & 0777),
		.uid = geteuid(), .gid = getegid(),
	};
	struct arena a = ARENA_INIT;
	struct buf *body = NULL;
	struct wr w = WR_INIT;
	struct m_mknod_r r;
	char why[MSG_TEXT_MAX + 1];
	int err;

	snprintf(h->temporary, sizeof(h->temporary), ".pspfs-%016" PRIx64,
		 random_u64());
	m.name = str_of(h->temporary);
	m_mknod_encode(&w, &m);	/* a failure shows in w.err */
	err = ask_call(ask, M_mknod, &w, &body, why, sizeof(why));
	if (!err)
		err = m_mknod_r_decode(&r, &a, body->data, body->len);
	if (!err)
		h->ino = r.attr.ino;
	arena_fini(&a);
	buf_unref(body);
	return err ? say(h, err, why) : CLI_OK;
}

/* The tracker's half of an fsync: the name is on its disk, too. */
static int sync_name(const struct hidden *h, const struct ask *ask, char *why,
		     size_t why_len)
{
	struct m_commit m = { .ino = h->ino, .sync = 1 };
	struct buf *body = NULL;
	struct wr w = WR_INIT;
	int err;

	m_commit_encode(&w, &m);	/* as above */
	err = ask_call(ask, M_commit, &w, &body, why, why_len);
	buf_unref(body);
	return err;
}

int hidden_show(struct hidden *h, const struct ask *ask)
{
	struct m_rename m = {
		.parent = h->parent, .name = str_of(h->temporary),
		.newparent = h->parent, .newname = str_of(h->name),
		.flags = NOREPLACE,
	};
	struct buf *body = NULL;
	struct wr w = WR_INIT;
	char why[MSG_TEXT_MAX + 1];
	int err;

	m_rename_encode(&w, &m);	/* as above */
	err = ask_call(ask, M_rename, &w, &body, why, sizeof(why));
	buf_unref(body);
	if (err == -EEXIST)
		return say_taken(h);
	if (err)
		return say(h, err, why);
	/* It is there from now on: not to be removed, whatever comes. */
	h->temporary[0] = 0;
	err = sync_name(h, ask, why, sizeof(why));
	return err ? say(h, err, why) : CLI_OK;
}

void hidden_remove(struct hidden *h, const struct ask *ask)
{
	struct m_unlink m = { .parent = h->parent };
	struct buf *body = NULL;
	struct wr w = WR_INIT;
	int err;

	if (!h->ino || !h->temporary[0])
		return;
	m.name = str_of(h->temporary);
	m_unlink_encode(&w, &m);	/* as above */
	err = ask_call(ask, M_unlink, &w, &body, NULL, 0);
	buf_unref(body);
	if (err && err != -ENOENT)
		cli_say(CLI_FAILED, "%s/%s could not be removed (%s): remove "
			"it in a mounted folder", h->path, h->temporary,
			strerror(-err));
}
