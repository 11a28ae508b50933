/* pending -- see pending.h. */
#include "pending.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "signals.h"
#include "text.h"

enum {
	SHARDS = 64,
	UNIQUE_STEP = 2,	/* the kernel counts requests by twos */
	TEXT_MAX = 32 << 10,	/* of /proc/TID/status, which lists groups */
};

enum kind {
	EARLY,			/* interrupted, but not seen yet */
	CALL,
	APPEND,			/* a write */
	CLOSE,
};

/*
 * One worker may read a request, and another its interruption, before the
 * first has noted it here: then it is EARLY.  So is, until it is forgotten,
 * the interruption of what was answered just before, or is none of ours.
 */
struct request {
	uint64_t unique;
	uint64_t since_ms;	/* of CLOSE and EARLY */
	uint64_t wish_ms;	/* since when it has this wish */
	uint32_t tid;		/* 0: not to be seen from here */
	uint32_t bytes;		/* of APPEND */
	enum kind kind;
	enum signals_wish wish;
	int interrupted;
	int handled;		/* the handler has returned */
};

struct shard {
	pthread_mutex_t lock;
	/* guarded by lock */
	struct request *v;
	size_t n, cap;
	unsigned early;
};

struct pending {
	const char *proc;	/* these are fixed */
	pending_answer answer;
	void *arg;
	pthread_t thread;
	struct shard shards[SHARDS];
	atomic_uint watched;	/* CLOSE or interrupted */
	atomic_int asleep;	/* the thread, for want of those */
	struct request *copy;	/* the thread's */
	size_t copy_cap;
	char *text;		/* likewise */

	pthread_mutex_t lock;
	pthread_cond_t wake;
	int stop;		/* guarded by lock */
};

static _Thread_local uint64_t handling;	/* 0: nothing, or answered */

/* -------------------------------------------------------------- the table */

static struct shard *shard_of(struct pending *p, uint64_t unique)
{
	return &p->shards[unique / UNIQUE_STEP % SHARDS];
}

static int is_watched(const struct request *r)
{
	return r->interrupted || r->kind == CLOSE;
}

/* What follows has a lock: the shard's is held. */
static struct request *find(struct shard *s, uint64_t unique)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].unique == unique)
			return &s->v[i];
	return NULL;
}

static void forget(struct pending *p, struct shard *s, struct request *r)
{
	if (is_watched(r))
		p->watched--;
	s->early -= r->kind == EARLY;
	*r = s->v[--s->n];
}

/* Without memory it is not interruptible, that is all. */
static void add(struct pending *p, struct shard *s, const struct request *r)
{
	size_t cap = s->cap ? s->cap * 2 : 4;
	struct request *v = s->v;

	if (s->n == s->cap) {
		v = realloc(v, cap * sizeof(*v));
		if (!v)
			return;
		s->v = v;
		s->cap = cap;
	}
	v[s->n++] = *r;
	s->early += r->kind == EARLY;
	if (is_watched(r))
		p->watched++;
}

