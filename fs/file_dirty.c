/*
 * file_dirty -- how much is uncommitted, for how long, and what is done.
 *
 * Every buffer of dirty or sealed bytes is charged with its capacity.  From
 * three quarters of the bound on ("pressed") files commit whatever is
 * uploaded, and files are sealed, oldest first, while a good part of the
 * bytes is not on its way yet.  At the bound answers to writes wait, in
 * order; since sealed bytes always leave, by success or by error, they do
 * not wait for ever.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "file_internal.h"
#include "log.h"
#include "text.h"

/* -------------------------------------------------------------- the bound */

/* Little of it is on its way: waiting would not help. */
static int much_unsealed(const struct files *fs)
{
	return fs->unsealed > fs->cfg.dirty_max / 4;
}

int files_pressed(struct files *fs)
{
	int yes;

	pthread_mutex_lock(&fs->lock);
	yes = fs->pressed;
	pthread_mutex_unlock(&fs->lock);
	return yes;
}

/* On the loop. */
static void press(void *arg)
{
	struct files *fs = arg;
	struct file **v;
	size_t n;
	int seal;

	pthread_mutex_lock(&fs->lock);
	fs->press_posted = 0;
	pthread_mutex_unlock(&fs->lock);
	v = files_list(fs, 1, UINT64_MAX, &n);
	for (size_t i = 0; i < n; i++) {
		pthread_mutex_lock(&fs->lock);
		seal = fs->unsealed > fs->cfg.dirty_max / 8;
		pthread_mutex_unlock(&fs->lock);
		file_kick(v[i], seal);
		file_put(v[i]);
	}
	free(v);
}

void files_charge(struct files *fs, int64_t dirty, int64_t unsealed)
{
	int post;

	pthread_mutex_lock(&fs->lock);
	fs->dirty += dirty;
	fs->unsealed += unsealed;
	post = fs->dirty > fs->cfg.dirty_max / 4 * 3 && !fs->stopped &&
	       !fs->press_posted && (!fs->pressed || much_unsealed(fs));
	if (post)
		fs->pressed = fs->press_posted = 1;
	pthread_mutex_unlock(&fs->lock);
	if (post && loop_call(fs->cfg.loop, press, fs)) {
		pthread_mutex_lock(&fs->lock);
		fs->pressed = fs->press_posted = 0;	/* the next one tries */
		pthread_mutex_unlock(&fs->lock);
	}
}

void files_uncharge(struct files *fs, uint64_t n, struct blocked_list *freed)
{
	pthread_mutex_lock(&fs->lock);
	fs->dirty -= n;
	if (fs->dirty < fs->cfg.dirty_max / 2)
		fs->pressed = 0;
	if (fs->dirty < fs->cfg.dirty_max)
		STAILQ_CONCAT(freed, &fs->blocked);
	pthread_mutex_unlock(&fs->lock);
}

void files_answer(struct files *fs, file_done done, void *arg)
{
	struct blocked *b = NULL;

	pthread_mutex_lock(&fs->lock);
	if (fs->dirty >= fs->cfg.dirty_max)
		b = malloc(sizeof(*b));	/* without memory, without waiting */
	if (b) {
		b->done = done;
		b->arg = arg;
		STAILQ_INSERT_TAIL(&fs->blocked, b, next);
	}
	pthread_mutex_unlock(&fs->lock);
	if (!b)
		done(arg, 0);
}

/* ------------------------------------------------------------ what is busy */

void file_busy(struct file *f)
{
	struct files *fs = f->fs;

	pthread_mutex_lock(&fs->lock);
	if (!f->busy) {
		f->busy = 1;
		f->refs++;
		f->since_ms = now_ms();
		TAILQ_INSERT_TAIL(&fs->busy, f, by_age);
	}
	pthread_mutex_unlock(&fs->lock);
}

void file_idle(struct file *f, struct todo *t)
{
	struct files *fs = f->fs;

	f->local_end = 0;
	pthread_mutex_lock(&fs->lock);
	if (f->busy) {
		f->busy = 0;
		f->refs--;	/* not the last: the caller has one */
		TAILQ_REMOVE(&fs->busy, f, by_age);
		if (!f->handles && f->told_open) {
			f->told_open = 0;
			t->release = 1;
		}
	}
	pthread_mutex_unlock(&fs->lock);
}

void file_kick(struct file *f, int seal)
{
	struct todo t;

	file_todo_init(f, &t);
	pthread_mutex_lock(&f->lock);
	if (seal) {
		file_seal_all(f, &t);
		f->want_seq = f->seq;
	}
	file_advance(f, &t);
	pthread_mutex_unlock(&f->lock);
	file_todo_run(f, &t);
}

/* -------------------------------------------------------------- the clock */

/* It begins to wait anew. */
static void look_later(struct file *f, uint64_t now)
{
	struct files *fs = f->fs;

	pthread_mutex_lock(&fs->lock);
	if (f->busy) {
		f->since_ms = now;
		TAILQ_REMOVE(&fs->busy, f, by_age);
		TAILQ_INSERT_TAIL(&fs->busy, f, by_age);
	}
	pthread_mutex_unlock(&fs->lock);
}

static void tick(void *arg)
{
	struct files *fs = arg;
	uint64_t now = now_ms();
	struct file **v;
	size_t n;

	if (now < fs->cfg.flush_ms)
		return;
	v = files_list(fs, 1, now - fs->cfg.flush_ms, &n);
	for (size_t i = 0; i < n; i++) {
		look_later(v[i], now);
		file_kick(v[i], 1);
		file_put(v[i]);
	}
	free(v);
}

static void start_timer(void *arg)
{
	struct files *fs = arg;
	uint32_t ms = fs->cfg.flush_ms / 4;
	int err;

	err = loop_every(fs->cfg.loop, &fs->timer, ms ? ms : 1, tick, fs);
	if (err)
		log_error("no timer for dirty data (%s): it leaves at close "
			  "and fsync only", strerror(-err));
}

int files_start(struct files *fs)
{
	return loop_call(fs->cfg.loop, start_timer, fs);
}

static void stop_timer(struct loop_work *w)
{
	struct files *fs = container_of(w, struct files, stop);

	if (fs->timer)
		loop_timer_free(fs->timer);
	pthread_mutex_lock(&fs->lock);
	fs->stopped = FILES_STOPPED;
	pthread_cond_broadcast(&fs->idle);
	pthread_mutex_unlock(&fs->lock);
}

void files_stop(struct files *fs)
{
	pthread_mutex_lock(&fs->lock);
	fs->stopped = FILES_STOPPING;
	pthread_mutex_unlock(&fs->lock);
	fs->stop.fn = stop_timer;
	loop_post(fs->cfg.loop, &fs->stop);
	pthread_mutex_lock(&fs->lock);
	while (fs->stopped != FILES_STOPPED)
		pthread_cond_wait(&fs->idle, &fs->lock);
	pthread_mutex_unlock(&fs->lock);
}
