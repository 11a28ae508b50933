/*
 * pspfs share FILE [NAME]: a peer on this machine becomes a holder of it.
 *
 * The file is opened here and its descriptor goes to the peer, through the
 * socket in the peer's store.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "bars.h"
#include "byte_range.h"
#include "cli.h"
#include "layout.h"
#include "local.h"
#include "opts.h"
#include "status.h"

#define SHARE_QUIET_S 180	/* longer than a peer's calls, by default */

struct share_args {
	const char *file, *range, *store, *peer;
	char name[MSG_PATH_MAX];	/* in the swarm */
	struct byte_range bytes;	/* of range */
	struct m_share m;
	int fd;
	struct stat st;
};

/* ---------------------------------------------------------------- options */

static int take_copies(struct share_args *a, const char *s)
{
	char *end;
	unsigned long n = strtoul(s, &end, 10);

	if (!strcmp(s, "all"))
		n = MSG_COPIES_ALL;
	else if (*end || !n || n >= MSG_COPIES_ALL)
		return cli_say(CLI_USAGE, "--copies %s: give a number from 1 "
			       "to 254, or all", s);
	a->m.copies = (uint8_t)n;
	return CLI_OK;
}

static int take_chunk_size(struct share_args *a, const char *s)
{
	uint64_t n;

	if (size_parse(s, &n) || n < 1024 || n > STORE_CHUNK_MAX ||
	    (n & (n - 1)))
		return cli_say(CLI_USAGE, "--chunk-size %s: give a power of "
			       "two from 1K to 16M", s);
	a->m.slot_size = (uint32_t)n;
	return CLI_OK;
}

static int take_range(struct share_args *a, const char *s)
{
	a->range = s;
	if (byte_range_parse(s, &a->bytes))
		return cli_say(CLI_USAGE, "--range %s: give FIRST-END, as in "
			       "0-10M or 20%%-40%%; END is not in it", s);
	if (byte_range_is_all(&a->bytes))
		a->range = NULL;
	return CLI_OK;
}

static int take_options(struct cli *c, struct share_args *a, int argc,
			char **argv)
{
	static const struct option options[] = {
		{ "range", required_argument, NULL, 'r' },
		{ "copies", required_argument, NULL, 'c' },
		{ "chunk-size", required_argument, NULL, 's' },
		{ "store", required_argument, NULL, 'd' },
		{ "peer", required_argument, NULL, 'p' },
		{ NULL, 0, NULL, 0 },
	};
	int opt, code = CLI_OK;

	optind = 0;		/* from the beginning */
	while (code == CLI_OK &&
	       (opt = cli_option(c, argc, argv, options)) != -1) {
		if (opt == 'r')
			code = take_range(a, optarg);
		else if (opt == 'c')
			code = take_copies(a, optarg);
		else if (opt == 's')
			code = take_chunk_size(a, optarg);
		else if (opt == 'd')
			a->store = optarg;
		else if (opt == 'p')
			a->peer = optarg;
		else
			code = CLI_USAGE;
	}
	return code;
}

static int take_args(struct cli *c, struct share_args *a, int argc,
		     char **argv)
{
	const char *base;
	int code = take_options(c, a, argc, argv), n = argc - optind;

	if (code != CLI_OK)
		return code;
	if (n < 1 || n > 2)
		return cli_say(CLI_USAGE, "usage: pspfs share FILE [NAME] "
			       "[--range A-B] [--copies N] [--chunk-size SIZE] "
			       "[--store DIR | --peer ADDR]");
	if (a->store && a->peer)
		return cli_say(CLI_USAGE, "--store and --peer both say which "
			       "peer: give one of them");
	a->file = argv[optind];
	if (n == 2)
		return cli_swarm_path(c, argv[optind + 1], a->name);
	base = strrchr(a->file, '/');
	if (snprintf(a->name, sizeof(a->name), "/%s",
		     base ? base + 1 : a->file) >= (int)sizeof(a->name))
		return cli_say(CLI_USAGE, "%s: the name is too long", a->file);
	return CLI_OK;
}

/* --------------------------------------------------------------- the file */

