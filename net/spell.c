/* spell -- see spell.h. */
#include "spell.h"

#include "text.h"

int spell_bad(struct spell *s)
{
	unsigned n = atomic_load(&s->n);

	while (n < UINT32_MAX && !atomic_compare_exchange_weak(&s->n, &n, n + 1))
		;
	atomic_store(&s->last_ms, now_ms());
	if (!n)
		atomic_store(&s->since_ms, atomic_load(&s->last_ms));
	return !n;
}

int spell_over(struct spell *s, struct spell_end *end)
{
	uint64_t since, now;
	unsigned n;

	if (!spell_is(s))
		return 0;
	since = atomic_load(&s->since_ms);
	now = now_ms();
	if (now < atomic_load(&s->last_ms) + SPELL_CALM_MS)
		return 0;
	n = atomic_exchange(&s->n, 0);
	if (!n)
		return 0;	/* somebody else was faster */
	*end = (struct spell_end){
		n, since < now ? (now - since + 999) / 1000 : 0,
	};
	return 1;
}

int spell_is(struct spell *s)
{
	return atomic_load_explicit(&s->n, memory_order_relaxed) != 0;
}
