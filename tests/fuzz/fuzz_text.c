/*
 * fuzz_text -- sizes and addresses as people type them.
 *
 * Input: a string.  A size that is read is what its digits and unit say, and
 * what its own text is read back to, rounded down; an address is what its own
 * text is read back to.  Names are not resolved: nobody knows any.
 */
#include <netdb.h>

static int no_names(const char *host, const char *service,
		    const struct addrinfo *hints, struct addrinfo **out)
{
	(void)host;
	(void)service;
	(void)hints;
	(void)out;
	return EAI_NONAME;
}

#define getaddrinfo no_names
#include "text.c"

#include "fuzz.h"

/* "1.5 GiB", typed: without the space. */
static uint64_t typed(uint64_t v)
{
	char text[16], *space = strchr(size_text(v, text), ' ');
	uint64_t again;

	MUST(space);
	memmove(space, space + 1, strlen(space));
	MUST(!size_parse(text, &again));
	return again;
}

/* Between the whole number before the unit and the next. */
static void check_bounds(const char *s, uint64_t v)
{
	char *end;
	unsigned __int128 whole = strtoull(s, &end, 10);
	unsigned shift;

	end += *end == '.' ? 1 + strspn(end + 1, "0123456789") : 0;
	shift = unit_shift(*end);
	MUST(v >= whole << shift && v < (whole + 1) << shift);
}

static void try_size(const char *s)
{
	uint64_t v = 0x5555, again;
	int err = size_parse(s, &v);

	MUST(!err || err == -EINVAL || err == -ERANGE);
	if (err) {
		MUST(v == 0x5555);
		return;
	}
	MUST(isdigit((unsigned char)*s));
	check_bounds(s, v);
	again = typed(v);
	MUST(again <= v && (v < 1024 ? again == v : v - again < v / 8));
}

static void must_be_same(const struct addr *a, const char *text)
{
	struct addr again;

	MUST(!addr_parse(text, 0, &again) && addr_eq(a, &again));
}

static void try_addr(const char *s)
{
	char text[ADDR_TEXT_MAX], ip[ADDR_TEXT_MAX];
	struct addr a, b;
	int err = addr_parse(s, 3456, &a);

	MUST(!err || err == -EINVAL || err == -ERANGE || err == -ENOENT);
	if (!err)
		must_be_same(&a, addr_text(&a, text));
	if (!addr_from_ip(s, strlen(s), 3456, &b)) {
		MUST(!err && addr_eq(&a, &b));
		addr_ip(&b, ip);
		MUST(!addr_from_ip(ip, strlen(ip), 3456, &a));
		MUST(addr_eq(&a, &b));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char *s = fuzz_string(p, n);

	try_size(s);
	try_addr(s);
	free(s);
	return 0;
}

void fuzz_seeds(void)
{
	static const char *const seeds[] = {
		"4096", "64K", "1.5G", "2TiB", "15.999999999999999E", "16E",
		"10.0.0.1", "10.0.0.1:4000", "[fd00::2]:3457", "::1",
		"::ffff:1.2.3.4", "host:70000", "[::1", "localhost",
	};
	char name[16];

	for (size_t i = 0; i < sizeof(seeds) / sizeof(*seeds); i++) {
		snprintf(name, sizeof(name), "%02zu", i);
		fuzz_seed(name, seeds[i], strlen(seeds[i]));
	}
}
