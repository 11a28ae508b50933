/*
 * rpc_listen.c -- accepting.
 *
 * A listener has a loop of its own, "door": there it accepts, shakes hands
 * with strangers and sends most of them away, so that whatever they do is
 * not done by a loop that serves friends.  Who has shown the key moves to
 * the next of the owner's loops; a stranger that fails is never seen by the
 * owner's callbacks.
 *
 * When all RPC_STRANGERS_MAX places are taken, the address with the most of
 * them gives one up for the next who comes: its oldest, of those that have not
 * shown the key if there are.  So nobody keeps others out by holding places,
 * and nothing is done for a stranger that says nothing but remember it for
 * RPC_HANDSHAKE_MS.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
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
#define HOST_BYTES 8		/* of an IPv6 address: a network has so many */

/* Where strangers come from: there are RPC_STRANGERS_MAX of them at most. */
struct rpc_host {
	LIST_ENTRY(rpc_host) link;
	uint8_t net[HOST_BYTES];
	unsigned n;
	struct rpc_list strangers;	/* oldest first */
};

struct rpc_listener {
	struct rpc_self self;
	const struct rpc_ops *ops;
	void *arg;
	struct loop *loop;		/* the door's */
	struct rpc_members *members;	/* of friends */
	int err;			/* of open_door() */

	/* the door's loop only */
	int fd;
	struct event *accept, *rest;
	LIST_HEAD(, rpc_host) hosts;
	unsigned strangers;
	int next;

	int n_loops;
	struct loop *loops[];		/* for friends */
};

/* ----------------------------------------------------------- strangers */

/* Without the port, which would make every line another for the log's limit. */
static void log_refused(struct rpc *c, int err)
{
	char from[ADDR_TEXT_MAX];

	addr_ip(&c->peer, from);
	if (err == -EACCES)
		log_rarely(LOG_WARN, "refused %s: its key does not fit (%s)",
			   from, tls_why(c->tls));
	else if (err == -EPROTO)
		log_rarely(LOG_WARN, "refused %s: not one of us (%s)", from,
			   tls_why(c->tls));
	else if (err == -EBUSY)
		log_rarely(LOG_WARN, "turned %s away: too many strangers at "
			   "once", from);
	else if (err == -EUSERS)
		log_rarely(LOG_WARN, "turned a connection of member %016" PRIx64
			   " at %s away: it has %d here already", c->peer_id,
			   from, RPC_MEMBER_MAX);
	else if (err != -ECANCELED)
		log_rarely(LOG_INFO, "%s left before it said who it is: %s",
			   from, strerror(-err));
}

static struct rpc_host *host_of(struct rpc_listener *l, const struct addr *at)
{
	uint8_t net[HOST_BYTES] = { 0 };
	struct rpc_host *h;

	if (at->ss.ss_family == AF_INET6)
		memcpy(net, &((const struct sockaddr_in6 *)&at->ss)->sin6_addr,
		       HOST_BYTES);
	else
		memcpy(net, &((const struct sockaddr_in *)&at->ss)->sin_addr,
		       sizeof(struct in_addr));
	LIST_FOREACH (h, &l->hosts, link)
		if (!memcmp(h->net, net, HOST_BYTES))
			return h;
	h = calloc(1, sizeof(*h));
	if (!h)
		return NULL;
	memcpy(h->net, net, HOST_BYTES);
	TAILQ_INIT(&h->strangers);
	LIST_INSERT_HEAD(&l->hosts, h, link);
	return h;
}

static void host_put(struct rpc_host *h)
{
	if (h->n)
		return;
	LIST_REMOVE(h, link);
	free(h);
}

void rpc_door_leave(struct rpc *c, int err)
{
	struct rpc_listener *l = c->door;
	struct rpc_host *h = c->host;

	TAILQ_REMOVE(&h->strangers, c, strangers);
	h->n--;
	host_put(h);
	l->strangers--;
	c->door = NULL;
	c->host = NULL;
	if (err)
		log_refused(c, err);
}

int rpc_door_member(struct rpc *c)
{
	int err = rpc_members_enter(c->door->members, c);

	if (err == -EUSERS)
		counter_add(CNT_MEMBERS_AWAY, 1);
	return err;
}

