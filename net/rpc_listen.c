/*
 * rpc_listen.c -- accepting.
 *
 * The first loop accepts and hands connections round.  Each loop has a door
 * with the strangers that it is shaking hands with; a stranger that fails is
 * never seen by the owner's callbacks.  rpc_listener_free() visits the doors
 * in the same order, so that nobody is handed to one that is closed already.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "container.h"
#include "counters.h"
#include "log.h"
#include "rpc_internal.h"

#define LISTEN_BACKLOG 1024
#define ACCEPT_BUDGET 64	/* connections of one turn */
#define ACCEPT_REST_MS 100	/* after running out of descriptors */

struct rpc_listener {
	struct rpc_self self;
	const struct rpc_ops *ops;
	void *arg;
	int strangers;		/* atomic */
	int err;		/* of open_first() */

	/* first loop only */
	int fd;
	struct event *accept, *rest;
	int next;

	int n_doors;
	struct rpc_door doors[];
};

/* ----------------------------------------------------------- strangers */

/* Without the port, which would make every line another for the log's limit. */
static void log_refused(struct rpc *c, int err)
{
	char from[ADDR_TEXT_MAX];

	addr_ip(&c->peer, from);
	if (err == -EACCES)
		log_warn("refused %s: its key does not fit (%s)", from,
			 tls_why(c->tls));
	else if (err == -EPROTO)
		log_warn("refused %s: not one of us (%s)", from,
			 tls_why(c->tls));
	else if (err != -ECANCELED)
		log_info("%s left before it said who it is: %s", from,
			 strerror(-err));
}

void rpc_door_leave(struct rpc *c, int err)
{
	LIST_REMOVE(c, strangers);
	__atomic_fetch_sub(&c->door->listener->strangers, 1, __ATOMIC_RELAXED);
	c->door = NULL;
	if (err)
		log_refused(c, err);
}

static void on_stranger(struct loop_work *w)
{
	struct rpc *c = container_of(w, struct rpc, start_work);
	int err;

	LIST_INSERT_HEAD(&c->door->strangers, c, strangers);
	err = rpc_events_open(c);
	if (!err)
		err = tls_accept(&c->tls, c->fd, &c->door->listener->self);
	if (err)
		rpc_down(c, err);
	else
		rpc_handshake_begin(c);
}

/* Takes @fd. */
static int hand_over(struct rpc_listener *l, int fd, const struct addr *from)
{
	struct rpc_door *door = &l->doors[l->next];
	struct rpc *c;
	int err;

	if (__atomic_load_n(&l->strangers, __ATOMIC_RELAXED) >=
	    RPC_STRANGERS_MAX) {
		counter_add(CNT_HANDSHAKE_FAILED, 1);
		close(fd);
		return -EBUSY;
	}
	err = rpc_new(&c, door->loop, l->ops, l->arg);
	if (err) {
		close(fd);
		return err;
	}
	rpc_socket_tune(fd);
	c->fd = fd;
	c->peer = *from;
	c->door = door;
	l->next = (l->next + 1) % l->n_doors;
	__atomic_fetch_add(&l->strangers, 1, __ATOMIC_RELAXED);
	c->start_work.fn = on_stranger;
	loop_post(door->loop, &c->start_work);
	return 0;
}

/* ------------------------------------------------------------ accepting */

static void rest(struct rpc_listener *l, int err)
{
	static const struct timeval tv = { 0, ACCEPT_REST_MS * 1000 };

	log_warn("cannot accept a connection: %s: trying again soon",
		 strerror(err));
	event_del(l->accept);
	event_add(l->rest, &tv);
}

static void on_rested(evutil_socket_t fd, short what, void *arg)
{
	struct rpc_listener *l = arg;

	(void)fd;
	(void)what;
	event_add(l->accept, NULL);
}

static void on_accept(evutil_socket_t lfd, short what, void *arg)
{
	struct rpc_listener *l = arg;
	struct addr from;
	int fd, err;

	(void)what;
	for (int i = 0; i < ACCEPT_BUDGET; i++) {
		memset(&from, 0, sizeof(from));
		from.len = sizeof(from.ss);
		fd = accept4(lfd, (struct sockaddr *)&from.ss, &from.len,
			     SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0) {
			if (errno != EAGAIN && errno != EWOULDBLOCK)
				rest(l, errno);
			return;
		}
		err = hand_over(l, fd, &from);
		if (err)
			log_warn("turned a connection away: %s",
				 err == -EBUSY ? "too many strangers at once"
					       : strerror(-err));
	}
}

/* -------------------------------------------------------- opening, ends */

static int open_socket(const struct addr *at)
{
	int fd = socket(at->ss.ss_family,
			SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1, err;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (!bind(fd, (const struct sockaddr *)&at->ss, at->len) &&
	    !listen(fd, LISTEN_BACKLOG))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

static void open_first(void *arg)
{
	struct rpc_listener *l = arg;
	struct event_base *b = loop_base(l->doors[0].loop);

	l->accept = event_new(b, l->fd, EV_READ | EV_PERSIST, on_accept, l);
	l->rest = evtimer_new(b, on_rested, l);
	if (!l->accept || !l->rest || event_add(l->accept, NULL))
		l->err = -ENOMEM;
}

static void close_door(void *arg)
{
	struct rpc_door *door = arg;
	struct rpc_listener *l = door->listener;

	if (door == l->doors) {
		if (l->accept)
			event_free(l->accept);
		if (l->rest)
			event_free(l->rest);
		close(l->fd);
	}
	while (!LIST_EMPTY(&door->strangers))
		rpc_down(LIST_FIRST(&door->strangers), -ECANCELED);
}

void rpc_listener_free(struct rpc_listener *l)
{
	if (!l)
		return;
	for (int i = 0; i < l->n_doors; i++)
		assert(!loop_inside(l->doors[i].loop));
	for (int i = 0; i < l->n_doors; i++)
		loop_run(l->doors[i].loop, close_door, &l->doors[i]);
	free(l);
}

int rpc_listener_addr(const struct rpc_listener *l, struct addr *out)
{
	memset(out, 0, sizeof(*out));
	out->len = sizeof(out->ss);
	return getsockname(l->fd, (struct sockaddr *)&out->ss, &out->len)
		       ? -errno : 0;
}

int rpc_listen(struct rpc_listener **out, struct loop **loops, int n_loops,
	       const struct rpc_self *self, const struct addr *at,
	       const struct rpc_ops *ops, void *arg)
{
	struct rpc_listener *l;
	int err;

	assert(n_loops > 0);
	l = calloc(1, sizeof(*l) + n_loops * sizeof(l->doors[0]));
	if (!l)
		return -ENOMEM;
	l->fd = open_socket(at);
	if (l->fd < 0) {
		err = l->fd;
		free(l);
		return err;
	}
	l->self = *self;
	l->ops = ops;
	l->arg = arg;
	l->n_doors = n_loops;
	for (int i = 0; i < n_loops; i++) {
		l->doors[i].listener = l;
		l->doors[i].loop = loops[i];
		LIST_INIT(&l->doors[i].strangers);
	}
	loop_run(loops[0], open_first, l);
	if (l->err) {
		err = l->err;
		rpc_listener_free(l);
		return err;
	}
	*out = l;
	return 0;
}
