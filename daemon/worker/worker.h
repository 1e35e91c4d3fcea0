/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part without rights: policy, overlay, bans, sets, events. It compiles images and hands them to the
 * keeper; what it keeps over a reboot is in the state directory. Single-threaded, in the daemon's loop.
 *
 * The fields are shared by the files of this folder only.
 */
#pragma once
#include <jansson.h>
#include <limits.h>

#include "core/image_blob.h"
#include "daemon/helper/helper.h"
#include "daemon/worker/port.h"
#include "daemon/worker/rates.h"
#include "daemon/worker/recent.h"
#include "daemon/worker/server.h"
#include "lib/event/audit.h"
#include "lib/host/names.h"
#include "lib/policy/policy.h"
#include "lib/state/bans.h"
#include "lib/state/origin.h"
#include "lib/state/overlay.h"

struct weir_worker_options {
	const char *config_dir, *runtime_dir, *state_dir, *log_dir;
	const char *policy;  /* of the command line, or NULL */
	bool has_mode;
	enum weir_mode mode; /* ceiling of the command line */
	struct weir_helper *helper; /* stays the caller's; NULL: its work is done in this process */
};

/* What `stop` and `flush` ask of the one who runs the worker. */
enum weir_end { WEIR_END_NONE, WEIR_END_STOP, WEIR_END_FLUSH };

struct weir_worker {
	struct weir_worker_options o;
	struct weir_port *port;
	struct weir_helper *helper, *own_helper;
	struct weir_server *server;
	struct weir_audit *audit;
	struct weir_names *names;
	struct weir_owners *owners;

	struct weir_policy *policy;
	enum weir_policy_source source;
	char path[PATH_MAX];       /* where the policy was read; shown */
	bool has_ceiling;
	enum weir_mode ceiling;    /* of the command line, or of `weir mode` */
	struct weir_origin origin;
	struct weir_overlay_store overlay;
	struct weir_bans bans;

	void *blob;                /* the image in force */
	struct weir_img img;
	uint32_t generation, epoch;
	bool seeded;
	json_t *hits;              /* of images before: "rule" -> packets */
	struct weir_recent recent;
	struct weir_rates rates;
	uint64_t ticks;
	uint64_t expire_again;     /* unix seconds: not before this */

	uint64_t boot_ns, started; /* unix ns of boot; unix seconds */
	uint64_t plain_dns;
	char notes[3][256];        /* what was found damaged at the start; "" = nothing */
	char bans_why[128];        /* why a kept ban is not in force; "" = all are */
	char audit_why[128];       /* why the audit log cannot be written; "" = it can */
	enum weir_end end;
	void (*on_end)(void *data);
	void *on_end_data;
};

/* Opens state and audit log, reads the policy of the boot order. On failure `why` or diags say it. */
int weir_worker_open(const struct weir_worker_options *o, struct weir_port *p, struct weir_worker **ret,
		     struct weir_diags *diags, char *why, size_t why_size);
/* The interfaces are known: seed, compile, install, bans. */
int weir_worker_start(struct weir_worker *w, struct weir_diags *diags, char *why, size_t why_size);
int weir_worker_listen(struct weir_worker *w, struct weir_loop *l, const char *path);
void weir_worker_free(struct weir_worker *w);

void weir_worker_event(const struct weir_event *ev, void *data); /* data: the worker */
void weir_worker_tick(struct weir_worker *w);                    /* once a second */

/* One change of what is in force: what is NULL or unset stays. */
struct weir_change {
	struct weir_policy *policy;               /* taken over on success */
	const struct weir_overlay_store *overlay; /* only read */
	bool has_ceiling;
	enum weir_mode ceiling;
	bool new_generation;                      /* a change of policy or mode, not an edit */
	/* filled on success */
	uint32_t ms, added, removed;              /* compile time; rules */
};

/* Compile and put in force; all or nothing. -EINVAL: diags say what; otherwise why does. */
int weir_worker_put(struct weir_worker *w, struct weir_change *c, struct weir_diags *diags, char *why,
		    size_t why_size);
/* Put in force and save an edited overlay; takes it over on success. */
int weir_worker_overlay(struct weir_worker *w, struct weir_overlay_store *edited, struct weir_diags *diags, char *why,
			size_t why_size);

enum weir_mode weir_worker_mode(const struct weir_worker *w);      /* effective */
enum weir_mode weir_worker_requested(const struct weir_worker *w); /* what was asked for last */
/*
 * Keep a copy of the file at path, which the policy in force came from, for the next start. Includes and list files
 * are still read where they stand. -ESTALE: the file is not what is in force any more.
 */
int weir_worker_keep(struct weir_worker *w, const char *path);
/* "", or how the policy on disk differs from the one in force. */
const char *weir_worker_drift(const struct weir_worker *w, char *buf, size_t size);
/* Packets that a rule of the image in force took, earlier images of the same rule included. */
void weir_worker_hits(struct weir_worker *w, uint64_t *ret, size_t n_rules);
/* Rules of the file that one image has and the other has not. */
void weir_rules_diff(const struct weir_img *old, const struct weir_img *now, uint32_t *ret_added,
		     uint32_t *ret_removed);
/* "from 192.0.2.0/24 ports 80 tcp": a rule's conditions in words. */
const char *weir_rule_match(const struct weir_img *img, const struct weir_rule *r, char *buf, size_t size);
/* The ranges of an address list as strings, at most `most`. A new reference. */
json_t *weir_list_json(const struct weir_img *img, uint32_t list, size_t most);
/* Can one packet match both? May say yes in doubt. */
bool weir_rules_overlap(const struct weir_img *img, const struct weir_rule *a, const struct weir_rule *b);
/* What is known of the remote end and of the local process, for words. */
json_t *weir_worker_event_json(struct weir_worker *w, const struct weir_ev_verdict *ev);
