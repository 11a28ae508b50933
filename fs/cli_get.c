/*
 * pspfs get NAME [DEST]: a file from all who hold it, without a mount.
 *
 * We are a guest peer meanwhile, with a small store of our own beside DEST,
 * from which others who fetch the same are served.
 */
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli_get.h"

#define GET_TIMEOUT 10			/* seconds */
#define GET_MD5_RATE (32u << 20)	/* bytes a second that a peer reads and
					   hashes, waited for at most */
#define GET_STORE "256M"
#define GET_MEMORY "64M"
#define GET_STORE_SUFFIX ".pspfs-get"

static volatile sig_atomic_t stopped;	/* by this signal */

static void on_signal(int sig)
{
	stopped = sig;
}

/* Once; a second one ends the process at once. */
static void catch_signals(void)
{
	struct sigaction sa = { .sa_handler = on_signal,
				.sa_flags = SA_RESTART | SA_RESETHAND };

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* --------------------------------------------------------------- arguments */

static int parse(struct get_cmd *g, int argc, char **argv)
{
	static const struct option options[] = {
		{ "track", required_argument, NULL, 'T' },
		{ "force", no_argument, NULL, 'f' },
		{ "timeout", required_argument, NULL, 's' },
		{ "addr", required_argument, NULL, 'a' },
		{ NULL, 0, NULL, 0 },
	};
	const char *dest;
	int opt;

	optind = 0;	/* begin anew */
	while ((opt = cli_option(g->cli, argc, argv, options)) != -1) {
		if (opt == 'T')
			g->track_file = optarg;
		else if (opt == 'f')
			g->force = 1;
		else if (opt == 's')
			g->timeout = optarg;
		else if (opt == 'a')
			g->addr = optarg;
		else
			return CLI_USAGE;
	}
	if (!g->track_file && optind < argc)
		g->name = argv[optind++];
	dest = optind < argc ? argv[optind++] : "";
	if (optind < argc || (!g->name && !g->track_file))
		return cli_say(CLI_USAGE, "get takes NAME, or --track "
			       "FILE.track, and DEST: see pspfs --help");
	if (strlen(dest) >= sizeof(g->dest))
		return cli_say(CLI_USAGE, "%s: the name is too long", dest);
	strcpy(g->dest, dest);
	return CLI_OK;
}

static int read_track(struct get_cmd *g)
{
	FILE *f = fopen(g->track_file, "re");
	char why[512];
	int err;

	if (!f)
		return cli_say(CLI_FAILED, "cannot read %s: %s", g->track_file,
			       strerror(errno));
	err = track_parse(&g->track, f, why, sizeof(why));
	fclose(f);
	if (err)
		return cli_say(CLI_FAILED, "%s: %s", g->track_file,
			       why[0] ? why : strerror(-err));
	return CLI_OK;
}

/* DEST, from what was given and the file's own name; the store's name. */
static int name_dest(struct get_cmd *g)
{
	const char *own = strrchr(g->track.name, '/') + 1, *base;
	size_t n = strlen(g->dest), dir;
	struct stat st;

	if (!n || g->dest[n - 1] == '/' ||
	    (!stat(g->dest, &st) && S_ISDIR(st.st_mode)))
		if (snprintf(g->dest + n, sizeof(g->dest) - n, "%s%s",
			     n && g->dest[n - 1] != '/' ? "/" : "", own) >=
		    (int)(sizeof(g->dest) - n))
			return cli_say(CLI_USAGE, "DEST is too long a name");
	if (!lstat(g->dest, &st) && (!g->force || S_ISDIR(st.st_mode)))
		return cli_say(CLI_FAILED, "%s is there already: %s", g->dest,
			       S_ISDIR(st.st_mode)
				       ? "give another DEST"
				       : "give another DEST, or --force to "
					 "replace it");
	base = strrchr(g->dest, '/');
	base = base ? base + 1 : g->dest;
	dir = (size_t)(base - g->dest);
	if (snprintf(g->store, sizeof(g->store), "%.*s.%s" GET_STORE_SUFFIX,
		     (int)dir, g->dest, base) >= (int)sizeof(g->store))
		return cli_say(CLI_USAGE, "DEST is too long a name");
	return CLI_OK;
}

/* ------------------------------------------------------------ a guest peer */

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *ftw)
{
	(void)st;
	(void)ftw;
	return type == FTW_DP ? rmdir(path) : unlink(path);
}