/* After something came to be watched; unlocked. */
static void wake(struct pending *p)
{
	if (!p->asleep)
		return;
	pthread_mutex_lock(&p->lock);
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

static void begin(struct pending *p, struct request *r)
{
	struct shard *s = shard_of(p, r->unique);
	struct request *early;

	pthread_mutex_lock(&s->lock);
	early = s->early ? find(s, r->unique) : NULL;
	if (early) {
		forget(p, s, early);
		r->interrupted = 1;
	}
	add(p, s, r);
	pthread_mutex_unlock(&s->lock);
	if (is_watched(r))
		wake(p);
}

static void interrupted(struct pending *p, uint64_t unique)
{
	struct shard *s = shard_of(p, unique);
	struct request *r, early = { .unique = unique, .kind = EARLY,
				     .since_ms = now_ms(),
				     .interrupted = 1 };

	pthread_mutex_lock(&s->lock);
	r = find(s, unique);
	if (!r) {
		add(p, s, &early);
	} else if (!r->interrupted) {
		p->watched += !is_watched(r);
		r->interrupted = 1;
	}
	pthread_mutex_unlock(&s->lock);
	wake(p);
}

/* Was it still there?  It is no more. */
static int take(struct pending *p, uint64_t unique)
{
	struct shard *s = shard_of(p, unique);
	struct request *r;

	pthread_mutex_lock(&s->lock);
	r = find(s, unique);
	if (r)
		forget(p, s, r);
	pthread_mutex_unlock(&s->lock);
	return r != NULL;
}

void pending_answered(struct pending *p, uint64_t unique)
{
	if (unique == handling)
		handling = 0;
	take(p, unique);
}

void pending_handled(struct pending *p)
{
	struct shard *s = shard_of(p, handling);
	struct request *r;

	if (!handling)
		return;
	pthread_mutex_lock(&s->lock);
	r = find(s, handling);
	if (r)
		r->handled = 1;
	pthread_mutex_unlock(&s->lock);
	handling = 0;
}

size_t pending_count(struct pending *p)
{
	size_t n = 0;

	for (int i = 0; i < SHARDS; i++) {
		struct shard *s = &p->shards[i];

		pthread_mutex_lock(&s->lock);
		n += s->n - s->early;
		pthread_mutex_unlock(&s->lock);
	}
	return n;
}

/* --------------------------------------------------------------- requests */

/* 0: it is none that somebody waits for, to be let go. */
static int describe(struct request *r, const struct fuse_in_header *h,
		    const char *body, size_t n)
{
	struct fuse_write_in w;

	*r = (struct request){ .unique = h->unique, .tid = h->pid,
			       .kind = CALL };
	switch (h->opcode) {
	case FUSE_INIT:
	case FUSE_DESTROY:
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_NOTIFY_REPLY:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_SETLK:
	case FUSE_SETLKW:
		return 0;
	case FUSE_FLUSH:
		r->kind = CLOSE;
		r->since_ms = now_ms();
		return 1;
	case FUSE_WRITE:
		if (n < sizeof(w))
			return 0;
		memcpy(&w, body, sizeof(w));
		if (w.flags & O_APPEND)
			r->kind = APPEND;
		r->bytes = w.size;
		return !(w.write_flags & FUSE_WRITE_CACHE);
	default:
		return 1;
	}
}

void pending_seen(struct pending *p, const void *req, size_t n)
{
	struct fuse_interrupt_in which;
	struct fuse_in_header h;
	struct request r;
	const char *body = (const char *)req + sizeof(h);

	if (n < sizeof(h))
		return;
	memcpy(&h, req, sizeof(h));
	n -= sizeof(h);
	if (h.opcode == FUSE_INTERRUPT) {
		if (n < sizeof(which))
			return;
		memcpy(&which, body, sizeof(which));
		interrupted(p, which.unique);
	} else if (describe(&r, &h, body, n)) {
		begin(p, &r);
		handling = r.unique;
	}
}

/* ------------------------------------------------------ looking at threads */

/* A file of /proc/TID, ended with NUL; NULL: it cannot be read. */
static const char *read_proc(struct pending *p, uint32_t tid,
			     const char *name)
{
	char path[64];
	ssize_t got = 1;
	size_t n = 0;
	int fd;

	if (!tid)
		return NULL;
	snprintf(path, sizeof(path), "%s/%u/%s", p->proc, tid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	while (got > 0 && n < TEXT_MAX) {
		got = read(fd, p->text + n, TEXT_MAX - n);
		n += got > 0 ? (size_t)got : 0;
	}
	close(fd);
	p->text[n] = '\0';
	return p->text;
}

static enum signals_wish wish_of(struct pending *p, const struct request *r)
{
	struct signals s;
	const char *text;

	if (r->kind == CLOSE) {
		text = read_proc(p, r->tid, "stat");
		if (text && signals_killed(text))
			return SIGNALS_KILL;
	}
	if (!r->interrupted)
		return SIGNALS_WAIT;
	text = read_proc(p, r->tid, "status");
	if (!text || signals_parse(&s, text))
		return SIGNALS_HIDDEN;
	return signals_wish(&s);
}

static void note(struct pending *p, const struct request *r)
{
	struct shard *s = shard_of(p, r->unique);
	struct request *there;

	pthread_mutex_lock(&s->lock);
	there = find(s, r->unique);
	if (there) {
		there->wish = r->wish;
		there->wish_ms = r->wish_ms;
	}
	pthread_mutex_unlock(&s->lock);
}

static void let_go(struct pending *p, const struct request *r)
{
	int taken = r->kind == APPEND && r->wish != SIGNALS_KILL;

	if (!take(p, r->unique))
		return;
	log_debug("request %llu of thread %u is let go: a signal",
		  (unsigned long long)r->unique, r->tid);
	p->answer(p->arg, r->unique, taken ? 0 : -EINTR,
		  taken ? r->bytes : 0);
}

/* @r is a copy. */
static void look_at(struct pending *p, struct request *r, uint64_t now)
{
	enum signals_wish wish;

	if (r->kind == EARLY) {
		if (now - r->since_ms >= PENDING_EARLY_MS)
			take(p, r->unique);
		return;
	}
	wish = wish_of(p, r);
	if (wish != r->wish) {
		r->wish = wish;
		r->wish_ms = now;
		note(p, r);
	}
	/* who closes while it dies has been waited for already */
	if (r->handled && (signals_due(wish, now - r->wish_ms) ||
			   (wish == SIGNALS_KILL && r->kind == CLOSE)))
		let_go(p, r);
}

/* Those of @s to look at, into p->copy; how many. */
static size_t copy_watched(struct pending *p, struct shard *s, uint64_t now)
{
	struct request *v;
	size_t n = 0;

	pthread_mutex_lock(&s->lock);
	if (s->n > p->copy_cap) {
		v = realloc(p->copy, s->cap * sizeof(*v));
		if (v) {
			p->copy = v;
			p->copy_cap = s->cap;
		}
	}
	for (size_t i = 0; i < s->n && n < p->copy_cap; i++)
		if (s->v[i].interrupted ||
		    (s->v[i].kind == CLOSE &&
		     now - s->v[i].since_ms >= PENDING_CLOSE_MS))
			p->copy[n++] = s->v[i];
	pthread_mutex_unlock(&s->lock);
	return n;
}

static void look_at_all(struct pending *p)
{
	uint64_t now = now_ms();
	size_t n;

	for (int i = 0; i < SHARDS; i++) {
		n = copy_watched(p, &p->shards[i], now);
		for (size_t k = 0; k < n; k++)
			look_at(p, &p->copy[k], now);
	}
}

/* ------------------------------------------------------------- the thread */

/* p->lock is held. */
static void pause_tick(struct pending *p)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += PENDING_TICK_MS * 1000000L;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	while (!p->stop && !pthread_cond_timedwait(&p->wake, &p->lock, &t))
		;
}

static void *interrupts(void *arg)
{
	struct pending *p = arg;

	pthread_setname_np(pthread_self(), "interrupts");
	pthread_mutex_lock(&p->lock);
	for (;;) {
		p->asleep = 1;
		while (!p->stop && !p->watched)
			pthread_cond_wait(&p->wake, &p->lock);
		p->asleep = 0;
		pause_tick(p);
		if (p->stop)
			break;
		pthread_mutex_unlock(&p->lock);
		look_at_all(p);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void free_all(struct pending *p)
{
	for (int i = 0; i < SHARDS; i++) {
		pthread_mutex_destroy(&p->shards[i].lock);
		free(p->shards[i].v);
	}
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	free(p->copy);
	free(p->text);
	free(p);
}

int pending_new(struct pending **out, const char *proc, pending_answer answer,
		void *arg)
{
	struct pending *p = calloc(1, sizeof(*p));
	pthread_condattr_t attr;
	int err = ENOMEM;

	if (!p)
		return -ENOMEM;
	p->proc = proc;
	p->answer = answer;
	p->arg = arg;
	for (int i = 0; i < SHARDS; i++)
		pthread_mutex_init(&p->shards[i].lock, NULL);
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->wake, &attr);
	pthread_condattr_destroy(&attr);
	p->text = malloc(TEXT_MAX + 1);
	if (p->text)
		err = pthread_create(&p->thread, NULL, interrupts, p);
	if (err) {
		free_all(p);
		return -err;
	}
	*out = p;
	return 0;
}

void pending_free(struct pending *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = 1;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	free_all(p);
}
