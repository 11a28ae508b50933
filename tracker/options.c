#include "options.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "key.h"
#include "text.h"

#define DEFAULT_LISTEN "127.0.0.1:3456"
#define DEFAULT_DATA "/var/lib/pspfs/tracker"
#define DEFAULT_COPIES 2
#define DEFAULT_CHUNK (512u << 10)
#define DEFAULT_CACHE (64u << 20)
#define DEFAULT_GRACE_S 60
#define DEFAULT_REPAIR_S 60
#define SECONDS_MAX (30u * 86400)

static const char help[] =
"psptrackerd: the tracker of a pspfs swarm: keeps the file names and knows\n"
"which peer holds which chunk.\n"
"\n"
"usage: psptrackerd [OPTION]...\n"
"\n"
"  --listen ADDR:PORT    where peers reach it, TCP and UDP\n"
"                        (" DEFAULT_LISTEN ")\n"
"  --data DIR            where it keeps its database, made if absent\n"
"                        (" DEFAULT_DATA ")\n"
"  --key FILE            the swarm's secret, made if absent; copy it to every\n"
"                        peer (" KEY_DEFAULT ")\n"
"  --copies N            peers that keep each chunk: 1 to 16, or \"all\" (2)\n"
"  --chunk-size SIZE     of new files, a power of two, 1K to 16M (512K)\n"
"  --files N             files, directories and the like that there may be; then\n"
"                        no more can be made (0: any number)\n"
"  --cache SIZE          memory for chunks that go through the tracker, to peers\n"
"                        that cannot reach each other (64M)\n"
"  --relay MODE          a chunk that is not in there is asked of one peer that\n"
"                        has it (\"directed\", the default), or of all of them\n"
"                        (\"broadcast\")\n"
"  --garbage-grace SECONDS\n"
"                        how long chunks of deleted files are kept (60)\n"
"  --repair-after SECONDS\n"
"                        how long a peer may be away before its chunks are\n"
"                        copied again (60)\n"
"  --log FILE            log there (in the background DIR/psptrackerd.log,\n"
"                        in the foreground the terminal)\n"
"  --pid FILE            write the process number there\n"
"  --foreground          stay; else it goes to the background once it serves\n"
"  --version, --help\n"
"\n"
"Try it on one machine, as root:\n"
"\n"
"  psptrackerd && mkdir -p /mnt/shared && mount.pspfs /mnt/shared\n"
"\n"
"or without root, and for other machines too:\n"
"\n"
"  psptrackerd --listen 192.168.1.10:3456 --data ~/tracker --key ~/swarm.key\n"
"\n"
"SIGTERM stops it cleanly; SIGHUP opens the log file anew.\n";

enum { CACHE = 256, COPIES, CHUNK, DATA, FILES, FOREGROUND, GRACE, HELP, KEY, LISTEN,
       LOG, PID, RELAY, REPAIR, VERSION };

static const struct option longs[] = {
	{ "cache", required_argument, NULL, CACHE },
	{ "chunk-size", required_argument, NULL, CHUNK },
	{ "copies", required_argument, NULL, COPIES },
	{ "data", required_argument, NULL, DATA },
	{ "files", required_argument, NULL, FILES },
	{ "foreground", no_argument, NULL, FOREGROUND },
	{ "garbage-grace", required_argument, NULL, GRACE },
	{ "help", no_argument, NULL, HELP },
	{ "key", required_argument, NULL, KEY },
	{ "listen", required_argument, NULL, LISTEN },
	{ "log", required_argument, NULL, LOG },
	{ "pid", required_argument, NULL, PID },
	{ "relay", required_argument, NULL, RELAY },
	{ "repair-after", required_argument, NULL, REPAIR },
	{ "version", no_argument, NULL, VERSION },
	{ NULL, 0, NULL, 0 },
};

static int wrong(const char *option, const char *value, const char *mend)
{
	fprintf(stderr, "psptrackerd: %s %s: %s\n", option, value, mend);
	return 1;
}

/* A whole number of at most @most; -1 if it is none. */
static long number(const char *s, long most)
{
	char *end;
	long v;

	if (*s < '0' || *s > '9')
		return -1;
	v = strtol(s, &end, 10);
	return *end || v > most ? -1 : v;
}

