/*
 * peer -- start and stop.
 *
 * Start: key, store, threads, listener, tracker, in this order, so that what
 * fails fails before anybody outside has heard of us.
 * Stop: first the tracker is told, then nobody comes in any more, then what
 * is under way ends (its connections are closed under it), then the threads.
 */
#include "peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "peer_internal.h"
#include "via.h"

struct why {
	char *p;
	size_t len;
};

static void on_gone(void *arg, uint64_t chunk)
{
	struct peer *p = arg;

	if (p->parts.link)
		link_gone(p->parts.link, chunk);
}

/* ---------------------------------------------------------------- start */

static int open_key_and_store(struct peer *p, const struct peer_config *cfg,
			      struct why *why)
{
	struct store_events ev = { .gone = on_gone, .arg = p };
	int err;

	err = key_load(&p->self.key, cfg->key_file);
	if (err) {
		key_error(err, cfg->key_file, why->p, why->len);
		return err;
	}
	err = store_open(&p->parts.store, cfg->store_dir, cfg->capacity, &ev,
			 why->p, why->len);
	if (err)
		return err;
	p->self.role = ROLE_PEER;
	p->self.id = store_peer_id(p->parts.store);
	return 0;
}

static int start_threads(struct peer *p, const struct peer_config *cfg)
{
	struct parts *parts = &p->parts;
	char name[24];
	int err;

	err = cache_new(&parts->cache, (size_t)cfg->memory,
			(size_t)cfg->memory_all);
	if (!err)
		err = sums_new(&parts->sums, PEER_SUMS);
	if (!err)
		sums_load(parts->sums, store_dir(parts->store));
	if (!err)
		err = hasher_new(&parts->hasher);
	if (!err)
		err = pool_new(&parts->pool, "disk", PEER_POOL_THREADS);
	if (!err)
		err = loop_new(&parts->control, "control");
	for (int i = 0; i < PARTS_BULK_LOOPS && !err; i++) {
		snprintf(name, sizeof(name), "bulk-%d", i);
		err = loop_new(&parts->bulk[i], name);
	}
	if (!err)
		err = peers_new(&parts->peers, parts->bulk, PARTS_BULK_LOOPS,
				&p->self, &cfg->addr);
	if (!err)
		err = via_new(&parts->via, parts, &p->self, &cfg->addr);
	if (!err)
		err = fetch_new(&p->fetch, parts);
	parts->fetch = p->fetch;
	if (!err)
		err = sum_new(&p->sum, parts, p->fetch);
	return err;
}

static int listen_at(struct peer *p, const struct addr *at, struct why *why)
{
	char text[ADDR_TEXT_MAX], ip[ADDR_TEXT_MAX];
	int err = chunkd_open(&p->chunkd, &p->parts, &p->self, at);

	addr_text(at, text);
	addr_ip(at, ip);
	if (err == -EADDRINUSE)
		snprintf(why->p, why->len, "cannot listen on %s: address "
			 "already in use: is there another peer on this "
			 "machine?  Give this one its own address, such as "
			 "addr=127.0.0.12, or another port", text);
	else if (err == -EADDRNOTAVAIL)
		snprintf(why->p, why->len, "cannot listen on %s: %s is not an "
			 "address of this machine: give one that is, with "
			 "addr=IP", text, ip);
	else if (err)
		snprintf(why->p, why->len, "cannot listen on %s: %s", text,
			 strerror(-err));
	return err;
}

/* Is there just no tracker, rather than one that will not have us? */
static int may_go_on(const struct peer_config *cfg, int err)
{
	switch (err) {
	case -ECONNREFUSED:
	case -ECONNRESET:
	case -EHOSTUNREACH:
	case -ENETUNREACH:
	case -ETIMEDOUT:
		return cfg->apart != 0;
	default:
		return 0;
	}
}

static int bind_store(struct peer *p, const struct peer_config *cfg,
		      uint64_t swarm, struct why *why)
{
	int err = store_bind(p->parts.store, swarm);

	if (err == -EXDEV)
		snprintf(why->p, why->len, "the store %s belongs to another "
			 "swarm: give another directory with store=DIR",
			 cfg->store_dir);
	return err;
}

static int join(struct peer *p, const struct peer_config *cfg,
		struct why *why)
{
	struct link_config lc = {
		.n_trackers = cfg->n_trackers, .self = p->self,
		.key_file = cfg->key_file,
		.addr = cfg->addr, .swarm = store_swarm(p->parts.store),
		.mounted = cfg->mounted, .guest = cfg->guest,
		.timeout_ms = cfg->timeout_ms,
	};
	struct complete *complete;
	struct link_info info;
	int err;

