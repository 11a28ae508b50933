/*
 * unit_faults_core -- what fuzz_core's first inputs ask of the tracker, again
 * and again: each time another allocation fails, SQLite's too.  Each request is answered
 * once or its connection closed, and the tables agree, also after restarts.
 */
#include "faults_sqlite.h"

#define CORE_SPARE(on) faults_spare(on)
#define CORE_SHORT 1
#define CORE_BEGIN faults_on()
#define CORE_END faults_off()
#include "fuzz/fuzz_core.c"

#define CORPUS "tests/fuzz/corpus/core"

static uint8_t input[1 << 16];
static size_t input_len;

static void round_of(void *arg)
{
	(void)arg;
	LLVMFuzzerTestOneInput(input, input_len);
}

/* 0: there is none of that name. */
static size_t load(const char *name)
{
	char path[300];
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "%s/%s", CORPUS, name);
	f = fopen(path, "r");
	n = f ? fread(input, 1, sizeof(input), f) : 0;
	if (f)
		fclose(f);
	return n;
}

/* Those that change something, or make others wait. */
static const char *const inputs[] = {
	"allocate", "bye", "clone", "commit", "compact", "complete", "digested",
	"found", "grant", "have", "inventory", "link", "lock", "locked",
	"mknod", "place", "release", "rename", "replicate", "restart",
	"revoke", "setattr", "setxattr", "sharing", "status", "story",
	"unlink",
};

static void play(unsigned faults, const char *name)
{
	input_len = load(name);
	assert_true(input_len > 0);
	if (getenv("V"))
		fprintf(stderr, "%s\n", name);
	printf("%s: ", name);
	faults_each(faults, round_of, NULL);
}

static void test_memory(void **state)
{
	(void)state;
	fuzz_quiet();
	for (size_t i = 0; i < sizeof(inputs) / sizeof(*inputs); i++)
		play(FAULT_BIT(FAULT_MEMORY), inputs[i]);
}

static void test_database(void **state)
{
	(void)state;
	fuzz_quiet();
	play(FAULT_BIT(FAULT_LIBRARY), "story");
	play(FAULT_BIT(FAULT_LIBRARY), "sharing");
	play(FAULT_BIT(FAULT_LIBRARY), "restart");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_memory, faults_told),
		cmocka_unit_test_teardown(test_database, faults_told),
	};

	faults_sqlite();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
