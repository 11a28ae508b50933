/* opts -- see opts.h. */
#include "opts.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEYS "tracker, addr, port, store, key, capacity, memory, timeout, via"

struct why {
	char *p;
	size_t len;
};

static int say(struct why *why, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int say(struct why *why, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why->p, why->len, fmt, ap);
	va_end(ap);
	return err;
}

void opts_init(struct opts *o)
{
	memset(o, 0, sizeof(*o));
	o->port = PSPFS_PEER_PORT;
	o->memory = OPTS_MEMORY_DEFAULT;
	o->timeout_s = OPTS_TIMEOUT_DEFAULT;
	snprintf(o->key, sizeof(o->key), "%s", KEY_DEFAULT);
}

/* ------------------------------------------------------------- the values */

static int set_size(const char *key, const char *v, uint64_t min,
		    uint64_t *out, struct why *why)
{
	uint64_t n;
	char least[16];

	if (size_parse(v, &n))
		return say(why, -EINVAL, "%s=%s is not a size: give a number "
			   "with K, M, G or T, such as 20G", key, v);
	if (n < min)
		return say(why, -EINVAL, "%s=%s is too small: give at least "
			   "%s", key, v, size_text(min, least));
	*out = n;
	return 0;
}

static int set_number(const char *key, const char *v, unsigned long max,
		      const char *what, unsigned long *out, struct why *why)
{
	char *end;

	errno = 0;
	*out = strtoul(v, &end, 10);
	if (errno || *end || *v < '0' || *v > '9' || !*out || *out > max)
		return say(why, -EINVAL, "%s=%s is not %s: give a number from "
			   "1 to %lu", key, v, what, max);
	return 0;
}

static int set_path(const char *key, const char *v, char out[PATH_MAX],
		    struct why *why)
{
	if (strlen(v) >= PATH_MAX)
		return say(why, -EINVAL, "%s= is longer than a path may be: "
			   "give a shorter one", key);
	strcpy(out, v);
	return 0;
}

static int set_addr(struct opts *o, const char *v, struct why *why)
{
	struct addr a;
	size_t n = strlen(v);

	if (n >= sizeof(o->addr) || addr_from_ip(v, n, 1, &a))
		return say(why, -EINVAL, "addr=%s is not an IP address: give "
			   "one of this machine's in digits, such as "
			   "127.0.0.11", v);
	strcpy(o->addr, v);
	return 0;
}

static int add_tracker(struct opts *o, const char *p, size_t n,
		       struct why *why)
{
	if (!n)
		return say(why, -EINVAL, "a tracker's name is empty: give "
			   "HOST or HOST:PORT, several with commas between");
	if (n >= OPTS_HOST_MAX)
		return say(why, -EINVAL, "a tracker's name is longer than a "
			   "host's name may be: give HOST or HOST:PORT");
	if (o->n_trackers == LINK_TRACKERS_MAX)
		return say(why, -EINVAL, "too many trackers: give at most %d",
			   LINK_TRACKERS_MAX);
	memcpy(o->tracker[o->n_trackers], p, n);
	o->tracker[o->n_trackers++][n] = 0;
	return 0;
}

/* @v up to @end, with commas between. */
static int add_trackers(struct opts *o, const char *v, const char *end,
			struct why *why)
{
	for (;;) {
		const char *comma = memchr(v, ',', (size_t)(end - v));
		const char *stop = comma ? comma : end;
		int err = add_tracker(o, v, (size_t)(stop - v), why);

		if (err || !comma)
			return err;
		v = comma + 1;
	}
}

static int set_via(struct opts *o, const char *v, struct why *why)
{
	static const char *const ways[] = {
		[VIA_AUTO] = "auto", [VIA_PEERS] = "peers",
		[VIA_TRACKER] = "tracker",
	};

	for (uint8_t i = 0; i < sizeof(ways) / sizeof(*ways); i++)
		if (!strcmp(v, ways[i])) {
			o->via = i;
			return 0;
		}
	return say(why, -EINVAL, "via=%s is no way for chunks to travel: give "
		   "auto, peers or tracker", v);
}

/* --------------------------------------------------------------- opts.h */

static int set(struct opts *o, const char *key, const char *v,
	       struct why *why)
{
	unsigned long n;
	int err;

	if (!strcmp(key, "tracker"))
		return add_trackers(o, v, v + strlen(v), why);
	if (!strcmp(key, "addr"))
		return set_addr(o, v, why);
	if (!strcmp(key, "store"))
		return set_path(key, v, o->store, why);
	if (!strcmp(key, "key"))
		return set_path(key, v, o->key, why);
	if (!strcmp(key, "via"))
		return set_via(o, v, why);
	if (!strcmp(key, "capacity"))
		return set_size(key, v, OPTS_CAPACITY_MIN, &o->capacity, why);
	if (!strcmp(key, "memory"))
		return set_size(key, v, OPTS_MEMORY_MIN, &o->memory, why);
	if (!strcmp(key, "port")) {
		err = set_number(key, v, 65535, "a port", &n, why);
		if (!err)
			o->port = (uint16_t)n;
		return err;
	}
	err = set_number(key, v, OPTS_TIMEOUT_MAX, "a time in seconds", &n,
			 why);
	if (!err)
		o->timeout_s = (uint32_t)n;
	return err;
}

