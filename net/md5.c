/* md5 -- see md5.h. */
#include "md5.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <openssl/evp.h>

#include "log.h"

static EVP_MD *openssl_md5;	/* fixed after once */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void start(void)
{
	openssl_md5 = EVP_MD_fetch(NULL, "MD5", NULL);
}

void md5_one(const void *data, size_t len, uint8_t out[16])
{
	pthread_once(&once, start);
	if (!openssl_md5 ||
	    EVP_Digest(data, len, out, NULL, openssl_md5, NULL) != 1) {
		log_error("OpenSSL does not do MD5 here");
		abort();
	}
}

void md5_many(struct md5_job *jobs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		md5_one(jobs[i].data, jobs[i].len, jobs[i].md5);
}

int md5_many_with(enum md5_engine e, struct md5_job *jobs, size_t n)
{
	if (e != MD5_AUTO && e != MD5_SCALAR)
		return -ENOTSUP;
	md5_many(jobs, n);
	return 0;
}

const char *md5_engine_name(void)
{
	return "openssl";
}
