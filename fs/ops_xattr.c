/*
 * ops_xattr -- extended attributes: user.*, trusted.*, security.*, and ACLs,
 * which the kernel checks; the tracker keeps them in step with the mode.
 *
 * Most inodes have none, which their attributes tell: the common question
 * (is there a security.capability?) is answered without the tracker.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "ops_call.h"

static int is_acl(const char *name)
{
	return !strcmp(name, "system.posix_acl_access") ||
	       !strcmp(name, "system.posix_acl_default");
}

/* 0, or why there can be no attribute of that name. */
static int name_check(const char *name)
{
	static const char *const spaces[] = { "user.", "trusted.",
					      "security." };

	for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++) {
		size_t n = strlen(spaces[i]);

		if (!strncmp(name, spaces[i], n))
			return name[n] ? 0 : -EINVAL;
	}
	return is_acl(name) ? 0 : -EOPNOTSUPP;
}

/* A call about xattr @name of @ino; NULL: answered. */
static struct call *call_xattr(fuse_req_t req, fuse_ino_t ino,
			       const char *name)
{
	struct call *c = call_new(req);
	int err;

	if (!c)
		return NULL;
	c->ino = ops_ino(c->ops, ino);
	err = ops_name(c->name, name);
	if (!err)
		err = name_check(name);
	if (err) {
		call_fail(c, err);
		return NULL;
	}
	return c;
}

static int has_none(struct call *c)
{
	struct m_attr a;

	return !ops_cached(c->ops, c->ino, &a) && !a.has_xattrs;
}

/* An ACL stays in the kernel, which takes it for an attribute: it is either
 * told of its end, or does not keep what comes after it was told. */
static void acl_told(struct call *c)
{
	if (is_acl(c->name) && !ops_attr_noted(c->ops, c->ino, c->seen))
		kernel_attr_gone(ops_fuse_ino(c->ops, c->ino));
}

/* ls(1) asks each file that it shows for its label, until it hears that there
 * are none here.  (Where SELinux is on, it answers, and we are not asked.) */
static int none_of(const char *name)
{
	return strcmp(name, "security.selinux") ? -ENODATA : -EOPNOTSUPP;
}

/* @n bytes, or just how many when that was asked (c->size 0). */
static void reply(struct call *c, const char *p, size_t n)
{
	if (!c->size)
		fuse_reply_xattr(c->req, n);
	else if (n > c->size)
		fuse_reply_err(c->req, ERANGE);
	else
		fuse_reply_buf(c->req, p, n);
	call_free(c);
}

/* --------------------------------------------------------------- reading */

static void getxattr_done(struct call *c, struct answer *a)
{
	struct m_getxattr_r m;
	int err = ANSWER(a, getxattr_r, &m);

	acl_told(c);
	if (err)
		call_fail(c, err);
	else
		reply(c, m.value.p, m.value.len);
}

void ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
		  size_t size)
{
	struct call *c = call_xattr(req, ino, name);
	struct wr w = WR_INIT;
	struct m_getxattr m;

	if (!c)
		return;
	if (has_none(c)) {
		acl_told(c);
		call_fail(c, none_of(name));
		return;
	}
	c->size = size;
	m = (struct m_getxattr){ .ino = c->ino, .name = str_of(c->name) };
	m_getxattr_encode(&w, &m);
	call_send(c, M_getxattr, &w, getxattr_done);
}

/* Names in trusted.* are root's alone to see, as on a local disk. */
static int is_shown(const struct call *c, struct str name)
{
	static const char hidden[] = "trusted.";
	size_t n = sizeof(hidden) - 1;

	return !fuse_req_ctx(c->req)->uid || name.len < n ||
	       memcmp(name.p, hidden, n) != 0;
}

static void listxattr_done(struct call *c, struct answer *a)
{
	struct m_listxattr_r m;
	int err = ANSWER(a, listxattr_r, &m);
	size_t n = 0;
	char *list;

	if (err) {
		call_fail(c, err);
		return;
	}
	for (uint32_t i = 0; i < m.n_names; i++)
		n += m.names[i].name.len + 1;
	list = malloc(n + 1);
	if (!list) {
		call_fail(c, -ENOMEM);
		return;
	}
	n = 0;
	for (uint32_t i = 0; i < m.n_names; i++) {
		if (!is_shown(c, m.names[i].name))
			continue;
		memcpy(list + n, m.names[i].name.p, m.names[i].name.len);
		n += m.names[i].name.len;
		list[n++] = '\0';
	}
	reply(c, list, n);
	free(list);
}

void ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct call *c = call_new(req);
	struct wr w = WR_INIT;
	struct m_listxattr m;

	if (!c)
		return;
	c->ino = ops_ino(c->ops, ino);
	c->size = size;
	if (has_none(c)) {
		reply(c, "", 0);
		return;
	}
	m.ino = c->ino;
	m_listxattr_encode(&w, &m);
	call_send(c, M_listxattr, &w, listxattr_done);
}

/* -------------------------------------------------------------- changing */

static void changed(struct call *c, int err, const struct m_attr *attr)
{
	if (err)
		tree_touch(c->ops->tree, c->ino);
	else
		call_changed(c, attr);
	call_fail(c, err);
}

static void setxattr_done(struct call *c, struct answer *a)
{
	struct m_setxattr_r m;
	int err = ANSWER(a, setxattr_r, &m);

	changed(c, err, &m.attr);
}

void ops_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
		  const char *value, size_t size, int flags)
{
	struct call *c = call_xattr(req, ino, name);
	struct wr w = WR_INIT;
	struct m_setxattr m;

	if (!c)
		return;
	m = (struct m_setxattr){
		.ino = c->ino,
		.name = str_of(c->name),
		.value = { value, (uint32_t)size },
		.flags = (uint32_t)flags,
	};
	/* where it is not known who has the file, the safe side */
	if (!strcmp(name, "system.posix_acl_access") &&
	    (ops_cached(c->ops, c->ino, &c->attr)
		     ? fuse_req_ctx(req)->uid != 0
		     : (call_kill_bits(c) & SET_KILL_SGID) != 0))
		m.flags |= SETXATTR_KILL_SGID;
	tree_touch(c->ops->tree, c->ino);
	m_setxattr_encode(&w, &m);
	call_send(c, M_setxattr, &w, setxattr_done);
}

static void removexattr_done(struct call *c, struct answer *a)
{
	struct m_removexattr_r m;
	int err = ANSWER(a, removexattr_r, &m);

	changed(c, err, &m.attr);
}

void ops_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct call *c = call_xattr(req, ino, name);
	struct wr w = WR_INIT;
	struct m_removexattr m;

	if (!c)
		return;
	m = (struct m_removexattr){ .ino = c->ino, .name = str_of(c->name) };
	tree_touch(c->ops->tree, c->ino);
	m_removexattr_encode(&w, &m);
	call_send(c, M_removexattr, &w, removexattr_done);
}
