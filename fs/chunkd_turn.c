/*
 * chunkd_turn -- whose get is served next.
 *
 * Happy path: a get is served as it comes.  When more bytes wait for TCP to
 * take them than CHUNKD_OUT_MAX, the line is what is short: then one whose
 * chunk was just served to others is told to ask them, so that each byte goes out
 * once before any goes twice; the rest wait, and the connections take turns,
 * so that a crowd gets different chunks to pass on.
 * Failure: a reader that takes nothing for CHUNKD_STALL_MS has no further
 * turn, and what it was sent does not count: it keeps up nobody but itself.
 */
#include <stdlib.h>

#include "chunkd_internal.h"
#include "container.h"
#include "fetch.h"

#define COST_FIRST (64u << 10)	/* of a get, before any was seen */

/* Call these with the lock held. */

static int is_stalled(const struct chunkd_conn *k, uint64_t now)
{
	uint64_t moved = rpc_sent_ms(k->rpc);

	moved = moved > k->moved_ms ? moved : k->moved_ms;
	return k->out_bytes && now >= moved + CHUNKD_STALL_MS;
}

/* Has the connection had its share? */
static int has_enough(const struct chunkd_conn *k, uint64_t now)
{
	return k->working >= CHUNKD_GETS_MAX ||
	       k->out_bytes >= CHUNKD_OUT_EACH || is_stalled(k, now);
}

/* Is the line full, or the disk busy? */
static int is_full(const struct chunkd *cd, uint64_t now)
{
	const struct chunkd_conn *k;
	uint64_t work = 0, out = 0;

	LIST_FOREACH (k, &cd->conns, all) {
		if (is_stalled(k, now))
			continue;
		work += k->work_bytes;
		out += k->out_bytes;
	}
	return work >= CHUNKD_WORK_MAX || out >= CHUNKD_OUT_MAX;
}

static void begin(struct chunkd_op *op, uint64_t now)
{
	struct chunkd_conn *k = op->conn;

	k->working++;
	k->moved_ms = now;
	op->cost = k->cd->usual_cost ? k->cd->usual_cost : COST_FIRST;
	k->work_bytes += op->cost;
}

static void enqueue(struct chunkd_op *op)
{
	struct chunkd_conn *k = op->conn;

	if (TAILQ_EMPTY(&k->waiting))
		TAILQ_INSERT_TAIL(&k->cd->ring, k, turn);
	TAILQ_INSERT_TAIL(&k->waiting, op, wait);
	k->awaiting++;
}

static struct chunkd_op *dequeue(struct chunkd_conn *k)
{
	struct chunkd_op *op = TAILQ_FIRST(&k->waiting);

	TAILQ_REMOVE(&k->cd->ring, k, turn);
	TAILQ_REMOVE(&k->waiting, op, wait);
	k->awaiting--;
	if (!TAILQ_EMPTY(&k->waiting))
		TAILQ_INSERT_TAIL(&k->cd->ring, k, turn);
	return op;
}

/* The lock is not held from here on. */

/* Whom to ask instead. */
static uint32_t others(const struct chunkd_op *op, uint32_t out[SERVED_EACH])
{
	struct chunkd *cd = op->conn->cd;
	uint32_t k, kept = 0;
	uint32_t n = served_get(&cd->served, op->meta.chunk, op->num, out);

	for (uint32_t i = 0; i < n; i++) {
		for (k = 0; k < op->n_asked; k++)
			if (op->asked[k] == out[i])
				break;
		if (k == op->n_asked)
			out[kept++] = out[i];
	}
	return kept;
}

static void on_turn(struct loop_work *w)
{
	struct chunkd_op *op = container_of(w, struct chunkd_op, work);
	struct chunkd *cd = op->conn->cd;
	uint32_t ask[SERVED_EACH], n = 0;
	int crowded;

	pthread_mutex_lock(&cd->lock);
	crowded = !TAILQ_EMPTY(&cd->ring);
	pthread_mutex_unlock(&cd->lock);
	if (crowded)
		n = others(op, ask);
	if (!n) {
		chunkd_get(op);
		return;
	}
	chunkd_turn_over(op);
	chunkd_get_busy(op, ask, n);
}

