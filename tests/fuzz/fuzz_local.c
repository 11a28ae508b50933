/*
 * fuzz_local -- packets on the peer's own socket.
 *
 * Input: packets, each: how many descriptors come along u8, length u16, bytes.
 * What is received is what was sent, with at most one descriptor; whatever
 * else came is closed, and what is no packet of ours is said to be none.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "local_internal.h"

enum { FDS_MOST = 4, PACKETS_MOST = 32, LONGEST = LOCAL_PACKET_MAX + 100 };

static void send_raw(int sock, const uint8_t *p, size_t n, int n_fds)
{
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(FDS_MOST * sizeof(int))];
	} c = { .room = { 0 } };
	int fds[FDS_MOST] = { sock, sock, sock, sock };
	struct iovec iov = { (void *)p, n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	size_t bytes = (size_t)n_fds * sizeof(int);

	if (n_fds) {
		m.msg_control = &c;
		m.msg_controllen = CMSG_SPACE(bytes);
		c.h.cmsg_level = SOL_SOCKET;
		c.h.cmsg_type = SCM_RIGHTS;
		c.h.cmsg_len = CMSG_LEN(bytes);
		memcpy(CMSG_DATA(&c.h), fds, bytes);
	}
	MUST(sendmsg(sock, &m, MSG_NOSIGNAL) == (ssize_t)n);
}

static void check(const struct local_packet *p, int err, const uint8_t *sent,
		  size_t n, int n_fds)
{
	int want = !n ? -EPIPE
		   : n < LOCAL_HEADER || n > LOCAL_PACKET_MAX || n_fds > 1
			   ? -EBADMSG : 0;

	MUST(err == want);
	MUST((p->fd >= 0) == (!err && n_fds == 1));
	if (err)
		return;
	MUST(p->type == get_u16(sent) && p->status == get_u16(sent + 2));
	MUST(p->len == n - LOCAL_HEADER);
	MUST(!p->len || !memcmp(p->body, sent + LOCAL_HEADER, p->len));
}

/* Ours, received, is what we wrote. */
static void there_and_back(int sock[2], const struct local_packet *p)
{
	struct local_packet again;
	struct wr w = WR_INIT;

	wr_bytes(&w, p->body, p->len);
	MUST(!local_write(sock[0], p->type, p->status, &w, -1, 0));
	MUST(!local_receive(sock[1], &again));
	MUST(again.type == p->type && again.status == p->status &&
	     again.len == p->len && again.fd < 0);
}

static void one(int sock[2], struct rd *r)
{
	int n_fds = rd_u8(r) % (FDS_MOST + 1);
	size_t n = rd_u16(r) % LONGEST;
	struct local_packet p;
	const uint8_t *sent;
	int err, free_fd = dup(0);

	close(free_fd);
	if (n > rd_left(r))
		n = rd_left(r);
	sent = rd_bytes(r, n);
	send_raw(sock[0], sent, n, n_fds);
	err = local_receive(sock[1], &p);
	check(&p, err, sent, n, n_fds);
	if (!err)
		there_and_back(sock, &p);
	if (p.fd >= 0)
		close(p.fd);
	MUST(dup(0) == free_fd);	/* none was left open */
	close(free_fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	int sock[2];
	struct rd r;

	MUST(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock));
	rd_init(&r, p, n);
	for (int i = 0; i < PACKETS_MOST && rd_left(&r); i++)
		one(sock, &r);
	close(sock[0]);
	close(sock[1]);
	return 0;
}

static void packet(struct wr *w, uint8_t n_fds, uint16_t type, size_t n)
{
	static const uint8_t body[LONGEST];

	wr_u8(w, n_fds);
	wr_u16(w, (uint16_t)n);
	if (n >= LOCAL_HEADER) {
		wr_u16(w, type);
		wr_u16(w, 0);
		n -= LOCAL_HEADER;
	}
	wr_bytes(w, body, n);
}

void fuzz_seeds(void)
{
	struct wr w = WR_INIT;

	packet(&w, 1, M_share, 40);
	packet(&w, 0, M_share, LOCAL_HEADER);
	packet(&w, 0, M_share, 3);
	fuzz_seed_wr("packets", &w);
	packet(&w, 2, M_share, 40);
	packet(&w, 4, 1, 4);
	fuzz_seed_wr("descriptors", &w);
	packet(&w, 1, 1, LOCAL_PACKET_MAX);
	packet(&w, 1, 1, LOCAL_PACKET_MAX + 1);
	packet(&w, 0, 1, 0);
	fuzz_seed_wr("long", &w);
}
