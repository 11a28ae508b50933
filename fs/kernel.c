/*
 * kernel -- see kernel.h.
 *
 * libfuse reads and writes the device through kernel_read() and
 * kernel_writev().  A worker reads a request and handles it at once on the
 * same thread, so that what is noted while reading can be thread-local; the
 * INIT request is answered within its handler.
 */
#include "kernel_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "mountpoint.h"
#include "pending.h"

enum {
	BACKGROUND = 64,	/* asynchronous requests at once */
	CONGESTED = 48,
	STOP_MS = 1000,		/* an unmount is given so long to end it */
	KICK_MS = 20,
	SETTLE_MS = 500,	/* then who waits is told that it is over */
	OPTIONS_MAX = 4096,
	SAID_MAX = 256,
};

#define KICK SIGUSR2

/* libfuse 3.14 does not know the one, and forgets to ask for the other:
 * without it whoever looks a name up waits for all others who do so in that
 * directory, in D state. */
#define OUR_FLAGS (FUSE_HANDLE_KILLPRIV_V2 | FUSE_PARALLEL_DIROPS)

struct kernel {
	struct fuse_session *se;
	struct pending *pending;
	char *mountpoint;
	pthread_t main;
	atomic_int gone;	/* the kernel has ended the session */
	atomic_int over;	/* kernel_run() has returned */
};

static struct kernel *session;	/* one a process */

static _Thread_local int kills_suid, is_tmpfile;
static _Thread_local uint32_t lock_pid;
static _Thread_local uint64_t init_unique;	/* 0: not in INIT */
static _Thread_local uint32_t init_flags;	/* ours, that it offers */

/* ----------------------------------------------------- reading requests */

/* The field of type uint32_t at @off behind the header, 0 if it is not
 * there. */
static uint32_t field(const void *req, size_t n, size_t off)
{
	uint32_t v;

	off += sizeof(struct fuse_in_header);
	if (n < sizeof(v) || off > n - sizeof(v))
		return 0;
	memcpy(&v, (const char *)req + off, sizeof(v));
	return v;
}

static void look(void *req, size_t n)
{
	struct fuse_in_header h;

	kills_suid = is_tmpfile = 0;
	init_unique = 0;
	if (n < sizeof(h))
		return;
	memcpy(&h, req, sizeof(h));
	switch (h.opcode) {
	case FUSE_INIT:
		init_unique = h.unique;
		init_flags = field(req, n,
				   offsetof(struct fuse_init_in, flags)) &
			     OUR_FLAGS;
		break;
	case FUSE_WRITE:
		kills_suid = !!(field(req, n,
				      offsetof(struct fuse_write_in,
					       write_flags)) &
				FUSE_WRITE_KILL_SUIDGID);
		break;
	case FUSE_SETATTR:
		kills_suid = !!(field(req, n,
				      offsetof(struct fuse_setattr_in,
					       valid)) &
				FATTR_KILL_SUIDGID);
		break;
	case FUSE_OPEN:
		kills_suid = !!(field(req, n,
				      offsetof(struct fuse_open_in,
					       open_flags)) &
				FUSE_OPEN_KILL_SUIDGID);
		break;
	case FUSE_SETLK:
	case FUSE_SETLKW:
		lock_pid = field(req, n, offsetof(struct fuse_lk_in, lk.pid));
		break;
	case FUSE_TMPFILE:
		is_tmpfile = 1;
		h.opcode = FUSE_CREATE;
		memcpy(req, &h, sizeof(h));
		break;
	default:
		break;
	}
}

uint32_t kernel_lock_pid(void)
{
	return lock_pid;
}

int kernel_kills_suid(void)
{
	return kills_suid;
}

int kernel_is_tmpfile(void)
{
	return is_tmpfile;
}

static ssize_t kernel_read(int fd, void *buf, size_t len, void *userdata)
{
	ssize_t n;

	(void)userdata;
	pending_handled(session->pending);
	n = read(fd, buf, len);
	if (n < 0 && errno == ENODEV)
		session->gone = 1;
	if (n > 0) {
		look(buf, (size_t)n);
		pending_seen(session->pending, buf, (size_t)n);
	}
	return n;
}

/* ------------------------------------------------------ writing answers */

