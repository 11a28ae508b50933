/*
 * fuzz_proc -- texts of /proc: of those who ask us, and of what is mounted.
 *
 * Input: which reader u8, an id u32, the text.  Names of processes and of
 * mount points are somebody else's, and may hold anything.
 */
#include <errno.h>

#include "caller.h"
#include "fuzz.h"
#include "mountpoint.h"
#include "signals.h"
#include "thread.c"

static void try_caller(const char *text, uint32_t id)
{
	uint64_t caps = 0x5555;
	int err = caller_parse_caps(text, &caps);

	MUST(!err || (err == -EINVAL && caps == 0x5555));
	MUST(err || strstr(text, "CapEff:"));
	err = caller_mapped(text, id);
	MUST(err == 0 || err == 1);
}

static void try_signals(const char *text)
{
	struct signals s = { .pending = 0x5555 };
	int err = signals_parse(&s, text);

	MUST(!err || (err == -EINVAL && s.pending == 0x5555));
	MUST(err || signals_wish(&s) <= SIGNALS_KILL);
	err = signals_killed(text);
	MUST(!err || strchr(text, ')'));
}

static void try_mounts(const char *text, size_t n)
{
	FILE *f = n ? fmemopen((void *)text, n, "r") : fopen("/dev/null", "r");
	struct mounted m = { .major = 0x5555 };
	int err;

	MUST(f);
	err = mountpoint_find_in(f, "/mnt/a b", &m);
	fclose(f);
	MUST(!err || (err == -ENOENT && m.major == 0x5555));
	MUST(err || memchr(m.type, 0, sizeof(m.type)));
}

static void try_thread(char *text)
{
	struct look l;
	int err = parse(text, &l);

	MUST(!err || err == -EBADMSG);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	unsigned which;
	struct rd r;
	uint32_t id;
	char *text;

	rd_init(&r, p, n);
	which = rd_u8(&r) % 4;
	id = rd_u32(&r);
	p = fuzz_rest(&r, &n);
	text = fuzz_string(p, n);
	if (which == 0)
		try_caller(text, id);
	else if (which == 1)
		try_signals(text);
	else if (which == 2)
		try_mounts(text, n);
	else
		try_thread(text);
	free(text);
	return 0;
}

static void seed(const char *name, uint8_t which, const char *text)
{
	struct wr w = WR_INIT;

	wr_u8(&w, which);
	wr_u32(&w, 1000);
	wr_bytes(&w, text, strlen(text));
	fuzz_seed_wr(name, &w);
}

void fuzz_seeds(void)
{
	static const char stat[] =
		"42 (a) b) R 1 42 42 0 -1 4194308 1 2 3 4 5 6 7 8 20 0 1 0 9 "
		"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 "
		"24 25 26 9\n";

	seed("caps", 0, "Name:\tx\nCapEff:\t000001ffffffffff\n");
	seed("map", 0, "         0          0 4294967295\n   0 1000 1\n");
	seed("signals", 1, "SigPnd:\t0000000000000000\n"
	     "ShdPnd:\t0000000000000002\nSigBlk:\t0000000000000000\n"
	     "SigIgn:\t0000000000001000\nSigCgt:\t0000000180000002\n");
	seed("killed", 1, stat);
	seed("mounts", 2, "36 35 0:98 / /mnt/a\\040b rw - fuse.pspfs x rw\n"
	     "37 35 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n");
	seed("thread", 3, stat);
}
