/*
 * pspfs distribute FILE [NAME]: a local file becomes one of the swarm's, in
 * disjoint parts, one at each active peer.
 *
 * It is made under a hidden name, filled, verified if it is to be deleted
 * here, and only then renamed to NAME, so that nobody sees half of it.  On
 * failure the hidden one is removed again.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bars.h"
#include "distribute.h"
#include "file_md5.h"
#include "hidden.h"
#include "layout.h"
#include "store.h"

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

struct work {
	struct cli *c;
	const char *file, *name;	/* as given */
	int delete;
	uint32_t slot_size;
	int fd;
	struct stat st;
	struct hidden hidden;
	struct member member;
	struct dist_part *parts;
	struct bar_line *lines;
	uint32_t n;
	struct bars bars;
	int verifying;
	struct file_md5 *sum;
	uint8_t md5[MD5_LEN];
	uint64_t version;
};

/* ------------------------------------------------------------ command line */

static int take_size(struct work *v, const char *text)
{
	uint64_t n;

	if (size_parse(text, &n) || n < 1024 || n > STORE_CHUNK_MAX ||
	    (n & (n - 1)))
		return cli_say(CLI_USAGE, "--chunk-size %s: give a power of "
			       "two from 1K to 16M", text);
	v->slot_size = (uint32_t)n;
	return CLI_OK;
}

static int take_options(struct work *v, int argc, char **argv)
{
	static const struct option own[] = {
		{ "delete", no_argument, NULL, 'd' },
		{ "chunk-size", required_argument, NULL, 's' },
		{ NULL, 0, NULL, 0 },
	};
	int opt, code = CLI_OK;

	while (code == CLI_OK &&
	       (opt = cli_option(v->c, argc, argv, own)) != -1) {
		if (opt == 'd')
			v->delete = 1;
		else if (opt == 's')
			code = take_size(v, optarg);
		else
			code = CLI_USAGE;
	}
	if (code != CLI_OK)
		return code;
	if (argc - optind < 1 || argc - optind > 2)
		return cli_say(CLI_USAGE, "distribute takes a FILE and, if it "
			       "is to be called otherwise, a NAME");
	v->file = argv[optind];
	v->name = argc - optind == 2 ? argv[optind + 1] : NULL;
	return CLI_OK;
}