	if (!lc.swarm)
		lc.swarm = cfg->apart;
	addr_set_port(&lc.addr, chunkd_port(p->chunkd));
	memcpy(lc.trackers, cfg->trackers, sizeof(lc.trackers));
	err = link_start(&p->parts.link, p->parts.control, &lc,
			 &peer_link_ops, p);
	if (err)
		return err;
	err = link_wait(p->parts.link, cfg->timeout_ms, why->p, why->len);
	p->apart = may_go_on(cfg, err);
	if (err && !p->apart)
		return err;
	link_info(p->parts.link, &info);
	err = bind_store(p, cfg, p->apart ? cfg->apart : info.swarm, why);
	if (!err)
		err = upload_new(&p->upload, &p->parts);
	if (!err)
		err = complete_new(&complete, &p->parts, p->fetch);
	if (!err)
		__atomic_store_n(&p->complete, complete, __ATOMIC_RELEASE);
	return err;
}

int peer_start(struct peer **out, const struct peer_config *cfg,
	       const struct peer_folder *folder, char *why, size_t why_len)
{
	struct why y = { why, why_len };
	struct peer *p = calloc(1, sizeof(*p));
	int err = -ENOMEM;

	why[0] = 0;
	if (!p)
		goto out;
	gate_init(&p->gate);
	if (folder)
		p->folder = *folder;
	p->parts.timeout_ms = cfg->timeout_ms;
	p->parts.how = cfg->via;
	err = open_key_and_store(p, cfg, &y);
	if (!err)
		err = start_threads(p, cfg);
	if (!err)
		err = listen_at(p, &cfg->addr, &y);
	if (!err)
		err = join(p, cfg, &y);
out:
	if (err && !why[0])
		snprintf(why, why_len, "cannot start: %s", strerror(-err));
	if (err) {
		peer_stop(p);
		return err;
	}
	chunkd_start(p->chunkd);
	if (!cfg->guest)
		peer_local_start(p, cfg->store_dir);
	*out = p;
	return 0;
}

/* ----------------------------------------------------------------- stop */

static void nothing(void *arg)
{
	(void)arg;
}

/* Whatever the loops were at when the last work ended, they are through with
 * it: nobody posts any more. */
static void settle(struct parts *parts)
{
	if (parts->control)
		loop_run(parts->control, nothing, NULL);
	for (int i = 0; i < PARTS_BULK_LOOPS; i++)
		if (parts->bulk[i])
			loop_run(parts->bulk[i], nothing, NULL);
}

static void stop_threads(struct parts *parts)
{
	if (parts->pool)
		pool_free(parts->pool);
	if (parts->hasher)
		hasher_free(parts->hasher);
	settle(parts);
	for (int i = 0; i < PARTS_BULK_LOOPS; i++)
		if (parts->bulk[i])
			loop_free(parts->bulk[i]);
	if (parts->control)
		loop_free(parts->control);
}

void peer_halt(struct peer *p)
{
	struct parts *parts = &p->parts;

	if (p->halted)
		return;
	p->halted = 1;
	if (p->fetch)
		fetch_shut(p->fetch);
	if (p->upload)
		upload_shut(p->upload);
	if (p->complete)
		complete_shut(p->complete);
	gate_shut(&p->gate);
	sum_shut(p->sum);
	local_shut(p->local, PEER_LOCAL_MS);
	if (parts->link)
		link_close(parts->link);
	if (parts->peers)
		peers_close(parts->peers);
	if (parts->via)
		via_close(parts->via);
	chunkd_close(p->chunkd);
	local_close(p->local);
	p->local = NULL;
}

void peer_stop(struct peer *p)
{
	struct parts *parts;

	if (!p)
		return;
	parts = &p->parts;
	peer_halt(p);
	gate_fini(&p->gate);
	sum_free(p->sum);
	complete_free(p->complete);
	fetch_free(p->fetch);
	upload_free(p->upload);
	stop_threads(parts);
	peers_free(parts->peers);
	via_free(parts->via);
	link_stop(parts->link);
	parts->link = NULL;
	if (parts->sums)
		sums_save(parts->sums, store_dir(parts->store));
	sums_free(parts->sums);
	if (parts->cache)
		cache_free(parts->cache);
	if (parts->store)
		store_close(parts->store);
	explicit_bzero(&p->self.key, sizeof(p->self.key));
	free(p);
}

int peer_is_apart(const struct peer *p)
{
	return p->apart;
}

void peer_know(struct peer *p, const struct m_peer *list, uint32_t n)
{
	peers_update(p->parts.peers, list, n);
}

char *peer_name(struct peer *p, uint32_t num, char out[ADDR_TEXT_MAX])
{
	return peers_name(p->parts.peers, num, out);
}

struct link *peer_link(struct peer *p)
{
	return p->parts.link;
}

struct fetch *peer_fetch(struct peer *p)
{
	return p->fetch;
}

struct upload *peer_upload(struct peer *p)
{
	return p->upload;
}

struct cache *peer_cache(struct peer *p)
{
	return p->parts.cache;
}
