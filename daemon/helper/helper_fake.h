/* SPDX-License-Identifier: Apache-2.0 */
/* The helper of the tests: daemon/helper/helper.h in memory. */
#pragma once
#include "daemon/helper/helper.h"

#define WEIR_FAKE_KILLS 256

struct weir_helper {
	struct weir_session sessions[WEIR_SESSIONS_MAX]; /* of whoever asks */
	int n_sessions;					 /* negative: what is answered instead */
	uint16_t ssh_port;				 /* 0: no sshd */
	const char *ssh_addr;				 /* of a login session, or NULL */
	struct weir_kill killed[WEIR_FAKE_KILLS];
	size_t n_killed;
	int kill_result;
};
