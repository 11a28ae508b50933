/*
 * probe -- can others connect to a peer?  Tried from here, once.
 *
 * Connects to the peer's address, expects its id, and closes again.
 * Threads: any; done runs on the loop, once.  The loop must not be freed
 *          before all of them have ended (the gate tells).
 */
#ifndef PSPFS_PROBE_H
#define PSPFS_PROBE_H

#include "gate.h"
#include "rpc.h"

/* @reach: REACH_YES or REACH_NO. */
typedef void (*probe_done)(void *arg, uint64_t peer, int reach);

/* 0, or -errno and no done. */
int probe_start(struct loop *l, struct gate *g, const struct rpc_self *self,
		const struct addr *at, uint64_t peer, probe_done done,
		void *arg);

#endif
