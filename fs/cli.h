/*
 * cli -- what the verbs of the pspfs command share: options, a session with
 * the tracker, sizes and tables for people.
 *
 * Threads: main; the connection lives on a loop of its own and cli_call()
 *          waits for it, at most CLI_TIMEOUT_MS (or as its ask says).
 */
#ifndef PSPFS_CLI_H
#define PSPFS_CLI_H

#include <getopt.h>
#include <jansson.h>

#include "ask.h"
#include "msg.h"
#include "rpc.h"

#define CLI_TIMEOUT_MS 10000

enum cli_exit { CLI_OK = 0, CLI_USAGE = 1, CLI_FAILED = 2 };

struct cli {
	const char *tracker;	/* as given; NULL: not given */
	const char *key_file;
	int json;
	/* after cli_open() */
	struct loop *loop;
	struct rpc *rpc;
	struct m_hello_r hello;
};

/* The next option of a verb, as getopt_long(): one of @own (NULL: it has
 * none), -1 when there are no more (optind is the first argument), '?' after
 * a complaint.  What every verb takes (--tracker, --key, --json) goes into
 * @c. */
struct option;
int cli_option(struct cli *c, int argc, char **argv,
	       const struct option *own);

/* Connect and say hello; on failure prints the sentence.  A CLI_ code. */
int cli_open(struct cli *c);
void cli_close(struct cli *c);

/* One request; *@out gets the answer's body (buf_unref it).  0 or -errno;
 * @why gets the answer's own words, if it had any. */
int cli_call(struct cli *c, uint16_t type, struct wr *body, struct buf **out,
	     char *why, size_t why_len);

/* The same, for what takes an ask. */
struct ask cli_ask(struct cli *c);

/* @path as the swarm knows it ("/a/b"), in a mounted folder or from the top;
 * in a folder also sets c->tracker, unless it was given.  A CLI_ code. */
int cli_swarm_path(struct cli *c, const char *path, char out[MSG_PATH_MAX]);
/* cli_swarm_path() and cli_open(): whom to ask, for what.  A CLI_ code. */
int cli_open_for(struct cli *c, const char *path, char name[MSG_PATH_MAX],
		 struct ask *ask);
/* cli_open(), and what is at @path.  A CLI_ code. */
int cli_find(struct cli *c, const char *path, struct m_attr *out);

struct track;
/* cli_open(), and the tracker file of what is at @path (track_fini() it).  A
 * CLI_ code. */
int cli_gather(struct cli *c, const char *path, struct track *out);

/* The tracker's status, decoded; strings live in *@body, lists in @a. */
int cli_fetch_status(struct cli *c, struct m_status_r *st, struct arena *a,
		     struct buf **body);
/* "127.0.0.11:3457" of peer @num, or "peer 7" if it is not in @st. */
void cli_peer_text(const struct m_status_r *st, uint32_t num,
		   char out[ADDR_TEXT_MAX]);
/* Print and free; a CLI_ code. */
int cli_print_json(json_t *j);
/* "pspfs: " and the sentence to stderr; returns @code. */
int cli_say(int code, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

int cli_status(struct cli *c, int argc, char **argv);
int cli_info(struct cli *c, int argc, char **argv);
int cli_list(struct cli *c, int argc, char **argv);
int cli_track(struct cli *c, int argc, char **argv);
int cli_get(struct cli *c, int argc, char **argv);
int cli_share(struct cli *c, int argc, char **argv);
int cli_replicate(struct cli *c, int argc, char **argv);
int cli_distribute(struct cli *c, int argc, char **argv);

#endif
