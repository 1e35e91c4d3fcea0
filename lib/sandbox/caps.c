/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/sandbox/sandbox.h"

struct caps {
	uint64_t effective, permitted;
};

static int caps_get(struct caps *ret)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2] = { 0 };

	if (syscall(SYS_capget, &h, d) < 0)
		return -errno;
	ret->effective = d[0].effective | (uint64_t)d[1].effective << 32;
	ret->permitted = d[0].permitted | (uint64_t)d[1].permitted << 32;
	return 0;
}

static int caps_set(uint64_t effective, uint64_t permitted)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2] = {
		{ .effective = (uint32_t)effective, .permitted = (uint32_t)permitted },
		{ .effective = (uint32_t)(effective >> 32), .permitted = (uint32_t)(permitted >> 32) },
	};

	return syscall(SYS_capset, &h, d) < 0 ? -errno : 0;
}

uint64_t weir_caps_held(void)
{
	struct caps c = { 0 };

	caps_get(&c);
	return c.permitted;
}

int weir_caps_use(uint64_t mask, bool on)
{
	struct caps c = { 0 };
	int e = caps_get(&c);

	if (e < 0)
		return e;
	return caps_set(on ? c.effective | (mask & c.permitted) : c.effective & ~mask, c.permitted);
}

int weir_caps_keep(uint64_t mask)
{
	struct caps c = { 0 };
	int e = caps_get(&c);

	if (!e && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		e = -errno;
	if (!e && (c.permitted & 1ull << CAP_SETPCAP)) {
		e = caps_set(c.permitted, c.permitted); /* a change of user has put them out of use */
		for (int cap = 0; !e && cap < 64; cap++) {
			if (mask & 1ull << cap)
				continue;
			if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 &&
			    errno != EINVAL) /* EINVAL: behind the last one */
				e = -errno;
		}
	}
	return e < 0 ? e : caps_set(c.permitted & mask, c.permitted & mask);
}
