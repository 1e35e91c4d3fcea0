/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "daemon/helper/helper.h"
#include "daemon/role.h"

static const char *const names[WEIR_ROLES] = { "--role=worker", "--role=helper" };

/* In this order behind the role; empty: not given. */
enum { ARG_CONFIG = 2, ARG_RUNTIME, ARG_STATE, ARG_LOG, ARG_POLICY, ARG_MODE, ARG_FLAGS, ARGS };

void weir_role_line(enum weir_role role, const struct weir_run_options *o, struct weir_role_line *ret)
{
	const char *mode = !o->has_mode ? "" : o->mode == WEIR_PREVENT ? "prevent" : "detect";
	const char *const v[] = { "weir", names[role], o->config_dir, o->runtime_dir, o->state_dir, o->log_dir,
				  o->policy ? o->policy : "", mode, ret->flags, NULL };

	snprintf(ret->flags, sizeof ret->flags, "live=%d,color=%d,simulate=%u", o->live, o->color, o->simulate);
	memcpy(ret->argv, v, sizeof v);
}

static int parse(char **argv, struct weir_run_options *o)
{
	unsigned simulate;
	int live, color;

	if (sscanf(argv[ARG_FLAGS], "live=%d,color=%d,simulate=%u", &live, &color, &simulate) != 3)
		return -1;
	*o = (struct weir_run_options){
		.config_dir = argv[ARG_CONFIG], .runtime_dir = argv[ARG_RUNTIME], .state_dir = argv[ARG_STATE],
		.log_dir = argv[ARG_LOG], .policy = *argv[ARG_POLICY] ? argv[ARG_POLICY] : NULL,
		.has_mode = *argv[ARG_MODE], .mode = !strcmp(argv[ARG_MODE], "prevent") ? WEIR_PREVENT : WEIR_DETECT,
		.live = live, .color = color, .simulate = simulate,
	};
	return 0;
}

/* 0: a directory. */
static bool is_a(int fd, int want)
{
	socklen_t len = sizeof want;
	struct stat st;
	int type;

	return !want ? !fstat(fd, &st) && S_ISDIR(st.st_mode) :
		       !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) && type == want;
}

/* They are ours from here on; nothing that we might start gets them. */
static bool sockets_take(enum weir_role role)
{
	static const int types[WEIR_ROLE_FDS] = { SOCK_SEQPACKET, SOCK_SEQPACKET, SOCK_STREAM, 0, 0 };
	int n = role == WEIR_ROLE_WORKER ? WEIR_ROLE_FDS : 1;

	for (int i = 0; i < n; i++) {
		if (!is_a(WEIR_FD_FIRST + i, types[i]) || fcntl(WEIR_FD_FIRST + i, F_SETFD, FD_CLOEXEC))
			return false;
	}
	return true;
}

int weir_role_main(int argc, char **argv)
{
	enum weir_role role = WEIR_ROLES;
	struct weir_helper_options ho;
	struct weir_run_options o;

	if (argc < 2 || strncmp(argv[1], "--role=", 7))
		return -1;
	for (int i = 0; i < WEIR_ROLES; i++) {
		if (!strcmp(argv[1], names[i]))
			role = (enum weir_role)i;
	}
	if (role == WEIR_ROLES || argc != ARGS || parse(argv, &o) || !sockets_take(role)) {
		fputs("weir: error: this is started by 'weir run' alone\n", stderr);
		return 2;
	}
	prctl(PR_SET_NAME, role == WEIR_ROLE_WORKER ? "weir-worker" : "weir-helper", 0, 0, 0);
	if (role == WEIR_ROLE_WORKER)
		return weir_worker_main(&o);
	ho = (struct weir_helper_options){ .config_dir = o.config_dir, .policy = o.policy };
	return weir_helper_main(WEIR_FD_SERVED, &ho);
}
