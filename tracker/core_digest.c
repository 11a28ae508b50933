/*
 * The MD5 of a whole file.
 *
 * Happy path: it is in the database, told by who shared or hashed the file.
 * Else, if the asker wants it computed, a job: the live peer that holds most
 * of the file's first chunks is asked (M_sum); whoever wants the same file's
 * meanwhile joins; the answer is recorded and given to all.
 *
 * Failures: a peer that refuses, is too slow (server.c's patience) or leaves:
 * another is asked.  The file changed while it was read: again.  After
 * DIGEST_TRIES, or when there is no other peer, all get an error.
 *
 * Peers are asked by core_digests_tick() alone: an answer may also come while
 * no batch is open.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core_internal.h"
#include "log.h"

#define DIGEST_JOBS_MAX 256
#define DIGEST_ASKERS_MAX 1024	/* of one file */
#define DIGEST_TRIES 4
#define DIGEST_SLOTS 256	/* whose holders are counted */

struct asker {
	STAILQ_ENTRY(asker) link;
	uint64_t conn;
	uint32_t number;
};

struct digest_job {
	TAILQ_ENTRY(digest_job) link;
	uint64_t ino, version;		/* as they were when it was asked */
	uint32_t number;		/* of M_sum; 0: a peer is to be asked */
	uint32_t asked[DIGEST_TRIES];	/* peers, the last one last; 0: one
					   that did nothing wrong */
	unsigned tries, n_askers;
	STAILQ_HEAD(, asker) askers;
};

struct digests {
	TAILQ_HEAD(, digest_job) jobs;
	unsigned n;
};

int core_digests_new(struct core *c)
{
	c->digests = calloc(1, sizeof(*c->digests));
	if (!c->digests)
		return -ENOMEM;
	TAILQ_INIT(&c->digests->jobs);
	return 0;
}

static void job_free(struct core *c, struct digest_job *j)
{
	struct asker *a;

	while ((a = STAILQ_FIRST(&j->askers))) {
		STAILQ_REMOVE_HEAD(&j->askers, link);
		free(a);
	}
	TAILQ_REMOVE(&c->digests->jobs, j, link);
	c->digests->n--;
	free(j);
}

void core_digests_free(struct core *c)
{
	struct digest_job *j;

	if (!c->digests)
		return;
	while ((j = TAILQ_FIRST(&c->digests->jobs)))
		job_free(c, j);
	free(c->digests);
}

/* ---------------------------------------------------------------- the end */

static void job_done(struct core *c, struct digest_job *j,
		     const struct m_digest_r *out)
{
	struct asker *a;

	STAILQ_FOREACH(a, &j->askers, link) {
		struct wr w = WR_INIT;
		int err = m_digest_r_encode(&w, out);

		if (err) {
			wr_fini(&w);
			w = WR_INIT;
		}
		core_put(c, a->conn, a->number, M_digest_r,
			 status_of_errno(err), &w);
	}
	job_free(c, j);
}

static void job_failed(struct core *c, struct digest_job *j, int err,
		       const char *why)
{
	struct asker *a;

	log_warn("the MD5 of inode %llu is not known: %s",
		 (unsigned long long)j->ino, why);
	STAILQ_FOREACH(a, &j->askers, link) {
		struct wr w = WR_INIT;

		core_error_body(&w, why);
		core_put(c, a->conn, a->number, M_digest_r,
			 status_of_errno(err), &w);
	}
	job_free(c, j);
}

static struct digest_job *job_find(const struct core *c, uint64_t ino)
{
	struct digest_job *j;

	TAILQ_FOREACH(j, &c->digests->jobs, link)
		if (j->ino == ino)
			return j;
	return NULL;
}

/* ----------------------------------------------------------- asking a peer */

static int was_asked(const struct digest_job *j, uint32_t num)
{
	for (unsigned i = 0; i < j->tries; i++)
		if (j->asked[i] == num)
			return 1;
	return 0;
}

static unsigned busy_with(const struct core *c, uint32_t num)
{
	const struct digest_job *j;
	unsigned n = 0;

	TAILQ_FOREACH(j, &c->digests->jobs, link)
		n += j->number && j->asked[j->tries - 1] == num;
	return n;
}

/* A vote for each copy of a chunk of the file's first slots. */
static int count_votes(struct core *c, struct arena *a, uint64_t ino,
		       uint32_t *votes)
{
	uint32_t count = DIGEST_SLOTS;
	struct m_getmap_r map;
	int err;

	do
		err = ns_getmap(c->ns, a, ino, 0, count, &map);
	while (err == -E2BIG && (count /= 2));
	for (uint32_t i = 0; !err && i < map.n_chunks; i++) {
		const struct m_chunk *k = &map.chunks[i];

		err = swarm_holders(c->swarm, a, &map.chunks[i]);
		for (uint32_t h = 0; !err && h < k->n_holders; h++)
			if (k->holders[h] <= c->swarm->n) /* no guest */
				votes[k->holders[h]]++;
	}
	return err;
}

/* 0 with *@out NULL: there is none. */
static int choose(struct core *c, const struct digest_job *j,
		  struct peer **out)
{
	struct arena a = ARENA_INIT;
	uint32_t *votes = arena_alloc(&a, (c->swarm->n + 1ul) *
						  sizeof(*votes));
	int err = votes ? count_votes(c, &a, j->ino, votes) : -ENOMEM;

