/*
 * rpc.c -- the life of a connection: start, handshake, up, down.
 *
 * CONNECTING (the socket) -> HANDSHAKE -> UP -> DOWN; from each of them
 * straight to DOWN when something fails.  See rpc_internal.h for the rest.
 */
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "container.h"
#include "counters.h"
#include "log.h"
#include "rpc_internal.h"

/* ---------------------------------------------------------- references */

struct rpc *rpc_ref(struct rpc *c)
{
	__atomic_fetch_add(&c->refs, 1, __ATOMIC_RELAXED);
	return c;
}

void rpc_unref(struct rpc *c)
{
	if (!c || __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL))
		return;
	assert(!c->tls && c->fd < 0);
	free(c);
}

int rpc_new(struct rpc **out, struct loop *l, const struct rpc_ops *ops,
	    void *arg)
{
	struct rpc *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->refs = 1;		/* the library's, until down */
	c->loop = l;
	c->ops = ops;
	c->arg = arg;
	c->fd = -1;
	STAILQ_INIT(&c->out);
	*out = c;
	return 0;
}

/* -------------------------------------------------------------- events */

static void set_timer(struct event *ev, uint32_t ms)
{
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };

	event_add(ev, &tv);
}

static void close_events(struct rpc *c);
static void leave_loop(struct rpc *c);

static void begin_service(struct rpc *c)
{
	static const struct timeval at_once = { 0, 0 };

	if (c->ops->up)
		c->ops->up(c, c->arg);
	if (c->move_to)
		return;
	rpc_calls_pump(c);
	rpc_out_arm(c);
	/* Frames may have come together with the end of the handshake. */
	event_add(c->again, &at_once);
}

/* It has come to its new loop. */
static void on_moved(struct loop_work *w)
{
	struct rpc *c = container_of(w, struct rpc, start_work);
	int err = rpc_events_open(c);

	if (!err && event_add(c->readable, NULL))
		err = -ENOMEM;
	if (err) {
		rpc_down(c, err);
		return;
	}
	c->unseen = 0;
	begin_service(c);
	if (c->move_to)
		leave_loop(c);
}

/* Nothing of it is left on the old loop when this is posted. */
static void leave_loop(struct rpc *c)
{
	close_events(c);
	event_free(c->calls.timer);
	c->calls.timer = NULL;
	c->loop = c->move_to;
	c->move_to = NULL;
	c->start_work.fn = on_moved;
	loop_post(c->loop, &c->start_work);
}

void rpc_move(struct rpc *c, struct loop *l, const struct rpc_ops *ops,
	      void *arg)
{
	c->move_to = l;
	c->ops = ops;
	c->arg = arg;
}

/* 0, or why it is to go down all the same. */
static int up(struct rpc *c)
{
	int err;

	c->state = RPC_UP;
	tls_peer(c->tls, &c->peer_role, &c->peer_id);
	c->own_role = tls_own_role(c->tls);
	event_del(c->setup);
	counter_add(CNT_HANDSHAKES, 1);
	counter_add(CNT_HANDSHAKE_US, now_us() - c->handshake_us);
	if (c->door) {
		err = rpc_door_member(c);
		if (err)
			return err;
		c->move_to = rpc_door_loop(c->door);
		c->unseen = 1;
		rpc_door_leave(c, 0);
	} else {
		begin_service(c);
	}
	if (c->move_to)
		leave_loop(c);
	return 0;
}

static void handshake_step(struct rpc *c)
{
	int err = c->tls ? 0 : rpc_door_accept(c), sent;

	if (err) {
		rpc_down(c, err);
		return;
	}
	err = tls_handshake(c->tls);
	sent = tls_send(c->tls);	/* also the alert, if it failed */
	if (!err)
		err = up(c);	/* if 0 it may be on another loop */
	else if (err == -EAGAIN)
		err = sent;
	if (err == -EAGAIN)
		event_add(c->writable, NULL);
	else if (err)
		rpc_down(c, err);
}

void rpc_handshake_expect(struct rpc *c)
{
	c->state = RPC_HANDSHAKE;
	c->handshake_us = now_us();
	set_timer(c->setup, RPC_HANDSHAKE_MS);
	event_add(c->readable, NULL);
}

