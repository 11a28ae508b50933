/*
 * upload_refused -- who did not take a chunk.
 *
 * A full disk refuses every chunk of a stream: that is said when it begins,
 * counted, and said when the peer takes one again.  Who has no room is not
 * asked for UPLOAD_AVOID_MS, since each time the bytes would travel in vain:
 * ids that were granted earlier still name it.  Nor is one that is mute, as
 * long as what it has been given is not answered or given up.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "text.h"
#include "upload_internal.h"

struct refusal {		/* one for each peer that ever refused */
	uint32_t num;
	struct spell spell;
	uint64_t until_ms;	/* it is not asked */
	unsigned mute;		/* puts of which it says nothing */
	UT_hash_handle hh;
};

/* Call with the lock held. */
static struct refusal *find(struct upload *u, uint32_t num)
{
	struct refusal *r;

	HASH_FIND(hh, u->refusals, &num, sizeof(num), r);
	return r;
}

static struct refusal *find_or_add(struct upload *u, uint32_t num)
{
	struct refusal *r = find(u, num);

	if (r)
		return r;
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->num = num;
	HASH_ADD(hh, u->refusals, num, sizeof(r->num), r);
	if (TABLE_ADDED(r))
		return r;
	free(r);
	return NULL;
}

/* @n puts were not taken.  Is that to be said, since it begins? */
static int note(struct upload *u, uint32_t num, uint32_t n, uint64_t until_ms)
{
	struct refusal *r;
	int begins = 1;

	pthread_mutex_lock(&u->lock);
	r = find_or_add(u, num);
	if (r) {
		begins = spell_bad(&r->spell);
		while (--n)
			(void)spell_bad(&r->spell);
		if (until_ms)
			r->until_ms = until_ms;
	}
	pthread_mutex_unlock(&u->lock);
	return begins;
}

void upload_refused(struct upload *u, uint32_t num, int err)
{
	int is_full = err == -ENOSPC || err == -EROFS;
	char name[ADDR_TEXT_MAX];

	if (note(u, num, 1, is_full ? now_ms() + UPLOAD_AVOID_MS : 0))
		log_warn("%s does not store chunks (%s): asking for another "
			 "peer", peers_name(u->parts->peers, num, name),
			 strerror(-err));
}

void upload_taken(struct upload *u, uint32_t num)
{
	struct spell_end e = { 0 };
	char name[ADDR_TEXT_MAX];
	struct refusal *r;
	int over;

	pthread_mutex_lock(&u->lock);
	r = u->refusals ? find(u, num) : NULL;
	over = r && spell_over(&r->spell, &e);
	pthread_mutex_unlock(&u->lock);
	if (over)
		log_info("%s stores chunks again: it did not take %u in %llu s",
			 peers_name(u->parts->peers, num, name), e.n, e.s);
}

void upload_silent(struct upload *u, uint32_t num, uint32_t n)
{
	char name[ADDR_TEXT_MAX];

	if (note(u, num, n, 0))
		log_warn("%s has said nothing for %d s: asking for another "
			 "peer to store chunks",
			 peers_name(u->parts->peers, num, name),
			 UPLOAD_MUTE_MS / 1000);
}

int upload_avoids(struct upload *u, uint32_t num)
{
	struct refusal *r;
	int is;

	pthread_mutex_lock(&u->lock);
	r = u->refusals ? find(u, num) : NULL;
	is = r && r->until_ms && now_ms() < r->until_ms;
	if (is)
		(void)spell_bad(&r->spell);
	pthread_mutex_unlock(&u->lock);
	return is;
}

int upload_is_mute(struct upload *u, uint32_t num)
{
	struct refusal *r;
	int is;

	pthread_mutex_lock(&u->lock);
	r = u->refusals ? find(u, num) : NULL;
	is = r && r->mute;
	pthread_mutex_unlock(&u->lock);
	return is;
}

void upload_count_mute(struct upload *u, uint32_t num, int by)
{
	struct refusal *r = by > 0 ? find_or_add(u, num) : find(u, num);

	if (r && (by > 0 || r->mute))	/* without memory it was not counted */
		r->mute += (unsigned)by;
}

void upload_stored_nowhere(struct upload *u, const struct upload_job *j,
			   int err)
{
	if (spell_bad(&u->nowhere))
		log_error("chunk %016" PRIx64 " (inode %" PRIu64 ", slot %"
			  PRIu64 ") is stored nowhere: %s%s", j->chunk, j->ino,
			  j->slot, strerror(-err), err == -ENOSPC
			  ? ": add a peer, raise capacity= or delete files"
			  : "");
}

void upload_stored(struct upload *u)
{
	struct spell_end e;

	if (spell_over(&u->nowhere, &e))
		log_info("chunks are stored again: %u were not, in %llu s", e.n,
			 e.s);
}

void upload_refusals_free(struct upload *u)
{
	struct refusal *r, *next;

	HASH_ITER (hh, u->refusals, r, next) {
		HASH_DEL(u->refusals, r);
		free(r);
	}
}