	*out = NULL;
	for (uint32_t num = 1; !err && num <= c->swarm->n; num++) {
		struct peer *p = swarm_num(c->swarm, num);

		if (!p || !peer_live(p) || !p->conn || was_asked(j, num))
			continue;
		if (!*out || votes[num] > votes[(*out)->num] ||
		    (votes[num] == votes[(*out)->num] &&
		     busy_with(c, num) < busy_with(c, (*out)->num)))
			*out = p;
	}
	arena_fini(&a);
	return err;
}

static void give_up(struct core *c, struct digest_job *j)
{
	if (!j->asked[j->tries - 1])
		job_failed(c, j, -EAGAIN, "the file changed each time while "
			   "it was read: ask again later");
	else
		job_failed(c, j, -EIO, "no peer that was asked could read the "
			   "whole file: see the peers' logs");
}

static int job_ask(struct core *c, struct digest_job *j)
{
	struct m_digest_r now;
	struct wr w = WR_INIT;
	struct m_sum m;
	struct peer *p;
	int err;

	err = ns_digest(c->ns, j->ino, &now);
	if (!err && now.known) {
		job_done(c, j, &now);
		return 0;
	}
	if (!err && j->tries == DIGEST_TRIES) {
		give_up(c, j);
		return 0;
	}
	if (!err)
		err = choose(c, j, &p);
	if (err == -ENOENT) {
		job_failed(c, j, err, "the file is gone");
		return 0;
	}
	if (err)
		return err;
	if (!p) {
		job_failed(c, j, -EIO, j->tries ? "no other peer can be asked "
			   "to read the file: see the peers' logs"
			   : "no peer is active that could read the file");
		return 0;
	}
	j->version = now.version;
	m = (struct m_sum){ .ino = j->ino, .version = j->version };
	if (m_sum_encode(&w, &m)) {
		wr_fini(&w);
		return -ENOMEM;
	}
	j->number = core_ask(c, p, M_sum, &w);
	if (j->number)
		j->asked[j->tries++] = p->num;
	return 0;
}

int core_digests_tick(struct core *c)
{
	struct digest_job *j, *next;
	int err = 0;

	for (j = TAILQ_FIRST(&c->digests->jobs); !err && j; j = next) {
		next = TAILQ_NEXT(j, link);
		if (!j->number)
			err = job_ask(c, j);
	}
	return err;
}

int core_digest_answered(struct core *c, uint32_t number, uint16_t status,
			 const void *body, size_t len)
{
	struct arena a = ARENA_INIT;
	struct digest_job *j;
	struct m_digested m;
	struct m_sum_r r;
	uint8_t kept = 0;
	int err = 0, read;

	TAILQ_FOREACH(j, &c->digests->jobs, link)
		if (j->number == number)
			break;
	if (!j)
		return 0;
	j->number = 0;		/* the next tick gives the answer, or asks */
	read = !status && !m_sum_r_decode(&r, &a, body, len);
	if (read) {
		m = (struct m_digested){ .ino = j->ino, .version = r.version };
		memcpy(m.md5, r.md5, MD5_LEN);
		err = ns_digested(c->ns, &m, &kept);
	}
	if (read && !kept)	/* it changed: the same peer is as good */
		j->asked[j->tries - 1] = 0;
	arena_fini(&a);
	return err == -ENOENT ? 0 : err;
}

/* --------------------------------------------------------------- requests */

static struct digest_job *job_new(struct core *c, uint64_t ino)
{
	struct digest_job *j;

	if (c->digests->n == DIGEST_JOBS_MAX)
		return NULL;
	j = calloc(1, sizeof(*j));
	if (!j)
		return NULL;
	j->ino = ino;
	STAILQ_INIT(&j->askers);
	TAILQ_INSERT_TAIL(&c->digests->jobs, j, link);
	c->digests->n++;
	return j;
}

static int wait_for(struct core *c, struct req *r, uint64_t ino)
{
	struct digest_job *j = job_find(c, ino);
	struct asker *a;

	if (!j)
		j = job_new(c, ino);
	if (!j || j->n_askers == DIGEST_ASKERS_MAX)
		return core_refuse(r, ST_BUSY, "too many wait for the MD5s of "
				   "files: ask again later");
	a = calloc(1, sizeof(*a));
	if (!a && !j->n_askers)
		job_free(c, j);
	if (!a)
		return -ENOMEM;
	a->conn = r->conn->conn;
	a->number = r->number;
	STAILQ_INSERT_TAIL(&j->askers, a, link);
	j->n_askers++;
	r->later = 1;
	return 0;
}

int core_serve_digest(struct core *c, struct req *r, struct wr *w)
{
	struct m_digest_r out;
	struct m_digest m;
	int err;

	err = m_digest_decode(&m, &r->arena, r->body, r->len);
	if (!err)
		err = ns_digest(c->ns, m.ino, &out);
	if (!err && !out.known && m.compute && r->number)
		return wait_for(c, r, m.ino);
	return err ? err : m_digest_r_encode(w, &out);
}

int core_serve_digested(struct core *c, struct req *r, struct wr *w)
{
	struct m_digested_r out;
	struct m_digested m;
	int err;

	err = m_digested_decode(&m, &r->arena, r->body, r->len);
	if (!err)
		err = ns_digested(c->ns, &m, &out.kept);
	return err ? err : m_digested_r_encode(w, &out);
}
