/*
 * fuzz_key -- the key file.
 *
 * Input: its bytes.  A key that is read is 64 hexadecimal digits, and has been
 * written in them; one that is not leaves the caller's as it was.
 */
#include <errno.h>
#include <strings.h>

#include "fuzz_file.h"
#include "key.h"
#include "text.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char path[32], digits[2 * KEY_LEN + 1], why[256];
	struct key k, before;
	int fd = fuzz_memory(p, n, path), err;

	memset(&k, 0x55, sizeof(k));
	before = k;
	err = key_load(&k, path);
	close(fd);
	MUST(!err || err == -EINVAL);
	if (err) {
		MUST(!memcmp(&k, &before, sizeof(k)));
		key_error(err, path, why, sizeof(why));
		return 0;
	}
	hex_text(k.secret, KEY_LEN, digits);
	MUST(n == 2 * KEY_LEN || (n == 2 * KEY_LEN + 1 && p[n - 1] == '\n'));
	MUST(!strncasecmp(digits, (const char *)p, 2 * KEY_LEN));
	return 0;
}

void fuzz_seeds(void)
{
	static const char good[] = "000102030405060708090a0b0c0d0e0f"
				   "101112131415161718191a1b1c1d1EfF\n";

	fuzz_seed("good", good, sizeof(good) - 1);
	fuzz_seed("bare", good, sizeof(good) - 2);
	fuzz_seed("short", good, 30);
	fuzz_seed("long", good, sizeof(good));
}
