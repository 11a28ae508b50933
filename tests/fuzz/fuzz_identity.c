/*
 * fuzz_identity -- who a stranger says he is, before TLS has proven it.
 *
 * Input: our role, our other role, u8 each; our id u64; the identity.  One
 * that is accepted is spelt as we would, is meant for us, and is not us.
 */
#include "tls.c"

#include "fuzz.h"
#include "msg.h"

static SSL *ssl;		/* one for all: OpenSSL makes them slowly */

/* As tls.h has it. */
static int is_spelt(const struct tls *t, uint64_t target, const uint8_t *p,
		    size_t n)
{
	char text[IDENTITY_MAX];

	snprintf(text, sizeof(text), IDENTITY_FMT, t->peer_role, t->peer_id,
		 t->own_role, target);
	return strlen(text) == n && !memcmp(text, p, n);
}

static void check_accepted(const struct tls *t, const uint8_t *p, size_t n)
{
	const struct rpc_self *self = t->self;

	MUST(is_spelt(t, 0, p, n) || is_spelt(t, self->id, p, n));
	MUST(t->own_role == self->role ||
	     (t->own_role && t->own_role == self->also));
	MUST(t->peer_role != self->role || t->peer_id != self->id);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct tls t;
	struct rpc_self self = { .key = { { 0 } } };
	SSL_SESSION *found = (SSL_SESSION *)&self;
	struct rd r;

	pthread_once(&shared_once, make_shared);
	if (!ssl)
		ssl = SSL_new(shared_ctx);
	rd_init(&r, p, n);
	self.role = rd_u8(&r);
	self.also = rd_u8(&r);
	self.id = rd_u64(&r);
	p = fuzz_rest(&r, &n);
	if (!p)
		return 0;
	t = (struct tls){ .self = &self };
	SSL_set_app_data(ssl, &t);
	MUST(psk_find(ssl, p, n, &found) == 1);
	if (found)
		check_accepted(&t, p, n);
	SSL_SESSION_free(found);
	return 0;
}

static void seed(const char *name, uint8_t role, uint8_t also, uint64_t id,
		 const char *text)
{
	struct wr w = WR_INIT;

	wr_u8(&w, role);
	wr_u8(&w, also);
	wr_u64(&w, id);
	wr_bytes(&w, text, strlen(text));
	fuzz_seed_wr(name, &w);
}

void fuzz_seeds(void)
{
	static const char good[] =
		"pspfs/1 1 0000000000002222 2 0000000000001111";
	static const char any[] =
		"pspfs/1 1 00000000000000ab 4 0000000000000000";

	seed("good", ROLE_TRACKER, ROLE_RELAY, 0x1111, good);
	seed("relay", ROLE_TRACKER, ROLE_RELAY, 0x1111, any);
	seed("other", ROLE_PEER, 0, 0x1111, good);
	seed("we", ROLE_PEER, ROLE_TRACKER, 0x2222, good);
	seed("role", ROLE_TRACKER, 0, 0,
	     "pspfs/1 255 ffffffffffffffff 2 0000000000000000");
}
