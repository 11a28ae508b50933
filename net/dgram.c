/*
 * dgram.c -- authenticated datagrams.
 *
 * Checks, cheapest first: length, session, replay window, then the HMAC; only
 * what passed that moves the window, the rate and the address.  One lock
 * guards the sessions; it is held for one HMAC, never across a system call or
 * a callback.
 */
#include "dgram.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "codec.h"
#include "counters.h"
#include "log.h"
#include "table.h"

#define HEADER 18		/* session, counter, type */
#define MAC_LEN 16
#define DIRECTION_KEY 32
#define RECEIVE_BUDGET 64	/* datagrams of one turn */
#define WINDOW 1024		/* counters behind the newest */
#define WORD 64			/* bits of a word of the window */

_Static_assert(HEADER + MAC_LEN == DGRAM_OVERHEAD, "the two agree");

struct session {
	uint64_t id;
	UT_hash_handle hh;
	EVP_MAC_CTX *tx, *rx;
	uint64_t sent;			/* our last counter */
	uint64_t newest;		/* their highest counter */
	uint64_t seen[WINDOW / WORD];	/* a ring: bit counter % WINDOW */
	uint64_t tokens, refilled_ms;	/* of the rate */
	int learn;			/* the address, from good datagrams */
	struct addr to;			/* len 0: not known yet */
};

struct dgram_sock {
	int fd;				/* fixed after open */
	struct loop *loop;
	dgram_fn fn;
	void *arg;

	/* loop thread only */
	struct event *readable;
	int receiving;			/* inside on_readable() ... */
	int closed;			/* ... and closed meanwhile */

	pthread_mutex_t lock;
	struct session *sessions;	/* guarded by lock */
};

/* ----------------------------------------------------------------- HMAC */

static EVP_MAC_CTX *mac_new(const uint8_t key[DIRECTION_KEY])
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST,
						 (char *)"SHA256", 0),
		OSSL_PARAM_construct_end(),
	};
	EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *m = hmac ? EVP_MAC_CTX_new(hmac) : NULL;

	EVP_MAC_free(hmac);
	if (m && EVP_MAC_init(m, key, DIRECTION_KEY, params) == 1)
		return m;
	EVP_MAC_CTX_free(m);
	return NULL;
}

/* No key: the context begins again with the one it has. */
static int mac_run(EVP_MAC_CTX *m, const uint8_t *p, size_t n,
		   uint8_t out[MAC_LEN])
{
	uint8_t full[EVP_MAX_MD_SIZE];
	size_t len;

	if (EVP_MAC_init(m, NULL, 0, NULL) != 1 ||
	    EVP_MAC_update(m, p, n) != 1 ||
	    EVP_MAC_final(m, full, &len, sizeof(full)) != 1)
		return -EIO;
	memcpy(out, full, MAC_LEN);
	return 0;
}

/* ------------------------------------------------------- replay, rate */

/* Was it seen, or is it too old to tell? */
static int is_replay(const struct session *s, uint64_t counter)
{
	uint64_t bit = counter % WINDOW;

	if (counter > s->newest)
		return 0;
	if (s->newest - counter >= WINDOW)
		return 1;
	return s->seen[bit / WORD] >> bit % WORD & 1;
}

static void remember(struct session *s, uint64_t counter)
{
	uint64_t bit = counter % WINDOW, from;

	if (counter > s->newest) {
		if (counter - s->newest >= WINDOW) {
			memset(s->seen, 0, sizeof(s->seen));
		} else {
			for (from = s->newest + 1; from < counter; from++)
				s->seen[from % WINDOW / WORD] &=
					~(1ull << from % WORD);
		}
		s->newest = counter;
	}
	s->seen[bit / WORD] |= 1ull << bit % WORD;
}

/* A bucket of DGRAM_RATE tokens, refilled at that many a second. */
static int take_token(struct session *s)
{
	uint64_t now = now_ms(), fresh;

	fresh = (now - s->refilled_ms) * DGRAM_RATE / 1000;
	if (fresh) {
		s->refilled_ms = now;
		s->tokens += fresh;
		if (s->tokens > DGRAM_RATE)
			s->tokens = DGRAM_RATE;
	}
	if (!s->tokens)
		return 0;
	s->tokens--;
	return 1;
}

/* ------------------------------------------------------------- sessions */

static struct session *find(struct dgram_sock *s, uint64_t id)
{
	struct session *x;

	HASH_FIND(hh, s->sessions, &id, sizeof(id), x);
	return x;
}

