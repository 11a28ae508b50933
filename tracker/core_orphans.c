#include <stdlib.h>

#include "core_internal.h"
#include "log.h"

static struct orphan *find(const struct core *c, uint64_t ino)
{
	struct orphan *o;

	HASH_FIND(hh, c->orphans, &ino, sizeof(ino), o);
	return o;
}

int core_is_orphan(const struct core *c, uint64_t ino)
{
	return find(c, ino) != NULL;
}

static int add(struct core *c, uint64_t ino)
{
	struct orphan *o = find(c, ino);

	if (o)
		return 0;
	o = calloc(1, sizeof(*o));
	if (!o)
		return -1;
	o->ino = ino;
	HASH_ADD(hh, c->orphans, ino, sizeof(o->ino), o);
	if (TABLE_ADDED(o))
		return 0;
	free(o);
	return -1;
}

static void forget(struct core *c, struct orphan *o)
{
	HASH_DELETE(hh, c->orphans, o);
	free(o);
}

void core_orphan_named(struct core *c, uint64_t ino)
{
	struct orphan *o = find(c, ino);

	if (o)
		forget(c, o);
}

static void forget_all(struct core *c)
{
	struct orphan *o, *next;

	HASH_ITER (hh, c->orphans, o, next)
		forget(c, o);
	c->n_idle = 0;
	c->swept = 0;
}

int core_orphans_load(struct core *c)
{
	uint64_t after = 0, inos[256];
	int n;

	forget_all(c);
	do {
		n = ns_orphans(c->ns, after, inos, 256);
		for (int i = 0; i < n; i++) {
			after = inos[i];
			if (add(c, after))
				return -1;
		}
	} while (n == 256);
	return n < 0 ? n : 0;
}

void core_orphan_add(struct core *c, uint64_t ino)
{
	if (add(c, ino))
		log_warn("orphan %llu is deleted after the next restart: no "
			 "memory", (unsigned long long)ino);
	else if (!leases_held(c->leases, ino))
		core_orphan_idle(ino, c);
}

void core_orphan_idle(uint64_t ino, void *core)
{
	struct core *c = core;
	size_t cap = c->cap_idle ? c->cap_idle * 2 : 64;
	uint64_t *idle;

	if (!core_is_orphan(c, ino))
		return;
	if (c->n_idle == c->cap_idle) {
		idle = realloc(c->idle, cap * sizeof(*idle));
		if (!idle) {
			c->swept = 0;	/* it will be found again */
			return;
		}
		c->idle = idle;
		c->cap_idle = cap;
	}
	c->idle[c->n_idle++] = ino;
}

/* After a start nobody says that an orphan is idle. */
static void sweep(struct core *c)
{
	struct orphan *o, *next;

	c->swept = 1;
	c->n_idle = 0;
	HASH_ITER (hh, c->orphans, o, next)
		if (!leases_held(c->leases, o->ino))
			core_orphan_idle(o->ino, c);
}

void core_orphans_reap(struct core *c)
{
	int got;

	/* somebody may still come and say that it has one open */
	if (leases_assumed(c->leases))
		return;
	if (!c->swept)
		sweep(c);
	for (int i = 0; i < CORE_REAP_BATCH && c->n_idle; i++) {
		uint64_t ino = c->idle[c->n_idle - 1];
		struct orphan *o = find(c, ino);

		if (!o || leases_held(c->leases, ino)) {
			c->n_idle--;
			continue;
		}
		got = ns_reap(c->ns, ino, core_ns_now(c));
		if (got == 1)
			continue;	/* a large one: the rest of it */
		c->n_idle--;
		if (got < 0) {
			core_upkeep_failed(got, "deleting an orphan");
			c->swept = 0;
			return;
		}
		forget(c, o);
	}
}

void core_orphans_fini(struct core *c)
{
	forget_all(c);
	free(c->idle);
}
