/*
 * sim_tracker -- a tracker and its clients under loss, delay, cuts and kills.
 *
 * PSPFS_SIM_SEED, PSPFS_SIM_ROUNDS: where to start, how many.
 */
#include <errno.h>
#include <time.h>

#include "log.h"
#include "sim_work.h"

enum { ROUND_MS = 30000, STEP_MS = 8 };

struct world world;
struct client clients[CLIENTS];
struct cell cells[CELLS];
uint64_t logs[LOGS];
struct record *records;
size_t n_records;
struct content *contents;

/* ----------------------------------------------------------------- truth */

static uint64_t truth(int i)
{
	struct cell *x = &cells[i];
	struct m_attr a;
	int err;

	if (i < FILES) {
		CHECK(!ns_getattr(world.core->ns, x->ino, &a), "no %s",
		      x->name);
		return a.uid;
	}
	err = ns_lookup(world.core->ns, NS_ROOT, str_of(x->name), &a);
	CHECK(!err || err == -ENOENT, "lookup of %s", x->name);
	return err ? 0 : a.ino;
}

static void note(int i, uint64_t value)
{
	struct cell *x = &cells[i];

	x->past = realloc(x->past, (x->n + 1) * sizeof(*x->past));
	assert(x->past);
	x->past[x->n++] = value;
}

/* The tracker has run a request: whose change, if any, is it? */
void executed(uint64_t conn, uint32_t number, uint16_t type)
{
	struct client *c = &clients[line_at(conn)->client];
	struct op *o;

	if (!M_MUTATES(type))
		return;
	TAILQ_FOREACH(o, &c->ops, link)
		if (o->number == number && o->conn == conn)
			break;
	for (int i = 0; i < CELLS; i++) {
		uint64_t now = truth(i);

		if (now == cells[i].past[cells[i].n - 1])
			continue;
		note(i, now);
		/* one that was sent again since is the same one */
		for (int k = 0; !o && k < 1; k++)
			TAILQ_FOREACH(o, &c->ops, link)
				if (o->cell == i && o->type == type)
					break;
		CHECK(o && o->cell == i, "%s changed by a stray request",
		      cells[i].name);
		o->index = cells[i].n - 1;
	}
}

/* What was not committed may be undone, but nothing that was answered. */
void undone(void)
{
	for (int i = 0; i < CELLS; i++) {
		struct cell *x = &cells[i];
		uint64_t now = truth(i);

		while (x->n && x->past[x->n - 1] != now)
			x->n--;
		CHECK(x->n > x->acked, "%s: what was answered is lost",
		      x->name);
		for (int k = 0; k < CLIENTS; k++) {
			struct op *o;

			TAILQ_FOREACH(o, &clients[k].ops, link)
				if (o->cell == i && o->index >= x->n)
					o->index = 0;
		}
	}
}

static void check_belief(const struct client *c, int i)
{
	const struct belief *b = &c->belief[i];
	const struct cell *x = &cells[i];
	size_t at = x->n;

	if (!b->valid || is_guest(c) || world.ms >= c->lease_end)
		return;
	while (at && x->past[at - 1] != b->value)
		at--;
	CHECK(at && at - 1 >= x->acked,
	      "client %d believes that %s is %llu: that is %s", c->no, x->name,
	      (unsigned long long)b->value, at ? "old" : "no truth at all");
}

void check_beliefs(void)
{
	for (int k = 0; k < CLIENTS; k++)
		for (int i = 0; i < CELLS; i++)
			check_belief(&clients[k], i);
}

/* ------------------------------------------------------------------- steps */

void client_frame(int client, struct frame *f)
{
	struct client *c = &clients[client < 0 ? 0 : client];

	if (f->kind == TO_CLIENT_BEAT)
		beat_answered(f);
	else if (c->conn != f->conn)
		return;
	else if (f->kind == TO_CLIENT_DOWN)
		lose(c, 0);
	else if (f->kind == TO_CLIENT_ANSWER)
		answered(c, f);
	else
		asked(c, f);
}

/* Gets a chunk that some member has, as if to download. */
static void visit(struct client *c)
{
	const struct client *from = &clients[rnd(MEMBERS)];

	if (c->n_ops >= OPS || !chance(10))
		return;
	if (chance(30))
		read_map(c);
	else if (chance(30))
		look(c);
	else if (from->n_held)
		hold(c, from->held[rnd(from->n_held)]);
	inventory(c);
}

