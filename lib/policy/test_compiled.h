/* SPDX-License-Identifier: Apache-2.0 */
/* A policy of a test, read and compiled; what fails is told and fails the test. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/image_blob.h"
#include "core/policy.h"
#include "lib/policy/policy.h"

struct fixture {
	struct weir_policy *p;
	struct weir_diags diags;
	struct weir_compile_options o;
	void *blob;
	struct weir_img img;
};

static void read_policy(struct fixture *f, const char *text)
{
	*f = (struct fixture){ .o = { .mode_ceiling = WEIR_PREVENT } };
	if (weir_policy_read_text("p.yaml", NULL, text, strlen(text), &f->p, &f->diags) < 0) {
		weir_diags_format(stderr, &f->diags, false);
		fail_msg("not read");
	}
}

static void compile(struct fixture *f)
{
	uint32_t size;

	free(f->blob);
	f->blob = NULL;
	if (weir_policy_compile(f->p, &f->o, &f->blob, &size, &f->diags) < 0) {
		weir_diags_format(stderr, &f->diags, false);
		fail_msg("not compiled");
	}
	assert_int_equal(weir_image_open(&f->img, f->blob, size), 0);
}

static void done(struct fixture *f)
{
	weir_policy_free(f->p);
	weir_diags_free(&f->diags);
	free(f->blob);
}
