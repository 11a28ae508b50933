/*
 * fuzz_mount_opts -- the command line of mount.pspfs.
 *
 * Input: its words, with a zero byte after each.  What is taken is in the
 * bounds that opts.h names; what is not says why.
 */
#include <errno.h>

#include "fuzz.h"
#include "mount_opts.h"

enum { WORDS_MOST = 16 };

/* @text has n bytes and a zero byte; it stays the words' own. */
static int split(char *text, size_t n, char *argv[WORDS_MOST + 2])
{
	int argc = 0;

	argv[argc++] = (char *)"mount.pspfs";
	for (char *s = text; s < text + n && argc <= WORDS_MOST;
	     s += strlen(s) + 1)
		argv[argc++] = s;
	argv[argc] = NULL;
	return argc;
}

#define ENDS(s) MUST(memchr((s), 0, sizeof(s)))

static void check_peer(const struct opts *o)
{
	struct addr a;

	MUST(o->n_trackers >= 0 && o->n_trackers <= LINK_TRACKERS_MAX);
	for (int i = 0; i < o->n_trackers; i++) {
		ENDS(o->tracker[i]);
		MUST(*o->tracker[i]);
	}
	ENDS(o->addr);
	ENDS(o->store);
	ENDS(o->key);
	ENDS(o->subdir);
	MUST(!*o->addr || !addr_from_ip(o->addr, strlen(o->addr), 1, &a));
	MUST(!*o->subdir || o->subdir[0] == '/');
	MUST(o->port && o->via <= VIA_TRACKER);
	MUST(o->timeout_s && o->timeout_s <= OPTS_TIMEOUT_MAX);
	MUST(o->memory >= OPTS_MEMORY_MIN);
	MUST(!o->capacity || o->capacity >= OPTS_CAPACITY_MIN);
}

static int is_one_of(const char *s, char **argv, int argc)
{
	for (int i = 1; i < argc; i++)
		if (s == argv[i])
			return 1;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct mount_opts o;
	char *argv[WORDS_MOST + 2], *text = fuzz_string(p, n), *kernel;
	char why[512] = "";
	int argc = split(text, n, argv);
	int err = mount_opts_parse(&o, argc, argv, why, sizeof(why));

	MUST(!err || (err == -EINVAL && *why));
	if (!err) {
		check_peer(&o.peer);
		MUST(o.copies <= 16);
		MUST(o.verb != MOUNT_GO || is_one_of(o.dir, argv, argc));
		MUST(!o.source || is_one_of(o.source, argv, argc));
		kernel = mount_opts_kernel(&o);
		MUST(kernel && !strncmp(kernel, o.ro ? "ro" : "rw", 2));
		free(kernel);
	}
	free(text);
	return 0;
}

#define WORDS(name, words) fuzz_seed(name, words, sizeof(words))

void fuzz_seeds(void)
{
	WORDS("short", "/mnt/shared");
	WORDS("source", "10.0.0.1:4000,[fd00::2]:/photos\0/mnt/p");
	WORDS("options", "t\0/mnt\0-o\0tracker=a:1,addr=127.0.0.11,port=1,"
	      "store=/s,key=/k,capacity=1T,memory=64M,timeout=5,via=peers,"
	      "copies=3,ro,allow_other,noatime,x-systemd.automount");
	WORDS("flags", "-fnsvr\0--foreground\0--log\0l\0--pid=p\0-N\0ns\0"
	      "none\0/mnt");
	WORDS("remount", "/mnt\0-oremount");
	WORDS("help", "--help");
}
