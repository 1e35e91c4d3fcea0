/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <linux/magic.h>
#include <unistd.h>

#include "daemon/keeper/boot.h"
#include "lib/util/cleanup.h"
#include "lib/util/file.h"

#define CMDLINE "/proc/cmdline"
#define CMDLINE_MAX 65536
#define GUARD_FILE "boot-guard" /* lib/state/origin.h writes it */

/* Is one of the words of the kernel's command line this one, or does one begin with it? */
static bool cmdline_has(const char *want, bool prefix)
{
	_cleanup_free_ char *text = NULL;
	char *save = NULL;
	size_t len;

	if (weir_file_read(CMDLINE, CMDLINE_MAX, &text, &len))
		return false;
	for (char *word = strtok_r(text, " \t\n", &save); word; word = strtok_r(NULL, " \t\n", &save)) {
		if (prefix ? !strncmp(word, want, strlen(want)) : !strcmp(word, want))
			return true;
	}
	return false;
}

bool weir_boot_off(void)
{
	return cmdline_has("weir=off", false);
}

/* A host whose own files come over the network would wait for itself behind the guard. */
static bool root_is_remote(void)
{
	static const char *const words[] = { "root=/dev/nfs", "root=nfs", "nfsroot=", "netroot=", "root=iscsi:", "rd.iscsi." };
	struct statfs s;

	if (!statfs("/", &s) && (s.f_type == NFS_SUPER_MAGIC || s.f_type == AFS_SUPER_MAGIC))
		return true;
	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		if (cmdline_has(words[i], true))
			return true;
	}
	return false;
}

/* "" when there is none: the policy shuts nothing, or none was ever confirmed. */
static void word_read(const char *state_dir, char *ret, size_t size)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX];
	struct stat st;
	ssize_t n = 0;

	if (snprintf(path, sizeof path, "%s/" GUARD_FILE, state_dir) < (int)sizeof path)
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode))
		n = read(fd, ret, size - 1);
	ret[n > 0 ? n : 0] = 0;
}

int weir_boot_guard(struct weir_keeper *k, const char *state_dir, char *said, size_t size)
{
	const char *how, *why = "";
	bool closed;
	char word[16];

	said[0] = 0;
	word_read(state_dir, word, sizeof word);
	closed = !strcmp(word, "closed");
	if (!closed && strcmp(word, "open") != 0)
		return 0;
	if (root_is_remote()) {
		snprintf(said, size, "the root file system comes over the network: nothing is guarded before the policy is in force");
		return 0;
	}
	weir_keeper_guard_now(k);
	how = weir_keeper_guard(k, &why);
	if (!*how) {
		snprintf(said, size, "the guard does not stand, packets pass until the policy is in force: %s", why);
		return 0;
	}
	snprintf(said, size, "guard: nothing but lo passes until the policy is in force (%s)", how);
	return closed;
}
