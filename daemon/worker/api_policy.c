/* SPDX-License-Identifier: Apache-2.0 */
/* show effective, mode show, stop, flush: what is in force as a whole. Changes of it: api_change.c. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/worker/api.h"
#include "lib/state/file.h"
#include "lib/util/cleanup.h"

static int do_mode_show(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	rp->result = json_pack("{s:s, s:s, s:s, s:o}", "requested", weir_mode_name(weir_worker_requested(w)), "mode",
			       weir_mode_name(weir_worker_mode(w)), "policy_mode",
			       weir_mode_name(weir_policy_mode(w->policy)), "path", weir_text_json(w->path));
	return 0;
}

static int do_show(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return -ENOMEM;
	weir_policy_show_effective(f, &w->img);
	if (fclose(f))
		return -ENOMEM;
	rp->result = json_pack("{s:I, s:s%}", "generation", (json_int_t)w->generation, "yaml", text, len);
	return rp->result ? 0 : -ENOMEM;
}

static int do_stop(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	size_t n, covered = 0;
	const struct weir_kern_if *ifs = weir_port_ifs(w->port, &n);

	for (size_t i = 0; i < n; i++)
		covered += ifs[i].covered;
	rp->result = json_pack("{s:I, s:s, s:b, s:I}", "generation", (json_int_t)w->generation, "mode",
			       weir_mode_name(weir_worker_mode(w)), "enforcing", weir_worker_enforces(w),
			       "interfaces", (json_int_t)covered);
	if (w->pending.on)
		json_object_set_new(rp->result, "pending", weir_pending_json(w));
	w->end = WEIR_END_STOP;
	return 0;
}

static int do_flush(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	int r = do_stop(w, rq, rp);

	w->end = WEIR_END_FLUSH;
	return r;
}

const struct weir_handler weir_handlers_policy[] = {
	{ "mode show", WEIR_RIGHT_READ, do_mode_show },
	{ "show effective", WEIR_RIGHT_READ, do_show },
	{ "stop", WEIR_RIGHT_CHANGE, do_stop },
	{ "flush", WEIR_RIGHT_CHANGE, do_flush },
	{ NULL },
};
