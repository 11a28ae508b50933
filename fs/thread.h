/*
 * thread -- has a thread of somebody else's gone on?
 *
 * A thread that was woken by an answer of ours is runnable in the kernel
 * until it has taken that in.  It has gone on once it sleeps again, has spent
 * time in user mode, or has ended: /proc tells.
 *
 * Threads: any; waits.
 */
#ifndef PSPFS_THREAD_H
#define PSPFS_THREAD_H

#include <sys/types.h>

/* 1: it has gone on; 0: *@patience_ms, which goes down as time passes, is
 * over. */
int thread_goes_on(pid_t tid, int *patience_ms);

#endif