static void session_free(struct session *x)
{
	if (!x)
		return;
	EVP_MAC_CTX_free(x->tx);
	EVP_MAC_CTX_free(x->rx);
	free(x);
}

/* Puts @fresh, if any, in the place of session @id; returns what is to be
 * freed: what was there, or @fresh itself, when there is no memory. */
static struct session *replace(struct dgram_sock *s, uint64_t id,
			       struct session *fresh)
{
	struct session *old;

	pthread_mutex_lock(&s->lock);
	old = find(s, id);
	if (old)
		HASH_DEL(s->sessions, old);
	if (fresh)
		HASH_ADD(hh, s->sessions, id, sizeof(fresh->id), fresh);
	if (fresh && !TABLE_ADDED(fresh)) {
		session_free(old);
		old = fresh;
	}
	pthread_mutex_unlock(&s->lock);
	return old;
}

int dgram_join(struct dgram_sock *s, uint64_t session,
	       const uint8_t secret[64], int server, const struct addr *to)
{
	struct session *x = calloc(1, sizeof(*x)), *old;

	if (!x)
		return -ENOMEM;
	x->id = session;
	x->tx = mac_new(secret + (server ? DIRECTION_KEY : 0));
	x->rx = mac_new(secret + (server ? 0 : DIRECTION_KEY));
	if (!x->tx || !x->rx) {
		session_free(x);
		return -ENOMEM;
	}
	x->tokens = DGRAM_RATE;
	x->refilled_ms = now_ms();
	x->learn = !to;
	if (to)
		x->to = *to;
	old = replace(s, session, x);
	session_free(old);
	return old == x ? -ENOMEM : 0;
}

void dgram_leave(struct dgram_sock *s, uint64_t session)
{
	session_free(replace(s, session, NULL));
}

/* -------------------------------------------------------------- sending */

/* Makes the datagram in @out; where to, unless the caller knows, in @to. */
static ssize_t seal(struct dgram_sock *s, uint64_t session, uint16_t type,
		    const void *body, size_t len, uint8_t out[DGRAM_MAX],
		    struct addr *to)
{
	struct session *x;
	ssize_t ret = -ENOENT;

	if (len > DGRAM_BODY_MAX)
		return -EMSGSIZE;
	pthread_mutex_lock(&s->lock);
	x = find(s, session);
	if (!x)
		goto out_unlock;
	ret = -ENOTCONN;
	if (to && !x->to.len)
		goto out_unlock;
	put_u64(out, session);
	put_u64(out + 8, ++x->sent);
	put_u16(out + 16, type);
	if (len)
		memcpy(out + HEADER, body, len);
	ret = mac_run(x->tx, out, HEADER + len, out + HEADER + len);
	if (!ret) {
		ret = HEADER + len + MAC_LEN;
		if (to)
			*to = x->to;
	}
out_unlock:
	pthread_mutex_unlock(&s->lock);
	return ret;
}

static int send_sealed(struct dgram_sock *s, const uint8_t *p, size_t n,
		       const struct addr *to)
{
	ssize_t sent = sendto(s->fd, p, n, MSG_NOSIGNAL,
			      (const struct sockaddr *)&to->ss, to->len);

	return sent < 0 ? -errno : 0;
}

int dgram_send(struct dgram_sock *s, uint64_t session, uint16_t type,
	       const void *body, size_t len)
{
	uint8_t out[DGRAM_MAX];
	struct addr to;
	ssize_t n = seal(s, session, type, body, len, out, &to);

	return n < 0 ? (int)n : send_sealed(s, out, n, &to);
}

int dgram_answer(const struct dgram *d, uint16_t type, const void *body,
		 size_t len)
{
	uint8_t out[DGRAM_MAX];
	ssize_t n;

	if (len > d->len)
		return -EMSGSIZE;
	n = seal(d->sock, d->session, type, body, len, out, NULL);
	return n < 0 ? (int)n : send_sealed(d->sock, out, n, d->from);
}

/* ------------------------------------------------------------ receiving */

static int check(struct session *x, const uint8_t *p, size_t n,
		 const struct addr *from)
{
	uint64_t counter = get_u64(p + 8);
	uint8_t mac[MAC_LEN];

	if (is_replay(x, counter))
		return -EALREADY;
	if (mac_run(x->rx, p, n - MAC_LEN, mac) ||
	    CRYPTO_memcmp(mac, p + n - MAC_LEN, MAC_LEN))
		return -EACCES;
	remember(x, counter);
	if (!take_token(x))
		return -EBUSY;
	if (x->learn)
		x->to = *from;
	return 0;
}

