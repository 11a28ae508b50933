/*
 * tree_internal -- what the files of tree share; all of it with the lock held.
 *
 *   tree.c       what is believed, asked and told
 *   tree_node.c  inodes and names: made, found, dropped
 */
#ifndef PSPFS_TREE_INTERNAL_H
#define PSPFS_TREE_INTERNAL_H

#include <pthread.h>
#include <sys/queue.h>

#include "table.h"
#include "tree.h"

enum {
	STAMPS = 4096,		/* a power of two */
	KEY_MAX = sizeof(uint64_t) + MSG_NAME_MAX,
};

#define INO_UNKNOWN UINT64_MAX	/* this name must be asked for */

struct inode {
	struct m_attr attr;	/* attr.ino is the key */
	int known;		/* attr is valid */
	int whole;		/* a name that is not here does not exist */
	uint64_t since;		/* no name was lost or refused since */
	LIST_HEAD(, dentry) names;
	TAILQ_ENTRY(inode) lru;
	UT_hash_handle hh;
};

struct dentry {
	struct inode *dir;
	uint64_t ino;		/* 0: no such name; INO_UNKNOWN */
	LIST_ENTRY(dentry) sibling;
	TAILQ_ENTRY(dentry) lru;
	UT_hash_handle hh;
	size_t key_len;
	uint8_t key[];		/* the directory's number, the name */
};

struct key {
	uint8_t p[KEY_MAX];
	size_t len;
};

struct tree {
	pthread_mutex_t lock;
	/* guarded by lock */
	struct inode *inodes;		/* hash */
	struct dentry *dentries;	/* hash */
	TAILQ_HEAD(, inode) inode_lru;	/* oldest first */
	TAILQ_HEAD(, dentry) dentry_lru;
	size_t most;
	uint64_t now, lost;
	uint64_t revoked[STAMPS], changed[STAMPS];
	uint64_t renamed[STAMPS];	/* directories: a name of theirs */
	struct listings listings;
};

/* NULL: not there. */
struct inode *tree_inode_find(struct tree *t, uint64_t ino);
struct dentry *tree_dentry_find(struct tree *t, const struct key *k);
/* They are the last to be dropped. */
void tree_inode_used(struct tree *t, struct inode *i);
void tree_dentry_used(struct tree *t, struct dentry *d);
/* With its names. */
void tree_inode_drop(struct tree *t, struct inode *i);
/* Without memory the name is lost, and so the whole. */
void tree_dentry_set(struct tree *t, uint64_t dir, const struct key *k,
		     uint64_t ino);
void tree_dentry_unknown(struct tree *t, uint64_t dir, const struct key *k);
void tree_dentry_refused(struct tree *t, uint64_t dir);
/* NULL: no memory. */
struct inode *tree_attr_set(struct tree *t, const struct m_attr *a);
void tree_attr_unknown(struct tree *t, uint64_t ino);
void tree_make_room(struct tree *t);

#endif
