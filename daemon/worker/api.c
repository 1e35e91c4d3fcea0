/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/worker/api.h"
#include "lib/util/cleanup.h"
#include "lib/util/text.h"

json_error_t weir_args_error;

static const struct weir_handler *const tables[] = {
	weir_handlers_change, weir_handlers_policy, weir_handlers_rule,	weir_handlers_lists,
	weir_handlers_bans,   weir_handlers_status, weir_handlers_flow, weir_handlers_coverage,
};

static const struct weir_handler *find(const char *verb)
{
	for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
		for (const struct weir_handler *h = tables[t]; h->verb; h++) {
			if (!strcmp(h->verb, verb))
				return h;
		}
	}
	return NULL;
}

int weir_reply_fail(struct weir_reply *rp, int error, const char *hint, const char *fmt, ...)
{
	va_list ap;

	free(rp->message);
	free(rp->hint);
	va_start(ap, fmt);
	if (vasprintf(&rp->message, fmt, ap) < 0)
		rp->message = NULL;
	va_end(ap);
	if (rp->message)
		weir_text_whole(rp->message);
	rp->hint = hint && *hint ? strdup(hint) : NULL;
	return error;
}

void weir_reply_detail(struct weir_reply *rp, const char *fmt, ...)
{
	va_list ap;

	free(rp->detail);
	va_start(ap, fmt);
	if (vasprintf(&rp->detail, fmt, ap) < 0)
		rp->detail = NULL;
	va_end(ap);
}

int weir_args_check(int unpacked, const json_error_t *e, struct weir_reply *rp)
{
	return unpacked ? weir_reply_fail(rp, -EINVAL, NULL, "bad arguments: %s", e->text) : 0;
}

json_t *weir_text_json(const char *s)
{
	char text[PATH_MAX];

	return json_string(weir_escape(s, strlen(s), text, sizeof text));
}

void weir_api_audit(struct weir_worker *w, uid_t uid, pid_t pid, const char *action, const char *detail,
		    const char *result)
{
	char user[64], actor[96];

	weir_host_user(uid, user, sizeof user);
	snprintf(actor, sizeof actor, "%s (uid %u, pid %d)", user, uid, pid);
	weir_failures_audit(w, actor, action, detail, result);
}

static json_t *diags_json(const struct weir_diags *d)
{
	json_t *list = json_array();

	for (size_t i = 0; i < d->n; i++) {
		const struct weir_diag *x = &d->v[i];
		json_t *j = json_pack("{s:s, s:s*, s:i, s:i, s:i, s:s*, s:s*, s:s*}", "severity",
				      x->severity == WEIR_ERROR ? "error" : "warning", "file", x->file, "line",
				      (int)x->line, "col", (int)x->col, "len", (int)x->len, "message", x->message, "hint",
				      x->hint, "source", x->source);

		/* a file may hold bytes that JSON cannot: the place still helps */
		if (!j)
			j = json_pack("{s:s, s:i, s:i, s:i, s:s}", "severity",
				      x->severity == WEIR_ERROR ? "error" : "warning", "line", (int)x->line, "col",
				      (int)x->col, "len", 1, "message", "a byte that is no text");
		json_array_append_new(list, j);
	}
	return list;
}

static json_t *error_json(const struct weir_reply *rp, int error)
{
	json_t *j = weir_error_json(rp->message ? rp->message :
				    rp->diags.n ? "the policy has errors" : strerror(-error), rp->hint);
	json_t *e = json_object_get(j, "error");

	json_object_set_new(e, "errno", json_string(strerrorname_np(-error) ? strerrorname_np(-error) : "?"));
	if (rp->diags.n)
		json_object_set_new(e, "diags", diags_json(&rp->diags));
	return j;
}

/* One line of the audit log: what was asked, by whom, how it ended. */
static void audit(struct weir_worker *w, const struct weir_request *rq, const struct weir_reply *rp, int r)
{
	_cleanup_free_ char *args = rp->detail ? NULL : json_dumps(rq->args, JSON_COMPACT);
	const char *what = rp->diags.n ? rp->diags.v[0].message : rp->message ? rp->message : strerror(-r);
	char result[256];

	snprintf(result, sizeof result, r < 0 ? "refused: %.240s" : "ok", what);
	weir_api_audit(w, rq->uid, rq->pid, rq->verb, rp->detail ? rp->detail : args ? args : "", result);
}

json_t *weir_api_call(struct weir_worker *w, const struct weir_request *rq)
{
	const struct weir_handler *h = find(rq->verb);
	struct weir_reply rp = { 0 };
	json_t *answer;
	int r = 0;

	if (!h)
		return weir_error_json("unknown verb", "is the daemon older than this command? weir status shows its version");
	if (w->pending.on && weir_kern_now() >= w->pending.deadline) /* the clock has decided: not only with the next tick */
		weir_pending_tick(w);
	if (h->right == WEIR_RIGHT_CHANGE)
		r = weir_failures_change(w, h->verb, &rp);
	else
		weir_worker_catch_up(w);
	if (!r)
		r = h->run(w, rq, &rp);
	if (h->right == WEIR_RIGHT_CHANGE)
		audit(w, rq, &rp, r);
	if (r < 0) {
		answer = error_json(&rp, r);
		json_decref(rp.result);
	} else {
		answer = json_pack("{s:b, s:o}", "ok", 1, "result", rp.result ? rp.result : json_object());
		if (rp.diags.n)
			json_object_set_new(answer, "diags", diags_json(&rp.diags));
	}
	free(rp.message);
	free(rp.hint);
	free(rp.detail);
	weir_diags_free(&rp.diags);
	return answer;
}

void weir_api_request(struct weir_worker *w, struct weir_client *client, const json_t *request)
{
	const json_t *args = json_object_get(request, "args");
	struct weir_request rq = { .verb = json_string_value(json_object_get(request, "verb")), .client = client };
	json_t *none = NULL;

	weir_client_actor(client, &rq.uid, &rq.pid);
	if (!rq.verb || (args && !json_is_object(args))) {
		weir_client_send(client, weir_error_json("a request is {\"verb\": ..., \"args\": {...}}", NULL));
		return;
	}
	rq.args = args ? args : (none = json_object());
	weir_client_send(client, weir_api_call(w, &rq));
	json_decref(none);
	if (w->end != WEIR_END_NONE && w->on_end)
		w->on_end(w->on_end_data);
}
