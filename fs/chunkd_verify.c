/*
 * chunkd_verify -- are these chunks here, and what they should be?
 *
 * One request at a time, in the order they came, a few of its chunks at once:
 * verifying must not keep those who read from the disk.  A corrupt copy is
 * quarantined and reported on the way (shelf).
 */
#include <errno.h>
#include <stdlib.h>

#include "chunkd_internal.h"
#include "shelf.h"

#define AT_ONCE 8		/* chunks read at once */

static void go_on(struct chunkd_op *op);

static void answer(struct chunkd_op *op)
{
	struct m_verify_r r = { .bad = op->ids, .n_bad = op->n_bad };
	struct wr w = WR_INIT;

	if (gate_is_shut(&op->conn->cd->gate)) {
		chunkd_op_fail(op, -ECANCELED);
		return;
	}
	m_verify_r_encode(&w, &r);	/* a failure shows in w.err */
	rpc_reply(op->req, &w, NULL);
	chunkd_op_end(op);
}

/* Answers @op; the next of those that wait, if any. */
static struct chunkd_op *end(struct chunkd_op *op)
{
	struct chunkd *cd = op->conn->cd;
	struct chunkd_op *next;

	pthread_mutex_lock(&cd->lock);
	TAILQ_REMOVE(&cd->verifies, op, wait);
	next = TAILQ_FIRST(&cd->verifies);
	pthread_mutex_unlock(&cd->lock);
	/* the next holds its connection, and that the chunk server */
	answer(op);
	return next;
}

/* What one read of an op needs. */
struct look {
	struct chunkd_op *op;
	uint64_t chunk;
};

static void on_read(void *arg, int err, const struct chunk_meta *m,
		    struct buf *b)
{
	struct look *k = arg;
	struct chunkd_op *op = k->op;
	struct chunkd *cd = op->conn->cd;
	int more;

	(void)m;
	(void)b;
	pthread_mutex_lock(&cd->lock);
	if (err)		/* its place was read: n_bad < next */
		op->ids[op->n_bad++] = k->chunk;
	op->out--;
	more = !op->starting;
	if (more)
		op->starting = 1;
	pthread_mutex_unlock(&cd->lock);
	free(k);
	if (more)
		go_on(op);
}

/* Start one more: 1; 0 if there is no room, or none left (*@over: and none
 * under way). */
static int start_one(struct chunkd_op *op, int *over)
{
	struct chunkd *cd = op->conn->cd;
	struct look *k = malloc(sizeof(*k));
	int shut = gate_is_shut(&cd->gate);

	pthread_mutex_lock(&cd->lock);
	if (shut)
		op->next = op->n_ids;
	if (op->next == op->n_ids || op->out == AT_ONCE || !k) {
		if (!k && op->next < op->n_ids && !op->out) {
			/* nobody will come by again: it is not verified */
			op->ids[op->n_bad++] = op->ids[op->next++];
			pthread_mutex_unlock(&cd->lock);
			return 1;
		}
		*over = op->next == op->n_ids && !op->out;
		op->starting = 0;
		pthread_mutex_unlock(&cd->lock);
		free(k);
		return 0;
	}
	*k = (struct look){ op, op->ids[op->next++] };
	op->out++;
	pthread_mutex_unlock(&cd->lock);
	shelf_read(cd->parts, k->chunk, SHELF_DISK | SHELF_COLD, on_read,
		   k);
	return 1;
}

/* By whoever set op->starting: a read that ends meanwhile leaves it to us. */
static void go_on(struct chunkd_op *op)
{
	while (op) {
		int over = 0;

		while (start_one(op, &over))
			;
		if (!over)
			return;
		op = end(op);
		if (op)
			op->starting = 1;
	}
}

void chunkd_verify(struct chunkd_op *op)
{
	struct chunkd *cd = op->conn->cd;
	int first;

	pthread_mutex_lock(&cd->lock);
	first = TAILQ_EMPTY(&cd->verifies);
	TAILQ_INSERT_TAIL(&cd->verifies, op, wait);
	op->starting = 1;
	pthread_mutex_unlock(&cd->lock);
	if (first)
		go_on(op);
}
