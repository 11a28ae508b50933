/*
 * db_wal -- a transaction goes to the log in one write.
 *
 * SQLite writes a frame's header and its page each by itself: a dozen calls
 * for a change of six pages.  Here what follows on what was written before is
 * gathered, and goes out with the frame that commits, within SQLite's own
 * write of it: so an error is SQLite's to handle, as ever.  Whatever else
 * touches the file lets out first what is gathered.
 *
 * Rewritten headers (after pages that were written before the commit) may be
 * what comes last, after that frame: db_wal_flush() lets those out.
 *
 * And the file is kept longer than what is in it, by zeros, which SQLite takes
 * for its end and writes over: so there is room for the next transactions,
 * whatever others write to the disk; and a file that does not grow is synced
 * faster, and does not make the file system's journal write.
 *
 * Source: https://www.sqlite.org/fileformat2.html, section 4 (the log).
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "db_internal.h"

enum {
	HEADER = 24,		/* of a frame */
	COMMITS = 4,		/* in it, four bytes: not 0 if it commits */
	/* SQLite's own write takes less than 128 KiB at a time */
	GATHER = 127 << 10,
	GROWTH = 64 << 10,
};

struct wal {
	sqlite3_file base;
	uint8_t *buf;		/* NULL: no memory, nothing is gathered */
	sqlite3_int64 start;	/* of what is gathered */
	int len;
	int commits;		/* the page that comes next does */
	sqlite3_int64 end;	/* of SQLite's frames; -1: not known yet */
	sqlite3_int64 size;	/* of the file; -1: not known */
	sqlite3_file *file;	/* SQLite's own, behind this */
};

static sqlite3_vfs *plain, vfs;

static struct wal *wal_of(sqlite3_file *f)
{
	return (struct wal *)f;
}

static int write_out(struct wal *w, const void *p, int len, sqlite3_int64 off)
{
	int rc = w->file->pMethods->xWrite(w->file, p, len, off);

	if (rc != SQLITE_OK)
		w->size = -1;
	else if (w->size >= 0 && off + len > w->size)
		w->size = off + len;
	return rc;
}

static int let_out(struct wal *w)
{
	int len = w->len;

	w->len = w->commits = 0;
	return len ? write_out(w, w->buf, len, w->start) : SQLITE_OK;
}

static int is_commit(const void *p, int len)
{
	static const uint8_t none[4];

	return len == HEADER &&
	       memcmp((const uint8_t *)p + COMMITS, none, sizeof(none)) != 0;
}

static int wal_write(sqlite3_file *f, const void *p, int len,
		     sqlite3_int64 off)
{
	struct wal *w = wal_of(f);
	int rc = SQLITE_OK, last = w->commits;

	/* its header is written when it is begun anew */
	if (!off || w->end < off + len)
		w->end = off + len;
	if (w->len && (off != w->start + w->len || len > GATHER - w->len))
		rc = let_out(w);
	if (rc != SQLITE_OK)
		return rc;
	if (!w->buf || len > GATHER)
		return write_out(w, p, len, off);
	if (!w->len)
		w->start = off;
	memcpy(w->buf + w->len, p, (size_t)len);
	w->len += len;
	w->commits = is_commit(p, len);
	return last ? let_out(w) : SQLITE_OK;
}

static int wal_close(sqlite3_file *f)
{
	struct wal *w = wal_of(f);
	int rc = let_out(w), end = w->file->pMethods->xClose(w->file);

	free(w->buf);
	return rc != SQLITE_OK ? rc : end;
}

static int wal_read(sqlite3_file *f, void *p, int len, sqlite3_int64 off)
{
	struct wal *w = wal_of(f);
	int rc = let_out(w);

	return rc != SQLITE_OK ? rc
			       : w->file->pMethods->xRead(w->file, p, len, off);
}

