/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a policy file to an image, and back to words. Two steps: read (parse and check; the result is a
 * tree that remembers where everything stood) and compile (the tree, the overlay and this host's facts
 * become one flat image, core/image.h). Nothing here prints, and nothing here needs a right.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/event.h"
#include "core/image.h"
#include "lib/util/diag.h"

struct weir_img;    /* core/image_blob.h */
struct weir_policy; /* a file with its includes, read and checked */

/*
 * Read a file. Refuses, with place and reason, whatever is not a complete and meaningful policy; sizes,
 * depth and count are capped, special files refused. 0, -EINVAL (see diags), or another negative errno
 * (also told in diags). *ret untouched on failure.
 */
int weir_policy_read(const char *path, struct weir_policy **ret, struct weir_diags *diags);

/* The same without its files of addresses, which may be large: to be looked at, not to be compiled. */
int weir_policy_read_bare(const char *path, struct weir_policy **ret, struct weir_diags *diags);

/* The same from memory. `name` is shown in messages; includes are looked up beside `dir` (NULL: refused). */
int weir_policy_read_text(const char *name, const char *dir, const char *text, size_t len, struct weir_policy **ret,
			  struct weir_diags *diags);
struct weir_list_keep {
	const char *dir;
	const char *instead; /* why no file is even read where there is a copy; NULL: they are read */
};

/*
 * Both for a start, which must not lose a policy by one of its files of addresses: what cannot be read, or holds nothing
 * any more, is taken from the copy in `keep`; without a copy a broken file counts as empty. NULL: as above.
 */
int weir_policy_read_kept(const char *path, const struct weir_list_keep *keep, struct weir_policy **ret, struct weir_diags *diags);
int weir_policy_read_text_kept(const char *name, const char *dir, const char *text, size_t len,
			       const struct weir_list_keep *keep, struct weir_policy **ret, struct weir_diags *diags);
/* Place and reason of the first file that something older (or nothing) stands in for, and how many more there are (or NULL); NULL: none. */
const char *weir_policy_lists_stale(const struct weir_policy *p, uint32_t *ret_more);
/*
 * The copy of the i-th set's file, to be written as `name` into `dir`; *ret is malloced. -EALREADY: it is there, or the
 * set needs none; -ENOENT: there are not so many sets.
 */
#define WEIR_LIST_COPY_NAME 24
#define WEIR_LIST_EMPTY "holds no address any more: weir apply takes it"
int weir_policy_list_copy(const struct weir_policy *p, size_t i, const char *dir, char name[WEIR_LIST_COPY_NAME],
			  void **ret, size_t *ret_len);
/* Is this the name of the copy of a file that the policy names? */
bool weir_policy_list_named(const struct weir_policy *p, const char *name);
/*
 * The same text and includes again, as they were read, with the files of addresses as they stand now. What cannot be
 * read, or holds nothing any more, stays as it is in `p`: see weir_policy_lists_stale. `held`, beside the sets of `p`, or
 * NULL: those that are not NULL are not read; they stay, too, and the text, unless it is empty, says why.
 */
int weir_policy_again(const struct weir_policy *p, const char *const *held, struct weir_policy **ret,
		      struct weir_diags *diags);
size_t weir_policy_sets(const struct weir_policy *p);
/* The file of the `i`th set, if it is another one than was read, or if something older stands in for it; else NULL. */
const char *weir_policy_list_changed(const struct weir_policy *p, size_t i);
/*
 * A number for the state of all files of addresses (which files they are, their sizes, when they were written): as they
 * were read, and as they stand now. 0: the policy names none.
 */
uint64_t weir_policy_files_read(const struct weir_policy *p);
uint64_t weir_policy_files_now(const struct weir_policy *p);
void weir_policy_free(struct weir_policy *p);
#define _cleanup_policy_ __attribute__((cleanup(weir_policy_freep)))
static inline void weir_policy_freep(struct weir_policy **p)
{
	weir_policy_free(*p);
}

enum weir_mode weir_policy_mode(const struct weir_policy *p);
/* Does it enforce a default of drop or reject, unless a ceiling softens it? */
bool weir_policy_shuts(const struct weir_policy *p);
const uint8_t *weir_policy_digest(const struct weir_policy *p); /* SHA-256 of the file and its includes */
const char *weir_policy_text(const struct weir_policy *p, size_t *ret_len); /* of the file itself */
bool weir_policy_alone(const struct weir_policy *p); /* it includes no file; sets may be read from some */
const uint8_t *weir_policy_lists_digest(const struct weir_policy *p); /* the same of the files that its sets are read from; zero: none */
/* Built-in failsafe entries that the policy removes: their number, at most n names. Applying wants a console. */
size_t weir_policy_failsafe_removed(const struct weir_policy *p, const char **ret_names, size_t n);

/* One rule of the overlay: kept by the daemon, evaluated before the file's rules. */
struct weir_overlay_rule {
	uint32_t id;	  /* never reused */
	char *json;	  /* the rule as a JSON object in the policy language: {"name":..,"action":..,"from":..} */
	uint64_t expires; /* unix seconds; 0 = never */
	char *why;	  /* a person's reason; NULL: none */
	bool unfit;	  /* the policy at hand has no place for it: left out, where nobody asks for all */
};

