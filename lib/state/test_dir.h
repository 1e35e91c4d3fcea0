/* SPDX-License-Identifier: Apache-2.0 */
/* A directory of its own for each test. Included after cmocka.h. */
#pragma once
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline int test_dir_make(void **state)
{
	char path[] = "/tmp/weir-test-XXXXXX";

	*state = mkdtemp(path) ? strdup(path) : NULL;
	return *state ? 0 : -1;
}

static inline int test_dir_unlink(const char *path, const struct stat *st, int type, struct FTW *f)
{
	return remove(path);
}

static inline int test_dir_remove(void **state)
{
	nftw(*state, test_dir_unlink, 16, FTW_DEPTH | FTW_PHYS);
	free(*state);
	return 0;
}

static inline void test_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}