static void connected(struct rpc *c)
{
	socklen_t n = sizeof(int);
	int err = 0;

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &n) < 0)
		err = errno;
	if (err) {
		rpc_down(c, -err);
		return;
	}
	rpc_handshake_expect(c);
	handshake_step(c);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct rpc *c = arg;
	int err;

	(void)fd;
	(void)what;
	if (c->state == RPC_HANDSHAKE) {
		handshake_step(c);
		return;
	}
	err = rpc_in_read(c);
	if (err)
		rpc_down(c, err);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct rpc *c = arg;
	int err;

	(void)fd;
	(void)what;
	if (c->state == RPC_CONNECTING) {
		connected(c);
	} else if (c->state == RPC_HANDSHAKE) {
		handshake_step(c);
	} else {
		err = rpc_out_flush(c);
		if (err)
			rpc_down(c, err);
	}
}

static void on_setup_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct rpc *c = arg;
	int err = c->state == RPC_UP ? rpc_in_slow(c) : -ETIMEDOUT;

	(void)fd;
	(void)what;
	if (err)
		rpc_down(c, err);
}

int rpc_events_open(struct rpc *c)
{
	struct event_base *b = loop_base(c->loop);
	int err = rpc_calls_init(c);

	if (err)
		return err;
	c->readable = event_new(b, c->fd, EV_READ | EV_PERSIST, on_readable, c);
	c->writable = event_new(b, c->fd, EV_WRITE, on_writable, c);
	c->again = evtimer_new(b, on_readable, c);
	c->setup = evtimer_new(b, on_setup_timeout, c);
	if (!c->readable || !c->writable || !c->again || !c->setup)
		return -ENOMEM;
	return 0;
}

static void close_events(struct rpc *c)
{
	struct event **all[] = { &c->readable, &c->writable, &c->again,
				 &c->setup };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (*all[i])
			event_free(*all[i]);
		*all[i] = NULL;
	}
}

/* ---------------------------------------------------------------- ends */

static void broken_off(struct rpc *c)
{
	char from[ADDR_TEXT_MAX];

	counter_add(CNT_FRAMES_BAD, 1);
	log_rarely(LOG_WARN, "broke off a connection with %s: what came on it "
		   "is not our protocol: is the same version installed there?",
		   addr_ip(&c->peer, from));
}

void rpc_down(struct rpc *c, int err)
{
	int stranger = c->door || c->unseen;

	assert(c->state != RPC_DOWN && err < 0 && loop_inside(c->loop));
	if (c->state == RPC_HANDSHAKE && err != -ECANCELED)
		counter_add(CNT_HANDSHAKE_FAILED, 1);
	if (c->state == RPC_UP && err == -EPROTO)
		broken_off(c);
	c->state = RPC_DOWN;
	c->err = err;
	if (c->door)
		rpc_door_leave(c, err);
	rpc_members_leave(c);
	close_events(c);
	tls_free(c->tls);
	c->tls = NULL;
	close(c->fd);
	c->fd = -1;
	rpc_in_fini(c);
	rpc_out_fini(c);
	rpc_calls_fini(c);
	if (!stranger && c->ops->down)
		c->ops->down(c, err, c->arg);
	rpc_unref(c);
}

/* What is queued gets one chance to leave. */
static void on_close(struct loop_work *w)
{
	struct rpc *c = container_of(w, struct rpc, close_work);

	if (c->state == RPC_UP && !rpc_out_flush(c)) {
		tls_write_end(c->tls);
		tls_send(c->tls);
	}
	if (c->state != RPC_DOWN)
		rpc_down(c, -ECANCELED);
	rpc_unref(c);
}

void rpc_close(struct rpc *c)
{
	if (__atomic_exchange_n(&c->closing, 1, __ATOMIC_RELAXED))
		return;
	rpc_ref(c);
	c->close_work.fn = on_close;
	loop_post(c->loop, &c->close_work);
}

/* ---------------------------------------------------------- connecting */

static int open_socket(const struct addr *to, const struct addr *from)
{
	int fd = socket(to->ss.ss_family,
			SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1, err;

	if (fd < 0)
		return -errno;
	if (from) {
		/* The port is chosen by connect(): more of them to go round. */
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on,
			   sizeof(on));
		if (bind(fd, (const struct sockaddr *)&from->ss, from->len)) {
			err = -errno;
			close(fd);
			return err;
		}
	}
	rpc_socket_tune(fd);
	return fd;
}

