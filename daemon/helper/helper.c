/* SPDX-License-Identifier: Apache-2.0 */
/* Nobody answers: the helper's process is not built yet, so no worker is given one. */
#include <errno.h>
#include <stddef.h>

#include "daemon/helper/helper.h"

int weir_helper_sessions(struct weir_helper *h, pid_t pid, struct weir_session ret[WEIR_SESSIONS_MAX])
{
	return -ENOSYS;
}

int weir_helper_sshd(struct weir_helper *h, struct weir_sshd *ret)
{
	return -ENOSYS;
}

int weir_helper_kill(struct weir_helper *h, struct weir_kill *v, size_t n)
{
	return -ENOSYS;
}
