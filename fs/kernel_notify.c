/*
 * kernel_notify -- what the kernel remembers is no longer true: telling it.
 *
 * Notifications are messages on the session's device that answer no request;
 * see kernel.h for what each waits for.
 */
#include <errno.h>
#include <linux/fuse.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "kernel_internal.h"
#include "log.h"

/* Of <linux/fuse.h> since 6.16, protocol 7.44: every entry is to be asked for
 * again. */
enum { NOTIFY_INC_EPOCH = 8, EPOCH_MINOR = 44 };

/* While it can be told things. */
static struct fuse_session *_Atomic mounted;
static atomic_int takes_entries;

void kernel_notify_init(const struct fuse_conn_info *conn)
{
	takes_entries = (conn->capable & FUSE_CAP_EXPIRE_ONLY) &&
			conn->proto_minor >= EPOCH_MINOR;
}

void kernel_notify_begin(struct fuse_session *se)
{
	mounted = se;
}

void kernel_notify_end(void)
{
	mounted = NULL;
}

int kernel_attr_gone(fuse_ino_t ino)
{
	struct fuse_session *se = mounted;

	/* offset -1: the attributes alone, no page (that could block) */
	return se ? fuse_lowlevel_notify_inval_inode(se, ino, -1, 0) : 0;
}

void kernel_entry_gone(fuse_ino_t parent, const char *name)
{
	struct fuse_session *se = mounted;

	if (se)
		fuse_lowlevel_notify_expire_entry(se, parent, name,
						  strlen(name),
						  FUSE_LL_EXPIRE_ONLY);
}

void kernel_entries_gone(void)
{
	const struct fuse_out_header h = { .len = sizeof(h),
					   .error = NOTIFY_INC_EPOCH };
	struct fuse_session *se = mounted;

	if (se && write(fuse_session_fd(se), &h, sizeof(h)) != sizeof(h))
		log_error("the kernel takes no new epoch (%s): it may believe "
			  "old names for some seconds", strerror(errno));
}

int kernel_takes_entries(void)
{
	return takes_entries;
}

void kernel_pages_gone(fuse_ino_t ino)
{
	struct fuse_session *se = mounted;

	if (se)
		fuse_lowlevel_notify_inval_inode(se, ino, 0, 0);
}
