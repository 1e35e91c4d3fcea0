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
#include "daemon/worker/failures.h"
#include "daemon/worker/port.h"
#include "daemon/worker/rates.h"
#include "daemon/worker/recent.h"
#include "daemon/worker/server.h"
#include "lib/event/audit.h"
#include "lib/host/names.h"
#include "lib/sandbox/sandbox.h"
#include "lib/policy/policy.h"
#include "lib/state/bans.h"
#include "lib/state/history.h"
#include "lib/state/origin.h"
#include "lib/state/overlay.h"

struct weir_worker_options {
	const char *config_dir, *runtime_dir, *state_dir, *log_dir;
	const char *state_name, *log_name; /* the same two as people know them; NULL: the same words */
	const char *policy;  /* of the command line, or NULL */
	bool has_mode;
	enum weir_mode mode; /* ceiling of the command line */
	const char *cause;   /* why the worker before this one ended; NULL: there was none */
	bool resume;         /* after a crash: what is in force goes on, whatever a start would take */
	struct weir_helper *helper; /* stays the caller's; NULL: its work is done in this process */
	uint32_t simulate;   /* bit per enum weir_failure */
	uint32_t cpus;       /* that the machine may have */
};

/* What `stop` and `flush` ask of the one who runs the worker. */
enum weir_end { WEIR_END_NONE, WEIR_END_STOP, WEIR_END_FLUSH };

/* A policy with all that belongs to it: what a change that waits goes back to. */
struct weir_stand {
	struct weir_policy *policy;
	enum weir_policy_source source;
	char path[PATH_MAX];
	bool has_ceiling;
	enum weir_mode ceiling;
	void *blob;
	struct weir_img img;
	uint32_t generation, epoch;
	json_t *hits, *hits_then; /* of images before; with its own until the change */
};

/* A change in force that waits for its confirmation. */
struct weir_pending {
	bool on;
	uint64_t deadline;  /* ns since boot: then it goes back by itself */
	uint64_t since;     /* ns since boot: it (or what took its place) was put in force */
	uint32_t span;      /* seconds that were given */
	int boot;           /* once it is confirmed: what the next start takes, WEIR_SOURCE_FILE or SAVED; -1: as before */
	bool mode;          /* once it is confirmed: the ceiling is kept for the next start */
	bool rollback;      /* it is an earlier one again */
	struct weir_stand back;
	struct weir_session from[WEIR_SESSIONS_MAX]; /* over which connections it was asked for */
	int n_from;
};

struct weir_worker {
	struct weir_worker_options o;
	struct weir_port *port;
	struct weir_helper *helper, *own_helper; /* the second: where no other is */
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
	uint32_t epoch_max;        /* never used again */
	bool seeded;
	uint64_t block_key[2];     /* of what the blocklists hold: nobody can aim at one of its lines */
	struct weir_pending pending;
	struct weir_history history;
	json_t *hits;              /* of images before: "rule" -> packets */
	struct weir_recent recent;
	struct weir_rates rates;
	uint64_t ticks;
	uint64_t expire_again;     /* unix seconds: not before this */

	uint64_t boot_ns, started; /* unix ns of boot; unix seconds */
	uint64_t plain_dns;
	char notes[5][256];        /* what was found damaged at the start, or went otherwise than asked; "" = nothing */
	char bans_why[128];        /* why a kept ban is not in force; "" = all are */
	struct {
		uint64_t seen, tried; /* how the files of addresses stood at the last look; when they were read last */
		uint64_t retry;       /* tick of the next try, though they stand as they did when they could not be taken */
		uint32_t delay;       /* ticks from one such try to the next */
		struct weir_list_keep keep; /* for a start */
		char instead[160];    /* in it */
		bool reading;         /* noted on disk: if this process dies of it, the next ones are told */
		bool starting;        /* a file that is broken does not take the policy away: the copy of its list counts */
		bool standing;        /* that holds for the policy of what is still enforced, too */
		uint64_t kept;        /* how they stood when copies were made; 0: not yet */
		uint64_t keep_again;  /* unix seconds: not before this */
		bool again;           /* they changed while no worker looked, and are not in force yet */
		uint64_t latest;      /* tick at which they are read although somebody goes on writing */
		char why[640];        /* why they are not in force; "" = they are */
	} lists;
	uint64_t lines_edited;     /* of what the blocklists hold, since all was compiled (late.c) */
	uint64_t late_since;       /* the tick of the last rule that came or went (late.c) */
	char late_why[256];        /* why they could not be compiled with all; "" = they could */
	bool late;                 /* rules came or went since all was compiled */
	bool taken;                /* the image in force was not compiled by this worker out of what it has read */
	char audit_why[128];       /* why the audit log cannot be written; "" = it can */
	bool saved_copy;           /* the boot order took, or tried, the copy of what was confirmed last */
	struct weir_failing failing;
	enum weir_end end;
	const struct weir_sandbox *sandbox; /* how this process stands; NULL: no process of its own */
	void (*on_end)(void *data);
	void *on_end_data;
};

