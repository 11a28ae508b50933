/*
 * fuzz_options -- the command line of psptrackerd.
 *
 * Input: its words, with a zero byte after each.  What is taken is in the
 * bounds that its help names; what it says goes nowhere.
 */
#include <getopt.h>

#include "fuzz.h"

static FILE *nowhere;

#undef stderr
#undef stdout
#define stderr nowhere
#define stdout nowhere
#define puts(s) fputs(s, nowhere)
#include "options.c"

enum { WORDS_MOST = 16 };

static void check(const struct options *o)
{
	MUST(o->listen && o->data && o->key);
	MUST(o->copies && (o->copies <= OPTIONS_COPIES_MAX ||
			   o->copies == OPTIONS_COPIES_ALL));
	MUST(o->chunk_size >= OPTIONS_CHUNK_MIN &&
	     o->chunk_size <= OPTIONS_CHUNK_MAX &&
	     !(o->chunk_size & (o->chunk_size - 1)));
	MUST(o->cache >= OPTIONS_CACHE_MIN);
	MUST(o->files_max <= LONG_MAX);
	MUST(o->gone_ms && o->gone_ms / 1000 <= SECONDS_MAX &&
	     o->garbage_ms / 1000 <= SECONDS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char *argv[WORDS_MOST + 2] = { (char *)"psptrackerd" };
	char *text = fuzz_string(p, n);
	int argc = 1, code = -1;
	struct options o;

	if (!nowhere)
		nowhere = fopen("/dev/null", "w");
	for (char *s = text; s < text + n && argc <= WORDS_MOST;
	     s += strlen(s) + 1)
		argv[argc++] = s;
	opterr = optind = 0;
	if (!options_parse(&o, argc, argv, &code))
		check(&o);
	else
		MUST(code == 0 || code == 1);
	free(text);
	return 0;
}

#define WORDS(name, words) fuzz_seed(name, words, sizeof(words))

void fuzz_seeds(void)
{
	WORDS("usual", "--listen\00010.0.0.1:3456\0--copies\0002");
	WORDS("all", "--copies=all\0--chunk-size=64K\0--files=1000\0"
	      "--cache=8M\0--relay=broadcast\0--garbage-grace=0\0"
	      "--repair-after=5\0--data=d\0--key=k\0--log=l\0--pid=p\0"
	      "--foreground");
	WORDS("wrong", "--chunk-size\0001000");
	WORDS("seconds", "--repair-after\0002592001");
	WORDS("help", "-h");
	WORDS("version", "--version");
	WORDS("more", "extra");
}
