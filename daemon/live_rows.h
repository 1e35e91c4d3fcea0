/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of the live view: conversations of one program with one far end on one port, added up. Flows of the
 * kernel and sockets that exist are told apart by their tuple: a flow is the better witness, a socket stands in
 * for it as long as no packet of it has passed. Private to the live view.
 */
#pragma once
#include "daemon/live.h"

#define WEIR_LIVE_FLOWS_MAX 32768 /* of one picture; more are counted */

/* What is kept of a flow until the picture is drawn. */
struct weir_live_flow {
	struct weir_tuple t;
	uint64_t bytes;
	uint32_t epoch, wanted_rule, enforced_rule;
	uint8_t dir, wanted, enforced, wanted_reason, enforced_reason;
	bool fresh; /* began under our eyes: its name should have passed by */
};

struct weir_live_row {
	/* what makes a row one */
	char program[64], unit[64]; /* raw; program "" when no process is known */
	uint8_t near_end[16];       /* of a forwarded conversation its source, else zero */
	uint8_t far_end[16];
	uint16_t port;
	uint8_t proto, dir;
	/* what is told about it */
	uint8_t wanted, enforced;
	bool fresh;
	uint64_t bytes;
	char name[256];             /* asked before; raw */
	char rule[128];             /* raw */
};

struct weir_live_rows {
	struct weir_live_row *v; /* what would be stopped first, then by bytes */
	size_t n;
	size_t programs, destinations, unresolved, databases;
	char open[512]; /* "sshd:22  nginx:80": what listens to the world; escaped */
};

int weir_live_rows_make(const struct weir_live_input *in, const struct weir_live_flow *flows, size_t n_flows,
			struct weir_live_rows *ret);
void weir_live_rows_free(struct weir_live_rows *r);

/* An outbound row to a public address that no DNS answer led to while we watched. */
bool weir_live_row_unresolved(const struct weir_live_row *r);
/* Which row it is: equal for the same conversation in two pictures. */
uint64_t weir_live_row_id(const struct weir_live_row *r);
/* Raw text for a screen: escaped, ASCII only, for columns are counted in bytes. */
char *weir_live_text(const char *raw, char *buf, size_t size);