/* Opens state and audit log, reads the policy of the boot order. On failure `why` or diags say it. */
int weir_worker_open(const struct weir_worker_options *o, struct weir_port *p, struct weir_worker **ret,
		     struct weir_diags *diags, char *why, size_t why_size);
/* The interfaces are known: seed, compile, install, bans. */
int weir_worker_start(struct weir_worker *w, struct weir_diags *diags, char *why, size_t why_size);
int weir_worker_listen(struct weir_worker *w, struct weir_loop *l, int fd); /* takes the fd */
void weir_worker_free(struct weir_worker *w);

void weir_worker_event(const struct weir_event *ev, void *data); /* data: the worker */
/* What the kernel wrote until now, as much as a ring holds: a question is answered, and an image left, after it. */
void weir_worker_catch_up(struct weir_worker *w);
void weir_worker_tick(struct weir_worker *w);                    /* once a second */

/* Who asks for a change. It must not cut him off, unless he says so. */
struct weir_caller {
	uid_t uid;
	pid_t pid;
	bool force;
	bool known;      /* the sessions are filled in */
	struct weir_session from[WEIR_SESSIONS_MAX];
	int n_from;      /* 0: a local console */
	/* filled by the check */
	char hint[256];  /* of a refusal */
	char words[256]; /* how his session fares */
};

/* One change of what is in force: what is NULL or unset stays. */
struct weir_change {
	struct weir_policy *policy;               /* taken over on success */
	struct weir_policy *back;                 /* so is this, for what a change that waits goes back to; NULL: as it is */
	const struct weir_overlay_store *overlay; /* only read */
	bool set_ceiling;                         /* has_ceiling and ceiling count */
	bool has_ceiling;
	enum weir_mode ceiling;
	bool new_generation;                      /* a change of policy or mode, not an edit */
	uint32_t generation;                      /* of a restart: the number that it has; 0: the next one */
	/* with new_generation */
	const char *path;                         /* where the policy came from; NULL: as before */
	enum weir_policy_source source;
	uint32_t confirm_s;                       /* goes back by itself after that time; 0: it stays */
	int boot;                                 /* as in struct weir_pending */
	bool keep_mode, rollback;
	struct weir_caller *by;                   /* whose session must live; NULL: weir itself */
	bool whole;                               /* compile all of it, even where a part would do */
	bool any_memory;                          /* more than performance.max_memory_mb, too */
	/* filled on success */
	uint32_t ms, added, removed;              /* compile time; rules */
	uint32_t killed;                          /* conversations that were ended (established: kill) */
};

/* Compile and put in force; all or nothing. -EINVAL: diags say what; otherwise why does. */
int weir_worker_put(struct weir_worker *w, struct weir_change *c, struct weir_diags *diags, char *why,
		    size_t why_size);
/* What is in force counts as this from now on; the next worker reads it in the history. */
void weir_worker_source(struct weir_worker *w, enum weir_policy_source source);
/* The index in the image in force of an added rule, or n_rules. */
uint32_t weir_worker_rule_at(const struct weir_worker *w, uint32_t id);
/*
 * At a start that could not be put in force, as `r` says: without added rules that do not fit the policy, if there are any.
 * They may name what the policy has no more: an include was edited and never applied, or another policy stands in
 * for one that cannot be read. They must not keep the rest from standing; status names them. And what was in force before
 * counts whatever memory it takes by now: lists grew, addresses and rules were added where there was room for them.
 */