static int open_file(struct work *v)
{
	v->fd = open(v->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (v->fd < 0 || fstat(v->fd, &v->st))
		return cli_say(CLI_FAILED, "%s: %s", v->file, strerror(errno));
	if (!S_ISREG(v->st.st_mode))
		return cli_say(CLI_FAILED, "%s: not a regular file: only "
			       "those can be distributed", v->file);
	return CLI_OK;
}

/* Where it is to be: the file's own name, if none was given. */
static int find_place(struct work *v)
{
	const char *base = strrchr(v->file, '/');
	char path[MSG_PATH_MAX];
	struct ask ask;
	int code;

	base = base ? base + 1 : v->file;
	if (v->name) {
		code = cli_swarm_path(v->c, v->name, path);
		if (code != CLI_OK)
			return code;
	} else {
		snprintf(path, sizeof(path), "/%s", base);
	}
	code = cli_open(v->c);
	if (code != CLI_OK)
		return code;
	ask = cli_ask(v->c);
	return hidden_place(&v->hidden, &ask, path, base);
}

/* -------------------------------------------------------------- who gets what */

static int is_active(const struct m_peer *p)
{
	return p->state != PEER_GONE && !p->guest && p->reach != REACH_NO;
}

static int plan(struct work *v)
{
	struct arena a = ARENA_INIT;
	struct buf *body = NULL;
	struct m_status_r st;
	uint64_t size = (uint64_t)v->st.st_size;
	int code = cli_fetch_status(v->c, &st, &a, &body);

	if (code != CLI_OK)
		goto out;
	if (!v->slot_size)
		v->slot_size = st.slot_size;
	v->parts = calloc(st.n_peers + 1, sizeof(*v->parts));
	v->lines = calloc(st.n_peers + 1, sizeof(*v->lines));
	if (!v->parts || !v->lines) {
		code = cli_say(CLI_FAILED, "no memory");
		goto out;
	}
	for (uint32_t i = 0; i < st.n_peers; i++)
		if (is_active(&st.peers[i])) {
			v->parts[v->n].num = st.peers[i].num;
			cli_peer_text(&st, st.peers[i].num,
				      v->parts[v->n++].name);
		}
	for (uint32_t i = 0; i < v->n; i++)
		v->parts[i].range = parts_plan(size, v->slot_size, v->n, i);
	if (!v->n)
		code = cli_say(CLI_FAILED, "no active peer can be connected "
			       "to: start some, and see pspfs status");
out:
	arena_fini(&a);
	buf_unref(body);
	return code;
}

/* ------------------------------------------------------------------ the work */

static void draw(struct work *v, int last)
{
	for (uint32_t i = 0; i < v->n; i++) {
		const struct dist_part *t = &v->parts[i];

		v->lines[i] = (struct bar_line){
			.name = t->name,
			.done = t->seen,
			.total = t->range.end - t->range.from,
			.note = v->verifying ? "verified" : NULL,
		};
	}
	bars_draw(&v->bars, v->lines, v->n, last);
}

static void on_progress(void *arg)
{
	draw(arg, 0);
}

static int check_unchanged(const struct work *v)
{
	struct stat now;

	if (fstat(v->fd, &now))
		return cli_say(CLI_FAILED, "%s: %s", v->file, strerror(errno));
	if (now.st_size != v->st.st_size ||
	    now.st_mtim.tv_sec != v->st.st_mtim.tv_sec ||
	    now.st_mtim.tv_nsec != v->st.st_mtim.tv_nsec)
		return cli_say(CLI_FAILED, "%s was changed while it was read: "
			       "nothing was distributed; try again when "
			       "nobody writes to it", v->file);
	return CLI_OK;
}

static int send_and_verify(struct work *v)
{
	struct dist_config cfg = {
		.member = &v->member, .fd = v->fd,
		.size = (uint64_t)v->st.st_size, .ino = v->hidden.ino,
		.slot_size = v->slot_size, .mtime = v->st.st_mtim,
		.parts = v->parts, .n_parts = v->n, .stop = &interrupted,
		.progress = on_progress, .arg = v,
	};
	struct distribute *d;
	char why[512] = "";
	int err = distribute_new(&d, &cfg);

	if (err)
		return cli_say(CLI_FAILED, "%s", strerror(-err));
	err = distribute_send(d, &v->version, why, sizeof(why));
	draw(v, 1);
	if (!err && v->delete) {
		v->verifying = 1;
		err = distribute_verify(d, why, sizeof(why));
		draw(v, 1);
	}
	distribute_free(d);
	if (err)
		return cli_say(CLI_FAILED, "%s: nothing was distributed%s: %s",
			       v->file, v->delete ? ", and it is still here"
						  : "", why);
	return check_unchanged(v);
}

/* Who reads the swarm's file needs not compute it. */
static int tell_md5(struct work *v, const struct ask *ask)
{
	struct m_digested m = { .ino = v->hidden.ino, .version = v->version };
	struct buf *body = NULL;
	struct wr w = WR_INIT;
	int err = file_md5_end(v->sum, v->md5);

	v->sum = NULL;
	if (err)
		return cli_say(CLI_FAILED, "%s: cannot be read: %s", v->file,
			       strerror(-err));
	memcpy(m.md5, v->md5, MD5_LEN);
	m_digested_encode(&w, &m);	/* a failure shows in w.err */
	(void)ask_call(ask, M_digested, &w, &body, NULL, 0);
	buf_unref(body);
	return CLI_OK;
}

static int run(struct work *v)
{
	struct ask ask = ask_link(v->member.link);
	int code = hidden_make(&v->hidden, &ask, v->slot_size, &v->st), err;

	if (code != CLI_OK)
		return code;
	err = file_md5_begin(&v->sum, v->fd, (uint64_t)v->st.st_size);
	if (err)
		code = cli_say(CLI_FAILED, "%s", strerror(-err));
	if (code == CLI_OK)
		code = send_and_verify(v);
	if (code == CLI_OK)
		code = tell_md5(v, &ask);
	if (code == CLI_OK)
		code = hidden_show(&v->hidden, &ask);
	if (code != CLI_OK)
		hidden_remove(&v->hidden, &ask);
	return code;
}

/* Only what was read, and only under the name by which it was given. */
static int delete_file(const struct work *v)
{
	struct stat now;

	if (lstat(v->file, &now) || now.st_ino != v->st.st_ino ||
	    now.st_dev != v->st.st_dev)
		return cli_say(CLI_FAILED, "%s is a link, or something else by "
			       "now: it was distributed, but not deleted",
			       v->file);
	if (unlink(v->file))
		return cli_say(CLI_FAILED, "%s was distributed, but cannot be "
			       "deleted: %s", v->file, strerror(errno));
	return CLI_OK;
}

/* ------------------------------------------------------------------ results */

static int print_json(const struct work *v, int deleted)
{
	char md5[2 * MD5_LEN + 1];
	json_t *parts = json_array();

	hex_text(v->md5, MD5_LEN, md5);
	for (uint32_t i = 0; i < v->n; i++) {
		const struct dist_part *t = &v->parts[i];

		json_array_append_new(
			parts, json_pack("{s:s s:I s:I s:I}", "peer", t->name,
					 "from", (json_int_t)t->range.from,
					 "end", (json_int_t)t->range.end,
					 "chunks", (json_int_t)t->n_chunks));
	}
	return cli_print_json(json_pack(
		"{s:s s:s s:I s:I s:i s:s s:b s:o}", "file", v->file, "name",
		v->hidden.path, "inode", (json_int_t)v->hidden.ino, "size",
		(json_int_t)v->st.st_size, "chunk_size", (int)v->slot_size,
		"md5", md5, "deleted", deleted, "parts", parts));
}

static void print_text(const struct work *v, int deleted)
{
	char md5[2 * MD5_LEN + 1], size[16];

	hex_text(v->md5, MD5_LEN, md5);
	printf("%s is %s now, %s, MD5 %s%s\n\n", v->file, v->hidden.path,
	       size_text((uint64_t)v->st.st_size, size), md5,
	       deleted ? "; verified, and deleted here" : "");
	printf("%-22s %14s %14s %9s\n", "PEER", "FROM", "END", "CHUNKS");
	for (uint32_t i = 0; i < v->n; i++)
		printf("%-22s %14" PRIu64 " %14" PRIu64 " %9" PRIu64 "\n",
		       v->parts[i].name, v->parts[i].range.from,
		       v->parts[i].range.end, v->parts[i].n_chunks);
}

static int finish(struct work *v)
{
	int deleted = 0, code = CLI_OK, shown;

	if (v->delete) {
		code = delete_file(v);
		deleted = code == CLI_OK;
	}
	if (!v->c->json) {
		print_text(v, deleted);
		return code;
	}
	shown = print_json(v, deleted);
	return code != CLI_OK ? code : shown;
}

int cli_distribute(struct cli *c, int argc, char **argv)
{
	struct sigaction catch = { .sa_flags = SA_RESTART };
	struct work v = { .c = c, .fd = -1 };
	int code = take_options(&v, argc, argv), joined = 0;

	if (code == CLI_OK)
		code = open_file(&v);
	if (code == CLI_OK)
		code = find_place(&v);
	if (code == CLI_OK)
		code = plan(&v);
	if (code == CLI_OK) {
		code = member_join(&v.member, c);
		joined = code == CLI_OK;
	}
	if (joined) {
		catch.sa_handler = on_signal;
		sigaction(SIGINT, &catch, NULL);
		sigaction(SIGTERM, &catch, NULL);
		bars_init(&v.bars, c->json);
		code = run(&v);
		if (code == CLI_OK)
			code = finish(&v);
		if (v.sum) {
			file_md5_stop(v.sum);
			(void)file_md5_end(v.sum, v.md5);
		}
		member_leave(&v.member);
	}
	if (v.fd >= 0)
		close(v.fd);
	free(v.parts);
	free(v.lines);
	return code;
}
