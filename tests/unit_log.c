/* unit_log -- the form of a line, levels, rotation, bursts. */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/unit_log.XXXXXX";
static char path[64], moved[64];

/* The whole file as text; freed by the caller. */
static char *slurp(const char *file)
{
	char *text = calloc(1, 1 << 20);
	FILE *f = fopen(file, "r");

	assert_non_null(text);
	assert_non_null(f);
	fread(text, 1, (1 << 20) - 1, f);
	fclose(f);
	return text;
}

static int count(const char *text, const char *what)
{
	int n = 0;

	for (; (text = strstr(text, what)); text++)
		n++;
	return n;
}

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/log", dir);
	snprintf(moved, sizeof(moved), "%s/moved", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	log_open(NULL);
	unlink(path);
	unlink(moved);
	return rmdir(dir);
}

/* Runs first: before log_open() has been called. */
static void plain_on_stderr_at_first(void **state)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600), saved = dup(2);
	char *text;

	(void)state;
	log_init("prog", LOG_INFO);
	dup2(fd, 2);
	log_error("it \"%s\" failed", "so");
	dup2(saved, 2);
	close(saved);
	close(fd);
	text = slurp(path);
	assert_string_equal(text, "prog: it \"so\" failed\n");
	free(text);
	unlink(path);
}

static void dated_in_a_file(void **state)
{
	int year, month, day, hour, min, sec, ms, end = 0;
	char *text;

	(void)state;
	assert_int_equal(log_open("/nonexistent/dir/log"), -ENOENT);
	assert_int_equal(log_open(path), 0);
	log_warn("line %d", 1);
	log_debug("not shown");
	text = slurp(path);
	sscanf(text, "%4d-%2d-%2d %2d:%2d:%2d.%3d prog: warning: line 1%n",
	       &year, &month, &day, &hour, &min, &sec, &ms, &end);
	assert_true(end > 0 && !strcmp(text + end, "\n"));
	free(text);
}

static void hostile_text_stays_in_its_line(void **state)
{
	char big[5000], *text;

	(void)state;
	log_info("evil%s", "\n2026 \x1b[2J\x7f.");
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	log_info("%s", big);
	text = slurp(path);
	assert_non_null(strstr(text, "evil?2026 ?[2J?.\n"));
	assert_int_equal(text[strlen(text) - 1], '\n');
	assert_int_equal(count(text, "\n"), 3);
	free(text);
}

static void keeps_errno(void **state)
{
	char *text;

	(void)state;
	errno = ENOENT;
	log_info("cause: %m");
	assert_int_equal(errno, ENOENT);
	text = slurp(path);
	assert_non_null(strstr(text, "cause: No such file or directory\n"));
	free(text);
}

static void reopens_after_rotation(void **state)
{
	char *text;

	(void)state;
	assert_int_equal(rename(path, moved), 0);
	log_info("to the old one");
	assert_int_equal(log_reopen(), 0);
	log_info("to the new one");
	text = slurp(moved);
	assert_int_equal(count(text, "to the old one"), 1);
	assert_int_equal(count(text, "to the new one"), 0);
	free(text);
	text = slurp(path);
	assert_int_equal(count(text, "to the new one"), 1);
	free(text);
}

static void bursts_are_summed_up(void **state)
{
	int shown;
	char *text;

	(void)state;
	for (int i = 0; i < 100; i++) {
		log_info("again and again");
		log_info("differs: %d", i);
	}
	usleep(1100000);
	log_info("afterwards");
	text = slurp(path);
	shown = count(text, "info: again and again\n");
	/* The hundred may fall into two seconds. */
	assert_true(shown >= LOG_BURST && shown <= 2 * LOG_BURST);
	assert_true(count(text, "more like \"again and again\"") >= 1);
	assert_int_equal(count(text, "info: differs: "), 100);
	free(text);
}

static void rare(int i)
{
	log_rarely(LOG_INFO, "rare %d", i);
}

/* So many a minute, each once. */
static void rare_lines_stay_rare(void **state)
{
	struct log_rare r = { 0 };
	char *text;

	(void)state;
	for (int i = 0; i < 1000; i++)
		rare(i / 2);
	text = slurp(path);
	for (int i = 0; i < LOG_RARE_LINES; i++) {
		char line[32];

		snprintf(line, sizeof(line), "info: rare %d", i);
		assert_int_equal(count(text, line), 1);
	}
	assert_int_equal(count(text, "rare "), LOG_RARE_LINES);
	free(text);
	for (int i = 0; i < 100; i++)
		log_rare_at(&r, LOG_WARN, "seldom");
	r.since_ms -= LOG_RARE_MS;	/* a minute later */
	log_rare_at(&r, LOG_WARN, "seldom");
	text = slurp(path);
	assert_int_equal(count(text, "warning: seldom\n"), 1);
	assert_int_equal(count(text, "seldom (and 99 more like it before, not "
			       "written)\n"), 1);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_on_stderr_at_first),
		cmocka_unit_test(dated_in_a_file),
		cmocka_unit_test(hostile_text_stays_in_its_line),
		cmocka_unit_test(keeps_errno),
		cmocka_unit_test(reopens_after_rotation),
		cmocka_unit_test(bursts_are_summed_up),
		cmocka_unit_test(rare_lines_stay_rare),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