/* All of these only help: a socket without them works as well. */
void rpc_socket_tune(int fd)
{
	static const struct {
		int level, name, value;
	} opts[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, RPC_STALL_MS },
		{ IPPROTO_TCP, TCP_NOTSENT_LOWAT, RPC_UNSENT_MAX },
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, 15 },
		{ IPPROTO_TCP, TCP_KEEPINTVL, 5 },
		{ IPPROTO_TCP, TCP_KEEPCNT, 4 },
	};

	for (size_t i = 0; i < sizeof(opts) / sizeof(opts[0]); i++)
		setsockopt(fd, opts[i].level, opts[i].name, &opts[i].value,
			   sizeof(opts[i].value));
}

static void on_connect(struct loop_work *w)
{
	struct rpc *c = container_of(w, struct rpc, start_work);
	int err = rpc_events_open(c);

	if (err) {
		rpc_down(c, err);
		return;
	}
	if (connect(c->fd, (const struct sockaddr *)&c->peer.ss, c->peer.len) &&
	    errno != EINPROGRESS) {
		rpc_down(c, -errno);
		return;
	}
	set_timer(c->setup, RPC_CONNECT_MS);
	event_add(c->writable, NULL);
}

int rpc_connect(struct rpc **out, struct loop *l, const struct rpc_self *self,
		const struct addr *to, const struct addr *bind_to,
		uint8_t expect_role, uint64_t expect_id,
		const struct rpc_ops *ops, void *arg)
{
	struct rpc *c;
	struct tls *tls;
	int err, fd = open_socket(to, bind_to);

	if (fd < 0)
		return fd;
	err = tls_connect(&tls, fd, self, expect_role, expect_id);
	if (err)
		goto out_close;
	err = rpc_new(&c, l, ops, arg);
	if (err)
		goto out_tls;
	c->fd = fd;
	c->tls = tls;
	c->peer = *to;
	c->peer_role = expect_role;
	c->peer_id = expect_id;
	*out = rpc_ref(c);
	c->start_work.fn = on_connect;
	loop_post(l, &c->start_work);
	return 0;

out_tls:
	tls_free(tls);
out_close:
	close(fd);
	return err;
}

/* ----------------------------------------------------------- questions */

void rpc_set_arg(struct rpc *c, void *arg)
{
	c->arg = arg;
}

uint8_t rpc_peer_role(const struct rpc *c)
{
	return c->peer_role;
}

uint8_t rpc_own_role(const struct rpc *c)
{
	return c->own_role;
}

uint64_t rpc_peer_id(const struct rpc *c)
{
	return c->peer_id;
}

const struct addr *rpc_peer_addr(const struct rpc *c)
{
	return &c->peer;
}

uint64_t rpc_heard_ms(const struct rpc *c)
{
	return __atomic_load_n(&c->heard_ms, __ATOMIC_RELAXED);
}

uint64_t rpc_sent_ms(const struct rpc *c)
{
	return __atomic_load_n(&c->sent_ms, __ATOMIC_RELAXED);
}

static void look(struct loop_work *w)
{
	struct rpc *c = container_of(w, struct rpc, look_work);
	uint64_t acked;
	int left;

	if (c->state == RPC_UP && !ioctl(c->fd, SIOCOUTQ, &left)) {
		acked = c->sent_bytes - (uint64_t)left;
		if (acked != c->acked_bytes)
			__atomic_store_n(&c->acked_ms, now_ms(),
					 __ATOMIC_RELAXED);
		c->acked_bytes = acked;
	}
	__atomic_store_n(&c->looking, 0, __ATOMIC_RELEASE);
	rpc_unref(c);
}

uint64_t rpc_acked_ms(struct rpc *c)
{
	if (!__atomic_exchange_n(&c->looking, 1, __ATOMIC_ACQUIRE)) {
		rpc_ref(c);
		c->look_work.fn = look;
		loop_post(c->loop, &c->look_work);
	}
	return __atomic_load_n(&c->acked_ms, __ATOMIC_RELAXED);
}

struct loop *rpc_loop(const struct rpc *c)
{
	return c->loop;
}

int rpc_export(struct rpc *c, const char *label, uint8_t *out, size_t n)
{
	return c->state == RPC_UP ? tls_export(c->tls, label, out, n)
				  : -ENOTCONN;
}
