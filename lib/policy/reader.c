/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libyaml's events to a tree. Never its document interface: that one is quadratic on nested input, while
 * events with a cap on the depth end early. JSON is read by the same code, as YAML.
 */
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <yaml.h>

#include "lib/policy/node.h"
#include "lib/policy/spec.h"
#include "lib/util/cleanup.h"
#include "lib/util/text.h"

struct reader {
	struct weir_arena *arena;
	const struct weir_source *source;
	struct weir_diags *diags;
	yaml_parser_t yaml;
	uint32_t nodes;
	unsigned depth;
	bool marked; /* it begins with `---` */
	struct weir_node *open[WEIR_DEPTH_MAX + 1]; /* the list or map at each depth; [0] holds the root */
	struct weir_node *last[WEIR_DEPTH_MAX + 1]; /* its youngest child */
	struct weir_node *key[WEIR_DEPTH_MAX + 1];  /* a key that waits for its value */
};

static struct weir_diag *fail(struct reader *r, const yaml_mark_t *m, unsigned len, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static struct weir_diag *fail(struct reader *r, const yaml_mark_t *m, unsigned len, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	return weir_source_diag(r->diags, WEIR_ERROR, r->source, (unsigned)m->line + 1, (unsigned)m->column, len, "%s",
				text);
}

/* Before libyaml sees it: well-formed UTF-8 and no byte that could make what is read differ from what is seen. */
static int check_bytes(struct weir_diags *diags, const struct weir_source *s)
{
	unsigned line = 1, col = 0;

	for (size_t i = 0; i < s->len;) {
		size_t n = weir_text_plain(s->text + i, s->len - i);
		uint32_t rune = 0;
		bool crlf;

		col += (unsigned)n;
		i += n;
		if (i == s->len)
			break;
		n = weir_utf8_next(s->text + i, s->len - i, &rune);
		crlf = rune == '\r' && i + 1 < s->len && s->text[i + 1] == '\n';
		if (!n) {
			weir_source_diag(diags, WEIR_ERROR, s, line, col, 1, "byte 0x%02x is not UTF-8",
					 (unsigned char)s->text[i]);
			return -EINVAL;
		}
		if (rune == 0xfeff && i == 0) {
			weir_source_diag(diags, WEIR_ERROR, s, 1, 0, 1, "a byte order mark (U+FEFF)");
			return -EINVAL;
		}
		if (rune != '\n' && rune != '\t' && !crlf && weir_rune_hostile(rune)) {
			weir_source_diag(diags, WEIR_ERROR, s, line, col, 1, "control character U+%04X", rune);
			return -EINVAL;
		}
		col = rune == '\n' ? 0 : col + 1;
		line += rune == '\n';
		i += n;
	}
	return 0;
}

/* The core schema of YAML 1.2, section 10.3.2. */
static enum weir_scalar resolve(const char *s)
{
	const char *d = s + (*s == '-' || *s == '+');
	bool digits, dot = false;

	if (!*s || strchr("~nNtTfF+-.0123456789", *s) == NULL)
		return *s ? WEIR_STRING : WEIR_NULL;
	if (!strcmp(s, "~") || !strcmp(s, "null") || !strcmp(s, "Null") || !strcmp(s, "NULL"))
		return WEIR_NULL;
	for (const char *const *w = (const char *const[]){ "true", "True", "TRUE", "false", "False", "FALSE", NULL };
	     *w; w++)
		if (!strcmp(s, *w))
			return WEIR_BOOL;
	if (s[0] == '0' && (s[1] == 'x' || s[1] == 'o') && s[2])
		return s[2 + strspn(s + 2, s[1] == 'x' ? "0123456789abcdefABCDEF" : "01234567")] ? WEIR_STRING
												 : WEIR_INT;
	if (!strcmp(d, ".inf") || !strcmp(d, ".Inf") || !strcmp(d, ".INF") || !strcmp(s, ".nan") ||
	    !strcmp(s, ".NaN") || !strcmp(s, ".NAN"))
		return WEIR_FLOAT;
	digits = isdigit((unsigned char)*d) || (*d == '.' && isdigit((unsigned char)d[1]));
	if (!digits)
		return WEIR_STRING;
	d += strspn(d, "0123456789");
	if (!*d)
		return WEIR_INT;
	if (*d == '.') {
		dot = true;
		d++;
		d += strspn(d, "0123456789");
	}
	if (*d == 'e' || *d == 'E') {
		d++;
		d += *d == '-' || *d == '+';
		if (!isdigit((unsigned char)*d))
			return WEIR_STRING;
		d += strspn(d, "0123456789");
		dot = true;
	}
	return !*d && dot ? WEIR_FLOAT : WEIR_STRING;
}

static struct weir_node *node_new(struct reader *r, enum weir_kind kind, const yaml_mark_t *m, unsigned len)
{
	struct weir_node *n = NULL;

	if (++r->nodes > WEIR_NODES_MAX) {
		weir_diag_hint(fail(r, m, 1, "more than %u values", WEIR_NODES_MAX),
			       "put long lists into a file and name it in a set");
		return NULL;
	}
	n = weir_arena_alloc(r->arena, sizeof *n);
	if (!n) {
		fail(r, m, 1, "out of memory");
		return NULL;
	}
	n->source = r->source;
	n->kind = kind;
	n->line = (uint32_t)m->line + 1;
	n->col = (uint32_t)m->column;
	n->len = (uint16_t)(len < UINT16_MAX ? len : UINT16_MAX);
	return n;
}

/* Hang n under what is open. In a map, every other node is a key. */
static int attach(struct reader *r, struct weir_node *n)
{
	struct weir_node *parent = r->open[r->depth];

	if (parent->kind == WEIR_MAP && !r->key[r->depth]) {
		if (n->kind != WEIR_SCALAR || (n->scalar != WEIR_STRING && n->scalar != WEIR_INT)) {
			weir_node_error(r->diags, n, "a key must be a word, not %s", weir_node_kind(n));
			return -EINVAL;
		}
		r->key[r->depth] = n;
		return 0;
	}
	n->key = r->key[r->depth];
	r->key[r->depth] = NULL;
	if (r->last[r->depth])
		r->last[r->depth]->next = n;
	else
		parent->child = n;
	r->last[r->depth] = n;
	parent->n++;
	return 0;
}

static int begin(struct reader *r, enum weir_kind kind, const yaml_event_t *e)
{
	struct weir_node *n;
	int err;

	if (r->depth >= WEIR_DEPTH_MAX) {
		fail(r, &e->start_mark, 1, "nested deeper than %d levels", WEIR_DEPTH_MAX);
		return -EINVAL;
	}
	n = node_new(r, kind, &e->start_mark, 1);
	if (!n)
		return -EINVAL;
	err = attach(r, n);
	if (err < 0)
		return err;
	r->depth++;
	r->open[r->depth] = n;
	r->last[r->depth] = r->key[r->depth] = NULL;
	return 0;
}

static int scalar(struct reader *r, const yaml_event_t *e)
{
	const char *text = (const char *)e->data.scalar.value;
	size_t len = e->data.scalar.length;
	yaml_scalar_style_t style = e->data.scalar.style;
	struct weir_node *n;
	uint32_t rune;

	if (style == YAML_LITERAL_SCALAR_STYLE || style == YAML_FOLDED_SCALAR_STYLE) {
		weir_diag_hint(fail(r, &e->start_mark, 1, "'%c' begins a block of text, which no key of a policy takes",
				    style == YAML_LITERAL_SCALAR_STYLE ? '|' : '>'),
			       "quote the value, on one line");
		return -EINVAL;
	}
	if (e->start_mark.line != e->end_mark.line) {
		weir_diag_hint(fail(r, &e->start_mark, 1, "a value that runs over several lines"),
			       "is a ':' or the right indentation missing in the next line?");
		return -EINVAL;
	}
	for (size_t i = weir_text_plain(text, len), step; i < len; i += step) {
		step = weir_utf8_next(text + i, len - i, &rune);
		if (!step || weir_rune_hostile(rune)) {
			fail(r, &e->start_mark, (unsigned)(e->end_mark.column - e->start_mark.column),
			     "a control character in a value");
			return -EINVAL;
		}
	}
	n = node_new(r, WEIR_SCALAR, &e->start_mark, (unsigned)(e->end_mark.column - e->start_mark.column));
	if (!n)
		return -EINVAL;
	n->quoted = style != YAML_PLAIN_SCALAR_STYLE;
	n->text = weir_arena_text(r->arena, text, len);
	if (!n->text)
		return -ENOMEM;
	n->scalar = n->quoted ? WEIR_STRING : resolve(n->text);
	return attach(r, n);
}

/*
 * The key whose value, or a value of whose list, begins at s; "": none. In braces libyaml looks ahead, so that what it
 * told so far may end before the key: the line is asked first.
 */
static const char *key_at(const struct reader *r, const char *s, char *buf, size_t size)
{
	const struct weir_node *in = r->open[r->depth], *key = in->kind == WEIR_MAP ? r->key[r->depth] : in->key;
	const char *colon = s, *word;

	snprintf(buf, size, "%s", key ? key->text : "");
	while (colon > r->source->text && *colon != '\n' && !(colon < s && *colon == ':' && strchr(" [", colon[1])))
		colon--;
	for (word = colon; word > r->source->text && (isalnum((unsigned char)word[-1]) || word[-1] == '_');)
		word--;
	if (*colon == ':' && word < colon)
		snprintf(buf, size, "%.*s", (int)(colon - word), word);
	return buf;
}

/* What YAML keeps for itself at the start of a value, and a person meant as text. */
static int refuse_sign(struct reader *r, const yaml_mark_t *m, size_t byte)
{
	const char *s = r->source->text + byte, *end = r->source->text + r->source->len;
	const char *means = s == end	? NULL
			    : *s == '&' ? "an anchor"
			    : *s == '*' ? "an alias"
			    : *s == '!' ? "a tag"
					: NULL;
	char key[64] = "";
	struct weir_diag *d;
	size_t n = 0;

	while (s + n < end && n < 40 && !strchr(" \t\r\n,]}", s[n]))
		n++;
	if (means)
		d = fail(r, m, (unsigned)n, "'%.*s' would be %s of YAML, which a policy does not take", (int)n, s,
			 means);
	else
		d = fail(r, m, (unsigned)(n ? n : 1), "'%.*s' is not YAML here", (int)n, s);
	if (n > 1 && *s == '@')
		weir_diag_hint(d, "quote it, or write $%.*s", (int)n - 1, s + 1);
	else if (n > 1 && *s == '!' && s[1] != '!' && weir_key_takes_not(key_at(r, s, key, sizeof key)))
		weir_diag_hint(d, "write not: { %s: %.*s }", key, (int)n - 1, s + 1);
	else
		weir_diag_hint(d, "quote it");
	return -EINVAL;
}

/* Byte of a mark; libyaml counts characters. */
static size_t mark_byte(const struct weir_source *s, size_t index)
{
	size_t at = 0;

	for (; index && at < s->len; index--)
		at += weir_utf8_next(s->text + at, s->len - at, NULL);
	return at;
}

/* libyaml finds out a line later. "action:allow" is the usual one. */
static int refuse_no_colon(struct reader *r, const yaml_mark_t *m)
{
	const char *s = r->source->text + mark_byte(r->source, m->index), *end = r->source->text + r->source->len;
	const char *nl = memchr(s, '\n', (size_t)(end - s));
	size_t n = (size_t)((nl ? nl : end) - s);
	const char *colon = memchr(s, ':', n);
	struct weir_diag *d = fail(r, m, (unsigned)(n ? n : 1), "a key without a value");

	if (colon && colon + 1 < s + n)
		weir_diag_hint(d, "a blank has to follow the ':'");
	else
		weir_diag_hint(d, "is a ':' missing, or a quote?");
	return -EINVAL;
}

static int refuse_syntax(struct reader *r)
{
	const yaml_parser_t *y = &r->yaml;
	yaml_mark_t at = y->problem_mark;
	size_t byte = mark_byte(r->source, at.index);
	char c = byte < r->source->len ? r->source->text[byte] : 0;
	struct weir_diag *d;

	if (y->error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	/* a sign that begins a token of YAML: point at the sign, not at what follows it */
	if (y->context && (strstr(y->context, "alias") || strstr(y->context, "anchor") || strstr(y->context, "tag") ||
			   strstr(y->context, "block scalar")))
		return refuse_sign(r, &y->context_mark, mark_byte(r->source, y->context_mark.index));
	if (y->problem && strstr(y->problem, "any token") && strchr("@`%>|", c) && c)
		return refuse_sign(r, &at, byte);
	if (y->problem && strstr(y->problem, "any token") && c == '\t') {
		weir_diag_hint(fail(r, &at, 1, "a tab as indentation"), "use spaces");
		return -EINVAL;
	}
	if (y->context && y->problem && strstr(y->context, "simple key") && strstr(y->problem, "':'"))
		return refuse_no_colon(r, &y->context_mark);
	if (y->context && strstr(y->context, "quoted scalar") && y->problem && strstr(y->problem, "end of stream")) {
		fail(r, &y->context_mark, 1, "a quote that is not closed");
		return -EINVAL;
	}
	d = fail(r, &at, 1, "not YAML: %s%s%s", y->problem ? y->problem : "cannot be read", y->context ? ", " : "",
		 y->context ? y->context : "");
	if (y->context && strstr(y->context, "block"))
		weir_diag_hint(d, "does this line begin in the same column as those that it belongs to?");
	return -EINVAL;
}

static int step(struct reader *r, const yaml_event_t *e)
{
	const yaml_char_t *anchor = NULL, *tag = NULL;
	size_t byte;

	switch (e->type) {
	case YAML_ALIAS_EVENT:
		return refuse_sign(r, &e->start_mark, mark_byte(r->source, e->start_mark.index));
	case YAML_SCALAR_EVENT:
		anchor = e->data.scalar.anchor;
		tag = e->data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = e->data.sequence_start.anchor;
		tag = e->data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = e->data.mapping_start.anchor;
		tag = e->data.mapping_start.tag;
		break;
	default:
		break;
	}
	if (anchor || tag) {
		byte = mark_byte(r->source, e->start_mark.index);
		if (r->source->text[byte] == '&' || r->source->text[byte] == '!')
			return refuse_sign(r, &e->start_mark, byte);
		fail(r, &e->start_mark, 1, "anchors and tags are not accepted in a policy");
		return -EINVAL;
	}
	switch (e->type) {
	case YAML_SCALAR_EVENT:
		return scalar(r, e);
	case YAML_SEQUENCE_START_EVENT:
		return begin(r, WEIR_LIST, e);
	case YAML_MAPPING_START_EVENT:
		return begin(r, WEIR_MAP, e);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		r->depth--;
		return 0;
	case YAML_DOCUMENT_START_EVENT:
		if (e->data.document_start.version_directive ||
		    e->data.document_start.tag_directives.start != e->data.document_start.tag_directives.end) {
			fail(r, &e->start_mark, 1, "YAML directives are not accepted in a policy");
			return -EINVAL;
		}
		if (r->open[0]->n) {
			fail(r, &e->start_mark, 3, "a second document: a policy is one");
			return -EINVAL;
		}
		r->marked = !e->data.document_start.implicit;
		return 0;
	default:
		return 0;
	}
}

/*
 * A half-written YAML file can be a valid and weaker policy. Who wants to be sure begins the file with
 * `---` and ends it with `...`: then every cut is seen. weir writes its own files so.
 */
static int check_end(struct weir_diags *diags, const struct weir_source *s)
{
	size_t n = s->len;
	unsigned line = 1;

	if (n >= 5 && !memcmp(s->text + n - 5, "\n...\n", 5))
		return 0;
	if (n >= 6 && !memcmp(s->text + n - 6, "\n...\r\n", 6))
		return 0;
	for (size_t i = 0; i + 1 < n; i++)
		line += s->text[i] == '\n';
	weir_diag_hint(weir_source_diag(diags, WEIR_ERROR, s, line, 0, 1,
					"the file begins with '---' and does not end with '...': it is cut off"),
		       "end it with the line '...', or take the '---' away");
	return -EINVAL;
}

int weir_yaml_read(struct weir_arena *a, const struct weir_source *source, struct weir_node **ret,
		   struct weir_diags *diags)
{
	struct weir_node top = { .kind = WEIR_LIST, .source = source };
	struct reader r = { .arena = a, .source = source, .diags = diags, .open = { &top } };
	bool done = false;
	int err;

	err = check_bytes(diags, source);
	if (err < 0)
		return err;
	if (!yaml_parser_initialize(&r.yaml))
		return -ENOMEM;
	yaml_parser_set_encoding(&r.yaml, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r.yaml, (const unsigned char *)source->text, source->len);
	while (!err && !done) {
		yaml_event_t e;

		if (!yaml_parser_parse(&r.yaml, &e)) {
			err = refuse_syntax(&r);
			break;
		}
		done = e.type == YAML_STREAM_END_EVENT;
		err = step(&r, &e);
		yaml_event_delete(&e);
	}
	yaml_parser_delete(&r.yaml);
	if (err == -ENOMEM)
		weir_source_diag(diags, WEIR_ERROR, source, 1, 0, 1, "out of memory");
	if (err < 0)
		return err;
	err = r.marked ? check_end(diags, source) : 0;
	if (err < 0)
		return err;
	if (!top.child) {
		weir_source_diag(diags, WEIR_ERROR, source, 1, 0, 1, "the file is empty");
		return -EINVAL;
	}
	*ret = top.child;
	return 0;
}
