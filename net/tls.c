/*
 * tls.c -- TLS 1.3 with an external PSK, through OpenSSL 3.0.
 *
 * OpenSSL reads and writes through a BIO of our own: reading goes straight to
 * the socket, in large pieces; writing gathers records in t->wire.
 */
#include "tls.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define IDENTITY_MAX 64
#define IDENTITY_FMT "pspfs/1 %u %016" PRIx64 " %u %016" PRIx64
#define WIRE_SLACK 4096		/* for alerts and key updates */

struct tls {
	SSL *ssl;
	int fd;
	int err;			/* of the socket, -errno */
	int drained;			/* the last read was a short one */
	int proven;			/* accepting side: see psk_find() */
	const char *why;
	const struct rpc_self *self;	/* accepting side */
	char identity[IDENTITY_MAX];	/* connecting side */
	uint8_t psk[KEY_LEN];
	uint8_t peer_role, own_role;
	uint64_t peer_id;
	size_t head, tail;		/* of what is unsent in wire */
	uint8_t wire[TLS_WIRE_MAX + WIRE_SLACK];
};

static SSL_CTX *shared_ctx;
static BIO_METHOD *shared_bio;
static pthread_once_t shared_once = PTHREAD_ONCE_INIT;

/* ------------------------------------------------------------ the BIO */

static int wire_read(BIO *b, char *p, int n)
{
	struct tls *t = BIO_get_data(b);
	ssize_t got;

	BIO_clear_retry_flags(b);
	if (t->drained) {
		BIO_set_retry_read(b);
		return -1;
	}
	do
		got = recv(t->fd, p, n, 0);
	while (got < 0 && errno == EINTR);
	if (got > 0) {
		/* A short read emptied the socket: spare the next one. */
		t->drained = got < n;
		return got;
	}
	if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		BIO_set_retry_read(b);
	else
		t->err = got ? -errno : -ECONNRESET;
	return -1;
}

static int wire_write(BIO *b, const char *p, int n)
{
	struct tls *t = BIO_get_data(b);

	BIO_clear_retry_flags(b);
	if ((size_t)n > sizeof(t->wire) - t->tail) {
		memmove(t->wire, t->wire + t->head, t->tail - t->head);
		t->tail -= t->head;
		t->head = 0;
	}
	if ((size_t)n > sizeof(t->wire) - t->tail) {
		t->err = -EPROTO;	/* it makes us talk but never listens */
		return -1;
	}
	memcpy(t->wire + t->tail, p, n);
	t->tail += n;
	return n;
}

static long wire_ctrl(BIO *b, int cmd, long num, void *ptr)
{
	(void)b;
	(void)num;
	(void)ptr;
	return cmd == BIO_CTRL_FLUSH;
}

/* ------------------------------------------------------------ the PSK */

static SSL_SESSION *psk_session(SSL *ssl, const uint8_t psk[KEY_LEN])
{
	static const unsigned char aes128_gcm_sha256[] = { 0x13, 0x01 };
	const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, aes128_gcm_sha256);
	SSL_SESSION *s = SSL_SESSION_new();

	if (s && cipher && SSL_SESSION_set1_master_key(s, psk, KEY_LEN) &&
	    SSL_SESSION_set_cipher(s, cipher) &&
	    SSL_SESSION_set_protocol_version(s, TLS1_3_VERSION))
		return s;
	SSL_SESSION_free(s);
	return NULL;
}

static int psk_offer(SSL *ssl, const EVP_MD *md, const unsigned char **id,
		     size_t *id_len, SSL_SESSION **out)
{
	struct tls *t = SSL_get_app_data(ssl);

	*out = NULL;
	if (md && !EVP_MD_is_a(md, "SHA256"))
		return 0;
	*out = psk_session(ssl, t->psk);
	*id = (const unsigned char *)t->identity;
	*id_len = strlen(t->identity);
	return *out != NULL;
}

/* Only the one spelling that we would have written ourselves will do. */
static int parse_identity(struct tls *t, const char *text)
{
	const struct rpc_self *self = t->self;
	char again[IDENTITY_MAX];
	unsigned role, to_role;
	uint64_t id, to_id;

	if (sscanf(text, "pspfs/1 %3u %16" SCNx64 " %3u %16" SCNx64, &role,
		   &id, &to_role, &to_id) != 4 || role > 255)
		return -EPROTO;
	snprintf(again, sizeof(again), IDENTITY_FMT, role, id, to_role, to_id);
	if (strcmp(text, again))
		return -EPROTO;
	if ((to_role != self->role && (!to_role || to_role != self->also)) ||
	    (to_id && to_id != self->id)) {
		t->why = "it wanted somebody else";
		return -EACCES;
	}
	if (role == self->role && id == self->id) {
		t->why = "it says that it is us";
		return -EACCES;
	}
	t->peer_role = role;
	t->peer_id = id;
	t->own_role = to_role;
	return 0;
}

