/* faults -- the countdown, and the calls that the linker sends through it. */
#include "faults.h"

#include <dirent.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "log.h"

enum {
	ROUND_S = 30,		/* no round is longer */
	ROUNDS_MAX = 20000,
	PARTS_MAX = 16,		/* of a readv or writev that is cut short */
};

static const char *const names[FAULT_KINDS] = {
	"memory", "library", "disk", "space", "files", "short", "socket",
};

static atomic_int armed, all_behind;
static atomic_uint count, hits, nth;
static _Atomic enum fault kind;
static unsigned hits_before;	/* faults_on() */
static const char *_Atomic failed;
static int playing, verbose;
static __thread int spared;

/* ------------------------------------------------------------ the course */

static void say_round(void)
{
	const char *what = failed;

	fprintf(stderr, "faults: %s, call %u%s: %s\n", names[kind], nth,
		all_behind ? " and all behind it" : "",
		what ? what : "not reached");
}

/* Says it with what a handler may call. */
static void on_alarm(int sig)
{
	static const char text[] = "faults: a round does not end: ";
	const char *what = failed;

	(void)sig;
	(void)!write(2, text, sizeof(text) - 1);
	if (what)
		(void)!write(2, what, strlen(what));
	(void)!write(2, "\n", 1);
	abort();
}

static int descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

/* Was there something left to fail? */
static int play(void (*round)(void *arg), void *arg)
{
	int open_before = descriptors();

	hits = count = 0;
	failed = NULL;
	playing = 1;
	alarm(ROUND_S);
	round(arg);
	alarm(0);
	if (armed || descriptors() != open_before) {
		say_round();
		fprintf(stderr, "faults: %s\n",
			armed ? "a round without faults_off()"
			      : "not as many descriptors as before");
		abort();
	}
	playing = 0;
	if (verbose)
		say_round();
	return hits != 0;
}

void faults_each(unsigned kinds, void (*round)(void *arg), void *arg)
{
	unsigned rounds = 0;

	verbose = getenv("V") != NULL;
	if (!verbose && log_open("/dev/null"))
		abort();
	signal(SIGALRM, on_alarm);
	for (kind = 0; kind < FAULT_KINDS; kind++) {
		if (!(kinds & FAULT_BIT(kind)))
			continue;
		for (all_behind = 0; all_behind < 2; all_behind++) {
			/* half of it for ever is no fault of a disk's */
			if (all_behind && kind == FAULT_SHORT)
				continue;
			nth = 1;
			while (play(round, arg) && rounds++ < ROUNDS_MAX)
				nth += kind == FAULT_LIBRARY ? 1 + nth / 16 : 1;
			if (rounds >= ROUNDS_MAX) {
				fprintf(stderr, "faults: no end of them\n");
				abort();
			}
		}
	}
	printf("faults: %u rounds\n", rounds);
	fflush(stdout);
}

void faults_on(void)
{
	hits_before = hits;
	armed = 1;
}

int faults_off(void)
{
	armed = 0;
	return hits != hits_before;
}

void faults_spare(int on)
{
	spared = on;
}

int faults_told(void **state)
{
	(void)state;
	armed = 0;
	alarm(0);
	log_open(NULL);
	if (playing)
		say_round();
	playing = 0;
	return 0;
}

int faults_hit(enum fault f, const char *what)
{
	void *from[12];
	unsigned n;

	if (!armed || f != kind || spared)
		return 0;
	n = atomic_fetch_add(&count, 1) + 1;
	if (n != nth && !(all_behind && n > nth))
		return 0;
	if (!failed)
		failed = what;
	if (verbose && !hits) {
		int was = atomic_exchange(&armed, 0);

		say_round();
		backtrace_symbols_fd(from, backtrace(from, 12), 2);
		armed = was;
	}
	atomic_fetch_add(&hits, 1);
	return 1;
}

/* One call has one fault: the first kind that applies to it. */
static int refused(unsigned kinds, const char *what, int files_err)
{
	static const int errs[FAULT_KINDS] = {
		[FAULT_MEMORY] = ENOMEM, [FAULT_DISK] = EIO,
		[FAULT_SPACE] = ENOSPC, [FAULT_FILES] = EMFILE,
	};

	if (!armed || !(kinds & FAULT_BIT(kind)) || !faults_hit(kind, what))
		return 0;
	errno = kind == FAULT_SOCKET ? files_err : errs[kind];
	return 1;
}

#define DISK FAULT_BIT(FAULT_DISK)
#define SPACE FAULT_BIT(FAULT_SPACE)
#define FILES FAULT_BIT(FAULT_FILES)
#define SOCKET FAULT_BIT(FAULT_SOCKET)

/* ------------------------------------------------------------- wrapped */

