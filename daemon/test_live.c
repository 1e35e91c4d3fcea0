/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/live.h: pictures from fixed inputs, compared with what should stand on the screen. Sockets and their
 * holders are made up here, in place of lib/host/owners.c.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <cmocka.h>

#include "core/parse.h"
#include "daemon/live.h"
#include "lib/policy/policy.h"
#include "lib/util/cleanup.h"

static const char policy[] = "version: 1\n"
			     "mode: MODE\n"
			     "default: { inbound: drop, outbound: allow }\n"
			     "rules:\n"
			     "  - { name: no 4444, action: drop, direction: outbound, protocol: tcp, ports: 4444 }\n"
			     "  - { name: web, action: allow, direction: inbound, protocol: tcp, ports: 443 }\n"
			     "  - { name: ping, action: allow, direction: inbound, icmp: echo-request }\n";


struct weir_owners {
	struct weir_sock socks[8];
	struct weir_owner owners[8];
	size_t n;
};

static struct weir_owners world;

const struct weir_sock *weir_owners_socks(const struct weir_owners *o, size_t *ret_n)
{
	*ret_n = o->n;
	return o->socks;
}

int weir_owners_of(struct weir_owners *o, const struct weir_sock *s, struct weir_owner *ret)
{
	*ret = o->owners[s - o->socks];
	return 0;
}

int weir_owners_find(struct weir_owners *o, const struct weir_tuple *t, uint32_t dir, struct weir_owner *ret)
{
	for (size_t i = 0; i < o->n; i++) {
		const struct weir_sock *s = &o->socks[i];

		if (dir == WEIR_DIR_OUT ? s->lport == t->sport && s->rport == t->dport : s->lport == t->dport) {
			*ret = o->owners[i];
			return 0;
		}
	}
	return -ENOENT;
}

static void addr(uint8_t out[16], const char *s)
{
	uint8_t v4[4];

	if (inet_pton(AF_INET, s, v4) == 1)
		weir_map4(out, v4);
	else
		assert_int_equal(inet_pton(AF_INET6, s, out), 1);
}

static void hold(const char *program, const char *unit, const char *local, unsigned lport, const char *remote,
		 unsigned rport, uint64_t sent)
{
	struct weir_sock *s = &world.socks[world.n];

	*s = (struct weir_sock){ .lport = (uint16_t)lport, .rport = (uint16_t)rport, .proto = WEIR_IPPROTO_TCP, .family = 4,
				 .state = rport ? 1 : 10, .listening = !rport, .sent = sent };
	addr(s->local, local);
	addr(s->remote, remote);
	snprintf(world.owners[world.n].program, sizeof world.owners->program, "%s", program);
	snprintf(world.owners[world.n].unit, sizeof world.owners->unit, "%s", unit);
	world.n++;
}

static void *compile(const char *mode, struct weir_img *img)
{
	_cleanup_policy_ struct weir_policy *p = NULL;
	const struct weir_compile_options o = { .generation = 1, .epoch = 1, .mode_ceiling = WEIR_PREVENT };
	struct weir_diags d = { 0 };
	const char *at = strstr(policy, "MODE");
	char text[1024];
	uint32_t size = 0;
	void *blob = NULL;

	snprintf(text, sizeof text, "%.*s%s%s", (int)(at - policy), policy, mode, at + 4);
	if (weir_policy_read_text("p.yaml", NULL, text, strlen(text), &p, &d) ||
	    weir_policy_compile(p, &o, &blob, &size, &d)) {
		weir_diags_format(stderr, &d, false);
		fail();
	}
	weir_diags_free(&d);
	assert_int_equal(weir_image_open(img, blob, size), 0);
	return blob;
}

/* A DNS answer: api.example is 198.51.100.7. */
static struct weir_names *names(void)
{
	static const uint8_t answer[] = "\0\1\x81\x80\0\1\0\1\0\0\0\0\3api\7example\0\0\1\0\1"
					"\300\14\0\1\0\1\0\0\1\54\0\4\306\63\144\7";
	struct weir_names *n = NULL;

