/*
 * local -- see local.h; here: the listener and its connections.
 *
 * Happy path: accept -> who is it -> a thread -> receive, serve, receive ...
 * -> the client closes -> the thread ends.
 * The end: the listening socket is shut down, which ends accept(); then each
 * connection's, which ends what it waits for; then all threads have gone.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "counters.h"
#include "local_internal.h"
#include "log.h"
#include "status.h"

struct local_conn {
	LIST_ENTRY(local_conn) link;
	struct local *local;
	int fd;
	uid_t uid;
	gid_t gid;
};

struct local {
	struct local_ops ops;		/* fixed */
	int fd, dir;			/* fixed: listening; the store's */
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t quiet;
	/* guarded by lock */
	LIST_HEAD(, local_conn) conns;
	unsigned n;
	int closing;
};

/* ---------------------------------------------------------------- answers */

int local_reply(struct local_conn *c, uint16_t type, struct wr *body)
{
	return local_write(c->fd, type, ST_OK, body, -1, 0);
}

int local_progress(struct local_conn *c, uint16_t type, struct wr *body)
{
	int err = local_write(c->fd, type, ST_OK, body, -1, MSG_DONTWAIT);

	return err == -EAGAIN ? 0 : err;
}

static int fail_at(int fd, uint16_t type, int err, const char *text)
{
	struct m_error e = { .text = str_of(text) };
	struct wr w = WR_INIT;

	if (e.text.len > MSG_TEXT_MAX)
		e.text.len = MSG_TEXT_MAX;
	m_error_encode(&w, &e);	/* a failure shows in w.err */
	return local_write(fd, type, status_of_errno(err), &w, -1, 0);
}

int local_fail(struct local_conn *c, uint16_t type, int err, const char *text)
{
	return fail_at(c->fd, type, err, text);
}

/* ------------------------------------------------------------- connections */

static void serve(struct local_conn *c)
{
	struct local_packet *p = malloc(sizeof(*p));
	int err = 0;

	while (p && !(err = local_receive(c->fd, p))) {
		struct local_request r = {
			.type = p->type, .body = p->body, .len = p->len,
			.fd = p->fd, .uid = c->uid, .gid = c->gid,
		};

		c->local->ops.request(c->local->ops.arg, c, &r);
		if (p->fd >= 0)
			close(p->fd);
	}
	free(p);
	if (err != -EBADMSG)
		return;
	counter_add(CNT_REQUESTS_BAD, 1);
	log_rarely(LOG_WARN, "cut off a command of user %u: what it sent is "
		   "no request: is its pspfs of the same version?", c->uid);
}

static void *conn_thread(void *arg)
{
	struct local_conn *c = arg;
	struct local *l = c->local;

	pthread_setname_np(pthread_self(), "command");
	serve(c);
	pthread_mutex_lock(&l->lock);
	LIST_REMOVE(c, link);
	close(c->fd);
	if (!--l->n)
		pthread_cond_signal(&l->quiet);
	pthread_mutex_unlock(&l->lock);
	free(c);
	return NULL;
}

/* 0 once a thread has it; else the caller still has @fd. */
static int conn_start(struct local *l, int fd, const struct ucred *who)
{
	struct local_conn *c = malloc(sizeof(*c));
	pthread_t thread;
	int err;

	if (!c)
		return -ENOMEM;
	*c = (struct local_conn){ .local = l, .fd = fd, .uid = who->uid,
				  .gid = who->gid };
	pthread_mutex_lock(&l->lock);
	err = l->closing ? -ECANCELED : l->n == LOCAL_CONNS ? -EBUSY : 0;
	if (!err)
		err = -pthread_create(&thread, NULL, conn_thread, c);
	if (!err) {
		LIST_INSERT_HEAD(&l->conns, c, link);
		l->n++;
		pthread_detach(thread);
	}
	pthread_mutex_unlock(&l->lock);
	if (err)
		free(c);
	return err;
}

static int set_times(int fd)
{
	const struct timeval tv = { LOCAL_IDLE_MS / 1000,
				    LOCAL_IDLE_MS % 1000 * 1000 };

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)))
		return -errno;
	return 0;
}

