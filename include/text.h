/*
 * text -- what people type and read: sizes, addresses, times.
 *
 * Errors: 0 or -EINVAL (not one), -ERANGE (too large); of addr_parse also
 *         -ENOENT (no such name), -EAGAIN (nobody to ask), -ENOMEM.
 */
#ifndef PSPFS_TEXT_H
#define PSPFS_TEXT_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define PSPFS_TRACKER_PORT 3456
#define PSPFS_PEER_PORT 3457
#define ADDR_TEXT_MAX 64	/* "[ipv6]:port" and NUL */

/* "4096", "64K", "1.5G", "2T" (1024s; a trailing B or iB is fine). */
int size_parse(const char *s, uint64_t *out);
/* "1.5 GiB", "512 B"; returns @out. */
char *size_text(uint64_t bytes, char out[16]);

struct addr {
	struct sockaddr_storage ss;
	socklen_t len;
};

/* HOST, HOST:PORT, [V6], [V6]:PORT; a name is resolved (blocking). */
int addr_parse(const char *s, uint16_t default_port, struct addr *out);
/* From an IP in digits. */
int addr_from_ip(const char *ip, size_t n, uint16_t port, struct addr *out);
char *addr_text(const struct addr *a, char out[ADDR_TEXT_MAX]);
/* The IP alone, in digits, without port. */
char *addr_ip(const struct addr *a, char out[ADDR_TEXT_MAX]);
uint16_t addr_port(const struct addr *a);
void addr_set_port(struct addr *a, uint16_t port);	/* 0: any */
int addr_eq(const struct addr *a, const struct addr *b);

/* CLOCK_BOOTTIME: goes on while the machine sleeps, never jumps. */
uint64_t now_ms(void);
uint64_t now_us(void);
/* CLOCK_REALTIME. */
void wall_time(int64_t *sec, uint32_t *nsec);
/* A time, but later than another, if by a nanosecond. */
void time_later(int64_t *sec, uint32_t *nsec, int64_t than_sec,
		uint32_t than_nsec);

/* Cryptographically random. */
uint64_t random_u64(void);

void hex_text(const uint8_t *p, size_t n, char *out);	/* 2n+1 bytes */

#endif
