/* member -- see member.h. */
#include "member.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "opts.h"

/* ------------------------------------------- what the tracker asks of us */

static void on_lost(void *arg, uint64_t **open, uint32_t *n_open)
{
	(void)arg;
	*open = NULL;
	*n_open = 0;
}

static uint32_t on_revoked(void *arg, uint64_t *inos, uint32_t n,
			   uint8_t also)
{
	(void)arg;
	(void)inos;
	(void)n;
	(void)also;
	return 0;	/* nothing is cached or open here */
}

static int on_still_open(void *arg, uint64_t ino)
{
	(void)arg;
	(void)ino;
	return 0;
}

static void on_peers(void *arg, const struct m_peer *p, uint32_t n)
{
	struct member *m = arg;

	peers_update(m->peers, p, n);
}

static void on_chunks(void *arg, const uint64_t *chunks, uint32_t n)
{
	(void)arg;
	(void)chunks;
	(void)n;
}

static void on_copy(void *arg, const struct m_copy *m, struct rpc_req *req)
{
	(void)arg;
	(void)m;
	rpc_fail(req, -EOPNOTSUPP, "nothing is kept here");
}

static void on_space(void *arg, uint64_t *capacity, uint64_t *used,
		     uint64_t *chunks)
{
	(void)arg;
	*capacity = *used = *chunks = 0;
}

static size_t on_held(void *arg, uint64_t *cursor, struct m_held *out,
		      size_t max)
{
	(void)arg;
	(void)cursor;
	(void)out;
	(void)max;
	return 0;
}

static const struct link_ops ops = {
	.lost = on_lost,
	.revoked = on_revoked,
	.still_open = on_still_open,
	.peers = on_peers,
	.drop = on_chunks,
	.copy = on_copy,
	.space = on_space,
	.held = on_held,
	.unknown = on_chunks,
};

/* -------------------------------------------------------- joining, leaving */

/* A port of our own, as every member has one, though nobody listens. */
static int take_port(struct member *m, struct addr *at)
{
	struct addr got = { .len = sizeof(got.ss) };

	addr_set_port(at, 0);
	m->port_fd = socket(at->ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (m->port_fd < 0 ||
	    bind(m->port_fd, (const struct sockaddr *)&at->ss, at->len) ||
	    getsockname(m->port_fd, (struct sockaddr *)&got.ss, &got.len))
		return -errno;
	addr_set_port(at, addr_port(&got));
	return 0;
}

static int start_loops(struct member *m)
{
	int err = loop_new(&m->control, "control");

	for (int i = 0; i < MEMBER_BULK_LOOPS && !err; i++)
		err = loop_new(&m->bulk[i], "bulk");
	return err ? err : hasher_new(&m->hasher);
}

static int join(struct member *m, const struct peer_config *cfg,
		char *why, size_t why_len)
{
	struct link_config lc = {
		.n_trackers = cfg->n_trackers, .key_file = cfg->key_file,
		.addr = cfg->addr, .guest = 1, .timeout_ms = MEMBER_WAIT_MS,
	};
	int err;

	m->self.role = ROLE_PEER;
	m->self.id = random_u64() | 1;
	err = key_load(&m->self.key, cfg->key_file);
	if (err) {
		key_error(err, cfg->key_file, why, why_len);
		return err;
	}
	err = take_port(m, &lc.addr);
	if (!err)
		err = start_loops(m);
	if (!err)
		err = peers_new(&m->peers, m->bulk, MEMBER_BULK_LOOPS,
				&m->self, &lc.addr);
	if (err)
		return err;
	lc.self = m->self;
	memcpy(lc.trackers, cfg->trackers, sizeof(lc.trackers));
	err = link_start(&m->link, m->control, &lc, &ops, m);
	return err ? err : link_wait(m->link, MEMBER_WAIT_MS, why, why_len);
}

int member_join(struct member *m, const struct cli *c)
{
	char item[PATH_MAX + 16], why[512] = "";
	struct peer_config cfg;
	struct opts o;
	int err = 0;

	memset(m, 0, sizeof(*m));
	m->port_fd = -1;
	opts_init(&o);
	if (c->tracker) {
		snprintf(item, sizeof(item), "tracker=%s", c->tracker);
		err = opts_set(&o, item, why, sizeof(why));
	}
	snprintf(item, sizeof(item), "key=%s", c->key_file);
	if (!err)
		err = opts_set(&o, item, why, sizeof(why));
	if (!err)
		err = opts_finish(&o, &cfg, why, sizeof(why));
	if (!err)
		err = join(m, &cfg, why, sizeof(why));
	if (!err)
		return CLI_OK;
	member_leave(m);
	return cli_say(CLI_FAILED, "%s", why[0] ? why : strerror(-err));
}

void member_shut(struct member *m)
{
	if (m->peers)
		peers_close(m->peers);
}

static void nothing(void *arg)
{
	(void)arg;
}

/* As peer_stop(): first who is asked, then who is at work, then the loops. */
void member_leave(struct member *m)
{
	if (m->link)
		link_close(m->link);
	member_shut(m);
	if (m->hasher)
		hasher_free(m->hasher);
	if (m->control)
		loop_run(m->control, nothing, NULL);
	for (int i = 0; i < MEMBER_BULK_LOOPS; i++)
		if (m->bulk[i])
			loop_run(m->bulk[i], nothing, NULL);
	for (int i = 0; i < MEMBER_BULK_LOOPS; i++)
		if (m->bulk[i])
			loop_free(m->bulk[i]);
	if (m->control)
		loop_free(m->control);
	peers_free(m->peers);
	link_stop(m->link);
	if (m->port_fd >= 0)
		close(m->port_fd);
	explicit_bzero(&m->self.key, sizeof(m->self.key));
	memset(m, 0, sizeof(*m));
	m->port_fd = -1;
}
