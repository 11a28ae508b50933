/*
 * local_internal -- what the files of local share.
 *
 *   local.c         the listener and its connections
 *   local_packet.c  packets and their descriptors; finding the socket
 */
#ifndef PSPFS_LOCAL_INTERNAL_H
#define PSPFS_LOCAL_INTERNAL_H

#include <sys/un.h>

#include "local.h"

/* The socket's address; a descriptor of @dir, which must be open while the
 * address is used (a long path goes by way of it), or -errno. */
int local_address(const char *dir, struct sockaddr_un *out);
int local_write(int sock, uint16_t type, uint16_t status, struct wr *body,
		int fd, int flags);

#endif
