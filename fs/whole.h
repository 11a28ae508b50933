/*
 * whole -- the MD5 of a whole file, from its bytes as they come, in order.
 *
 * Threads: one at a time.
 * Errors:  sticky: whole_end() gives 0 or -ENOMEM.
 */
#ifndef PSPFS_WHOLE_H
#define PSPFS_WHOLE_H

#include <openssl/evp.h>

#include "msg.h"

struct whole {
	EVP_MD_CTX *ctx;	/* NULL: no memory */
	uint64_t at;		/* bytes so far */
};

void whole_init(struct whole *w);
void whole_fini(struct whole *w);	/* a zeroed one is fine too */
void whole_add(struct whole *w, const void *p, size_t n);
void whole_zeros(struct whole *w, size_t n);
int whole_end(struct whole *w, uint8_t md5[MD5_LEN]);

#endif