static void welcome(struct local *l, int fd)
{
	struct ucred who;
	socklen_t len = sizeof(who);
	int err = set_times(fd);

	if (!err && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len))
		err = -errno;
	if (!err && who.uid != 0 && who.uid != geteuid()) {
		log_rarely(LOG_WARN, "user %u wants to give commands to this "
			   "peer: only root and its own user may", who.uid);
		fail_at(fd, M_error, -EACCES, "only root and the peer's own "
			"user may do this");
		close(fd);
		return;
	}
	if (!err)
		err = conn_start(l, fd, &who);
	if (!err)
		return;
	fail_at(fd, M_error, err, err == -EBUSY
		? "the peer is busy with other commands: try again later"
		: "the peer cannot take commands now");
	close(fd);
}

static void *accept_thread(void *arg)
{
	struct local *l = arg;
	int fd, closing = 0;

	pthread_setname_np(pthread_self(), "commands");
	while (!closing) {
		fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
		pthread_mutex_lock(&l->lock);
		closing = l->closing;
		pthread_mutex_unlock(&l->lock);
		if (fd >= 0)
			welcome(l, fd);
		else if (!closing && errno != EINTR && errno != ECONNABORTED)
			usleep(100000);	/* no descriptors left, perhaps */
	}
	return NULL;
}

/* ------------------------------------------------------ opening and closing */

/* Its mode is set before it has a name: nobody else may connect, ever. */
static int listen_at(struct local *l, const char *dir)
{
	struct sockaddr_un at;

	l->dir = local_address(dir, &at);
	if (l->dir < 0)
		return l->dir;
	l->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		return -errno;
	if (unlinkat(l->dir, LOCAL_NAME, 0) && errno != ENOENT)
		return -errno;
	if (fchmod(l->fd, 0600) ||
	    bind(l->fd, (struct sockaddr *)&at, sizeof(at)) ||
	    listen(l->fd, LOCAL_CONNS))
		return -errno;
	return 0;
}

static void local_free(struct local *l)
{
	if (l->fd >= 0)
		close(l->fd);
	if (l->dir >= 0)
		close(l->dir);
	pthread_cond_destroy(&l->quiet);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

int local_open(struct local **out, const char *store_dir,
	       const struct local_ops *ops)
{
	struct local *l = calloc(1, sizeof(*l));
	pthread_condattr_t monotonic;
	int err;

	if (!l)
		return -ENOMEM;
	l->ops = *ops;
	l->fd = l->dir = -1;
	LIST_INIT(&l->conns);
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&l->quiet, &monotonic);
	pthread_condattr_destroy(&monotonic);
	err = listen_at(l, store_dir);
	if (!err)
		err = -pthread_create(&l->thread, NULL, accept_thread, l);
	if (err) {
		local_free(l);
		return err;
	}
	*out = l;
	return 0;
}

static void stop_accepting(struct local *l)
{
	int first;

	pthread_mutex_lock(&l->lock);
	first = !l->closing;
	l->closing = 1;
	pthread_mutex_unlock(&l->lock);
	if (!first)
		return;
	unlinkat(l->dir, LOCAL_NAME, 0);
	shutdown(l->fd, SHUT_RDWR);
	pthread_join(l->thread, NULL);
}

void local_shut(struct local *l, uint32_t ms)
{
	struct timespec until;
	struct local_conn *c;
	int err = 0;

	if (!l)
		return;
	stop_accepting(l);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	pthread_mutex_lock(&l->lock);
	LIST_FOREACH(c, &l->conns, link)
		shutdown(c->fd, SHUT_RDWR);
	while (l->n && !err)
		err = pthread_cond_timedwait(&l->quiet, &l->lock, &until);
	pthread_mutex_unlock(&l->lock);
}

void local_close(struct local *l)
{
	if (!l)
		return;
	local_shut(l, 0);
	pthread_mutex_lock(&l->lock);
	while (l->n)
		pthread_cond_wait(&l->quiet, &l->lock);
	pthread_mutex_unlock(&l->lock);
	local_free(l);
}
