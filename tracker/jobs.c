/*
 * jobs -- see jobs.h.
 *
 * A job's life: asking (JOB_COMPLETING) -> numbers (JOB_SETTING) -> JOB_ENDED.
 * A setting begins with the second and is forgotten at the third.
 */
#include "jobs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "log.h"
#include "status.h"

enum stage { JOB_COMPLETING, JOB_SETTING, JOB_ENDED };

struct part {
	struct m_part p;
	uint64_t conn;		/* over which it was asked; 0: it was not */
	uint64_t heard_ms;	/* or asked */
	uint64_t news_ms;	/* the last report, or the beginning */
	uint64_t ask_ms;	/* not again before */
	uint32_t number;	/* of the request that waits for an answer */
};

/* What a rolled back batch takes back. */
struct step {
	uint64_t at;
	enum stage stage;
};

struct job {
	TAILQ_ENTRY(job) link;
	uint64_t id;		/* 0: a setting only */
	uint64_t ino, bytes;
	uint8_t via, copies;
	int made;		/* by a batch that was committed */
	struct step now, safe;
	uint64_t ended_ms;
	struct part *parts;	/* in the order in which they were asked */
	uint32_t n, cap;
};
TAILQ_HEAD(job_list, job);

struct jobs {
	struct jobs_env env;
	struct job_list all;	/* oldest first */
	unsigned n;
	uint64_t next;
};

int jobs_new(struct jobs **out, const struct jobs_env *env)
{
	struct jobs *js = calloc(1, sizeof(*js));

	if (!js)
		return -ENOMEM;
	js->env = *env;
	js->next = env->first;
	TAILQ_INIT(&js->all);
	*out = js;
	return 0;
}

static void forget(struct jobs *js, struct job *j)
{
	TAILQ_REMOVE(&js->all, j, link);
	js->n--;
	free(j->parts);
	free(j);
}

void jobs_free(struct jobs *js)
{
	struct job *j;

	if (!js)
		return;
	while ((j = TAILQ_FIRST(&js->all)))
		forget(js, j);
	free(js);
}

/* --------------------------------------------------------------- beginning */

/* Room for one more: the job that ended first goes. */
static int make_room(struct jobs *js)
{
	struct job *j, *oldest = NULL;

	if (js->n < JOBS_MAX)
		return 0;
	TAILQ_FOREACH(j, &js->all, link)
		if (j->safe.stage == JOB_ENDED &&
		    (!oldest || j->ended_ms < oldest->ended_ms))
			oldest = j;
	if (!oldest)
		return -EBUSY;
	forget(js, oldest);
	return 0;
}

static int add(struct jobs *js, const struct job *like)
{
	int err = make_room(js);
	struct job *j;

	if (err)
		return err;
	j = malloc(sizeof(*j));
	if (!j)
		return -ENOMEM;
	*j = *like;
	j->safe = j->now;
	TAILQ_INSERT_TAIL(&js->all, j, link);
	js->n++;
	return 0;
}

static struct job *running(struct jobs *js, uint64_t ino)
{
	struct job *j;

	TAILQ_FOREACH(j, &js->all, link)
		if (j->id && j->ino == ino && j->now.stage == JOB_COMPLETING)
			return j;
	return NULL;
}

int jobs_complete(struct jobs *js, uint64_t ino, uint8_t via, uint64_t bytes,
		  uint64_t *id)
{
	struct job *j = running(js, ino);
	struct job like = {
		.ino = ino, .bytes = bytes, .via = via,
		.copies = MSG_COPIES_ALL, .now.stage = JOB_COMPLETING,
	};
	int err;

	if (j) {
		j->copies = MSG_COPIES_ALL;
		*id = j->id;
		return 0;
	}
	like.id = js->next;
	err = add(js, &like);
	if (err)
		return err;
	*id = js->next++;
	return 0;
}

int jobs_copies(struct jobs *js, uint64_t ino, uint8_t copies)
{
	struct job *j = running(js, ino), *k;
	struct job like = {
		.ino = ino, .copies = copies, .now.stage = JOB_SETTING,
	};

	if (j)
		j->copies = copies;
	/* an older one that is under way must not have the last word */
	TAILQ_FOREACH(k, &js->all, link) {
		if (k->ino != ino || k->now.stage != JOB_SETTING)
			continue;
		k->copies = copies;
		k->now.at = k->safe.at = 0;
		return 0;
	}
	return add(js, &like);
}

/* -------------------------------------------------------- what peers report */

static struct job *find(struct jobs *js, uint64_t id)
{
	struct job *j;

	TAILQ_FOREACH(j, &js->all, link)
		if (id && j->id == id)
			return j;
	return NULL;
}

static struct part *part_of(struct job *j, uint32_t num)
{
	for (uint32_t i = 0; i < j->n; i++)
		if (j->parts[i].p.num == num)
			return &j->parts[i];
	return NULL;
}

void jobs_progress(struct jobs *js, uint32_t peer, const struct m_progress *m,
		   uint64_t now_ms)
{
	struct job *j = find(js, m->job);
	struct part *p = j ? part_of(j, peer) : NULL;

	if (!p || j->now.stage != JOB_COMPLETING)
		return;
	p->p = m->part;
	p->p.num = peer;
	p->p.ended = m->part.ended != 0;
	p->heard_ms = p->news_ms = now_ms;
}

/* It cannot, and will not: what it lacks counts as failed. */
static void refused(struct part *p)
{
	p->p.ended = 1;
	if (!p->p.failed)
		p->p.failed = 1;
}

