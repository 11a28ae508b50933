/* mount_opts -- see mount_opts.h. */
#include "mount_opts.h"

#include <errno.h>
#include <fnmatch.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char mount_opts_help[] =
"usage: mount.pspfs [SOURCE] DIR [-o OPTIONS] [--foreground]\n"
"       mount -t pspfs SOURCE DIR [-o OPTIONS]\n"
"\n"
"Show the swarm's shared folder at DIR.  This machine becomes a peer by it:\n"
"it stores chunks of files for the others and serves them.\n"
"\n"
"  mount.pspfs /mnt/shared                   the tracker on this machine\n"
"  mount.pspfs 10.0.0.1 /mnt/shared          the tracker on 10.0.0.1\n"
"  mount.pspfs 10.0.0.1:4000 /mnt/shared     ... on another port than 3456\n"
"  mount.pspfs 10.0.0.1,10.0.0.2 /mnt/shared two trackers, tried in turn\n"
"  mount.pspfs 10.0.0.1:/photos /mnt/photos  one directory of the folder\n"
"  mount.pspfs /mnt/shared -o store=/data/pspfs,capacity=200G\n"
"                                            where, and how much, to store\n"
"  umount /mnt/shared                        leave; nothing is lost\n"
"\n"
"In /etc/fstab:\n"
"  10.0.0.1  /mnt/shared  pspfs  _netdev,capacity=200G  0 0\n"
"\n"
"Options after -o, with commas between them:\n"
"  tracker=HOST[:PORT]  as SOURCE; may be given several times\n"
"  addr=IP            where other peers reach this one (by the route to the\n"
"                     tracker); several peers on one machine take\n"
"                     127.0.0.11, 127.0.0.12, ...\n"
"  port=N             its TCP port (3457)\n"
"  store=DIR          where chunks are kept (/var/lib/pspfs/peer, with addr=\n"
"                     /var/lib/pspfs/peer-IP)\n"
"  key=FILE           the swarm's secret (/etc/pspfs/swarm.key)\n"
"  capacity=SIZE      how much disk to lend: 20G, 1T (what is free, less a\n"
"                     tenth)\n"
"  memory=SIZE        for chunks in memory (128M)\n"
"  timeout=SECONDS    how long to wait for the tracker before EIO (30)\n"
"  copies=N           copies that the tracker is expected to keep: its own\n"
"                     word counts, a difference is logged\n"
"  via=auto|peers|tracker\n"
"                     how chunks travel: straight from peer to peer and, where\n"
"                     that fails, through the tracker (auto); only the one;\n"
"                     only the other\n"
"  ro, noexec, suid, dev, sync, dirsync, noatime\n"
"                     as mount(8); nosuid, nodev and relatime are the default\n"
"  allow_other        for all users of this machine (the default for root)\n"
"\n"
"  --foreground       stay in the foreground\n"
"  --log FILE         log there; SIGHUP opens it anew (in the background\n"
"                     mount.pspfs.log in the store, else the terminal)\n"
"  --pid FILE         write the process number there\n"
"  -f, --fake         check everything, mount nothing\n"
"  -v, --verbose      log more\n"
"  -s                 overlook options that are not known\n"
"  -r, -w             as -o ro, -o rw\n"
"  -N, --namespace NS mount in the namespace of this process or file\n"
"  -n, -t TYPE        for mount(8); nothing happens\n"
"  -h, --help         this\n"
"  -V, --version      the version\n"
"\n"
"Exit status: 0 mounted and registered, 1 wrong usage, 2 system error,\n"
"32 the mount failed.\n";

/* What fstab and mount(8) say to others. */
static const char *const noise[] = {
	"defaults", "_netdev", "auto", "noauto", "fail", "nofail", "user",
	"nouser", "users", "owner", "group", "user=*", "helper=*",
	"uhelper=*", "comment=*", "x-*", "X-*", "async", "atime", "diratime",
	"nodiratime", "relatime", "norelatime", "strictatime",
	"nostrictatime", "lazytime", "nolazytime", "iversion", "noiversion",
	"silent", "loud", "default_permissions",
};

static int is_noise(const char *word)
{
	for (size_t i = 0; i < sizeof(noise) / sizeof(noise[0]); i++)
		if (!fnmatch(noise[i], word, 0))
			return 1;
	return 0;
}

/* A word that is a flag: 1 if it is one. */
static int set_flag(struct mount_opts *o, const char *word)
{
	const struct {
		const char *word;
		int *flag, on;
	} flags[] = {
		{ "ro", &o->ro, 1 },
		{ "rw", &o->ro, 0 },
		{ "suid", &o->suid, 1 },
		{ "nosuid", &o->suid, 0 },
		{ "dev", &o->dev, 1 },
		{ "nodev", &o->dev, 0 },
		{ "noexec", &o->noexec, 1 },
		{ "exec", &o->noexec, 0 },
		{ "sync", &o->sync, 1 },
		{ "dirsync", &o->dirsync, 1 },
		{ "noatime", &o->noatime, 1 },
		{ "allow_other", &o->allow_other, 1 },
		{ "noallow_other", &o->allow_other, 0 },
	};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (!strcmp(word, flags[i].word)) {
			*flags[i].flag = flags[i].on;
			return 1;
		}
	return 0;
}

