/* mountpoint -- see mountpoint.h. */
#include "mountpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

enum { STALE_MAX = 8 };		/* crashed mounts on top of each other */

#define FUSE_DEVICE "/dev/fuse"

/* -------------------------------------------------------------- mountinfo */

/* In place: the kernel writes space, tab, newline, '\' as \ooo. */
static void unescape(char *s)
{
	char *out = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' &&
		    s[2] >= '0' && s[2] <= '7' && s[3] >= '0' &&
		    s[3] <= '7') {
			*out++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 |
					(s[3] - '0'));
			s += 3;
		} else {
			*out++ = *s;
		}
	}
	*out = '\0';
}

/* "36 35 98:0 /root /mount/point opts [tags...] - type source superopts" */
static int parse(char *line, char **path, struct mounted *out)
{
	char *save, *word, *tail = strstr(line, " - ");

	if (!tail || sscanf(line, "%*d %*d %u:%u", &out->major,
			    &out->minor) != 2)
		return 0;
	if (sscanf(tail, " - %63s", out->type) != 1)
		return 0;
	*path = NULL;
	word = strtok_r(line, " ", &save);
	for (int i = 0; word && i < 4; i++)
		word = strtok_r(NULL, " ", &save);
	if (!word)
		return 0;
	unescape(word);
	*path = word;
	return 1;
}

int mountpoint_find_in(FILE *f, const char *path, struct mounted *out)
{
	struct mounted m;
	char *line = NULL, *at;
	size_t cap = 0;
	int err = -ENOENT;

	while (getline(&line, &cap, f) > 0) {
		if (!parse(line, &at, &m) || strcmp(at, path))
			continue;
		*out = m;
		err = 0;
	}
	free(line);
	return err;
}

int mountpoint_find(const char *path, struct mounted *out)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	int err;

	if (!f)
		return -errno;
	err = mountpoint_find_in(f, path, out);
	fclose(f);
	return err;
}

/* ----------------------------------------------------------------- checks */

static int is_ours(const char *path)
{
	struct mounted m;

	return !mountpoint_find(path, &m) && !strcmp(m.type, MOUNTPOINT_TYPE);
}

/* realpath() that does not look at the last component, where a crashed mount
 * answers every question with ENOTCONN. */
static int resolve_stale(const char *path, char out[PATH_MAX])
{
	char dir[PATH_MAX], base[PATH_MAX], real[PATH_MAX];
	const char *name;

	if (strlen(path) >= PATH_MAX)
		return -ENAMETOOLONG;
	strcpy(dir, path);
	strcpy(base, path);
	name = basename(base);
	if (!realpath(dirname(dir), real))
		return -errno;
	if (snprintf(out, PATH_MAX, "%s/%s", strcmp(real, "/") ? real : "",
		     name) >= PATH_MAX)
		return -ENAMETOOLONG;
	return 0;
}

/* Take one crashed mount away. */
static int clear_stale(const char *path, int dry, char out[PATH_MAX])
{
	int err = resolve_stale(path, out);

	if (err)
		return err;
	if (!is_ours(out))
		return -ENOTCONN;
	if (dry)
		return 0;
	if (umount2(out, MNT_DETACH))
		return -errno;
	log_warn("took away what a crashed mount.pspfs left at %s", out);
	return 0;
}

static int check_dir(const char *path, const struct stat *st, char *out,
		     char *why, size_t why_len)
{
	if (!S_ISDIR(st->st_mode)) {
		snprintf(why, why_len, "mount point %s is not a directory",
			 path);
		return -ENOTDIR;
	}
	if (!realpath(path, out)) {
		snprintf(why, why_len, "mount point %s: %s", path,
			 strerror(errno));
		return -errno;
	}
	if (is_ours(out)) {
		snprintf(why, why_len,
			 "%s is already mounted: umount %s first", out, out);
		return -EBUSY;
	}
	return 0;
}

static int check_path(const char *path, int dry, char out[PATH_MAX],
		      char *why, size_t why_len)
{
	struct stat st;
	int err = 0;

	for (int i = 0; i < STALE_MAX; i++) {
		if (!stat(path, &st))
			return check_dir(path, &st, out, why, why_len);
		err = -errno;
		if (err != -ENOTCONN)
			break;
		err = clear_stale(path, dry, out);
		if (err || dry)
			break;
	}
	if (!err)
		return 0;
	if (err == -ENOENT)
		snprintf(why, why_len,
			 "mount point %s does not exist: mkdir -p %s", path,
			 path);
	else if (err == -ENOTCONN)
		snprintf(why, why_len,
			 "at %s another file system has crashed: umount -l %s",
			 path, path);
	else
		snprintf(why, why_len, "mount point %s: %s", path,
			 strerror(-err));
	return err;
}

static int check_device(char *why, size_t why_len)
{
	int fd = open(FUSE_DEVICE, O_RDWR | O_CLOEXEC), err = -errno;

	if (fd >= 0) {
		close(fd);
		return 0;
	}
	if (err == -EACCES || err == -EPERM)
		snprintf(why, why_len,
			 "may not open " FUSE_DEVICE " (%s): mount as root, or "
			 "in a container run with --device " FUSE_DEVICE
			 " --cap-add SYS_ADMIN",
			 strerror(-err));
	else if (err == -ENOENT || err == -ENODEV || err == -ENXIO)
		snprintf(why, why_len,
			 FUSE_DEVICE " is missing: modprobe fuse, or in a "
			 "container run with --device " FUSE_DEVICE);
	else
		snprintf(why, why_len, FUSE_DEVICE ": %s", strerror(-err));
	return err;
}

int mountpoint_check(const char *path, int dry, char out[PATH_MAX], char *why,
		     size_t why_len)
{
	int err = check_path(path, dry, out, why, why_len);

	return err ? err : check_device(why, why_len);
}
