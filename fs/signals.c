/* signals -- see signals.h. */
#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BIT(sig) (UINT64_C(1) << ((sig) - 1))

enum {
	EXITING = 0x4,		/* PF_EXITING of /proc/TID/stat's flags */
	STAT_FLAGS = 9,		/* its fields, counted from 1 as in proc(5) */
	STAT_EXIT_CODE = 52,
	STAT_AFTER_NAME = 3,
};

static const uint64_t stopping = BIT(SIGINT) | BIT(SIGTERM) | BIT(SIGHUP) |
				 BIT(SIGQUIT);
/* What does not end a process that has no handler for it. */
static const uint64_t harmless = BIT(SIGCHLD) | BIT(SIGCONT) | BIT(SIGURG) |
				 BIT(SIGWINCH) | BIT(SIGSTOP) | BIT(SIGTSTP) |
				 BIT(SIGTTIN) | BIT(SIGTTOU);

/* The line "@name:\t0123456789abcdef". */
static int field(const char *text, const char *name, uint64_t *out)
{
	size_t n = strlen(name);
	const char *at = text;
	char *end;

	while (at && strncmp(at, name, n)) {
		at = strchr(at, '\n');
		if (at)
			at++;
	}
	if (!at || at[n] != ':')
		return -EINVAL;
	*out = strtoull(at + n + 1, &end, 16);
	return *end == '\n' ? 0 : -EINVAL;
}

int signals_parse(struct signals *out, const char *status)
{
	struct signals s;

	if (field(status, "SigPnd", &s.pending) ||
	    field(status, "ShdPnd", &s.shared) ||
	    field(status, "SigBlk", &s.blocked) ||
	    field(status, "SigIgn", &s.ignored) ||
	    field(status, "SigCgt", &s.caught))
		return -EINVAL;
	*out = s;
	return 0;
}

enum signals_wish signals_wish(const struct signals *s)
{
	uint64_t sent = s->pending | s->shared;
	uint64_t felt = sent & ~s->blocked & ~s->ignored;

	if ((sent & BIT(SIGKILL)) || (felt & ~s->caught & ~harmless))
		return SIGNALS_KILL;
	return felt & s->caught & stopping ? SIGNALS_STOP : SIGNALS_WAIT;
}

int signals_due(enum signals_wish wish, uint64_t ms)
{
	switch (wish) {
	case SIGNALS_KILL:
		return ms >= SIGNALS_KILL_MS;
	case SIGNALS_STOP:
	case SIGNALS_HIDDEN:
		return ms >= SIGNALS_STOP_MS;
	default:
		return 0;
	}
}

int signals_killed(const char *stat)
{
	unsigned long flags = 0, code = 0;
	const char *at = strrchr(stat, ')');	/* the name may have any byte */

	for (int i = STAT_AFTER_NAME; at && i <= STAT_EXIT_CODE; i++) {
		at = strchr(at, ' ');
		if (at)
			at++;
		if (at && i == STAT_FLAGS)
			flags = strtoul(at, NULL, 10);
		if (at && i == STAT_EXIT_CODE)
			code = strtoul(at, NULL, 10);
	}
	/* as wait(2) tells it: the low seven bits are the signal */
	return at && (flags & EXITING) && (code & 0x7f);
}
