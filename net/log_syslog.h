/*
 * log_syslog -- one line to the system's log, when our own takes none.
 *
 * Threads: any.  Never waits: where nobody listens, or not fast enough, the
 * line is lost.
 */
#ifndef PSPFS_LOG_SYSLOG_H
#define PSPFS_LOG_SYSLOG_H

#include "log.h"

/* 0, or -errno: nobody has it. */
int log_to_syslog(const char *program, enum log_level level, const char *text);

#endif
