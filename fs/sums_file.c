/*
 * sums_file -- sums from one start to the next.
 *
 * DIR/sums is written when a peer ends in order, and removed as soon as it is
 * read: it is never older than what it speaks of.  Big-endian: magic
 * "pspfsSUM"; for each chunk, the least recently used first, its id u64, the
 * number of its blocks u32, their sums u32 each; at the end the XXH3 of all
 * that, u64.  Without it the chunks are checked anew when they are read.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "codec.h"
#include "sums.h"
#include "sums_internal.h"

#define NAME "sums"
#define NAME_NEW "sums.new"

enum { MAGIC_LEN = 8, END_LEN = 8, CHUNK_LEN = 12 };

static const char magic[MAGIC_LEN] = { 'p', 's', 'p', 'f', 's', 'S', 'U', 'M' };

/* ------------------------------------------------------------------ saving */

static size_t size_of(const struct sums *s)
{
	const struct chunk_sums *c;
	size_t n = MAGIC_LEN + END_LEN;

	TAILQ_FOREACH(c, &s->lru, lru)
		n += CHUNK_LEN + c->n * sizeof(c->sum[0]);
	return n;
}

static void encode(const struct sums *s, uint8_t *p, size_t len)
{
	const struct chunk_sums *c;
	uint8_t *at = p;

	memcpy(at, magic, MAGIC_LEN);
	at += MAGIC_LEN;
	TAILQ_FOREACH_REVERSE(c, &s->lru, sums_lru, lru) {
		put_u64(at, c->id);
		put_u32(at + 8, (uint32_t)c->n);
		at += CHUNK_LEN;
		for (size_t k = 0; k < c->n; k++, at += 4)
			put_u32(at, c->sum[k]);
	}
	put_u64(at, XXH3_64bits(p, len - END_LEN));
}

static int write_all(int fd, const uint8_t *p, size_t n)
{
	ssize_t did;

	for (; n; p += did, n -= (size_t)did) {
		did = write(fd, p, n);
		if (did < 0 && errno == EINTR)
			did = 0;
		else if (did <= 0)
			return -1;
	}
	return 0;
}

void sums_save(const struct sums *s, int dir)
{
	size_t len = size_of(s);
	uint8_t *p;
	int fd, bad;

	if (TAILQ_EMPTY(&s->lru))
		return;
	p = malloc(len);
	fd = p ? openat(dir, NAME_NEW, O_WRONLY | O_CREAT | O_TRUNC |
			O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
	if (fd >= 0) {
		encode(s, p, len);
		bad = write_all(fd, p, len);
		close(fd);
		if (bad || renameat(dir, NAME_NEW, dir, NAME))
			unlinkat(dir, NAME_NEW, 0);
	}
	free(p);
}

/* ----------------------------------------------------------------- loading */

/* All of the file, if it is as it was written; NULL. */
static uint8_t *read_file(int fd, size_t most, size_t *len)
{
	struct stat st;
	uint8_t *p;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode) ||
	    st.st_size < MAGIC_LEN + END_LEN || (uint64_t)st.st_size > most)
		return NULL;
	*len = (size_t)st.st_size;
	p = malloc(*len);
	if (p && read(fd, p, *len) == (ssize_t)*len &&
	    !memcmp(p, magic, MAGIC_LEN) &&
	    get_u64(p + *len - END_LEN) == XXH3_64bits(p, *len - END_LEN))
		return p;
	free(p);
	return NULL;
}

static void decode(struct sums *s, const uint8_t *p, size_t len)
{
	const uint8_t *end = p + len - END_LEN;
	struct chunk_sums *c;
	size_t n;

	p += MAGIC_LEN;
	while (end - p >= CHUNK_LEN) {
		n = get_u32(p + 8);
		if (n > (size_t)(end - p - CHUNK_LEN) / 4)
			return;
		c = chunk_sums_new(get_u64(p), n);
		if (!c)
			return;
		p += CHUNK_LEN;
		for (size_t k = 0; k < n; k++, p += 4)
			c->sum[k] = get_u32(p);
		chunk_sums_put(s, c);
	}
}

void sums_load(struct sums *s, int dir)
{
	uint8_t *p = NULL;
	size_t len = 0;
	int fd;

	fd = openat(dir, NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return;
	/* what is in memory takes more than on the disk */
	p = read_file(fd, s->most + MAGIC_LEN + END_LEN, &len);
	close(fd);
	if (!unlinkat(dir, NAME, 0) && p)
		decode(s, p, len);
	free(p);
}
