/*
 * core_change -- what core_change.c and core_late.c share.
 */
#ifndef PSPFS_CORE_CHANGE_H
#define PSPFS_CORE_CHANGE_H

#include "core_internal.h"

union change_r {
	struct m_mknod_r mknod;
	struct m_setattr_r setattr;
	struct m_link_r link;
	struct m_unlink_r unlink;
	struct m_rename_r rename;
	struct m_setxattr_r setxattr;
	struct m_removexattr_r removexattr;
	struct m_commit_r commit;
	struct m_compact_r compact;
	struct m_allocate_r allocate;
	struct m_clone_r clone;
};

struct change {
	uint16_t type;
	int (*apply)(struct core *c, struct req *r, union change_r *out,
		     struct ns_touched *t);
	int (*encode)(struct wr *w, const union change_r *m);
	int (*decode)(union change_r *m, struct arena *a, const void *body,
		      size_t len);
	unsigned n_attrs;
	size_t attrs[CORE_ATTRS_MAX];	/* where they are in the answer */
};

/* core_change.c */
const struct change *core_change_of(uint16_t type);	/* or NULL */
struct m_attr *core_attr_at(const struct change *ch, union change_r *m,
			    unsigned i);

/* core_late.c */
struct out *core_put_change(struct core *c, struct req *r, uint64_t seq,
			    const struct reply *rep);
/* Others' leases on what was touched end before @o is answered. */
void core_withhold(struct core *c, struct req *r, struct out *o,
		   const struct ns_touched *t);
/* @o gives leases on its attributes. */
int core_lease_attrs(struct core *c, struct session *s, struct out *o,
		     const struct change *ch, union change_r *m);
/* An entry of @dir was removed, and withheld. */
void core_withhold_more(struct core *c, struct req *r, struct out *o,
			uint64_t dir);
/* Once these are known: will it leave late? */
void core_set_late(struct core *c, struct out *o);
/* The recorded answer, once more. */
void core_again(struct core *c, struct req *r, uint64_t seq,
		const struct reply *rep);

#endif