static int open_file(struct share_args *a)
{
	a->fd = open(a->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (a->fd < 0 || fstat(a->fd, &a->st))
		return cli_say(CLI_FAILED, "%s: %s", a->file, strerror(errno));
	if (!S_ISREG(a->st.st_mode))
		return cli_say(CLI_FAILED, "%s: it is not a regular file: only "
			       "those can be shared", a->file);
	a->m.mode = a->st.st_mode & 0777;
	a->m.uid = geteuid();
	a->m.gid = getegid();
	return CLI_OK;
}

/* What the tracker knows of NAME, for percentages. */
static int find_name(struct cli *c, const struct share_args *a,
		     struct m_attr *at)
{
	struct ask ask;
	int err, code = cli_open(c);

	if (code != CLI_OK)
		return code;
	ask = cli_ask(c);
	err = layout_find(&ask, a->name, at);
	if (err == -ENOENT)
		return cli_say(CLI_FAILED, "%s is not in the swarm, and only a "
			       "peer that has the whole file can create it: "
			       "share it whole first, without a range",
			       a->name);
	if (err)
		return cli_say(CLI_FAILED, "%s: %s", a->name, strerror(-err));
	return CLI_OK;
}

/* Percentages: of the file in the swarm, in whole chunks of it if FILE is
 * the whole file. */
static int percent_range(struct cli *c, struct share_args *a)
{
	uint64_t size = (uint64_t)a->st.st_size;
	struct m_attr at;
	int err, code = find_name(c, a, &at);

	if (code != CLI_OK)
		return code;
	a->m.part = size != at.size;
	err = byte_range_of(&a->bytes, at.size,
			    a->m.part || !at.slot_size ? 1 : at.slot_size,
			    &a->m.first, &a->m.end);
	if (err)
		return cli_say(CLI_FAILED, "no whole chunk of %s lies in %s: "
			       "it has %" PRIu64 " bytes, in chunks of %" PRIu32
			       "; give a longer range", a->name, a->range,
			       at.size, at.slot_size);
	return CLI_OK;
}

static int resolve_range(struct cli *c, struct share_args *a)
{
	if (!a->range)
		return CLI_OK;
	if (a->bytes.percent)
		return percent_range(c, a);
	a->m.first = a->bytes.first;
	a->m.end = a->bytes.end;
	a->m.part = (uint64_t)a->st.st_size == a->m.end - a->m.first;
	return CLI_OK;
}

/* ---------------------------------------------------------------- the peer */

static int say_no_peer(const char *store, int err)
{
	if (err == -EACCES || err == -EPERM)
		return cli_say(CLI_FAILED, "%s: no permission to give commands "
			       "to that peer: run this as root or as its user",
			       store);
	if (err == -ENOENT || err == -ECONNREFUSED)
		return cli_say(CLI_FAILED, "%s: no peer runs with that store: "
			       "start mount.pspfs or psppeerd, or give the "
			       "store of one that runs with --store DIR",
			       store);
	return cli_say(CLI_FAILED, "%s: %s", store, strerror(-err));
}

/* The only one of the default stores that has a running peer. */
static int find_peer(int *sock, char *store, size_t len)
{
	char found[1024] = "";
	int err = -ENOENT, n = 0;
	glob_t g = { 0 };

	glob(OPTS_STORE_DEFAULT, 0, NULL, &g);
	glob(OPTS_STORE_DEFAULT "-*", GLOB_APPEND, NULL, &g);
	snprintf(store, len, "%s", OPTS_STORE_DEFAULT);
	for (size_t i = 0; i < g.gl_pathc; i++) {
		int fd = local_connect(g.gl_pathv[i]);
		size_t have = strlen(found);

		if (fd < 0) {
			if (fd == -EACCES)
				err = fd;
			continue;
		}
		snprintf(found + have, sizeof(found) - have, " %s",
			 g.gl_pathv[i]);
		if (n++) {
			close(fd);
			continue;
		}
		*sock = fd;
		snprintf(store, len, "%s", g.gl_pathv[i]);
	}
	globfree(&g);
	if (!n)
		return say_no_peer(store, err);
	if (n == 1)
		return CLI_OK;
	return cli_say(CLI_FAILED, "several peers run on this machine, with "
		       "their stores in%s: say which one with --store DIR",
		       found);
}

static int connect_peer(const struct share_args *a, int *sock)
{
	const struct timeval quiet = { SHARE_QUIET_S, 0 };
	char store[PATH_MAX];
	int code = CLI_OK;

	*sock = -1;
	if (a->store)
		snprintf(store, sizeof(store), "%s", a->store);
	else if (a->peer)
		snprintf(store, sizeof(store), OPTS_STORE_DEFAULT "-%s",
			 a->peer);
	else
		code = find_peer(sock, store, sizeof(store));
	if (a->store || a->peer) {
		*sock = local_connect(store);
		if (*sock < 0)
			code = say_no_peer(store, *sock);
	}
	if (code == CLI_OK)
		setsockopt(*sock, SOL_SOCKET, SO_RCVTIMEO, &quiet,
			   sizeof(quiet));
	return code;
}

/* -------------------------------------------------------------- the answer */

static int say_refused(const struct share_args *a,
		       const struct local_packet *p)
{
	struct arena mem = ARENA_INIT;
	struct m_error e;

	if (!m_error_decode(&e, &mem, p->body, p->len) && e.text.len)
		cli_say(CLI_FAILED, "%s: %.*s", a->file, (int)e.text.len,
			e.text.p);
	else
		cli_say(CLI_FAILED, "%s: %s", a->file,
			strerror(-status_to_errno(p->status)));
	arena_fini(&mem);
	return CLI_FAILED;
}

static void draw(struct bars *b, const struct share_args *a,
		 const struct local_packet *p, int last)
{
	static struct bar_line line;
	struct arena mem = ARENA_INIT;
	struct m_sharing s;

	line.name = a->name;
	if (!last && !m_sharing_decode(&s, &mem, p->body, p->len)) {
		line.done = s.done;
		line.total = s.total;
	}
	if (last)
		line.done = line.total;
	if (line.total)
		bars_draw(b, &line, 1, last);
	arena_fini(&mem);
}

/* The answer; what comes before it is progress. */
static int hear(const struct cli *c, const struct share_args *a, int sock,
		struct m_share_r *out)
{
	struct arena mem = ARENA_INIT;
	struct local_packet p;
	struct bars bars;
	int err;

	bars_init(&bars, c->json);
	while (!(err = local_receive(sock, &p)) && p.type == M_sharing &&
	       !p.status)
		draw(&bars, a, &p, 0);
	if (err == -EAGAIN)
		return cli_say(CLI_FAILED, "the peer said nothing for %d "
			       "seconds: see its log", SHARE_QUIET_S);
	if (err)
		return cli_say(CLI_FAILED, "the peer ended meanwhile: start it "
			       "and share the file again");
	if (p.status)
		return say_refused(a, &p);
	if (p.type != M_share_r ||
	    m_share_r_decode(out, &mem, p.body, p.len))
		err = -EBADMSG;
	arena_fini(&mem);
	if (err)
		return cli_say(CLI_FAILED, "the peer's answer makes no sense: "
			       "install the same version of pspfs");
	draw(&bars, a, &p, 1);
	return CLI_OK;
}

static int print(const struct cli *c, const struct share_args *a,
		 const struct m_share_r *r)
{
	char md5[2 * MD5_LEN + 1], size[16];
	json_t *j;

	hex_text(r->md5, MD5_LEN, md5);
	if (!c->json) {
		printf("%s %s: this peer holds %" PRIu64 " chunks of it, %s\n",
		       r->created ? "created" : "joined", a->name, r->chunks,
		       size_text(r->bytes, size));
		if (r->created)
			printf("md5 %s\n", md5);
		return CLI_OK;
	}
	j = json_pack("{s:s s:b s:I s:I s:I s:I}", "name", a->name, "created",
		      r->created, "inode", (json_int_t)r->ino, "size",
		      (json_int_t)r->size, "chunks", (json_int_t)r->chunks,
		      "bytes", (json_int_t)r->bytes);
	if (j && r->created)
		json_object_set_new(j, "md5", json_string(md5));
	return cli_print_json(j);
}

static int ask_peer(const struct cli *c, struct share_args *a, int sock)
{
	struct wr w = WR_INIT;
	struct m_share_r r;
	int err, code;

	a->m.name = str_of(a->name);
	m_share_encode(&w, &a->m);	/* a failure shows in w.err */
	err = local_send(sock, M_share, &w, a->fd);
	if (err && err != -EPIPE)	/* then it said why, before */
		return cli_say(CLI_FAILED, "the peer cannot be asked: %s",
			       strerror(-err));
	code = hear(c, a, sock, &r);
	return code == CLI_OK ? print(c, a, &r) : code;
}

int cli_share(struct cli *c, int argc, char **argv)
{
	struct share_args a = { .fd = -1, .m.copies = 1 };
	int sock = -1, code = take_args(c, &a, argc, argv);

	if (code == CLI_OK)
		code = open_file(&a);
	if (code == CLI_OK)
		code = resolve_range(c, &a);
	if (code == CLI_OK)
		code = connect_peer(&a, &sock);
	if (code == CLI_OK)
		code = ask_peer(c, &a, sock);
	if (sock >= 0)
		close(sock);
	if (a.fd >= 0)
		close(a.fd);
	return code;
}
