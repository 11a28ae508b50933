/*
 * log -- see log.h.
 *
 * A line is one write(2), so that lines of several processes in one file do
 * not mix.  Bytes of others (a peer's error text) may be in it: whatever
 * could move a terminal's cursor is written as '?'.
 *
 * Bursts are counted in a small table, by a hash of place and text.  What was
 * held back is told by the first line logged after its second has passed, or
 * when another message needs its place in the table.
 *
 * A line that the file does not take (its disk is full, just when that is to be
 * said) goes to the system's log; the first that it takes again says so.
 */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log_syslog.h"

enum { LINE_LEN = 2048, TEXT_LEN = 1536, SITES = 64, WAYS = 4, SITE_TEXT = 80 };

/* A message that was seen lately. */
struct site {
	uint64_t hash;
	time_t second;
	unsigned seen;		/* in that second */
	enum log_level level;
	char text[SITE_TEXT];
};

/* Guarded by lock. */
static struct {
	pthread_mutex_t lock;
	const char *program;
	int fd;
	int dated;		/* after log_open */
	char *path;
	unsigned elsewhere;	/* lines that the file did not take */
	int torn;		/* nor all of the last */
	time_t swept;
	struct site sites[SITES];
} g = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.program = "pspfs",
	.fd = STDERR_FILENO,
};

static enum log_level most = LOG_INFO;	/* atomic */

void log_init(const char *program, enum log_level level)
{
	pthread_mutex_lock(&g.lock);
	g.program = program;
	pthread_mutex_unlock(&g.lock);
	__atomic_store_n(&most, level, __ATOMIC_RELAXED);
}

/* Write to @fd from now on; called with the lock. */
static void use_fd(int fd)
{
	if (g.fd != STDERR_FILENO)
		close(g.fd);
	g.fd = fd;
}

static int open_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);

	return fd < 0 ? -errno : fd;
}

int log_open(const char *path)
{
	char *copy = NULL;
	int fd = STDERR_FILENO;

	if (path) {
		copy = strdup(path);
		if (!copy)
			return -ENOMEM;
		fd = open_file(path);
		if (fd < 0) {
			free(copy);
			return fd;
		}
	}
	pthread_mutex_lock(&g.lock);
	use_fd(fd);
	free(g.path);
	g.path = copy;
	g.dated = 1;
	pthread_mutex_unlock(&g.lock);
	return 0;
}

int log_reopen(void)
{
	int fd = 0;

	pthread_mutex_lock(&g.lock);
	if (g.path) {
		fd = open_file(g.path);
		if (fd >= 0)
			use_fd(fd);
	}
	pthread_mutex_unlock(&g.lock);
	return fd < 0 ? fd : 0;
}

/* "2026-01-31 12:00:00.123 ", or nothing before log_open(). */
static void date_text(const struct timespec *now, char *out, size_t n)
{
	struct tm tm;
	size_t len;

	*out = 0;
	if (!g.dated)
		return;
	localtime_r(&now->tv_sec, &tm);
	len = strftime(out, n, "%F %T", &tm);
	snprintf(out + len, n - len, ".%03ld ", now->tv_nsec / 1000000);
}

/* 0 or -errno. */
static int write_line(const struct timespec *now, enum log_level level,
		      const char *text)
{
	static const char *const names[] = { "error", "warning", "info",
					     "debug" };
	char line[LINE_LEN], date[40];
	size_t off = 0;
	ssize_t n;
	int len;

	date_text(now, date, sizeof(date));
	len = snprintf(line, sizeof(line), "%s%s%.64s: %s%s%s\n",
		       g.torn ? "\n" : "", date, g.program,
		       g.dated ? names[level] : "", g.dated ? ": " : "", text);
	while (off < (size_t)len) {
		n = write(g.fd, line + off, (size_t)len - off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			g.torn |= off > 0;
			return n ? -errno : -EIO;
		}
		off += (size_t)n;
	}
	g.torn = 0;
	return 0;
}

static void put_line(const struct timespec *now, enum log_level level,
		     const char *text)
{
	char more[96];

	snprintf(more, sizeof(more), "%u lines could not be written here and "
		 "went to the system's log", g.elsewhere);
	if ((!g.elsewhere || !write_line(now, LOG_WARN, more)) &&
	    !write_line(now, level, text)) {
		g.elsewhere = 0;
	} else if (g.path) {	/* else there is nowhere to complain */
		g.elsewhere++;
		(void)log_to_syslog(g.program, level, text);
	}
}