/* The real function, under the linker's name for it, and ours. */
#define WRAP(ret, name, ...)            \
	ret __real_##name(__VA_ARGS__); \
	ret __wrap_##name(__VA_ARGS__); \
	ret __wrap_##name(__VA_ARGS__)

WRAP(void *, malloc, size_t n)
{
	if (faults_hit(FAULT_MEMORY, "malloc"))
		return NULL;
	return __real_malloc(n);
}

WRAP(void *, calloc, size_t n, size_t size)
{
	if (faults_hit(FAULT_MEMORY, "calloc"))
		return NULL;
	return __real_calloc(n, size);
}

WRAP(void *, realloc, void *p, size_t n)
{
	if (faults_hit(FAULT_MEMORY, "realloc"))
		return NULL;
	return __real_realloc(p, n);
}

WRAP(char *, strdup, const char *s)
{
	if (faults_hit(FAULT_MEMORY, "strdup"))
		return NULL;
	return __real_strdup(s);
}

WRAP(int, posix_memalign, void **p, size_t align, size_t n)
{
	if (faults_hit(FAULT_MEMORY, "posix_memalign"))
		return ENOMEM;
	return __real_posix_memalign(p, align, n);
}

WRAP(int, pthread_create, pthread_t *t, const pthread_attr_t *a,
     void *(*fn)(void *), void *arg)
{
	if (faults_hit(FAULT_MEMORY, "pthread_create"))
		return EAGAIN;
	return __real_pthread_create(t, a, fn, arg);
}

/* The mode of an open that makes a file. */
static mode_t mode_of(int flags, va_list ap)
{
	return flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;
}

static int open_refused(int flags, const char *what)
{
	return refused(DISK | FILES | (flags & O_CREAT ? SPACE : 0), what, 0);
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
	mode_t mode;
	va_list ap;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	if (open_refused(flags, "open"))
		return -1;
	return __real_open(path, flags, mode);
}

int __real_openat(int fd, const char *path, int flags, ...);
int __wrap_openat(int fd, const char *path, int flags, ...);
int __wrap_openat(int fd, const char *path, int flags, ...)
{
	mode_t mode;
	va_list ap;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	if (open_refused(flags, "openat"))
		return -1;
	return __real_openat(fd, path, flags, mode);
}

WRAP(FILE *, fopen, const char *path, const char *mode)
{
	if (refused(DISK | FILES, "fopen", 0))
		return NULL;
	return __real_fopen(path, mode);
}

WRAP(DIR *, fdopendir, int fd)
{
	if (faults_hit(FAULT_MEMORY, "fdopendir")) {
		errno = ENOMEM;
		return NULL;
	}
	return __real_fdopendir(fd);
}

WRAP(struct dirent *, readdir, DIR *dir)
{
	if (refused(DISK, "readdir", 0))
		return NULL;
	return __real_readdir(dir);
}

/* How much of @n is to be done. */
static size_t shortened(size_t n, const char *what)
{
	return n > 1 && faults_hit(FAULT_SHORT, what) ? n / 2 : n;
}

WRAP(ssize_t, read, int fd, void *p, size_t n)
{
	if (refused(DISK, "read", 0))
		return -1;
	return __real_read(fd, p, shortened(n, "read"));
}

WRAP(ssize_t, pread, int fd, void *p, size_t n, off_t at)
{
	if (refused(DISK, "pread", 0))
		return -1;
	return __real_pread(fd, p, shortened(n, "pread"), at);
}

WRAP(ssize_t, write, int fd, const void *p, size_t n)
{
	if (refused(DISK | SPACE, "write", 0))
		return -1;
	return __real_write(fd, p, shortened(n, "write"));
}

WRAP(ssize_t, pwrite, int fd, const void *p, size_t n, off_t at)
{
	if (refused(DISK | SPACE, "pwrite", 0))
		return -1;
	return __real_pwrite(fd, p, shortened(n, "pwrite"), at);
}

/* @v's first half, in @cut; or @v itself. */
static const struct iovec *halved(const struct iovec *v, int *n,
				  struct iovec *cut, const char *what)
{
	size_t total = 0, left;

	for (int i = 0; i < *n; i++)
		total += v[i].iov_len;
	left = *n <= PARTS_MAX ? shortened(total, what) : total;
	if (left == total)
		return v;
	for (int i = 0; i < *n; i++) {
		cut[i] = v[i];
		if (cut[i].iov_len >= left) {
			cut[i].iov_len = left;
			*n = i + 1;
			break;
		}
		left -= cut[i].iov_len;
	}
	return cut;
}

WRAP(ssize_t, writev, int fd, const struct iovec *v, int n)
{
	struct iovec cut[PARTS_MAX];

	if (refused(DISK | SPACE, "writev", 0))
		return -1;
	v = halved(v, &n, cut, "writev");
	return __real_writev(fd, v, n);
}

