/* bars -- see bars.h. */
#include "bars.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "text.h"

#define CELLS_MAX 40
#define CELLS_MIN 5
#define COLUMNS 80		/* where the terminal does not say */
#define SMOOTH 0.7		/* of the old rate stays */

void bars_init(struct bars *b, int quiet)
{
	*b = (struct bars){ .on = !quiet && isatty(STDERR_FILENO),
			    .begun_ms = now_ms() };
}

double bars_rate(const struct bars *b)
{
	return b->rate;
}

static unsigned columns(void)
{
	struct winsize w;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) || !w.ws_col)
		return COLUMNS;
	return w.ws_col;
}

static void take_rate(struct bars *b, const struct bar_line *v, size_t n,
		      uint64_t now)
{
	uint64_t done = 0;
	double fresh;

	for (size_t i = 0; i < n; i++)
		done += v[i].done;
	if (b->last_ms && now > b->last_ms && done >= b->last_done) {
		fresh = (double)(done - b->last_done) * 1000 /
			(double)(now - b->last_ms);
		b->rate = b->rate ? SMOOTH * b->rate + (1 - SMOOTH) * fresh
				  : fresh;
	}
	b->last_ms = now;
	b->last_done = done;
}

static void draw_line(const struct bar_line *l, unsigned width)
{
	unsigned cells = width > 70 ? CELLS_MAX : CELLS_MIN, full;
	double part = l->total ? (double)l->done / (double)l->total : 1;
	char done[16], total[16], text[256], bar[CELLS_MAX + 1];

	if (part > 1)
		part = 1;
	if (width < 100 && cells > 10)
		cells = l->note ? 10 : 20;	/* what is said counts more */
	full = (unsigned)(part * cells);
	memset(bar, '.', cells);
	memset(bar, '#', full);
	bar[cells] = 0;
	snprintf(text, sizeof(text), "%-21.40s [%s] %3u%% %s of %s%s%s",
		 l->name, bar, (unsigned)(part * 100),
		 size_text(l->done, done), size_text(l->total, total),
		 l->note ? "  " : "", l->note ? l->note : "");
	fprintf(stderr, "\r\033[K%.*s\n", (int)width - 1, text);
}

void bars_draw(struct bars *b, const struct bar_line *v, size_t n, int last)
{
	uint64_t now = now_ms();
	unsigned width;

	if (now < b->next_ms && !last)
		return;
	b->next_ms = now + 1000 / BARS_HZ;
	take_rate(b, v, n, now);
	if (!b->on)
		return;
	if (n > BARS_LINES_MAX)
		n = BARS_LINES_MAX;
	width = columns();
	if (b->drawn)
		fprintf(stderr, "\033[%uA", b->drawn);
	for (size_t i = 0; i < n; i++)
		draw_line(&v[i], width);
	b->drawn = last ? 0 : (unsigned)n;
	fflush(stderr);
}
