/*
 * psptrackerd -- joins the core to its database, its thread and its sockets.
 *
 * Threads: main waits for signals; "metadata" (meta.h) does all else, but
 * what goes through the tracker from peer to peer: "relay" (relayd.h) and its
 * hasher.  They are started after the fork, with signals blocked.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core.h"
#include "daemon.h"
#include "db.h"
#include "key.h"
#include "log.h"
#include "meta.h"
#include "options.h"
#include "server.h"
#include "text.h"

#define PATH_LEN 4096
#define LEASE_MS 10000
#define HEARTBEAT_MS 2000

enum { EXIT_START = 2 };

struct tracker {
	struct options o;
	struct addr at;
	struct key key;
	int made_key;
	int lock_fd;
	struct db *db;
	struct server *server;
	struct core *core;
	struct meta *meta;
	char why[DAEMON_TEXT_MAX];
};

__attribute__((format(printf, 2, 3)))
static int because(struct tracker *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(t->why, sizeof(t->why), fmt, ap);
	va_end(ap);
	return -1;
}

/* ---------------------------------------------------------------- starting */

static int make_dirs(const char *dir)
{
	char path[PATH_LEN];

	if ((size_t)snprintf(path, sizeof(path), "%s", dir) >= sizeof(path))
		return -ENAMETOOLONG;
	for (char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		if (mkdir(path, 0755) && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	return mkdir(path, 0700) && errno != EEXIST ? -errno : 0;
}

/* One tracker to a directory. */
static int open_data(struct tracker *t)
{
	char path[PATH_LEN];
	int err = make_dirs(t->o.data);

	if (err)
		return because(t, "cannot make the data directory %s: %s: name "
				  "one that you may write with --data",
			       t->o.data, strerror(-err));
	snprintf(path, sizeof(path), "%s/lock", t->o.data);
	t->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (t->lock_fd < 0)
		return because(t, "cannot use the data directory %s: %s: name "
				  "one that you may write with --data",
			       t->o.data, strerror(errno));
	if (flock(t->lock_fd, LOCK_EX | LOCK_NB))
		return because(t, "the data directory %s is in use by another "
				  "psptrackerd: end that one, or name another "
				  "directory with --data", t->o.data);
	return 0;
}

static int open_log(struct tracker *t)
{
	char path[PATH_LEN];
	int err;

	if (t->o.log)
		snprintf(path, sizeof(path), "%s", t->o.log);
	else
		snprintf(path, sizeof(path), "%s/psptrackerd.log", t->o.data);
	if (!t->o.log && t->o.foreground)
		return 0;
	err = log_open(path);
	return err ? because(t, "cannot log to %s: %s: name another file with "
				"--log", path, strerror(-err))
		   : 0;
}

static int open_key(struct tracker *t)
{
	int err = key_load_or_make(&t->key, t->o.key, &t->made_key);

	if (!err)
		return 0;
	key_error(err, t->o.key, t->why, sizeof(t->why));
	return -1;
}

static int open_core(struct tracker *t)
{
	const struct core_config cfg = {
		.copies = t->o.copies,
		.slot_size = t->o.chunk_size,
		.lease_ms = LEASE_MS,
		.heartbeat_ms = HEARTBEAT_MS,
		.garbage_ms = t->o.garbage_ms,
		.gone_ms = t->o.gone_ms,
		.files_max = t->o.files_max,
		.seed = random_u64(),
	};
	const struct relay_config relay = {
		.cache_bytes = t->o.cache,
		.broadcast = t->o.broadcast,
		.seed = random_u64(),
	};
	char path[PATH_LEN];
	struct core_io io;

	snprintf(path, sizeof(path), "%s/tracker.db", t->o.data);
	if (db_open(&t->db, path, t->why, sizeof(t->why)))
		return -1;
	if (server_new(&t->server, &relay))
		return because(t, "cannot start the relay: no memory or no "
				  "threads");
	io = server_io(t->server);
	return core_new(&t->core, t->db, &cfg, &io, meta_now(), t->why,
			sizeof(t->why));
}

static int open_sockets(struct tracker *t)
{
	char at[ADDR_TEXT_MAX];
	const char *mend = "";
	int err;

	err = meta_start(&t->meta, t->core);
	if (err)
		return because(t, "cannot start a thread: %s", strerror(-err));
	err = server_open(t->server, t->meta, &t->key, core_id(t->core),
			  &t->at, LEASE_MS);
	if (!err)
		return 0;
	addr_text(&t->at, at);
	if (err == -EADDRINUSE)
		mend = ": is another psptrackerd running there? give another "
		       "--listen";
	else if (err == -EADDRNOTAVAIL)
		mend = ": this machine does not have that address: give one of "
		       "its own with --listen";
	else if (err == -EACCES)
		mend = ": give a port above 1023 with --listen";
	return because(t, "cannot listen on %s: %s%s", at,
		       err == -EADDRINUSE ? "address already in use"
					  : strerror(-err), mend);
}

static int start(struct tracker *t)
{
	int err = open_data(t);

	if (!err)
		err = open_log(t);
	if (!err)
		err = open_key(t);
	if (!err)
		err = open_core(t);
	if (!err)
		err = open_sockets(t);
	if (!err && t->o.pid && (err = daemon_pidfile(t->o.pid)))
		because(t, "cannot write %s: %s: name another file with --pid",
			t->o.pid, strerror(-err));
	return err;
}

static void stop(struct tracker *t)
{
	if (t->meta)
		server_close(t->server);
	meta_stop(t->meta);
	server_free(t->server);
	core_free(t->core);
	db_close(t->db);
	if (t->lock_fd >= 0)
		close(t->lock_fd);
}

/* -------------------------------------------------------------------- main */

static void announce(const struct tracker *t)
{
	char at[ADDR_TEXT_MAX];

	if (t->made_key)
		log_info("made the swarm's key %s: copy it to every peer",
			 t->o.key);
	log_info("version " PSPFS_VERSION " serves swarm %016llx at %s, data "
		 "in %s", (unsigned long long)core_swarm(t->core),
		 addr_text(&t->at, at), t->o.data);
}

int main(int argc, char **argv)
{
	static struct tracker t = { .lock_fd = -1 };
	struct daemon d;
	int code;

	log_init("psptrackerd", LOG_INFO);
	if (options_parse(&t.o, argc, argv, &code))
		return code;
	if (addr_parse(t.o.listen, PSPFS_TRACKER_PORT, &t.at)) {
		fprintf(stderr, "psptrackerd: --listen %s: not an address: "
				"give ADDR:PORT, like 127.0.0.1:3456\n",
			t.o.listen);
		return 1;
	}
	daemon_init(&d, "psptrackerd");
	daemon_block_signals();
	if (!t.o.foreground && (code = daemon_fork(&d))) {
		fprintf(stderr, "psptrackerd: cannot go to the background: "
				"%s\n", strerror(-code));
		return EXIT_START;
	}
	if (start(&t)) {
		stop(&t);
		return daemon_fail(&d, EXIT_START, t.why);
	}
	announce(&t);
	daemon_ready(&d);
	log_info("stops: %s", strsignal(daemon_wait_signal()));
	stop(&t);
	if (t.o.pid)
		unlink(t.o.pid);
	return 0;
}
