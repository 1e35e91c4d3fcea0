/* SPDX-License-Identifier: Apache-2.0 */
/* The transport against clients that mean it badly. One loop, one thread; every wait is for an event. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cmocka.h>

#include "daemon/worker/server.h"
#include "lib/state/test_dir.h"

struct fixture {
	char *dir, path[300];
	struct weir_loop *loop;
	struct weir_server *server;
	int requests;
	bool follow;
};

static void on_request(struct weir_client *c, const json_t *request, void *data)
{
	struct fixture *f = data;

	f->requests++;
	if (f->follow)
		weir_client_follow(c);
	weir_client_send(c, json_pack("{s:b, s:O}", "ok", 1, "echo", request));
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct weir_server_calls calls = { .request = on_request, .data = f };
	void *dir;

	if (!f || test_dir_make(&dir))
		return -1;
	f->dir = dir;
	snprintf(f->path, sizeof f->path, "%s/control.sock", f->dir);
	*state = f;
	return weir_loop_new(&f->loop) || weir_server_open(f->loop, f->path, &calls, &f->server);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	void *dir = f->dir;

	weir_server_free(f->server);
	weir_loop_free(f->loop);
	test_dir_remove(&dir);
	free(f);
	return 0;
}

static int dial(struct fixture *f)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	strcpy(a.sun_path, f->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	return fd;
}

/* Let the server work until it has nothing to do. */
static void settle(struct fixture *f)
{
	while (weir_loop_once(f->loop, 0) > 0)
		;
}

/* Send everything, letting the server work when the socket is full. Returns what was taken. */
static size_t pour(struct fixture *f, int fd, const char *data, size_t len)
{
	size_t sent = 0;

	while (sent < len) {
		ssize_t n = send(fd, data + sent, len - sent, MSG_NOSIGNAL);

		if (n > 0)
			sent += (size_t)n;
		else if (errno != EAGAIN)
			break;
		else if (weir_loop_once(f->loop, 1000) <= 0)
			break;
	}
	settle(f);
	return sent;
}

static void say(struct fixture *f, int fd, const char *text)
{
	assert_int_equal(pour(f, fd, text, strlen(text)), strlen(text));
}

/* What has come; "" for nothing yet, NULL when the server hung up. */
static const char *hear(int fd)
{
	static char buf[1 << 16];
	ssize_t n = recv(fd, buf, sizeof buf - 1, 0);

	if (n == 0 || (n < 0 && errno != EAGAIN))
		return NULL;
	buf[n > 0 ? n : 0] = 0;
	return buf;
}

static void a_request_is_answered(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	int fd = dial(f);

	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	say(f, fd, "{\"verb\":\"x\"}\n");
	assert_string_equal(hear(fd), "{\"ok\":true,\"echo\":{\"verb\":\"x\"}}\n");
	close(fd);
}

static void pieces_make_a_line(void **state)
{
	struct fixture *f = *state;
	static const char text[] = "{\"a\":1}\n\n{\"b\":2}\n{\"c\"";
	int fd = dial(f);

	for (size_t i = 0; i < sizeof text - 1; i++)
		assert_int_equal(pour(f, fd, text + i, 1), 1);
	assert_int_equal(f->requests, 2);
	assert_string_equal(hear(fd), "{\"ok\":true,\"echo\":{\"a\":1}}\n{\"ok\":true,\"echo\":{\"b\":2}}\n");
	close(fd);
	settle(f);
	assert_int_equal(f->requests, 2); /* the cut request was never finished */
}

static void nonsense_is_refused_and_the_line_goes_on(void **state)
{
	struct fixture *f = *state;
	static const char binary[] = "\0\xff\x01\x80{}\n";
	static const char *const bad[] = { "hello\n", "[1]\n", "{\"a\":1,\"a\":2}\n", "7\n", "{\n", "{} {}\n", "\"\\ud800\"\n" };
	int fd = dial(f);

	assert_int_equal(pour(f, fd, binary, sizeof binary - 1), sizeof binary - 1);
	assert_non_null(strstr(hear(fd), "no JSON object"));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		say(f, fd, bad[i]);
		assert_non_null(strstr(hear(fd), "no JSON object"));
	}
	assert_int_equal(f->requests, 0);
	assert_int_equal(weir_server_counts(f->server)->bad, 8);
	say(f, fd, "{}\n");
	assert_int_equal(f->requests, 1);
	close(fd);
}

static void two_megabytes_are_too_long(void **state)
{
	struct fixture *f = *state;
	size_t len = 2u << 20;
	char *big = malloc(len);
	int fd = dial(f), other = dial(f);

	memset(big, 'x', len);
	assert_true(pour(f, fd, big, len) < len);
	assert_non_null(strstr(hear(fd), "longer than 1 MiB"));
	assert_null(hear(fd));
	say(f, other, "{}\n"); /* the others are served */
	assert_int_equal(f->requests, 1);
	free(big);
	close(fd);
	close(other);
}

