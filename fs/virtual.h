/*
 * virtual -- /mnt/shared/.pspfs: what the swarm knows of itself, as files.
 *
 *   .pspfs/status              what `pspfs status` prints
 *   .pspfs/peers               the peers, a line each
 *   .pspfs/trackers/DIR/       mirrors the folder's directories
 *   .pspfs/trackers/NAME.track the tracker file of the file NAME
 *
 * Here: the nodes that the kernel knows, and the texts of the files.  Nothing
 * here knows FUSE.
 *
 * Nodes:   the first four are always there; the others are made by a look-up
 *          and live until the kernel has forgotten each that it was told of,
 *          and all below.  Their numbers have the top bit, which the tracker
 *          never gives, and are never used again.
 * Bounded: VIRTUAL_NODES_MAX nodes; VIRTUAL_TEXT_MAX bytes a text,
 *          VIRTUAL_TEXTS_MAX of all that are open.
 * Threads: any; virtual_text_open() blocks as its ask.
 */
#ifndef PSPFS_VIRTUAL_H
#define PSPFS_VIRTUAL_H

#include <stddef.h>
#include <stdint.h>

#include "ask.h"

#define VIRTUAL_NAME ".pspfs"
#define VIRTUAL_BIT (UINT64_C(1) << 63)
#define VIRTUAL_NODES_MAX 262144
#define VIRTUAL_TEXT_MAX (64u << 20)
#define VIRTUAL_TEXTS_MAX (256u << 20)
#define VIRTUAL_MD5_MS 3000	/* a tracker file waits so long for its MD5 */

enum virtual_kind {
	VIRTUAL_TOP = 1,	/* .pspfs */
	VIRTUAL_STATUS,
	VIRTUAL_PEERS,
	VIRTUAL_DIR,		/* trackers, and what is in it */
	VIRTUAL_TRACK,
};

/* The numbers of those that are always there. */
enum virtual_fixed {
	VIRTUAL_AT_TOP = 1, VIRTUAL_AT_STATUS, VIRTUAL_AT_PEERS,
	VIRTUAL_AT_TRACKERS,
};
#define VIRTUAL_INO(at) (VIRTUAL_BIT | (at))

struct virtual_node {
	uint64_t ino;
	enum virtual_kind kind;
	uint64_t real;		/* what it mirrors; 0: the mount's top */
};

struct virtual;

static inline int virtual_is(uint64_t ino)
{
	return (ino & VIRTUAL_BIT) != 0;
}

/* Does it lie in a directory, or is it one? */
static inline int virtual_is_dir(const struct virtual_node *n)
{
	return n->kind == VIRTUAL_TOP || n->kind == VIRTUAL_DIR;
}

int virtual_new(struct virtual **out);
void virtual_free(struct virtual *v);

/* 0 or -ESTALE. */
int virtual_get(struct virtual *v, uint64_t ino, struct virtual_node *out);
/* The fixed node @name of .pspfs: 0 or -ENOENT. */
int virtual_find(const char *name, struct virtual_node *out);
/* The kernel is told of the mirror of the inode @real, which is called @name
 * in what @parent (a VIRTUAL_DIR) mirrors: counts one look-up.  0, -ESTALE,
 * -ENFILE, -ENOMEM. */
int virtual_enter(struct virtual *v, uint64_t parent, const char *name,
		  enum virtual_kind kind, uint64_t real,
		  struct virtual_node *out);
/* The kernel forgets @n look-ups. */
void virtual_forget(struct virtual *v, uint64_t ino, uint64_t n);
/* Where what it mirrors was found: "" for trackers, else "/a/b" from the
 * mount's top.  0, -ESTALE, -ENAMETOOLONG. */
int virtual_path(struct virtual *v, uint64_t ino, char out[MSG_PATH_MAX]);
/* Nodes that are not always there. */
size_t virtual_count(struct virtual *v);

/* A file's content, as it was when it was opened.  Counted: its bytes stay
 * until the last one closes it. */
struct virtual_text {
	char *p;
	size_t n;
	unsigned refs;		/* virtual's */
};

/* @top: the mount's top, "" or "/a/b" from the swarm's.  0; -EFBIG, -ENOMEM;
 * as the asking. */
int virtual_text_open(struct virtual *v, const struct virtual_node *n,
		      const char *top, const struct ask *ask,
		      struct virtual_text **out);
void virtual_text_ref(struct virtual *v, struct virtual_text *t);
void virtual_text_close(struct virtual *v, struct virtual_text *t);

#endif
