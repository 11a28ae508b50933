/*
 * cli_get -- pspfs get: a download under way, and what is said at its end.
 */
#ifndef PSPFS_CLI_GET_H
#define PSPFS_CLI_GET_H

#include <limits.h>

#include "bars.h"
#include "cli.h"
#include "get.h"
#include "opts.h"

struct get_cmd {
	struct cli *cli;
	const char *name, *track_file, *timeout, *addr;
	int force;
	struct track track;
	char dest[PATH_MAX], store[PATH_MAX];
	struct opts opts;
	struct peer *peer;
	struct ask_stop asking;		/* the MD5 of the whole */
	struct part part;
	uint8_t *have;
	struct get_result result;
	struct bars bars;
	const char *doing;	/* the bar's note while checking; NULL: rate */
	uint64_t begun_ms;
};

/* Some bytes nobody has: says which, and what may help.  CLI_FAILED. */
int cli_get_missing(struct get_cmd *g);
/* What came from where; @code: how it ended.  Returns how printing did. */
int cli_get_json(const struct get_cmd *g, int code);
/* The same for people, after a success. */
void cli_get_text(const struct get_cmd *g);

#endif
