/* pspfs -- one command for people: what the swarm is and where files lie. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "log.h"

static const struct verb {
	const char *name;
	int (*run)(struct cli *c, int argc, char **argv);
	const char *args, *help;
	int own_options;	/* it parses them, and the common ones */
} verbs[] = {
	{ "status", cli_status, "",
	  "peers, space, chunks that lack copies, counters", 0 },
	{ "info", cli_info, "PATH",
	  "a file's chunks, their MD5s and who holds them", 0 },
	{ "list", cli_list, "[DIR]",
	  "every file, how many have all of it, and when it changed", 0 },
	{ "tracker", cli_track, "NAME",
	  "its tracker file: size, MD5s, and who holds which bytes", 0 },
	{ "get", cli_get, "NAME [DEST]",
	  "download it from all who hold it, without a mount", 1 },
};

#define N_VERBS (sizeof(verbs) / sizeof(verbs[0]))

static void usage(FILE *to)
{
	size_t i;

	fputs("usage: pspfs [--tracker HOST[:PORT]] [--key FILE] [--json] "
	      "VERB ...\n\n", to);
	for (i = 0; i < N_VERBS; i++)
		fprintf(to, "  %-9s %-11s %s\n", verbs[i].name, verbs[i].args,
			verbs[i].help);
	fputs("\n"
	      "  --tracker HOST[:PORT]  default 127.0.0.1:3456; for a PATH in\n"
	      "                         a mounted folder, that folder's\n"
	      "  --key FILE             default " KEY_DEFAULT "\n"
	      "  --json                 for programs: one JSON object\n"
	      "  --help, --version\n\n"
	      "get [--track FILE.track] [--force] [--timeout SECONDS] [--addr IP]\n"
	      "  --track FILE           what to get, as pspfs tracker printed it\n"
	      "  --force                replace DEST if it is there\n"
	      "  --timeout SECONDS      to wait for a tracker, and for what no\n"
	      "                         active peer holds (10)\n"
	      "  --addr IP              where others fetch from us meanwhile\n"
	      "                         (by the route to the tracker)\n\n"
	      "For example:\n"
	      "  pspfs status\n"
	      "  pspfs info /mnt/shared/movie.mkv\n"
	      "  pspfs --json --tracker 10.0.0.1 info /movie.mkv\n"
	      "  pspfs get /movie.mkv /tmp/movie.mkv\n\n"
	      "PATH is a file in a mounted folder or, where there is no such\n"
	      "file, a path from the top of the swarm.\n"
	      "Exit codes: 0 done, 1 usage, 2 failed; 128 + N ended by signal N.\n",
	      to);
}

/* Common options may stand behind the verb too. */
static int take_options(struct cli *c, int *argc, char ***argv)
{
	static const struct option options[] = { CLI_COMMON_OPTIONS,
						 { NULL, 0, NULL, 0 } };
	int opt;

	optind = 0;	/* begin anew */
	while ((opt = getopt_long(*argc, *argv, "hV", options, NULL)) != -1)
		if (cli_common_option(c, opt))
			return cli_say(CLI_USAGE, "see pspfs --help");
	(*argv)[optind - 1] = (*argv)[0];
	*argc -= optind - 1;
	*argv += optind - 1;
	return CLI_OK;
}

static int run_verb(struct cli *c, int argc, char **argv)
{
	size_t i;
	int code;

	for (i = 0; i < N_VERBS; i++) {
		if (strcmp(argv[0], verbs[i].name))
			continue;
		code = verbs[i].own_options ? CLI_OK
					    : take_options(c, &argc, &argv);
		if (code == CLI_OK)
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
		CLI_COMMON_OPTIONS,
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	struct cli c = { 0 };
	int opt;

	log_init("pspfs", LOG_ERROR);
	while ((opt = getopt_long(argc, argv, "+hV", options, NULL)) != -1) {
		switch (opt) {
		case 'h':
			usage(stdout);
			return CLI_OK;
		case 'V':
			puts("pspfs " PSPFS_VERSION);
			return CLI_OK;
		default:
			if (cli_common_option(&c, opt))
				return cli_say(CLI_USAGE, "see pspfs --help");
		}
	}
	if (optind >= argc) {
		usage(stderr);
		return CLI_USAGE;
	}
	return run_verb(&c, argc - optind, argv + optind);
}
