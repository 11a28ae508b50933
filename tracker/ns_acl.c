/*
 * POSIX ACLs as Linux keeps them in extended attributes: a 32-bit version,
 * then entries of 8 bytes {tag u16, permissions u16, id u32}, little-endian,
 * in the order of their tags.  The kernel of each mount checks them; here a
 * mode and an ACL are kept in step, and inherited, as acl(5) says.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "ns_internal.h"

enum {
	ACL_VERSION = 2,
	ACL_HEAD = 4,
	ACL_ENTRY = 8,
	ACL_MAX = 4096,		/* bytes; the kernel takes no more */

	USER_OBJ = 0x01,
	USER = 0x02,
	GROUP_OBJ = 0x04,
	GROUP = 0x08,
	MASK = 0x10,
	OTHER = 0x20,
};

#define ACCESS STR_LIT("system.posix_acl_access")
#define DEFAULT STR_LIT("system.posix_acl_default")

struct acl {
	uint8_t p[ACL_MAX];
	size_t len;
};

static unsigned tag_of(const uint8_t *e)
{
	return e[0] | (unsigned)e[1] << 8;
}

static unsigned perm_of(const uint8_t *e)
{
	return e[2] & 7;
}

/* The first entry with @tag; NULL: none. */
static uint8_t *find(struct acl *a, unsigned tag)
{
	for (size_t at = ACL_HEAD; at < a->len; at += ACL_ENTRY)
		if (tag_of(a->p + at) == tag)
			return a->p + at;
	return NULL;
}

/* Each of the three classes once, a mask where somebody is named, in order. */
static int well_formed(const struct acl *a)
{
	unsigned seen = 0, last = 0, tag;

	for (size_t at = ACL_HEAD; at < a->len; at += ACL_ENTRY) {
		tag = tag_of(a->p + at);
		if (!tag || (tag & (tag - 1)) || tag > OTHER || tag < last ||
		    (tag == last && tag != USER && tag != GROUP) ||
		    a->p[at + 2] > 7 || a->p[at + 3])
			return 0;
		last = tag;
		seen |= tag;
	}
	if ((seen & (USER | GROUP)) && !(seen & MASK))
		return 0;
	return (seen & USER_OBJ) && (seen & GROUP_OBJ) && (seen & OTHER);
}

static int acl_check(const struct acl *a)
{
	uint32_t version;

	if (a->len < ACL_HEAD || (a->len - ACL_HEAD) % ACL_ENTRY)
		return -EINVAL;
	memcpy(&version, a->p, sizeof(version));
	return le32toh(version) == ACL_VERSION && well_formed(a) ? 0 : -EINVAL;
}

/* 0, or -ENODATA: @in has no such ACL. */
static int acl_load(struct ns *ns, const struct ns_inode *in, struct str name,
		    struct acl *a)
{
	int err;

	if (!in->xattrs)
		return -ENODATA;
	err = ns_xattr_load(ns, in->a.ino, name, a->p, sizeof(a->p), &a->len);
	if (!err && acl_check(a))
		err = ns_damaged("an ACL of inode", in->a.ino);
	return err;
}

static int acl_save(struct ns *ns, struct ns_inode *in, struct str name,
		    const struct acl *a)
{
	return ns_xattr_put(ns, in, name,
			    (struct str){ (const char *)a->p,
					  (uint32_t)a->len });
}

/* Whose permissions the group's bits of a mode are. */
static uint8_t *group_class(struct acl *a)
{
	uint8_t *mask = find(a, MASK);

	return mask ? mask : find(a, GROUP_OBJ);
}

static uint32_t mode_of(struct acl *a)
{
	return perm_of(find(a, USER_OBJ)) << 6 |
	       perm_of(group_class(a)) << 3 | perm_of(find(a, OTHER));
}

static void set_mode(struct acl *a, uint32_t mode)
{
	find(a, USER_OBJ)[2] = mode >> 6 & 7;
	group_class(a)[2] = mode >> 3 & 7;
	find(a, OTHER)[2] = mode & 7;
}

/* Does the mode say all of it? */
static int is_mode(struct acl *a)
{
	return a->len == ACL_HEAD + 3 * ACL_ENTRY;
}

int ns_acl_is(struct str name)
{
	return str_eq(name, ACCESS) || str_eq(name, DEFAULT);
}

int ns_acl_set(struct ns *ns, struct ns_inode *in, struct str name,
	       struct str value)
{
	struct acl a;
	int err;

	if (value.len > ACL_MAX)
		return -E2BIG;
	a.len = value.len;
	if (value.len)
		memcpy(a.p, value.p, value.len);
	err = acl_check(&a);
	if (err)
		return err;
	if (S_ISLNK(in->a.mode))
		return -EOPNOTSUPP;
	if (str_eq(name, DEFAULT))
		return S_ISDIR(in->a.mode) ? acl_save(ns, in, name, &a)
					   : -EACCES;
	in->a.mode = (in->a.mode & ~(uint32_t)0777) | mode_of(&a);
	if (!is_mode(&a))
		return acl_save(ns, in, name, &a);
	err = ns_xattr_del(ns, in, name);
	return err == -ENODATA ? 0 : err;
}

int ns_acl_chmod(struct ns *ns, struct ns_inode *in)
{
	struct acl a;
	int err = acl_load(ns, in, ACCESS, &a);

	if (err)
		return err == -ENODATA ? 0 : err;
	set_mode(&a, in->a.mode);
	return acl_save(ns, in, ACCESS, &a);
}

int ns_acl_inherit(struct ns *ns, const struct ns_inode *dir, uint32_t umask,
		   struct ns_inode *in)
{
	struct acl a;
	uint32_t mode;
	int err;

	if (S_ISLNK(in->a.mode))
		return 0;
	err = acl_load(ns, dir, DEFAULT, &a);
	if (err == -ENODATA) {
		in->a.mode &= ~(umask & 0777);
		return 0;
	}
	if (!err && S_ISDIR(in->a.mode))
		err = acl_save(ns, in, DEFAULT, &a);
	if (err)
		return err;
	mode = mode_of(&a) & in->a.mode;
	in->a.mode = (in->a.mode & ~(uint32_t)0777) | (mode & 0777);
	set_mode(&a, mode);
	return is_mode(&a) ? 0 : acl_save(ns, in, ACCESS, &a);
}