/* An edit of a set of the file: `weir set add|remove`. */
struct weir_set_edit {
	char *set;     /* name without $ */
	char *element; /* address, CIDR or range, as weir_policy_element has it */
	bool remove;
};

struct weir_overlay {
	struct weir_overlay_rule *rules;
	size_t n_rules;
	struct weir_set_edit *edits; /* in order */
	size_t n_edits;
};

/* Check one overlay rule as the file's rules are checked (against the sets of p). Messages name the key. */
int weir_policy_check_rule(const struct weir_policy *p, const char *json, struct weir_diags *diags);

/* Check one edit: the set is there, the element is an address, CIDR or range. */
int weir_policy_check_edit(const struct weir_policy *p, const char *set, const char *element, bool remove,
			   struct weir_diags *diags);

/* The one way to write an element: 192.0.2.7 for 192.0.2.7/32. What is no element stays as it is. Into buf, or `text`. */
#define WEIR_ELEMENT_SIZE 96
const char *weir_policy_element(const char *text, char buf[static WEIR_ELEMENT_SIZE]);

/* What this host adds when a policy is compiled. Everything may be zero: then it is an offline check. */
struct weir_compile_options {
	uint32_t generation, epoch;
	enum weir_mode mode_ceiling; /* of the command line or `weir mode`; WEIR_PREVENT = no ceiling */
	const char **session_addrs;  /* failsafe sshd: remote addresses of login sessions (v6: as /64) */
	size_t n_session_addrs;
	const uint16_t *sshd_ports; /* ports that sshd listens on here */
	size_t n_sshd_ports;
	const struct weir_overlay *overlay; /* NULL: none */
	const uint64_t *block_key;	    /* two secret numbers; NULL: where nobody can aim at what is built */
	uint32_t simulate; /* bit per enum weir_failure: for drills */
	bool disk_full;	   /* the audit log cannot be written: failures.audit_full counts */
	bool unfit;	   /* rules that are noted as unfit count, too: who asks for this policy is told what does not fit */
	bool late;	   /* with places for rules that come while it is in force */
	bool any_memory;   /* also where it needs more than performance.max_memory_mb */
	bool management;   /* nothing but management access: ssh is open to everybody */
	uint32_t cpus;	   /* that this machine may have: what each of them counts takes memory; 0: one */
};

/* Compile. *ret_blob is malloced (8-aligned) and owned by the caller. */
int weir_policy_compile(const struct weir_policy *p, const struct weir_compile_options *o, void **ret_blob,
			uint32_t *ret_size, struct weir_diags *diags);

/*
 * What a rule without a name is known by from one text to the next, by the name that it got ("rule at policy.yaml:26"); 0: it
 * has one of its own, or is none of this policy (NULL: none is). *at: the place to look first; where it was.
 */
uint64_t weir_policy_said(const struct weir_policy *p, const char *name, size_t *at);

/* The ranges of a set with its edits, in order. -ENOENT: there is no such set. */
int weir_policy_set_each(const struct weir_policy *p, const struct weir_overlay *o, const char *set,
			 void (*cb)(const char *range, void *data), void *data);

/* The name of the `i`th set among what no blocklist stops, without the $; NULL: there are not so many. */
const char *weir_policy_excepted(const struct weir_policy *p, size_t i);

/* How much of each element a set holds, edits (NULL: none) included. -ENOENT, -EINVAL: no such set, no element. */
enum weir_held { WEIR_HELD_NOT, WEIR_HELD_PARTLY, WEIR_HELD_ALL };
int weir_policy_set_holds(const struct weir_policy *p, const struct weir_overlay *o, const char *set,
			  const char *const *elements, size_t n, enum weir_held *ret);

/* What the image's maps take of the kernel's memory; their names, and words for people. core/memory.h */
struct weir_memory;
void weir_memory_image(const struct weir_img *img, uint32_t cpus, struct weir_memory *ret);
extern const char *const weir_memory_names[], *const weir_memory_words[];

/* Give a blob that was changed its digest. */
void weir_image_seal(void *blob, size_t size);

/* Shadowed and ineffective rules: warnings in diags. Returns the number of findings or negative errno. */
int weir_policy_lint(const struct weir_policy *p, const struct weir_compile_options *o, struct weir_diags *diags);

/* A packet as a user describes it: 'tcp 10.0.0.1:4000 > 10.0.0.2:1500 inbound on eth0 vlan 10'. */
struct weir_packet_spec {
	struct weir_tuple t;
	uint8_t proto, family, dir; /* dir: WEIR_DIR_*; default inbound */
	uint8_t icmp_type, icmp_code, has_icmp, ttl, frag;
	char in_if[16], out_if[16];
	uint16_t vlan[2];
	uint8_t mac[6], has_mac;
	uint32_t mark, has_mark;
	uint32_t minute, has_minute; /* of the local week, see core/clock.h */
};
int weir_packet_parse(const char *text, struct weir_packet_spec *ret, struct weir_diags *diags);

