/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/say.h"
#include "lib/util/cleanup.h"
#include "lib/util/text.h"

void weir_say(const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	if (text)
		weir_text_put(stderr, text, strlen(text));
	putc('\n', stderr);
}

int weir_fail(const char *what, const char *why)
{
	weir_say("weir: error: %s%s%s", what, why && *why ? ": " : "", why ? why : "");
	return 1;
}
