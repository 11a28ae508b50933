/*
 * rpc_raw.h -- the other end of a connection, written with OpenSSL and
 * blocking sockets, independently of net/.  After rpc_rig.h.
 */
#ifndef RPC_RAW_H
#define RPC_RAW_H

#include <openssl/err.h>
#include <openssl/ssl.h>

struct raw {
	SSL_CTX *ctx;
	SSL *ssl;
	int fd;
	const struct key *key;
	const char *identity;	/* of the connecting side; NULL: no PSK */
	uint8_t psk[KEY_LEN];
};

static inline SSL_SESSION *raw_session(SSL *ssl, const uint8_t *psk)
{
	static const unsigned char id[] = { 0x13, 0x01 };
	SSL_SESSION *s = SSL_SESSION_new();

	SSL_SESSION_set1_master_key(s, psk, KEY_LEN);
	SSL_SESSION_set_cipher(s, SSL_CIPHER_find(ssl, id));
	SSL_SESSION_set_protocol_version(s, TLS1_3_VERSION);
	return s;
}

static inline int raw_use(SSL *ssl, const EVP_MD *md, const unsigned char **id,
			  size_t *len, SSL_SESSION **out)
{
	struct raw *r = SSL_get_app_data(ssl);

	(void)md;
	*out = r->identity ? raw_session(ssl, r->psk) : NULL;
	*id = (const unsigned char *)r->identity;
	*len = r->identity ? strlen(r->identity) : 0;
	return 1;
}

static inline int raw_find(SSL *ssl, const unsigned char *id, size_t len,
			   SSL_SESSION **out)
{
	struct raw *r = SSL_get_app_data(ssl);

	if (key_derive(r->key, id, len, r->psk, KEY_LEN))
		return 0;
	*out = raw_session(ssl, r->psk);
	return 1;
}

static inline void raw_tls(struct raw *r, int fd, const struct key *key)
{
	struct timeval tv = { RIG_WAIT_S, 0 };

	r->fd = fd;
	r->key = key;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	r->ctx = SSL_CTX_new(TLS_method());
	SSL_CTX_set_psk_use_session_callback(r->ctx, raw_use);
	SSL_CTX_set_psk_find_session_callback(r->ctx, raw_find);
	SSL_CTX_set_num_tickets(r->ctx, 0);
	SSL_CTX_set_ciphersuites(r->ctx, "TLS_AES_128_GCM_SHA256");
	r->ssl = SSL_new(r->ctx);
	SSL_set_app_data(r->ssl, r);
	SSL_set_fd(r->ssl, fd);
}

static inline int raw_socket(uint16_t port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct addr a;

	assert_true(fd >= 0);
	assert_int_equal(addr_from_ip(RIG_IP, sizeof(RIG_IP) - 1, port, &a), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a.ss, a.len), 0);
	return fd;
}

/* A connection to @port, before its handshake. */
static inline void raw_open(struct raw *r, uint16_t port, const struct key *key,
		     const char *identity)
{
	memset(r, 0, sizeof(*r));
	r->identity = identity;
	if (identity)
		assert_int_equal(key_derive(key, identity, strlen(identity),
					    r->psk, KEY_LEN), 0);
	raw_tls(r, raw_socket(port), key);
}

static inline void raw_close(struct raw *r)
{
	SSL_free(r->ssl);
	SSL_CTX_free(r->ctx);
	close(r->fd);
	ERR_clear_error();
}

static inline void raw_put(struct raw *r, const void *p, size_t n)
{
	if (n)
		assert_int_equal(SSL_write(r->ssl, p, n), (int)n);
}

static inline int raw_get(struct raw *r, uint8_t *p, int n)
{
	int got = 0, k;

	while (got < n) {
		k = SSL_read(r->ssl, p + got, n - got);
		if (k <= 0)
			break;
		got += k;
	}
	ERR_clear_error();
	return got;
}

static inline void raw_header(uint8_t h[RPC_HEADER], uint32_t body,
			      uint32_t bulk, uint32_t number, uint16_t type,
			      uint16_t word)
{
	put_u32(h, body);
	put_u32(h + 4, bulk);
	put_u32(h + 8, number);
	put_u16(h + 12, type);
	put_u16(h + 14, word);
}

static inline void raw_frame(struct raw *r, uint32_t body, uint32_t bulk,
			     uint32_t number, uint16_t type, uint16_t word)
{
	uint8_t h[RPC_HEADER];

	raw_header(h, body, bulk, number, type, word);
	raw_put(r, h, sizeof(h));
}

#endif
