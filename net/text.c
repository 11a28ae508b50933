/* text -- see text.h. */
#include "text.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

#include "log.h"

/* ---------------------------------------------------------------- sizes */

static const char units[] = "KMGTPE";

/* The digits at *s as a number; -EINVAL if there are none. */
static int digits_parse(const char **s, uint64_t *out)
{
	uint64_t v = 0;

	if (!isdigit((unsigned char)**s))
		return -EINVAL;
	for (; isdigit((unsigned char)**s); (*s)++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(**s - '0'), &v))
			return -ERANGE;
	*out = v;
	return 0;
}

/* ".25" at *s in parts of 2^@shift; digits past the twelfth change nothing. */
static uint64_t fraction_parse(const char **s, unsigned shift)
{
	unsigned __int128 sum = 0, weight = 1;

	for (int n = 0; isdigit((unsigned char)**s); (*s)++) {
		if (n++ >= 12)
			continue;
		sum = sum * 10 + (unsigned)(**s - '0');
		weight *= 10;
	}
	return (uint64_t)((sum << shift) / weight);
}

/* How far a unit's letter shifts; 0 when @c is none. */
static unsigned unit_shift(char c)
{
	const char *u = c ? strchr(units, toupper((unsigned char)c)) : NULL;

	return u ? (unsigned)(u - units + 1) * 10 : 0;
}

int size_parse(const char *s, uint64_t *out)
{
	uint64_t whole, part = 0;
	const char *fraction = NULL;
	unsigned shift;
	int err;

	err = digits_parse(&s, &whole);
	if (err)
		return err;
	if (*s == '.') {
		fraction = ++s;
		s += strspn(s, "0123456789");
		if (s == fraction)
			return -EINVAL;
	}
	shift = unit_shift(*s);
	if (fraction && !shift)
		return -EINVAL;
	if (shift)
		s++;
	if (*s && strcasecmp(s, "B") && (!shift || strcasecmp(s, "iB")))
		return -EINVAL;
	if (whole > UINT64_MAX >> shift)
		return -ERANGE;
	if (fraction)
		part = fraction_parse(&fraction, shift);
	*out = (whole << shift) + part;
	return 0;
}

char *size_text(uint64_t bytes, char out[16])
{
	unsigned shift = 0, tenths;

	while (bytes >> shift >= 1024)
		shift += 10;
	if (!shift) {
		snprintf(out, 16, "%u B", (unsigned)bytes);
		return out;
	}
	tenths = (unsigned)((bytes >> (shift - 10) & 1023) * 10 / 1024);
	if (tenths)
		snprintf(out, 16, "%u.%u %ciB", (unsigned)(bytes >> shift),
			 tenths, units[shift / 10 - 1]);
	else
		snprintf(out, 16, "%u %ciB", (unsigned)(bytes >> shift),
			 units[shift / 10 - 1]);
	return out;
}

/* ------------------------------------------------------------ addresses */

static int port_parse(const char *s, uint16_t *out)
{
	uint64_t v;
	int err = digits_parse(&s, &v);

	if (err)
		return err;
	if (*s)
		return -EINVAL;
	if (v > UINT16_MAX)
		return -ERANGE;
	*out = (uint16_t)v;
	return 0;
}

static int resolve(const char *host, uint16_t port, struct addr *out)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *ai;
	int err = getaddrinfo(host, NULL, &hints, &ai);

	switch (err) {
	case 0:
		break;
	case EAI_AGAIN:
		return -EAGAIN;
	case EAI_MEMORY:
		return -ENOMEM;
	default:
		return -ENOENT;
	}
	memset(out, 0, sizeof(*out));
	memcpy(&out->ss, ai->ai_addr, ai->ai_addrlen);
	out->len = ai->ai_addrlen;
	freeaddrinfo(ai);
	addr_set_port(out, port);
	return 0;
}

int addr_parse(const char *s, uint16_t default_port, struct addr *out)
{
	const char *host = s, *colon = strchr(s, ':');
	uint16_t port = default_port;
	char name[256];
	size_t n = strlen(s);
	int err;

	if (*s == '[') {
		host = s + 1;
		n = strcspn(host, "]");
		if (!host[n] || (host[n + 1] && host[n + 1] != ':'))
			return -EINVAL;
		colon = host[n + 1] ? host + n + 1 : NULL;
	} else if (colon && !strchr(colon + 1, ':')) {
		n = (size_t)(colon - s);
	} else {
		colon = NULL;	/* several: an IPv6 address, no port */
	}
	if (!n || n >= sizeof(name))
		return -EINVAL;
	if (colon) {
		err = port_parse(colon + 1, &port);
		if (err)
			return err;
	}
	if (!addr_from_ip(host, n, port, out))
		return 0;
	if (*s == '[' || memchr(host, ':', n))
		return -EINVAL;
	memcpy(name, host, n);
	name[n] = 0;
	return resolve(name, port, out);
}

