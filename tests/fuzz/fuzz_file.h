/* fuzz_file -- files for targets whose decoder reads one. */
#ifndef PSPFS_FUZZ_FILE_H
#define PSPFS_FUZZ_FILE_H

#include <fcntl.h>
#include <ftw.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

static char fuzz_dir_path[128];

static inline int fuzz_remove(const char *path, const struct stat *st,
			      int type, struct FTW *at)
{
	(void)st;
	(void)type;
	if (at->level)		/* the directory itself stays */
		MUST(!remove(path));
	return 0;
}

/* Nothing is in it any more. */
static inline void fuzz_dir_clear(void)
{
	nftw(fuzz_dir_path, fuzz_remove, 8, FTW_DEPTH | FTW_PHYS);
}

static inline void fuzz_dir_end(void)
{
	fuzz_dir_clear();
	rmdir(fuzz_dir_path);
}

/* A directory of the program's own, removed when it ends. */
static inline const char *fuzz_dir(void)
{
	const char *tmp = getenv("TMPDIR");

	if (*fuzz_dir_path)
		return fuzz_dir_path;
	snprintf(fuzz_dir_path, sizeof(fuzz_dir_path), "%s/pspfs-fuzz-XXXXXX",
		 tmp ? tmp : "/tmp");
	MUST(mkdtemp(fuzz_dir_path));
	atexit(fuzz_dir_end);
	return fuzz_dir_path;
}

/* @path, from @dir on, has these bytes. */
static inline void fuzz_write_at(int dir, const char *path, const void *p,
				 size_t n)
{
	int fd = openat(dir, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
			0600);

	MUST(fd >= 0);
	MUST(write(fd, p, n) == (ssize_t)n);
	close(fd);
}

/* A file without a name, of mode 0600; its path for as long as it is open. */
static inline int fuzz_memory(const void *p, size_t n, char path[32])
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	MUST(fd >= 0 && !fchmod(fd, 0600));
	MUST(write(fd, p, n) == (ssize_t)n);
	snprintf(path, 32, "/proc/self/fd/%d", fd);
	return fd;
}

#endif
