/*
 * replay -- runs a fuzz target over files, without libFuzzer.
 *
 *   fuzz_NAME                 every file of tests/fuzz/corpus/NAME
 *   fuzz_NAME FILE...         these: one that failed, again
 *   fuzz_NAME --seeds DIR     writes the target's first inputs there
 *
 * The last line counts them as cmocka does, for tests/run.py.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "fuzz.h"

enum { LIMIT_S = 120, PATH_LEN = 1024, INPUT_MAX = 1 << 20 };

static const char *seeds_dir;

void fuzz_seed(const char *name, const void *p, size_t n)
{
	char path[PATH_LEN];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", seeds_dir, name);
	f = fopen(path, "w");
	MUST(f);
	if (n)
		MUST(fwrite(p, n, 1, f) == 1);
	MUST(!fclose(f));
}

static void run_file(const char *path)
{
	FILE *f = fopen(path, "r");
	uint8_t *p = malloc(INPUT_MAX), *exact;
	size_t n;

	if (!f) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(1);
	}
	MUST(p);
	n = fread(p, 1, INPUT_MAX, f);
	fclose(f);
	exact = malloc(n ? n : 1);	/* one byte too far is noticed */
	MUST(exact);
	memcpy(exact, p, n);
	free(p);
	LLVMFuzzerTestOneInput(exact, n);
	free(exact);
}

/* How many there were. */
static int run_dir(const char *dir)
{
	struct dirent **names;
	char path[PATH_LEN + NAME_MAX + 2];
	int n = scandir(dir, &names, NULL, alphasort), done = 0;

	if (n < 0) {
		fprintf(stderr, "%s: %s\n", dir, strerror(errno));
		exit(1);
	}
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
		if (names[i]->d_name[0] != '.') {
			printf("[ RUN      ] %s\n", names[i]->d_name);
			fflush(stdout);
			run_file(path);
			done++;
		}
		free(names[i]);
	}
	free(names);
	return done;
}

int main(int argc, char **argv)
{
	const char *name = strrchr(argv[0], '/');
	char dir[PATH_LEN];
	int done = argc - 1;

	alarm(LIMIT_S);
	if (argc == 3 && !strcmp(argv[1], "--seeds")) {
		seeds_dir = argv[2];
		fuzz_seeds();
		return 0;
	}
	name = name ? name + 1 : argv[0];
	snprintf(dir, sizeof(dir), "tests/fuzz/corpus/%s",
		 strncmp(name, "fuzz_", 5) ? name : name + 5);
	if (argc == 1)
		done = run_dir(dir);
	for (int i = 1; i < argc; i++)
		run_file(argv[i]);
	printf("[  PASSED  ] %d test(s).\n", done);
	return done ? 0 : 1;
}
