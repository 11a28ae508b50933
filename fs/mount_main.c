/*
 * mount.pspfs -- the shared folder at a mount point; by it, a peer.
 *
 * Happy path: arguments -> mount point -> to the background -> register at
 * the tracker -> mount -> let the parent go -> serve until unmounted or
 * SIGTERM -> flush -> say good-bye.
 * Failure: what fails before the mount leaves no mount behind.  The order of
 * the end is the reverse: no new requests, calls answered (after half a
 * second all of them, whatever the network does), data flushed for DRAIN_MS;
 * what is not saved then is named in the log.
 *
 * Threads: this one, which becomes FUSE's; "signals"; those of peer, files
 *          and kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "aborter.h"
#include "daemon.h"
#include "kernel.h"
#include "log.h"
#include "mount_opts.h"
#include "mountpoint.h"
#include "ops.h"
#include "peer.h"

#define PROGRAM "mount.pspfs"

enum {
	WHY_MAX = 1024,
	DRAIN_MS = 10000,	/* data that is not committed by then is lost */
	FLUSH_MS = 3000,	/* dirty data leaves after so long */
	READAHEAD = 32,		/* chunks */
	/* Of the memory, for data not yet committed: a quarter; if that is
	 * less than what keeps the network busy, up to half of it.  But what
	 * little memory there is, some slots are on their way at a time. */
	DIRTY_SHARE = 4,
	DIRTY_GOOD = 64 << 20,
	DIRTY_LEAST = 8 << 20,
	DIRTY_SLOTS = 2,
};

struct mount {
	struct mount_opts opts;
	char dir[PATH_MAX];
	struct daemon daemon;
	struct refresher *refresher;
	struct ops *ops;
	struct peer *peer;
	struct loop *loop;	/* of the files' timers */
	struct files *files;
	pthread_mutex_t lock;	/* also held while mounting and stopping */
	struct kernel *kernel;	/* guarded by lock; NULL: not mounted */
	struct aborter *aborter;	/* NULL: there is none */
	int served;		/* guarded by lock: the end is under way */
};

/* --------------------------------------------------------------- signals */

/* kernel_stop() waits for kernel_run() only, whose caller takes the lock
 * afterwards: so the kernel's session is not freed under our hands. */
static void terminate(struct mount *m)
{
	pthread_mutex_lock(&m->lock);
	if (!m->kernel)
		_exit(MOUNT_FAILED);
	log_info("asked to end");
	if (!m->served)
		kernel_stop(m->kernel);
	pthread_mutex_unlock(&m->lock);
}

static void *signals(void *arg)
{
	struct mount *m = arg;

	daemon_wait_signal();
	terminate(m);
	daemon_wait_signal();
	_exit(MOUNT_SYSTEM);	/* impatient */
}

/* Before any other thread: they inherit the mask. */
static int signals_start(struct mount *m)
{
	pthread_t thread;
	int err;

	daemon_block_signals();
	err = pthread_create(&thread, NULL, signals, m);
	if (!err)
		pthread_detach(thread);
	return -err;
}

/* ----------------------------------------------------------------- start */

static int enter_namespace(const char *ns, char *why, size_t why_len)
{
	char path[64];
	int fd, err = 0;

	if (*ns && strspn(ns, "0123456789") == strlen(ns)) {
		snprintf(path, sizeof(path), "/proc/%.20s/ns/mnt", ns);
		ns = path;
	}
	fd = open(ns, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNS))
		err = -errno;
	if (fd >= 0)
		close(fd);
	if (err)
		snprintf(why, why_len, "cannot enter the namespace %s: %s",
			 ns, strerror(-err));
	return err;
}

static int start_peer(struct mount *m, char *why, size_t why_len)
{
	struct peer_folder folder = { .lost = ops_lost,
				      .revoked = ops_revoked,
				      .still_open = ops_still_open,
				      .locks = ops_locks,
				      .locks_back = ops_locks_back,
				      .locked = ops_locked,
				      .arg = m->ops };
	struct peer_config cfg;
	struct link_info info;
	int err;

	err = opts_finish(&m->opts.peer, &cfg, why, why_len);
	if (err)
		return err;
	cfg.mounted = 1;
	err = peer_start(&m->peer, &cfg, &folder, why, why_len);
	if (err)
		return err;
	link_info(peer_link(m->peer), &info);
	if (m->opts.copies && m->opts.copies != info.copies)
		log_info("copies=%u: the tracker keeps %u, that counts",
			 m->opts.copies, info.copies);
	return 0;
}

