/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/helper/answer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util/cleanup.h"

typedef void (*answer_fn)(struct weir_answerer *by, const struct weir_ask *a, struct weir_answer *ret);

static void do_open(struct weir_answerer *by, const struct weir_ask *a, struct weir_answer *ret)
{
	ret->fd = weir_answer_open(by, a->path.path);
	ret->result = ret->fd < 0 ? ret->fd : 0;
}

static void do_list(struct weir_answerer *by, const struct weir_ask *a, struct weir_answer *ret)
{
	struct weir_ask_path *v = NULL;

	ret->result = weir_answer_list(by, a->path.path, &v, &ret->n);
	ret->records = v;
}

static void do_holders(struct weir_answerer *by, const struct weir_ask *a, struct weir_answer *ret)
{
	struct weir_holder *v = NULL;

	ret->result = by->holders ? 0 : weir_holders_new(&by->holders);
	if (!ret->result)
		ret->result = weir_holders_read(by->holders, &v, &ret->n);
	ret->records = v;
}

static void do_process(struct weir_answerer *by, const struct weir_ask *a, struct weir_answer *ret)
{
	struct weir_process *p = calloc(1, sizeof *p);

	if (!p) {
		ret->result = -ENOMEM;
		return;
	}
	weir_process_read(a->pid.pid, p);
	ret->records = p;
	ret->n = 1;
}

static void do_sshd(struct weir_answerer *by, const struct weir_ask *a, struct weir_answer *ret)
{
	struct weir_sshd s = { 0 };
	struct weir_ask_ssh *v;

	ret->result = weir_sshd_read(&s);
	if (ret->result)
		return;
	ret->records = v = calloc(s.n_ports + s.n_addrs + 1, sizeof *v);
	if (v) {
		for (size_t i = 0; i < s.n_ports; i++)
			v[ret->n++].port = s.ports[i];
		for (size_t i = 0; i < s.n_addrs; i++)
			snprintf(v[ret->n++].addr, sizeof v->addr, "%s", s.addrs[i]);
	} else {
		ret->result = -ENOMEM;
	}
	weir_sshd_free(&s);
}

static void do_firewalls(struct weir_answerer *by, const struct weir_ask *a, struct weir_answer *ret)
{
	struct weir_firewall *v = calloc(WEIR_FIREWALLS_MAX, sizeof *v);

	ret->records = v;
	ret->result = v ? weir_firewalls_read(v, &ret->n) : -ENOMEM;
}

static void do_sessions(struct weir_answerer *by, const struct weir_ask *a, struct weir_answer *ret)
{
	struct weir_session *v = calloc(WEIR_SESSIONS_MAX, sizeof *v);
	int n = v ? weir_sessions_read(a->pid.pid, v) : -ENOMEM;

	ret->records = v;
	ret->result = n < 0 ? n : 0;
	ret->n = n < 0 ? 0 : (size_t)n;
}

static void do_kill(struct weir_answerer *by, const struct weir_ask *a, struct weir_answer *ret)
{
	struct weir_kill *v = calloc(a->kills.n, sizeof *v);

	ret->records = v;
	if (v)
		memcpy(v, a->kills.v, a->kills.n * sizeof *v);
	ret->result = v ? weir_socks_kill(v, a->kills.n) : -ENOMEM;
	ret->n = a->kills.n;
}

static void do_passages(struct weir_answerer *by, const struct weir_ask *a, struct weir_answer *ret)
{
	struct weir_passage *v = NULL;

	ret->result = weir_passages_read(&v, &ret->n);
	ret->records = v;
}

static void do_sandbox(struct weir_answerer *by, const struct weir_ask *a, struct weir_answer *ret)
{
	struct weir_sandbox *s = malloc(sizeof *s);

	if (!s) {
		ret->result = -ENOMEM;
		return;
	}
	*s = by->sandbox;
	ret->records = s;
	ret->n = 1;
}

static const answer_fn answers[WEIR_ASK_COUNT] = {
	[WEIR_ASK_OPEN] = do_open,	   [WEIR_ASK_LIST] = do_list, [WEIR_ASK_HOLDERS] = do_holders,
	[WEIR_ASK_PROCESS] = do_process,   [WEIR_ASK_SSHD] = do_sshd, [WEIR_ASK_FIREWALLS] = do_firewalls,
	[WEIR_ASK_SESSIONS] = do_sessions, [WEIR_ASK_KILL] = do_kill, [WEIR_ASK_PASSAGES] = do_passages,
	[WEIR_ASK_SANDBOX] = do_sandbox,
};

void weir_answer(struct weir_answerer *by, const struct weir_ask *a, struct weir_answer *ret)
{
	*ret = (struct weir_answer){ .fd = -1 };
	answers[a->kind](by, a, ret);
	if (ret->result < 0) {
		free(ret->records);
		*ret = (struct weir_answer){ .result = ret->result, .fd = -1 };
	}
}

void weir_answerer_clear(struct weir_answerer *by)
{
	weir_holders_free(by->holders);
	free(by->dirs[0]);
	free(by->dirs[1]);
	*by = (struct weir_answerer){ 0 };
}