static int set_copies(struct mount_opts *o, const char *value, char *why,
		      size_t why_len)
{
	char *end;
	unsigned long n = strtoul(value, &end, 10);

	if (*value < '0' || *value > '9' || *end || n < 1 || n > 16) {
		snprintf(why, why_len,
			 "copies=%s: a number from 1 to 16 is wanted", value);
		return -EINVAL;
	}
	o->copies = (unsigned)n;
	return 0;
}

static int set_word(struct mount_opts *o, const char *word, char *why,
		    size_t why_len)
{
	int err;

	if (!*word || is_noise(word) || set_flag(o, word))
		return 0;
	if (!strcmp(word, "remount")) {
		snprintf(why, why_len,
			 "remount: cannot be done here: umount, then mount "
			 "with the new options");
		return -EINVAL;
	}
	if (!strncmp(word, "copies=", 7))
		return set_copies(o, word + 7, why, why_len);
	err = opts_set(&o->peer, word, why, why_len);
	if (err != -ENOENT || o->sloppy)
		return err == -ENOENT ? 0 : err;
	snprintf(why, why_len,
		 "unknown option '%s': mount.pspfs --help lists them", word);
	return -EINVAL;
}

static int set_words(struct mount_opts *o, const char *list, char *why,
		     size_t why_len)
{
	char *copy = strdup(list), *rest = copy, *word;
	int err = copy ? 0 : -ENOMEM;

	while (!err && (word = strsep(&rest, ",")))
		err = set_word(o, word, why, why_len);
	free(copy);
	return err;
}

static int set_places(struct mount_opts *o, int n, char **v, char *why,
		      size_t why_len)
{
	if (n < 1 || n > 2) {
		snprintf(why, why_len,
			 n < 1 ? "no mount point is named: mount.pspfs "
				 "/mnt/shared, or mount.pspfs --help"
			       : "too many arguments: mount.pspfs [SOURCE] "
				 "DIR, or mount.pspfs --help");
		return -EINVAL;
	}
	o->dir = v[n - 1];
	/* fstab has to write something */
	if (n < 2 || !strcmp(v[0], "none") || !strcmp(v[0], "pspfs"))
		return 0;
	o->source = v[0];
	return opts_source(&o->peer, v[0], why, why_len);
}

enum { OPT_FOREGROUND = 256, OPT_LOG, OPT_PID };

static int set_option(struct mount_opts *o, int c, char **words)
{
	switch (c) {
	case 'o':
		*words = optarg;
		return 0;
	case 'f':
		o->fake = 1;
		return 0;
	case 'v':
		o->verbose = 1;
		return 0;
	case 's':
		o->sloppy = 1;
		return 0;
	case 'r':
	case 'w':
		o->ro = c == 'r';
		return 0;
	case 'N':
		o->ns = optarg;
		return 0;
	case OPT_FOREGROUND:
		o->foreground = 1;
		return 0;
	case OPT_LOG:
		o->log = optarg;
		return 0;
	case OPT_PID:
		o->pid = optarg;
		return 0;
	case 'h':
		o->verb = MOUNT_HELP;
		return 0;
	case 'V':
		o->verb = MOUNT_VERSION;
		return 0;
	case 'n':
	case 't':
		return 0;
	default:
		return -EINVAL;
	}
}

int mount_opts_parse(struct mount_opts *o, int argc, char **argv, char *why,
		     size_t why_len)
{
	static const struct option longs[] = {
		{ "fake", no_argument, NULL, 'f' },
		{ "no-mtab", no_argument, NULL, 'n' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ "options", required_argument, NULL, 'o' },
		{ "types", required_argument, NULL, 't' },
		{ "namespace", required_argument, NULL, 'N' },
		{ "foreground", no_argument, NULL, OPT_FOREGROUND },
		{ "log", required_argument, NULL, OPT_LOG },
		{ "pid", required_argument, NULL, OPT_PID },
		{ NULL, 0, NULL, 0 },
	};
	int c, err = 0;

	*o = (struct mount_opts){ .allow_other = geteuid() == 0 };
	*why = '\0';
	opts_init(&o->peer);
	optind = 0;	/* start afresh, and permute */
	opterr = 0;
	while (!err &&
	       (c = getopt_long(argc, argv, "o:fnvsrwhVt:N:", longs, NULL)) !=
		       -1) {
		char *words = NULL;

		err = set_option(o, c, &words);
		if (err)
			snprintf(why, why_len,
				 "what is %s? mount.pspfs --help tells",
				 argv[optind - 1]);
		if (!err && words)
			err = set_words(o, words, why, why_len);
	}
	if (err || o->verb != MOUNT_GO)
		return err;
	return set_places(o, argc - optind, argv + optind, why, why_len);
}

char *mount_opts_kernel(const struct mount_opts *o)
{
	char *s = NULL;

	if (asprintf(&s, "%s%s%s%s%s%s%s%s", o->ro ? "ro" : "rw",
		     o->allow_other ? ",allow_other" : "",
		     o->suid ? ",suid" : "", o->dev ? ",dev" : "",
		     o->noexec ? ",noexec" : "", o->sync ? ",sync" : "",
		     o->dirsync ? ",dirsync" : "",
		     o->noatime ? ",noatime" : "") < 0)
		return NULL;
	return s;
}