static uint64_t dirty_max(const struct mount *m)
{
	uint64_t memory = m->opts.peer.memory, n = memory / DIRTY_SHARE, least;
	struct link_info info;

	if (n < DIRTY_GOOD)
		n = memory / 2 < DIRTY_GOOD ? memory / 2 : DIRTY_GOOD;
	link_info(peer_link(m->peer), &info);
	least = (uint64_t)DIRTY_SLOTS * info.slot_size;
	if (least < DIRTY_LEAST)
		least = DIRTY_LEAST;
	return n < least ? least : n;
}

static int start_files(struct mount *m, char *why, size_t why_len)
{
	struct files_config cfg = {
		.link = peer_link(m->peer),
		.fetch = peer_fetch(m->peer),
		.upload = peer_upload(m->peer),
		.cache = peer_cache(m->peer),
		.dirty_max = dirty_max(m),
		.readahead = READAHEAD,
		.flush_ms = FLUSH_MS,
		.attr = ops_attr,
		.unsure = ops_unsure,
		.arg = m->ops,
	};
	int err = loop_new(&m->loop, "files");

	cfg.loop = m->loop;
	if (!err)
		err = files_new(&m->files, &cfg);
	if (err) {
		snprintf(why, why_len, "cannot start: %s", strerror(-err));
		return err;
	}
	ops_start(m->ops, cfg.link, m->files);
	err = m->opts.noatime || m->opts.ro
		      ? 0 : ops_note_reads(m->ops, m->loop);
	if (!err)
		err = ops_set_root(m->ops, m->opts.peer.subdir);
	if (err)
		snprintf(why, why_len, "directory %.255s of the folder: %s",
			 m->opts.peer.subdir, strerror(-err));
	return err;
}

static void start_aborter(struct mount *m)
{
	struct mounted on;
	int err = mountpoint_find(m->dir, &on);

	if (!err)
		err = aborter_new(&m->aborter, on.minor);
	if (err)
		log_info("nobody will end the kernel's connection if this "
			 "process is killed (%s): if %s then hangs, umount -f",
			 strerror(-err), m->dir);
}

static int start_kernel(struct mount *m, char *why, size_t why_len)
{
	const char *from = m->opts.source ? m->opts.source
					  : m->opts.peer.tracker[0];
	char *options = mount_opts_kernel(&m->opts), *source = NULL;
	struct kernel_config cfg = { .mountpoint = m->dir,
				     .options = options,
				     .ops = &ops_table,
				     .userdata = m->ops };
	int err = -ENOMEM;

	if (options && asprintf(&source, "pspfs:%s", from) >= 0) {
		cfg.source = source;
		pthread_mutex_lock(&m->lock);
		err = kernel_mount(&m->kernel, &cfg, why, why_len);
		pthread_mutex_unlock(&m->lock);
	}
	if (!err)
		start_aborter(m);
	free(source);
	free(options);
	return err;
}

static int start(struct mount *m, char *why, size_t why_len)
{
	int err = refresher_new(&m->refresher, m->dir);

	if (!err)
		err = ops_new(&m->ops);
	if (err) {
		snprintf(why, why_len, "%s", strerror(-err));
		return err;
	}
	ops_use_refresher(m->ops, m->refresher);
	err = start_peer(m, why, why_len);
	if (!err)
		err = start_files(m, why, why_len);
	if (!err)
		err = start_kernel(m, why, why_len);
	return err;
}

/* ------------------------------------------------------------------- end */

