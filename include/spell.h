/*
 * spell -- something that goes wrong for a while, again and again: said when
 * it begins and when it is over, counted in between.
 *
 *	if (spell_bad(&s))
 *		log_warn("the disk is full");
 *	...
 *	if (spell_over(&s, &e))
 *		log_info("there is room again: %u refused in %llu s", ...);
 *
 * Zeros are one that has not begun.  What goes well in between (a small chunk
 * fits where a large one did not) does not end it: that takes SPELL_CALM_MS
 * without going wrong.
 * Threads: any; of several that are in it at once, one says it.
 */
#ifndef PSPFS_SPELL_H
#define PSPFS_SPELL_H

#include <stdatomic.h>
#include <stdint.h>

#define SPELL_CALM_MS 2000

struct spell {
	_Atomic unsigned n;		/* times, so far */
	_Atomic uint64_t since_ms, last_ms;
};

struct spell_end {
	unsigned n;
	unsigned long long s;		/* seconds that it lasted, rounded up */
};

/* It went wrong.  1: it begins. */
int spell_bad(struct spell *s);
/* It goes well.  1: a spell is over, and *@end says how it was. */
int spell_over(struct spell *s, struct spell_end *end);
/* Is it going on? */
int spell_is(struct spell *s);

#endif
