#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "report.h"
#include "status.h"
#include "trouble.h"

/* What every verb takes, apart from any letter. */
enum { CLI_OPTIONS_MAX = 24, CLI_TRACKER = 0x100, CLI_KEY, CLI_JSON };

static int call_cli(const struct ask *a, uint16_t type, struct wr *body,
		    struct buf **out, char *why, size_t why_len)
{
	struct cli *c = a->arg;
	struct ask_wait w = ASK_WAIT_INIT;

	if (why_len)
		why[0] = 0;
	if (body->err) {
		int err = body->err;

		wr_fini(body);
		return err;
	}
	rpc_call(c->rpc, type, 0, body, NULL,
		 a->timeout_ms ? a->timeout_ms : CLI_TIMEOUT_MS, ask_done, &w);
	return ask_result(&w, out, why, why_len);
}

struct ask cli_ask(struct cli *c)
{
	return (struct ask){ .call = call_cli, .arg = c };
}

int cli_call(struct cli *c, uint16_t type, struct wr *body, struct buf **out,
	     char *why, size_t why_len)
{
	struct ask ask = cli_ask(c);

	return ask_call(&ask, type, body, out, why, why_len);
}

int cli_option(struct cli *c, int argc, char **argv,
	       const struct option *own)
{
	struct option all[CLI_OPTIONS_MAX] = {
		{ "tracker", required_argument, NULL, CLI_TRACKER },
		{ "key", required_argument, NULL, CLI_KEY },
		{ "json", no_argument, NULL, CLI_JSON },
	};
	int n = 3, opt;

	opterr = 0;
	for (; own && own->name && n < CLI_OPTIONS_MAX - 1; own++)
		all[n++] = *own;
	for (;;) {
		opt = getopt_long(argc, argv, ":", all, NULL);
		if (opt == CLI_TRACKER)
			c->tracker = optarg;
		else if (opt == CLI_KEY)
			c->key_file = optarg;
		else if (opt == CLI_JSON)
			c->json = 1;
		else if (opt == ':')
			return cli_say('?', "%s needs a value: see pspfs "
				       "--help", argv[optind - 1]);
		else if (opt == '?')
			return cli_say('?', "%s does not know %s: see pspfs "
				       "--help", argv[0], argv[optind - 1]);
		else
			return opt;
	}
}

int cli_say(int code, const char *fmt, ...)
{
	va_list ap;

	fputs("pspfs: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return code;
}

static int say_unreachable(int err, const struct addr *to, const char *key)
{
	char at[ADDR_TEXT_MAX], why[512];

	trouble_tracker(err, addr_text(to, at), key, why, sizeof(why));
	return cli_say(CLI_FAILED, "%s", why);
}

static int say_hello(struct cli *c, const struct addr *to)
{
	struct m_hello h = { .protocol = MSG_PROTOCOL, .role = ROLE_CLIENT };
	struct arena a = ARENA_INIT;
	struct wr w = WR_INIT;
	struct buf *body = NULL;
	char why[MSG_TEXT_MAX + 1];
	int err;

	m_hello_encode(&w, &h);
	err = cli_call(c, M_hello, &w, &body, why, sizeof(why));
	if (err && why[0])
		return cli_say(CLI_FAILED, "the tracker refused: %s", why);
	if (err)
		return say_unreachable(err, to, c->key_file);
	err = m_hello_r_decode(&c->hello, &a, body->data, body->len);
	arena_fini(&a);
	buf_unref(body);
	if (err)
		return cli_say(CLI_FAILED, "the tracker's answer makes no "
			       "sense: is it of another version?");
	return CLI_OK;
}

int cli_open(struct cli *c)
{
	static const struct rpc_ops no_ops;
	struct rpc_self self = { .role = ROLE_CLIENT, .id = random_u64() };
	const char *where = c->tracker ? c->tracker : "127.0.0.1";
	struct addr to;
	char why[512];
	int err;

	if (!c->key_file)
		c->key_file = KEY_DEFAULT;
	if (addr_parse(where, PSPFS_TRACKER_PORT, &to))
		return cli_say(CLI_USAGE, "'%s' is no address of a tracker: "
			       "give HOST or HOST:PORT", where);
	err = key_load(&self.key, c->key_file);
	if (err) {
		key_error(err, c->key_file, why, sizeof(why));
		return cli_say(CLI_FAILED, "%s", why);
	}
	err = loop_new(&c->loop, "pspfs");
	if (!err)
		err = rpc_connect(&c->rpc, c->loop, &self, &to, NULL,
				  ROLE_TRACKER, 0, &no_ops, NULL);
	if (err)
		return say_unreachable(err, &to, c->key_file);
	return say_hello(c, &to);
}

void cli_close(struct cli *c)
{
	if (c->rpc) {
		rpc_close(c->rpc);
		rpc_unref(c->rpc);
	}
	if (c->loop)
		loop_free(c->loop);
	c->rpc = NULL;
	c->loop = NULL;
}

int cli_fetch_status(struct cli *c, struct m_status_r *st, struct arena *a,
		     struct buf **body)
{
	struct ask ask = cli_ask(c);
	char why[MSG_TEXT_MAX + 1];
	int err = report_fetch(&ask, st, a, body, why, sizeof(why));

	if (err)
		return cli_say(CLI_FAILED, "the tracker gave no status: %s",
			       why[0] ? why : strerror(-err));
	return CLI_OK;
}

void cli_peer_text(const struct m_status_r *st, uint32_t num,
		   char out[ADDR_TEXT_MAX])
{
	report_peer_text(st, num, out);
}

int cli_print_json(json_t *j)
{
	int bad = !j || json_dumpf(j, stdout, JSON_INDENT(2)) ||
		  fputc('\n', stdout) == EOF || fflush(stdout);

	json_decref(j);
	return bad ? cli_say(CLI_FAILED, "cannot write the answer") : CLI_OK;
}
