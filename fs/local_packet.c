/* local_packet -- packets and their descriptors; finding the socket. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "local_internal.h"

int local_address(const char *dir, struct sockaddr_un *out)
{
	int n, fd;

	*out = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(out->sun_path, sizeof(out->sun_path), "%s/" LOCAL_NAME,
		     dir);
	if (n < 0)
		return -EINVAL;
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if ((size_t)n >= sizeof(out->sun_path))
		snprintf(out->sun_path, sizeof(out->sun_path),
			 "/proc/self/fd/%d/" LOCAL_NAME, fd);
	return fd;
}

int local_connect(const char *store_dir)
{
	const struct timeval most = { LOCAL_IDLE_MS / 1000, 0 };
	struct sockaddr_un at;
	int dir, fd, err = 0;

	dir = local_address(store_dir, &at);
	if (dir < 0)
		return dir;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd >= 0)	/* it may wait until somebody accepts */
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most));
	if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at)))
		err = -errno;
	close(dir);
	if (err && fd >= 0)
		close(fd);
	return err ? err : fd;
}

static int send_packet(int sock, struct iovec iov[2], int fd, int flags)
{
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} c = { .room = { 0 } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n;

	if (fd >= 0) {
		m.msg_control = &c;
		m.msg_controllen = sizeof(c.room);
		c.h.cmsg_level = SOL_SOCKET;
		c.h.cmsg_type = SCM_RIGHTS;
		c.h.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&c.h), &fd, sizeof(fd));
	}
	do
		n = sendmsg(sock, &m, MSG_NOSIGNAL | flags);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return 0;
	return errno == ECONNRESET ? -EPIPE : -errno;
}

int local_write(int sock, uint16_t type, uint16_t status, struct wr *body,
		int fd, int flags)
{
	uint8_t head[LOCAL_HEADER];
	struct iovec iov[2] = { { head, sizeof(head) },
				{ body->p, body->len } };
	int err = body->err;

	put_u16(head, type);
	put_u16(head + 2, status);
	if (!err && body->len > LOCAL_PACKET_MAX - LOCAL_HEADER)
		err = -EMSGSIZE;
	if (!err)
		err = send_packet(sock, iov, fd, flags);
	wr_fini(body);
	*body = WR_INIT;
	return err;
}

int local_send(int sock, uint16_t type, struct wr *body, int fd)
{
	return local_write(sock, type, 0, body, fd, 0);
}

/* The first descriptor that came; there is room for no more. */
static int descriptor(struct msghdr *m)
{
	struct cmsghdr *h = CMSG_FIRSTHDR(m);
	int fd;

	if (!h || h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS ||
	    h->cmsg_len < CMSG_LEN(sizeof(fd)))
		return -1;
	memcpy(&fd, CMSG_DATA(h), sizeof(fd));
	return fd;
}

int local_receive(int sock, struct local_packet *p)
{
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} c;
	struct iovec iov = { p->bytes, sizeof(p->bytes) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1,
			    .msg_control = &c,
			    /* not one more, whatever is aligned */
			    .msg_controllen = CMSG_LEN(sizeof(int)) };
	int resets = 0;
	ssize_t n;

	p->fd = -1;
	do	/* a reset comes before what was sent before it */
		n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && (errno == EINTR ||
			 (errno == ECONNRESET && !resets++)));
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	p->fd = descriptor(&m);
	if (n >= LOCAL_HEADER && !(m.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
		p->type = get_u16(p->bytes);
		p->status = get_u16(p->bytes + 2);
		p->body = p->bytes + LOCAL_HEADER;
		p->len = (size_t)n - LOCAL_HEADER;
		return 0;
	}
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
	return n ? -EBADMSG : -EPIPE;
}
