/* whole -- see whole.h. */
#include "whole.h"

#include <errno.h>

static void give_up(struct whole *w)
{
	EVP_MD_CTX_free(w->ctx);
	w->ctx = NULL;
}

void whole_init(struct whole *w)
{
	*w = (struct whole){ .ctx = EVP_MD_CTX_new() };
	if (w->ctx && EVP_DigestInit_ex(w->ctx, EVP_md5(), NULL) != 1)
		give_up(w);
}

void whole_fini(struct whole *w)
{
	give_up(w);
}

void whole_add(struct whole *w, const void *p, size_t n)
{
	if (w->ctx && EVP_DigestUpdate(w->ctx, p, n) != 1)
		give_up(w);
	w->at += n;
}

void whole_zeros(struct whole *w, size_t n)
{
	static const uint8_t zeros[65536];

	while (n) {
		size_t part = n < sizeof(zeros) ? n : sizeof(zeros);

		whole_add(w, zeros, part);
		n -= part;
	}
}

int whole_end(struct whole *w, uint8_t md5[MD5_LEN])
{
	return w->ctx && EVP_DigestFinal_ex(w->ctx, md5, NULL) == 1 ? 0
								    : -ENOMEM;
}