WRAP(ssize_t, pwritev, int fd, const struct iovec *v, int n, off_t at)
{
	struct iovec cut[PARTS_MAX];

	if (refused(DISK | SPACE, "pwritev", 0))
		return -1;
	v = halved(v, &n, cut, "pwritev");
	return __real_pwritev(fd, v, n, at);
}

WRAP(ssize_t, preadv2, int fd, const struct iovec *v, int n, off_t at,
     int flags)
{
	struct iovec cut[PARTS_MAX];

	if (refused(DISK, "preadv2", 0))
		return -1;
	v = halved(v, &n, cut, "preadv2");
	return __real_preadv2(fd, v, n, at, flags);
}

/* The others do all or nothing. */
#define WRAP_ALL(name, kinds, params, args)                     \
	int __real_##name params;                               \
	int __wrap_##name params;                               \
	int __wrap_##name params                                \
	{                                                       \
		if (refused(kinds, #name, ECONNRESET))          \
			return -1;                              \
		return __real_##name args;                      \
	}

WRAP_ALL(fsync, DISK, (int fd), (fd))
WRAP_ALL(fdatasync, DISK, (int fd), (fd))
WRAP_ALL(syncfs, DISK, (int fd), (fd))
WRAP_ALL(ftruncate, DISK | SPACE, (int fd, off_t size), (fd, size))
WRAP_ALL(fallocate, DISK | SPACE, (int fd, int mode, off_t at, off_t n),
	 (fd, mode, at, n))
WRAP_ALL(unlink, DISK, (const char *path), (path))
WRAP_ALL(unlinkat, DISK, (int fd, const char *path, int flags),
	 (fd, path, flags))
WRAP_ALL(rename, DISK | SPACE, (const char *from, const char *to), (from, to))
WRAP_ALL(renameat, DISK | SPACE,
	 (int fd, const char *from, int to_fd, const char *to),
	 (fd, from, to_fd, to))
WRAP_ALL(link, DISK | SPACE, (const char *from, const char *to), (from, to))
WRAP_ALL(linkat, DISK | SPACE,
	 (int fd, const char *from, int to_fd, const char *to, int flags),
	 (fd, from, to_fd, to, flags))
WRAP_ALL(mkdir, DISK | SPACE, (const char *path, mode_t mode), (path, mode))
WRAP_ALL(mkdirat, DISK | SPACE, (int fd, const char *path, mode_t mode),
	 (fd, path, mode))
WRAP_ALL(fstat, DISK, (int fd, struct stat *st), (fd, st))
WRAP_ALL(fstatat, DISK, (int fd, const char *path, struct stat *st, int flags),
	 (fd, path, st, flags))
WRAP_ALL(flock, DISK, (int fd, int how), (fd, how))

/* Sockets: what makes one runs out of descriptors. */
#define WRAP_SOCKET(ret, name, err, params, args)               \
	ret __real_##name params;                               \
	ret __wrap_##name params;                               \
	ret __wrap_##name params                                \
	{                                                       \
		if (refused(SOCKET, #name, err))                \
			return -1;                              \
		return __real_##name args;                      \
	}

WRAP_SOCKET(int, socket, EMFILE, (int domain, int type, int protocol),
	    (domain, type, protocol))
WRAP_SOCKET(int, accept4, EMFILE,
	    (int fd, struct sockaddr *a, socklen_t *n, int flags),
	    (fd, a, n, flags))
WRAP_SOCKET(int, bind, EADDRINUSE,
	    (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
WRAP_SOCKET(int, listen, EADDRINUSE, (int fd, int n), (fd, n))
WRAP_SOCKET(int, connect, ENETUNREACH,
	    (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
WRAP_SOCKET(int, setsockopt, ENOBUFS,
	    (int fd, int level, int name, const void *p, socklen_t n),
	    (fd, level, name, p, n))
WRAP_SOCKET(ssize_t, send, ECONNRESET,
	    (int fd, const void *p, size_t n, int flags), (fd, p, n, flags))
WRAP_SOCKET(ssize_t, recv, ECONNRESET, (int fd, void *p, size_t n, int flags),
	    (fd, p, n, flags))
WRAP_SOCKET(ssize_t, sendto, ENOBUFS,
	    (int fd, const void *p, size_t n, int flags,
	     const struct sockaddr *a, socklen_t len),
	    (fd, p, n, flags, a, len))
WRAP_SOCKET(ssize_t, recvfrom, ENOMEM,
	    (int fd, void *p, size_t n, int flags, struct sockaddr *a,
	     socklen_t *len),
	    (fd, p, n, flags, a, len))
WRAP_SOCKET(ssize_t, sendmsg, ECONNRESET,
	    (int fd, const struct msghdr *m, int flags), (fd, m, flags))
WRAP_SOCKET(ssize_t, recvmsg, ECONNRESET,
	    (int fd, struct msghdr *m, int flags), (fd, m, flags))