/* Tell how often a message was held back, and forget it. */
static void site_end(const struct timespec *now, struct site *s)
{
	char text[SITE_TEXT + 64];

	if (s->seen > LOG_BURST) {
		snprintf(text, sizeof(text), "%u more like \"%s\"",
			 s->seen - LOG_BURST, s->text);
		put_line(now, s->level, text);
	}
	s->seen = 0;
}

/* FNV-1a */
static uint64_t hash_text(const char *file, int line, const char *text)
{
	uint64_t h = 0xcbf29ce484222325u ^ (uintptr_t)file ^ (unsigned)line;

	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * 0x100000001b3u;
	return h;
}

/* The site of @hash, or the least busy of the few that it may take. */
static struct site *site_of(uint64_t hash)
{
	struct site *set = &g.sites[hash % (SITES / WAYS) * WAYS], *s = set;

	for (int i = 0; i < WAYS; i++) {
		if (set[i].hash == hash && set[i].seen)
			return &set[i];
		if (set[i].seen < s->seen)
			s = &set[i];
	}
	return s;
}

/* Whether to write this message now; called with the lock. */
static int admit(const struct timespec *now, enum log_level level,
		 uint64_t hash, const char *text)
{
	struct site *s;

	if (g.swept != now->tv_sec) {
		g.swept = now->tv_sec;
		for (int i = 0; i < SITES; i++)
			if (g.sites[i].second != now->tv_sec)
				site_end(now, &g.sites[i]);
	}
	s = site_of(hash);
	if (s->hash != hash || !s->seen) {
		site_end(now, s);
		s->hash = hash;
		s->second = now->tv_sec;
		s->level = level;
		snprintf(s->text, sizeof(s->text), "%.*s", SITE_TEXT - 1,
			 text);
	}
	return ++s->seen <= LOG_BURST;
}

/* A clock that nobody sets. */
static uint64_t steady_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* May this line of a place be written?  Then how many were not before it;
 * else -1.  Called with the lock. */
static int admit_rare(struct log_rare *r, uint64_t now, uint64_t hash)
{
	unsigned held = r->held, i;

	if (!r->since_ms || now - r->since_ms >= LOG_RARE_MS) {
		r->since_ms = now;
		r->n = 0;
	}
	for (i = 0; i < r->n && r->lines[i] != hash; i++)
		;
	if (i < r->n || r->n == LOG_RARE_LINES) {
		r->held++;
		return -1;
	}
	r->lines[r->n++] = hash;
	r->held = 0;
	return (int)held;
}

/* Without whatever could move a terminal's cursor. */
static void __attribute__((format(printf, 2, 0)))
format(char text[TEXT_LEN], const char *fmt, va_list ap)
{
	vsnprintf(text, TEXT_LEN, fmt, ap);
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
}

void log_rare_at(struct log_rare *r, enum log_level level, const char *fmt, ...)
{
	int saved = errno, held;
	struct timespec now;
	char text[TEXT_LEN];
	size_t len;
	va_list ap;

	if (level > __atomic_load_n(&most, __ATOMIC_RELAXED))
		return;
	va_start(ap, fmt);
	format(text, fmt, ap);
	va_end(ap);
	len = strlen(text);
	clock_gettime(CLOCK_REALTIME, &now);
	pthread_mutex_lock(&g.lock);
	held = admit_rare(r, steady_ms(), hash_text("", 0, text));
	if (held > 0)
		snprintf(text + len, sizeof(text) - len,
			 " (and %d more like it before, not written)", held);
	if (held >= 0)
		put_line(&now, level, text);
	pthread_mutex_unlock(&g.lock);
	errno = saved;
}

void log_at(enum log_level level, const char *file, int line, const char *fmt,
	    ...)
{
	int saved = errno;	/* callers go on to return it; %m uses it */
	struct timespec now;
	char text[TEXT_LEN];
	va_list ap;

	if (level > __atomic_load_n(&most, __ATOMIC_RELAXED))
		return;
	va_start(ap, fmt);
	format(text, fmt, ap);
	va_end(ap);
	clock_gettime(CLOCK_REALTIME, &now);
	pthread_mutex_lock(&g.lock);
	if (admit(&now, level, hash_text(file, line, text), text))
		put_line(&now, level, text);
	pthread_mutex_unlock(&g.lock);
	errno = saved;
}
