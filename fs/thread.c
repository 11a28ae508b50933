#include "thread.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
	UTIME = 14,	/* fields of /proc/TID/stat, as proc(5) counts them */
	AFTER_NAME = 3,
};

struct look {
	int gone;
	char state;
	unsigned long utime;
};

/* The name, in brackets, may hold anything: the last bracket ends it. */
static int parse(char *line, struct look *out)
{
	char *p = strrchr(line, ')');

	if (!p || p[1] != ' ')
		return -EBADMSG;
	out->state = p[2];
	for (int field = AFTER_NAME; field <= UTIME; field++) {
		p = strchr(p + 1, ' ');
		if (!p)
			return -EBADMSG;
		p += strspn(p, " ") - 1;
	}
	return sscanf(p, " %lu", &out->utime) == 1 ? 0 : -EBADMSG;
}

static int look(pid_t tid, struct look *out)
{
	char path[64], line[512];
	FILE *f;
	int got;

	*out = (struct look){ .gone = 0 };
	snprintf(path, sizeof(path), "/proc/%ld/stat", (long)tid);
	f = fopen(path, "re");
	if (!f) {
		out->gone = errno == ENOENT;
		return out->gone ? 0 : -errno;
	}
	got = fgets(line, sizeof(line), f) != NULL;
	fclose(f);
	if (!got) {
		out->gone = 1;	/* while we looked */
		return 0;
	}
	return parse(line, out);
}

int thread_goes_on(pid_t tid, int *patience_ms)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	struct look first, now;

	if (look(tid, &first))
		return 0;
	for (now = first;; (*patience_ms)--) {
		if (now.gone || now.state != 'R' || now.utime != first.utime)
			return 1;
		if (*patience_ms <= 0)
			return 0;
		nanosleep(&pause, NULL);
		if (look(tid, &now))
			return 0;
	}
}
