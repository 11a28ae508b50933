/*
 * fuzz_trailer -- a chunk's last bytes on the disk.
 *
 * Input: 1 if the checksum is to be made right, u8; the trailer, short ones
 * filled with zeros.  What is read is written again as it was.
 */
#include <errno.h>

#include "trailer.c"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	uint8_t in[STORE_TRAILER] = { 0 }, out[STORE_TRAILER];
	enum copy_kind kind;
	struct chunk_meta m;
	uint64_t swarm;
	int mend = n && (p[0] & 1);

	if (n > 1)
		memcpy(in, p + 1, n - 1 < sizeof(in) ? n - 1 : sizeof(in));
	if (mend)
		put_u32(in + AT_CRC, crc32_of(in, AT_CRC));
	if (store_trailer_read(in, &swarm, &kind, &m))
		return 0;
	MUST(m.len <= STORE_CHUNK_MAX);
	MUST(kind == COPY_REPLICA || kind == COPY_CACHED);
	store_trailer_write(out, swarm, kind, &m);
	MUST(!memcmp(in, out, AT_PAD));
	return 0;
}

static void seed(const char *name, int mend, int spoil,
		 const struct chunk_meta *m)
{
	uint8_t p[1 + STORE_TRAILER] = { (uint8_t)mend };

	store_trailer_write(p + 1, 0xfeed, COPY_REPLICA, m);
	p[1 + AT_KIND] ^= (uint8_t)spoil;
	fuzz_seed(name, p, sizeof(p));
}

void fuzz_seeds(void)
{
	const struct chunk_meta m = { 0x1001, 7, 3, 100, 4096, { 1, 2, 3 } };
	const struct chunk_meta large = { 1, 2, 3, 4, STORE_CHUNK_MAX + 1, { 0 } };

	seed("good", 0, 0, &m);
	seed("mended", 1, 0, &m);
	seed("kind", 0, 1, &m);
	seed("length", 1, 0, &large);
	fuzz_seed("short", "\1pspfsCHK", 9);
}
