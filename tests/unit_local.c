/* unit_local -- the peer's own socket: who may, what may come, its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "local.h"
#include "log.h"
#include "status.h"

#define LIMIT_S 60
#define WAIT_S 10
#define NOBODY 65534

static char root[64], store[512];
static struct local *local;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
/* guarded by lock */
static int held, hold, served;

/* M_status: held until the test lets go.  M_share: its length, and the first
 * byte of its file.  Else: refused. */
static void on_request(void *arg, struct local_conn *c,
		       const struct local_request *r)
{
	struct m_sharing s = { .total = 9 };
	struct m_share_r out = { .size = r->len };
	struct wr w = WR_INIT;
	char first = 0;

	assert_ptr_equal(arg, &local);
	pthread_mutex_lock(&lock);
	served++;
	held += r->type == M_status;
	pthread_cond_broadcast(&changed);
	while (r->type == M_status && hold)
		pthread_cond_wait(&changed, &lock);
	held -= r->type == M_status;
	pthread_mutex_unlock(&lock);
	if (r->type != M_share && r->type != M_status) {
		local_fail(c, r->type | M_REPLY, -ENOSPC, "no room");
		return;
	}
	if (r->fd >= 0 && pread(r->fd, &first, 1, 0) == 1)
		out.bytes = (uint64_t)first;
	out.ino = r->uid;
	m_sharing_encode(&w, &s);
	local_progress(c, M_sharing, &w);
	m_share_r_encode(&w, &out);
	local_reply(c, M_share_r, &w);
}

static void set_hold(int v)
{
	pthread_mutex_lock(&lock);
	hold = v;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void await_held(int n)
{
	pthread_mutex_lock(&lock);
	while (held < n)	/* alarm() ends it */
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

static int setup(void **state)
{
	const struct local_ops ops = { on_request, &local };

	(void)state;
	alarm(LIMIT_S);
	strcpy(root, "/tmp/pspfs-unit-local-XXXXXX");
	if (!mkdtemp(root))
		return -1;
	chmod(root, 0755);
	snprintf(store, sizeof(store), "%s", root);
	hold = held = served = 0;
	return local_open(&local, store, &ops);
}

static int teardown(void **state)
{
	char cmd[96];

	(void)state;
	set_hold(0);
	local_close(local);
	local = NULL;
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", root);
	return system(cmd);
}

static int dial(void)
{
	const struct timeval most = { WAIT_S, 0 };
	int sock = local_connect(store);

	assert_true(sock >= 0);
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most));
	return sock;
}

static void say(int sock, uint16_t type, size_t len, int fd)
{
	struct wr w = WR_INIT;

	for (size_t i = 0; i < len; i++)
		wr_u8(&w, 1);
	assert_int_equal(local_send(sock, type, &w, fd), 0);
}

/* The answer, after its progress. */
static struct m_share_r hear(int sock)
{
	struct arena a = ARENA_INIT;
	struct local_packet p;
	struct m_share_r r;

	assert_int_equal(local_receive(sock, &p), 0);
	assert_int_equal(p.type, M_sharing);
	assert_int_equal(local_receive(sock, &p), 0);
	assert_int_equal(p.type, M_share_r);
	assert_int_equal(p.status, ST_OK);
	assert_int_equal(m_share_r_decode(&r, &a, p.body, p.len), 0);
	arena_fini(&a);
	return r;
}

static int descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* ------------------------------------------------------------------- tests */

static void answers(void **state)
{
	char name[sizeof(store) + 16];
	struct stat st;
	struct m_share_r r;
	int sock = dial(), fd;

	(void)state;
	snprintf(name, sizeof(name), "%s/" LOCAL_NAME, store);
	assert_int_equal(stat(name, &st), 0);
	assert_int_equal(st.st_mode, S_IFSOCK | 0600);
	snprintf(name, sizeof(name), "%s/file", root);
	fd = open(name, O_RDWR | O_CREAT, 0600);
	assert_int_equal(write(fd, "x", 1), 1);
	say(sock, M_share, 5, fd);
	r = hear(sock);
	assert_int_equal(r.size, 5);
	assert_int_equal(r.bytes, 'x');
	assert_int_equal(r.ino, geteuid());
	say(sock, M_share, 0, -1);	/* again, and without */
	assert_int_equal(hear(sock).bytes, 0);
	close(fd);
	close(sock);
}

static void refuses_with_words(void **state)
{
	struct arena a = ARENA_INIT;
	struct local_packet p;
	struct m_error e;
	int sock = dial();

	(void)state;
	say(sock, M_lookup, 3, -1);
	assert_int_equal(local_receive(sock, &p), 0);
	assert_int_equal(p.type, M_lookup_r);
	assert_int_equal(p.status, ST_NOSPC);
	assert_int_equal(m_error_decode(&e, &a, p.body, p.len), 0);
	assert_true(str_eq(e.text, STR_LIT("no room")));
	arena_fini(&a);
	close(sock);
}

/* What is no packet of ours ends the connection, and nothing else. */
static void rubbish(void **state)
{
	static const char junk[LOCAL_PACKET_MAX + 1];
	static const size_t len[] = { 1, 2, 3, sizeof(junk) };
	struct local_packet p;

	(void)state;
	for (size_t i = 0; i < sizeof(len) / sizeof(*len); i++) {
		int sock = dial();

		assert_int_equal(send(sock, junk, len[i], 0), len[i]);
		assert_int_equal(local_receive(sock, &p), -EPIPE);
		close(sock);
	}
	assert_int_equal(served, 0);
	answers(state);
}