void jobs_answered(struct jobs *js, uint32_t number, uint16_t status,
		   uint64_t now_ms)
{
	struct job *j;

	TAILQ_FOREACH(j, &js->all, link)
		for (uint32_t i = 0; i < j->n; i++) {
			struct part *p = &j->parts[i];

			if (!number || p->number != number)
				continue;
			p->number = 0;
			p->heard_ms = now_ms;
			if (status == ST_NOSYS || status == ST_OPNOTSUPP) {
				refused(p);
			} else if (status != ST_OK) {
				p->conn = 0;
				p->ask_ms = now_ms + JOBS_AGAIN_MS;
			}
			return;
		}
}

int jobs_get(struct jobs *js, uint64_t id, struct arena *a,
	     struct m_job_r *out)
{
	struct job *j = find(js, id);

	if (!j)
		return -ENOENT;
	*out = (struct m_job_r){
		.ended = j->safe.stage == JOB_ENDED, .bytes = j->bytes,
		.parts = arena_alloc(a, (j->n + 1) * sizeof(*out->parts)),
		.n_parts = j->n,
	};
	if (!out->parts)
		return -ENOMEM;
	for (uint32_t i = 0; i < j->n; i++) {
		out->parts[i] = j->parts[i].p;
		if (j->parts[i].p.chunks > out->chunks)
			out->chunks = j->parts[i].p.chunks;
	}
	return 0;
}

/* ------------------------------------------------------------------ asking */

static struct part *part_add(struct job *j, uint32_t num, uint64_t now_ms)
{
	uint32_t cap = j->cap ? 2 * j->cap : 16;
	struct part *v;

	if (j->n == j->cap) {
		v = realloc(j->parts, cap * sizeof(*v));
		if (!v)
			return NULL;
		j->parts = v;
		j->cap = cap;
	}
	j->parts[j->n] = (struct part){ .p.num = num, .news_ms = now_ms };
	return &j->parts[j->n++];
}

/* Does this peer take part? */
static int takes_part(const struct peer *p)
{
	return peer_live(p) && p->conn;
}

static int is_to_be_asked(const struct part *t, const struct peer *p,
			  uint64_t now_ms)
{
	if (t->number || now_ms < t->ask_ms)
		return 0;
	if (t->p.ended)		/* ... but it came back and may do better */
		return t->conn != p->conn && t->p.failed;
	return t->conn != p->conn || now_ms - t->heard_ms >= JOBS_SILENT_MS;
}

static void ask(struct jobs *js, struct job *j, struct part *t,
		struct peer *p, uint64_t now_ms)
{
	struct m_complete m = { .job = j->id, .ino = j->ino, .via = j->via };
	struct wr w = WR_INIT;

	if (!m_complete_encode(&w, &m))
		t->number = js->env.send(js->env.arg, p, M_complete, &w);
	wr_fini(&w);
	t->heard_ms = now_ms;
	t->ask_ms = now_ms + JOBS_AGAIN_MS;
	if (!t->number)
		return;
	if (t->conn != p->conn)
		t->news_ms = now_ms;
	t->conn = p->conn;
	t->p.ended = 0;
	t->p.failed = 0;
}

/* 1: each part has ended, or its peer is gone. */
static int complete_tick(struct jobs *js, struct job *j, uint64_t now_ms)
{
	int over = 1;

	for (uint32_t num = 1; num <= js->env.swarm->n; num++) {
		struct peer *p = swarm_num(js->env.swarm, num);
		struct part *t = p ? part_of(j, num) : NULL;

		if (!p || !takes_part(p))
			continue;
		if (!t)
			t = part_add(j, num, now_ms);
		if (!t)
			return -ENOMEM;
		if (!t->p.ended && now_ms - t->news_ms >= JOBS_PATIENCE_MS)
			refused(t);
		if (is_to_be_asked(t, p, now_ms))
			ask(js, j, t, p, now_ms);
		over &= t->p.ended;
	}
	return over;
}

int jobs_tick(struct jobs *js, uint64_t now_ms)
{
	struct job *j, *next;
	int err = 0;

	for (j = TAILQ_FIRST(&js->all); j; j = next) {
		next = TAILQ_NEXT(j, link);
		if (j->safe.stage == JOB_ENDED &&
		    (!j->id || now_ms - j->ended_ms >= JOBS_KEEP_MS)) {
			forget(js, j);
		} else if (j->now.stage == JOB_COMPLETING && j->made) {
			int over = complete_tick(js, j, now_ms);

			if (over < 0)
				err = over;
			else if (over)
				j->now = (struct step){ .stage = JOB_SETTING };
		}
	}
	return err;
}

/* ----------------------------------------------------------------- numbers */

static struct job *first_to_set(struct jobs *js)
{
	struct job *j;

	TAILQ_FOREACH(j, &js->all, link)
		if (j->now.stage == JOB_SETTING)
			return j;
	return NULL;
}

int jobs_setting(struct jobs *js, struct jobs_set *out)
{
	struct job *j = first_to_set(js);

	if (j)
		*out = (struct jobs_set){ j->ino, j->copies, j->now.at };
	return j != NULL;
}

void jobs_set_done(struct jobs *js, uint64_t at, int more, uint64_t now_ms)
{
	struct job *j = first_to_set(js);

	if (!j)
		return;
	j->now.at = at;
	if (more)
		return;
	j->now.stage = JOB_ENDED;
	j->ended_ms = now_ms;
}

/* ----------------------------------------------------------------- batches */

void jobs_committed(struct jobs *js)
{
	struct job *j;

	TAILQ_FOREACH(j, &js->all, link) {
		j->made = 1;
		j->safe = j->now;
	}
}

void jobs_rolled_back(struct jobs *js)
{
	struct job *j, *next;

	for (j = TAILQ_FIRST(&js->all); j; j = next) {
		next = TAILQ_NEXT(j, link);
		if (j->made)
			j->now = j->safe;
		else
			forget(js, j);
	}
}
