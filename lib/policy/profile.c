/* SPDX-License-Identifier: Apache-2.0 */
/* `weir init`: the policies of profiles/, which are files that people and tests can read. */
#include <errno.h>
#include <string.h>

#include "lib/policy/policy.h"

extern const char weir_profile_laptop[], weir_profile_server[], weir_profile_router[], weir_profile_containers[],
	weir_profile_agent[];

const char *const weir_policy_profiles[] = { "laptop", "server", "router", "containers", "agent", NULL };

int weir_policy_profile(FILE *out, const char *profile)
{
	static const char *const texts[] = { weir_profile_laptop, weir_profile_server, weir_profile_router,
					     weir_profile_containers, weir_profile_agent };

	for (size_t i = 0; weir_policy_profiles[i]; i++) {
		if (strcmp(weir_policy_profiles[i], profile))
			continue;
		return fputs(texts[i], out) < 0 ? -EIO : 0;
	}
	return -ENOENT;
}