void chunkd_turns(struct chunkd *cd)
{
	uint64_t now = now_ms();
	struct chunkd_conn *k;
	struct chunkd_op *op;

	pthread_mutex_lock(&cd->lock);
	while (!TAILQ_EMPTY(&cd->ring) && !is_full(cd, now)) {
		TAILQ_FOREACH (k, &cd->ring, turn)
			if (!has_enough(k, now))
				break;
		if (!k)
			break;
		op = dequeue(k);
		begin(op, now);
		/* Its connection is there as long as it is. */
		op->work.fn = on_turn;
		loop_post(rpc_loop(k->rpc), &op->work);
	}
	pthread_mutex_unlock(&cd->lock);
}

void chunkd_turn_take(struct chunkd_op *op)
{
	struct chunkd *cd = op->conn->cd;
	uint32_t ask[SERVED_EACH], n;
	uint64_t now = now_ms();
	int at_once;

	pthread_mutex_lock(&cd->lock);
	at_once = TAILQ_EMPTY(&cd->ring) && !has_enough(op->conn, now) &&
		  !is_full(cd, now);
	if (at_once)
		begin(op, now);
	pthread_mutex_unlock(&cd->lock);
	if (at_once) {
		chunkd_get(op);
		return;
	}
	n = others(op, ask);
	if (n) {
		chunkd_get_busy(op, ask, n);
		return;
	}
	pthread_mutex_lock(&cd->lock);
	enqueue(op);
	pthread_mutex_unlock(&cd->lock);
	chunkd_turns(cd);	/* there may be room by now */
}

void chunkd_turn_out(struct chunkd_op *op, uint32_t len)
{
	struct chunkd *cd = op->conn->cd;

	pthread_mutex_lock(&cd->lock);
	op->conn->out_bytes += len;
	op->conn->work_bytes += len;
	op->conn->work_bytes -= op->cost;
	op->cost = op->cost_out = len;
	cd->usual_cost = cd->usual_cost ? (7 * cd->usual_cost + len) / 8 : len;
	pthread_mutex_unlock(&cd->lock);
}

void chunkd_turn_await(struct chunkd_conn *k, int more)
{
	pthread_mutex_lock(&k->cd->lock);
	k->awaiting += (unsigned)more;
	pthread_mutex_unlock(&k->cd->lock);
}

void chunkd_turn_tell(struct chunkd *cd)
{
	struct chunkd_conn *k;

	pthread_mutex_lock(&cd->lock);
	LIST_FOREACH (k, &cd->conns, all) {
		struct m_wait m = { 0 };
		struct wr w = WR_INIT;

		if (!k->awaiting)
			continue;
		m_wait_encode(&w, &m);	/* a failure shows in w.err */
		rpc_send(k->rpc, M_wait, &w);
	}
	pthread_mutex_unlock(&cd->lock);
}

void chunkd_turn_over(struct chunkd_op *op)
{
	struct chunkd *cd = op->conn->cd;

	pthread_mutex_lock(&cd->lock);
	op->conn->working--;
	op->conn->work_bytes -= op->cost;
	op->conn->out_bytes -= op->cost_out;
	op->conn->moved_ms = now_ms();
	pthread_mutex_unlock(&cd->lock);
	chunkd_turns(cd);
}

struct chunkd_op *chunkd_turn_drop(struct chunkd_conn *k)
{
	struct chunkd_op *op = NULL;

	pthread_mutex_lock(&k->cd->lock);
	if (!TAILQ_EMPTY(&k->waiting))
		op = dequeue(k);
	pthread_mutex_unlock(&k->cd->lock);
	return op;
}