/* No session: OpenSSL then fails the handshake, having no certificate. */
static int psk_find(SSL *ssl, const unsigned char *id, size_t id_len,
		    SSL_SESSION **out)
{
	struct tls *t = SSL_get_app_data(ssl);
	char text[IDENTITY_MAX];
	uint8_t psk[KEY_LEN];

	*out = NULL;
	if (!t->self || id_len >= sizeof(text) || memchr(id, 0, id_len))
		return 1;
	memcpy(text, id, id_len);
	text[id_len] = 0;
	if (parse_identity(t, text) ||
	    key_derive(&t->self->key, text, id_len, psk, sizeof(psk)))
		return 1;
	*out = psk_session(ssl, psk);
	OPENSSL_cleanse(psk, sizeof(psk));
	t->proven = *out != NULL;	/* or the handshake fails at once */
	return *out != NULL;
}

/* ------------------------------------------------------- opening, ends */

static void make_bio(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK,
				     "pspfs");

	if (m && BIO_meth_set_read(m, wire_read) &&
	    BIO_meth_set_write(m, wire_write) &&
	    BIO_meth_set_ctrl(m, wire_ctrl))
		shared_bio = m;
	else
		BIO_meth_free(m);
}

/* One context for both ends of every connection: it holds no secret. */
static void make_shared(void)
{
	SSL_CTX *c = SSL_CTX_new(TLS_method());

	make_bio();
	if (!c)
		return;
	if (!SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION) ||
	    !SSL_CTX_set_ciphersuites(c, "TLS_AES_128_GCM_SHA256") ||
	    !SSL_CTX_set1_groups_list(c, "X25519:P-256") ||
	    !SSL_CTX_set_num_tickets(c, 0)) {
		SSL_CTX_free(c);
		return;
	}
	SSL_CTX_set_options(c, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
	SSL_CTX_clear_options(c, SSL_OP_ENABLE_MIDDLEBOX_COMPAT);
	SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_psk_use_session_callback(c, psk_offer);
	SSL_CTX_set_psk_find_session_callback(c, psk_find);
	SSL_CTX_set_mode(c, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(c, 1);
	SSL_CTX_set_default_read_buffer_len(c, TLS_READ_AHEAD);
	shared_ctx = c;
}

static int open_ssl(struct tls *t, int fd)
{
	BIO *b;

	pthread_once(&shared_once, make_shared);
	if (!shared_ctx || !shared_bio)
		return -ENOMEM;
	t->fd = fd;
	t->ssl = SSL_new(shared_ctx);
	b = BIO_new(shared_bio);
	if (!t->ssl || !b) {
		BIO_free(b);
		return -ENOMEM;
	}
	BIO_set_data(b, t);
	BIO_set_init(b, 1);
	SSL_set_bio(t->ssl, b, b);
	SSL_set_app_data(t->ssl, t);
	return 0;
}

/* The buffer is left untouched, so an idle connection never pays for it. */
static struct tls *new_tls(void)
{
	struct tls *t = malloc(sizeof(*t));

	if (t)
		memset(t, 0, offsetof(struct tls, wire));
	return t;
}

int tls_connect(struct tls **out, int fd, const struct rpc_self *self,
		uint8_t role, uint64_t id)
{
	struct tls *t = new_tls();
	int err;

	if (!t)
		return -ENOMEM;
	snprintf(t->identity, sizeof(t->identity), IDENTITY_FMT, self->role,
		 self->id, role, id);
	t->peer_role = role;
	t->peer_id = id;
	t->own_role = self->role;
	err = key_derive(&self->key, t->identity, strlen(t->identity), t->psk,
			 sizeof(t->psk));
	if (!err)
		err = open_ssl(t, fd);
	if (err) {
		tls_free(t);
		return err;
	}
	SSL_set_connect_state(t->ssl);
	*out = t;
	return 0;
}

int tls_accept(struct tls **out, int fd, const struct rpc_self *self)
{
	struct tls *t = new_tls();
	int err;

	if (!t)
		return -ENOMEM;
	t->self = self;
	err = open_ssl(t, fd);
	if (err) {
		tls_free(t);
		return err;
	}
	SSL_set_accept_state(t->ssl);
	*out = t;
	return 0;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	SSL_free(t->ssl);
	OPENSSL_cleanse(t->psk, sizeof(t->psk));
	free(t);
}

/* -------------------------------------------------------------- errors */

/* These alerts mean, during a handshake, that the PSK is not the same or
 * that the other end refuses who we are. */
static int is_refusal(int reason)
{
	switch (reason) {
	case SSL_R_BINDER_DOES_NOT_VERIFY:
	case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
	case SSL_R_SSLV3_ALERT_ILLEGAL_PARAMETER:
	case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
	case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
		return 1;
	}
	return 0;
}

/* Those of others on this thread: SSL_get_error() would take them for ours.
 * Clearing costs more than looking. */
static void forget_errors(void)
{
	if (ERR_peek_error())
		ERR_clear_error();
}

static int ssl_failure(struct tls *t, int ret)
{
	unsigned long e = ERR_peek_error();
	const char *text = ERR_reason_error_string(e);
	int kind = SSL_get_error(t->ssl, ret);

	ERR_clear_error();
	if (t->err) {
		t->why = strerrordesc_np(-t->err);
		return t->err;
	}
	if (kind == SSL_ERROR_WANT_READ)
		return -EAGAIN;
	if (kind == SSL_ERROR_ZERO_RETURN) {
		t->why = "closed by the other end";
		return -ECONNRESET;
	}
	if (!t->why)
		t->why = text ? text : "TLS error";
	if (!SSL_is_init_finished(t->ssl) && is_refusal(ERR_GET_REASON(e)))
		return -EACCES;
	return -EPROTO;
}

const char *tls_why(const struct tls *t)
{
	return t->why ? t->why : "no reason known";
}

/* ----------------------------------------------------------- handshake */

int tls_handshake(struct tls *t)
{
	int ret;

	t->drained = 0;
	ERR_clear_error();
	ret = SSL_do_handshake(t->ssl);
	if (ret != 1)
		return ssl_failure(t, ret);
	t->self = NULL;
	if (!SSL_session_reused(t->ssl)) {
		t->why = "the key was not used";
		return -EACCES;
	}
	return 0;
}

int tls_proven(const struct tls *t)
{
	return t->proven;
}

void tls_peer(const struct tls *t, uint8_t *role, uint64_t *id)
{
	*role = t->peer_role;
	*id = t->peer_id;
}

uint8_t tls_own_role(const struct tls *t)
{
	return t->own_role;
}

int tls_export(struct tls *t, const char *label, uint8_t *out, size_t n)
{
	if (SSL_export_keying_material(t->ssl, out, n, label, strlen(label),
				       NULL, 0, 0) == 1)
		return 0;
	ERR_clear_error();
	return -EIO;
}

/* ---------------------------------------------------------------- data */

void tls_read_begin(struct tls *t)
{
	t->drained = 0;
}

ssize_t tls_read(struct tls *t, void *p, size_t n)
{
	size_t got;
	int ret;

	if (t->drained && !SSL_has_pending(t->ssl))
		return -EAGAIN;
	forget_errors();
	ret = SSL_read_ex(t->ssl, p, n, &got);
	return ret == 1 ? (ssize_t)got : ssl_failure(t, ret);
}

int tls_has_room(const struct tls *t)
{
	return TLS_WIRE_MAX - (t->tail - t->head) >= TLS_RECORD_WIRE;
}

int tls_write(struct tls *t, const void *p, size_t n)
{
	size_t put;
	int ret;

	assert(n > 0 && n <= TLS_RECORD && tls_has_room(t));
	forget_errors();
	ret = SSL_write_ex(t->ssl, p, n, &put);
	if (ret == 1)
		return 0;
	ret = ssl_failure(t, ret);
	return ret == -EAGAIN ? -EPROTO : ret;
}

void tls_write_end(struct tls *t)
{
	if (SSL_is_init_finished(t->ssl))
		SSL_shutdown(t->ssl);
	ERR_clear_error();
}

size_t tls_unsent(const struct tls *t)
{
	return t->tail - t->head;
}

int tls_send(struct tls *t)
{
	ssize_t n;

	while (t->head < t->tail) {
		n = send(t->fd, t->wire + t->head, t->tail - t->head,
			 MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EWOULDBLOCK ? -EAGAIN : -errno;
		t->head += n;
	}
	t->head = t->tail = 0;
	return 0;
}
