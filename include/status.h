/*
 * status -- how an answer on the wire says that it failed.
 *
 * The numbers are the protocol's own (errno differs between systems); the
 * two functions are the only place where they meet errno.
 */
#ifndef PSPFS_STATUS_H
#define PSPFS_STATUS_H

#include <stdint.h>

enum status {
	ST_OK = 0, ST_PERM = 1, ST_NOENT = 2, ST_IO = 3, ST_AGAIN = 4,
	ST_NOMEM = 5, ST_ACCES = 6, ST_BUSY = 7, ST_EXIST = 8, ST_XDEV = 9,
	ST_NOTDIR = 10, ST_ISDIR = 11, ST_INVAL = 12, ST_FBIG = 13,
	ST_NOSPC = 14, ST_ROFS = 15, ST_MLINK = 16, ST_RANGE = 17,
	ST_NAMETOOLONG = 18, ST_NOTEMPTY = 19, ST_LOOP = 20, ST_NODATA = 21,
	ST_OPNOTSUPP = 22, ST_STALE = 23, ST_DQUOT = 24, ST_BADMSG = 25,
	ST_PROTO = 26, ST_ADDRINUSE = 27, ST_TIMEDOUT = 28, ST_NOTCONN = 29,
	ST_CANCELED = 30, ST_2BIG = 31, ST_NOSYS = 32, ST_DEADLK = 33,
	ST_OVERFLOW = 34,
	ST_SESSION = 35,	/* the session has ended: say hello again */
};

/* 0 -> ST_OK; a positive or negative errno -> its status (ST_IO if none). */
uint16_t status_of_errno(int err);
/* ST_OK -> 0; a status -> -errno (-EIO if unknown; ST_SESSION -> -ESTALE). */
int status_to_errno(uint16_t status);

#endif