static int wal_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	struct wal *w = wal_of(f);
	int rc = let_out(w);

	w->size = -1;
	return rc != SQLITE_OK ? rc
			       : w->file->pMethods->xTruncate(w->file, size);
}

static int wal_sync(sqlite3_file *f, int flags)
{
	struct wal *w = wal_of(f);
	int rc = let_out(w);

	return rc != SQLITE_OK ? rc : w->file->pMethods->xSync(w->file, flags);
}

static int wal_size(sqlite3_file *f, sqlite3_int64 *size)
{
	struct wal *w = wal_of(f);
	int rc = let_out(w);

	return rc != SQLITE_OK ? rc
			       : w->file->pMethods->xFileSize(w->file, size);
}

static int wal_lock(sqlite3_file *f, int kind)
{
	return wal_of(f)->file->pMethods->xLock(wal_of(f)->file, kind);
}

static int wal_unlock(sqlite3_file *f, int kind)
{
	return wal_of(f)->file->pMethods->xUnlock(wal_of(f)->file, kind);
}

static int wal_reserved(sqlite3_file *f, int *out)
{
	return wal_of(f)->file->pMethods->xCheckReservedLock(wal_of(f)->file,
							     out);
}

static int wal_control(sqlite3_file *f, int op, void *arg)
{
	return wal_of(f)->file->pMethods->xFileControl(wal_of(f)->file, op,
						       arg);
}

static int wal_sector(sqlite3_file *f)
{
	return wal_of(f)->file->pMethods->xSectorSize(wal_of(f)->file);
}

static int wal_device(sqlite3_file *f)
{
	return wal_of(f)->file->pMethods->xDeviceCharacteristics(
		wal_of(f)->file);
}

static const sqlite3_io_methods methods = {
	.iVersion = 1,
	.xClose = wal_close,
	.xRead = wal_read,
	.xWrite = wal_write,
	.xTruncate = wal_truncate,
	.xSync = wal_sync,
	.xFileSize = wal_size,
	.xLock = wal_lock,
	.xUnlock = wal_unlock,
	.xCheckReservedLock = wal_reserved,
	.xFileControl = wal_control,
	.xSectorSize = wal_sector,
	.xDeviceCharacteristics = wal_device,
};

static int wal_open(sqlite3_vfs *v, const char *name, sqlite3_file *f,
		    int flags, int *out)
{
	struct wal *w = wal_of(f);
	int rc;

	(void)v;
	if (!(flags & SQLITE_OPEN_WAL))
		return plain->xOpen(plain, name, f, flags, out);
	*w = (struct wal){ .end = -1, .size = -1,
			   .file = (sqlite3_file *)(w + 1) };
	rc = plain->xOpen(plain, name, w->file, flags, out);
	if (rc != SQLITE_OK)
		return rc;
	w->buf = malloc(GATHER);
	w->base.pMethods = &methods;
	return SQLITE_OK;
}

static void set_up(void)
{
	plain = sqlite3_vfs_find(NULL);
	vfs = *plain;
	vfs.zName = "gathered";
	vfs.szOsFile += (int)sizeof(struct wal);
	vfs.xOpen = wal_open;
	sqlite3_vfs_register(&vfs, 0);
}

const char *db_wal_vfs(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, set_up);
	return vfs.zName;
}

int db_wal_flush(sqlite3_file *f)
{
	return f->pMethods == &methods ? let_out(wal_of(f)) : SQLITE_OK;
}

int db_wal_reserve(sqlite3_file *f, int bytes)
{
	static const char zeros[GROWTH];
	struct wal *w = wal_of(f);
	int rc = SQLITE_OK;

	if (f->pMethods != &methods || w->end < 0)
		return SQLITE_OK;
	if (w->size < 0)
		rc = wal_size(f, &w->size);
	while (rc == SQLITE_OK && w->size < w->end + bytes)
		rc = write_out(w, zeros, GROWTH, w->size);
	return rc;
}
