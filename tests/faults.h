/*
 * faults -- one operation again and again: each time another of its
 * allocations, or of its calls to the system, fails.
 *
 * A round is one run of the operation with at most one fault; faults_each()
 * plays rounds until one passes in which there was nothing left to fail.  A
 * round sets up, calls faults_on(), does what is tested, calls faults_off()
 * (the truth of it: was there a fault?) and judges:
 *
 *   - the operation failed, or it succeeded with all that this means;
 *   - what it worked on still works;
 *   - what was acknowledged is there, whole, also when it is opened again.
 *
 * Crashes and leaks are for the sanitizers to see, and a round that does not
 * end is ended by a signal.  What failed is said when a test fails; V=1 says
 * it for every round, and where it was called from.
 *
 * The linker sends the program's own calls through here (--wrap, see the
 * Makefile): those of libraries are not counted, but for SQLite's where a
 * test asks for them (faults_sqlite.h).
 *
 * Threads: any may meet the fault; faults_each() is for one at a time.
 */
#ifndef PSPFS_FAULTS_H
#define PSPFS_FAULTS_H

#include <stddef.h>

enum fault {
	FAULT_MEMORY,	/* malloc and the like; threads: EAGAIN */
	FAULT_LIBRARY,	/* a library's own allocations: fewer of thousands */
	FAULT_DISK,	/* every call on a file: EIO */
	FAULT_SPACE,	/* what needs room on a disk: ENOSPC */
	FAULT_FILES,	/* what makes a descriptor: EMFILE */
	FAULT_SHORT,	/* a read or write does half of it */
	FAULT_SOCKET,	/* calls on sockets: ECONNRESET, EMFILE, ENOBUFS */
	FAULT_KINDS
};

#define FAULT_BIT(f) (1u << (f))
#define FAULTS_FILE (FAULT_BIT(FAULT_MEMORY) | FAULT_BIT(FAULT_DISK) | \
		     FAULT_BIT(FAULT_SPACE) | FAULT_BIT(FAULT_FILES) | \
		     FAULT_BIT(FAULT_SHORT))
#define FAULTS_NET (FAULT_BIT(FAULT_MEMORY) | FAULT_BIT(FAULT_SOCKET))

/* Rounds of every fault in @kinds: first one call alone fails, the first, the
 * second and so on; then that one and all behind it until faults_off(). */
void faults_each(unsigned kinds, void (*round)(void *arg), void *arg);

/* Inside a round, perhaps several times: the countdown goes on.  faults_off()
 * says whether there was a fault since faults_on(). */
void faults_on(void);
int faults_off(void);

/* A cmocka test's teardown: says which round failed.  Returns 0. */
int faults_told(void **state);

/* Between 1 and 0 this thread meets none: what a test fakes is not tested. */
void faults_spare(int on);

/* For what is not wrapped: shall this call, named @what, fail? */
int faults_hit(enum fault f, const char *what);

#endif
