/* SPDX-License-Identifier: Apache-2.0 */
/* A helper process behind a socket: what it does for who asks, and what it refuses to a worker that was taken over. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "core/parse.h"
#include "daemon/helper/answer.h"
#include "daemon/helper/ask.h"
#include "daemon/helper/helper.h"
#include "lib/sandbox/sandbox.h"
#include "lib/state/test_dir.h"
#include "lib/util/cleanup.h"
#include "lib/util/file.h"

struct fixture {
	char *dir;
	int fd; /* ours, for requests that no library would make */
	pid_t pid;
	struct weir_helper *h;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	char etc[300];
	int fds[2];

	if (!f || test_dir_make((void **)&f->dir) || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -1;
	snprintf(etc, sizeof etc, "%s/etc", f->dir);
	mkdir(etc, 0700);
	f->pid = fork();
	if (!f->pid) {
		struct weir_helper_options o = { .config_dir = etc };

		close(fds[0]);
		_exit(weir_helper_main(fds[1], &o));
	}
	close(fds[1]);
	f->fd = fcntl(fds[0], F_DUPFD_CLOEXEC, 3);
	*state = f;
	return weir_helper_new_fd(fds[0], &f->h);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	int status;

	shutdown(f->fd, SHUT_RDWR); /* also where a case that failed left a child with a copy of it */
	weir_helper_free(f->h);
	close(f->fd);
	if (f->pid && (waitpid(f->pid, &status, 0) != f->pid || status)) /* it ends when we do */
		return -1;
	test_dir_remove((void **)&f->dir);
	free(f);
	return 0;
}

static void need_root(void)
{
	if (geteuid()) {
		print_message("not root\n");
		skip();
	}
}

static const char *at(const struct fixture *f, const char *name)
{
	static char path[4][400];
	static int n;

	n = (n + 1) % 4;
	snprintf(path[n], sizeof path[n], "%s/%s", f->dir, name);
	return path[n];
}

static const char *make(const struct fixture *f, const char *name, mode_t mode)
{
	const char *path = at(f, name);

	test_file(path, "text\n");
	assert_int_equal(chmod(path, mode), 0);
	return path;
}

