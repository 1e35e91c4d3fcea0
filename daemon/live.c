/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/live.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "daemon/live_rows.h"
#include "lib/event/event.h"
#include "lib/util/cleanup.h"

#define RED "\033[31m"
#define YELLOW "\033[33m"
#define BOLD "\033[1m"
#define DIM "\033[2m"
#define RESET "\033[0m"

#define SEEN 16384  /* slots that remember which rows were printed in a pipe */
#define AROUND 9    /* lines of a picture that are no rows */
#define WIDE 512    /* columns of a line without a terminal */
#define PRINTED 500 /* rows of the picture that a pipe begins with */

enum { C_PROGRAM, C_UNIT, C_DEST, C_PORT, C_BYTES, C_VERDICT, C_RULE, N_COLUMNS };

struct weir_live {
	struct weir_live_options o;
	struct weir_live_flow *flows;
	size_t n_flows, room, more_flows;
	int error; /* of weir_live_flow, which cannot tell it */
	int lines; /* of the picture that stands on the terminal */
	bool resized, printed;
	int widths[N_COLUMNS];
	uint64_t seen[SEEN];
};

int weir_live_new(const struct weir_live_options *o, struct weir_live **ret)
{
	struct weir_live *l = calloc(1, sizeof *l);

	if (!l)
		return -ENOMEM;
	l->o = *o;
	*ret = l;
	return 0;
}

void weir_live_free(struct weir_live *l)
{
	if (!l)
		return;
	free(l->flows);
	free(l);
}

void weir_live_resized(struct weir_live *l)
{
	l->resized = true;
}

void weir_live_flow(const struct weir_flow_key *k, const struct weir_flow *f, bool half, bool expired, void *data)
{
	struct weir_live *l = data;
	struct weir_live_flow *to;

	if (expired || (f->flags & WEIR_FF_ICMP_ERR))
		return;
	if (l->n_flows == WEIR_LIVE_FLOWS_MAX) {
		l->more_flows++;
		return;
	}
	if (l->n_flows == l->room) {
		size_t room = l->room ? l->room * 2 : 256;
		struct weir_live_flow *v = reallocarray(l->flows, room, sizeof *v);

		if (!v) {
			l->error = -ENOMEM;
			return;
		}
		l->flows = v;
		l->room = room;
	}
	to = &l->flows[l->n_flows++];
	*to = (struct weir_live_flow){
		.bytes = f->half[0].bytes + f->half[1].bytes, .epoch = f->epoch, .wanted_rule = f->wanted_rule,
		.enforced_rule = f->enforced_rule, .dir = f->dir, .wanted = f->wanted, .enforced = f->enforced,
		.wanted_reason = f->wanted_reason, .enforced_reason = f->enforced_reason,
		.fresh = !(f->flags & WEIR_FF_ADOPTED),
	};
	weir_flow_tuple(k, f->flags, &to->t);
}

/* A picture as it is written: lines are counted, and cut where the terminal ends. */
struct canvas {
	FILE *out;
	int width, lines;
	bool color, tty;
};

