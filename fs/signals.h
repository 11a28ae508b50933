/*
 * signals -- a thread that waits has a signal: is it to be let go? (pure)
 *
 * FUSE tells of an interruption for any signal, also for those after which
 * no program expects EINTR from stat(2) or from reading a file: a child that
 * ended, a timer, a window's new size, the goroutine scheduler's SIGURG.  So
 * the signals themselves are looked at, in /proc/TID/status:
 *
 *   KILL  one that ends the process: the call's outcome is for nobody.
 *   STOP  a caught one by which people stop things (SIGINT, SIGTERM, SIGHUP,
 *         SIGQUIT): EINTR, but an answer that is nearly there is better.
 *   WAIT  any other, caught; or one that stops and continues jobs: as on a
 *         local disk it takes effect when the call ends.
 *   HIDDEN  its signals cannot be seen (another pid namespace): as STOP.
 */
#ifndef PSPFS_SIGNALS_H
#define PSPFS_SIGNALS_H

#include <stdint.h>

enum {
	SIGNALS_KILL_MS = 200,	/* the answer may yet come so long */
	SIGNALS_STOP_MS = 700,
};

enum signals_wish {
	SIGNALS_WAIT,
	SIGNALS_STOP,
	SIGNALS_KILL,
	SIGNALS_HIDDEN,
};

/* Bit N - 1 is signal N, as the kernel writes them. */
struct signals {
	uint64_t pending, shared;	/* the thread's; the process's */
	uint64_t blocked, ignored, caught;
};

/* From the text of /proc/TID/status; 0 or -EINVAL. */
int signals_parse(struct signals *out, const char *status);
enum signals_wish signals_wish(const struct signals *s);
/* Has it been waited for long enough, @ms since the wish was seen? */
int signals_due(enum signals_wish wish, uint64_t ms);
/* From the text of /proc/TID/stat: has a signal killed it, and is it on its
 * way out?  (What it still does is to close its files.) */
int signals_killed(const char *stat);

#endif