static void act(struct client *c)
{
	ask_grant(c);
	if (c->n_ops >= OPS || !chance(30))
		return;
	switch (rnd(8)) {
	case 0:
		append(c);
		break;
	case 1:
		set_owner(c);
		break;
	case 2:
		unique(c);
		break;
	case 3:
		rename_name(c);
		break;
	case 4:
		read_map(c);
		break;
	case 5:
		look_open(c);
		break;
	case 6:
		open_close(c);
		break;
	default:
		look(c);
	}
}

static void send_again(struct client *c)
{
	struct op *o;

	TAILQ_FOREACH(o, &c->ops, link) {
		if (!o->seq || world.ms - o->sent_ms < LEASE_MS / 2)
			continue;
		o->resent = 1;
		op_send(c, o);
	}
}

static void client_step(struct client *c)
{
	if (world.ms >= c->lease_end)
		for (int i = 0; i < OPENS; i++)
			c->opens[i].safe = 0;
	if (!c->conn) {
		if (world.core && world.ms >= c->reconnect_ms)
			hello(c);
		return;
	}
	if (!c->up) {
		if (world.ms - c->hello_ms > LEASE_MS)
			lose(c, 100);
		return;
	}
	if (!world.healed && rnd(1500) == 0) {
		lose(c, chance(70) ? rnd(200) : rnd(3 * LEASE_MS));
		return;
	}
	if (!world.healed && rnd(2000) == 0)
		c->paused = (int)rnd(2 * LEASE_MS / STEP_MS);
	if (world.ms >= c->next_beat_ms)
		beat(c);
	send_again(c);
	if (!world.healed && is_guest(c))
		visit(c);
	else if (!world.healed)
		act(c);
}

static void step(void)
{
	int kill = !world.healed && rnd(1000) == 0;

	world.ms += STEP_MS;
	world_step(kill, !world.healed && rnd(200) == 0);
	if (!world.core && chance(5)) {
		tracker_start();
		undone();
	}
	for (int i = 0; i < CLIENTS; i++) {
		if (clients[i].paused)
			clients[i].paused--;
		else
			client_step(&clients[i]);
	}
}

/* ----------------------------------------------------------------- verdict */

static void check_log(int log)
{
	struct arena a = ARENA_INIT;
	struct m_getmap_r m;
	uint8_t data[SLOT];

	CHECK(!ns_getmap(world.core->ns, &a, logs[log], 0, MSG_SLOTS_MAX, &m),
	      "getmap");
	for (uint32_t i = 0; i < m.n_slots; i++) {
		uint32_t len = merge(&m.slots[i], data);

		CHECK(len % RECORD == 0, "a torn record");
		for (uint32_t k = 0; k < len; k += RECORD) {
			uint64_t no = get_u64(data + k);
			struct record *r = &records[no - 1];

			CHECK(no && no <= n_records && r->log == log,
			      "record %llu in log %d", (unsigned long long)no,
			      log);
			CHECK(!r->found++, "record %llu is there twice",
			      (unsigned long long)no);
			CHECK(r->at == m.slots[i].index * SLOT + k,
			      "record %llu is elsewhere",
			      (unsigned long long)no);
		}
	}
	arena_fini(&a);
}

static void check_records(void)
{
	for (int i = 0; i < LOGS; i++)
		check_log(i);
	for (size_t i = 0; i < n_records; i++) {
		CHECK(records[i].acked_ms && records[i].found == 1,
		      "record %zu: answered, but not there", i + 1);
		for (size_t k = 0; k < n_records; k++)
			CHECK(records[i].log != records[k].log ||
			      records[i].acked_ms >= records[k].sent_ms ||
			      records[i].at < records[k].at,
			      "record %zu came first, but is behind %zu",
			      i + 1, k + 1);
	}
}

static void check_end(void)
{
	struct repair_counts danger;
	uint64_t orphan;

	for (int i = 0; i < CLIENTS; i++)
		CHECK(clients[i].up && !clients[i].n_ops,
		      "client %d is stuck", i);
	check_records();
	CHECK(!ns_orphans(world.core->ns, 0, &orphan, 1),
	      "inode %llu is kept without reason", (unsigned long long)orphan);
	CHECK(!repair_count(world.core->repair, &danger), "repair");
	CHECK(!danger.under && !danger.missing,
	      "%llu chunks are under-replicated, %llu missing",
	      (unsigned long long)danger.under,
	      (unsigned long long)danger.missing);
}

