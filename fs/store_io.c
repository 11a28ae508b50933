/*
 * store_io -- one chunk's file.
 *
 * A put: create in tmp/, one writev of payload and trailer, fdatasync if
 * asked, rename into chunks/.  A get: one open, one preadv, or, past the
 * kernel's memory if that was asked for and has nothing of it, a pread.
 * Anything that fails half way leaves nothing but, at worst, a file in tmp/, which the next
 * store_open() removes.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "store_impl.h"
#include "text.h"

#define TMP_NAME_MAX 48

void io_name(char out[STORE_NAME_MAX], uint64_t id, enum copy_kind kind)
{
	snprintf(out, STORE_NAME_MAX, "%02x/%016" PRIx64 ".%s",
		 store_dir_of(id), id,
		 kind == COPY_CACHED ? "cached" : "chunk");
}

int io_open(struct store *s, const struct copy *c)
{
	char name[STORE_NAME_MAX];
	int fd;

	io_name(name, c->id, c->kind);
	fd = openat(s->chunks_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

/* Skip @n bytes that are done; returns how many parts are left. */
static int advance(struct iovec **v, int parts, size_t n)
{
	while (parts && n >= (*v)->iov_len) {
		n -= (*v)->iov_len;
		(*v)++;
		parts--;
	}
	if (parts) {
		(*v)->iov_base = (char *)(*v)->iov_base + n;
		(*v)->iov_len -= n;
	}
	return parts;
}

/* All of @v from @off; a file that ends before is corrupt. */
static int read_all(int fd, struct iovec *v, int parts, off_t off, int flags)
{
	while (parts) {
		ssize_t n = preadv2(fd, v, parts, off, flags);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -EBADMSG;
		off += n;
		parts = advance(&v, parts, n);
	}
	return 0;
}

static int write_all(int fd, struct iovec *v, int parts)
{
	while (parts) {
		ssize_t n = writev(fd, v, parts);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		parts = advance(&v, parts, n);
	}
	return 0;
}

/* Has the kernel the file in memory?  Chunks are written and read as a whole:
 * the first page tells of all. */
static int is_resident(int fd)
{
	unsigned char page = 1;
	void *at = mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		return 1;
	if (mincore(at, 1, &page))
		page = 1;
	munmap(at, 1);
	return page & 1;
}

/* From the disk straight into @data, which has room for whole blocks; -EINVAL:
 * this file system or disk does not do that. */
static int read_direct(int fd, uint8_t *data, size_t size)
{
	size_t room = io_room(size), done = 0;

	if (fcntl(fd, F_SETFL, O_RDONLY | O_DIRECT))
		return -EINVAL;
	while (done < size) {
		ssize_t n = pread(fd, data + done, room - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -EBADMSG;	/* it ends before */
		done += (size_t)n;
	}
	return 0;
}

static int read_chunk(int fd, const struct copy *c, uint8_t *data,
		      uint8_t trailer[STORE_TRAILER], int direct)
{
	struct iovec v[2] = { { data, c->len }, { trailer, STORE_TRAILER } };
	int err;

	if (!direct || is_resident(fd))
		return read_all(fd, v, 2, 0, 0);
	err = read_direct(fd, data, store_size(c->len));
	if (!err)
		memcpy(trailer, data + c->len, STORE_TRAILER);
	if (err != -EINVAL)
		return err;
	return fcntl(fd, F_SETFL, O_RDONLY) ? -errno
					    : read_all(fd, v, 2, 0, 0);
}

int io_read(struct store *s, int fd, const struct copy *c, void *data,
	    int direct, struct chunk_meta *m)
{
	uint8_t trailer[STORE_TRAILER];
	struct iovec v = { trailer, sizeof(trailer) };
	uint64_t swarm, ours = s->swarm;
	enum copy_kind kind;
	int err;

	err = data ? read_chunk(fd, c, data, trailer, direct)
		   : read_all(fd, &v, 1, c->len, 0);
	if (err)
		return err;
	err = store_trailer_read(trailer, &swarm, &kind, m);
	if (err)
		return err;
	/* The kind in the trailer is as it was at first: the name decides. */
	if (m->chunk != c->id || m->len != c->len || (swarm && swarm != ours))
		return -EBADMSG;
	return 0;
}

int io_read_part(int fd, uint32_t at, void *data, uint32_t len, int now)
{
	struct iovec v = { data, len };
	int err = read_all(fd, &v, 1, at, now ? RWF_NOWAIT : 0);

	return err == -EOPNOTSUPP && now ? -EAGAIN : err;
}

/* Rename from tmp/; its directory in chunks/ is made when first needed. */
static int publish(struct store *s, const char *tmp, const char *name)
{
	char dir[3] = { name[0], name[1], 0 };

	if (!renameat(s->tmp_fd, tmp, s->chunks_fd, name))
		return 0;
	if (errno != ENOENT)
		return -errno;
	if (mkdirat(s->chunks_fd, dir, 0700) && errno != EEXIST)
		return -errno;
	if (renameat(s->tmp_fd, tmp, s->chunks_fd, name))
		return -errno;
	return 0;
}

int io_put(struct store *s, const struct chunk_meta *m, const void *data,
	   enum copy_kind kind, int sync)
{
	char tmp[TMP_NAME_MAX], name[STORE_NAME_MAX];
	uint8_t trailer[STORE_TRAILER];
	struct iovec v[2] = {
		{ (void *)data, m->len },
		{ trailer, sizeof(trailer) },
	};
	int fd, err;

	store_trailer_write(trailer, s->swarm, kind, m);
	io_name(name, m->chunk, kind);
	snprintf(tmp, sizeof(tmp), "%016" PRIx64 ".%" PRIu64, m->chunk,
		 atomic_fetch_add(&s->serial, 1));
	fd = openat(s->tmp_fd, tmp,
		    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return errno == EDQUOT ? -ENOSPC : -errno;
	err = write_all(fd, v, 2);
	if (!err && sync && fdatasync(fd))
		err = -errno;
	if (!err && !sync && kind == COPY_REPLICA && m->len > STORE_SMALL)
		ahead_begin(s, fd);
	if (close(fd) && !err)
		err = -errno;
	if (!err)
		err = publish(s, tmp, name);
	if (err)
		unlinkat(s->tmp_fd, tmp, 0);
	return err == -EDQUOT ? -ENOSPC : err;
}

int io_unlink(struct store *s, const struct copy *c)
{
	char name[STORE_NAME_MAX];

	io_name(name, c->id, c->kind);
	if (unlinkat(s->chunks_fd, name, 0) && errno != ENOENT)
		return -errno;
	return 0;
}

int io_set_kind(struct store *s, const struct copy *c, enum copy_kind kind)
{
	char from[STORE_NAME_MAX], to[STORE_NAME_MAX];

	io_name(from, c->id, c->kind);
	io_name(to, c->id, kind);
	if (renameat(s->chunks_fd, from, s->chunks_fd, to))
		return -errno;
	return 0;
}

int io_quarantine(struct store *s, int at, const char *path, const char *name)
{
	char to[NAME_MAX + 1];

	/* Random, so that a second bad copy never replaces the first. */
	snprintf(to, sizeof(to), "%.200s.%016" PRIx64, name, random_u64());
	if (renameat(at, path, s->quarantine_fd, to))
		return -errno;
	return 0;
}
