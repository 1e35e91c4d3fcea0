/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which name was asked before an address was spoken to: learned from DNS answers that passed by. Bounded
 * (least recently used goes first), and only ever a hint for people: whoever can send this host a UDP packet
 * from port 53 can write here, so no verdict may depend on it.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEIR_NAMES_MAX 65536

struct weir_names;

struct weir_name {
	const char *name;  /* as asked, lowercase, \DDD for odd bytes; valid until the next call that learns */
	uint64_t learned;  /* seconds, the caller's clock */
	uint32_t ttl;      /* as the answer said, the smallest of the chain */
	bool expired;      /* at `now` */
};

int weir_names_new(size_t max, struct weir_names **ret);
void weir_names_free(struct weir_names *n);

/*
 * Learn from the payload of a UDP packet from port 53. Returns the number of addresses learned (0: nothing
 * in it for us, or there is no such name), -EBADMSG: not a sound DNS answer, or -ENOMEM.
 */
int weir_names_learn(struct weir_names *n, const uint8_t *payload, size_t len, uint64_t now);

/* 0, or -ENOENT: nobody asked for a name that led to this address. */
int weir_names_find(struct weir_names *n, const uint8_t addr[16], uint64_t now, struct weir_name *ret);
size_t weir_names_count(const struct weir_names *n);
