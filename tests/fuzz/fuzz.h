/*
 * fuzz.h -- what the fuzz targets share.
 *
 * A target is a program of one function that takes any bytes: libFuzzer calls
 * it with what it makes up (make fuzz), replay.c with the inputs in corpus/
 * (make check-unit).  It decodes them and says what must hold then; that
 * nothing is touched out of bounds and nothing left allocated is for the
 * sanitizers.
 *
 * A target whose functions are static includes the .c file: its globals then
 * come from there, and not from the archive.
 */
#ifndef PSPFS_FUZZ_H
#define PSPFS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "log.h"

/* Always 0. */
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* The first inputs, by real encoders: calls fuzz_seed() for each. */
void fuzz_seeds(void);
/* replay.c's; libFuzzer has none. */
__attribute__((weak)) void fuzz_seed(const char *name, const void *p,
				     size_t n);

/* What does not hold ends the program: whoever called has the input. */
#define MUST(x) ((x) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #x))

__attribute__((noreturn))
static inline void fuzz_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
	abort();
}

/* What is wrong with an input need not be told. */
static inline void fuzz_quiet(void)
{
	static int quiet;

	if (!quiet)
		MUST(!log_open("/dev/null"));
	quiet = 1;
}

/* Takes the bytes of @w. */
static inline void fuzz_seed_wr(const char *name, struct wr *w)
{
	MUST(!w->err);
	fuzz_seed(name, w->p, w->len);
	wr_fini(w);
	*w = WR_INIT;
}

/* All that @r has left; it is at its end then. */
static inline const uint8_t *fuzz_rest(struct rd *r, size_t *n)
{
	*n = rd_left(r);
	return rd_bytes(r, *n);
}

/* The input as a string: up to its first zero byte.  free() it. */
static inline char *fuzz_string(const uint8_t *p, size_t n)
{
	char *s = malloc(n + 1);

	MUST(s);
	if (n)
		memcpy(s, p, n);
	s[n] = 0;
	return s;
}

#endif
