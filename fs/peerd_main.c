/*
 * psppeerd -- a peer without a folder: it lends its disk to the swarm.
 *
 * Happy path: options -> to the background -> the peer starts and registers
 * -> the parent is let go -> signals: SIGHUP opens the log anew, SIGTERM and
 * SIGINT end it.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "log.h"
#include "opts.h"

enum { EXIT_USAGE = 1, EXIT_SYSTEM = 2 };

static const char help[] =
"psppeerd -- lend this machine's disk to a pspfs swarm, without mounting it\n"
"\n"
"usage: psppeerd [OPTION]...\n"
"  --tracker HOST[:PORT][,...]  the tracker, or several (127.0.0.1:3456)\n"
"  --addr IP         how other peers reach this one (by the route to the\n"
"                    tracker)\n"
"  --port N          its port (3457)\n"
"  --store DIR       where chunks are kept (/var/lib/pspfs/peer, with --addr\n"
"                    /var/lib/pspfs/peer-IP)\n"
"  --key FILE        the swarm's key (/etc/pspfs/swarm.key)\n"
"  --capacity SIZE   room lent, such as 20G (what is free, less a tenth)\n"
"  --memory SIZE     for chunks in memory and under way (128M)\n"
"  --timeout SECONDS how long to wait for the tracker (30)\n"
"  --via auto|peers|tracker\n"
"                    how chunks travel to here: straight from peer to peer and,\n"
"                    where that fails, through the tracker (auto); only the\n"
"                    one; only the other\n"
"  --foreground      stay in the foreground\n"
"  --log FILE        append the log to FILE; SIGHUP opens it anew (in the\n"
"                    background DIR/psppeerd.log, else the terminal)\n"
"  --pid FILE        write the process's number to FILE\n"
"  --help, --version\n";

struct peerd {
	struct opts opts;
	int foreground;
	char log[PATH_MAX], pid[PATH_MAX];	/* "": none */
};

/* ---------------------------------------------------------------- options */

static int usage(const char *why)
{
	fprintf(stderr, "psppeerd: %s\nTry 'psppeerd --help'.\n", why);
	return EXIT_USAGE;
}

/* --NAME VALUE is the item "NAME=VALUE". */
static int shared_option(struct peerd *d, const char *name, const char *value)
{
	char item[PATH_MAX + 32], why[512];

	if (snprintf(item, sizeof(item), "%s=%s", name, value) >=
	    (int)sizeof(item))
		return usage("an option's value is too long");
	return opts_set(&d->opts, item, why, sizeof(why)) ? usage(why) : -1;
}

static int path_option(char out[PATH_MAX], const char *value)
{
	if (strlen(value) >= PATH_MAX)
		return usage("a file's name is too long");
	strcpy(out, value);
	return -1;
}

/* -1, or the code to exit with. */
static int parse(struct peerd *d, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "tracker", required_argument, NULL, 's' },
		{ "addr", required_argument, NULL, 's' },
		{ "port", required_argument, NULL, 's' },
		{ "store", required_argument, NULL, 's' },
		{ "key", required_argument, NULL, 's' },
		{ "capacity", required_argument, NULL, 's' },
		{ "memory", required_argument, NULL, 's' },
		{ "timeout", required_argument, NULL, 's' },
		{ "via", required_argument, NULL, 's' },
		{ "foreground", no_argument, NULL, 'f' },
		{ "log", required_argument, NULL, 'l' },
		{ "pid", required_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int c, which, code = -1;

	while (code < 0 &&
	       (c = getopt_long(argc, argv, "", longs, &which)) != -1) {
		if (c == 's')
			code = shared_option(d, longs[which].name, optarg);
		else if (c == 'f')
			d->foreground = 1;
		else if (c == 'l')
			code = path_option(d->log, optarg);
		else if (c == 'p')
			code = path_option(d->pid, optarg);
		else if (c == 'h')
			code = fputs(help, stdout) < 0;
		else if (c == 'V')
			code = puts("psppeerd " PSPFS_VERSION) < 0;
		else
			code = EXIT_USAGE;	/* getopt has said why */
	}
	if (code < 0 && optind < argc)
		code = usage("there are only options, no further arguments");
	return code;
}

/* ---------------------------------------------------------------- running */

static int fail_errno(struct daemon *dm, const char *what, const char *path,
		      int err)
{
	char text[PATH_MAX + 128];

	snprintf(text, sizeof(text), "cannot %s %s: %s", what, path,
		 strerror(-err));
	return daemon_fail(dm, EXIT_SYSTEM, text);
}

/* What needs a peer that has started.  0, or the code to exit with. */
static int settle(struct peerd *d, const struct peer_config *cfg,
		  struct daemon *dm)
{
	int err;

	if (!d->log[0] && !d->foreground) {
		if (snprintf(d->log, sizeof(d->log), "%s/psppeerd.log",
			     cfg->store_dir) >= (int)sizeof(d->log))
			return daemon_fail(dm, EXIT_SYSTEM,
					   "the store's path is too long");
		err = log_open(d->log);
		if (err)
			return fail_errno(dm, "open the log", d->log, err);
	}
	err = d->pid[0] ? daemon_pidfile(d->pid) : 0;
	if (err)
		return fail_errno(dm, "write the process's number to", d->pid,
				  err);
	return 0;
}

static int serve(struct peerd *d, const struct peer_config *cfg,
		 struct daemon *dm)
{
	char why[1024], at[ADDR_TEXT_MAX];
	struct peer *peer;
	int err;

	daemon_block_signals();
	if (d->log[0]) {
		err = log_open(d->log);
		if (err)
			return fail_errno(dm, "open the log", d->log, err);
	}
	err = peer_start(&peer, cfg, NULL, why, sizeof(why));
	if (err)
		return daemon_fail(dm, EXIT_SYSTEM, why);
	err = settle(d, cfg, dm);
	if (err) {
		peer_stop(peer);
		return err;
	}
	log_info("lending %s at %s", cfg->store_dir,
		 addr_text(&cfg->addr, at));
	daemon_ready(dm);
	log_info("ending (%s)", strsignal(daemon_wait_signal()));
	peer_stop(peer);
	if (d->pid[0])
		unlink(d->pid);
	return 0;
}

int main(int argc, char **argv)
{
	static struct peerd d;	/* its paths are large */
	struct peer_config cfg;
	struct daemon dm;
	char why[1024];
	int err, code;

	log_init("psppeerd", LOG_INFO);
	daemon_init(&dm, "psppeerd");
	opts_init(&d.opts);
	code = parse(&d, argc, argv);
	if (code >= 0)
		return code;
	err = opts_finish(&d.opts, &cfg, why, sizeof(why));
	if (err)
		return usage(why);
	err = d.foreground ? 0 : daemon_fork(&dm);
	if (err)
		return fail_errno(&dm, "start", "a process in the background",
				  err);
	return serve(&d, &cfg, &dm);
}
