/* unit_mount_opts -- mount(8)'s grammar, and mountinfo's. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "mount_opts.h"
#include "mountpoint.h"

enum { ARGS_MAX = 16 };

static char why[512];

/* Parse a command line that is split at spaces. */
static int parse(struct mount_opts *o, const char *line)
{
	static char copy[512];	/* o->log and others point into it */
	char *argv[ARGS_MAX + 1], *rest = copy;
	int argc = 0;

	snprintf(copy, sizeof(copy), "mount.pspfs %s", line);
	while (argc < ARGS_MAX && (argv[argc] = strsep(&rest, " ")))
		argc += *argv[argc] != '\0';
	argv[argc] = NULL;
	return mount_opts_parse(o, argc, argv, why, sizeof(why));
}

static void good(struct mount_opts *o, const char *line)
{
	int err = parse(o, line);

	if (err)
		print_error("'%s': %s\n", line, why);
	assert_int_equal(err, 0);
}

static void bad(const char *line, const char *word)
{
	struct mount_opts o;

	assert_int_equal(parse(&o, line), -EINVAL);
	if (!strstr(why, word))
		print_error("'%s': %s\n", line, why);
	assert_non_null(strstr(why, word));
}

static void kernel_is(const char *line, const char *options)
{
	struct mount_opts o;
	char *s;

	good(&o, line);
	s = mount_opts_kernel(&o);
	assert_non_null(s);
	if (!geteuid())
		assert_string_equal(s, options);
	free(s);
}

static void test_places(void **state)
{
	struct mount_opts o;

	(void)state;
	good(&o, "/mnt/x");
	assert_string_equal(o.dir, "/mnt/x");
	assert_null(o.source);
	assert_string_equal(o.peer.subdir, "");
	good(&o, "127.0.0.2:4000,[::1]:5000:/a/b /mnt/x");
	assert_string_equal(o.dir, "/mnt/x");
	assert_string_equal(o.peer.tracker[0], "127.0.0.2:4000");
	assert_string_equal(o.peer.tracker[1], "[::1]:5000");
	assert_int_equal(o.peer.n_trackers, 2);
	assert_string_equal(o.peer.subdir, "/a/b");
	good(&o, "[::1]:/ /mnt/x");
	assert_string_equal(o.peer.tracker[0], "[::1]");
	assert_string_equal(o.peer.subdir, "/");
	good(&o, "none /mnt/x");
	assert_null(o.source);
	bad("", "no mount point");
	bad("a b c", "too many");
	bad(":/sub /mnt/x", "empty");
}

static void test_order(void **state)
{
	struct mount_opts o;

	(void)state;
	good(&o, "127.0.0.1 /mnt/x -n -v -o rw,copies=3 -t fuse.pspfs");
	assert_int_equal(o.copies, 3);
	assert_true(o.verbose);
	assert_false(o.foreground);
	good(&o, "-o ro --foreground 127.0.0.1 -f /mnt/x --log L --pid=P "
		 "-N 17");
	assert_string_equal(o.dir, "/mnt/x");
	assert_true(o.ro && o.fake && o.foreground);
	assert_string_equal(o.log, "L");
	assert_string_equal(o.pid, "P");
	assert_string_equal(o.ns, "17");
}

static void test_verbs(void **state)
{
	struct mount_opts o;

	(void)state;
	good(&o, "--help");
	assert_int_equal(o.verb, MOUNT_HELP);
	good(&o, "-V");
	assert_int_equal(o.verb, MOUNT_VERSION);
	bad("--what /mnt/x", "--what");
	bad("/mnt/x -o", "-o");
}

static void test_noise(void **state)
{
	struct mount_opts o;

	(void)state;
	good(&o, "/mnt/x -o defaults,_netdev,noauto,nofail,user,user=joe,"
		 "relatime,x-systemd.automount,x-a=b,comment=c,,");
	bad("/mnt/x -o defaults,sizee=3", "sizee");
	bad("/mnt/x -o bogus", "bogus");
	bad("/mnt/x -o remount", "remount");
	good(&o, "/mnt/x -s -o bogus,bogus=2");
}

static void test_values(void **state)
{
	struct mount_opts o;

	(void)state;
	good(&o, "/mnt/x -o via=auto -o via=peers,copies=16");
	assert_int_equal(o.copies, 16);
	good(&o, "/mnt/x -o store=/s,capacity=2G,port=4000");
	assert_string_equal(o.peer.store, "/s");
	assert_int_equal(o.peer.port, 4000);
	bad("/mnt/x -o port=x", "port");
	bad("/mnt/x -o copies=0", "copies");
	bad("/mnt/x -o copies=17", "copies");
	bad("/mnt/x -o copies=2x", "copies");
	bad("/mnt/x -o copies=", "copies");
	bad("/mnt/x -o copies", "copies");
	good(&o, "/mnt/x -o via=tracker");
	assert_int_equal(o.peer.via, VIA_TRACKER);
	bad("/mnt/x -o via=pigeon", "pigeon");
}

static void test_kernel(void **state)
{
	(void)state;
	kernel_is("/mnt/x", "rw,allow_other");
	kernel_is("/mnt/x -r", "ro,allow_other");
	kernel_is("/mnt/x -o ro,rw", "rw,allow_other");
	kernel_is("/mnt/x -o suid,dev,noexec,noatime,noallow_other",
		  "rw,suid,dev,noexec,noatime");
	kernel_is("/mnt/x -o suid,nosuid,sync,dirsync",
		  "rw,allow_other,sync,dirsync");
}

static const char mountinfo[] =
	"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
	"40 22 0:40 / /mnt/a\\040b rw,nosuid - fuse.pspfs pspfs:h rw\n"
	"41 22 0:41 / /mnt/x rw shared:2 master:3 - tmpfs tmpfs rw\n"
	"42 41 0:42 / /mnt/x rw - fuse.pspfs pspfs:h rw,user_id=0\n"
	"garbage\n"
	"43 22 0:43 /\n";

static int find(const char *path, struct mounted *m)
{
	FILE *f = fmemopen((void *)(uintptr_t)mountinfo, strlen(mountinfo),
			   "r");
	int err;

	assert_non_null(f);
	err = mountpoint_find_in(f, path, m);
	fclose(f);
	return err;
}

static void test_mountinfo(void **state)
{
	struct mounted m;

	(void)state;
	assert_int_equal(find("/", &m), 0);
	assert_string_equal(m.type, "ext4");
	assert_int_equal(m.major, 8);
	assert_int_equal(m.minor, 1);
	assert_int_equal(find("/mnt/a b", &m), 0);
	assert_int_equal(m.minor, 40);
	assert_string_equal(m.type, MOUNTPOINT_TYPE);
	/* of two on one place the upper */
	assert_int_equal(find("/mnt/x", &m), 0);
	assert_int_equal(m.minor, 42);
	assert_int_equal(find("/mnt", &m), -ENOENT);
}

static void refused(const char *path, int code, const char *word)
{
	char out[PATH_MAX];

	assert_int_equal(mountpoint_check(path, 1, out, why, sizeof(why)),
			 code);
	assert_non_null(strstr(why, word));
}

static void test_mountpoint(void **state)
{
	(void)state;
	refused("/nowhere/at/all", -ENOENT, "mkdir -p /nowhere/at/all");
	refused("/dev/null", -ENOTDIR, "not a directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_verbs),
		cmocka_unit_test(test_noise),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_kernel),
		cmocka_unit_test(test_mountinfo),
		cmocka_unit_test(test_mountpoint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
