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
} verbs[] = {
	{ "status", cli_status, "",
	  "peers, space, chunks that lack copies, counters" },
	{ "info", cli_info, "PATH",
	  "a file's chunks, their MD5s and who holds them" },
	{ "share", cli_share, "FILE [NAME]",
	  "make the peer on this machine a holder of FILE" },
};

#define N_VERBS (sizeof(verbs) / sizeof(verbs[0]))

static void usage(FILE *to)
{
	size_t i;

	fputs("usage: pspfs [--tracker HOST[:PORT]] [--key FILE] [--json] "
	      "VERB ...\n\n", to);
	for (i = 0; i < N_VERBS; i++)
		fprintf(to, "  %-7s %-12s %s\n", verbs[i].name, verbs[i].args,
			verbs[i].help);
	fputs("\n"
	      "  --tracker HOST[:PORT]  default 127.0.0.1:3456; for a PATH in\n"
	      "                         a mounted folder, that folder's\n"
	      "  --key FILE             default " KEY_DEFAULT "\n"
	      "  --json                 for programs: one JSON object\n"
	      "  --help, --version\n\n"
	      "share creates NAME (FILE's, at the top), or joins its holders if\n"
	      "it exists and is the same file:\n"
	      "  --range A-B            FILE is here, or known to be right, only\n"
	      "                         there: bytes (0-10M) or parts (20%-40%)\n"
	      "  --copies N             of a new file's chunks; more than this\n"
	      "                         peer's are made by the swarm (1)\n"
	      "  --chunk-size SIZE      of a new file (as the tracker says)\n"
	      "  --store DIR            of the peer, if several run here\n"
	      "  --peer IP              the one with the store\n"
	      "                         /var/lib/pspfs/peer-IP\n\n"
	      "For example:\n"
	      "  pspfs status\n"
	      "  pspfs info /mnt/shared/movie.mkv\n"
	      "  pspfs --json --tracker 10.0.0.1 info /movie.mkv\n"
	      "  pspfs share movie.mkv /films/movie.mkv\n\n"
	      "PATH is a file in a mounted folder or, where there is no such\n"
	      "file, a path from the top of the swarm.\n"
	      "Exit codes: 0 done, 1 usage, 2 failed.\n", to);
}

static int run_verb(struct cli *c, int argc, char **argv)
{
	size_t i;
	int code;

	for (i = 0; i < N_VERBS; i++) {
		if (strcmp(argv[0], verbs[i].name))
			continue;
		code = verbs[i].run(c, argc, argv);
		cli_close(c);
		return code;
	}
	return cli_say(CLI_USAGE, "unknown verb '%s': see pspfs --help",
		       argv[0]);
}

static const struct option options[] = {
	{ "tracker", required_argument, NULL, 't' },
	{ "key", required_argument, NULL, 'k' },
	{ "json", no_argument, NULL, 'j' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

/* -1, or the code to exit with. */
static int take(struct cli *c, int opt, const char *value)
{
	switch (opt) {
	case 't':
		c->tracker = value;
		return -1;
	case 'k':
		c->key_file = value;
		return -1;
	case 'j':
		c->json = 1;
		return -1;
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

/* The option of ours that @arg is, with its value if that is in it. */
static const struct option *ours(const char *arg, const char **value)
{
	for (const struct option *o = options; o->name; o++) {
		size_t n = strlen(o->name);

		*value = NULL;
		if (!o->has_arg && arg[0] == '-' && arg[1] == o->val &&
		    o->val != 'j' && !arg[2])
			return o;
		if (strncmp(arg, "--", 2) || strncmp(arg + 2, o->name, n) ||
		    (arg[n + 2] && arg[n + 2] != '='))
			continue;
		*value = arg[n + 2] ? arg + n + 3 : NULL;
		if (*value && !o->has_arg)
			continue;
		return o;
	}
	return NULL;
}

/* Our options may also stand behind the verb, among its own: take them out.
 * -1, or the code to exit with. */
static int take_behind(struct cli *c, int *argc, char **argv)
{
	const struct option *o;
	int i, kept = 0, code = -1;
	const char *value;

	for (i = 0; i < *argc && code < 0; i++) {
		if (!strcmp(argv[i], "--"))
			break;
		o = ours(argv[i], &value);
		if (!o) {
			argv[kept++] = argv[i];
			continue;
		}
		if (o->has_arg && !value) {
			if (i + 1 == *argc)
				return cli_say(CLI_USAGE, "%s needs a value: "
					       "see pspfs --help", argv[i]);
			value = argv[++i];
		}
		code = take(c, o->val, value);
	}
	while (i < *argc)
		argv[kept++] = argv[i++];
	argv[kept] = NULL;
	*argc = kept;
	return code;
}

int main(int argc, char **argv)
{
	struct cli c = { 0 };
	int opt, code = -1;

	log_init("pspfs", LOG_ERROR);
	while (code < 0 &&
	       (opt = getopt_long(argc, argv, "+hV", options, NULL)) != -1)
		code = take(&c, opt, optarg);
	argc -= optind;
	argv += optind;
	if (code < 0)
		code = take_behind(&c, &argc, argv);
	if (code >= 0)
		return code;
	if (!argc) {
		usage(stderr);
		return CLI_USAGE;
	}
	return run_verb(&c, argc, argv);
}
