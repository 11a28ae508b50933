/* trailer -- a chunk's last bytes on the disk; layout in store.h. */
#include <errno.h>
#include <string.h>

#include "codec.h"
#include "store.h"

#define TRAILER_VERSION 1

enum {
	AT_MAGIC = 0, AT_VERSION = 8, AT_KIND = 12, AT_SWARM = 16,
	AT_CHUNK = 24, AT_INO = 32, AT_SLOT = 40, AT_POS = 48, AT_LEN = 52,
	AT_MD5 = 56, AT_CRC = 72, AT_PAD = 76,
};

static const char magic[8] = { 'p', 's', 'p', 'f', 's', 'C', 'H', 'K' };

/* CRC-32 of IEEE 802.3, four bits a step: 72 bytes a chunk need no more. */
static uint32_t crc32_of(const uint8_t *p, size_t n)
{
	static const uint32_t table[16] = {
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
		0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
		0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
		0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
	};
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < n; i++) {
		crc ^= p[i];
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc;
}

void store_trailer_write(uint8_t out[STORE_TRAILER], uint64_t swarm,
			 enum copy_kind kind, const struct chunk_meta *m)
{
	memcpy(out + AT_MAGIC, magic, sizeof(magic));
	put_u32(out + AT_VERSION, TRAILER_VERSION);
	put_u32(out + AT_KIND, kind);
	put_u64(out + AT_SWARM, swarm);
	put_u64(out + AT_CHUNK, m->chunk);
	put_u64(out + AT_INO, m->ino);
	put_u64(out + AT_SLOT, m->slot);
	put_u32(out + AT_POS, m->pos);
	put_u32(out + AT_LEN, m->len);
	memcpy(out + AT_MD5, m->md5, MD5_LEN);
	put_u32(out + AT_CRC, crc32_of(out, AT_CRC));
	memset(out + AT_PAD, 0, STORE_TRAILER - AT_PAD);
}

int store_trailer_read(const uint8_t in[STORE_TRAILER], uint64_t *swarm,
		       enum copy_kind *kind, struct chunk_meta *m)
{
	uint32_t k = get_u32(in + AT_KIND);

	if (memcmp(in + AT_MAGIC, magic, sizeof(magic)) ||
	    get_u32(in + AT_CRC) != crc32_of(in, AT_CRC) ||
	    get_u32(in + AT_VERSION) != TRAILER_VERSION ||
	    (k != COPY_REPLICA && k != COPY_CACHED) ||
	    get_u32(in + AT_LEN) > STORE_CHUNK_MAX)
		return -EBADMSG;
	*kind = k;
	*swarm = get_u64(in + AT_SWARM);
	m->chunk = get_u64(in + AT_CHUNK);
	m->ino = get_u64(in + AT_INO);
	m->slot = get_u64(in + AT_SLOT);
	m->pos = get_u32(in + AT_POS);
	m->len = get_u32(in + AT_LEN);
	memcpy(m->md5, in + AT_MD5, MD5_LEN);
	return 0;
}