static int set_copies(struct options *o, const char *s)
{
	long n = number(s, OPTIONS_COPIES_MAX);

	if (s[0] == 'a' && s[1] == 'l' && s[2] == 'l' && !s[3])
		n = OPTIONS_COPIES_ALL;
	if (n < 1)
		return wrong("--copies", s, "give a number from 1 to 16, or "
					    "\"all\" for one on every peer");
	o->copies = (uint8_t)n;
	return 0;
}

static int set_chunk(struct options *o, const char *s)
{
	uint64_t n;

	if (size_parse(s, &n))
		return wrong("--chunk-size", s, "not a size: give a number "
						"with K or M, like 512K");
	if (n < OPTIONS_CHUNK_MIN || n > OPTIONS_CHUNK_MAX || n & (n - 1))
		return wrong("--chunk-size", s,
			     "give a power of two from 1K to 16M, like 512K");
	o->chunk_size = (uint32_t)n;
	return 0;
}

static int set_cache(struct options *o, const char *s)
{
	if (size_parse(s, &o->cache))
		return wrong("--cache", s, "not a size: give a number with K, "
					   "M or G, like 64M");
	if (o->cache < OPTIONS_CACHE_MIN)
		return wrong("--cache", s, "too small: give at least the size "
					   "of a chunk, like 64M");
	return 0;
}

static int set_files(struct options *o, const char *s)
{
	long n = number(s, LONG_MAX);

	if (n < 0)
		return wrong("--files", s, "give a number, or 0 for no limit");
	o->files_max = (uint64_t)n;
	return 0;
}

static int set_relay(struct options *o, const char *s)
{
	o->broadcast = !strcmp(s, "broadcast");
	if (!o->broadcast && strcmp(s, "directed"))
		return wrong("--relay", s, "give directed or broadcast");
	return 0;
}

static int set_seconds(const char *option, const char *s, long least,
		       uint32_t *out_ms)
{
	long n = number(s, SECONDS_MAX);

	if (n < least)
		return wrong(option, s, least ? "give seconds, from 1 to "
						"2592000 (30 days)"
					      : "give seconds, from 0 to "
						"2592000 (30 days)");
	*out_ms = (uint32_t)n * 1000;
	return 0;
}

static int set(struct options *o, int opt)
{
	switch (opt) {
	case CACHE:
		return set_cache(o, optarg);
	case RELAY:
		return set_relay(o, optarg);
	case CHUNK:
		return set_chunk(o, optarg);
	case COPIES:
		return set_copies(o, optarg);
	case DATA:
		o->data = optarg;
		return 0;
	case FILES:
		return set_files(o, optarg);
	case FOREGROUND:
		o->foreground = 1;
		return 0;
	case GRACE:
		return set_seconds("--garbage-grace", optarg, 0,
				   &o->garbage_ms);
	case KEY:
		o->key = optarg;
		return 0;
	case LISTEN:
		o->listen = optarg;
		return 0;
	case LOG:
		o->log = optarg;
		return 0;
	case PID:
		o->pid = optarg;
		return 0;
	case REPAIR:
		return set_seconds("--repair-after", optarg, 1, &o->gone_ms);
	}
	/* getopt has said what is wrong */
	fprintf(stderr, "psptrackerd: try psptrackerd --help\n");
	return 1;
}

int options_parse(struct options *o, int argc, char **argv, int *code)
{
	int opt;

	*o = (struct options){
		.listen = DEFAULT_LISTEN,
		.data = DEFAULT_DATA,
		.key = KEY_DEFAULT,
		.copies = DEFAULT_COPIES,
		.chunk_size = DEFAULT_CHUNK,
		.cache = DEFAULT_CACHE,
		.garbage_ms = DEFAULT_GRACE_S * 1000,
		.gone_ms = DEFAULT_REPAIR_S * 1000,
	};
	while ((opt = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		*code = 0;
		if (opt == HELP || opt == 'h') {
			fputs(help, stdout);
			return 1;
		}
		if (opt == VERSION) {
			puts("psptrackerd " PSPFS_VERSION);
			return 1;
		}
		*code = set(o, opt);
		if (*code)
			return 1;
	}
	if (optind == argc)
		return 0;
	*code = wrong("unexpected argument", argv[optind],
		      "try psptrackerd --help");
	return 1;
}