	assert_int_equal(weir_names_new(16, &n), 0);
	assert_int_equal(weir_names_learn(n, answer, sizeof answer - 1, 100), 1);
	return n;
}

static struct weir_kern_if ifs[3] = {
	{ .name = "lo", .why = "failsafe" },
	{ .name = "eth0", .covered = true },
	{ .name = "usb0", .why = "EBUSY" },
};

static void put_flow(struct weir_live *l, const char *src, unsigned sport, const char *dst, unsigned dport, uint8_t dir,
		     uint32_t rule, uint8_t wanted, uint8_t enforced, uint64_t bytes)
{
	struct weir_tuple t = { .sport = (uint16_t)sport, .dport = (uint16_t)dport, .zone = weir_zone(6, 0, 0) };
	struct weir_flow f = { .epoch = 1, .wanted_rule = rule, .enforced_rule = rule, .dir = dir, .wanted = wanted,
			       .enforced = enforced, .wanted_reason = WEIR_REASON_RULE };
	struct weir_flow_key k;

	addr(t.src, src);
	addr(t.dst, dst);
	f.flags = weir_flow_key_of(&t, &k) ? WEIR_FF_ORIG_B : 0;
	f.half[0].bytes = bytes;
	weir_live_flow(&k, &f, false, false, l);
	f.half[0].bytes = 1 << 20; /* an entry that is over is none */
	weir_live_flow(&k, &f, false, true, l);
}

struct stage {
	struct weir_live *l;
	struct weir_live_input in;
	struct weir_img img;
	void *blob;
	char *text;
	size_t size, from; /* from: where the next picture begins */
	FILE *out;
};

static void stage_open(struct stage *s, const char *mode, int tty)
{
	struct weir_live_options o = { .tty = tty, .version = "0.1" };

	memset(s, 0, sizeof *s);
	s->blob = compile(mode, &s->img);
	o.out = s->out = open_memstream(&s->text, &s->size);
	assert_int_equal(weir_live_new(&o, &s->l), 0);
	s->in = (struct weir_live_input){ .img = &s->img, .mode = s->img.cfg->mode, .ifs = ifs, .n_ifs = 3,
					  .owners = &world, .names = names(), .eph_min = 32768, .eph_max = 60999,
					  .now = 100 };
	world.n = 0;
}

static void stage_close(struct stage *s)
{
	weir_live_free(s->l);
	weir_names_free(s->in.names);
	fclose(s->out);
	free(s->text);
	free(s->blob);
}

/* The next picture alone. */
static const char *draw(struct stage *s)
{
	const char *picture;

	assert_int_equal(weir_live_draw(s->l, &s->in), 0);
	assert_int_equal(fflush(s->out), 0);
	picture = s->text + s->from;
	s->from = s->size;
	return picture;
}

static void test_detect(void **state)
{
	struct stage s;

	stage_open(&s, "detect", -1);
	hold("sshd", "ssh.service", "0.0.0.0", 22, "0.0.0.0", 0, 0);
	hold("postgres", "postgresql.service", "::", 5432, "::", 0, 0);
	hold("redis", "redis.service", "127.0.0.1", 6379, "0.0.0.0", 0, 0);
	hold("node", "agent.service", "10.0.0.2", 40000, "198.51.100.7", 443, 1200000);
	hold("python3 x.py", "cron.service", "10.0.0.2", 40001, "45.9.20.7", 4444, 0);
	put_flow(s.l, "10.0.0.2", 40001, "45.9.20.7", 4444, WEIR_DIR_OUT, 0, WEIR_DROP, WEIR_PASS, 3100);
	s.in.plain_dns = 2;
	assert_string_equal(draw(&s), "weir 0.1  DETECT: watching only, nothing is blocked   1 interface watched, 1 not (usb0: EBUSY) -> weir status\n"
		   "  2 programs -> 2 destinations   open to the world: sshd:22  postgres:5432\n"
		   "\n"
		   "PROGRAM           UNIT/USER         -> NAME (ADDRESS)                         PORT       BYTES  WOULD BE  RULE\n"
		   "~python3 x.py     cron.service      -> 45.9.20.7 (no name seen)               4444/tcp    3.1K  DROP      no 4444\n"
		   "~node             agent.service     -> api.example (198.51.100.7)             443/tcp     1.2M  allow     default outbound\n"
		   "\n"
		   "Look at this:   1 that would be stopped   1 destination without a name   2 plain DNS answers   "
		   "1 database open to the world\n"
		   "Next:  weir why 45.9.20.7:4444   |   weir events --follow   |   Ctrl-C leaves no trace\n");
	stage_close(&s);
}

