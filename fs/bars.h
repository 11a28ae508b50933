/*
 * bars -- progress on a terminal, a line for each thing that goes on.
 *
 * Drawn on stderr, over itself, at most BARS_HZ times a second, and only
 * where stderr is a terminal (and nobody asked for JSON): else nothing is
 * ever written.
 * Threads: one.
 */
#ifndef PSPFS_BARS_H
#define PSPFS_BARS_H

#include <stddef.h>
#include <stdint.h>

#define BARS_HZ 10
#define BARS_LINES_MAX 64	/* of more, only so many are drawn */

struct bars {
	int on;
	unsigned drawn;		/* lines on the screen */
	uint64_t next_ms, begun_ms;
	uint64_t last_ms, last_done;	/* for the rate */
	double rate;			/* bytes a second, smoothed */
};

struct bar_line {
	const char *name;
	uint64_t done, total;	/* bytes */
	const char *note;	/* or NULL */
};

void bars_init(struct bars *b, int quiet);
/* @last: draw even if it is too early, and leave it standing. */
void bars_draw(struct bars *b, const struct bar_line *v, size_t n, int last);
/* Bytes a second of the sum of all lines, as drawn last. */
double bars_rate(const struct bars *b);

#endif
