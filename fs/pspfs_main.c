/* pspfs -- one command for people: what the swarm is and where files lie. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "log.h"

static const struct verb {
	const char *name;
	int (*run)(struct cli *c, int argc, char **argv);
	const char *args, *help;
	int options;		/* it has some of its own, and reads them */
} verbs[] = {
	{ "status", cli_status, "",
	  "peers, space, chunks that lack copies, counters", 0 },
	{ "info", cli_info, "PATH",
	  "a file's chunks, their MD5s and who holds them", 0 },
	{ "list", cli_list, "[DIR]",
	  "every file, how many have all of it, and when it changed", 0 },
	{ "tracker", cli_track, "NAME",
	  "its tracker file: size, MD5s, and who holds which bytes", 1 },
	{ "get", cli_get, "NAME [DEST]",
	  "download it from all who hold it, without a mount", 1 },
	{ "share", cli_share, "FILE [NAME]",
	  "make the peer on this machine a holder of FILE", 1 },
	{ "distribute", cli_distribute, "FILE [NAME]",
	  "split a local file, one part to each active peer", 1 },
	{ "replicate", cli_replicate, "PATH",
	  "how many copies a file has; --all: one at every peer, now", 1 },
};

#define N_VERBS (sizeof(verbs) / sizeof(verbs[0]))

static void usage(FILE *to)
{
	size_t i;

	fputs("usage: pspfs [--tracker HOST[:PORT]] [--key FILE] [--json] "
	      "VERB ...\n\n", to);
	for (i = 0; i < N_VERBS; i++)
		fprintf(to, "  %-10s %-11s %s\n", verbs[i].name, verbs[i].args,
			verbs[i].help);
	fputs("\n"
	      "  --tracker HOST[:PORT]  default 127.0.0.1:3456; for a PATH in\n"
	      "                         a mounted folder, that folder's\n"
	      "  --key FILE             default " KEY_DEFAULT "\n"
	      "  --json                 for programs: one JSON object\n"
	      "  --help, --version\n\n"
	      "tracker NAME:\n"
	      "  --no-md5               do not wait for the MD5 of the whole file\n"
	      "                         where a peer would have to compute it\n"
	      "get NAME [DEST], or get --track FILE.track [DEST]:\n"
	      "  --track FILE           what to get, as pspfs tracker printed it\n"
	      "  --force                replace DEST if it is there\n"
	      "  --timeout SECONDS      to wait for a tracker, and for what no\n"
	      "                         active peer holds (10)\n"
	      "  --addr IP              where others fetch from us meanwhile\n"
	      "                         (by the route to the tracker)\n"
	      "share FILE [NAME]: creates NAME (FILE's, at the top), or joins its\n"
	      "holders if it exists and is the same file:\n"
	      "  --range A-B            FILE is here, or known to be right, only\n"
	      "                         there: bytes (0-10M) or parts (20%-40%)\n"
	      "  --copies N             of a new file's chunks; more than this\n"
	      "                         peer's are made by the swarm (1)\n"
	      "  --chunk-size SIZE      of a new file (as the tracker says)\n"
	      "  --store DIR            of the peer, if several run here\n"
	      "  --peer IP              the one with the store\n"
	      "                         /var/lib/pspfs/peer-IP\n"
	      "distribute FILE [NAME]:\n"
	      "  --delete               delete FILE once every part has been\n"
	      "                         verified at its peer\n"
	      "  --chunk-size SIZE      1K to 16M, a power of two\n"
	      "replicate PATH:\n"
	      "  --all                  one copy at every peer, fetched at once\n"
	      "  --copies N             so many copies (1 to 16)\n"
	      "  --via auto|peers|tracker\n"
	      "                         how the chunks travel (auto)\n"
	      "  --no-wait              do not wait until every peer has it\n\n"
	      "For example:\n"
	      "  pspfs status\n"
	      "  pspfs info /mnt/shared/movie.mkv\n"
	      "  pspfs --json --tracker 10.0.0.1 info /movie.mkv\n"
	      "  pspfs get /movie.mkv /tmp/movie.mkv\n"
	      "  pspfs share movie.mkv /films/movie.mkv\n"
	      "  pspfs distribute big.iso && pspfs replicate --all /big.iso\n\n"
	      "PATH is a file in a mounted folder or, where there is no such\n"
	      "file, a path from the top of the swarm.\n"
	      "Exit codes: 0 done, 1 usage, 2 failed; 128 + N ended by signal N.\n",
	      to);
}

static int run_verb(struct cli *c, int argc, char **argv)
{
	size_t i;
	int code;

	for (i = 1; i < (size_t)argc && strcmp(argv[i], "--"); i++)
		if (!strcmp(argv[i], "--help")) {
			usage(stdout);
			return CLI_OK;
		}
	for (i = 0; i < N_VERBS; i++) {
		if (strcmp(argv[0], verbs[i].name))
			continue;
		optind = 0;
		if (!verbs[i].options) {
			if (cli_option(c, argc, argv, NULL) != -1)
				return CLI_USAGE;
			/* the verb and its arguments, without the options */
			argv[optind - 1] = argv[0];
			argc -= optind - 1;
			argv += optind - 1;
		}
		code = verbs[i].run(c, argc, argv);
		cli_close(c);
		return code;
	}
	return cli_say(CLI_USAGE, "unknown verb '%s': see pspfs --help",
		       argv[0]);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "tracker", required_argument, NULL, 't' },
		{ "key", required_argument, NULL, 'k' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	struct cli c = { 0 };
	int opt;

	log_init("pspfs", LOG_ERROR);
	while ((opt = getopt_long(argc, argv, "+hV", options, NULL)) != -1) {
		switch (opt) {
		case 't':
			c.tracker = optarg;
			break;
		case 'k':
			c.key_file = optarg;
			break;
		case 'j':
			c.json = 1;
			break;
		case 'h':
			usage(stdout);
			return CLI_OK;
		case 'V':
			puts("pspfs " PSPFS_VERSION);
			return CLI_OK;
		default:
			return cli_say(CLI_USAGE, "see pspfs --help");
		}
	}
	if (optind >= argc) {
		usage(stderr);
		return CLI_USAGE;
	}
	return run_verb(&c, argc - optind, argv + optind);
}