struct loop *rpc_door_loop(struct rpc_listener *l)
{
	l->next = (l->next + 1) % l->n_loops;
	return l->loops[l->next];
}

int rpc_door_accept(struct rpc *c)
{
	return tls_accept(&c->tls, c->fd, &c->door->self);
}

static void make_room(struct rpc_listener *l)
{
	struct rpc_host *h, *most = LIST_FIRST(&l->hosts);
	struct rpc *c;

	LIST_FOREACH (h, &l->hosts, link)
		if (h->n > most->n)
			most = h;
	TAILQ_FOREACH(c, &most->strangers, strangers)
		if (!c->tls || !tls_proven(c->tls))
			break;
	counter_add(CNT_STRANGERS_AWAY, 1);
	rpc_down(c ? c : TAILQ_FIRST(&most->strangers), -EBUSY);
}

/* Takes @fd. */
static int let_in(struct rpc_listener *l, int fd, const struct addr *from)
{
	struct rpc_host *h;
	struct rpc *c;
	int err;

	if (l->strangers == RPC_STRANGERS_MAX)
		make_room(l);
	h = host_of(l, from);
	err = h ? rpc_new(&c, l->loop, l->ops, l->arg) : -ENOMEM;
	if (err) {
		if (h)
			host_put(h);
		close(fd);
		return err;
	}
	rpc_socket_tune(fd);
	c->fd = fd;
	c->peer = *from;
	c->door = l;
	c->host = h;
	TAILQ_INSERT_TAIL(&h->strangers, c, strangers);
	h->n++;
	l->strangers++;
	err = rpc_events_open(c);
	if (err)
		rpc_down(c, err);
	else
		rpc_handshake_expect(c);
	return 0;
}

/* ------------------------------------------------------------ accepting */


static void rest(struct rpc_listener *l, int err)
{
	static const struct timeval tv = { 0, ACCEPT_REST_MS * 1000 };

	log_rarely(LOG_WARN, "cannot accept a connection: %s: trying again "
		   "soon", strerror(err));
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
		err = let_in(l, fd, &from);
		if (err)
			log_rarely(LOG_WARN, "turned a connection away: %s",
				   strerror(-err));
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

static void open_door(void *arg)
{
	struct rpc_listener *l = arg;
	struct event_base *b = loop_base(l->loop);

	l->accept = event_new(b, l->fd, EV_READ | EV_PERSIST, on_accept, l);
	l->rest = evtimer_new(b, on_rested, l);
	if (!l->accept || !l->rest || event_add(l->accept, NULL))
		l->err = -ENOMEM;
}

static void close_door(void *arg)
{
	struct rpc_listener *l = arg;

	if (l->accept)
		event_free(l->accept);
	if (l->rest)
		event_free(l->rest);
	while (!LIST_EMPTY(&l->hosts))
		rpc_down(TAILQ_FIRST(&LIST_FIRST(&l->hosts)->strangers),
			 -ECANCELED);
}

static void nothing(void *arg)
{
	(void)arg;
}

void rpc_listener_free(struct rpc_listener *l)
{
	if (!l)
		return;
	for (int i = 0; i < l->n_loops; i++)
		assert(!loop_inside(l->loops[i]));
	loop_run(l->loop, close_door, l);
	loop_free(l->loop);
	close(l->fd);
	/* friends that are on their way have come after this */
	for (int i = 0; i < l->n_loops; i++)
		loop_run(l->loops[i], nothing, NULL);
	rpc_members_put(l->members);
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
	l = calloc(1, sizeof(*l) + n_loops * sizeof(l->loops[0]));
	if (!l)
		return -ENOMEM;
	l->members = rpc_members_new();
	l->fd = l->members ? open_socket(at) : -ENOMEM;
	err = l->fd < 0 ? l->fd : loop_new(&l->loop, "door");
	if (err) {
		rpc_members_put(l->members);
		if (l->fd >= 0)
			close(l->fd);
		free(l);
		return err;
	}
	l->self = *self;
	l->ops = ops;
	l->arg = arg;
	l->n_loops = n_loops;
	memcpy(l->loops, loops, n_loops * sizeof(l->loops[0]));
	loop_run(l->loop, open_door, l);
	if (l->err) {
		err = l->err;
		rpc_listener_free(l);
		return err;
	}
	*out = l;
	return 0;
}
