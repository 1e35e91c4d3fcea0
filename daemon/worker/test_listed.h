/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of files of addresses share. Included after cmocka.h. */
#pragma once
#include <stdlib.h>
#include <string.h>

#include "core/image_blob.h"
#include "core/policy.h"
#include "daemon/worker/test_instance.h"

#define PLAIN                                                                                              \
	"version: 1\nmode: prevent\nsets: { bad: { addresses: { file: ips.txt } } }\nblocklists: [$bad]\n" \
	"rules: [ { name: web, action: allow, ports: 80 } ]\n"

static inline bool listed(struct fixture *f, uint8_t last)
{
	uint8_t addr[16] = { [10] = 0xff, 0xff, 192, 0, 2, last };

	return weir_block_find(&f->worker->img, addr);
}

static inline void ticks(struct fixture *f, int n)
{
	while (n-- > 0)
		weir_worker_tick(f->worker);
}

static inline void degraded(struct fixture *f, const char *what)
{
	json_t *j = ask(f, "status", NULL);
	char *text = json_dumps(json_object_get(json_object_get(j, "result"), "degraded"), 0);

	if (what ? !strstr(text, what) : strstr(text, "older than their files") != NULL)
		fail_msg("degraded: %s", text);
	free(text);
	json_decref(j);
}

static inline json_t *edit(const char *element)
{
	return json_pack("{s:s, s:s}", "set", "bad", "element", element);
}
