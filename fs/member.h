/*
 * member -- a guest of the swarm for the length of one command.
 *
 * A session that may change the namespace, and connections to the peers; no
 * store: nothing is placed here, nothing can be asked for.
 *
 * Threads: member_join() and member_leave() not on a loop; callbacks of calls
 *          run on the bulk loops.
 */
#ifndef PSPFS_MEMBER_H
#define PSPFS_MEMBER_H

#include "ask.h"
#include "cli.h"
#include "hasher.h"
#include "peers.h"

#define MEMBER_BULK_LOOPS 2
#define MEMBER_WAIT_MS 10000	/* for the tracker */

struct member {
	struct rpc_self self;
	struct loop *control, *bulk[MEMBER_BULK_LOOPS];
	struct hasher *hasher;
	struct peers *peers;
	struct link *link;
	int port_fd;		/* keeps our port ours */
};

/* With @c's tracker and key.  On failure prints the sentence, and there is
 * nothing to leave.  A CLI_ code. */
int member_join(struct member *m, const struct cli *c);
/* Calls to peers end now (-ECANCELED), what comes likewise; the tracker can
 * still be asked. */
void member_shut(struct member *m);
void member_leave(struct member *m);

#endif
