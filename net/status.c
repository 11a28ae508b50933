/* status -- see status.h. */
#include "status.h"

#include <errno.h>
#include <stddef.h>

/* Index: the status.  ST_OK is 0; ST_SESSION is looked up only this way. */
static const int errno_of[] = {
	[ST_PERM] = EPERM,		[ST_NOENT] = ENOENT,
	[ST_IO] = EIO,			[ST_AGAIN] = EAGAIN,
	[ST_NOMEM] = ENOMEM,		[ST_ACCES] = EACCES,
	[ST_BUSY] = EBUSY,		[ST_EXIST] = EEXIST,
	[ST_XDEV] = EXDEV,		[ST_NOTDIR] = ENOTDIR,
	[ST_ISDIR] = EISDIR,		[ST_INVAL] = EINVAL,
	[ST_FBIG] = EFBIG,		[ST_NOSPC] = ENOSPC,
	[ST_ROFS] = EROFS,		[ST_MLINK] = EMLINK,
	[ST_RANGE] = ERANGE,		[ST_NAMETOOLONG] = ENAMETOOLONG,
	[ST_NOTEMPTY] = ENOTEMPTY,	[ST_LOOP] = ELOOP,
	[ST_NODATA] = ENODATA,		[ST_OPNOTSUPP] = EOPNOTSUPP,
	[ST_STALE] = ESTALE,		[ST_DQUOT] = EDQUOT,
	[ST_BADMSG] = EBADMSG,		[ST_PROTO] = EPROTO,
	[ST_ADDRINUSE] = EADDRINUSE,	[ST_TIMEDOUT] = ETIMEDOUT,
	[ST_NOTCONN] = ENOTCONN,	[ST_CANCELED] = ECANCELED,
	[ST_2BIG] = E2BIG,		[ST_NOSYS] = ENOSYS,
	[ST_DEADLK] = EDEADLK,		[ST_OVERFLOW] = EOVERFLOW,
	[ST_SESSION] = ESTALE,
};

#define N_STATUS (sizeof(errno_of) / sizeof(errno_of[0]))

uint16_t status_of_errno(int err)
{
	if (err < 0)
		err = -err;
	for (uint16_t st = 0; st < N_STATUS; st++)
		if (errno_of[st] == err)
			return st;
	return ST_IO;
}

int status_to_errno(uint16_t status)
{
	return status < N_STATUS ? -errno_of[status] : -EIO;
}