static int try_open(const struct fixture *f, const char *path)
{
	int fd = weir_helper_open(f->h, path);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static void test_open(void **state)
{
	const struct fixture *f = *state;
	const char *p;

	need_root();
	/* the folder of root's that all this lies in is closed to others */
	assert_int_equal(try_open(f, make(f, "etc/any.name", 0600)), 0);
	assert_int_equal(try_open(f, make(f, "new.yaml", 0600)), 0);
	assert_int_equal(try_open(f, make(f, "secret.key", 0600)), -EACCES);
	assert_int_equal(try_open(f, make(f, "secret", 0600)), -EACCES);
	assert_int_equal(try_open(f, make(f, ".yaml", 0600)), -EACCES);
	assert_int_equal(try_open(f, make(f, "open.yaml", 0666)), -EACCES); /* others may write it */
	p = make(f, "theirs.yaml", 0600);
	assert_int_equal(chown(p, 1234, 1234), 0);
	assert_int_equal(try_open(f, p), -EACCES);
	assert_int_equal(try_open(f, at(f, "none.yaml")), -ENOENT);
	assert_int_equal(try_open(f, at(f, "etc")), -EISDIR);
	assert_int_equal(try_open(f, "/etc/shadow"), -EACCES);
	assert_int_equal(try_open(f, "/etc/passwd"), 0);
	/* a link is followed, and what it leads to is judged */
	assert_int_equal(symlink("/etc/shadow", at(f, "etc/link.yaml")), 0);
	assert_int_equal(try_open(f, at(f, "etc/link.yaml")), -EACCES);
	assert_int_equal(symlink(at(f, "etc/any.name"), at(f, "good.link")), 0);
	assert_int_equal(try_open(f, at(f, "good.link")), 0);
	assert_int_equal(try_open(f, at(f, "etc/../secret.key")), -EACCES);
	/* neither devices nor what the kernel writes */
	assert_int_equal(try_open(f, "/dev/zero"), -ENODEV);
	assert_int_equal(try_open(f, "/proc/self/environ"), -EACCES);
	assert_int_equal(try_open(f, "/proc/version"), -EACCES);
	assert_true(try_open(f, "/proc/self/root/etc/shadow") < 0);
	assert_int_equal(mkfifo(at(f, "etc/fifo.yaml"), 0600), 0);
	assert_int_equal(try_open(f, at(f, "etc/fifo.yaml")), -ENODEV);
}

static void test_list(void **state)
{
	const struct fixture *f = *state;
	char **v;
	size_t n;

	need_root();
	make(f, "etc/b.yaml", 0600);
	make(f, "etc/a.yaml", 0600);
	make(f, "x.key", 0600);
	make(f, "x.list", 0600);
	assert_int_equal(weir_helper_list(f->h, at(f, "etc/*.yaml"), &v, &n), 0);
	assert_int_equal(n, 2);
	assert_string_equal(v[0], at(f, "etc/a.yaml"));
	weir_file_list_free(v, n);
	assert_int_equal(weir_helper_list(f->h, at(f, "x.*"), &v, &n), 0);
	assert_int_equal(n, 1);
	assert_string_equal(v[0], at(f, "x.list"));
	weir_file_list_free(v, n);
	assert_int_equal(weir_helper_list(f->h, at(f, "*.none"), &v, &n), -ENOENT);
	assert_int_equal(weir_helper_list(f->h, "/etc/shado*", &v, &n), -ENOENT);
}

/* The hooks: what reads policies, and what names processes, goes through it. */
static void test_use(void **state)
{
	const struct fixture *f = *state;
	struct weir_owners *o;
	struct weir_owner owner;
	_cleanup_free_ char *text = NULL;
	const struct weir_sock *v;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), found = 0;
	socklen_t len = sizeof a;
	size_t n;

	need_root();
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(weir_owners_new(0, &o), 0);
	weir_helper_use(f->h, o);
	assert_int_equal(weir_owners_refresh(o), 1);
	v = weir_owners_socks(o, &n);
	for (size_t i = 0; i < n; i++) {
		if (v[i].lport != ntohs(a.sin_port) || !v[i].listening)
			continue;
		assert_int_equal(weir_owners_of(o, &v[i], &owner), 0);
		assert_int_equal(owner.pid, getpid());
		assert_string_equal(owner.program, "test_helper");
		found++;
	}
	assert_int_equal(found, 1);
	assert_int_equal(weir_file_read(make(f, "p.yaml", 0600), 100, &text, &n), 0);
	assert_string_equal(text, "text\n");
	assert_int_equal(weir_file_read(make(f, "p.key", 0600), 100, &text, &n), -EACCES);
	assert_true(weir_file_exists(at(f, "p.key")));
	assert_false(weir_file_exists(at(f, "none")));
	weir_helper_use(NULL, o);
	assert_int_equal(weir_owners_refresh(o), 1);
	weir_owners_free(o);
	close(fd);
}

struct talk {
	int listener, client, server;
	struct sockaddr_in to, from;
};

static void talk_open(struct talk *t)
{
	socklen_t n = sizeof t->to;

	t->to = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	t->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(t->listener, (struct sockaddr *)&t->to, sizeof t->to) || listen(t->listener, 5), 0);
	assert_int_equal(getsockname(t->listener, (struct sockaddr *)&t->to, &n), 0);
	t->client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(t->client, (struct sockaddr *)&t->to, sizeof t->to), 0);
	assert_int_equal(getsockname(t->client, (struct sockaddr *)&t->from, &n), 0);
	t->server = accept4(t->listener, NULL, NULL, SOCK_CLOEXEC);
}

static struct weir_kill kill_of(const struct talk *t, uint8_t proto)
{
	struct weir_kill k = { .dir = WEIR_DIR_IN };