/* What was started, in reverse.  0, or -errno: data was lost. */
static int finish(struct mount *m)
{
	int err = 0, stopped;

	if (m->kernel) {
		kernel_unmount(m->kernel);
		kernel_let_go(m->kernel);
	}
	if (m->files)
		err = files_drain(m->files, DRAIN_MS);
	if (err)
		log_error("data could not be written: %s", strerror(-err));
	/* Who still waits for the tracker, or sends, waits no longer. */
	if (m->peer)
		peer_halt(m->peer);
	stopped = m->files ? ops_stop(m->ops, DRAIN_MS) : 0;
	if (stopped) {
		/* Something still points at all that is to be freed. */
		log_error("requests under way are given up");
		_exit(MOUNT_SYSTEM);
	}
	files_free(m->files);
	peer_stop(m->peer);
	loop_free(m->loop);
	ops_free(m->ops);
	kernel_free(m->kernel);	/* their threads tell it what is gone */
	refresher_free(m->refresher);
	aborter_free(m->aborter);
	return err;
}

/* In the background nobody reads stderr: the log goes beside the chunks. */
static int log_to_store(const struct mount *m)
{
	char path[PATH_MAX];

	if (m->opts.log || m->opts.foreground)
		return 0;
	if (snprintf(path, sizeof(path), "%s/" PROGRAM ".log",
		     m->opts.peer.store) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	return log_open(path);
}

static int serve(struct mount *m)
{
	int err;

	err = log_to_store(m);
	if (err)
		log_warn("%s: %s: there will be no log, name a file with --log",
			 m->opts.peer.store, strerror(-err));
	err = m->opts.pid ? daemon_pidfile(m->opts.pid) : 0;
	if (err)
		log_warn("%s: %s: no process number there", m->opts.pid,
			 strerror(-err));
	log_info("%s is mounted", m->dir);
	daemon_ready(&m->daemon);
	err = kernel_run(m->kernel);
	pthread_mutex_lock(&m->lock);
	m->served = 1;
	pthread_mutex_unlock(&m->lock);
	if (err)
		log_error("the kernel's session ended: %s", strerror(-err));
	log_info("%s is unmounted", m->dir);
	return err;
}

static int run(struct mount *m)
{
	char why[WHY_MAX] = "";
	int err;

	daemon_init(&m->daemon, PROGRAM);
	if (!m->opts.foreground) {
		err = daemon_fork(&m->daemon);
		if (err)
			return daemon_fail(&m->daemon, MOUNT_SYSTEM,
					   strerror(-err));
	}
	err = m->opts.log ? log_open(m->opts.log) : 0;
	if (!err)
		err = signals_start(m);
	if (err) {
		snprintf(why, sizeof(why), "%s: %s",
			 m->opts.log ? m->opts.log : "signals",
			 strerror(-err));
		return daemon_fail(&m->daemon, MOUNT_SYSTEM, why);
	}
	err = start(m, why, sizeof(why));
	if (err) {
		finish(m);
		return daemon_fail(&m->daemon, MOUNT_FAILED, why);
	}
	err = serve(m);
	err = finish(m) ? -EIO : err;
	if (m->opts.pid)
		unlink(m->opts.pid);
	return err ? MOUNT_SYSTEM : 0;
}

static int check(struct mount *m, char *why, size_t why_len)
{
	int err = 0;

	if (m->opts.ns)
		err = enter_namespace(m->opts.ns, why, why_len);
	if (!err)
		err = mountpoint_check(m->opts.dir, m->opts.fake, m->dir, why,
				       why_len);
	return err;
}

int main(int argc, char **argv)
{
	static struct mount m = { .lock = PTHREAD_MUTEX_INITIALIZER };
	char why[WHY_MAX];
	int code = 0;

	log_init(PROGRAM, LOG_INFO);
	if (mount_opts_parse(&m.opts, argc, argv, why, sizeof(why))) {
		fprintf(stderr, "%s: %s\n", PROGRAM, *why ? why : "no memory");
		code = MOUNT_USAGE;
	} else if (m.opts.verb == MOUNT_HELP) {
		fputs(mount_opts_help, stdout);
	} else if (m.opts.verb == MOUNT_VERSION) {
		puts(PROGRAM " " PSPFS_VERSION);
	} else {
		if (m.opts.verbose)
			log_init(PROGRAM, LOG_DEBUG);
		if (check(&m, why, sizeof(why))) {
			fprintf(stderr, "%s: %s\n", PROGRAM, why);
			code = MOUNT_FAILED;
		} else if (!m.opts.fake) {
			code = run(&m);
		}
	}
	return code;
}