/* Only one descriptor comes through; none is left open. */
static void descriptors_are_closed(void **state)
{
	char head[LOCAL_HEADER] = { M_share >> 8, M_share & 0xff };
	struct iovec iov = { head, sizeof(head) };
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(3 * sizeof(int))];
	} c = { .room = { 0 } };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1,
			    .msg_control = &c,
			    .msg_controllen = sizeof(c.room) };
	struct local_packet p;
	int fds[3] = { 0, 0, 0 }, sock, before;

	(void)state;
	before = descriptors();
	sock = dial();
	c.h.cmsg_level = SOL_SOCKET;
	c.h.cmsg_type = SCM_RIGHTS;
	c.h.cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(&c.h), fds, sizeof(fds));
	assert_int_equal(sendmsg(sock, &m, 0), sizeof(head));
	assert_int_equal(local_receive(sock, &p), -EPIPE);
	close(sock);
	sock = dial();
	say(sock, M_lookup, 0, 0);
	assert_int_equal(local_receive(sock, &p), 0);
	close(sock);
	for (int i = 0; i < WAIT_S * 100 && descriptors() > before; i++)
		usleep(10000);
	assert_int_equal(descriptors(), before);
}

static void too_many(void **state)
{
	struct local_packet p;
	int sock[LOCAL_CONNS], more;

	(void)state;
	set_hold(1);
	for (int i = 0; i < LOCAL_CONNS; i++) {
		sock[i] = dial();
		say(sock[i], M_status, 1, -1);
	}
	await_held(LOCAL_CONNS);
	more = dial();
	assert_int_equal(local_receive(more, &p), 0);
	assert_int_equal(p.status, ST_BUSY);
	assert_int_equal(local_receive(more, &p), -EPIPE);
	close(more);
	set_hold(0);
	for (int i = 0; i < LOCAL_CONNS; i++) {
		assert_int_equal(hear(sock[i]).size, 1);
		close(sock[i]);
	}
	for (int i = 0; i < WAIT_S * 100; i++) {	/* room again */
		more = dial();
		say(more, M_share, 2, -1);
		if (!local_receive(more, &p) && !p.status)
			break;
		close(more);
		usleep(10000);
	}
	assert_int_equal(p.type, M_sharing);
	close(more);
}

/* Said to have gone while it is served: the end does not wait for more. */
static void who_hangs_up(void **state)
{
	int sock = dial();

	(void)state;
	set_hold(1);
	say(sock, M_status, 1, -1);
	await_held(1);
	close(sock);
	set_hold(0);
	answers(state);
}

static void strangers(void **state)
{
	struct local_packet p;
	pid_t child;
	int status;

	(void)state;
	if (geteuid()) {
		print_message("skipped: needs root\n");
		return;
	}
	/* its mode keeps them out ... */
	child = fork();
	if (!child)
		_exit(setuid(NOBODY) || local_connect(store) != -EACCES);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	/* ... and so does who they are */
	snprintf(store, sizeof(store), "%s/" LOCAL_NAME, root);
	assert_int_equal(chmod(store, 0666), 0);
	snprintf(store, sizeof(store), "%s", root);
	child = fork();
	if (!child) {
		int sock = setuid(NOBODY) ? -1 : local_connect(store);

		_exit(sock < 0 || local_receive(sock, &p) ||
		      p.status != ST_ACCES);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(served, 0);
}

static void stale_and_long(void **state)
{
	const struct local_ops ops = { on_request, &local };
	size_t n;

	(void)state;
	local_close(local);
	local = NULL;
	assert_int_equal(local_connect(store), -ENOENT);
	n = strlen(store);
	store[n++] = '/';
	memset(store + n, 'l', 200);
	store[n + 200] = 0;
	assert_int_equal(local_connect(store), -ENOENT);
	assert_int_equal(local_open(&local, store, &ops), -ENOENT);
	assert_int_equal(mkdir(store, 0700), 0);
	assert_int_equal(local_open(&local, store, &ops), 0);
	answers(state);
	local_close(local);
	/* one that was left behind, as after kill -9 */
	assert_int_equal(chdir(store), 0);
	n = (size_t)socket(AF_UNIX, SOCK_SEQPACKET, 0);
	assert_int_equal(bind((int)n, (struct sockaddr *)&(struct sockaddr_un){
				      AF_UNIX, LOCAL_NAME },
			      sizeof(struct sockaddr_un)), 0);
	close((int)n);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(local_connect(store), -ECONNREFUSED);
	assert_int_equal(local_open(&local, store, &ops), 0);
	answers(state);
}

/* The end waits for what is served, but no longer than it is told. */
static void ends(void **state)
{
	int idle = dial(), busy = dial();
	struct local_packet p;

	(void)state;
	set_hold(1);
	say(busy, M_status, 1, -1);
	await_held(1);
	local_shut(local, 0);
	assert_int_equal(local_receive(idle, &p), -EPIPE);
	assert_int_equal(local_connect(store), -ENOENT);
	set_hold(0);
	local_close(local);
	assert_int_equal(local_receive(busy, &p), -EPIPE);
	local = NULL;
	close(idle);
	close(busy);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(answers), TEST(refuses_with_words), TEST(rubbish),
		TEST(descriptors_are_closed), TEST(too_many),
		TEST(who_hangs_up), TEST(strangers), TEST(stale_and_long),
		TEST(ends),
	};

	log_init("unit_local", LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
