/* SPDX-License-Identifier: Apache-2.0 */
/* Looks at everything that weir stands on, without the daemon. Changes nothing. */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/opts.h"
#include "cli/table.h"
#include "lib/host/host.h"
#include "lib/kern/kern.h"
#include "lib/sandbox/sandbox.h"
#include "lib/util/cleanup.h"

enum grade { OK, WARN, FAIL };

struct doctor {
	const struct weir_cli *cli;
	json_t *list;
	enum grade worst;
};

static const char *const grades[] = { "ok", "warn", "fail" };

/* One finding: what was looked at, what was found, what to do. */
static void found(struct doctor *d, enum grade g, const char *what, const char *todo, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

static void found(struct doctor *d, enum grade g, const char *what, const char *todo, const char *fmt, ...)
{
	_cleanup_free_ char *then = weir_cli_carry(g == OK || !todo ? "" : todo);
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (g > d->worst)
		d->worst = g;
	json_array_append_new(d->list, json_pack("{s:s, s:s, s:o, s:s}", "check", what, "result", grades[g], "found", weir_cli_text(text),
						 "todo", then ? then : ""));
}

/* A small number or word of /proc or /sys; "" when it cannot be read. */
static void sys_read(const char *path, char *buf, size_t size)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");

	buf[0] = 0;
	if (f && fgets(buf, (int)size, f))
		buf[strcspn(buf, "\n")] = 0;
}

static void check_kernel(struct doctor *d)
{
	struct utsname u;
	unsigned major = 0, minor = 0;

	uname(&u);
	sscanf(u.release, "%u.%u", &major, &minor);
	found(d, major > 5 || (major == 5 && minor >= 10) ? OK : FAIL, "kernel", "weir needs Linux 5.10 or newer", "Linux %s",
	      u.release);
	found(d, access("/sys/kernel/btf/vmlinux", R_OK) ? FAIL : OK, "btf",
	      "a kernel with CONFIG_DEBUG_INFO_BTF=y; those of the distributions have it", "/sys/kernel/btf/vmlinux%s",
	      access("/sys/kernel/btf/vmlinux", R_OK) ? " is missing" : "");
}

static void check_bpf(struct doctor *d)
{
	struct rlimit lim = { 0 };
	char jit[16], text[64] = "", line[256];
	_cleanup_fclose_ FILE *fs = fopen("/proc/filesystems", "re");
	bool bpffs = false;

	while (fs && fgets(line, sizeof line, fs))
		bpffs |= !strcmp(line, "nodev\tbpf\n");
	found(d, bpffs ? OK : FAIL, "bpffs", "a kernel with CONFIG_BPF_SYSCALL=y", "%s",
	      bpffs ? "known to the kernel; weir mounts its own" : "not known to the kernel");
	sys_read("/proc/sys/net/core/bpf_jit_enable", jit, sizeof jit);
	found(d, !strcmp(jit, "0") ? WARN : OK, "jit", "sysctl net.core.bpf_jit_enable=1: packets cost several times as much "
						       "without",
	      "%s", !strcmp(jit, "0") ? "off" : *jit ? "on" : "always on, or not shown here");
	getrlimit(RLIMIT_MEMLOCK, &lim);
	if (lim.rlim_cur == RLIM_INFINITY)
		snprintf(text, sizeof text, "unlimited");
	else
		snprintf(text, sizeof text, "%llu KiB; weir raises it for itself", (unsigned long long)lim.rlim_cur >> 10);
	found(d, OK, "memlock", NULL, "%s", text);
}

static void check_instance(struct doctor *d)
{
	struct weir_kern_pinned p = { 0 };
	pid_t pid = weir_daemon_pid(d->cli);
	int r = weir_kern_pinned(d->cli->runtime_dir, &p);

	if (geteuid() && !access(d->cli->runtime_dir, F_OK) && access(d->cli->runtime_dir, X_OK)) {
		found(d, WARN, "daemon", "sudo weir doctor", "only root may look into %s", d->cli->runtime_dir);
		return;
	}
	if (pid)
		found(d, OK, "daemon", NULL, "running in %s, pid %d", d->cli->runtime_dir, pid);
	else
		found(d, WARN, "daemon", "sudo weir run", "not running in %s", d->cli->runtime_dir);
	if (r < 0)
		found(d, WARN, "pins", "look at it as root", "cannot be read: %s", strerror(-r));
	else
		found(d, OK, "pins", NULL, p.attached ? "generation %u on %u interface%s" : "none", p.generation,
		      p.n_interfaces, p.n_interfaces == 1 ? "" : "s");
}

/* What the kernel lets us do is known by trying; that is the daemon's work, so he is asked where he runs. */
static void check_features(struct doctor *d)
{
	json_t *j = weir_daemon_pid(d->cli) && !geteuid() ? weir_ask(d->cli, "features", NULL) : NULL;
	const json_t *one;
	size_t i;

	json_array_foreach (json_object_get(j, "kernel"), i, one)
		found(d, weir_bool(one, "have") ? OK : WARN, weir_str(one, "name"), "weir uses another way; a newer kernel has it",
		      "%s%s%s", weir_bool(one, "have") ? "here" : "not here", *weir_str(one, "why") ? ": " : "",
		      weir_str(one, "why"));
	json_decref(j);
	if (!j)
		found(d, OK, "hooks", NULL, "tcx, clsact and the guard are tried by weir run; then weir features");
}