/* Facts as the kernel would gather them, pattern bits filled from the image. */
void weir_packet_facts(const struct weir_img *img, const struct weir_packet_spec *s, struct weir_facts *ret);

/* The whole evaluation on the image, with the very code that the kernel runs. `banned`: the ban map's answer. */
void weir_packet_judge(const struct weir_img *img, const struct weir_facts *f, bool banned, struct weir_result *ret);
/* The same of a conversation that lives: what the failsafe lets out as an answer keeps it, too. */
void weir_flow_judge(const struct weir_img *img, const struct weir_facts *f, bool banned, struct weir_result *ret);

/* The numbered steps of SCREENS: one line a step. */
int weir_explain(FILE *out, const struct weir_img *img, const struct weir_packet_spec *s, bool color);
/* The same as a malloced JSON object. */
char *weir_explain_json(const struct weir_img *img, const struct weir_packet_spec *s);
/* The shortest command that would let a packet by that is denied so, without a newline. -ENOENT: no command does. */
int weir_packet_fix(FILE *out, const struct weir_img *img, const struct weir_packet_spec *s, const struct weir_result *r);
/* The rule of such a command. `before`: the added rule that it must stand before, or 0. `narrow`: both ends, for an hour. */
int weir_fix_rule(FILE *out, const struct weir_packet_spec *s, unsigned before, bool narrow);

/* "rule 'web' (policy.yaml:26)", "default inbound", "failsafe 'ssh'", "blocklist $bad", ... into buf. */
const char *weir_rule_label(const struct weir_img *img, uint32_t rule, uint32_t reason, char *buf, size_t size);
/* Only the name ("web", "default inbound", "blocklist $bad") and only the place ("policy.yaml:26", "overlay 42", ""). */
const char *weir_rule_name(const struct weir_img *img, uint32_t rule, char *buf, size_t size);
const char *weir_rule_place(const struct weir_img *img, uint32_t rule, char *buf, size_t size);
bool weir_limit_of_rule(const struct weir_img *img, uint32_t rule); /* a limit of what one rule lets in: its place is the rule's */
/* "$bad", the set of the blocklist that `rule` means, or NULL: it means none, or not a single one. */
const char *weir_blocklist_name(const struct weir_img *img, uint32_t rule);
const char *weir_reason_name(uint32_t reason);
const char *weir_verdict_name(uint32_t verdict); /* pass, drop, reject */
const char *weir_mode_name(uint32_t mode);	 /* detect, prevent */
/* Words of a limit: "source", "packets", "10000/s". */
const char *weir_limit_per_name(uint32_t per);
const char *weir_limit_count_name(uint32_t count);
const char *weir_limit_rate_text(const struct weir_limit *l, char *buf, size_t size);
const char *weir_limit_text(const struct weir_limit *l, char *buf, size_t size); /* of a rule: "10/m connections per source at most" */
/* "1h": seconds in the largest unit that holds them exactly, as the policy takes them. */
const char *weir_seconds_text(uint32_t seconds, char *buf, size_t size);
/* Bounds of a flow in words: "for 1h at most, 1000000 bytes at most"; 0: that one is not there; "" without any. */
const char *weir_bounds_text(uint32_t max_duration, uint32_t idle, uint64_t max_bytes, char *buf, size_t size);
#define WEIR_BOUNDS_TEXT 192
/* What a rule says besides its conditions: its limit and its bounds, or how long it bans. */
const char *weir_rule_more(const struct weir_img *img, const struct weir_rule *r, char *buf, size_t size);
/* The key of a failure ("daemon_dead"), and what was chosen for it ("keep"); NULL: there is none. */
const char *weir_failure_name(uint32_t failure);
const char *weir_failure_choice(uint32_t failure, uint32_t choice);
/* Names of failures, separated by commas, as bits. -EINVAL: *ret_bad is the one that is none. */
int weir_failures_parse(const char *text, uint32_t *ret, char *ret_bad, size_t bad_size);

/* JSON Schema (draft 2020-12) of the policy file and the Markdown reference, both from the walker's table. */
void weir_policy_schema(FILE *out);
void weir_policy_reference(FILE *out);

/* `weir show effective`: the policy as compiled, failsafe included, as commented YAML. */
void weir_policy_show_effective(FILE *out, const struct weir_img *img);

/* `weir init --profile`: commented YAML. -ENOENT for an unknown profile. Names: NULL-terminated. */
int weir_policy_profile(FILE *out, const char *profile);
extern const char *const weir_policy_profiles[];

/* Overlay rules as YAML: `weir rule export`. */
int weir_policy_export(FILE *out, const struct weir_overlay *o);

/* What `weir run` uses when there is no policy at all: detect, inbound drop, outbound allow. */
extern const char weir_policy_builtin[];
/* What it uses when there was a policy and none can be read (failures.no_policy); compiled with `management`. */
extern const char weir_policy_management[];