/* ----------------------------------------------------------------- rounds */

static uint64_t make_file(const char *name)
{
	struct m_mknod m = { .parent = NS_ROOT, .name = str_of(name),
			     .mode = 0100644, .excl = 1 };
	struct ns_touched t = { .n = 0 };
	struct m_mknod_r r;

	CHECK(!ns_mknod(world.core->ns, &m, core_ns_now(world.core), &r, &t),
	      "cannot make %s", name);
	return r.attr.ino;
}

static void set_up(uint64_t seed)
{
	memset(&world, 0, sizeof(world));
	memset(clients, 0, sizeof(clients));
	memset(cells, 0, sizeof(cells));
	world.seed = world.rng = seed;
	world.ms = 1000000;
	TAILQ_INIT(&world.frames);
	TAILQ_INIT(&world.asks);
	strcpy(world.dir, "/tmp/pspfs-sim-XXXXXX");
	CHECK(mkdtemp(world.dir), "no directory");
	snprintf(world.path, sizeof(world.path), "%s/db", world.dir);
	tracker_start();
	core_begin(world.core, world_now());
	for (int i = 0; i < CELLS; i++) {
		snprintf(cells[i].name, sizeof(cells[i].name), "%c%d",
			 i < FILES ? 'f' : 'n', i < FILES ? i : i - FILES);
		if (i < FILES)
			cells[i].ino = make_file(cells[i].name);
		note(i, 0);
	}
	logs[0] = make_file("log0");
	logs[1] = make_file("log1");
	CHECK(!core_end(world.core), "set up");
	for (int i = 0; i < CLIENTS; i++) {
		clients[i].no = i;
		TAILQ_INIT(&clients[i].ops);
	}
}

static void tear_down(void)
{
	struct content *x, *next;
	struct frame *f;
	char path[128];

	tracker_stop();
	while ((f = TAILQ_FIRST(&world.frames))) {
		TAILQ_REMOVE(&world.frames, f, link);
		frame_free(f);
	}
	HASH_ITER (hh, contents, x, next) {
		HASH_DELETE(hh, contents, x);
		free(x);
	}
	for (int i = 0; i < CLIENTS; i++)
		free(clients[i].held);
	for (int i = 0; i < CELLS; i++)
		free(cells[i].past);
	free(records);
	free(world.lines);
	records = NULL;
	n_records = 0;
	unlink(world.path);
	snprintf(path, sizeof(path), "%s-wal", world.path);
	unlink(path);
	snprintf(path, sizeof(path), "%s-shm", world.path);
	unlink(path);
	rmdir(world.dir);
}

static void close_all(void)
{
	for (int i = 0; i < CLIENTS; i++)
		for (int k = 0; k < OPENS; k++) {
			if (clients[i].opens[k].ino)
				release(&clients[i], clients[i].opens[k].ino);
			clients[i].opens[k].ino = 0;
		}
}

static void sim_round(uint64_t seed)
{
	uint64_t end;

	printf("seed %llu: ", (unsigned long long)seed);
	fflush(stdout);		/* to be seen when an assert ends it */
	set_up(seed);
	end = world.ms + ROUND_MS;
	while (world.ms < end)
		step();
	world.healed = 1;
	end = world.ms + 10 * LEASE_MS;
	while (world.ms < end)
		step();
	close_all();
	end = world.ms + 5 * LEASE_MS;
	while (world.ms < end)
		step();
	check_end();
	printf("%zu records, %llu cuts, %llu kills, %llu batches failed, "
	       "%llu beats lost\n", n_records,
	       (unsigned long long)world.cuts, (unsigned long long)world.kills,
	       (unsigned long long)world.failed,
	       (unsigned long long)world.beats_lost);
	tear_down();
}

int main(void)
{
	const char *s = getenv("PSPFS_SIM_SEED");
	const char *r = getenv("PSPFS_SIM_ROUNDS");
	uint64_t seed = s ? strtoull(s, NULL, 10) : (uint64_t)time(NULL);
	long rounds = r ? atol(r) : 12;

	log_init("sim_tracker", LOG_ERROR);
	log_open("/dev/null");	/* a full disk is told each time */
	signal(SIGXFSZ, SIG_IGN);
	for (long i = 0; i < rounds; i++)
		sim_round(seed + (uint64_t)i);
	/* a round that fails ends the program; as cmocka counts: */
	printf("[  PASSED  ] %ld test(s).\n", rounds);
	return 0;
}
