/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may be asked: one table of handlers, apart from the transport. A handler takes a checked request
 * and answers with JSON, or with a message, a hint and diags. Every change, made or refused, is audited.
 */
#pragma once
#include "daemon/worker/worker.h"

enum weir_right {
	WEIR_RIGHT_READ,
	WEIR_RIGHT_CHANGE, /* audited */
};

struct weir_request {
	const char *verb;
	const json_t *args; /* an object, may be empty */
	uid_t uid;
	pid_t pid;
	struct weir_client *client;
};

struct weir_reply {
	json_t *result;
	char *message, *hint;    /* of a failure */
	struct weir_diags diags;
	char *detail;            /* for the audit log; NULL: the arguments */
};

struct weir_handler {
	const char *verb;
	enum weir_right right;
	int (*run)(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp);
};

extern const struct weir_handler weir_handlers_change[], weir_handlers_policy[], weir_handlers_rule[], weir_handlers_lists[], weir_handlers_bans[],
	weir_handlers_status[], weir_handlers_flow[], weir_handlers_coverage[];

/* Answer a request of a client. */
void weir_api_request(struct weir_worker *w, struct weir_client *client, const json_t *request);
/* The same without a socket: for tests. The answer is a new reference. */
json_t *weir_api_call(struct weir_worker *w, const struct weir_request *rq);

/* Who asks, as a caller whose session must live. */
struct weir_caller weir_request_caller(const struct weir_request *rq, bool force);
/* {"generation", "back", "seconds"} of the change that waits; NULL: none does. */
json_t *weir_pending_json(struct weir_worker *w);

/* The handler's way to say no: returns `error`. */
int weir_reply_fail(struct weir_reply *rp, int error, const char *hint, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void weir_reply_detail(struct weir_reply *rp, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define WEIR_SPAN_MAX 315360000 /* the longest --for, as the command line has it: 10 years */

/* Arguments by jansson's format, strictly: an unknown key is refused. */
#define WEIR_ARGS(rq, rp, ...) weir_args_check(json_unpack_ex((json_t *)(rq)->args, &weir_args_error, JSON_STRICT, \
							      __VA_ARGS__), &weir_args_error, rp)
int weir_args_check(int unpacked, const json_error_t *e, struct weir_reply *rp);
extern json_error_t weir_args_error;

/* Raw text (names of devices and programs, paths) as a JSON string that any screen may show. */
json_t *weir_text_json(const char *s);

void weir_api_audit(struct weir_worker *w, uid_t uid, pid_t pid, const char *action, const char *detail,
		    const char *result);
