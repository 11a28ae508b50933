/*
 * mount_opts -- the command line of mount.pspfs, with mount(8)'s grammar.
 *
 *   mount.pspfs [SOURCE] DIR [-o OPTIONS] [-fnsvrwhV] [-t TYPE] [-N NS]
 *               [--foreground] [--log FILE] [--pid FILE]
 *
 * SOURCE is HOST[:PORT][,HOST[:PORT]...][:/SUBDIR].  mount(8) calls a helper
 * with the positional arguments first and -o behind them; people do as they
 * like.
 */
#ifndef PSPFS_MOUNT_OPTS_H
#define PSPFS_MOUNT_OPTS_H

#include <stddef.h>

#include "opts.h"

#define MOUNT_USAGE 1		/* exit codes, as mount(8)'s */
#define MOUNT_SYSTEM 2
#define MOUNT_FAILED 32

enum mount_verb { MOUNT_GO, MOUNT_HELP, MOUNT_VERSION };

struct mount_opts {
	enum mount_verb verb;
	struct opts peer;	/* also SUBDIR */
	const char *dir;	/* this and the next four are argv's */
	const char *source;	/* NULL: none was given */
	const char *ns, *log, *pid;
	unsigned copies;	/* 0: not given */
	int fake, verbose, sloppy, foreground;
	int ro, suid, dev, noexec, sync, dirsync, noatime, allow_other;
};

/* 0, or -EINVAL with a sentence in @why.  @o owns nothing. */
int mount_opts_parse(struct mount_opts *o, int argc, char **argv, char *why,
		     size_t why_len);
/* The mount options for the kernel, "allow_other,ro"; malloc()ed or NULL. */
char *mount_opts_kernel(const struct mount_opts *o);

extern const char mount_opts_help[];

#endif