/* One line: plain text of any length, in one color. */
static void put_line(struct canvas *c, const char *color, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void put_line(struct canvas *c, const char *color, const char *fmt, ...)
{
	char text[WIDE * 2];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	while (n > 0 && n < (int)sizeof text && text[n - 1] == ' ')
		text[--n] = 0;
	if ((int)strlen(text) > c->width)
		strcpy(text + c->width - 2, "..");
	fprintf(c->out, "%s%s%s%s\n", c->color ? color : "", text, c->color && *color ? RESET : "",
		c->tty ? "\033[K" : "");
	c->lines++;
}

/* Loopback passes by failsafe: that it is not watched needs nobody's attention. */
static bool is_missing(const struct weir_kern_if *i)
{
	return !i->covered && strcmp(i->name, "lo");
}

static void put_interfaces(const struct weir_live_input *in, char *buf, size_t size)
{
	size_t watched = 0, not = 0, at;
	char text[160];

	for (size_t i = 0; i < in->n_ifs; i++) {
		watched += in->ifs[i].covered;
		not += is_missing(&in->ifs[i]);
	}
	at = (size_t)snprintf(buf, size, "%zu interface%s watched", watched, watched == 1 ? "" : "s");
	if (!not)
		return;
	at += (size_t)snprintf(buf + at, size - at, ", %zu not (", not);
	for (size_t i = 0, shown = 0; i < in->n_ifs && at < size; i++) {
		if (!is_missing(&in->ifs[i]))
			continue;
		if (shown++ == 2) {
			at += (size_t)snprintf(buf + at, size - at, ", ..");
			break;
		}
		at += (size_t)snprintf(buf + at, size - at, "%s%s", shown > 1 ? ", " : "",
				       weir_live_text(in->ifs[i].name, text, sizeof text));
		if (in->ifs[i].why[0] && at < size)
			at += (size_t)snprintf(buf + at, size - at, ": %s",
					       weir_live_text(in->ifs[i].why, text, sizeof text));
	}
	if (at < size)
		snprintf(buf + at, size - at, ") -> weir status");
}

static void put_head(struct canvas *c, const struct weir_live *l, const struct weir_live_input *in,
		     const struct weir_live_rows *r)
{
	char ifs[400];

	put_interfaces(in, ifs, sizeof ifs);
	if (in->mode == WEIR_PREVENT)
		put_line(c, BOLD, "weir %s  PREVENT: enforcing   %s", l->o.version, ifs);
	else
		put_line(c, BOLD, "weir %s  DETECT: watching only, nothing is blocked   %s", l->o.version, ifs);
	put_line(c, "", "%3zu program%s -> %zu destination%s   %s%s", r->programs, r->programs == 1 ? "" : "s",
		 r->destinations, r->destinations == 1 ? "" : "s",
		 r->open[0] ? "open to the world: " : "nothing is open to the world", r->open);
	put_line(c, "", "%s", "");
}

/* The texts of one row. */
struct cells {
	char text[N_COLUMNS][400];
	const char *color;
};

static const char *verdict_word(uint32_t v)
{
	return v == WEIR_PASS ? "allow" : v == WEIR_DROP ? "DROP" : "REJECT";
}

static void cell_dest(const struct weir_live_row *r, char *buf, size_t size)
{
	char addr[WEIR_ADDR_MAX], from[WEIR_ADDR_MAX], name[300];
	const char *arrow = r->dir == WEIR_DIR_IN ? "<-" : "->";

	weir_addr_text(r->far_end, addr);
	if (r->dir == WEIR_DIR_FWD)
		snprintf(buf, size, "%s -> %s", weir_addr_text(r->near_end, from), addr);
	else if (r->name[0])
		snprintf(buf, size, "%s %s (%s)", arrow, weir_live_text(r->name, name, sizeof name), addr);
	else if (weir_live_row_unresolved(r))
		snprintf(buf, size, "%s %s (no name seen)", arrow, addr);
	else
		snprintf(buf, size, "%s %s", arrow, addr);
}

static void cells_make(const struct weir_live_input *in, const struct weir_live_row *r, struct cells *c)
{
	char program[300], proto[8];

	if (r->dir == WEIR_DIR_FWD)
		snprintf(c->text[C_PROGRAM], sizeof c->text[0], "(forwarded)");
	else if (r->program[0])
		snprintf(c->text[C_PROGRAM], sizeof c->text[0], "~%s", weir_live_text(r->program, program, sizeof program));
	else
		snprintf(c->text[C_PROGRAM], sizeof c->text[0], "-");
	weir_live_text(r->unit[0] ? r->unit : "-", c->text[C_UNIT], sizeof c->text[0]);
	cell_dest(r, c->text[C_DEST], sizeof c->text[0]);
	if (r->proto == WEIR_IPPROTO_ICMP || r->proto == WEIR_IPPROTO_ICMPV6)
		snprintf(c->text[C_PORT], sizeof c->text[0], "%s", weir_proto_text(r->proto, proto));
	else
		snprintf(c->text[C_PORT], sizeof c->text[0], "%u/%s", r->port, weir_proto_text(r->proto, proto));
	weir_bytes_text(r->bytes, c->text[C_BYTES]);
	/* in prevent a verdict is a fact, unless its rule is staged */
	snprintf(c->text[C_VERDICT], sizeof c->text[0], "%s%s",
		 in->mode == WEIR_PREVENT && r->wanted != r->enforced ? "would " : "", verdict_word(r->wanted));
	weir_live_text(r->rule, c->text[C_RULE], sizeof c->text[0]);
	c->color = r->wanted == WEIR_PASS ? "" : in->mode == WEIR_PREVENT && r->wanted == r->enforced ? RED : YELLOW;
}

static const char *const titles[N_COLUMNS] = { "PROGRAM", "UNIT/USER", "-> NAME (ADDRESS)", "PORT", "BYTES", "WOULD BE",
					       "RULE" };

static void cells_line(struct canvas *c, const int *widths, const struct cells *cells)
{
	char line[WIDE * 2];
	size_t at = 0;

	for (int i = 0; i < N_COLUMNS; i++) {
		int w = widths[i], n = (int)strlen(cells->text[i]);
		char cut[WIDE];

		snprintf(cut, sizeof cut, "%s", cells->text[i]);
		if (n > w)
			snprintf(cut + w - 2, sizeof cut - (size_t)w + 2, "..");
		/* numbers stand to the right, under each other */
		at += (size_t)snprintf(line + at, sizeof line - at, i == C_BYTES ? "%s%*s" : "%s%-*s", i ? "  " : "", w, cut);
	}
	put_line(c, cells->color, "%s", line);
}

/*
 * As wide as what is in them. On a terminal the wide ones give way until all fit; in a pipe they leave room for
 * the lines that are still to come.
 */
static void widths_fit(int *w, int width, bool tty)
{
	static const int room[N_COLUMNS] = { 16, 16, 40, 9, 5, 8, 16 };
	static const int most[N_COLUMNS] = { 32, 32, 80, 13, 6, 12, 40 };
	static const int least[N_COLUMNS] = { 8, 6, 17, 8, 5, 8, 4 };
	static const int give[] = { C_RULE, C_UNIT, C_DEST, C_PROGRAM };
	int sum = 2 * (N_COLUMNS - 1);

	for (int i = 0; i < N_COLUMNS; i++) {
		w[i] = w[i] > most[i] ? most[i] : !tty && w[i] < room[i] ? room[i] : w[i];
		sum += w[i];
	}
	while (sum > width) {
		int widest = -1;

		for (size_t i = 0; i < sizeof give / sizeof *give; i++)
			if (w[give[i]] > least[give[i]] && (widest < 0 || w[give[i]] > w[widest]))
				widest = give[i];
		if (widest < 0)
			return; /* the line is cut where the terminal ends */
		w[widest]--;
		sum--;
	}
}

static int put_rows(struct canvas *c, struct weir_live *l, const struct weir_live_input *in,
		    const struct weir_live_rows *r, size_t n)
{
	_cleanup_free_ struct cells *cells = calloc(n + 1, sizeof *cells);

	if (!cells)
		return -ENOMEM;
	cells[0].color = DIM;
	for (int i = 0; i < N_COLUMNS; i++)
		snprintf(cells[0].text[i], sizeof cells->text[0], "%s",
			 i == C_VERDICT && in->mode == WEIR_PREVENT ? "VERDICT" : titles[i]);
	for (size_t i = 0; i < n; i++)
		cells_make(in, &r->v[i], &cells[i + 1]);
	memset(l->widths, 0, sizeof l->widths);
	for (size_t i = 0; i <= n; i++)
		for (int k = 0; k < N_COLUMNS; k++)
			if ((int)strlen(cells[i].text[k]) > l->widths[k])
				l->widths[k] = (int)strlen(cells[i].text[k]);
	widths_fit(l->widths, c->width, c->tty);
	for (size_t i = 0; i <= n; i++)
		cells_line(c, l->widths, &cells[i]);
	if (!r->n)
		put_line(c, "", "no connection at the moment; new ones appear here");
	if (r->n > n || l->more_flows)
		put_line(c, DIM, "and %zu more -> weir flows", r->n - n + l->more_flows);
	put_line(c, "", "%s", "");
	return 0;
}

/* What a person should ask about first: what would be stopped, else what has no name, else the largest. */
static const struct weir_live_row *first_of(const struct weir_live_rows *r)
{
	const struct weir_live_row *best = r->n ? &r->v[0] : NULL;

	for (size_t i = 0; best && best->wanted == WEIR_PASS && i < r->n; i++)
		if (weir_live_row_unresolved(&r->v[i]))
			return &r->v[i];
	return best;
}

static void put_foot(struct canvas *c, const struct weir_live_input *in, const struct weir_live_rows *r)
{
	const struct weir_live_row *first = first_of(r);
	char look[300] = "", why[WEIR_ADDR_MAX + 32] = "", end[WEIR_ADDR_MAX];
	size_t at = 0, stopped = 0;

	while (stopped < r->n && r->v[stopped].wanted != WEIR_PASS)
		stopped++;
	if (stopped)
		at += (size_t)snprintf(look + at, sizeof look - at, "   %zu that %s stopped", stopped,
				       in->mode == WEIR_PREVENT ? "is" : "would be");
	if (r->unresolved)
		at += (size_t)snprintf(look + at, sizeof look - at, "   %zu destination%s without a name", r->unresolved,
				       r->unresolved == 1 ? "" : "s");
	if (in->plain_dns)
		at += (size_t)snprintf(look + at, sizeof look - at, "   %llu plain DNS answer%s",
				       (unsigned long long)in->plain_dns, in->plain_dns == 1 ? "" : "s");
	if (r->databases)
		at += (size_t)snprintf(look + at, sizeof look - at, "   %zu database%s open to the world", r->databases,
				       r->databases == 1 ? "" : "s");
	if (in->lost)
		snprintf(look + at, sizeof look - at, "   %llu events lost", (unsigned long long)in->lost);
	if (look[0])
		put_line(c, YELLOW, "Look at this:%s", look);
	if (first && first->port && first->proto != WEIR_IPPROTO_ICMP && first->proto != WEIR_IPPROTO_ICMPV6)
		snprintf(why, sizeof why, "weir why %s   |   ", weir_addr_port_text(first->far_end, first->port, end));
	put_line(c, "", "Next:  %sweir events --follow   |   %s", why,
		 in->mode == WEIR_PREVENT ? "Ctrl-C keeps enforcing, weir flush removes" : "Ctrl-C leaves no trace");
}

/* True once for each id. The memory is bounded: what was pushed out may come again. */
static bool first_time(struct weir_live *l, uint64_t id)
{
	uint64_t *slot = &l->seen[id >> 1 & (SEEN - 1)];

	if (*slot == (id | 1))
		return false;
	*slot = id | 1;
	return true;
}

/*
 * Whether a row is to be printed now. Flows are heard of before the process is looked for: a row without one
 * waits for two pictures, in which it may turn out to be somebody's. What knocks in vain has nobody.
 */
static bool row_is_new(struct weir_live *l, const struct weir_live_row *r)
{
	uint64_t id = weir_live_row_id(r);

	if (l->printed && !r->program[0] &&
	    (r->dir == WEIR_DIR_OUT || (r->dir == WEIR_DIR_IN && r->wanted == WEIR_PASS)) &&
	    (first_time(l, id * 3 + 1) || first_time(l, id * 5 + 1)))
		return false;
	return first_time(l, id);
}

static int put_picture(struct canvas *c, struct weir_live *l, const struct weir_live_input *in,
		       const struct weir_live_rows *r, size_t n)
{
	int e;

	put_head(c, l, in, r);
	e = put_rows(c, l, in, r, n);
	if (e < 0)
		return e;
	put_foot(c, in, r);
	return 0;
}

/* Without a terminal: the whole picture, and from then on only what is new. */
static int print_new(struct canvas *c, struct weir_live *l, const struct weir_live_input *in,
		     const struct weir_live_rows *r)
{
	int e = 0;

	if (!l->printed)
		e = put_picture(c, l, in, r, r->n < PRINTED ? r->n : PRINTED);
	for (size_t i = 0; e >= 0 && i < r->n; i++) {
		struct cells cells;

		if (!row_is_new(l, &r->v[i]) || !l->printed)
			continue;
		cells_make(in, &r->v[i], &cells);
		cells_line(c, l->widths, &cells);
	}
	l->printed = true;
	return e;
}

/* In place: up over the last picture, over which the new one is written. */
static int redraw(struct canvas *c, struct weir_live *l, const struct weir_live_input *in,
		  const struct weir_live_rows *r, int height)
{
	size_t n = height > AROUND + 1 ? (size_t)(height - AROUND) : 1;
	int e;

	if (l->resized)
		fputs("\033[2J\033[H", c->out); /* lines may have been wrapped: where they stand is not known */
	else if (l->lines)
		fprintf(c->out, "\033[%dF", l->lines);
	l->resized = false;
	e = put_picture(c, l, in, r, n < r->n ? n : r->n);
	fputs("\033[J", c->out);
	l->lines = c->lines;
	return e;
}

int weir_live_draw(struct weir_live *l, const struct weir_live_input *in)
{
	_cleanup_free_ char *text = NULL;
	struct weir_live_rows r = { 0 };
	struct winsize ws = { 0 };
	struct canvas c = { .width = WIDE, .color = l->o.color, .tty = l->o.tty >= 0 };
	size_t size = 0;
	int e = l->error;

	if (!e)
		e = weir_live_rows_make(in, l->flows, l->n_flows, &r);
	c.out = e ? NULL : open_memstream(&text, &size);
	if (!e && !c.out)
		e = -ENOMEM;
	if (!e) {
		if (c.tty && (ioctl(l->o.tty, TIOCGWINSZ, &ws) < 0 || !ws.ws_col || !ws.ws_row))
			ws = (struct winsize){ .ws_row = 24, .ws_col = 80 };
		if (c.tty)
			c.width = ws.ws_col < 40 ? 40 : ws.ws_col > WIDE ? WIDE : ws.ws_col;
		e = c.tty ? redraw(&c, l, in, &r, ws.ws_row) : print_new(&c, l, in, &r);
		if (fclose(c.out))
			e = -ENOMEM;
	}
	/* at once: a picture written in pieces flickers */
	if (!e && size && (fwrite(text, 1, size, l->o.out) != size || fflush(l->o.out)))
		e = -EIO;
	weir_live_rows_free(&r);
	l->n_flows = l->more_flows = 0;
	l->error = 0;
	return e;
}
