/*
 * ask -- a request to the tracker that somebody waits for.
 *
 * The same face over a peer's link and over the pspfs command's connection,
 * so that what is built from several requests (layout, track) serves both.
 * A request waits as long as its connection is set to, or timeout_ms if that
 * is not 0.
 *
 * Threads: any but the loop that the answer comes on.
 * Errors:  0 or -errno as the tracker or the connection gave it; @why (may be
 *          NULL) gets the answer's own words, or "".
 * Memory:  takes @body; *@out is the caller's to buf_unref().
 */
#ifndef PSPFS_ASK_H
#define PSPFS_ASK_H

#include <pthread.h>

#include "link.h"

struct ask {
	int (*call)(const struct ask *a, uint16_t type, struct wr *body,
		    struct buf **out, char *why, size_t why_len);
	void *arg;
	uint32_t timeout_ms;
};

static inline int ask_call(const struct ask *a, uint16_t type,
			   struct wr *body, struct buf **out, char *why,
			   size_t why_len)
{
	return a->call(a, type, body, out, why, why_len);
}

struct ask ask_link(struct link *l);

/* The same, but ask_stop(), or a step that says so, ends with -ECANCELED what
 * waits then and whatever is asked later; answers that still come go nowhere.
 * The link is closed before ask_stop_fini(). */
#define ASK_STEP_MS 100

struct ask_stop {
	/* set before it is used */
	struct link *link;
	int (*step)(void *arg);	/* or NULL; by who waits, each ASK_STEP_MS; not
				   0: stop */
	void *arg;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	int stopped;		/* guarded by lock */
};

void ask_stop_init(struct ask_stop *s);
void ask_stop_fini(struct ask_stop *s);
struct ask ask_link_until(struct ask_stop *s);
void ask_stop(struct ask_stop *s);

/* For those who make such a face: an rpc_done that wakes the one who waits,
 * within the call's own deadline. */
struct ask_wait {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	int over, err;
	struct buf *body;
};

#define ASK_WAIT_INIT                                    \
	((struct ask_wait){ .lock = PTHREAD_MUTEX_INITIALIZER, \
			    .wake = PTHREAD_COND_INITIALIZER })

void ask_done(void *wait, int err, const struct rpc_answer *a);
/* The answer's body, or its error and its words. */
int ask_result(struct ask_wait *w, struct buf **out, char *why,
	       size_t why_len);

#endif
