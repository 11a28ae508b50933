/*
 * options -- psptrackerd's command line.
 */
#ifndef PSPFS_OPTIONS_H
#define PSPFS_OPTIONS_H

#include <stdint.h>

#define OPTIONS_COPIES_MAX 16
#define OPTIONS_COPIES_ALL 255
#define OPTIONS_CHUNK_MIN (1u << 10)
#define OPTIONS_CHUNK_MAX (16u << 20)
#define OPTIONS_CACHE_MIN (1u << 10)

struct options {
	const char *listen, *data, *key, *log, *pid;
	uint8_t copies;
	uint32_t chunk_size;
	uint64_t cache;		/* of the relay, bytes */
	int broadcast;
	uint32_t garbage_ms, gone_ms;
	uint64_t files_max;	/* 0: any number */
	int foreground;
};

/* 0: go on; else exit with *@code (help and version print and say 0, a wrong
 * use prints why and says 1). */
int options_parse(struct options *o, int argc, char **argv, int *code);

#endif