	weir_map4(k.t.src, (const uint8_t *)&t->from.sin_addr);
	weir_map4(k.t.dst, (const uint8_t *)&t->to.sin_addr);
	k.t.sport = ntohs(t->from.sin_port);
	k.t.dport = ntohs(t->to.sin_port);
	k.t.zone = weir_zone(proto, 0, 0);
	return k;
}

static void test_kill(void **state)
{
	const struct fixture *f = *state;
	struct talk t = { 0 };
	struct weir_kill k[WEIR_ASK_KILLS + 1];
	char c;

	need_root();
	talk_open(&t);
	for (size_t i = 0; i < WEIR_ASK_KILLS; i++) { /* others first, so that it takes two requests */
		k[i] = kill_of(&t, WEIR_IPPROTO_TCP);
		k[i].t.sport = 1;
	}
	k[WEIR_ASK_KILLS] = kill_of(&t, WEIR_IPPROTO_TCP);
	assert_int_equal(weir_helper_kill(f->h, k, WEIR_ASK_KILLS + 1), 0);
	assert_int_equal(k[0].result, -ENOENT);
	if (k[WEIR_ASK_KILLS].result == -EOPNOTSUPP) {
		print_message("this kernel has no CONFIG_INET_DIAG_DESTROY\n");
		skip();
	}
	assert_in_range(k[WEIR_ASK_KILLS].result, 1, 2); /* both ends are here; the end of one resets the other */
	assert_int_equal(read(t.client, &c, 1), -1);
	assert_true(errno == ECONNABORTED || errno == ECONNRESET);
	assert_int_equal(read(t.server, &c, 1), -1);
	assert_true(errno == ECONNABORTED || errno == ECONNRESET);
	/* the listener is none of it */
	close(t.client);
	t.client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(t.client, (struct sockaddr *)&t.to, sizeof t.to), 0);
	close(t.client);
	close(t.server);
	close(t.listener);
}

static size_t blind(const struct weir_passage *v, size_t n)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++)
		found += v[i].kind == WEIR_PASSAGE_BLIND;
	return found;
}

static void test_sessions(void **state)
{
	const struct fixture *f = *state;
	struct weir_session v[WEIR_SESSIONS_MAX];
	_cleanup_free_ struct weir_passage *here = NULL, *far = NULL;
	struct weir_firewall walls[WEIR_FIREWALLS_MAX];
	struct weir_sandbox box;
	size_t n, n_far;
	struct weir_process p;
	struct weir_sshd s;

	need_root();
	assert_int_equal(weir_helper_sandbox(f->h, &box), 0);
	assert_true(box.caps && box.no_new_privs && box.seccomp && box.user);
	assert_true(weir_helper_sessions(f->h, getpid(), v) >= 0);
	assert_int_equal(weir_helper_sessions(f->h, 0, v), -EINVAL);
	assert_int_equal(weir_helper_sessions(f->h, 0x7fffffff, v), -ESRCH);
	assert_int_equal(weir_helper_process(f->h, (uint32_t)getpid(), &p), 0);
	assert_string_equal(p.program, "test_helper");
	assert_int_equal(weir_helper_sshd(f->h, &s), 0);
	weir_sshd_free(&s);
	/* it sees with its few rights what root sees */
	assert_int_equal(weir_helper_firewalls(f->h, walls, &n_far), 0);
	assert_int_equal(weir_passages_read(&here, &n), 0);
	assert_int_equal(weir_helper_passages(f->h, &far, &n_far), 0);
	assert_int_equal(blind(far, n_far), blind(here, n));
}

/* Who does not speak as our worker does is not served again. */
static void test_hostile(void **state)
{
	struct fixture *f = *state;
	struct weir_ask a = { .kind = WEIR_ASK_COUNT };
	struct weir_process p;
	int status;

	need_root();
	assert_int_equal(send(f->fd, &a, WEIR_ASK_HEAD, 0), WEIR_ASK_HEAD);
	assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	f->pid = 0;
	assert_int_equal(weir_helper_process(f->h, 1, &p), -EPIPE);
	assert_int_equal(weir_helper_process(f->h, 1, &p), -EPIPE);
}

