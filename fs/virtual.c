/*
 * virtual -- see virtual.h; here: the nodes.
 *
 * A node is held by the kernel's look-ups and by each node below it, whose
 * path goes through it: the kernel may forget a directory first.
 */
#include "virtual_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "table.h"

enum {
	KEY_NAME = 2 * sizeof(uint64_t),	/* behind parent and real */
	FIRST = 16,		/* numbers below are those of fixed nodes */
};

struct node {
	struct virtual_node is;
	struct node *parent;	/* NULL: trackers */
	uint64_t lookups, below;
	UT_hash_handle hh;	/* by number */
	UT_hash_handle hh_key;
	size_t key_len;
	uint8_t key[];		/* parent's number, real, name and NUL */
};

static const struct fixed {
	const char *name;
	struct virtual_node is;
} fixed[] = {
	{ "", { VIRTUAL_INO(VIRTUAL_AT_TOP), VIRTUAL_TOP, 0 } },
	{ "status", { VIRTUAL_INO(VIRTUAL_AT_STATUS), VIRTUAL_STATUS, 0 } },
	{ "peers", { VIRTUAL_INO(VIRTUAL_AT_PEERS), VIRTUAL_PEERS, 0 } },
	{ "trackers", { VIRTUAL_INO(VIRTUAL_AT_TRACKERS), VIRTUAL_DIR, 0 } },
};

#define N_FIXED (sizeof(fixed) / sizeof(fixed[0]))

int virtual_new(struct virtual **out)
{
	struct virtual *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	pthread_mutex_init(&v->lock, NULL);
	v->next = VIRTUAL_INO(FIRST);
	*out = v;
	return 0;
}

static void drop(struct virtual *v, struct node *n)
{
	HASH_DELETE(hh, v->by_ino, n);
	HASH_DELETE(hh_key, v->by_key, n);
	v->n--;
	free(n);
}

void virtual_free(struct virtual *v)
{
	struct node *n, *next;

	if (!v)
		return;
	HASH_ITER (hh, v->by_ino, n, next)
		drop(v, n);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

/* Call with the lock held; NULL also for the fixed ones. */
static struct node *find(struct virtual *v, uint64_t ino)
{
	struct node *n;

	HASH_FIND(hh, v->by_ino, &ino, sizeof(ino), n);
	return n;
}

static const struct virtual_node *find_fixed(uint64_t ino)
{
	for (size_t i = 0; i < N_FIXED; i++)
		if (fixed[i].is.ino == ino)
			return &fixed[i].is;
	return NULL;
}

int virtual_find(const char *name, struct virtual_node *out)
{
	for (size_t i = 1; i < N_FIXED; i++)
		if (!strcmp(fixed[i].name, name)) {
			*out = fixed[i].is;
			return 0;
		}
	return -ENOENT;
}

int virtual_get(struct virtual *v, uint64_t ino, struct virtual_node *out)
{
	const struct virtual_node *is = find_fixed(ino);
	struct node *n;

	if (is) {
		*out = *is;
		return 0;
	}
	pthread_mutex_lock(&v->lock);
	n = find(v, ino);
	if (n)
		*out = n->is;
	pthread_mutex_unlock(&v->lock);
	return n ? 0 : -ESTALE;
}

size_t virtual_count(struct virtual *v)
{
	size_t n;

	pthread_mutex_lock(&v->lock);
	n = v->n;
	pthread_mutex_unlock(&v->lock);
	return n;
}

/* ---------------------------------------------------------------- look-ups */

static struct node *node_new(uint64_t parent, uint64_t real, const char *name)
{
	size_t len = KEY_NAME + strlen(name) + 1;
	struct node *n = calloc(1, sizeof(*n) + len);

	if (!n)
		return NULL;
	n->key_len = len;
	memcpy(n->key, &parent, sizeof(parent));
	memcpy(n->key + sizeof(parent), &real, sizeof(real));
	memcpy(n->key + KEY_NAME, name, len - KEY_NAME);
	n->is.real = real;
	return n;
}

/* Call with the lock held. */
static int add(struct virtual *v, struct node *n, struct node *parent)
{
	if (v->n == VIRTUAL_NODES_MAX)
		return -ENFILE;
	n->is.ino = v->next;
	HASH_ADD(hh, v->by_ino, is.ino, sizeof(n->is.ino), n);
	if (!TABLE_ADDED(n))
		return -ENOMEM;
	HASH_ADD_KEYPTR(hh_key, v->by_key, n->key, n->key_len, n);
	if (!n->hh_key.tbl) {
		HASH_DELETE(hh, v->by_ino, n);
		return -ENOMEM;
	}
	v->next++;
	v->n++;
	n->parent = parent;
	if (parent)
		parent->below++;
	return 0;
}

/* Call with the lock held.  @n is the one to be added, if it is new; *@n is
 * then taken. */
static int enter(struct virtual *v, uint64_t parent, struct node **n,
		 struct virtual_node *out)
{
	struct node *up = find(v, parent), *known;
	int err;

	if (!up && parent != VIRTUAL_INO(VIRTUAL_AT_TRACKERS))
		return -ESTALE;
	HASH_FIND(hh_key, v->by_key, (*n)->key, (*n)->key_len, known);
	if (!known) {
		err = add(v, *n, up);
		if (err)
			return err;
		known = *n;
		*n = NULL;
	}
	known->lookups++;
	*out = known->is;
	return 0;
}

int virtual_enter(struct virtual *v, uint64_t parent, const char *name,
		  enum virtual_kind kind, uint64_t real,
		  struct virtual_node *out)
{
	struct node *n = node_new(parent, real, name);
	int err;

	if (!n)
		return -ENOMEM;
	n->is.kind = kind;
	pthread_mutex_lock(&v->lock);
	err = enter(v, parent, &n, out);
	pthread_mutex_unlock(&v->lock);
	free(n);
	return err;
}

void virtual_forget(struct virtual *v, uint64_t ino, uint64_t count)
{
	struct node *n, *up;

	pthread_mutex_lock(&v->lock);
	n = find(v, ino);
	if (n)
		n->lookups -= count < n->lookups ? count : n->lookups;
	while (n && !n->lookups && !n->below) {
		up = n->parent;
		drop(v, n);
		n = up;
		if (n)
			n->below--;
	}
	pthread_mutex_unlock(&v->lock);
}

int virtual_path(struct virtual *v, uint64_t ino, char out[MSG_PATH_MAX])
{
	size_t at = MSG_PATH_MAX - 1, len;
	int err = 0;
	struct node *n;

	out[at] = '\0';
	pthread_mutex_lock(&v->lock);
	n = find(v, ino);
	if (!n && ino != VIRTUAL_INO(VIRTUAL_AT_TRACKERS))
		err = -ESTALE;
	for (; n && !err; n = n->parent) {
		len = n->key_len - KEY_NAME - 1;
		if (len + 1 > at) {
			err = -ENAMETOOLONG;
			break;
		}
		at -= len;
		memcpy(out + at, n->key + KEY_NAME, len);
		out[--at] = '/';
	}
	pthread_mutex_unlock(&v->lock);
	memmove(out, out + at, MSG_PATH_MAX - at);
	return err;
}
