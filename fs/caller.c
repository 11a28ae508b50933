/* caller -- see caller.h. */
#include "caller.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A status lists up to 65536 groups; the capabilities come after them. */
enum { LINE = 4096 };

int caller_parse_caps(const char *status, uint64_t *effective)
{
	static const char field[] = "CapEff:";
	const char *p = strstr(status, field);

	if (!p || sscanf(p + sizeof(field) - 1, "%" SCNx64, effective) != 1)
		return -EINVAL;
	return 0;
}

int caller_parse_groups(const char *line, uint32_t gid)
{
	static const char field[] = "Groups:";
	unsigned long one;
	char *end;

	if (strncmp(line, field, sizeof(field) - 1))
		return 0;
	for (line += sizeof(field) - 1;; line = end) {
		one = strtoul(line, &end, 10);
		if (end == line)
			return 0;
		if (one == gid)
			return 1;
	}
}

int caller_mapped(const char *map, uint32_t id)
{
	uint32_t inside, outside, n;
	int at;

	for (; sscanf(map, "%" SCNu32 "%" SCNu32 "%" SCNu32 "%n", &inside,
		      &outside, &n, &at) == 3;
	     map += at)
		if (id >= outside && id - outside < n)
			return 1;
	return 0;
}

static FILE *proc_open(pid_t tid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%ld/%s", (long)tid, name);
	return fopen(path, "re");
}

static int effective(pid_t tid, uint64_t *caps)
{
	FILE *f = proc_open(tid, "status");
	char line[LINE];
	int err = -ENOENT;

	if (!f)
		return -errno;
	while (err && fgets(line, sizeof(line), f))
		err = caller_parse_caps(line, caps);
	fclose(f);
	return err;
}

int caller_in_group(pid_t tid, uint32_t gid)
{
	FILE *f = tid > 0 ? proc_open(tid, "status") : NULL;
	char *line = NULL;
	size_t room = 0;
	int found = 0;

	if (!f)
		return 0;
	while (!found && getline(&line, &room, f) > 0)
		found = caller_parse_groups(line, gid);
	free(line);
	fclose(f);
	return found;
}

static int mapped(pid_t tid, const char *name, uint32_t id)
{
	FILE *f = proc_open(tid, name);
	char line[LINE];
	int found = 0;

	if (!f)
		return 1;
	while (!found && fgets(line, sizeof(line), f))
		found = caller_mapped(line, id);
	fclose(f);
	return found;
}

int caller_capable(pid_t tid, int cap, uint32_t uid, uint32_t gid)
{
	uint64_t caps;

	if (tid <= 0 || effective(tid, &caps))
		return 1;
	return (caps >> cap & 1) && mapped(tid, "uid_map", uid) &&
	       mapped(tid, "gid_map", gid);
}

int caller_unmounts(pid_t tid)
{
	FILE *f = tid > 0 ? proc_open(tid, "comm") : NULL;
	char line[LINE] = "";

	if (!f)
		return 0;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	fclose(f);
	return !strcmp(line, "umount\n") || !strncmp(line, "fusermount", 10);
}