static void test_pipe_prints_new_rows(void **state)
{
	struct stage s;

	stage_open(&s, "detect", -1);
	hold("node", "agent.service", "10.0.0.2", 40000, "198.51.100.7", 443, 380);
	assert_non_null(strstr(draw(&s), "~node             agent.service"));
	assert_string_equal(draw(&s), "");
	/* one that nobody is known for yet waits: it may turn out to be somebody's */
	put_flow(s.l, "10.0.0.2", 40003, "192.0.2.81", 81, WEIR_DIR_OUT, WEIR_RULE_DEFAULT_OUT, WEIR_PASS, WEIR_PASS, 9);
	assert_string_equal(draw(&s), "");
	put_flow(s.l, "10.0.0.2", 40003, "192.0.2.81", 81, WEIR_DIR_OUT, WEIR_RULE_DEFAULT_OUT, WEIR_PASS, WEIR_PASS, 9);
	assert_string_equal(draw(&s), "");
	put_flow(s.l, "10.0.0.2", 40003, "192.0.2.81", 81, WEIR_DIR_OUT, WEIR_RULE_DEFAULT_OUT, WEIR_PASS, WEIR_PASS, 9);
	assert_string_equal(draw(&s), "-                 -                 -> 192.0.2.81 (no name seen)              81/tcp         9  allow     default outbound\n");
	hold("curl", "alice", "10.0.0.2", 40002, "192.0.2.80", 80, 10);
	assert_string_equal(draw(&s), "~curl             alice             -> 192.0.2.80                             80/tcp        10  allow     default outbound\n");
	assert_string_equal(draw(&s), "");
	stage_close(&s);
}

static void test_prevent(void **state)
{
	struct stage s;

	stage_open(&s, "prevent", -1);
	s.in.n_ifs = 2;
	hold("nginx", "nginx.service", "0.0.0.0", 443, "0.0.0.0", 0, 0);
	put_flow(s.l, "192.0.2.9", 5555, "10.0.0.2", 443, WEIR_DIR_IN, 1, WEIR_PASS, WEIR_PASS, 5000);
	put_flow(s.l, "192.0.2.9", 5556, "10.0.0.2", 23, WEIR_DIR_IN, WEIR_RULE_DEFAULT_IN, WEIR_DROP, WEIR_DROP, 60);
	put_flow(s.l, "10.1.0.1", 5556, "10.2.0.1", 80, WEIR_DIR_FWD, WEIR_RULE_DEFAULT_FWD, WEIR_PASS, WEIR_PASS, 70);
	assert_string_equal(draw(&s), "weir 0.1  PREVENT: enforcing   1 interface watched\n"
		   "  0 programs -> 0 destinations   open to the world: nginx:443\n"
		   "\n"
		   "PROGRAM           UNIT/USER         -> NAME (ADDRESS)                         PORT       BYTES  VERDICT   RULE\n"
		   "-                 -                 <- 192.0.2.9                              23/tcp        60  DROP      default inbound\n"
		   "~nginx            nginx.service     <- 192.0.2.9                              443/tcp     5.0K  allow     web\n"
		   "(forwarded)       -                 10.1.0.1 -> 10.2.0.1                      80/tcp        70  allow     default forward\n"
		   "\n"
		   "Look at this:   1 that is stopped\n"
		   "Next:  weir why 192.0.2.9:23   |   weir events --follow   |   Ctrl-C keeps enforcing, weir flush removes\n");
	stage_close(&s);
}