/* After INIT the kernel has settled for 128 KiB; root may raise it. */
static void raise_readahead(const char *mountpoint)
{
	struct mounted m;
	char path[96], kb[16];
	int fd, n;

	if (mountpoint_find(mountpoint, &m))
		return;
	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb",
		 m.major, m.minor);
	n = snprintf(kb, sizeof(kb), "%d", KERNEL_READAHEAD_KB);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, kb, (size_t)n) != n)
		log_debug("%s: %s: reading ahead stays short", path,
			  strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* Is this the answer to INIT, header and body?  Then add our flags. */
static void patch_init(struct iovec *iov, int count)
{
	struct fuse_out_header h;
	struct fuse_init_out *out;

	if (count != 2 || iov[0].iov_len != sizeof(h) ||
	    iov[1].iov_len < offsetof(struct fuse_init_out, flags) + 4)
		return;
	memcpy(&h, iov[0].iov_base, sizeof(h));
	if (h.unique != init_unique || h.error)
		return;
	out = iov[1].iov_base;
	out->flags |= init_flags;
}

/* An answer's header; that of a notification has no number. */
static void look_answered(const struct iovec *iov)
{
	struct fuse_out_header h;

	if (iov->iov_len != sizeof(h))
		return;
	memcpy(&h, iov->iov_base, sizeof(h));
	if (h.unique)
		pending_answered(session->pending, h.unique);
}

/* Who was interrupted; see pending.h.  If the real answer was faster the
 * kernel refuses this one. */
static void let_go(void *arg, uint64_t unique, int err, uint32_t written)
{
	struct kernel *k = arg;
	struct {
		struct fuse_out_header h;
		struct fuse_write_out w;
	} out = {
		.h = { .len = err ? sizeof(out.h) : sizeof(out),
		       .error = err, .unique = unique },
		.w.size = written,
	};

	if (write(fuse_session_fd(k->se), &out, out.h.len) < 0)
		log_debug("request %llu: %s", (unsigned long long)unique,
			  strerror(errno));
}

static ssize_t kernel_writev(int fd, struct iovec *iov, int count,
			     void *userdata)
{
	ssize_t n;
	int err;

	(void)userdata;
	look_answered(iov);
	if (!init_unique)
		return writev(fd, iov, count);
	patch_init(iov, count);
	init_unique = 0;
	n = writev(fd, iov, count);
	err = errno;
	raise_readahead(session->mountpoint);
	errno = err;
	return n;
}

/* -------------------------------------------------------------- start-up */

static void want(struct fuse_conn_info *conn, unsigned flag, int on)
{
	if (on)
		conn->want |= conn->capable & flag;
	else
		conn->want &= ~flag;
}

void kernel_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	want(conn, FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS |
	     FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_ASYNC_DIO |
	     FUSE_CAP_READDIRPLUS | FUSE_CAP_AUTO_INVAL_DATA |
	     FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_POSIX_LOCKS |
	     FUSE_CAP_FLOCK_LOCKS | FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK, 1);
	/* Of what is listed it is to know entries: they are leased anyway. */
	want(conn, FUSE_CAP_READDIRPLUS_AUTO, 0);
	/* HANDLE_KILLPRIV is version 1, which does not tell who wrote. */
	want(conn, FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_EXPORT_SUPPORT |
	     FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_SPLICE_READ |
	     FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE, 0);
	want(conn, FUSE_CAP_EXPIRE_ONLY, 1);
	kernel_notify_init(conn);
	conn->max_write = KERNEL_WRITE_MAX;
	conn->max_background = BACKGROUND;
	conn->congestion_threshold = CONGESTED;
}

static char said[SAID_MAX];	/* by libfuse, while it mounts */

static void libfuse_says(enum fuse_log_level level, const char *fmt,
			 va_list ap) __attribute__((format(printf, 2, 0)));

static void libfuse_says(enum fuse_log_level level, const char *fmt,
			 va_list ap)
{
	(void)level;
	vsnprintf(said, sizeof(said), fmt, ap);
	said[strcspn(said, "\n")] = '\0';
	log_debug("%s", said);
}

/* "-o" and all that libfuse is to know about the mount. */
static int mount_args(struct fuse_args *args, const struct kernel_config *cfg)
{
	char source[OPTIONS_MAX], *options = NULL;
	int err = -ENOMEM;

	snprintf(source, sizeof(source), "fsname=%s", cfg->source);
	if (!fuse_opt_add_opt_escaped(&options, source) &&
	    !fuse_opt_add_opt(&options, "subtype=pspfs,default_permissions") &&
	    (!*cfg->options || !fuse_opt_add_opt(&options, cfg->options)) &&
	    !fuse_opt_add_arg(args, "pspfs") &&
	    !fuse_opt_add_arg(args, "-o") && !fuse_opt_add_arg(args, options))
		err = 0;
	free(options);
	return err;
}