static int is_key(const char *key)
{
	static const char *const keys[] = {
		"tracker", "addr",     "port",	 "store",
		"key",	   "capacity", "memory", "timeout",
		"via",
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		if (!strcmp(key, keys[i]))
			return 1;
	return 0;
}

int opts_set(struct opts *o, const char *item, char *why, size_t why_len)
{
	struct why y = { why, why_len };
	const char *eq = strchr(item, '=');
	size_t n = eq ? (size_t)(eq - item) : strlen(item);
	char key[32] = "";

	if (n < sizeof(key))
		memcpy(key, item, n);
	if (!is_key(key))
		return say(&y, -ENOENT, "unknown option '%.*s': the options "
			   "are " KEYS, (int)(n < 100 ? n : 100), item);
	if (!eq || !eq[1])
		return say(&y, -EINVAL, "%s needs a value: write %s=VALUE",
			   key, key);
	return set(o, key, eq + 1, &y);
}

int opts_source(struct opts *o, const char *source, char *why,
		size_t why_len)
{
	struct why y = { why, why_len };
	const char *dir = strstr(source, ":/");
	const char *end = dir ? dir : source + strlen(source);

	if (dir && strlen(dir + 1) >= sizeof(o->subdir))
		return say(&y, -EINVAL, "the folder in %.40s... is longer "
			   "than a path may be: give a shorter one", source);
	if (dir)
		strcpy(o->subdir, dir + 1);
	return add_trackers(o, source, end, &y);
}

/* -------------------------------------------------------------- finishing */

static int find_trackers(struct opts *o, struct peer_config *cfg,
			 struct why *why)
{
	int err;

	if (!o->n_trackers)
		strcpy(o->tracker[o->n_trackers++], OPTS_TRACKER_DEFAULT);
	for (int i = 0; i < o->n_trackers; i++) {
		err = addr_parse(o->tracker[i], PSPFS_TRACKER_PORT,
				 &cfg->trackers[i]);
		if (err)
			return say(why, err, "there is no host %s: give the "
				   "tracker as HOST or HOST:PORT, and see "
				   "that its name can be resolved",
				   o->tracker[i]);
	}
	cfg->n_trackers = o->n_trackers;
	return 0;
}

/* The address that packets to @to come from; no packet is sent. */
static int route_from(const struct addr *to, struct addr *out)
{
	int fd = socket(to->ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int err = 0;

	if (fd < 0)
		return -errno;
	out->len = sizeof(out->ss);
	if (connect(fd, (const struct sockaddr *)&to->ss, to->len) ||
	    getsockname(fd, (struct sockaddr *)&out->ss, &out->len))
		err = -errno;
	close(fd);
	return err;
}

static int find_addr(struct opts *o, struct peer_config *cfg, struct why *why)
{
	struct addr from;
	char ip[ADDR_TEXT_MAX];
	int err;

	if (o->addr[0])
		return addr_from_ip(o->addr, strlen(o->addr), o->port,
				    &cfg->addr);
	memset(&from, 0, sizeof(from));
	err = route_from(&cfg->trackers[0], &from);
	if (err)
		return say(why, err, "no way leads from this machine to the "
			   "tracker %s (%s): see that the network is up, or "
			   "give this machine's address with addr=IP",
			   o->tracker[0], strerror(-err));
	addr_ip(&from, ip);
	return addr_from_ip(ip, strlen(ip), o->port, &cfg->addr);
}

int opts_finish(struct opts *o, struct peer_config *cfg, char *why,
		size_t why_len)
{
	struct why y = { why, why_len };
	int err;

	memset(cfg, 0, sizeof(*cfg));
	err = find_trackers(o, cfg, &y);
	if (!err)
		err = find_addr(o, cfg, &y);
	if (err)
		return err;
	/* Several peers on a machine differ by address: so do their stores. */
	if (!o->store[0])
		snprintf(o->store, sizeof(o->store), "%s%s%s",
			 OPTS_STORE_DEFAULT, o->addr[0] ? "-" : "", o->addr);
	cfg->store_dir = o->store;
	cfg->key_file = o->key;
	cfg->capacity = o->capacity;
	cfg->memory = o->memory / 4 * 3;
	cfg->memory_all = o->memory;
	cfg->timeout_ms = o->timeout_s * 1000;
	cfg->via = o->via;
	return 0;
}
