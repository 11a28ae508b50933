/* ask -- see ask.h. */
#include "ask.h"

#include <stdio.h>

void ask_done(void *wait, int err, const struct rpc_answer *a)
{
	struct ask_wait *w = wait;

	pthread_mutex_lock(&w->lock);
	w->err = err;
	if (a && a->body)
		w->body = buf_ref(a->body);
	w->over = 1;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
}

static void error_words(const struct buf *body, char *why, size_t why_len)
{
	struct arena a = ARENA_INIT;
	struct m_error e;

	if (body && !m_error_decode(&e, &a, body->data, body->len))
		snprintf(why, why_len, "%.*s", (int)e.text.len, e.text.p);
	arena_fini(&a);
}

int ask_result(struct ask_wait *w, struct buf **out, char *why,
	       size_t why_len)
{
	pthread_mutex_lock(&w->lock);
	while (!w->over)	/* the call's own deadline bounds this */
		pthread_cond_wait(&w->wake, &w->lock);
	pthread_mutex_unlock(&w->lock);
	if (!w->err) {
		*out = w->body;
		return 0;
	}
	if (why_len)
		error_words(w->body, why, why_len);
	buf_unref(w->body);
	return w->err;
}

static int call_link(void *arg, uint16_t type, struct wr *body,
		     struct buf **out, char *why, size_t why_len)
{
	struct ask_wait w = ASK_WAIT_INIT;

	if (why_len)
		why[0] = 0;
	link_call(arg, type, body, ask_done, &w);
	return ask_result(&w, out, why, why_len);
}

struct ask ask_link(struct link *l)
{
	return (struct ask){ call_link, l };
}