/* The table does not keep the type of an echo; an image that did not judge it must still know it for one. */
static void test_ping_after_a_change(void **state)
{
	struct weir_tuple t = { .sport = 77, .dport = 77, .zone = weir_zone(1, 0, 0) };
	struct weir_flow f = { .dir = WEIR_DIR_IN, .wanted_reason = WEIR_REASON_RULE };
	struct weir_flow_key k;
	struct stage s;

	stage_open(&s, "prevent", -1);
	addr(t.src, "192.0.2.9");
	addr(t.dst, "10.0.0.2");
	f.flags = weir_flow_key_of(&t, &k) ? WEIR_FF_ORIG_B : 0;
	weir_live_flow(&k, &f, false, false, s.l);
	assert_non_null(strstr(draw(&s), "icmp           0  allow     ping\n"));
	stage_close(&s);
}

static void test_nothing_yet(void **state)
{
	struct stage s;

	stage_open(&s, "detect", -1);
	s.in.n_ifs = 1;
	assert_string_equal(draw(&s), "weir 0.1  DETECT: watching only, nothing is blocked   0 interfaces watched\n"
		   "  0 programs -> 0 destinations   nothing is open to the world\n"
		   "\n"
		   "PROGRAM           UNIT/USER         -> NAME (ADDRESS)                         PORT       BYTES  WOULD BE  RULE\n"
		   "no connection at the moment; new ones appear here\n"
		   "\n"
		   "Next:  weir events --follow   |   Ctrl-C leaves no trace\n");
	stage_close(&s);
}

/* Lines that a terminal of this size would show, none longer than it is wide, no byte that it obeys but ours. */
static void check_screen(const char *text, int rows, int cols)
{
	int lines = 0;

	for (const char *s = text; *s;) {
		int n = 0;

		for (; *s && *s != '\n'; s++) {
			if (*s != '\033') {
				assert_true(*s >= 0x20 && *s < 0x7f);
				n++;
				continue;
			}
			assert_int_equal(s[1], '[');
			s += 2;
			s += strspn(s, "0123456789;");
			assert_non_null(strchr("FHJKm", *s));
		}
		assert_true(n <= cols);
		lines += *s == '\n';
		s += *s == '\n';
	}
	assert_true(lines <= rows);
}

static void test_terminal(void **state)
{
	_cleanup_close_ int tty = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct winsize ws = { .ws_row = 14, .ws_col = 70 };
	_cleanup_close_ int slave = -1;
	const char *text;
	struct stage s;
	char name[32];

	assert_true(tty >= 0 && grantpt(tty) == 0 && unlockpt(tty) == 0);
	slave = open(ptsname(tty), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_int_equal(ioctl(slave, TIOCSWINSZ, &ws), 0);
	stage_open(&s, "detect", slave);
	hold("a program with a very long name indeed", "and-a-unit-that-is-no-shorter.service", "10.0.0.2", 40000,
	     "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff", 443, 1);
	hold("\033[2Jevil\xe2\x80\xae", "\xff\n", "10.0.0.2", 40001, "192.0.2.1", 443, 1);
	for (int i = 0; i < 3; i++) {
		for (unsigned k = 0; k < 40; k++) {
			snprintf(name, sizeof name, "192.0.2.%u", k + 2);
			put_flow(s.l, "10.0.0.2", 50000 + k, name, 443, WEIR_DIR_OUT, WEIR_RULE_DEFAULT_OUT, WEIR_PASS,
				 WEIR_PASS, 100);
		}
		if (i == 2)
			weir_live_resized(s.l);
		text = draw(&s);
		check_screen(text, ws.ws_row - 1, ws.ws_col);
		assert_non_null(strstr(text, " more -> weir flows"));
		assert_int_equal(!strncmp(text, "\033[", 2), i > 0);
		assert_int_equal(!strncmp(text, "\033[2J", 4), i == 2);
	}
	stage_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_detect),
		cmocka_unit_test(test_pipe_prints_new_rows),
		cmocka_unit_test(test_prevent),
		cmocka_unit_test(test_ping_after_a_change),
		cmocka_unit_test(test_nothing_yet),
		cmocka_unit_test(test_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