int addr_from_ip(const char *ip, size_t n, uint16_t port, struct addr *out)
{
	char z[INET6_ADDRSTRLEN];
	struct addr a = { 0 };
	struct sockaddr_in *v4 = (struct sockaddr_in *)&a.ss;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a.ss;

	if (!n || n >= sizeof(z) || memchr(ip, 0, n))
		return -EINVAL;
	memcpy(z, ip, n);
	z[n] = 0;
	if (inet_pton(AF_INET, z, &v4->sin_addr) == 1) {
		a.ss.ss_family = AF_INET;
		a.len = sizeof(*v4);
	} else if (inet_pton(AF_INET6, z, &v6->sin6_addr) == 1) {
		a.ss.ss_family = AF_INET6;
		a.len = sizeof(*v6);
	} else {
		return -EINVAL;
	}
	addr_set_port(&a, port);
	*out = a;
	return 0;
}

static const void *addr_bytes(const struct addr *a)
{
	if (a->ss.ss_family == AF_INET6)
		return &((const struct sockaddr_in6 *)&a->ss)->sin6_addr;
	return &((const struct sockaddr_in *)&a->ss)->sin_addr;
}

char *addr_ip(const struct addr *a, char out[ADDR_TEXT_MAX])
{
	if (!inet_ntop(a->ss.ss_family, addr_bytes(a), out, ADDR_TEXT_MAX))
		snprintf(out, ADDR_TEXT_MAX, "?");
	return out;
}

char *addr_text(const struct addr *a, char out[ADDR_TEXT_MAX])
{
	char ip[ADDR_TEXT_MAX];
	int v6 = a->ss.ss_family == AF_INET6;

	addr_ip(a, ip);
	snprintf(out, ADDR_TEXT_MAX, "%s%.*s%s:%u", v6 ? "[" : "",
		 INET6_ADDRSTRLEN, ip, v6 ? "]" : "", addr_port(a));
	return out;
}

uint16_t addr_port(const struct addr *a)
{
	if (a->ss.ss_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)&a->ss)->sin6_port);
	return ntohs(((const struct sockaddr_in *)&a->ss)->sin_port);
}

void addr_set_port(struct addr *a, uint16_t port)
{
	if (a->ss.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&a->ss)->sin6_port = htons(port);
	else
		((struct sockaddr_in *)&a->ss)->sin_port = htons(port);
}

int addr_eq(const struct addr *a, const struct addr *b)
{
	size_t n = a->ss.ss_family == AF_INET6 ? 16 : 4;

	return a->ss.ss_family == b->ss.ss_family &&
	       addr_port(a) == addr_port(b) &&
	       !memcmp(addr_bytes(a), addr_bytes(b), n);
}

/* ------------------------------------------------------------ the rest */

uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t now_ms(void)
{
	return now_us() / 1000;
}

void wall_time(int64_t *sec, uint32_t *nsec)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	*sec = t.tv_sec;
	*nsec = (uint32_t)t.tv_nsec;
}

void time_later(int64_t *sec, uint32_t *nsec, int64_t than_sec,
		uint32_t than_nsec)
{
	if (*sec > than_sec || (*sec == than_sec && *nsec > than_nsec))
		return;
	*sec = than_sec;
	*nsec = than_nsec;
	if (than_nsec < 999999999) {
		++*nsec;
	} else if (than_sec < INT64_MAX) {	/* else: the end of time */
		++*sec;
		*nsec = 0;
	}
}

uint64_t random_u64(void)
{
	uint64_t v;

	while (getrandom(&v, sizeof(v), 0) != (ssize_t)sizeof(v)) {
		if (errno == EINTR)
			continue;
		/* Ids and keys come from here: no weaker source will do. */
		log_error("no random bytes from the kernel: %m");
		abort();
	}
	return v;
}

void hex_text(const uint8_t *p, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		*out++ = digits[p[i] >> 4];
		*out++ = digits[p[i] & 15];
	}
	*out = 0;
}
