/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads every program on the kernel that it runs on, for a small and for a large policy, attaches them to
 * lo, puts the guard up, and says what the verifier counted. Prints one line per program, exit 0 when all
 * went well. Runs as the only process of a virtual machine, or as root anywhere (in a network namespace of
 * its own).
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/kern/kern.h"
#include "lib/policy/policy.h"
#include "lib/util/cleanup.h"

#define DIR_RUN "/run/weir-loadtest"

static const char small[] = "version: 1\n";

/* As many rules as an image holds, and among them every condition; no failure at its default. */
static char *large(void)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	fputs("version: 1\nmode: prevent\n"
	      "default: { inbound: drop, outbound: { action: reject, log: true }, forward: drop }\n"
	      "failures: { daemon_dead: closed, flow_table_full: drop_all, fragment_lost: pass, ring_full: throttle }\n"
	      "sets: { bad: { addresses: [192.0.2.0/24, 2001:db8:bad::/48] } }\nblocklists: [$bad]\nlimits:\n"
	      "  - { name: flood, per: source, count: packets, rate: 10k/s }\n"
	      "  - { name: amount, per: prefix, count: bytes, rate: 10MiB/s, action: reject }\n"
	      "  - { name: new, per: all, count: connections, rate: 1k/s, mode: detect }\nrules:\n", f);
	for (int i = 0; i < 1000; i++) {
		fprintf(f, "  - { name: r%d, action: %s, from: 10.%d.%d.0/24, ports: %d, protocol: tcp", i,
			i % 3 ? "allow" : "drop", i >> 8, i & 255, i + 1);
		switch (i % 7) {
		case 1:
			fputs(", vlan: [5, 6], interface: \"eth*\" }\n", f);
			break;
		case 2:
			fputs(", mac: \"02:00:00:00:00:01\", mark: 7, direction: inbound }\n", f);
			break;
		case 3:
			fputs(", not: { peer: 10.9.0.0/16, source_ports: 1-1023 } }\n", f);
			break;
		default:
			fputs(", log: true }\n", f);
		}
	}
	fputs("  - { name: trap, action: ban, direction: inbound, ports: 23, ban: 10m }\n"
	      "  - { name: hours, action: allow, time: [\"mon-fri 08:00-18:00\", sat], ports: 24, max_duration: 1h, "
	      "max_bytes: 1G, limit: { rate: 10/m, per: source } }\n", f);
	fputs("  - { name: icmp, action: allow, icmp: [echo-request, \"3/4\"], in_interface: eth0, out_interface: eth1 }\n", f);
	fclose(f);
	return text;
}

static int say(int r, const char *what, const char *why)
{
	printf("%s: %s%s%s\n", what, r ? strerror(-r) : "ok", why[0] ? ": " : "", why);
	return r;
}

/* What the verifier says at the end of its log is why; the rest is the way there. */
static int complaint(enum libbpf_print_level level, const char *format, va_list args)
{
	_cleanup_free_ char *text = NULL;
	size_t n;

	if (level != LIBBPF_WARN || vasprintf(&text, format, args) < 0)
		return 0;
	n = strlen(text);
	return printf("%s", n > 3000 ? text + n - 3000 : text);
}

static int compile(const char *text, void **blob, uint32_t *size)
{
	struct weir_compile_options o = { .generation = 1, .epoch = 1, .mode_ceiling = WEIR_PREVENT, .late = true };
	struct weir_diags diags = { 0 };
	_cleanup_policy_ struct weir_policy *p = NULL;
	int r = weir_policy_read_text("loadtest", NULL, text, strlen(text), &p, &diags);

	if (!r)
		r = weir_policy_compile(p, &o, blob, size, &diags);
	if (r)
		weir_diags_format(stdout, &diags, false);
	weir_diags_free(&diags);
	return r;
}

/* The self-test has passed, and what is attached runs. */
static int proven(struct weir_kern *k, const char *when)
{
	struct weir_kern_health h = { 0 };

	weir_kern_health(k, &h);
	printf("%s: self-test: %u packets, %u failed, %u us; hooks: %u, %u silent %s %s\n", when, h.tested, h.failed, h.us,
	       h.hooks, h.silent, h.silent_names, h.canary_why);
	return h.tested >= 32 && !h.failed && !h.silent ? 0 : -EIO;
}

/* The same image once more, as a change that waits: through the root programs, confirmed, and taken back. */
static int waits(struct weir_kern *k, const void *blob, uint32_t size)
{
	struct weir_kern_change c = { .blob = blob, .size = size, .span = 600000000000ull };
	struct weir_kern_pending p;
	char why[256] = "";
	int r = say(weir_kern_install(k, &c, why, sizeof why), "a change that waits", why);

	weir_kern_pending(k, &p);
	r = r ? r : say(p.pending ? 0 : -EINVAL, "waits", "");
	sleep(1); /* test frames are sent once a second */
	r = r ? r : say(proven(k, "through the root programs"), "proven", "");
	r = r ? r : say(weir_kern_confirm(k), "confirm", "");
	r = r ? r : say(weir_kern_install(k, &c, why, sizeof why), "another one", why);
	return r ? r : say(weir_kern_revert(k), "revert", "");
}

static int one(const char *name, const char *text)
{
	struct weir_kern_options o = { .runtime_dir = DIR_RUN };
	struct weir_kern_if lo = { .ifindex = 1, .name = "lo", .flags = IFF_LOOPBACK | IFF_UP, .arphrd = 772 };
	_cleanup_free_ void *blob = NULL;
	struct weir_kern_prog progs[8];
	struct weir_kern *k = NULL;
	char why[256] = "";
	uint32_t size = 0;
	int r = compile(text, &blob, &size), n;

	if (say(r, name, "") || say(weir_kern_open(&o, &k, why, sizeof why), "open", why))
		return 1;
	libbpf_set_print(complaint);
	r = say(weir_kern_install(k, &(struct weir_kern_change){ .blob = blob, .size = size }, why, sizeof why), "install", why);
	n = r ? 0 : weir_kern_progs(k, progs, 8);
	for (int i = 0; i < n; i++)
		printf("%s_%s verified=%u xlated=%u jited=%u\n", progs[i].name, name, progs[i].insns_verified,
		       progs[i].insns_xlated, progs[i].insns_jited_bytes);
	/* the test machine has no modules: where clsact is one, there is nothing to attach to; told, not fatal */
	if (!r && !say(weir_kern_attach(k, &lo, WEIR_XDP_GENERIC), "attach", lo.why))
		printf("tc=%s xdp=%s\n", lo.tc, lo.xdp);
	if (!r && weir_kern_guard(k, true, why, sizeof why)) /* a kernel without netfilter has no guard: told, not fatal */
		printf("guard: none: %s\n", why);
	else if (!r)
		printf("guard: %s\n", why);
	if (!r)
		r = say(proven(k, name), "proven", "");
	if (!r)
		r = waits(k, blob, size);
	weir_kern_close(k, true);
	return r || n < 3;
}

/* The namespace is new, and so is its lo: down. Test frames want it up. */
static void lo_up(void)
{
	struct ifreq r = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &r))
		printf("lo: %s\n", strerror(errno));
}

int main(void)
{
	_cleanup_free_ char *big = large();

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (unshare(CLONE_NEWNET) || !big)
		return 1;
	mkdir("/run", 0755);
	lo_up();
	return one("small", small) | one("large", big);
}