/* In its sandbox it can look everywhere: into rules, sockets, and other namespaces. */
static void test_passages(void **state)
{
	struct fixture *f = *state;
	struct weir_passage *v = NULL;
	size_t n = 0, packet = 0, spaces = 0;
	int s, fds[2];
	char byte;
	pid_t pid;

	need_root();
	s = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	assert_true(s >= 0);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	if (!pid) { /* a namespace that was not there before */
		_exit(unshare(CLONE_NEWNET) || write(fds[1], "x", 1) != 1 || pause());
	}
	assert_int_equal(read(fds[0], &byte, 1), 1);
	assert_int_equal(weir_helper_passages(f->h, &v, &n), 0);
	for (size_t i = 0; i < n; i++) {
		if (v[i].kind == WEIR_PASSAGE_BLIND)
			print_error("%s: %s\n", v[i].name, v[i].detail);
		assert_int_not_equal(v[i].kind, WEIR_PASSAGE_BLIND);
		packet += v[i].kind == WEIR_PASSAGE_PACKET;
		spaces += v[i].kind == WEIR_PASSAGE_SPACES ? v[i].n : 0;
		assert_false(v[i].kind == WEIR_PASSAGE_SPACES && v[i].uid); /* none that it could not look into */
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(fds[0]);
	close(fds[1]);
	close(s);
	free(v);
	assert_true(packet >= 1);
	assert_true(spaces >= 1);
}

static void test_parse(void **state)
{
	struct weir_ask a = { .kind = WEIR_ASK_OPEN }, got;
	size_t n = WEIR_ASK_HEAD + sizeof a.path;

	strcpy(a.path.path, "/etc/weir/policy.yaml");
	assert_int_equal(weir_ask_parse(&a, n, &got), 0);
	assert_string_equal(got.path.path, a.path.path);
	assert_int_equal(weir_ask_parse(&a, n - 1, &got), -EBADMSG);
	assert_int_equal(weir_ask_parse(&a, n + 1, &got), -EBADMSG);
	assert_int_equal(weir_ask_parse(&a, 3, &got), -EBADMSG);
	a.path.path[0] = 'e'; /* seen from wherever the helper stands */
	assert_int_equal(weir_ask_parse(&a, n, &got), -EBADMSG);
	memset(a.path.path, '/', sizeof a.path.path); /* without an end */
	assert_int_equal(weir_ask_parse(&a, n, &got), -EBADMSG);
	a = (struct weir_ask){ .kind = WEIR_ASK_KILL, .kills.n = 1 };
	a.kills.v[0] = (struct weir_kill){ .t = { .sport = 1, .dport = 2, .zone = weir_zone(WEIR_IPPROTO_TCP, 0, 0) },
					   .dir = WEIR_DIR_IN };
	n = WEIR_ASK_HEAD + sizeof a.kills;
	assert_int_equal(weir_ask_parse(&a, n, &got), 0);
	a.kills.v[0].t.dport = 0;
	assert_int_equal(weir_ask_parse(&a, n, &got), -EBADMSG);
	a.kills.v[0].t.dport = 2;
	a.kills.n = WEIR_ASK_KILLS + 1;
	assert_int_equal(weir_ask_parse(&a, n, &got), -EBADMSG);
}

static void test_names(void **state)
{
	assert_true(weir_answer_name_fits("/root/a.yaml"));
	assert_true(weir_answer_name_fits("/root/x/bad-hosts.netset"));
	assert_false(weir_answer_name_fits("/root/a.yaml/id_rsa"));
	assert_false(weir_answer_name_fits("/root/.txt"));
	assert_false(weir_answer_name_fits("/root/a.json"));
	assert_false(weir_answer_name_fits("/root/a.yaml.bak"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_names),
		cmocka_unit_test_setup_teardown(test_open, setup, teardown),
		cmocka_unit_test_setup_teardown(test_passages, setup, teardown),
		cmocka_unit_test_setup_teardown(test_list, setup, teardown),
		cmocka_unit_test_setup_teardown(test_use, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kill, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sessions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
