/* key -- see key.h. */
#include "key.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "text.h"

#define HKDF_SALT "pspfs/1"
#define HKDF_MAX (255 * 32)	/* RFC 5869 2.3, SHA-256 */

enum { KEY_TEXT = 2 * KEY_LEN + 1 };	/* digits and newline */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static int key_parse(struct key *k, const char *text, size_t n)
{
	if (n == KEY_TEXT && text[n - 1] == '\n')
		n--;
	if (n != KEY_TEXT - 1)	/* the newline may lack */
		return -EINVAL;
	for (int i = 0; i < KEY_LEN; i++) {
		int hi = hex_digit(text[2 * i]);
		int lo = hex_digit(text[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return -EINVAL;
		k->secret[i] = (uint8_t)(hi << 4 | lo);
	}
	return 0;
}

/* Appends the file's bytes to @out, which has *n of @max. */
static int read_private(int fd, char *out, size_t max, size_t *n)
{
	struct stat st;
	ssize_t got;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_mode & 077)
		return -EACCES;
	while (*n < max) {
		got = read(fd, out + *n, max - *n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		*n += (size_t)got;
	}
	return 0;
}

int key_load(struct key *k, const char *path)
{
	char text[KEY_TEXT + 1];
	struct key found;
	size_t n = 0;
	int err, fd;

	/* O_NONBLOCK: never to hang on a fifo; files do not notice. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	err = read_private(fd, text, sizeof(text), &n);
	close(fd);
	if (!err)
		err = key_parse(&found, text, n);
	if (!err)
		*k = found;
	explicit_bzero(text, sizeof(text));
	explicit_bzero(&found, sizeof(found));
	return err;
}

/* The directory of @path into @out ("." if there is none in it). */
static int parent_of(const char *path, char out[PATH_MAX])
{
	const char *slash = strrchr(path, '/');
	size_t n = slash ? (size_t)(slash - path) : 0;

	if (strlen(path) >= PATH_MAX)
		return -ENAMETOOLONG;
	if (slash == path)
		n = 1;
	memcpy(out, n ? path : ".", n ? n : 1);
	out[n ? n : 1] = 0;
	return 0;
}

static int write_text(int fd, const char *p, size_t n)
{
	ssize_t done;

	while (n) {
		done = write(fd, p, n);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		p += done;
		n -= (size_t)done;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/*
 * Written under another name and linked: whoever sees the file sees all of
 * it, and of two programs that make it at once one wins (-EEXIST).
 */
static int key_make(const char *path)
{
	char dir[PATH_MAX], tmp[PATH_MAX + 32], text[KEY_TEXT + 1];
	uint64_t secret[KEY_LEN / 8];
	int err, fd, dirfd;

	err = parent_of(path, dir);
	if (err)
		return err;
	if (mkdir(dir, 0755) < 0 && errno != EEXIST)
		return -errno;
	snprintf(tmp, sizeof(tmp), "%s.%016llx", path,
		 (unsigned long long)random_u64());
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	for (size_t i = 0; i < KEY_LEN / 8; i++)
		secret[i] = random_u64();
	hex_text((uint8_t *)secret, KEY_LEN, text);
	text[KEY_TEXT - 1] = '\n';
	err = write_text(fd, text, KEY_TEXT);
	explicit_bzero(secret, sizeof(secret));
	explicit_bzero(text, sizeof(text));
	close(fd);
	if (!err && link(tmp, path) < 0)
		err = -errno;
	unlink(tmp);
	if (err)
		return err;
	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return -errno;
	err = fsync(dirfd) < 0 ? -errno : 0;
	close(dirfd);
	return err;
}

int key_load_or_make(struct key *k, const char *path, int *made)
{
	int err = key_load(k, path);

	*made = 0;
	if (err != -ENOENT)
		return err;
	err = key_make(path);
	if (err && err != -EEXIST)
		return err;
	*made = !err;
	return key_load(k, path);
}

void key_error(int err, const char *path, char *out, size_t n)
{
	struct stat st;
	const char *cause = strerror(err < 0 ? -err : err);
	const char *mend = "check the file and its directory";

	switch (err) {
	case -ENOENT:
		cause = "there is no such file";
		mend = "copy it from the tracker's machine, mode 0600";
		break;
	case -EACCES:
		if (!stat(path, &st) && st.st_mode & 077) {
			cause = "others may read it";
			mend = "chmod 600 it";
		} else {
			mend = "run as the file's owner, or name another key";
		}
		break;
	case -EINVAL:
		cause = "it is not 64 hexadecimal digits";
		mend = "copy it again from the tracker's machine";
		break;
	}
	snprintf(out, n, "cannot use key %s: %s: %s", path, cause, mend);
}

int key_derive(const struct key *k, const void *info, size_t info_len,
	       uint8_t *out, size_t n)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
						 (char *)"SHA256", 0),
		OSSL_PARAM_construct_octet_string(
			OSSL_KDF_PARAM_KEY, (void *)k->secret, KEY_LEN),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT,
						  (void *)HKDF_SALT,
						  sizeof(HKDF_SALT) - 1),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO,
						  (void *)info, info_len),
		OSSL_PARAM_construct_end(),
	};
	EVP_KDF_CTX *ctx;
	EVP_KDF *kdf;
	int err = 0;

	if (!n || n > HKDF_MAX)
		return -EINVAL;
	kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	if (!ctx)
		err = -ENOMEM;
	else if (EVP_KDF_derive(ctx, out, n, params) != 1)
		err = -EIO;
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return err;
}