bool weir_worker_unfit(struct weir_worker *w); /* notes which those are that are not in force: any? */
int weir_worker_put_fitting(struct weir_worker *w, struct weir_change *c, int r, struct weir_diags *diags, char *why,
			    size_t why_size);
/* Put in force and save an edited overlay; takes it over on success. `by` may be NULL. */
int weir_worker_overlay(struct weir_worker *w, struct weir_overlay_store *edited, struct weir_caller *by,
			struct weir_diags *diags, char *why, size_t why_size);
/* Compile as of now, with a number of its own. `of` NULL: what is in force; else that one. */
struct weir_image {
	void *blob;
	uint32_t size;
	struct weir_img img;
};
int weir_worker_compile(struct weir_worker *w, const struct weir_stand *of, const struct weir_change *c,
			struct weir_image *ret, struct weir_diags *diags, char *why, size_t why_size);
/* This is in force now; takes both over. `policy` NULL: as before. */
void weir_worker_stand(struct weir_worker *w, struct weir_policy *policy, struct weir_image *m);
void weir_stand_clear(struct weir_worker *w); /* nothing waits any more */
/* Words for the recent records, as long as the image that explains them is there. */
void weir_recent_settle(struct weir_worker *w);

/* pending.c: what waits. */
/* Before it is in force: a line of the history with its text, and, for a change that waits, the note of it. */
int weir_history_note(struct weir_worker *w, const struct weir_change *c, const struct weir_img *img, char *why,
		      size_t why_size);
/* After it: how those before it ended. */
void weir_history_settle(struct weir_worker *w, bool rollback);
/* A generation's policy, whole and unchanged, as it was kept; `why` says why not. */
int weir_history_policy(const struct weir_worker *w, const struct weir_gen *g, struct weir_policy **ret,
			struct weir_diags *diags, char *why, size_t why_size);
/*
 * What was found at the start: a change that waits, or was decided meanwhile. 1: both its policies are in force again;
 * 2: the policy to start with, and its generation, are those of w now; 0: nothing was found.
 */
int weir_pending_resume(struct weir_worker *w, struct weir_diags *diags, char *why, size_t why_size);
/* The change in force is there to stay: the next start may take it. `why` says what could not be written. */
int weir_pending_final(struct weir_worker *w, int boot, bool keep_mode, char *why, size_t why_size);
int weir_pending_final_again(struct weir_worker *w); /* what could not be written then */
int weir_pending_save(const struct weir_worker *w);
void weir_pending_forget(const struct weir_worker *w); /* all that was to be written down is */
uint64_t weir_pending_span(const struct weir_pending *p); /* ns that were given */
/* When the change that took force a moment ago goes back: the kernel started its clock, so the kernel is asked. */
void weir_pending_clock(struct weir_worker *w);
/* -ENOENT: nothing waits (any more). *ret_killed: as in struct weir_change. */
int weir_pending_confirm(struct weir_worker *w, uint32_t *ret_killed, char *why, size_t why_size);
int weir_pending_revert(struct weir_worker *w);
void weir_pending_tick(struct weir_worker *w);
/* Does what is in force, or what it would go back to, stop anything? */
bool weir_worker_enforces(const struct weir_worker *w);

/* lockout.c: would this cut the caller off? -EPERM: `why` says how, c->hint what to do. */
int weir_lockout_sessions(struct weir_worker *w, struct weir_caller *c, char *why, size_t why_size);
int weir_lockout_check(struct weir_worker *w, const struct weir_img *img, const struct weir_ban_key *ban,
		       struct weir_caller *c, char *why, size_t why_size);
/* Was somebody let in since the change? 2: from where it was asked for, 1: from elsewhere, 0: nobody. */
int weir_lockout_seen(struct weir_worker *w);
/* "ssh from 192.0.2.1" */
const char *weir_session_words(const struct weir_session *s, char *buf, size_t size);

