/*
 * cli_where -- what a PATH on the command line means.
 *
 * In a mounted folder: what is there, and the tracker of the mount's source.
 * Any other: a path from the top of the swarm.
 */
#include <errno.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "layout.h"

#define SOURCE_PREFIX "pspfs:"

struct mounted {
	char dir[PATH_MAX];	/* the mount point */
	char source[PATH_MAX];	/* without the prefix */
};

/* 0: @real is in a mounted pspfs; -ENODEV: in some other filesystem. */
static int find_mount(const char *real, struct mounted *out)
{
	FILE *f = setmntent("/proc/self/mounts", "r");
	size_t best_len = 0;
	struct mntent *m;
	int err = -ENODEV;

	if (!f)
		return -errno;
	while ((m = getmntent(f))) {
		size_t n = strlen(m->mnt_dir);

		if (strncmp(real, m->mnt_dir, n) ||
		    (n > 1 && real[n] && real[n] != '/') || n < best_len)
			continue;
		best_len = n;
		err = -ENODEV;
		if (!strstr(m->mnt_type, "pspfs") ||
		    strncmp(m->mnt_fsname, SOURCE_PREFIX,
			    strlen(SOURCE_PREFIX)))
			continue;
		snprintf(out->dir, sizeof(out->dir), "%s", m->mnt_dir);
		snprintf(out->source, sizeof(out->source), "%s",
			 m->mnt_fsname + strlen(SOURCE_PREFIX));
		err = 0;
	}
	endmntent(f);
	return err;
}

/* @path, which need not exist but in its directory, without links. */
static int resolve(const char *path, char out[PATH_MAX])
{
	char dir[PATH_MAX], real[PATH_MAX];
	const char *slash;

	if (realpath(path, out))
		return 0;
	slash = strrchr(path, '/');
	if (errno != ENOENT || (slash && !slash[1]))
		return -errno;
	if (snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path + 1)
						     : 1,
		     slash ? path : ".") >= (int)sizeof(dir))
		return -ENAMETOOLONG;
	if (!realpath(dir, real))
		return -errno;
	if (snprintf(out, PATH_MAX, "%s/%s", strcmp(real, "/") ? real : "",
		     slash ? slash + 1 : path) >= PATH_MAX)
		return -ENAMETOOLONG;
	return 0;
}

int cli_swarm_path(struct cli *c, const char *path, char out[MSG_PATH_MAX])
{
	static char tracker[PATH_MAX];	/* as long as the command runs */
	struct mounted m;
	char real[PATH_MAX];
	const char *sub, *rest = path;
	size_t n;

	sub = "";
	if (!resolve(path, real) && !find_mount(real, &m)) {
		n = strlen(m.dir);
		rest = real + (n > 1 ? n : 0);
		sub = strstr(m.source, ":/");
		n = sub ? (size_t)(sub - m.source) : strlen(m.source);
		sub = sub ? sub + 1 : "";
		if (memchr(m.source, ',', n))	/* the first of several */
			n = strcspn(m.source, ",");
		snprintf(tracker, sizeof(tracker), "%.*s", (int)n, m.source);
		if (!c->tracker)
			c->tracker = tracker;
	}
	if (snprintf(out, MSG_PATH_MAX, "%s/%s", sub,
		     rest + strspn(rest, "/")) >= MSG_PATH_MAX)
		return cli_say(CLI_USAGE, "%s: the path is too long", path);
	return CLI_OK;
}

int cli_open_for(struct cli *c, const char *path, char name[MSG_PATH_MAX],
		 struct ask *ask)
{
	int code = cli_swarm_path(c, path, name);

	if (code == CLI_OK)
		code = cli_open(c);
	*ask = cli_ask(c);
	return code;
}

int cli_find(struct cli *c, const char *path, struct m_attr *out)
{
	char name[MSG_PATH_MAX];
	struct ask ask;
	int err, code = cli_open_for(c, path, name, &ask);

	if (code != CLI_OK)
		return code;
	err = layout_find(&ask, name, out);
	if (!err)
		return CLI_OK;
	return cli_say(CLI_FAILED, "%s: %s%s", path, strerror(-err),
		       err == -ENOENT ? ": neither in a mounted folder nor in "
					"the swarm" : "");
}
