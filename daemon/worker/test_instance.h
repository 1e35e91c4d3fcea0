/* SPDX-License-Identifier: Apache-2.0 */
/* An instance with all its directories, over the kernel and the helper in memory. Included after cmocka.h. */
#pragma once
#include <net/if.h>
#include <sys/stat.h>

#include "daemon/helper/helper_fake.h"
#include "daemon/worker/api.h"
#include "lib/kern/kern_fake.h"
#include "lib/state/test_dir.h"

struct fixture {
	char *dir, etc[300], state[300], log[300], run[300], policy[320];
	struct weir_keeper *keeper;
	struct weir_port *port;
	struct weir_worker *worker;
	struct weir_helper *helper; /* of the worker, when the case wants one */
};

static inline void write_policy(struct fixture *f, const char *text)
{
	test_file(f->policy, text);
}

static inline void start(struct fixture *f, const struct weir_worker_options *with)
{
	struct weir_keeper_options ko = { .runtime_dir = f->run };
	struct weir_worker_options wo = with ? *with : (struct weir_worker_options){ 0 };
	struct weir_kern_if eth0 = { .ifindex = 2, .name = "eth0", .flags = IFF_UP };
	struct weir_kern_if lo = { .ifindex = 1, .name = "lo", .flags = IFF_UP | IFF_LOOPBACK };
	struct weir_diags d = { 0 };
	char why[256] = "";

	wo.config_dir = f->etc;
	wo.state_dir = f->state;
	wo.log_dir = f->log;
	wo.runtime_dir = f->run;
	wo.helper = f->helper;
	assert_int_equal(weir_keeper_open(&ko, &f->keeper, why, sizeof why), 0);
	weir_keeper_link(f->keeper, WEIR_LINK_NEW, &lo);
	weir_keeper_link(f->keeper, WEIR_LINK_NEW, &eth0);
	assert_int_equal(weir_port_new_local(f->keeper, &f->port), 0);
	assert_int_equal(weir_worker_open(&wo, f->port, &f->worker, &d, why, sizeof why), 0);
	assert_int_equal(weir_worker_start(f->worker, &d, why, sizeof why), 0);
	weir_diags_free(&d);
}

static inline void end(struct fixture *f, bool remove)
{
	weir_worker_free(f->worker);
	weir_port_free(f->port);
	weir_keeper_close(f->keeper, remove);
	f->worker = NULL;
	f->keeper = NULL;
}

/* The keeper lives, and starts another worker. */
static inline void worker_dies(struct fixture *f)
{
	struct weir_worker_options o = { .config_dir = f->etc, .state_dir = f->state, .log_dir = f->log,
					 .runtime_dir = f->run, .resume = true };
	struct weir_diags d = { 0 };
	char why[256] = "";

	weir_worker_free(f->worker);
	weir_port_next(f->port);
	assert_int_equal(weir_worker_open(&o, f->port, &f->worker, &d, why, sizeof why), 0);
	assert_int_equal(weir_worker_start(f->worker, &d, why, sizeof why), 0);
	weir_diags_free(&d);
}

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	void *dir;

	if (!f || test_dir_make(&dir))
		return -1;
	f->dir = dir;
	snprintf(f->etc, sizeof f->etc, "%s/etc", f->dir);
	snprintf(f->state, sizeof f->state, "%s/state", f->dir);
	snprintf(f->log, sizeof f->log, "%s/log", f->dir);
	snprintf(f->run, sizeof f->run, "%s/run", f->dir);
	snprintf(f->policy, sizeof f->policy, "%s/policy.yaml", f->etc);
	mkdir(f->etc, 0755);
	mkdir(f->run, 0700);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;
	void *dir = f->dir;

	if (f->worker)
		end(f, true);
	weir_helper_free(f->helper);
	test_dir_remove(&dir);
	free(f);
	return 0;
}

/* Ask; the answer is a new reference. Arguments are taken over. */
static inline json_t *ask(struct fixture *f, const char *verb, json_t *args)
{
	struct weir_request rq = { .verb = verb, .args = args ? args : json_object(), .pid = getpid() };
	json_t *j = weir_api_call(f->worker, &rq);

	json_decref((json_t *)rq.args);
	assert_non_null(j);
	return j;
}

static inline void good(struct fixture *f, const char *verb, json_t *args)
{
	json_t *j = ask(f, verb, args);

	if (!json_is_true(json_object_get(j, "ok")))
		fail_msg("%s: %s", verb, json_dumps(j, 0));
	json_decref(j);
}

/* It must be refused, and the message must hold this. */
static inline void bad(struct fixture *f, const char *verb, json_t *args, const char *message)
{
	json_t *j = ask(f, verb, args);
	char *text = json_dumps(j, 0);

	assert_false(json_is_true(json_object_get(j, "ok")));
	if (!strstr(text, message))
		fail_msg("'%s' is not in %s", message, text);
	free(text);
	json_decref(j);
}

static inline struct weir_kern_fake *fake(struct fixture *f)
{
	return weir_kern_fake_of(weir_keeper_kern(f->keeper));
}

static inline json_t *drop_rule(const char *to)
{
	return json_pack("{s:{s:s, s:s}}", "rule", "action", "drop", "to", to);
}

/* In front of another one: that takes a compilation of all. */
static inline json_t *drop_before(const char *to, int id)
{
	return json_pack("{s:{s:s, s:s}, s:i}", "rule", "action", "drop", "to", to, "before", id);
}
