/*
 * log -- one line per event, to stderr or a file.
 *
 * Line: "2026-01-31 12:00:00.123 program: level: text".  Before log_open()
 * lines go to stderr as "program: text".  The same message from the same
 * place more than LOG_BURST times a second is counted and summed up.
 * What strangers can cause as often as they like goes through log_rarely():
 * LOG_RARE_LINES different lines a minute for each place in the source; what
 * more there was is counted, and told by the next line.
 * A line that the file does not take goes to the system's log (syslog).
 * Threads: any.
 */
#ifndef PSPFS_LOG_H
#define PSPFS_LOG_H

#include <stdint.h>

#define LOG_BURST 20
#define LOG_RARE_LINES 4
#define LOG_RARE_MS 60000

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* @program is kept, not copied. */
void log_init(const char *program, enum log_level most);
/* Append to @path from now on (NULL: stderr).  0 or -errno. */
int log_open(const char *path);
/* Open the same path again (log rotation, SIGHUP). */
int log_reopen(void);
void log_at(enum log_level level, const char *file, int line,
	    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* One place of log_rarely(); zeros at first. */
struct log_rare {
	uint64_t since_ms;	/* its minute began */
	uint64_t lines[LOG_RARE_LINES];	/* hashes of what was written in it */
	unsigned n, held;
};

void log_rare_at(struct log_rare *r, enum log_level level, const char *fmt,
		 ...) __attribute__((format(printf, 3, 4)));

#define log_rarely(level, ...)                                               \
	do {                                                                 \
		static struct log_rare rare_;                                \
		log_rare_at(&rare_, level, __VA_ARGS__);                     \
	} while (0)

#define log_error(...) log_at(LOG_ERROR, __FILE__, __LINE__, __VA_ARGS__)
#define log_warn(...) log_at(LOG_WARN, __FILE__, __LINE__, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __FILE__, __LINE__, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __FILE__, __LINE__, __VA_ARGS__)

#endif