static void remove_store(const struct get_cmd *g)
{
	nftw(g->store, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int set_opt(struct get_cmd *g, const char *key, const char *value)
{
	char item[PATH_MAX + 32], why[512];

	if (!value)
		return CLI_OK;
	if (snprintf(item, sizeof(item), "%s=%s", key, value) >=
	    (int)sizeof(item))
		return cli_say(CLI_USAGE, "an option's value is too long");
	if (opts_set(&g->opts, item, why, sizeof(why)))
		return cli_say(CLI_USAGE, "%s", why);
	return CLI_OK;
}

static int set_opts(struct get_cmd *g)
{
	int code;

	opts_init(&g->opts);
	g->opts.timeout_s = GET_TIMEOUT;
	code = set_opt(g, "tracker", g->cli->tracker);
	if (code == CLI_OK)
		code = set_opt(g, "key", g->cli->key_file);
	if (code == CLI_OK)
		code = set_opt(g, "timeout", g->timeout);
	if (code == CLI_OK)
		code = set_opt(g, "addr", g->addr);
	if (code == CLI_OK)
		code = set_opt(g, "capacity", GET_STORE);
	return code == CLI_OK ? set_opt(g, "memory", GET_MEMORY) : code;
}

/* The peers of the tracker file, as the tracker would list them. */
static int know_holders(struct get_cmd *g)
{
	const struct track *t = &g->track;
	struct m_peer *v = calloc(t->n_holders + 1, sizeof(*v));

	if (!v)
		return cli_say(CLI_FAILED, "no memory");
	for (size_t i = 0; i < t->n_holders; i++)
		v[i] = (struct m_peer){
			.num = t->holders[i].num, .id = t->holders[i].id,
			.addr = str_of(t->holders[i].addr),
			.port = t->holders[i].port, .state = PEER_ALIVE,
		};
	peer_know(g->peer, v, (uint32_t)t->n_holders);
	free(v);
	return CLI_OK;
}

static int start_peer(struct get_cmd *g)
{
	struct peer_config cfg;
	char why[1024];
	int err;

	err = opts_finish(&g->opts, &cfg, why, sizeof(why));
	if (err)
		return cli_say(CLI_USAGE, "%s", why);
	addr_set_port(&cfg.addr, 0);
	cfg.store_dir = g->store;
	cfg.guest = 1;
	cfg.apart = g->track_file ? g->track.swarm : 0;
	remove_store(g);	/* of one that was killed: the part is locked */
	err = peer_start(&g->peer, &cfg, NULL, why, sizeof(why));
	if (err)
		return cli_say(CLI_FAILED, "%s", why);
	if (!peer_is_apart(g->peer))
		return CLI_OK;
	fprintf(stderr, "pspfs: %s; asking the holders that %s names\n", why,
		g->track_file);
	return know_holders(g);
}

/* -------------------------------------------------------------- the course */

static int on_step(void *arg, uint64_t done, uint64_t total)
{
	struct get_cmd *g = arg;
	const char *base = strrchr(g->dest, '/');
	struct bar_line line = { .name = base ? base + 1 : g->dest,
				 .done = done, .total = total };
	unsigned guests = 0, n = 0;
	char note[96], rate[16];

	for (size_t i = 0; i < g->result.n_sources; i++) {
		n++;
		guests += g->result.sources[i].num >= MSG_GUEST_FIRST;
	}
	snprintf(note, sizeof(note), "%s/s from %u (%u receivers)",
		 size_text((uint64_t)bars_rate(&g->bars), rate), n, guests);
	line.note = g->doing ? g->doing : note;
	bars_draw(&g->bars, &line, 1, 0);
	return stopped;
}

static int interrupted(const struct get_cmd *g)
{
	cli_say(0, "interrupted: what was fetched stays in %s, and the same "
		"command goes on with it", g->part.path);
	return 128 + stopped;
}

static int say_failed(struct get_cmd *g, int err)
{
	if (err == -ECANCELED && stopped)
		return interrupted(g);
	if (err == -ENODATA)
		return cli_get_missing(g);
	return cli_say(CLI_FAILED, "%s",
		       g->part.why[0] ? g->part.why : strerror(-err));
}

static int md5_step(void *arg)
{
	struct get_cmd *g = arg;

	if (!link_is_up(peer_link(g->peer)))	/* it went meanwhile */
		return 1;
	return on_step(g, g->track.size, g->track.size);
}

/* Not known when we began: a peer may compute it now.  Every chunk has been
 * checked, so only an interruption is an error. */
static int learn_md5(struct get_cmd *g)
{
	struct ask ask = ask_link_until(&g->asking);
	uint64_t ms = g->opts.timeout_s * 1000ull +
		      g->track.size * 1000 / GET_MD5_RATE;

	if (g->track.has_md5 || peer_is_apart(g->peer) ||
	    !link_is_up(peer_link(g->peer)))
		return 0;
	g->doing = "waiting for the MD5 of the whole";
	g->asking.link = peer_link(g->peer);
	g->asking.step = md5_step;
	g->asking.arg = g;
	ask.timeout_ms = ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
	track_compute_md5(&g->track, &ask, NULL, 0);
	return stopped ? -ECANCELED : 0;
}

static int fetch_all(struct get_cmd *g)
{
	int code, err;

	g->have = malloc(g->track.n_pieces + 1);
	if (!g->have)
		return cli_say(CLI_FAILED, "no memory");
	err = part_open(&g->part, &g->track, g->dest);
	if (err)
		return cli_say(CLI_FAILED, "%s", g->part.why);
	g->doing = "checking what is there";
	err = part_check(&g->part, g->have, on_step, g);
	if (err)
		return say_failed(g, err);
	code = start_peer(g);
	if (code != CLI_OK)
		return stopped ? interrupted(g) : code;
	g->doing = NULL;
	err = get_run(&g->result, g->peer, &g->part, g->have,
		      g->opts.timeout_s * 1000, on_step, g);
	if (!err)
		err = learn_md5(g);
	g->doing = "checking the whole";
	if (!err)
		err = part_verify(&g->part, on_step, g);
	if (!err)
		err = part_finish(&g->part, g->force);
	if (err)
		return say_failed(g, err);
	return CLI_OK;
}

/* ----------------------------------------------------------------- the end */

static void fini(struct get_cmd *g)
{
	peer_stop(g->peer);
	ask_stop_fini(&g->asking);
	if (g->part.fd >= 0 && g->part.path[0])
		remove_store(g);
	part_close(&g->part);
	get_result_fini(&g->result);
	track_fini(&g->track);
	free(g->have);
}

int cli_get(struct cli *c, int argc, char **argv)
{
	static struct get_cmd g;	/* its paths are large */
	int code, shown;

	g.cli = c;
	g.part.fd = -1;
	ask_stop_init(&g.asking);
	g.begun_ms = now_ms();
	code = parse(&g, argc, argv);
	if (code == CLI_OK)
		code = g.track_file ? read_track(&g)
				    : cli_gather(c, g.name, &g.track);
	cli_close(c);
	if (code == CLI_OK)
		code = name_dest(&g);
	if (code == CLI_OK)
		code = set_opts(&g);
	if (code != CLI_OK) {
		fini(&g);
		return code;
	}
	catch_signals();
	bars_init(&g.bars, c->json);
	code = fetch_all(&g);
	shown = c->json ? cli_get_json(&g, code) : CLI_OK;
	if (!c->json && code == CLI_OK)
		cli_get_text(&g);
	fini(&g);
	return code == CLI_OK ? shown : code;
}