/* lists.c: read the files of addresses again when they have changed. */
void weir_lists_tick(struct weir_worker *w);
/* In the history, which the caller saves: of which lists, and read from where, that is which is in force. */
void weir_lists_note(struct weir_worker *w);
/* At a start: the policy has the text of the generation that goes on, but files beside it that are others. */
bool weir_lists_elsewhere(const struct weir_worker *w);
/* Another policy is in force: how its files stood for the one before says nothing. */
void weir_lists_exchanged(struct weir_worker *w);
/* What is in force was made before its policy was read, maybe: are the lists those that it was made of? */
void weir_lists_came_back(struct weir_worker *w);
/* Before they are read, and after: two deaths in between, and a start takes copies. */
void weir_lists_begin(struct weir_worker *w);
void weir_lists_end(struct weir_worker *w);
/* Say so when the policy in force was read with a copy of a list. */
void weir_lists_stale(struct weir_worker *w);

/*
 * late.c: a change of one rule of the overlay, without compiling the others. -EAGAIN: it takes more than that; another
 * errno: refused, `why` says it.
 */
int weir_late_try(struct weir_worker *w, struct weir_change *c, char *why, size_t why_size);
/*
 * The same for files of addresses: `p` is the policy in force, with the files as they stand now. 0: it is in force, and taken;
 * -EAGAIN: all has to be compiled.
 */
int weir_late_files(struct weir_worker *w, struct weir_policy *p);
void weir_late_tick(struct weir_worker *w); /* the others, when there is time for it */

/* cut.c: around what an edit puts in force and writes down; and what becomes of one in the midst of which a worker died. */
void weir_edit_begin(const struct weir_worker *w);
void weir_edit_end(const struct weir_worker *w);
void weir_edit_cut(struct weir_worker *w);

/* kill.c: end the conversations that what is in force denies, when the policy says so. Returns how many. */
uint32_t weir_worker_kill(struct weir_worker *w);
/* Facts of a conversation that lives. */
void weir_flow_facts_of(struct weir_worker *w, const struct weir_img *img, const struct weir_flow_key *k,
			const struct weir_flow *f, struct weir_facts *ret);
/* Does a rule stand before the verdict of which nobody knows any more whether it holds? */
bool weir_flow_hangs_on_unknown(const struct weir_img *img, const struct weir_facts *f, const struct weir_result *res);
/* Tell the kernel all bans by persons; others go. */
int weir_worker_bans(struct weir_worker *w);
/* The ban by a person that covers the address, or NULL; until the next change of the bans. */
const struct weir_ban_key *weir_worker_ban(const struct weir_worker *w, const uint8_t addr[16]);
bool weir_worker_banned(const struct weir_worker *w, const struct weir_ban_key *also, const uint8_t addr[16]);

/* Is the policy at hand the one that is in force? After a crash that one may not be to be had. */
bool weir_worker_has_policy(const struct weir_worker *w);
enum weir_mode weir_worker_mode(const struct weir_worker *w);      /* effective */
enum weir_mode weir_worker_requested(const struct weir_worker *w); /* what was asked for last */
/* Keep a copy of the policy in force for the next start. Includes and list files are still read where they stand. */
int weir_worker_keep(struct weir_worker *w);
/* Puts the name of the state directory that people know into a text that names it otherwise. */
void weir_worker_known(const struct weir_worker *w, char *text, size_t size);
/* A policy's text as if it stood at path: its includes and lists are looked for there. */
int weir_worker_text_read(const struct weir_worker *w, const char *path, const char *text, size_t len,
			  struct weir_policy **ret, struct weir_diags *diags);
/* Where copies of lists may be taken from: while it starts; NULL: from nowhere. */
const struct weir_list_keep *weir_worker_kept_lists(const struct weir_worker *w);
/* Note what is in force, for the next start: number, digest, whether a boot needs the guard. */
int weir_worker_remember(struct weir_worker *w);
/* "", or how the policy on disk differs from the one in force. */
const char *weir_worker_drift(const struct weir_worker *w, char *buf, size_t size);
/* Packets by the counters of the image in force (core/image.h), with those of the same rule in earlier images. */
void weir_worker_hits(struct weir_worker *w, uint64_t *ret, size_t counters);
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
