/*
 * caller -- has the process behind a request a capability over an inode, is
 * it in a group, is it there to unmount?
 *
 * The kernel judges who may change an inode's attributes by the owner that
 * it last heard of, before it asks us: another mount may have changed it
 * since.  So owners are looked at again here; and of one who is not the
 * owner, whether the kernel let him pass for a capability, by its own rule:
 * it is an effective one, and his user namespace has a number for the owner.
 *
 * libfuse's fuse_req_getgroups() searches a text that it does not end, and
 * takes no more groups than there is room for.
 *
 * Threads: any.  Reads files of /proc.
 */
#ifndef PSPFS_CALLER_H
#define PSPFS_CALLER_H

#include <stdint.h>
#include <sys/types.h>

/* @cap: CAP_FOWNER, ...  Whom we cannot see (another pid namespace: @tid 0,
 * or /proc hides it) has it: the kernel has judged, and knows more. */
int caller_capable(pid_t tid, int cap, uint32_t uid, uint32_t gid);

/* Its further groups; one whom we cannot see has none. */
int caller_in_group(pid_t tid, uint32_t gid);

/* Is it umount(8) or fusermount(1), by its name? */
int caller_unmounts(pid_t tid);

/* From the text of /proc/TID/status: 0 or -EINVAL. */
int caller_parse_caps(const char *status, uint64_t *effective);
/* From its line "Groups:", which is @line: is @gid there? */
int caller_parse_groups(const char *line, uint32_t gid);
/* From the text of /proc/TID/uid_map: is there a number for @id outside? */
int caller_mapped(const char *map, uint32_t id);

#endif
