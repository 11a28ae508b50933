/*
 * faults_sqlite -- SQLite's own allocations and calls to the system meet
 * faults, too.  Included by one file of a program.
 *
 * Allocations: sqlite3_config(), so before anything else of SQLite.  Calls:
 * its table of them (xSetSystemCall); fsync and fdatasync are not in it, and
 * are ours for all libraries.
 */
#ifndef PSPFS_FAULTS_SQLITE_H
#define PSPFS_FAULTS_SQLITE_H

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "faults.h"

static sqlite3_mem_methods sql_plain;

static inline void *sql_malloc(int n)
{
	if (faults_hit(FAULT_LIBRARY, "SQLite's malloc"))
		return NULL;
	return sql_plain.xMalloc(n);
}

static inline void *sql_realloc(void *p, int n)
{
	if (faults_hit(FAULT_LIBRARY, "SQLite's realloc"))
		return NULL;
	return sql_plain.xRealloc(p, n);
}

static inline int sql_refused(const char *what, int space)
{
	if (faults_hit(FAULT_DISK, what))
		errno = EIO;
	else if (space && faults_hit(FAULT_SPACE, what))
		errno = ENOSPC;
	else
		return 0;
	return 1;
}

static inline size_t sql_some(size_t n, const char *what)
{
	return n > 1 && faults_hit(FAULT_SHORT, what) ? n / 2 : n;
}

static inline int sql_open(const char *path, int flags, int mode)
{
	if (faults_hit(FAULT_FILES, "SQLite's open")) {
		errno = EMFILE;
		return -1;
	}
	if (sql_refused("SQLite's open", flags & O_CREAT))
		return -1;
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static inline ssize_t sql_pread(int fd, void *p, size_t n, off_t at)
{
	if (sql_refused("SQLite's pread", 0))
		return -1;
	return syscall(SYS_pread64, fd, p, sql_some(n, "SQLite's pread"), at);
}

static inline ssize_t sql_pwrite(int fd, const void *p, size_t n, off_t at)
{
	if (sql_refused("SQLite's pwrite", 1))
		return -1;
	return syscall(SYS_pwrite64, fd, p, sql_some(n, "SQLite's pwrite"),
		       at);
}

static inline int sql_ftruncate(int fd, off_t size)
{
	return sql_refused("SQLite's ftruncate", 0)
		? -1 : (int)syscall(SYS_ftruncate, fd, size);
}

static inline int sql_unlink(const char *path)
{
	return sql_refused("SQLite's unlink", 0)
		? -1 : (int)syscall(SYS_unlink, path);
}

int fdatasync(int fd)
{
	return sql_refused("SQLite's fdatasync", 0)
		? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
	return sql_refused("SQLite's fsync", 0)
		? -1 : (int)syscall(SYS_fsync, fd);
}

static inline void faults_sqlite(void)
{
	static const struct {
		const char *name;
		sqlite3_syscall_ptr fn;
	} calls[] = {
		{ "open", (sqlite3_syscall_ptr)sql_open },
		{ "pread", (sqlite3_syscall_ptr)sql_pread },
		{ "pread64", (sqlite3_syscall_ptr)sql_pread },
		{ "pwrite", (sqlite3_syscall_ptr)sql_pwrite },
		{ "pwrite64", (sqlite3_syscall_ptr)sql_pwrite },
		{ "ftruncate", (sqlite3_syscall_ptr)sql_ftruncate },
		{ "unlink", (sqlite3_syscall_ptr)sql_unlink },
	};
	sqlite3_mem_methods mine;
	sqlite3_vfs *unix_vfs;

	sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sql_plain);
	mine = sql_plain;
	mine.xMalloc = sql_malloc;
	mine.xRealloc = sql_realloc;
	sqlite3_config(SQLITE_CONFIG_MALLOC, &mine);
	/* a page's memory is an allocation each, not a piece of a large one */
	sqlite3_config(SQLITE_CONFIG_PAGECACHE, NULL, 0, 0);
	unix_vfs = sqlite3_vfs_find("unix");
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		/* a build has either pread or pread64 */
		unix_vfs->xSetSystemCall(unix_vfs, calls[i].name, calls[i].fn);
}

#endif