/* 0, or why nobody is to see it. */
static int examine(struct dgram_sock *s, const uint8_t *p, size_t n,
		   const struct addr *from)
{
	struct session *x;
	int err;

	if (n < DGRAM_OVERHEAD || n > DGRAM_MAX)
		return -EMSGSIZE;
	pthread_mutex_lock(&s->lock);
	x = find(s, get_u64(p));
	err = x ? check(x, p, n, from) : -ENOENT;
	pthread_mutex_unlock(&s->lock);
	return err;
}

/* Sessions that ended, and networks that double: a few are nobody's fault. */
static void refused(int err, const struct addr *from)
{
	char ip[ADDR_TEXT_MAX];

	counter_add(CNT_DGRAMS_BAD, 1);
	addr_ip(from, ip);
	if (err == -EACCES) {
		counter_add(CNT_DGRAMS_FORGED, 1);
		log_rarely(LOG_WARN, "dropped a datagram from %s: it was not "
			   "made with the key of its session", ip);
	} else if (err == -EALREADY) {
		counter_add(CNT_DGRAMS_REPLAYED, 1);
		log_rarely(LOG_INFO, "dropped a datagram from %s: seen before, "
			   "or too old", ip);
	} else if (err == -EBUSY) {
		log_rarely(LOG_WARN, "dropped a datagram from %s: more than %d "
			   "a second", ip, DGRAM_RATE);
	} else {
		log_rarely(LOG_INFO, "dropped a datagram from %s: %s", ip,
			   err == -ENOENT ? "of no session that is here"
					  : "none of ours is so long or short");
	}
}

/* One datagram; 0 when there is none. */
static int receive(struct dgram_sock *s)
{
	uint8_t p[DGRAM_MAX];
	struct addr from = { .len = sizeof(from.ss) };
	struct dgram d = { .sock = s, .from = &from };
	ssize_t n = recvfrom(s->fd, p, sizeof(p), MSG_TRUNC,
			     (struct sockaddr *)&from.ss, &from.len);
	int err;

	if (n < 0)
		return errno == EINTR;
	err = examine(s, p, n, &from);
	if (err) {
		refused(err, &from);
		return 1;
	}
	d.session = get_u64(p);
	d.type = get_u16(p + 16);
	d.body = p + HEADER;
	d.len = n - DGRAM_OVERHEAD;
	s->fn(&d, s->arg);
	return 1;
}

static void sock_free(struct dgram_sock *s)
{
	struct session *x, *next;

	if (s->readable)
		event_free(s->readable);
	if (s->fd >= 0)
		close(s->fd);
	HASH_ITER(hh, s->sessions, x, next) {
		HASH_DEL(s->sessions, x);
		session_free(x);
	}
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct dgram_sock *s = arg;

	(void)fd;
	(void)what;
	s->receiving = 1;
	for (int i = 0; i < RECEIVE_BUDGET && !s->closed && receive(s); i++)
		;
	s->receiving = 0;
	if (s->closed)
		sock_free(s);
}

/* -------------------------------------------------------- opening, ends */

struct start {
	struct dgram_sock *s;
	int err;
};

static void start(void *arg)
{
	struct start *st = arg;
	struct dgram_sock *s = st->s;

	s->readable = event_new(loop_base(s->loop), s->fd,
				EV_READ | EV_PERSIST, on_readable, s);
	if (!s->readable || event_add(s->readable, NULL))
		st->err = -ENOMEM;
}

static void stop(void *arg)
{
	struct dgram_sock *s = arg;

	assert(!s->closed);
	s->closed = 1;
	if (!s->receiving)
		sock_free(s);
}

int dgram_open(struct dgram_sock **out, struct loop *l, const struct addr *at,
	       dgram_fn fn, void *arg)
{
	struct dgram_sock *s = calloc(1, sizeof(*s));
	struct start st = { s, 0 };

	if (!s)
		return -ENOMEM;
	s->loop = l;
	s->fn = fn;
	s->arg = arg;
	pthread_mutex_init(&s->lock, NULL);
	s->fd = socket(at->ss.ss_family,
		       SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0 ||
	    bind(s->fd, (const struct sockaddr *)&at->ss, at->len)) {
		st.err = -errno;
		sock_free(s);
		return st.err;
	}
	loop_run(l, start, &st);
	if (st.err) {
		loop_run(l, stop, s);
		return st.err;
	}
	*out = s;
	return 0;
}

void dgram_close(struct dgram_sock *s)
{
	if (s)
		loop_run(s->loop, stop, s);
}