static int open_session(struct kernel *k, const struct kernel_config *cfg)
{
	static const struct fuse_custom_io io = {
		.read = kernel_read,
		.writev = kernel_writev,
	};
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	int err = mount_args(&args, cfg);

	if (!err)
		k->se = fuse_session_new(&args, cfg->ops, sizeof(*cfg->ops),
					 cfg->userdata);
	fuse_opt_free_args(&args);
	if (!k->se)
		return err ? err : -EINVAL;
	if (fuse_session_mount(k->se, k->mountpoint))
		return -EPERM;
	err = fuse_session_custom_io(k->se, &io, fuse_session_fd(k->se));
	if (err)
		fuse_session_unmount(k->se);
	return err;
}

static void kicked(int sig)
{
	(void)sig;
}

int kernel_mount(struct kernel **out, const struct kernel_config *cfg,
		 char *why, size_t why_len)
{
	/* No SA_RESTART: libfuse's main thread is to notice. */
	struct sigaction sa = { .sa_handler = kicked };
	struct kernel *k = calloc(1, sizeof(*k));
	int err = -ENOMEM;

	if (k)
		k->mountpoint = strdup(cfg->mountpoint);
	if (k && k->mountpoint)
		err = pending_new(&k->pending, "/proc", let_go, k);
	if (!err) {
		fuse_set_log_func(libfuse_says);
		sigaction(KICK, &sa, NULL);
		k->main = pthread_self();
		session = k;
		err = open_session(k, cfg);
	}
	if (!err) {
		kernel_notify_begin(k->se);
		*out = k;
		return 0;
	}
	snprintf(why, why_len, "cannot mount at %s: %s%s", cfg->mountpoint,
		 *said ? said : strerror(-err),
		 geteuid() ? ": only root may mount, or fusermount3 has to "
			     "allow it"
			   : "");
	kernel_free(k);
	return err;
}

/* --------------------------------------------------------------- running */

int kernel_run(struct kernel *k)
{
	struct fuse_loop_config *cfg = fuse_loop_cfg_create();
	int err;

	if (!cfg)
		return -ENOMEM;
	fuse_loop_cfg_set_max_threads(cfg, KERNEL_THREADS);
	err = fuse_session_loop_mt(k->se, cfg);
	fuse_loop_cfg_destroy(cfg);
	k->over = 1;
	return err < 0 ? err : 0;
}

/*
 * An unmount ends the session.  It does not when somebody uses the mount, or
 * sees it from another mount namespace: then the loop is told to end, and
 * its main thread is woken until it has noticed.
 */
void kernel_stop(struct kernel *k)
{
	const struct timespec pause = { .tv_nsec = KICK_MS * 1000000L };
	int patience = STOP_MS;

	if (umount2(k->mountpoint, 0)) {
		log_warn("%s is in use (%s): detaching it", k->mountpoint,
			 strerror(errno));
		patience = 0;
	}
	for (; !k->over; patience -= KICK_MS) {
		if (patience <= 0) {
			fuse_session_exit(k->se);
			pthread_kill(k->main, KICK);
		}
		nanosleep(&pause, NULL);
	}
}

void kernel_unmount(struct kernel *k)
{
	char *argv[] = { (char[]){ "fusermount3" }, (char[]){ "-uzq" },
			 (char[]){ "--" }, k->mountpoint, NULL };
	extern char **environ;
	pid_t pid;

	/* Cut by force (umount -f, a kill of the connection) and in use, it
	 * stays behind dead: that may be ours, or be cleared by anybody. */
	if (k->gone && !mountpoint_dead(k->mountpoint))
		return;
	if (!umount2(k->mountpoint, MNT_DETACH))
		return;
	if (!posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ))
		waitpid(pid, NULL, 0);
}

/* The device is replaced under its number: other threads may be writing to
 * it, and libfuse closes it later. */
static void cut(struct kernel *k)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, fuse_session_fd(k->se)) < 0)
		log_warn("those who wait at %s wait on: %s", k->mountpoint,
			 strerror(errno));
	if (null >= 0)
		close(null);
}

void kernel_let_go(struct kernel *k)
{
	const struct timespec pause = { .tv_nsec = KICK_MS * 1000000L };

	if (k->gone)
		return;
	for (int left = SETTLE_MS; left > 0 && pending_count(k->pending);
	     left -= KICK_MS)
		nanosleep(&pause, NULL);
	cut(k);
}

void kernel_free(struct kernel *k)
{
	if (!k)
		return;
	kernel_notify_end();
	pending_free(k->pending);
	/* Frees only.  What was detached while in use must not be unmounted
	 * by its path again: there may be another mount by now. */
	if (k->se && k->gone)
		fuse_session_unmount(k->se);
	if (k->se)
		fuse_session_destroy(k->se);
	free(k->mountpoint);
	free(k);
	session = NULL;
}
