/* told_internal -- what the files of told share.  All under told.lock. */
#ifndef PSPFS_TOLD_INTERNAL_H
#define PSPFS_TOLD_INTERNAL_H

#include <pthread.h>

#include "table.h"
#include "told.h"

enum {
	STAMPS = 4096,		/* a power of two */
	KEY_MAX = sizeof(uint64_t) + MSG_NAME_MAX,
};

struct dir {
	uint64_t ino;
	LIST_HEAD(, told_name) names;
	UT_hash_handle hh;
};

struct told_name {
	struct dir *dir;		/* NULL once taken out */
	uint64_t until_ms;
	uint64_t asked_ms;
	pid_t tid;			/* that asked then, without the lock */
	LIST_ENTRY(told_name) sibling;
	TAILQ_ENTRY(told_name) age;
	STAILQ_ENTRY(told_name) taken;
	UT_hash_handle hh;
	size_t key_len;
	char key[];			/* dir's number, the name, NUL */
};

/* An inode that the kernel knows. */
struct inode {
	struct told_attr a;
	uint64_t lookups;	/* as it counts them */
	uint64_t until_ms;	/* it believes the attributes; 0: no more */
	UT_hash_handle hh;
};

struct stamp {
	uint64_t revoked;	/* t->now at the last time */
	uint64_t ms;		/* the time of day; 0: never */
};

struct told {
	pthread_mutex_t lock;
	/* guarded by lock */
	size_t most;
	uint64_t now, lost;
	struct stamp stamps[STAMPS];
	struct dir *dirs;		/* hash */
	struct told_name *names;	/* hash */
	TAILQ_HEAD(, told_name) name_ages;	/* oldest first */
	struct inode *inodes;		/* hash */
	uint64_t uncounted;		/* lookups of inodes not recorded */
};

struct key {
	char p[KEY_MAX + 1];
	size_t len;
};

/* told_names.c */
struct key told_key(uint64_t dir, struct str name);
struct told_name *told_name_find(struct told *t, const struct key *k);
/* Notes it, or that it is noted for longer; -ENOMEM. */
int told_name_put(struct told *t, uint64_t dir, const struct key *k,
		  uint64_t until_ms);
void told_name_drop(struct told *t, struct told_name *n);
/* A few whose time is over go. */
void told_names_purge(struct told *t, uint64_t now_ms);
/* May a thread that asked for it without the lock be about to take it in? */
int told_on_its_way(const struct told_name *n, uint64_t now_ms);
/* All of a directory's, to the list. */
void told_names_take(struct told *t, uint64_t dir, uint64_t now_ms,
		     struct told_list *out);

#endif