static void check_others(struct doctor *d)
{
	struct weir_firewall fw[WEIR_FIREWALLS_MAX];
	size_t n = 0;
	json_t *j = weir_daemon_pid(d->cli) && !geteuid() ? weir_ask(d->cli, "status", NULL) : NULL;
	const json_t *one;
	size_t i;

	if (weir_firewalls_read(fw, &n) < 0)
		n = 0;
	for (i = 0; i < n; i++)
		found(d, WARN, fw[i].name, "weir never overrides another firewall's drop: look there too when packets are missing",
		      "%s", fw[i].detail);
	if (!n)
		found(d, OK, "firewalls", NULL, "no other in force");
	json_array_foreach (json_object_get(j, "interfaces"), i, one) {
		if (*weir_str(one, "others"))
			found(d, WARN, weir_str(one, "name"), "both run; a drop of either counts", "programs of others: %s",
			      weir_str(one, "others"));
	}
	json_decref(j);
}

/* `worker`: it may be the worker's. */
static void check_dir(struct doctor *d, const char *what, const char *path, bool secret, bool worker)
{
	uid_t its = worker ? weir_user_find(WEIR_WORKER_USER, WEIR_WORKER_UID).uid : 0;
	struct stat st;

	if (lstat(path, &st)) {
		found(d, errno == ENOENT ? OK : WARN, what, "look at it as root", "%s: %s", path,
		      errno == ENOENT ? "not there yet" : strerror(errno));
		return;
	}
	if (!S_ISDIR(st.st_mode))
		found(d, FAIL, what, "weir refuses it: remove it", "%s is no directory", path);
	else if (st.st_uid != 0 && st.st_uid != geteuid() && st.st_uid != its)
		found(d, FAIL, what, "chown root it", "%s belongs to user %u", path, st.st_uid);
	else if (st.st_mode & 022)
		found(d, FAIL, what, "chmod go-w it: whoever writes there is root", "%s may be written by others (%04o)", path,
		      st.st_mode & 07777);
	else if (secret && (st.st_mode & 077))
		found(d, WARN, what, "chmod 700 it", "%s may be read by others (%04o)", path, st.st_mode & 07777);
	else
		found(d, OK, what, NULL, "%s (%04o)", path, st.st_mode & 07777);
}

static void check_clock(struct doctor *d)
{
	struct tm tm;
	time_t now = time(NULL);
	char text[64];

	gmtime_r(&now, &tm);
	strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	/* bans and rules with an end are kept as wall-clock time */
	found(d, tm.tm_year + 1900 < 2024 ? WARN : OK, "clock", "set it, or start a time service: ends of bans rest on it", "%s",
	      text);
}

static void show(const struct doctor *d)
{
	static const enum weir_paint paints[] = { WEIR_PLAIN, WEIR_LOOK, WEIR_STOPPED };
	struct weir_table *t = weir_table_new("CHECK|RESULT|FOUND|WHAT TO DO");
	const json_t *one;
	size_t i;

	json_array_foreach (d->list, i, one) {
		size_t g = 0;

		while (g < 2 && strcmp(grades[g], weir_str(one, "result")))
			g++;
		weir_table_cell(t, WEIR_PLAIN, "%s", weir_str(one, "check"));
		weir_table_cell(t, paints[g], "%s", grades[g]);
		weir_table_cell(t, WEIR_PLAIN, "%s", weir_str(one, "found"));
		weir_table_cell(t, WEIR_PLAIN, "%s", weir_str(one, "todo"));
	}
	weir_table_print(t, d->cli->color);
}

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	int status = weir_opts_none(&weir_cmd_doctor, argc, argv);
	struct doctor d = { .cli = cli };

	if (status)
		return status;
	d.list = json_array();
	found(&d, geteuid() ? FAIL : OK, "root", "sudo weir doctor", geteuid() ? "not root: some checks are blind" : "root");
	check_kernel(&d);
	check_bpf(&d);
	check_instance(&d);
	check_features(&d);
	check_others(&d);
	check_dir(&d, "config dir", cli->config_dir, false, false);
	check_dir(&d, "runtime dir", cli->runtime_dir, true, false);
	check_dir(&d, "state dir", cli->state_dir, true, true);
	check_dir(&d, "log dir", cli->log_dir, true, true);
	check_clock(&d);
	if (cli->json) {
		weir_cli_json(d.list);
	} else {
		show(&d);
		json_decref(d.list);
	}
	return d.worst == FAIL ? WEIR_EXIT_FAIL : WEIR_EXIT_OK;
}

const struct weir_cmd weir_cmd_doctor = {
	.name = "doctor",
	.args = "",
	.summary = "look at everything that weir stands on",
	.help = "Changes nothing. Exit status 1 when something keeps weir from working.\n\n"
		"  sudo weir doctor",
	.run = run,
};