static void depth_is_bounded(void **state)
{
	struct fixture *f = *state;
	size_t len = 500000;
	char *deep = malloc(len + 2);
	int fd = dial(f);

	memset(deep, '[', len);
	strcpy(deep + len, "\n");
	assert_int_equal(pour(f, fd, deep, len + 1), len + 1);
	assert_non_null(strstr(hear(fd), "no JSON object"));
	free(deep);
	close(fd);
}

static void hanging_up_in_the_middle_is_no_harm(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 200; i++) {
		int fd = dial(f);

		say(f, fd, i & 1 ? "{\"verb\"" : "{\"verb\":\"x\"}\n");
		close(fd); /* half of them with an answer unread */
	}
	settle(f);
	assert_int_equal(weir_server_counts(f->server)->clients, 200);
	assert_int_equal(f->requests, 100);
}

static void the_sixty_fifth_is_turned_away(void **state)
{
	struct fixture *f = *state;
	int fd[WEIR_SERVER_CLIENTS + 1];

	for (int i = 0; i <= WEIR_SERVER_CLIENTS; i++) {
		fd[i] = dial(f);
		settle(f);
	}
	assert_non_null(strstr(hear(fd[WEIR_SERVER_CLIENTS]), "too many clients"));
	assert_null(hear(fd[WEIR_SERVER_CLIENTS]));
	close(fd[0]);
	close(fd[WEIR_SERVER_CLIENTS]);
	settle(f);
	fd[0] = dial(f);
	say(f, fd[0], "{}\n");
	assert_int_equal(f->requests, 1);
	for (int i = 0; i < WEIR_SERVER_CLIENTS; i++)
		close(fd[i]);
}

static void requests_wait_while_answers_do(void **state)
{
	struct fixture *f = *state;
	size_t len = 200000, total = 0;
	char *line = malloc(len);
	int fd = dial(f);

	memset(line, 'x', len);
	memcpy(line, "{\"a\":\"", 6);
	memcpy(line + len - 3, "\"}\n", 3);
	for (int i = 0; i < 20; i++)
		total += pour(f, fd, line, len); /* nobody reads the answers */
	assert_true(f->requests < 20);
	assert_true(total < 20 * len);
	free(line);
	close(fd);
}

static void a_slow_reader_of_the_stream_is_cut(void **state)
{
	struct fixture *f = *state;
	json_t *event = json_pack("{s:s}", "text", "0123456789012345678901234567890123456789");
	int slow, quick;

	f->follow = true;
	slow = dial(f);
	quick = dial(f);
	say(f, slow, "{}\n");
	say(f, quick, "{}\n");
	assert_true(weir_server_followed(f->server));
	for (int i = 0; i < 100000; i++) {
		weir_server_stream(f->server, event);
		if (i % 100 == 0) {
			settle(f);
			while (*hear(quick))
				settle(f);
		}
	}
	assert_int_equal(weir_server_counts(f->server)->cut, 1);
	assert_true(weir_server_followed(f->server));
	json_decref(event);
	close(slow);
	close(quick);
}

static void a_request_whose_sender_is_gone_is_not_done(void **state)
{
	struct fixture *f = *state;
	static const char text[] = "{\"verb\":\"x\"}\n";
	int gone = dial(f), half = dial(f);

	/* neither has been read yet */
	assert_int_equal(send(gone, text, sizeof text - 1, 0), sizeof text - 1);
	close(gone);
	settle(f);
	assert_int_equal(f->requests, 0);
	/* who only says that this was all still hears the answer */
	assert_int_equal(send(half, text, sizeof text - 1, 0), sizeof text - 1);
	shutdown(half, SHUT_WR);
	settle(f);
	assert_int_equal(f->requests, 1);
	assert_string_equal(hear(half), "{\"ok\":true,\"echo\":{\"verb\":\"x\"}}\n");
	close(half);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_request_is_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(pieces_make_a_line, setup, teardown),
		cmocka_unit_test_setup_teardown(nonsense_is_refused_and_the_line_goes_on, setup, teardown),
		cmocka_unit_test_setup_teardown(two_megabytes_are_too_long, setup, teardown),
		cmocka_unit_test_setup_teardown(depth_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(hanging_up_in_the_middle_is_no_harm, setup, teardown),
		cmocka_unit_test_setup_teardown(a_request_whose_sender_is_gone_is_not_done, setup, teardown),
		cmocka_unit_test_setup_teardown(the_sixty_fifth_is_turned_away, setup, teardown),
		cmocka_unit_test_setup_teardown(requests_wait_while_answers_do, setup, teardown),
		cmocka_unit_test_setup_teardown(a_slow_reader_of_the_stream_is_cut, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
