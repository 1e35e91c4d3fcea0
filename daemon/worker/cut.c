/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An edit takes force before it is written down. A worker that dies in between leaves in force what no list knows, no
 * command takes out and no start would have. So a file says for that moment that an edit is being made, and the worker
 * after it puts in force what is written down. It is for the death of a process, and not synced: with the machine all that
 * is in force goes, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/worker/api.h"
#include "daemon/worker/worker.h"
#include "lib/state/file.h"
#include "lib/util/cleanup.h"

#define EDIT_NAME "edit-begun" /* in the state directory: how many workers died of putting it right */
#define DEATHS_MAX 2

static const char *edit_path(const struct weir_worker *w, char buf[static PATH_MAX])
{
	snprintf(buf, PATH_MAX, "%s/" EDIT_NAME, w->o.state_dir);
	return buf;
}

void weir_edit_begin(const struct weir_worker *w)
{
	char path[PATH_MAX];
	int fd = open(edit_path(w, path), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);

	if (fd >= 0) /* where it cannot be made, the edit cannot be saved either */
		close(fd);
}

void weir_edit_end(const struct weir_worker *w)
{
	char path[PATH_MAX];

	unlink(edit_path(w, path));
}

void weir_edit_cut(struct weir_worker *w)
{
	struct weir_change c = { .overlay = &w->overlay, .whole = true };
	_cleanup_free_ char *text = NULL;
	struct weir_diags diags = { 0 };
	unsigned deaths = 0;
	char now[16], why[256] = "";
	size_t len;
	int r = weir_state_read(w->o.state_dir, EDIT_NAME, sizeof now, &text, &len);

	if (r == -ENOENT)
		return;
	if (!r && sscanf(text, "%u", &deaths) == 1 && deaths >= DEATHS_MAX) {
		snprintf(why, sizeof why, "%u workers ended while they tried", deaths);
		r = -EBADMSG;
	} else {
		snprintf(now, sizeof now, "%u\n", deaths + 1);
		weir_state_replace(w->o.state_dir, EDIT_NAME, now, strlen(now));
		r = weir_worker_put(w, &c, &diags, why, sizeof why);
	}
	if (!r)
		weir_edit_end(w);
	else
		snprintf(w->late_why, sizeof w->late_why, "an edit that was cut short may be in force without being listed "
			 "(%.120s): weir reload or apply", why[0] ? why : diags.n ? diags.v[0].message : strerror(-r));
	weir_api_audit(w, 0, getpid(), "an edit was cut short", "what is written down is in force", r ? w->late_why : "ok");
	weir_diags_free(&diags);
}
