/*
 * key -- the swarm's one secret, and what is derived from it.
 *
 * File: 64 hexadecimal digits and a newline, mode 0600.
 * Errors: -ENOENT no file; -EACCES readable by group or others; -EINVAL not
 *         a key; -errno.  key_error() says it for people, with the mend.
 */
#ifndef PSPFS_KEY_H
#define PSPFS_KEY_H

#include <stddef.h>
#include <stdint.h>

#define KEY_LEN 32
#define KEY_DEFAULT "/etc/pspfs/swarm.key"

struct key {
	uint8_t secret[KEY_LEN];
};

int key_load(struct key *k, const char *path);
/* As key_load, but where there is no file make one (with its directory). */
int key_load_or_make(struct key *k, const char *path, int *made);
/* "cannot use key FILE: cause: mend" */
void key_error(int err, const char *path, char *out, size_t n);

/* HKDF-SHA256(secret, salt "pspfs/1", info) -> @n bytes (at most 255*32). */
int key_derive(const struct key *k, const void *info, size_t info_len,
	       uint8_t *out, size_t n);

#endif
